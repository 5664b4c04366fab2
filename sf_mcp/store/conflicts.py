"""Conflicts that a steward resolves, as rows."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from sf_mcp.core.models import FAILURES, Conflict, EndKind, MergeRequest, Oid
from sf_mcp.core.states import ConflictState
from sf_mcp.store.rows import Table, to_column

CONFLICTS = Table("conflicts", Conflict, key="number")
LIVE = "state IN ('open', 'resolving')"
ESCALATED = "escalated"
"""How the lease of a steward ends that leaves a conflict, or a review, to the person."""
FAILED = FAILURES | {EndKind.CONTEXT_FULL}
"""The ends of a steward's session that leave its conflict as it was, by its own fault."""


def begin(
    db: sqlite3.Connection,
    request: MergeRequest,
    *,
    target: Oid,
    paths: Sequence[str],
    messages: Sequence[str],
    hunks: str,
    reason: str,
    at: datetime,
) -> Conflict:
    """Record that what the merge request is pinned to conflicts with the target."""
    number = CONFLICTS.insert_numbered(
        db,
        {
            "merge_request_id": request.id,
            "state": ConflictState.OPEN,
            "commit": request.commit,
            "target": target,
            "paths": tuple(paths),
            "messages": tuple(messages),
            "hunks": hunks,
            "reason": reason,
            "note": "",
            "created_at": at,
        },
    )
    begun = CONFLICTS.get(db, number)
    assert begun is not None  # just written
    return begun


def live(db: sqlite3.Connection) -> list[Conflict]:
    """Return the conflicts that are not over, oldest first."""
    return CONFLICTS.select(db, f"{LIVE} ORDER BY number")


def live_of(db: sqlite3.Connection, merge_request_id: str) -> Conflict | None:
    """Return the merge request's conflict that is not over."""
    return CONFLICTS.first(db, f"merge_request_id = ? AND {LIVE}", merge_request_id)


def of_request(db: sqlite3.Connection, merge_request_id: str) -> list[Conflict]:
    """Return every conflict that the merge request ever had, oldest first."""
    return CONFLICTS.select(db, "merge_request_id = ? ORDER BY number", merge_request_id)


def resolved_as(db: sqlite3.Connection, commit: Oid) -> Conflict | None:
    """Return the conflict whose resolution this commit is, if it is one that holds."""
    return CONFLICTS.first(db, "resolution = ? AND state = 'resolved'", commit)


def count_failed(db: sqlite3.Connection, conflict: Conflict) -> int:
    """Return how many stewards worked on the conflict and did not resolve it."""
    kinds = sorted(kind.value for kind in FAILED)
    marks = ", ".join("?" * len(kinds))
    row = db.execute(
        f'SELECT count(*) FROM leases WHERE subject = ? AND ("end" IN ({marks}) OR end_detail = ?)'
        " AND granted_at >= ? AND granted_at <= ?",
        (
            conflict.merge_request_id,
            *kinds,
            ESCALATED,
            to_column(conflict.created_at),
            to_column(conflict.ended_at) if conflict.ended_at else "9",
        ),
    )
    return int(row.fetchone()[0])
