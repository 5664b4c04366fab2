"""Results of calls by idempotency key, stored in the transaction of their effect."""

import json
import sqlite3
from datetime import datetime
from typing import Any

from sf_mcp.core.errors import IdempotencyConflict
from sf_mcp.core.interrupted import RecordedCall
from sf_mcp.core.models import SessionId
from sf_mcp.store.rows import to_column

TURN_ENDED = "turn_ended"
"""What a report of a turn's end is kept as, among the calls that have their effect once."""


def find(db: sqlite3.Connection, key: str, tool: str, request_hash: str) -> Any | None:
    """Return the stored result of the same call.

    Raises:
        IdempotencyConflict: the key was used for another request.
    """
    row = db.execute(
        "SELECT tool, request_hash, result FROM calls WHERE key = ?", (key,)
    ).fetchone()
    if row is None:
        return None
    if (row["tool"], row["request_hash"]) != (tool, request_hash):
        raise IdempotencyConflict(
            f"The call key {key} was already used for another {row['tool']} request.",
            remedy="Make the call again as a new call.",
        )
    return json.loads(row["result"])


def store(
    db: sqlite3.Connection, key: str, tool: str, request_hash: str, result: Any, at: datetime
) -> None:
    """Keep the result for a repeated call."""
    db.execute(
        "INSERT INTO calls VALUES (?, ?, ?, ?, ?)",
        (key, tool, request_hash, json.dumps(result), to_column(at)),
    )


def of_session(
    db: sqlite3.Connection, session_id: SessionId, *, since: datetime, limit: int
) -> list[RecordedCall]:
    """Return the newest calls of the session's tools recorded from `since` on, oldest first."""
    rows = db.execute(
        "SELECT key, tool, result FROM calls WHERE key > ? AND key < ? AND created_at >= ?"
        " AND tool <> ? ORDER BY rowid DESC LIMIT ?",
        # Keys are `SESSION:TOOL USE`, and `;` is the character after `:`.
        (f"{session_id}:", f"{session_id};", to_column(since), TURN_ENDED, limit),
    )
    return [
        RecordedCall(id=key.partition(":")[2], tool=tool, result=json.loads(result))
        for key, tool, result in rows
    ][::-1]
