"""Tasks and dependencies as rows."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sf_mcp.core.errors import NotFound
from sf_mcp.core.graph import Node, Standing
from sf_mcp.core.models import DEFAULT_ESTIMATE_MINUTES, PlanId, SessionId, Task, TaskId
from sf_mcp.core.states import SATISFIED, PlanState, TaskState
from sf_mcp.store.rows import Table, next_id

TASKS = Table("tasks", Task)


def new_id(db: sqlite3.Connection) -> TaskId:
    """Return the next free id."""
    return TaskId(next_id(db, "tasks", "T"))


def get(db: sqlite3.Connection, task_id: str) -> Task:
    """Return the task.

    Raises:
        NotFound: there is none with this id.
    """
    if (task := TASKS.get(db, task_id)) is None:
        raise NotFound(f"There is no task {task_id}.", remedy="List them with `sf task list`.")
    return task


def reservation_of(db: sqlite3.Connection, task_id: TaskId) -> SessionId | None:
    """Return for which session's return the task is kept; None: for nobody's."""
    row = db.execute("SELECT reserved_for FROM tasks WHERE id = ?", (task_id,)).fetchone()
    return row and row[0]


def of_plan(db: sqlite3.Connection, plan_id: PlanId) -> list[Task]:
    """Return the plan's tasks, oldest first."""
    return TASKS.select(db, "plan_id = ? ORDER BY number", plan_id)


class TaskRow(NamedTuple):
    """What a list of many tasks shows of one."""

    id: TaskId
    plan_id: PlanId
    title: str
    state: TaskState
    priority: int
    estimate_minutes: float | None


def rows_of_plans(db: sqlite3.Connection, plan_ids: Iterable[PlanId]) -> list[TaskRow]:
    """Return the tasks of these plans, reading no more columns than a list needs."""
    return _rows(db, "plan_id", plan_ids)


def rows(db: sqlite3.Connection, task_ids: Iterable[TaskId]) -> list[TaskRow]:
    """Return these tasks in the same way."""
    return _rows(db, "id", task_ids)


def _rows(db: sqlite3.Connection, column: str, values: Iterable[str]) -> list[TaskRow]:
    found = _tuples(
        db,
        "SELECT id, plan_id, title, state, priority, estimate_minutes FROM tasks"
        f" WHERE {column} IN (SELECT value FROM json_each(?))",
        json.dumps(list(values)),
    )
    return [
        TaskRow(task_id, plan_id, title, TaskState(state), priority, estimate)
        for task_id, plan_id, title, state, priority, estimate in found
    ]


def in_state(db: sqlite3.Connection, *states: TaskState) -> list[Task]:
    """Return the tasks in any of these states, oldest first."""
    marks = ", ".join("?" * len(states))
    return TASKS.select(db, f"state IN ({marks}) ORDER BY number", *states)


def dependencies_of(db: sqlite3.Connection, task_id: TaskId) -> list[Task]:
    """Return the tasks that this one depends on, oldest first."""
    return TASKS.select(
        db,
        "id IN (SELECT depends_on FROM dependencies WHERE task_id = ?) ORDER BY number",
        task_id,
    )


def dependents_of(db: sqlite3.Connection, task_id: TaskId) -> list[Task]:
    """Return the tasks that depend on this one, oldest first."""
    return TASKS.select(
        db,
        "id IN (SELECT task_id FROM dependencies WHERE depends_on = ?) ORDER BY number",
        task_id,
    )


def add_dependency(db: sqlite3.Connection, task_id: TaskId, depends_on: TaskId) -> None:
    """Record that one task depends on another; recording it again changes nothing."""
    db.execute("INSERT OR IGNORE INTO dependencies VALUES (?, ?)", (task_id, depends_on))


def remove_dependency(db: sqlite3.Connection, task_id: TaskId, depends_on: TaskId) -> bool:
    """Forget a dependency; return whether there was one."""
    cursor = db.execute(
        "DELETE FROM dependencies WHERE task_id = ? AND depends_on = ?", (task_id, depends_on)
    )
    return cursor.rowcount > 0


def standing(state: TaskState, plan_state: PlanState) -> Standing:
    """Return how a task in this state, in a plan in that state, stands in the graph."""
    if state in SATISFIED:
        return Standing.SATISFIED
    if state is TaskState.CANCELLED:
        return Standing.CANCELLED
    if state is TaskState.OPEN and plan_state is PlanState.ACTIVE:
        return Standing.OPEN
    return Standing.HELD


def node(task: Task, plan_state: PlanState) -> Node:
    """Return the task as the graph sees it."""
    return Node(
        id=task.id,
        order=int(task.id[1:]),
        priority=task.priority,
        estimate_minutes=task.estimate_minutes or DEFAULT_ESTIMATE_MINUTES,
        standing=standing(task.state, plan_state),
        ahead=task.ahead or task.reserved_for is not None,
    )


