"""What the person's command was run for, as rows."""

import sqlite3
from datetime import datetime

from sf_mcp.store.rows import to_column

PROBLEM = "notify_problem"
"""The fact that says why the command does not work; empty or missing while it does."""


def told(db: sqlite3.Connection, kind: str) -> set[str]:
    """Return the subjects that the command was run for, of one kind."""
    rows = db.execute("SELECT subject FROM notifications WHERE kind = ?", (kind,))
    return {str(row[0]) for row in rows}


def note(db: sqlite3.Connection, kind: str, subject: str, at: datetime) -> bool:
    """Record that the command is run for the subject; return False when it was before."""
    done = db.execute(
        "INSERT OR IGNORE INTO notifications VALUES (?, ?, ?)", (kind, subject, to_column(at))
    )
    return done.rowcount == 1
