"""Merge requests, their reviews and the repair notes of those sent back, as rows."""

import sqlite3
from datetime import datetime

from sf_mcp.core.errors import NotFound
from sf_mcp.core.models import MergeRequest, MergeRequestId, RepairNote, Review, TaskId
from sf_mcp.core.states import MergeState
from sf_mcp.store.rows import Table, next_id, to_column

MERGE_REQUESTS = Table("merge_requests", MergeRequest)
REVIEWS = Table("reviews", Review, key="merge_request_id")
REPAIR_NOTES = Table("repair_notes", RepairNote, key="task_id")


def new_id(db: sqlite3.Connection) -> MergeRequestId:
    """Return the next free id."""
    return MergeRequestId(next_id(db, "merge_requests", "M"))


def get(db: sqlite3.Connection, merge_request_id: str) -> MergeRequest:
    """Return the merge request.

    Raises:
        NotFound: there is none with this id.
    """
    if (found := MERGE_REQUESTS.get(db, merge_request_id)) is None:
        raise NotFound(
            f"There is no merge request {merge_request_id}.", remedy="List them with `sf mr list`."
        )
    return found


def in_state(db: sqlite3.Connection, *states: MergeState) -> list[MergeRequest]:
    """Return the merge requests in any of these states, oldest first."""
    marks = ", ".join("?" * len(states))
    return MERGE_REQUESTS.select(db, f"state IN ({marks}) ORDER BY number", *states)


def all_of(db: sqlite3.Connection) -> list[MergeRequest]:
    """Return every merge request, oldest first."""
    return MERGE_REQUESTS.select(db, "1 ORDER BY number")


def of_task(db: sqlite3.Connection, task_id: TaskId) -> list[MergeRequest]:
    """Return all merge requests of the task, oldest first."""
    return MERGE_REQUESTS.select(db, "task_id = ? ORDER BY number", task_id)


def live_of_task(db: sqlite3.Connection, task_id: TaskId) -> MergeRequest | None:
    """Return the task's merge request that is under way."""
    return MERGE_REQUESTS.first(db, "task_id = ? AND state IN ('open', 'landing')", task_id)


def newest_of_task(db: sqlite3.Connection, task_id: TaskId) -> MergeRequest | None:
    """Return the task's newest merge request."""
    return MERGE_REQUESTS.first(db, "task_id = ? ORDER BY number DESC", task_id)


def reviews_of(db: sqlite3.Connection, request: MergeRequest) -> list[Review]:
    """Return the reviews that hold: those of the commit pinned now, oldest first."""
    return REVIEWS.select(
        db,
        'merge_request_id = ? AND "commit" = ? ORDER BY rowid',
        request.id,
        request.commit,
    )


def repair_notes(db: sqlite3.Connection, task_id: TaskId) -> list[RepairNote]:
    """Return why the task was sent back, each time, oldest first."""
    return REPAIR_NOTES.select(db, "task_id = ? ORDER BY rowid", task_id)


def count_send_backs(db: sqlite3.Connection, task_id: TaskId, since: datetime | None) -> int:
    """Return how often the task was sent back since then."""
    row = db.execute(
        "SELECT count(*) FROM repair_notes WHERE task_id = ? AND created_at > ?",
        (task_id, to_column(since) if since else ""),
    )
    return int(row.fetchone()[0])
