"""How long things took, as the rows tell it: work on tasks, checking, the way to the target."""

import sqlite3
from datetime import datetime

from sf_mcp.core.forecast import Worked
from sf_mcp.core.models import PlanId, TaskId
from sf_mcp.store.rows import to_column

NEWEST = 200
"""So many of each kind are looked at: what took how long months ago says little."""
_SECONDS = "(julianday({}) - julianday({})) * 86400"
_UNFINISHED = "('open', 'claimed', 'waiting', 'stuck')"


def _whole(seconds: float) -> float:
    """Return what julianday() gives without its error of some microseconds; never less than 0."""
    return max(0.0, round(seconds, 3))


def worked(db: sqlite3.Connection) -> list[Worked]:
    """Return how long sessions worked on each of the tasks that were handed in and landed last."""
    took = _SECONDS.format("l.ended_at", "l.granted_at")
    rows = db.execute(
        f"SELECT t.plan_id, t.estimate_minutes, sum({took}) FROM"
        " (SELECT id, plan_id, estimate_minutes FROM tasks WHERE state IN ('merged', 'closed')"
        " ORDER BY updated_at DESC LIMIT ?) t"
        " JOIN leases l ON l.subject = t.id AND l.ended_at IS NOT NULL GROUP BY t.id",
        (NEWEST,),
    )
    return [
        Worked(plan_id=PlanId(row[0]), estimate_minutes=row[1], seconds=_whole(row[2]))
        for row in rows
    ]


def spent(db: sqlite3.Connection, now: datetime) -> dict[TaskId, float]:
    """Return how long sessions have worked so far on each task that is not handed in."""
    took = _SECONDS.format("coalesce(l.ended_at, ?)", "l.granted_at")
    rows = db.execute(
        f"SELECT t.id, sum({took}) FROM tasks t JOIN leases l ON l.subject = t.id"
        f" WHERE t.state IN {_UNFINISHED} GROUP BY t.id",
        (to_column(now),),
    )
    return {TaskId(row[0]): _whole(row[1]) for row in rows}


def landings(db: sqlite3.Connection) -> list[float]:
    """Return how long the merge requests that landed last took from their request to there."""
    took = _SECONDS.format("n.finished_at", "m.created_at")
    rows = db.execute(
        f"SELECT {took} FROM landing_requests r JOIN landings n ON n.number = r.landing"
        " JOIN merge_requests m ON m.id = r.merge_request_id"
        " WHERE n.state = 'done' ORDER BY n.number DESC LIMIT ?",
        (NEWEST,),
    )
    return [_whole(row[0]) for row in rows]


def trials(db: sqlite3.Connection) -> list[float]:
    """Return how long the newest sets that passed every check took."""
    took = _SECONDS.format("ended_at", "created_at")
    rows = db.execute(
        f"SELECT {took} FROM trials WHERE outcome = 'passed' AND is_full"
        " ORDER BY number DESC LIMIT ?",
        (NEWEST,),
    )
    return [_whole(row[0]) for row in rows]


def estimates(db: sqlite3.Connection) -> dict[PlanId, list[float]]:
    """Return the estimates in each plan, in minutes."""
    found: dict[PlanId, list[float]] = {}
    rows = db.execute("SELECT plan_id, estimate_minutes FROM tasks WHERE estimate_minutes NOT NULL")
    for plan_id, minutes in rows:
        found.setdefault(PlanId(plan_id), []).append(minutes)
    return found


def outstanding(
    db: sqlite3.Connection,
) -> list[tuple[TaskId, PlanId, str, str, float | None]]:
    """Return each unfinished task: id, plan, its state, the plan's state, estimate in minutes."""
    rows = db.execute(
        "SELECT t.id, t.plan_id, t.state, p.state, t.estimate_minutes FROM tasks t"
        " JOIN plans p ON p.id = t.plan_id"
        " WHERE t.state NOT IN ('merged', 'closed', 'cancelled')"
    )
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]
