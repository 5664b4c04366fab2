"""Tasks that let others go first: what they declare to touch is what somebody is working on.

They wait while other tasks are ready, and never long: `core.radar` has the rule. That a task was
passed over is an event, and its time says how long it has waited.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sf_mcp.core.models import TaskId
from sf_mcp.core.radar import MOST_HELD, Ground, is_over
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import events, tasks

HELD_BACK = "held_back"

Touched = Callable[[], Mapping[TaskId, Collection[str]]]
"""Says which files the live tasks have changed, as far as the radar has seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Why a ready task lets others go first."""

    path: str
    """Of those that it declares."""
    other: TaskId
    """Who is at work there."""
    until: datetime | None
    """Its end at the latest; None as long as no other task has gone first."""


def nothing_touched() -> Mapping[TaskId, Collection[str]]:
    """Stand for a radar that has not looked yet."""
    return {}


def held_back(tx: Transaction, touched: Touched) -> dict[TaskId, Hold]:
    """Return the ready tasks that let others go first now; those that were begun never do."""
    unstarted = [
        (task_id, paths)
        for task_id, paths in tasks.declared_unstarted(tx.db)
        if tx.graph.is_ready(task_id)
    ]
    if not unstarted:
        return {}
    live: dict[TaskId, list[str]] = {task.id: [] for task in tasks.with_a_branch(tx.db)}
    for task_id, paths in touched().items():
        if task_id in live:
            live[task_id] += paths
    for task_id, _, paths in tasks.declared_paths(tx.db):
        live.setdefault(task_id, []).extend(paths)
    ground = Ground(live)
    held: dict[TaskId, Hold] = {}
    for task_id, paths in unstarted if ground else ():
        if (met := ground.met_by(paths)) is None:
            continue
        passed = events.newest_of(tx.db, HELD_BACK, task_id)
        since = passed.at if passed is not None else None
        if not is_over(since, tx.now):
            until = since + MOST_HELD if since is not None else None
            held[task_id] = Hold(path=met[0], other=met[1], until=until)
    return held


def note_passed(tx: Transaction, passed: Collection[TaskId], held: Mapping[TaskId, Hold]) -> None:
    """Record that another task went first, once for each that was passed over."""
    for task_id in passed:
        hold = held[task_id]
        if hold.until is None:
            tx.event(HELD_BACK, task_id, path=hold.path, other=hold.other)
