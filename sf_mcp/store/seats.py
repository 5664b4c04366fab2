"""The director's seat as rows: which Claude Code sessions of the person's take part."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

from sf_mcp.store.rows import Table, to_column


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A person's own Claude Code session, and how much it knows."""

    client_session: str
    """Claude Code's own id of it."""
    told: int
    """The newest event that it was told of, or that needs no telling."""
    context_tokens: int
    context_window: int
    """Zero: its status line has not said yet."""
    created_at: datetime
    seen_at: datetime
    """When it was last heard of, to within a minute or so."""
    ended_at: datetime | None


SEATS = Table("seats", Seat, key="client_session")

KEPT_FOR = timedelta(days=30)
"""A session that is not gone on with for so long is forgotten."""


def attached(db: sqlite3.Connection) -> list[Seat]:
    """Return the seats whose sessions have not ended, oldest first."""
    return SEATS.select(db, "ended_at IS NULL ORDER BY created_at")


def forget_before(db: sqlite3.Connection, at: datetime) -> None:
    """Forget the seats that were last heard of before `at`."""
    db.execute("DELETE FROM seats WHERE seen_at < ?", (to_column(at),))
