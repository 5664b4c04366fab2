"""Snapshots: what a worktree holds that is not committed, as a commit that nobody has to know of.

Made with an index of its own: HEAD, the branch and the index of the worktree stay as they are, so
that it may be done at any moment, in the middle of a merge or a rebase too. Ignored files are not
part of it. A repository nested in the worktree is taken as plain files (its own history is not).
"""

import logging
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sf_mcp.core.errors import StorageFailed, TargetMoved
from sf_mcp.core.models import Oid, TaskId
from sf_mcp.git.command import GitFailed, run_git
from sf_mcp.git.identity import SERVER
from sf_mcp.git.repository import Repository
from sf_mcp.git.status import admin_dir

logger = logging.getLogger(__name__)

SNAPSHOTS = "refs/stoneforge/snapshots"
ADD_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    number: int
    ref: str
    commit: Oid
    tree: Oid
    parent: Oid | None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where files are read from: a worktree, or any folder seen through some git directory."""

    files: Path
    git_dir: Path

    def environment(self, index: Path) -> dict[str, str]:
        return {
            "GIT_DIR": str(self.git_dir),
            "GIT_WORK_TREE": str(self.files),
            "GIT_INDEX_FILE": str(index),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    task_id: TaskId
    reason: str
    now: datetime
    parent: Oid | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    is_clean: bool
    """Nothing differs from HEAD."""
    is_only_missing: bool
    nested: tuple[str, ...]
    """Untracked repositories inside."""


def snapshot(
    forge: Repository, worktree: Path, task_id: TaskId, reason: str, now: datetime
) -> Oid | None:
    """Keep what is not committed in `worktree` as `refs/stoneforge/snapshots/<task>/<n>`.

    None when there is nothing: no difference from HEAD, or none from the newest snapshot of the
    same HEAD.

    Raises:
        GitFailed: the files cannot be read or written (a full disk); nothing was changed.
    """
    git_dir = admin_dir(worktree)
    place = _Place(files=worktree, git_dir=git_dir)
    index = git_dir / "index"
    seen = _look(place, index)
    if seen.is_clean:
        return None
    parent = Repository(git_dir).head_of("HEAD")
    made = _Made(task_id=task_id, reason=reason, now=now, parent=parent)
    return _store(forge, place, index, seen.nested, made)


def snapshot_files(
    forge: Repository, files: Path, task_id: TaskId, reason: str, now: datetime, *, parent: Oid
) -> Oid | None:
    """Keep the files of a folder that is no working worktree (any more), as changes to `parent`.

    None when nothing differs but files that are missing: half a checkout is nobody's work.

    Raises:
        GitFailed: the files cannot be read or written; nothing was changed.
    """
    place = _Place(files=files, git_dir=forge.git_dir)
    with tempfile.TemporaryDirectory(prefix="sf-snapshot-") as folder:
        index = Path(folder) / "index"
        run_git(["read-tree", parent], cwd=files, extra=place.environment(index))
        seen = _look(place, index)
        if seen.is_only_missing:
            return None
        made = _Made(task_id=task_id, reason=reason, now=now, parent=parent)
        return _store(forge, place, index, seen.nested, made)


def list_snapshots(forge: Repository, task_id: TaskId) -> tuple[Snapshot, ...]:
    """Return the snapshots of a task, oldest first."""
    prefix = f"{SNAPSHOTS}/{task_id}/"
    listed = forge.run(
        "for-each-ref", "--format=%(refname) %(objectname) %(tree) %(parent)", prefix
    ).text
    found: list[Snapshot] = []
    for line in listed.splitlines():
        ref, commit, tree, *parents = line.split(" ")
        number = ref.removeprefix(prefix)
        if number.isdigit():
            found.append(
                Snapshot(
                    number=int(number),
                    ref=ref,
                    commit=Oid(commit),
                    tree=Oid(tree),
                    parent=Oid(parents[0]) if parents and parents[0] else None,
                )
            )
    return tuple(sorted(found, key=lambda each: each.number))


def _look(place: _Place, index: Path) -> _Seen:
    status = run_git(
        ["status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all"],
        cwd=place.files,
        extra=place.environment(index),
        accept=(0, 128),
    )
    if status.exit_code != 0:  # a damaged index: `_stage` starts from HEAD's
        return _Seen(is_clean=False, is_only_missing=False, nested=())
    entries = [entry for entry in status.stdout.split(b"\0") if entry]
    # With all files listed, only a repository of its own is shown as a directory.
    nested = (entry[3:-1] for entry in entries if entry.startswith(b"?? ") and entry[-1:] == b"/")
    return _Seen(
        is_clean=not entries,
        # The second column: the files against the index, whatever HEAD is.
        is_only_missing=all(entry[1:2] in b"D " for entry in entries),
        nested=tuple(name.decode("utf-8", "surrogateescape") for name in nested),
    )


def _store(
    forge: Repository, place: _Place, index: Path, nested: tuple[str, ...], made: _Made
) -> Oid | None:
    try:
        with tempfile.TemporaryDirectory(prefix="sf-snapshot-") as folder:
            tree = _stage(place, index, Path(folder), nested)
    except OSError as error:
        raise StorageFailed(
            f"The snapshot of {place.files} could not be made: {error.strerror}.",
            remedy="Free some disk space; the files are where they were.",
        ) from error
    if made.parent is not None and tree == forge.tree_of(made.parent):
        return None
    while True:
        earlier = list_snapshots(forge, made.task_id)
        if earlier and (earlier[-1].tree, earlier[-1].parent) == (tree, made.parent):
            return None
        commit = forge.commit_tree(
            tree,
            [made.parent] if made.parent is not None else [],
            f"{made.task_id}: snapshot ({made.reason})",
            SERVER,
            made.now,
        )
        ref = f"{SNAPSHOTS}/{made.task_id}/{earlier[-1].number + 1 if earlier else 1}"
        try:
            forge.compare_and_swap(ref, new=commit, old=None, message="stoneforge: snapshot")
        except TargetMoved:
            continue  # another snapshot of this task took the number
        return commit


def _stage(place: _Place, index: Path, folder: Path, nested: tuple[str, ...]) -> Oid:
    """Return the tree of all files of `place`, written through a copy of `index`."""
    mine = folder / "index"
    extra = place.environment(mine)
    try:
        # The copy knows which files are unchanged, so that only the others are read. Its time is
        # the original's: git rereads what changed in the instant in which the index was written.
        shutil.copy2(index, mine)
        _add_all(place, extra, nested)
    except (FileNotFoundError, GitFailed):
        mine.unlink(missing_ok=True)
        (folder / "index.lock").unlink(missing_ok=True)
        run_git(["read-tree", "HEAD"], cwd=place.files, extra=extra, accept=(0, 128))
        _add_all(place, extra, nested)
    for number, name in enumerate(nested):
        inner = _Place(files=place.files / name, git_dir=place.git_dir)
        inner_index = folder / f"nested-{number}"
        inner_index.mkdir()
        deeper = _look(inner, inner_index / "index").nested
        tree = _stage(inner, inner_index / "none", inner_index, deeper)
        run_git(["read-tree", f"--prefix={name}/", tree], cwd=place.files, extra=extra)
    return Oid(run_git(["write-tree"], cwd=place.files, extra=extra).text)


def _add_all(place: _Place, extra: dict[str, str], nested: tuple[str, ...]) -> None:
    """Stage all but nested repositories; a file that cannot be read is left out, and logged."""
    left_out = [f":(top,exclude,literal){name}" for name in nested]
    added = run_git(
        ["-c", "core.safecrlf=false", "add", "--all", "--ignore-errors", "--", ":(top)", *left_out],
        cwd=place.files,
        extra={**extra, "GIT_LITERAL_PATHSPECS": "0"},
        accept=(0, 1),
        timeout_seconds=ADD_TIMEOUT_SECONDS,
    )
    if added.exit_code != 0:
        logger.warning("snapshot of %s is not complete: %s", place.files, added.stderr)
