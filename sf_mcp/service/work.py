"""Where sessions work and what they have made: worktrees, snapshots, trial merges, handoffs.

Git runs here, never inside a transaction. What is read from git is then recorded by the services
that own the state, each of which checks the lease once more.
"""

import json
import logging
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from sf_mcp import process
from sf_mcp.core.errors import ConfigInvalid, GitRefused, InvalidInput, StoneforgeError
from sf_mcp.core.identity import SERVER, Caller
from sf_mcp.core.layout import STATE_FOLDER
from sf_mcp.core.models import (
    EndKind,
    MergeRequest,
    Oid,
    Role,
    Session,
    Task,
    TaskId,
)
from sf_mcp.core.states import TASK_ENDS, TaskState
from sf_mcp.core.text import one_line
from sf_mcp.git.guard import session_git_environment
from sf_mcp.git.identity import Identity, identity
from sf_mcp.git.merging import Conflicted, conflicts_with, merge_trees
from sf_mcp.git.status import status
from sf_mcp.git.worktrees import Worktree, Worktrees
from sf_mcp.service.claims import Brief, ClaimService, require_lease
from sf_mcp.service.dispatch import Place
from sf_mcp.service.requests import RequestService
from sf_mcp.service.sessions import SessionService
from sf_mcp.service.target import TargetService
from sf_mcp.service.turns import TurnVerdict
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import leases, merge_requests, sessions, tasks

logger = logging.getLogger(__name__)

DIFF_BYTES = 12_000
"""Bytes of a diff in one answer to a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoffFacts:
    """Where the work stands: the branch's head, and a snapshot of what is not committed."""

    commit: Oid | None
    snapshot: Oid | None


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
    paths: tuple[str, ...]


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


