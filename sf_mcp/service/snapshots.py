"""Work that is on no branch: snapshots of what is not committed, and commits that came too late.

Git runs here, never inside a transaction. Whatever touches a task's worktree takes the task's turn
first (`turn`), so that no two of them meet.
"""

import logging
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sf_mcp.core.errors import NotFound, StoneforgeError
from sf_mcp.core.identity import SERVER, Caller
from sf_mcp.core.models import LateWork, Oid, TaskId
from sf_mcp.core.text import one_line
from sf_mcp.core.thinning import NEWEST, kept
from sf_mcp.git.late import (
    LateCommit,
    changes_of,
    late_commits,
    late_tasks,
    may_be_late,
    number_late,
    settle_late,
)
from sf_mcp.git.snapshots import SNAPSHOTS, Snapshot, list_snapshots, thin
from sf_mcp.git.worktrees import Worktrees
from sf_mcp.service.target import TargetService
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import handoffs, sessions, tasks
from sf_mcp.store.late_work import LATE_WORK, of_task

logger = logging.getLogger(__name__)

MOST_FILES = 10
"""Of a late commit that are named; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotView:
    """A snapshot of a task as people see it."""

    task_id: TaskId
    number: int
    at: datetime
    reason: str
    session: str
    """Whose files they are, by name; empty when nobody's in particular."""
    commit: Oid
    parent: Oid | None
    """The commit that was checked out."""
    files: int
    """How many of them differ from that commit."""


