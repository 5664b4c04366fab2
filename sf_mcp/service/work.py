"""Where sessions work: worktrees prepared, snapshots taken, ends settled, places tidied.

Git runs here, never inside a transaction. What is read from git is then recorded by the services
that own the state, each of which checks the lease once more.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from sf_mcp import process
from sf_mcp.core.errors import ConfigInvalid, StaleLease, StoneforgeError
from sf_mcp.core.identity import SERVER, Caller
from sf_mcp.core.interrupted import Trace
from sf_mcp.core.last_words import last_words
from sf_mcp.core.leases import is_over
from sf_mcp.core.models import (
    EndKind,
    Lease,
    MergeRequestId,
    Oid,
    Role,
    Session,
    SessionId,
    Task,
    TaskId,
)
from sf_mcp.core.states import TASK_ENDS
from sf_mcp.git.guard import session_git_environment
from sf_mcp.git.identity import Identity, identity
from sf_mcp.git.worktrees import Worktree, Worktrees
from sf_mcp.service.branch_state import BranchState, branch_state, standing_of
from sf_mcp.service.budgets import spent_by
from sf_mcp.service.claims import Brief, ClaimService
from sf_mcp.service.conflicts import ConflictService
from sf_mcp.service.dispatch import Place
from sf_mcp.service.handing_off import criteria_met, in_its_place
from sf_mcp.service.sessions import NO_TRACE, SessionService, has_spoken
from sf_mcp.service.snapshots import SnapshotService
from sf_mcp.service.target import TargetService
from sf_mcp.service.turns import TurnVerdict
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import (
    conflicts,
    handoffs,
    late_work,
    leases,
    merge_requests,
    questions,
    sessions,
    tasks,
)

logger = logging.getLogger(__name__)

LOG_END_BYTES = 1_000_000
"""Of a session's log, enough for its last words."""


WITH_A_CAUSE_OF_ITS_OWN = frozenset(
    {
        EndKind.USAGE_LIMIT,
        EndKind.OVERLOADED,
        EndKind.AUTHENTICATION,
        EndKind.BAD_CONFIGURATION,
        EndKind.CANCELLED,
    }
)
"""Ends that mean something for others, also when the session's budget was used up besides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoffFacts:
    """Where the work stands: the branch's head, and a snapshot of what is not committed."""

    commit: Oid | None
    snapshot: Oid | None


