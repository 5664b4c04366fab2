"""The pull requests that mirror merge requests, as rows."""

import sqlite3
from collections.abc import Mapping

from sf_mcp.core.models import PullRequest, TaskId
from sf_mcp.store.rows import Table, to_column

PULL_REQUESTS = Table("pull_requests", PullRequest, key="task_id")
PROBLEM = "pull_requests_problem"
"""The fact that says why they are not up to date; empty when they are."""


def all_of(db: sqlite3.Connection) -> Mapping[TaskId, PullRequest]:
    """Return every pull request by its task."""
    return {one.task_id: one for one in PULL_REQUESTS.select(db)}


def put(db: sqlite3.Connection, value: PullRequest) -> None:
    """Add or replace the task's pull request."""
    db.execute(
        "INSERT OR REPLACE INTO pull_requests (task_id, branch, number, url, pushed, told)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            to_column(column)
            for column in (
                value.task_id,
                value.branch,
                value.number,
                value.url,
                value.pushed,
                value.told,
            )
        ],
    )