class SnapshotService:
    """Use cases of snapshots."""

    def __init__(self, workspace: Workspace, worktrees: Worktrees, target: TargetService) -> None:
        """Keep the work of this project."""
        self._workspace = workspace
        self._worktrees = worktrees
        self._forge = worktrees.forge
        self._target = target
        self.on_taken: list[Callable[[TaskId], None]] = []
        """Called when a task may have a new snapshot."""
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def turn(self, task_id: TaskId) -> threading.Lock:
        """Return the lock that whoever touches the task's worktree holds meanwhile."""
        return self._turns[task_id]

    def take(self, task_id: TaskId, reason: str, session: str = "") -> Oid | None:
        """Keep what is not committed in the task's worktree; None when nothing is new.

        Raises:
            GitFailed: the files cannot be read or the disk is full; nothing was changed.
        """
        with self.turn(task_id):
            self.keep_late_work(task_id)
            taken = self._worktrees.snapshot(task_id, reason, session)
        if taken is not None:
            self.may_be_taken(task_id)
        return taken

    def may_be_taken(self, task_id: TaskId) -> None:
        """Tell who wants to know that the task may have a new snapshot."""
        for listener in self.on_taken:
            listener(task_id)

    def try_to_take(self, task_id: TaskId, reason: str, session: str = "") -> Oid | None:
        """Take one, but let a session's end be recorded without: the files stay where they are."""
        try:
            return self.take(task_id, reason, session)
        except (StoneforgeError, OSError) as error:
            logger.warning("No snapshot of %s (%s): %s", task_id, reason, error)
            with self._workspace.write(SERVER) as tx:
                tx.event(
                    "snapshot_failed", task_id, reason=reason, detail=one_line(str(error), 300)
                )
            return None

    # -- for people ------------------------------------------------------------------------------

    def list_snapshots(self, _caller: Caller, task: str) -> list[SnapshotView]:
        """Return the task's snapshots, newest first, whatever has become of the task."""
        task_id, late = self._known(task)
        found = list_snapshots(self._forge, task_id)[::-1]
        return [self._view(task_id, each, late.get(each.number)) for each in found]

    def get_snapshot(self, _caller: Caller, task: str, *, number: int = 0) -> SnapshotView:
        """Return one snapshot of the task, the newest if no number is given.

        Raises:
            NotFound: there is none, or none with this number (any more).
        """
        task_id, late = self._known(task)
        found = {each.number: each for each in list_snapshots(self._forge, task_id)}
        if not found:
            raise NotFound(
                f"{task_id} has no snapshot: nothing was ever left uncommitted.",
                remedy="What was committed is on its branch in the forge.",
            )
        each = found.get(number or max(found))
        if each is None:
            raise NotFound(
                f"{task_id} has no snapshot {number}; there are "
                f"{', '.join(str(one) for one in sorted(found))}.",
                remedy=f"Choose one of them. Old ones that were thinned: git --git-dir "
                f"{self._forge.git_dir} log {SNAPSHOTS}/{task_id}/thinned",
            )
        return self._view(task_id, each, late.get(each.number))

    def _known(self, task: str) -> tuple[TaskId, dict[int, LateWork]]:
        with self._workspace.read() as tx:
            task_id = tasks.get(tx.db, task).id
            return task_id, {one.snapshot: one for one in of_task(tx.db, task_id)}

    def _view(self, task_id: TaskId, each: Snapshot, late: LateWork | None) -> SnapshotView:
        session_id = late.session_id if late is not None else each.session
        with self._workspace.read() as tx:
            session = sessions.SESSIONS.get(tx.db, session_id) if session_id else None
        return SnapshotView(
            task_id=task_id,
            number=each.number,
            at=each.at,
            reason=f"late commit: {each.reason}" if late is not None else each.reason,
            session=session.name if session else session_id,
            commit=each.commit,
            parent=each.parent,
            files=len(changes_of(self._forge, each.commit)[1]),
        )

    # -- thinning ----------------------------------------------------------------------------------

    def thin(self) -> None:
        """Thin the old snapshots of every task; those that a handoff or late work names stay."""
        numbered = re.compile(rf"{SNAPSHOTS}/(T[0-9]+)/[0-9]+")
        refs = map(numbered.fullmatch, self._forge.refs_below(SNAPSHOTS))
        many = Counter(TaskId(found[1]) for found in refs if found)
        for task_id in [one for one, number in many.items() if number > NEWEST]:
            with self.turn(task_id):
                self._thin(task_id)

    def _thin(self, task_id: TaskId) -> None:
        taken = list_snapshots(self._forge, task_id)
        with self._workspace.read() as tx:
            named = {one.snapshot for one in handoffs.of_task(tx.db, task_id)}
            pinned = {one.snapshot for one in of_task(tx.db, task_id)}
        pinned |= {each.number for each in taken if each.commit in named}
        now = self._workspace.now()
        keep = kept([(each.number, each.at) for each in taken], now, pinned)
        if drop := [each for each in taken if each.number not in keep]:
            thin(self._forge, task_id, drop, now)
            logger.info("%s snapshots of %s thinned", len(drop), task_id)

    # -- late commits ------------------------------------------------------------------------------

    def keep_all_late_work(self) -> None:
        """Number what the guard kept while nobody looked: before a start of the server."""
        for task_id in late_tasks(self._forge):
            try:
                with self.turn(task_id):
                    self.keep_late_work(task_id)
            except (StoneforgeError, OSError) as error:
                # Kept as it is, and looked at again with the task's next snapshot.
                logger.warning("Late work of %s is not numbered yet: %s", task_id, error)

    def keep_late_work(self, task_id: TaskId) -> None:
        """Number and record the commits that the guard refused and kept, for the next brief."""
        if not may_be_late(self._forge, task_id):
            return
        found = late_commits(self._forge, task_id)
        for late in found:
            if not self._is_on_a_branch(late):
                self._record(late, number_late(self._forge, late))
        settle_late(self._forge, task_id, found)

    def _is_on_a_branch(self, late: LateCommit) -> bool:
        """Return whether nothing would be lost: a fenced session may have gone back to old work."""
        with self._workspace.read() as tx:
            task = tasks.TASKS.get(tx.db, late.task_id)
        refs = [self._target.ref, *([f"refs/heads/{task.branch}"] if task and task.branch else [])]
        heads = [head for ref in refs if (head := self._forge.head_of(ref))]
        return any(self._forge.is_ancestor(late.commit, head) for head in heads)

    def _record(self, late: LateCommit, number: int) -> None:
        subject, paths = changes_of(self._forge, late.commit)
        more = [f"and {len(paths) - MOST_FILES} more"] if len(paths) > MOST_FILES else []
        with self._workspace.write(SERVER) as tx:
            if tasks.TASKS.get(tx.db, late.task_id) is None or any(
                one.snapshot == number for one in of_task(tx.db, late.task_id)
            ):
                return
            session = sessions.SESSIONS.get(tx.db, late.session)
            LATE_WORK.insert(
                tx.db,
                LateWork(
                    task_id=late.task_id,
                    snapshot=number,
                    session_id=session.id if session else "",
                    commit=late.commit,
                    subject=one_line(subject, 200),
                    files=(*paths[:MOST_FILES], *more),
                    created_at=tx.now,
                ),
            )
            tx.event(
                "late_work_kept",
                late.task_id,
                snapshot=number,
                commit=late.commit,
                session=session.name if session else late.session,
                title=one_line(subject, 200),
            )
