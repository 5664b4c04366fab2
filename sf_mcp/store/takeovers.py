"""Who works in a session in place of the launcher, or waits to, as rows."""

import sqlite3

from sf_mcp.core.models import SessionId, Takeover
from sf_mcp.store.rows import Table

TAKEOVERS = Table("takeovers", Takeover, key="session_id")


def find(db: sqlite3.Connection, session_id: str) -> Takeover | None:
    """Return who has the session, or wants it."""
    return TAKEOVERS.get(db, session_id)


def all_of(db: sqlite3.Connection) -> list[Takeover]:
    """Return every takeover, the oldest first."""
    return TAKEOVERS.select(db, "1 ORDER BY asked_at")


def remove(db: sqlite3.Connection, session_id: SessionId) -> None:
    """Forget it: the session is nobody's but the fleet's."""
    db.execute("DELETE FROM takeovers WHERE session_id = ?", (session_id,))
