"""Leases as rows; the ended leases of a task are its attempts."""

import sqlite3
from datetime import datetime

from sf_mcp.core.models import FAILURES, Lease, SessionId
from sf_mcp.core.recovery import WAITED_OUT
from sf_mcp.store.rows import Table, to_column

LEASES = Table("leases", Lease, key="number")


def next_number(db: sqlite3.Connection) -> int:
    """Return the number of the next lease; to be used in this transaction."""
    return int(db.execute("SELECT coalesce(max(number), 0) + 1 FROM leases").fetchone()[0])


def newest_on(db: sqlite3.Connection, subject: str) -> Lease | None:
    """Return the newest lease on the subject, live or ended: the one with the highest token."""
    return LEASES.first(db, "subject = ? ORDER BY fence DESC", subject)


def live_on(db: sqlite3.Connection, subject: str) -> Lease | None:
    """Return the live lease on the subject."""
    return LEASES.first(db, "subject = ? AND ended_at IS NULL", subject)


def live_of(db: sqlite3.Connection, session_id: SessionId) -> Lease | None:
    """Return the live lease that the session holds."""
    return LEASES.first(db, "session_id = ? AND ended_at IS NULL", session_id)


def newest_of(db: sqlite3.Connection, session_id: SessionId) -> Lease | None:
    """Return the session's newest lease, live or ended."""
    return LEASES.first(db, "session_id = ? ORDER BY number DESC", session_id)


def live(db: sqlite3.Connection) -> list[Lease]:
    """Return every live lease."""
    return LEASES.select(db, "ended_at IS NULL ORDER BY number")


def holder_names(db: sqlite3.Connection) -> dict[str, str]:
    """Return the name of the session that holds it, for each subject that is held."""
    rows = db.execute(
        "SELECT leases.subject, sessions.name FROM leases"
        " JOIN sessions ON sessions.id = leases.session_id WHERE leases.ended_at IS NULL"
    )
    return {row[0]: row[1] for row in rows}


def expired(db: sqlite3.Connection, now: datetime) -> list[Lease]:
    """Return the live leases whose time has passed."""
    return LEASES.select(db, "ended_at IS NULL AND expires_at <= ? ORDER BY number", to_column(now))


def attempts(db: sqlite3.Connection, subject: str) -> list[Lease]:
    """Return the ended leases of the subject, oldest first."""
    return LEASES.select(db, "subject = ? AND ended_at IS NOT NULL ORDER BY number", subject)


def of_subject(db: sqlite3.Connection, subject: str) -> list[Lease]:
    """Return every lease on the subject, live or ended, oldest first."""
    return LEASES.select(db, "subject = ? ORDER BY number", subject)


def newest_ended(db: sqlite3.Connection, subject: str, *, limit: int) -> list[Lease]:
    """Return the newest ended leases of the subject, newest first."""
    return LEASES.select(
        db, "subject = ? AND ended_at IS NOT NULL ORDER BY number DESC LIMIT ?", subject, limit
    )


def waited_out_since(db: sqlite3.Connection, since: datetime) -> list[str]:
    """Return the subjects of which an attempt ended after `since` in a way that a wait follows."""
    kinds = sorted(kind.value for kind in WAITED_OUT)
    marks = ", ".join("?" * len(kinds))
    rows = db.execute(
        f'SELECT DISTINCT subject FROM leases WHERE ended_at > ? AND "end" IN ({marks})',
        (to_column(since), *kinds),
    )
    return [str(row[0]) for row in rows]


def count_failures(db: sqlite3.Connection, subject: str, since: datetime | None) -> int:
    """Return how many attempts since then ended in a real failure."""
    kinds = sorted(kind.value for kind in FAILURES)
    marks = ", ".join("?" * len(kinds))
    row = db.execute(
        f'SELECT count(*) FROM leases WHERE subject = ? AND "end" IN ({marks}) AND ended_at > ?',
        (subject, *kinds, to_column(since) if since else ""),
    )
    return int(row.fetchone()[0])
