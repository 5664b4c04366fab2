"""Work that is on no branch: snapshots of what is not committed, and commits that came too late.

Git runs here, never inside a transaction. Whatever touches a task's worktree takes the task's turn
first (`turn`), so that no two of them meet.
"""

import logging
import threading
from collections import defaultdict

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.identity import SERVER
from sf_mcp.core.models import LateWork, Oid, TaskId
from sf_mcp.core.text import one_line
from sf_mcp.git.late import (
    LateCommit,
    changes_of,
    late_commits,
    late_tasks,
    may_be_late,
    number_late,
    settle_late,
)
from sf_mcp.git.worktrees import Worktrees
from sf_mcp.service.target import TargetService
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import sessions, tasks
from sf_mcp.store.late_work import LATE_WORK, of_task

logger = logging.getLogger(__name__)

MOST_FILES = 10
"""Of a late commit that are named; the rest is counted."""


class SnapshotService:
    """Use cases of snapshots."""

    def __init__(self, workspace: Workspace, worktrees: Worktrees, target: TargetService) -> None:
        """Keep the work of this project."""
        self._workspace = workspace
        self._worktrees = worktrees
        self._forge = worktrees.forge
        self._target = target
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
            return self._worktrees.snapshot(task_id, reason, session)

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
