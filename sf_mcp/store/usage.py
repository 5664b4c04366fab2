"""What processes of sessions used, day by day, as rows that only ever grow."""

import sqlite3
from dataclasses import dataclass, fields

from sf_mcp.core.models import Role, SessionId, Usage
from sf_mcp.core.states import SessionState
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What one session used on one day, and what it was for."""

    session_id: SessionId
    name: str
    role: Role
    subject: str
    state: SessionState
    task_id: str
    """The task that it worked on, reviewed or answered a question about; empty when none."""
    day: str
    input_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    output_tokens: int
    coordination_tokens: int
    cost_usd: float


_USED = Table("used", Used, key="session_id")

# A session of which only the cost is known counts on the day on which it began.
_ALL = """
WITH used AS (
    SELECT s.id AS session_id, s.name, s.role, s.subject, s.state,
           coalesce(t.id, m.task_id, q.task_id, '') AS task_id,
           coalesce(u.day, substr(s.created_at, 1, 10)) AS day,
           sum(coalesce(u.input_tokens, 0)) AS input_tokens,
           sum(coalesce(u.cache_write_tokens, 0)) AS cache_write_tokens,
           sum(coalesce(u.cache_read_tokens, 0)) AS cache_read_tokens,
           sum(coalesce(u.output_tokens, 0)) AS output_tokens,
           sum(coalesce(u.coordination_tokens, 0)) AS coordination_tokens,
           sum(coalesce(u.cost_usd, s.cost_usd)) AS cost_usd
    FROM sessions s
    LEFT JOIN usage u ON u.session_id = s.id
    LEFT JOIN tasks t ON t.id = s.subject
    LEFT JOIN merge_requests m ON m.id = s.subject
    LEFT JOIN questions q ON q.id = s.subject
    GROUP BY s.id, coalesce(u.day, substr(s.created_at, 1, 10))
)
"""


def of_all(db: sqlite3.Connection) -> list[Used]:
    """Return what every session used, by day, oldest session first."""
    names = ", ".join(field.name for field in fields(Used))
    rows = db.execute(f"{_ALL} SELECT {names} FROM used ORDER BY day, name")
    return [_USED.value(row) for row in rows]
