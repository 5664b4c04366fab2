"""What a task has changed, file by file: on its branch, in its merge request, in a snapshot.

Git runs here, never inside a transaction. Everything is bounded: files come a page at a time, and
so does the patch of each.
"""

from dataclasses import dataclass

from sf_mcp.core.changes import FileChange
from sf_mcp.core.errors import NotFound
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import MergeRequest, Oid, TaskId
from sf_mcp.core.states import MergeState
from sf_mcp.core.text import checked_text
from sf_mcp.git.changes import file_changes
from sf_mcp.git.worktrees import Worktrees
from sf_mcp.service.branches import BranchService
from sf_mcp.service.snapshots import SnapshotService
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import merge_requests, tasks

FILES_SHOWN = 200
"""Of a page of changed files."""
PATCH_BYTES = 60_000
"""Of a page of one file's patch: more lines than that nobody reads at once."""
PATH_CHARACTERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """Which files differ, a page of them."""

    task_id: TaskId
    what: str
    """What is compared, in a phrase: `M7`, `the branch sf/T12-…`, `snapshot 3`."""
    base: Oid | None
    commit: Oid | None
    """None: nothing has been committed yet."""
    files: list[FileChange]
    """By path."""
    total_files: int
    next_after: str
    """Pass as `files_after` for the next page; empty: there is none."""
    added: int
    removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDiff:
    """The patch of one file, a page of it."""

    path: str
    commit: Oid
    """Of which commit; when it is another than the list of files names, ask for that again."""
    patch: str
    next_start: int | None
    """Pass as `start` for the next page; None: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    task_id: TaskId
    what: str
    base: Oid
    commit: Oid


class DiffService:
    """Use cases of looking at what a task has changed."""

    def __init__(
        self,
        workspace: Workspace,
        worktrees: Worktrees,
        branches: BranchService,
        snapshots: SnapshotService,
    ) -> None:
        """Look at the tasks of this project."""
        self._workspace = workspace
        self._forge = worktrees.forge
        self._branches = branches
        self._snapshots = snapshots

    def show_diff(
        self, caller: Caller, task: str, *, snapshot: int = 0, files_after: str = ""
    ) -> Diff:
        """Return which files a task has changed, or one of its snapshots, by number.

        A merge request under way counts, or else the branch as it is, or else what was handed in.

        Raises:
            NotFound: there is no such task or snapshot.
        """
        ends = self._ends(caller, task, snapshot)
        if ends is None:
            return self._nothing(task)
        files = file_changes(self._forge, ends.base, ends.commit)
        page = [file for file in files if file.path > files_after][: FILES_SHOWN + 1]
        return Diff(
            task_id=ends.task_id,
            what=ends.what,
            base=ends.base,
            commit=ends.commit,
            files=page[:FILES_SHOWN],
            total_files=len(files),
            next_after=page[FILES_SHOWN - 1].path if len(page) > FILES_SHOWN else "",
            added=sum(file.added or 0 for file in files),
            removed=sum(file.removed or 0 for file in files),
        )

    def show_file_diff(
        self,
        caller: Caller,
        task: str,
        *,
        path: str,
        was: str = "",
        snapshot: int = 0,
        start: int = 0,
    ) -> FileDiff:
        """Return a page of the patch of one file; `was` is its path before a rename.

        Raises:
            NotFound: there is no such task or snapshot, or nothing has been committed.
            InvalidInput: a path is no text.
        """
        paths = [checked_text(one, "path", PATH_CHARACTERS) for one in (path, was) if one]
        ends = self._ends(caller, task, snapshot)
        if ends is None:
            raise NotFound(
                f"Nothing of {task} has been committed.",
                remedy="Its snapshots, if it has any, hold what was not committed.",
            )
        page = self._forge.diff(
            ends.base, ends.commit, paths=paths or ["."], start=max(0, start), max_bytes=PATCH_BYTES
        )
        return FileDiff(path=path, commit=ends.commit, patch=page.text, next_start=page.next_start)

    def _nothing(self, task: str) -> Diff:
        return Diff(
            task_id=TaskId(task),
            what="nothing has been committed yet",
            base=None,
            commit=None,
            files=[],
            total_files=0,
            next_after="",
            added=0,
            removed=0,
        )

    def _ends(self, caller: Caller, task: str, snapshot: int) -> _Ends | None:
        """Return what to compare; None when nothing has been committed."""
        if snapshot:
            seen = self._snapshots.get_snapshot(caller, task, number=snapshot)
            if seen.parent is None:
                raise NotFound(
                    f"Snapshot {snapshot} of {task} stands on no commit to compare it with.",
                    remedy=f"Write its files into a folder: sf restore {task} --to DIR",
                )
            return _Ends(
                task_id=seen.task_id,
                what=f"snapshot {snapshot}",
                base=seen.parent,
                commit=seen.commit,
            )
        with self._workspace.read() as tx:
            found = tasks.get(tx.db, task)
            request = merge_requests.newest_of_task(tx.db, found.id)
        head = self._forge.head_of(f"refs/heads/{found.branch}") if found.branch else None
        if head is not None and (request is None or _is_behind(request, head)):
            return _Ends(
                task_id=found.id,
                what=f"the branch {found.branch}",
                base=self._branches.base_of_commit(head, found.base or head),
                commit=head,
            )
        if request is None:
            return None
        base = self._branches.base_of(request)
        return _Ends(task_id=found.id, what=request.id, base=base, commit=request.commit)


def _is_behind(request: MergeRequest, head: Oid) -> bool:
    """Return whether the work has gone on since the request came back."""
    is_over = request.state in (MergeState.SENT_BACK, MergeState.WITHDRAWN)
    return is_over and request.commit != head
