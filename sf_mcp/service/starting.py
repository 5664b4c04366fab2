"""Whether a session may be started for a subject now, and if not, until when."""

from datetime import datetime, timedelta

from sf_mcp.core.models import FAILURES
from sf_mcp.core.states import LIVE_SESSIONS
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import leases, sessions

FIRST_BACKOFF = timedelta(seconds=2)
LONGEST_BACKOFF = timedelta(minutes=5)
MOST_DOUBLINGS = 10

MOST_STARTS = 50
"""Processes for one task, merge request or question, however each of them ended: a cap on sessions
that hand off, release or ask for ever. A task that is worth more is retried by the person."""


def may_start(tx: Transaction, subject: str) -> bool:
    """Return whether no process of an earlier session lives and no back-off runs."""
    if any(session.state in LIVE_SESSIONS for session in sessions.newest_on(tx.db, subject)):
        return False
    until = backoff_until(tx, subject)
    return until is None or until <= tx.now


def has_started_too_often(tx: Transaction, subject: str, since: datetime | None = None) -> bool:
    """Return whether so many sessions have worked on the subject that one more would not help."""
    return sessions.starts_on(tx.db, subject, since) >= MOST_STARTS


def backoff_until(tx: Transaction, subject: str) -> datetime | None:
    """Return until when a subject waits after failures in a row: the wait doubles each time."""
    failures = 0
    newest = leases.newest_ended(tx.db, subject, limit=MOST_DOUBLINGS + 1)
    for attempt in newest:
        if attempt.end not in FAILURES:
            break
        failures += 1
    if not failures or (ended_at := newest[0].ended_at) is None:
        return None
    return ended_at + min(FIRST_BACKOFF * 2 ** (failures - 1), LONGEST_BACKOFF)


def next_backoff_end(tx: Transaction) -> datetime | None:
    """Return when the first of the back-offs that run now is over."""
    failed = leases.failed_since(tx.db, tx.now - LONGEST_BACKOFF)
    ends = [until for subject in failed if (until := backoff_until(tx, subject))]
    return min((until for until in ends if until > tx.now), default=None)
