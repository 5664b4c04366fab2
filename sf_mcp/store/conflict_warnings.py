"""Which conflicts a session has been told of, as rows."""

import sqlite3
from datetime import datetime

from sf_mcp.core.models import SessionId
from sf_mcp.store.rows import to_column


def told(db: sqlite3.Connection, session_id: SessionId) -> set[tuple[str, str]]:
    """Return the other side and the content of each conflict that the session was told of."""
    rows = db.execute(
        "SELECT other, content FROM conflict_warnings WHERE session_id = ?", (session_id,)
    )
    return {(row[0], row[1]) for row in rows}


def note(
    db: sqlite3.Connection, session_id: SessionId, other: str, content: str, at: datetime
) -> None:
    """Record that the session is being told of a conflict."""
    db.execute(
        "INSERT OR IGNORE INTO conflict_warnings VALUES (?, ?, ?, ?)",
        (session_id, other, content, to_column(at)),
    )
