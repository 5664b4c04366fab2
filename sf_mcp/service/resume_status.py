"""What became of a session that does not work by itself at the moment, in words."""

from datetime import datetime

from sf_mcp.core.models import Session, Task
from sf_mcp.core.recovery import RESUMED
from sf_mcp.service.starting import backoff_until
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import leases


def resume_status(tx: Transaction, task: Task, session: Session, max_failures: int) -> str:
    """Return it as the end of a sentence: `was killed 3 s ago; it is resumed in 12 s (…)`."""
    how = RESUMED.get(session.end, "has ended") if session.end is not None else "has ended"
    lease = leases.newest_of(tx.db, session.id)
    ago = ""
    if lease is not None and lease.ended_at is not None:
        ago = f" {in_words(max(0.0, (tx.now - lease.ended_at).total_seconds()))} ago"
    until = backoff_until(tx, task.id)
    when = f"in {in_words((until - tx.now).total_seconds())}" if until else "next"
    failures = leases.count_failures(tx.db, task.id, task.retried_at)
    attempt = f" (attempt {failures + 1} of {max_failures})" if failures else ""
    return f"{how}{ago}; it is resumed {when}{attempt}"


def taken_over_status(since: datetime) -> str:
    """Return since when a person has a session, as all views say it."""
    return f"taken over by you since {since:%H:%M} UTC"


def in_words(seconds: float) -> str:
    """Return a span of time for people: `12 s`, `5 min`, `3 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
