"""Which task came of which part of an imported plan, as rows."""

import sqlite3

from sf_mcp.core.models import PlanId, TaskId


def of_plan(db: sqlite3.Connection, plan_id: PlanId) -> dict[str, TaskId]:
    """Return the tasks that were imported into the plan, by their key in the file."""
    rows = db.execute("SELECT key, task_id FROM imported_tasks WHERE plan_id = ?", (plan_id,))
    return {str(row[0]): TaskId(row[1]) for row in rows}


def add(db: sqlite3.Connection, plan_id: PlanId, key: str, task_id: TaskId) -> None:
    """Record that the task came of this part of the plan's file."""
    db.execute("INSERT INTO imported_tasks VALUES (?, ?, ?)", (plan_id, key, task_id))
