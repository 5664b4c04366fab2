"""What branches hold: what a merge request would pin, what conflicts with what, what changes.

Git runs here, never inside a transaction. What is read from git is then recorded by the services
that own the state, each of which checks the lease once more.
"""

import json
from dataclasses import dataclass

from sf_mcp.core.errors import GitRefused, InvalidInput
from sf_mcp.core.identity import Caller
from sf_mcp.core.layout import STATE_FOLDER
from sf_mcp.core.models import MergeRequest, Oid
from sf_mcp.core.radar import Clash
from sf_mcp.git.status import status
from sf_mcp.git.worktrees import Worktrees
from sf_mcp.service.claims import ClaimService
from sf_mcp.service.radar import RadarService, named_task
from sf_mcp.service.requests import RequestService
from sf_mcp.service.target import TargetService
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import tasks

DIFF_BYTES = 250_000
"""Bytes of a diff in one answer to a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeFacts:
    """What a merge request would pin."""

    commit: Oid
    base: Oid
    branch: str
    is_empty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflicting:
    """Another branch that the caller's work cannot be merged with."""

    other: str
    clash: Clash
    """With the caller's lines as `ours`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictFacts:
    conflicts: list[Conflicting]
    compared_with: list[str]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a merge request changes, a page of it."""

    files: tuple[str, ...]
    diff: str
    next_start: int | None
    worktree: str


class BranchService:
    """Use cases that look into branches."""

    def __init__(
        self,
        workspace: Workspace,
        worktrees: Worktrees,
        target: TargetService,
        claims: ClaimService,
        requests: RequestService,
        radar: RadarService,
    ) -> None:
        """Look into the branches of this project."""
        self._workspace = workspace
        self._worktrees = worktrees
        self._forge = worktrees.forge
        self._target = target
        self._claims = claims
        self._requests = requests
        self._radar = radar

    def merge_facts(self, caller: Caller, no_changes_reason: str) -> MergeFacts:
        """Establish what a merge request of the caller's task would pin.

        Raises:
            InvalidInput: files are not committed, nothing is ahead of the base and no reason was
                given, or the branch is not checked out.
        """
        task = self._claims.held_task(caller)
        worktree = self._worktrees.find(task.id)
        if worktree is None:
            raise GitRefused(
                f"The worktree of {task.id} is gone.", remedy="Call release_task; it is made anew."
            )
        seen = status(worktree.path)
        if seen.operation:
            raise InvalidInput(
                f"A {seen.operation} is under way in the worktree.",
                remedy="Finish or abort it, commit, and call again.",
            )
        if seen.branch != worktree.branch:
            raise InvalidInput(
                f"The worktree is not on its branch {worktree.branch}.",
                remedy=f"Run `git switch {worktree.branch}` (bring commits along), and call again.",
            )
        if not seen.is_clean:
            files = [*seen.conflicted, *seen.changed, *seen.untracked]
            raise InvalidInput(
                f"{len(files)} files are not committed: {', '.join(files[:10])}.",
                remedy="Commit what belongs to the task, remove or ignore the rest, call again.",
            )
        assert seen.head is not None  # on its branch, which has commits
        is_empty = self._forge.tree_of(seen.head) == self._forge.tree_of(worktree.base)
        if is_empty and not no_changes_reason.strip():
            raise InvalidInput(
                f"Nothing on {worktree.branch} differs from its base {worktree.base[:12]}.",
                remedy="Commit your work; or, if there is rightly nothing to change, say why in "
                "no_changes_reason.",
            )
        self._refuse_own_rules(seen.head)
        return MergeFacts(
            commit=seen.head, base=worktree.base, branch=worktree.branch, is_empty=is_empty
        )

    def _refuse_own_rules(self, commit: Oid) -> None:
        """Refuse work that changes the fleet's own rules, such as which checks must pass."""
        base = self._forge.merge_base(self._target.head(), commit)
        mine = [
            path
            for path in (self._forge.changed_paths(base, commit) if base else ())
            if path.split("/", 1)[0] == STATE_FOLDER
        ]
        if mine:
            raise InvalidInput(
                f"The branch changes {', '.join(mine[:5])}: those rules are the person's.",
                remedy="Take those changes back with a commit (`git checkout origin/"
                f"{self._target.branch} -- {STATE_FOLDER}` or `git rm`), and ask_director for "
                "what you need.",
            )

    def check_conflicts(self, caller: Caller) -> ConflictFacts:
        """Merge the caller's committed work, for trial, with the target and each live branch."""
        task = self._claims.held_task(caller)
        head = self._forge.head_of(f"refs/heads/{task.branch}") if task.branch else None
        if head is None:
            return ConflictFacts(conflicts=[], compared_with=[], note="Nothing is committed yet.")
        survey = self._radar.look()
        with self._workspace.read() as tx:
            names = {other: named_task(tasks.get(tx.db, other)) for other in survey.commits}
        found = survey.of(task.id)
        seen = self._worktrees.find(task.id)
        dirty = seen is not None and not status(seen.path).is_clean
        return ConflictFacts(
            conflicts=[
                Conflicting(
                    other=names[one.other] if one.other else self._target.branch,
                    clash=one.clash,
                )
                for one in found
            ],
            compared_with=[
                self._target.branch,
                *(name for other, name in names.items() if other != task.id),
            ],
            note="Uncommitted files were not looked at: commit them first." if dirty else "",
        )

    def base_of(self, request: MergeRequest) -> Oid:
        """Return the commit that the request's changes are shown against."""
        return self.base_of_commit(request.commit, request.base)

    def base_of_commit(self, commit: Oid, began_at: Oid) -> Oid:
        """Return the commit that work which began at `began_at` is shown against."""
        base = self._forge.merge_base(self._target.head(), commit)
        # One that has landed as a merge lies in the target itself.
        return began_at if base is None or base == commit else base

    def changes_of(
        self, request: MergeRequest, start: int = 0, *, room: int | None = None
    ) -> Changes:
        """Return what the merge request changes against the target as it is now.

        `room` is how long the page of the diff may be as JSON, which escapes quotes and the like.
        """
        base = self.base_of(request)
        size = DIFF_BYTES if room is None else room
        page = self._forge.diff(base, request.commit, start=start, max_bytes=size)
        while room is not None and len(json.dumps(page.text, ensure_ascii=False)) > room:
            size = size * 3 // 4
            page = self._forge.diff(base, request.commit, start=start, max_bytes=size)
        reviewers = (
            path
            for path in (self._worktrees.root).glob("review-*")
            if self._forge.head_of(f"worktrees/{path.name}/HEAD") == request.commit
        )
        return Changes(
            files=self._forge.changed_paths(base, request.commit),
            diff=page.text,
            next_start=page.next_start,
            worktree=str(next(reviewers, "")),
        )

    def show_changes(self, caller: Caller, merge_request: str, *, start: int = 0) -> Changes:
        """Return a page of what a merge request changes."""
        view = self._requests.get_merge_request(caller, merge_request)
        return self.changes_of(view.request, start)
