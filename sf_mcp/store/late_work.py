"""Late work as rows: what sessions committed after they had lost their tasks."""

import sqlite3

from sf_mcp.core.models import LateWork, TaskId
from sf_mcp.store.rows import Table

LATE_WORK = Table("late_work", LateWork, key="snapshot")


def of_task(db: sqlite3.Connection, task_id: TaskId) -> list[LateWork]:
    """Return the task's late work, oldest first."""
    return LATE_WORK.select(db, "task_id = ? ORDER BY snapshot", task_id)
