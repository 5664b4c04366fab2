"""Handoffs as rows."""

import sqlite3

from sf_mcp.core.models import Handoff, TaskId
from sf_mcp.store.rows import Table

HANDOFFS = Table("handoffs", Handoff, key="number")


def of_task(db: sqlite3.Connection, task_id: TaskId) -> list[Handoff]:
    """Return the task's handoffs, oldest first."""
    return HANDOFFS.select(db, "task_id = ? ORDER BY number", task_id)
