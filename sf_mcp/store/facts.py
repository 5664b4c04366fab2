"""Single facts by name: the server's port, the pause, the account."""

import sqlite3


def get(db: sqlite3.Connection, name: str) -> str | None:
    """Return the fact's value."""
    row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def put(db: sqlite3.Connection, name: str, value: str) -> None:
    """Set the fact."""
    db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def remove(db: sqlite3.Connection, name: str) -> None:
    """Forget the fact."""
    db.execute("DELETE FROM facts WHERE name = ?", (name,))