def states(db: sqlite3.Connection) -> dict[TaskId, TaskState]:
    """Return the state of every task."""
    found = {state.value: state for state in TaskState}
    return {row[0]: found[row[1]] for row in _tuples(db, "SELECT id, state FROM tasks")}


def graph_rows(db: sqlite3.Connection) -> Iterator[Node]:
    """Yield every task as a graph node, reading no more columns than that needs."""
    rows = _tuples(
        db,
        "SELECT t.id, t.number, t.priority, t.estimate_minutes, t.state, p.state,"
        " t.ahead OR t.reserved_for IS NOT NULL FROM tasks t JOIN plans p ON p.id = t.plan_id",
    )
    standings = {
        (state.value, plan_state.value): standing(state, plan_state)
        for state in TaskState
        for plan_state in PlanState
    }
    for task_id, number, priority, estimate, state, plan_state, ahead in rows:
        yield Node(
            id=task_id,
            order=number,
            priority=priority,
            estimate_minutes=estimate or DEFAULT_ESTIMATE_MINUTES,
            standing=standings[state, plan_state],
            ahead=bool(ahead),
        )


def dependency_rows(db: sqlite3.Connection) -> Iterator[tuple[TaskId, TaskId]]:
    """Yield every (task, the task it depends on)."""
    return _tuples(db, "SELECT task_id, depends_on FROM dependencies")


def _tuples(db: sqlite3.Connection, query: str, *parameters: str) -> sqlite3.Cursor:
    """Return rows as plain tuples: over a whole table it shows."""
    cursor = db.cursor()
    cursor.row_factory = None
    return cursor.execute(query, parameters)


def started_and_open(db: sqlite3.Connection) -> list[Task]:
    """Return the open tasks that a session has worked on."""
    return TASKS.select(
        db,
        "state = 'open' AND EXISTS (SELECT 1 FROM sessions WHERE sessions.subject = tasks.id)"
        " ORDER BY number",
    )


def reserved(db: sqlite3.Connection) -> list[Task]:
    """Return the open tasks that are kept for one session, oldest first."""
    return TASKS.select(db, "reserved_for IS NOT NULL AND state = 'open' ORDER BY number")


def with_a_branch(db: sqlite3.Connection) -> list[Task]:
    """Return the tasks that have not ended and have a branch, oldest first."""
    return TASKS.select(
        db,
        "state IN ('open', 'claimed', 'waiting', 'in_review', 'stuck') AND branch IS NOT NULL"
        " ORDER BY number",
    )


def is_any_unstarted(db: sqlite3.Connection) -> bool:
    """Return whether there is a task that will need a branch of its own and has none yet."""
    row = db.execute("SELECT 1 FROM tasks WHERE state = 'open' AND branch IS NULL LIMIT 1")
    return row.fetchone() is not None


def declared_paths(db: sqlite3.Connection) -> list[tuple[TaskId, str, tuple[str, ...]]]:
    """Return id, title and declared paths of the tasks that are being worked on and declare any."""
    rows = db.execute(
        "SELECT id, title, paths FROM tasks WHERE paths <> '[]'"
        " AND state IN ('claimed', 'waiting', 'in_review', 'stuck') ORDER BY number"
    )
    return [(TaskId(row[0]), row[1], tuple(json.loads(row[2]))) for row in rows]


def declared_unstarted(db: sqlite3.Connection) -> list[tuple[TaskId, tuple[str, ...]]]:
    """Return id and declared paths of the open tasks that were never begun and declare any."""
    rows = db.execute(
        "SELECT id, paths FROM tasks WHERE state = 'open' AND branch IS NULL AND paths <> '[]'"
        " ORDER BY number"
    )
    return [(TaskId(row[0]), tuple(json.loads(row[1]))) for row in rows]


def is_plan_over(db: sqlite3.Connection, plan_id: PlanId) -> bool:
    """Return whether every task of the plan has ended, and not all of them by being cancelled."""
    row = db.execute(
        "SELECT coalesce(sum(state NOT IN ('merged', 'closed', 'cancelled')), 0),"
        " coalesce(sum(state IN ('merged', 'closed')), 0) FROM tasks WHERE plan_id = ?",
        (plan_id,),
    ).fetchone()
    return row[0] == 0 and row[1] > 0


def count_by_state(db: sqlite3.Connection) -> dict[TaskState, int]:
    """Return how many tasks are in each state."""
    rows = db.execute("SELECT state, count(*) FROM tasks GROUP BY state")
    return {TaskState(state): count for state, count in rows}
