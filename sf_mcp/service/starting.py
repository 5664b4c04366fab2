"""Whether a session may be started for a subject now, and if not, until when."""

from datetime import datetime

from sf_mcp.core import recovery
from sf_mcp.core.models import Session, SessionId, TaskId
from sf_mcp.core.states import LIVE_SESSIONS, WAITING_SESSIONS
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import leases, sessions, tasks

MOST_STARTS = 50
"""Processes for one task, merge request or question, however each of them ended: a cap on sessions
that hand off, release or ask for ever. A task that is worth more is retried by the person."""


def may_start(tx: Transaction, subject: str) -> bool:
    """Return whether no process of an earlier session lives and no back-off runs."""
    if any(session.state in LIVE_SESSIONS for session in sessions.newest_on(tx.db, subject)):
        return False
    return backoff_until(tx, subject) is None


def has_started_too_often(tx: Transaction, subject: str, since: datetime | None = None) -> bool:
    """Return whether so many sessions have worked on the subject that one more would not help."""
    return sessions.starts_on(tx.db, subject, since) >= MOST_STARTS


def backoff_until(tx: Transaction, subject: str) -> datetime | None:
    """Return until when a subject waits after failures in a row; None when it need not."""
    return recovery.wait_ends(
        leases.newest_ended(tx.db, subject, limit=recovery.MOST_DOUBLINGS + 1),
        now=tx.now,
        is_resumed=session_to_resume(tx, TaskId(subject)) is not None,
    )


def next_backoff_end(tx: Transaction) -> datetime | None:
    """Return when the first of the back-offs that run now is over."""
    failed = leases.waited_out_since(tx.db, tx.now - recovery.LONGEST_WAIT)
    ends = [until for subject in failed if (until := backoff_until(tx, subject))]
    return min(ends, default=None)


def session_to_resume(tx: Transaction, task_id: TaskId) -> Session | None:
    """Return the session without a process that the task is kept for."""
    reserved_for: SessionId | None = tasks.reservation_of(tx.db, task_id)
    session = sessions.SESSIONS.get(tx.db, reserved_for) if reserved_for else None
    return session if session is not None and session.state in WAITING_SESSIONS else None
