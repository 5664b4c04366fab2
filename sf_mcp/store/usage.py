"""What processes of sessions used, day by day, as rows that only ever grow."""

import sqlite3
from dataclasses import fields

from sf_mcp.core.models import SessionId, Usage
from sf_mcp.store.rows import Table

USAGE = Table("usage", Usage, key="session_id")

_KEY = ("session_id", "start", "day")
_NAMES = tuple(field.name for field in fields(Usage))
_GROWN = ", ".join(f"{name} = max({name}, excluded.{name})" for name in _NAMES if name not in _KEY)
_UPSERT = (
    f"INSERT INTO usage ({', '.join(_NAMES)}) VALUES ({', '.join('?' * len(_NAMES))}) "
    f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {_GROWN}"
)


def record(db: sqlite3.Connection, usage: Usage) -> None:
    """Keep the amounts, each unless it is known to be higher: a late report takes nothing back."""
    db.execute(_UPSERT, [getattr(usage, name) for name in _NAMES])


def of_session(db: sqlite3.Connection, session_id: SessionId) -> list[Usage]:
    """Return what the session's processes used, oldest first."""
    return USAGE.select(db, "session_id = ? ORDER BY start, day", session_id)