class WorkService:
    """Use cases around worktrees."""

    def __init__(
        self,
        workspace: Workspace,
        worktrees: Worktrees,
        target: TargetService,
        claims: ClaimService,
        session_service: SessionService,
        requests: RequestService,
    ) -> None:
        """Work on this project."""
        self._workspace = workspace
        self._worktrees = worktrees
        self._forge = worktrees.forge
        self._target = target
        self._claims = claims
        self._sessions = session_service
        self._requests = requests
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    # -- places ------------------------------------------------------------------------------------

    def make_place(self, session: Session) -> Place:
        """Make where a session works: its task's worktree, or a checkout to read in.

        Raises:
            GitRefused: git cannot make it.
            ConfigInvalid: nobody ever told git who they are.
        """
        match session.role:
            case Role.WORKER:
                with self._workspace.read() as tx:
                    task = tasks.get(tx.db, session.subject)
                path = self._prepare(task).path
            case Role.STEWARD:
                with self._workspace.read() as tx:
                    request = merge_requests.get(tx.db, session.subject)
                path = self._worktrees.detached(f"review-{session.name}", request.commit)
            case _:
                path = self._worktrees.detached(session.name, self._target.head())
        return Place(cwd=str(path), environment=session_git_environment(self._identity(), path))

    def _identity(self) -> Identity:
        found = identity(self._workspace.layout.root)
        if found is None:
            raise ConfigInvalid(
                "Git does not know who you are, so no commit can be made in your name.",
                remedy='Run `git config --global user.name "…"` and `… user.email "…"`.',
            )
        return found

    def _prepare(self, task: Task) -> Worktree:
        with self._locks[task.id]:
            worktree = self._worktrees.prepare(task.id, task.title, self._target.head())
        if (task.branch, task.base) != (worktree.branch, worktree.base):
            with self._workspace.write(SERVER) as tx:
                tx.edit_task(tasks.get(tx.db, task.id), branch=worktree.branch, base=worktree.base)
        return worktree

    def stock(self) -> None:
        """Keep a worktree at hand for the next task that has none."""
        if self._worktrees.has_spare:
            return
        with self._workspace.read() as tx:
            is_wanted = tasks.is_any_unstarted(tx.db)
        if is_wanted:
            self._worktrees.make_spare(self._target.head())

    def claim(self, caller: Caller) -> tuple[Brief, Path | None]:
        """Claim a task; return its brief with the worktree, or None if that must be prepared."""
        brief = self._claims.claim_task(caller)
        found = self._worktrees.find(brief.task.id) if brief.task.branch else None
        return _in_worktree(brief, found) if found else (brief, None)

    def prepare(self, brief: Brief) -> tuple[Brief, Path]:
        """Make the worktree of a claimed task; return the brief with it."""
        return _in_worktree(brief, self._prepare(brief.task))

    # -- what a worker has made --------------------------------------------------------------------

    def snapshot(self, task_id: TaskId, reason: str) -> Oid | None:
        """Keep what is not committed in the task's worktree; None when nothing is new.

        Raises:
            GitFailed: the files cannot be read or the disk is full; nothing was changed.
        """
        with self._locks[task_id]:
            return self._worktrees.snapshot(task_id, reason)

    def handoff_facts(self, caller: Caller) -> HandoffFacts:
        """Snapshot the caller's worktree and return where the work stands."""
        task = self._held_task(caller)
        kept = self.snapshot(task.id, f"handoff of {caller.name}")
        head = self._forge.head_of(f"refs/heads/{task.branch}") if task.branch else None
        return HandoffFacts(commit=head, snapshot=kept)

    def merge_facts(self, caller: Caller, no_changes_reason: str) -> MergeFacts:
        """Establish what a merge request of the caller's task would pin.

        Raises:
            InvalidInput: files are not committed, nothing is ahead of the base and no reason was
                given, or the branch is not checked out.
        """
        task = self._held_task(caller)
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
                f"The branch changes {', '.join(mine[:5])}: the fleet's own rules are the person's.",
                remedy="Take those changes back with a commit (`git checkout origin/"
                f"{self._target.branch} -- {STATE_FOLDER}` or `git rm`), and ask_director for "
                "what you need.",
            )

    def _held_task(self, caller: Caller) -> Task:
        with self._workspace.write(caller) as tx:
            return tasks.get(tx.db, require_lease(tx, caller).subject)

    def check_conflicts(self, caller: Caller) -> ConflictFacts:
        """Merge the caller's committed work, for trial, with the target and each live branch."""
        task = self._held_task(caller)
        head = self._forge.head_of(f"refs/heads/{task.branch}") if task.branch else None
        if head is None:
            return ConflictFacts(conflicts=[], compared_with=[], note="Nothing is committed yet.")
        live = (TaskState.CLAIMED, TaskState.WAITING, TaskState.IN_REVIEW, TaskState.OPEN)
        with self._workspace.read() as tx:
            others = [
                other
                for other in tasks.in_state(tx.db, *live, TaskState.STUCK)
                if other.branch and other.id != task.id
            ]
        heads: dict[str, Oid] = {}
        for other in others:
            if tip := self._forge.head_of(f"refs/heads/{other.branch}"):
                heads[f"{other.id} ({other.title})"] = tip
        target = self._target.head()
        found = conflicts_with(self._forge, head, heads, target=target)
        # The target has changed nothing since it left itself, so it takes an exact merge.
        merged = merge_trees(self._forge, target, head)
        if isinstance(merged, Conflicted):
            found = {self._target.branch: merged, **found}
        seen = self._worktrees.find(task.id)
        dirty = seen is not None and not status(seen.path).is_clean
        return ConflictFacts(
            conflicts=[Conflicting(other=name, paths=clash.paths) for name, clash in found.items()],
            compared_with=[self._target.branch, *heads],
            note="Uncommitted files were not looked at: commit them first." if dirty else "",
        )

    # -- reviews -----------------------------------------------------------------------------------

    def changes_of(
        self, request: MergeRequest, start: int = 0, *, room: int | None = None
    ) -> Changes:
        """Return what the merge request changes against the target as it is now.

        `room` is how long the page of the diff may be as JSON, which escapes quotes and the like.
        """
        base = self._forge.merge_base(self._target.head(), request.commit) or request.base
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

    # -- turns and ends ----------------------------------------------------------------------------

    def turn_ended(self, caller: Caller, session_id: str) -> TurnVerdict:
        """Snapshot a worker's files at its turn's end, then decide what becomes of the session."""
        self._keep_files_of(session_id, "turn's end")
        return self._sessions.turn_ended(caller, session_id)

    def session_ended(
        self,
        caller: Caller,
        session_id: str,
        *,
        kind: EndKind,
        detail: str = "",
        resets_at: str = "",
    ) -> Session:
        """Snapshot what a session left uncommitted, then settle what it held."""
        self._keep_files_of(session_id, f"session ended: {kind.value}")
        session = self._sessions.ended(
            caller, session_id, kind=kind, detail=detail, resets_at=resets_at
        )
        if session.role is Role.STEWARD:
            self._worktrees.remove_detached(f"review-{session.name}")
        return session

    def take_over_context(self, caller: Caller, session_id: str) -> None:
        """Write the handoff of a worker whose context is full and that did not write it itself."""
        caller.require(Role.PERSON, to="write handoffs for others")
        with self._workspace.read() as tx:
            session = sessions.get(tx.db, session_id)
            lease = leases.live_of(tx.db, session.id)
            task = tasks.get(tx.db, lease.subject) if lease else None
        if lease is None or task is None or session.role is not Role.WORKER:
            return
        worker = Caller(role=Role.WORKER, name=session.name, session_id=session.id)
        kept = self.snapshot(task.id, "context full")
        head = self._forge.head_of(f"refs/heads/{task.branch}") if task.branch else None
        commits = self._forge.log_between(task.base, head) if head and task.base else ()
        done = "\n".join(f"{entry.commit[:12]} {entry.subject}" for entry in commits[:30])
        self._claims.record_handoff(
            worker,
            progress=f"Commits on {task.branch}:\n{done}" if done else "Nothing was committed.",
            remaining="The session did not say; compare the acceptance criteria with the branch.",
            decisions="",
            pitfalls="The session's context was full before it wrote a handoff. "
            f"Its last words: {session.last_line}",
            next_step="Read the branch's log and diff"
            + (f", and the uncommitted files in snapshot {kept}" if kept else "")
            + ", then go on with the first unmet criterion.",
            commit=head,
            snapshot=kept,
            by_server=True,
        )

    def _keep_files_of(self, session_id: str, reason: str) -> None:
        with self._workspace.read() as tx:
            session = sessions.get(tx.db, session_id)
        if session.role is Role.WORKER:
            self._try_snapshot(TaskId(session.subject), reason)

    def _try_snapshot(self, task_id: TaskId, reason: str) -> None:
        """Snapshot, but let a session's end be recorded without: the files stay where they are."""
        try:
            self.snapshot(task_id, reason)
        except (StoneforgeError, OSError) as error:
            logger.warning("No snapshot of %s (%s): %s", task_id, reason, error)
            with self._workspace.write(SERVER) as tx:
                tx.event(
                    "snapshot_failed", task_id, reason=reason, detail=one_line(str(error), 300)
                )

    def snapshot_expired(self, subjects: Sequence[str]) -> None:
        """Keep what sessions that were given up left uncommitted."""
        for subject in subjects:
            if subject.startswith("T"):
                self._try_snapshot(TaskId(subject), "lease expired")

    def end_lost_sessions(self, caller: Caller) -> None:
        """Record the end of sessions that nobody reports on any more and whose process is gone.

        Such as one whose order never reached the launcher because the server was killed.
        """
        seconds = self._workspace.settings.orchestrator.lease_seconds
        with self._workspace.read() as tx:
            silent = [
                session
                for session in sessions.alive(tx.db)
                if session.heard_at + timedelta(seconds=2 * seconds) <= tx.now
                and leases.live_of(tx.db, session.id) is None
            ]
        for session in silent:
            if session.pid is None or not process.is_alive(session.pid, session.process_started):
                detail = "no launcher reported on it, and its process is gone"
                self.session_ended(caller, session.id, kind=EndKind.STOPPED, detail=detail)

    def tidy_ended(self) -> None:
        """Remove the worktrees of tasks that have ended; what was not committed is kept."""
        for path in sorted(self._worktrees.root.glob("T*")):
            with self._workspace.read() as tx:
                task = tasks.TASKS.get(tx.db, path.name)
                is_used = any(one.subject == path.name for one in sessions.alive(tx.db))
            if task is None or is_used or task.state not in TASK_ENDS:
                continue
            try:
                with self._locks[task.id]:
                    self._worktrees.remove(task.id)
            except (StoneforgeError, OSError) as error:
                # Of no consequence but for the space it takes; tried again later.
                logger.warning("The worktree of %s stays for now: %s", task.id, error)


def _in_worktree(brief: Brief, worktree: Worktree) -> tuple[Brief, Path]:
    task = replace(brief.task, branch=worktree.branch, base=worktree.base)
    return replace(brief, task=task), worktree.path