class WorkService:
    """Use cases around worktrees."""

    def __init__(
        self,
        workspace: Workspace,
        worktrees: Worktrees,
        target: TargetService,
        claims: ClaimService,
        session_service: SessionService,
        conflicts: ConflictService,
        snapshots: SnapshotService,
    ) -> None:
        """Work on this project."""
        self._workspace = workspace
        self._worktrees = worktrees
        self._forge = worktrees.forge
        self._target = target
        self._claims = claims
        self._sessions = session_service
        self._conflicts = conflicts
        self._snapshots = snapshots

    # -- places ------------------------------------------------------------------------------------

    def make_place(self, session: Session) -> Place:
        """Make where a session works: its task's worktree, or a checkout to read in.

        Raises:
            GitRefused: git cannot make it.
            ConfigInvalid: nobody ever told git who they are.
        """
        standing, may_edit = "", False
        match session.role:
            case Role.WORKER:
                with self._workspace.read() as tx:
                    task = tasks.get(tx.db, session.subject)
                worktree = self._prepare(task)
                path = worktree.path
                if session.starts and (state := self.branch_state(task)):
                    standing = standing_of(state, worktree.branch)
            case Role.STEWARD:
                with self._workspace.read() as tx:
                    request = merge_requests.get(tx.db, session.subject)
                resolving = self._conflicts.prepare(request.id)
                may_edit = resolving is not None
                path = resolving or self._worktrees.detached(
                    f"review-{session.name}", request.commit
                )
            case _:
                path = self._worktrees.detached(session.name, self._commit_asked_about(session))
        environment = session_git_environment(self._identity(), path)
        return Place(cwd=str(path), environment=environment, standing=standing, may_edit=may_edit)

    def _commit_asked_about(self, session: Session) -> Oid:
        """Return what a director reads: the asking worker's commits, else the target."""
        with self._workspace.read() as tx:
            question = questions.QUESTIONS.get(tx.db, session.subject)
            task = tasks.get(tx.db, question.task_id) if question and question.task_id else None
        head = self._forge.head_of(f"refs/heads/{task.branch}") if task and task.branch else None
        return head or self._target.head()

    def _identity(self) -> Identity:
        found = identity(self._workspace.layout.root)
        if found is None:
            raise ConfigInvalid(
                "Git does not know who you are, so no commit can be made in your name.",
                remedy='Run `git config --global user.name "…"` and `… user.email "…"`.',
            )
        return found

    def _prepare(self, task: Task) -> Worktree:
        # Order: the lease is granted, git knows the holder, the worktree is prepared, and only then
        # a process is started. After a crash between any two of them all are done again.
        self._workspace.name_holder(task.id, is_guarded=True)
        with self._snapshots.turn(task.id):
            self._snapshots.keep_late_work(task.id)
            worktree = self._worktrees.prepare(task.id, task.title, self._target.head())
        self._snapshots.may_be_taken(task.id)
        if (task.branch, task.base) != (worktree.branch, worktree.base):
            with self._workspace.write(SERVER) as tx:
                tx.edit_task(tasks.get(tx.db, task.id), branch=worktree.branch, base=worktree.base)
        return worktree

    def stock(self) -> None:
        """Keep a worktree at hand for the next task that has none."""
        if self._worktrees.spare.is_there:
            return
        with self._workspace.read() as tx:
            is_wanted = tasks.is_any_unstarted(tx.db)
        if is_wanted:
            self._worktrees.spare.make(self._target.head())

    def claim(self, caller: Caller) -> tuple[Brief, Path | None]:
        """Claim a task; return its brief with the worktree, or None if that must be prepared."""
        brief = self._claims.claim_task(caller)
        found = self._worktrees.find(brief.task.id) if brief.task.branch else None
        return _in_worktree(brief, found) if found else (brief, None)

    def prepare(self, brief: Brief) -> tuple[Brief, Path]:
        """Make the worktree of a claimed task; return the brief with it."""
        return _in_worktree(brief, self._prepare(brief.task))

    # -- what a worker has made --------------------------------------------------------------------

    def handoff_facts(self, caller: Caller) -> HandoffFacts:
        """Snapshot the caller's worktree and return where the work stands."""
        task = self._claims.held_task(caller)
        kept = self._snapshots.take(task.id, f"handoff of {caller.name}", caller.session_id or "")
        if kept is None and (state := self.branch_state(task)):
            # What is not committed was kept before, at a turn's end, and has not changed since.
            kept = state.kept
        return HandoffFacts(commit=self._head_of(task), snapshot=kept)

    def branch_state(self, task: Task) -> BranchState | None:
        """Return where the work on the task stands; None when there is nothing to look at."""
        found = self._worktrees.find(task.id)
        if found is None:
            return None
        with self._workspace.read() as tx:
            late = {one.commit for one in late_work.of_task(tx.db, task.id)}
        try:
            return branch_state(self._forge, found, task.id, late)
        except (StoneforgeError, OSError) as error:
            logger.warning("The worktree of %s cannot be read: %s", task.id, error)
            return None

    def _head_of(self, task: Task) -> Oid | None:
        return self._forge.head_of(f"refs/heads/{task.branch}") if task.branch else None

    # -- turns and ends ----------------------------------------------------------------------------

    def turn_ended(self, caller: Caller, session_id: str, *, turn: int = 0) -> TurnVerdict:
        """Snapshot a worker's files at its turn's end, then decide what becomes of the session."""
        self.keep_files_of(session_id, "turn's end")
        return self._sessions.turn_ended(caller, session_id, turn=turn)

    def session_ended(
        self,
        caller: Caller,
        session_id: str,
        *,
        kind: EndKind,
        detail: str = "",
        resets_at: str = "",
        trace: Trace = NO_TRACE,
        pid: int = 0,
    ) -> Session:
        """Snapshot what a session left uncommitted, then settle what it held.

        `pid` is the process that has ended, when there was one: a report that comes again after the
        session was resumed says nothing about its next process.
        """
        if pid and self._process_of(session_id) != pid:
            return self._sessions.get_session(caller, session_id)
        if self.hand_off_spent(session_id) and kind not in WITH_A_CAUSE_OF_ITS_OWN:
            kind = EndKind.OVER_BUDGET
        self.keep_files_of(session_id, f"session ended: {kind.value}")
        session = self._sessions.ended(
            caller, session_id, kind=kind, detail=detail, resets_at=resets_at, trace=trace, pid=pid
        )
        if session.role is Role.STEWARD:
            self._worktrees.remove_detached(f"review-{session.name}")
        return session

    def _process_of(self, session_id: str) -> int | None:
        with self._workspace.read() as tx:
            return sessions.get(tx.db, session_id).pid

    def take_over_context(self, caller: Caller, session_id: str) -> EndKind:
        """Write the handoff of a worker whose context is full and that did not write it itself.

        Returns what the session's end is: one whose work on the task had ended before, whether with
        an outcome or because its lease was taken away, keeps that end.
        """
        caller.require(Role.PERSON, to="write handoffs for others")
        with self._workspace.read() as tx:
            session = sessions.get(tx.db, session_id)
            lease = leases.live_of(tx.db, session.id)
            if lease is None or session.role is not Role.WORKER:
                return self._end_of(session.id)
            task = tasks.get(tx.db, lease.subject)
        pitfall = "The session's context was full before it wrote a handoff."
        if self._write_handoff(session, task, "context full", pitfall):
            return EndKind.CONTEXT_FULL
        # An outcome, an expiry or a cancellation came first, while the files were kept.
        return self._end_of(session.id)

    def hand_off_spent(self, session_id: str) -> bool:
        """Write the handoff of a worker that has used up its budget; return whether it had."""
        with self._workspace.read() as tx:
            session = sessions.get(tx.db, session_id)
            spending = spent_by(self._workspace, tx, session)
            if spending is None:
                return False
            task = tasks.get(tx.db, session.subject)
            asked = questions.open_of_task(tx.db, task.id)
        pitfall = f"The session was ended before it wrote a handoff: {spending}."
        if asked is not None:
            pitfall += f" It had asked: {asked.text}"
        try:
            return self._write_handoff(session, task, "budget used up", pitfall)
        except (StoneforgeError, OSError) as error:
            # The end is recorded without: commits and files stay where they are.
            logger.warning("No handoff of %s could be written: %s", task.id, error)
            return True

    def _write_handoff(self, session: Session, task: Task, reason: str, pitfall: str) -> bool:
        """Write a worker's handoff from git and its log; False when its work had ended by then."""
        with self._workspace.read() as tx:
            earlier = handoffs.of_task(tx.db, task.id)[::-1]
            met = [one.number for one in criteria_met(tx, earlier)]
        kept = self._snapshots.try_to_take(task.id, reason, session.id)
        state = self.branch_state(task)
        said = last_words(_end_of_log(session.log_path))
        account = in_its_place(task, state, said, met=met, because=pitfall)
        worker = Caller(role=Role.WORKER, name=session.name, session_id=session.id)
        try:
            self._claims.record_handoff(
                worker,
                progress=account.progress,
                remaining=account.remaining,
                decisions="",
                pitfalls=account.pitfalls,
                next_step=account.next_step,
                commit=self._head_of(task),
                snapshot=kept or (state.kept if state else None),
                by_server=True,
            )
        except StaleLease:
            return False
        return True

    def _end_of(self, session_id: SessionId) -> EndKind:
        """Return how the session's work on its subject ended."""
        with self._workspace.read() as tx:
            ended = leases.newest_of(tx.db, session_id)
        return ended.end if ended and ended.end else EndKind.CONTEXT_FULL

    def keep_files_of(self, session_id: str, reason: str) -> None:
        """Snapshot what the session has not committed where it works."""
        with self._workspace.read() as tx:
            session = sessions.get(tx.db, session_id)
        if session.role is Role.WORKER:
            self._snapshots.try_to_take(TaskId(session.subject), reason, session.id)
        elif session.role is Role.STEWARD:
            request_id = MergeRequestId(session.subject)
            with self._workspace.read() as tx:
                is_resolving = conflicts.live_of(tx.db, request_id) is not None
            if is_resolving:
                self._conflicts.keep_files(request_id, reason, session.id)

    def snapshot_expired(self, expired: Sequence[Lease]) -> None:
        """Keep what sessions that were given up left uncommitted."""
        for lease in expired:
            if lease.subject.startswith("T"):
                self._snapshots.try_to_take(
                    TaskId(lease.subject), "lease expired", lease.session_id
                )

    def end_lost_sessions(self, caller: Caller) -> None:
        """Record the end of sessions that nobody reports on any more and whose process is gone.

        Such as one whose order never reached the launcher because the server was killed.
        """
        seconds = self._workspace.settings.orchestrator.lease_seconds
        with self._workspace.read() as tx:
            silent = [
                session
                for session in sessions.alive(tx.db)
                if is_over(session.heard_at, timedelta(seconds=2 * seconds), tx.now)
                and leases.live_of(tx.db, session.id) is None
            ]
        for session in silent:
            if session.pid is None or not process.is_alive(session.pid, session.process_started):
                detail = "no launcher reported on it, and its process is gone"
                trace = Trace(is_resumable=has_spoken(session))
                self.session_ended(
                    caller, session.id, kind=EndKind.STOPPED, detail=detail, trace=trace
                )

    def tidy_ended(self) -> None:
        """Remove the worktrees of tasks and conflicts that have ended; a snapshot has the rest."""
        self._conflicts.tidy()
        for task_id in self._worktrees.occupied():
            with self._workspace.read() as tx:
                task = tasks.TASKS.get(tx.db, task_id)
                is_used = any(one.subject == task_id for one in sessions.alive(tx.db))
            if task is None or is_used or task.state not in TASK_ENDS:
                continue
            try:
                with self._snapshots.turn(task.id):
                    self._snapshots.keep_late_work(task.id)
                    self._worktrees.remove(task.id)
            except (StoneforgeError, OSError) as error:
                # Of no consequence but for the space it takes; tried again later.
                logger.warning("The worktree of %s stays for now: %s", task.id, error)


def _end_of_log(path: str) -> list[bytes]:
    """Return the last lines of a session's log; none when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_END_BYTES))
            return file.read().splitlines()
    except OSError:
        return []


def _in_worktree(brief: Brief, worktree: Worktree) -> tuple[Brief, Path]:
    task = replace(brief.task, branch=worktree.branch, base=worktree.base)
    return replace(brief, task=task), worktree.path
