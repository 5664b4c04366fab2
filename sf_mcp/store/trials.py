"""What the train merged for trial and what came of it, as rows."""

import json
import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime

from sf_mcp.core.merge_facts import Outcome
from sf_mcp.core.models import MergeRequestId, Oid, TrialRecord, Verdict
from sf_mcp.store.rows import Table, to_column

TRIALS = Table("trials", TrialRecord, key="number")

MOST_OF_REQUEST = 50
"""Trials of one merge request that are looked at."""


def begin(
    db: sqlite3.Connection,
    *,
    base: int,
    requests: Sequence[MergeRequestId],
    commits: Sequence[Oid],
    commit: Oid | None,
    tree: Oid | None,
    is_full: bool,
    at: datetime,
) -> int:
    """Record that a set is being checked; return the trial's number."""
    return TRIALS.insert_numbered(
        db,
        {
            "base": base,
            "requests": tuple(requests),
            "commits": tuple(commits),
            "commit": commit,
            "tree": tree,
            "is_full": is_full,
            "outcome": Outcome.RUNNING,
            "created_at": at,
        },
    )


def end(
    db: sqlite3.Connection,
    number: int,
    outcome: Outcome,
    at: datetime,
    *,
    condemned: Sequence[Verdict] = (),
) -> None:
    """Record what came of a trial that was running, and the verdicts that failed it."""
    named = tuple(
        {
            "check": one.check,
            "command": one.command,
            "outcome": one.outcome,
            "log_path": one.log_path,
            "failing": "\n".join(one.failing),
        }
        for one in condemned
    )
    db.execute(
        "UPDATE trials SET outcome = ?, ended_at = ?, condemned = ?"
        " WHERE number = ? AND outcome = 'running'",
        (outcome.value, to_column(at), to_column(named), number),
    )


def end_lost(db: sqlite3.Connection, running: Collection[int], at: datetime) -> None:
    """End the trials that nobody runs any more: their server is gone."""
    for trial in TRIALS.select(db, "outcome = 'running'"):
        if trial.number not in running:
            end(db, trial.number, Outcome.CANCELLED, at)


def disown(db: sqlite3.Connection, requests: Sequence[str], tree: Oid | None) -> int:
    """Take back that a set has passed as another tree than this; return of how many trials."""
    found = [
        trial.number
        for trial in TRIALS.select(db, "outcome = 'passed' AND tree IS NOT ?", tree)
        if trial.requests[-len(requests) :] == tuple(requests)
    ]
    for number in found:
        db.execute("UPDATE trials SET outcome = 'cancelled' WHERE number = ?", (number,))
    return len(found)


def newest(db: sqlite3.Connection, most: int) -> list[TrialRecord]:
    """Return the newest trials, oldest first."""
    return TRIALS.select(db, "1 ORDER BY number DESC LIMIT ?", most)[::-1]


def trees_of(db: sqlite3.Connection, requests: Sequence[MergeRequestId]) -> set[Oid]:
    """Return the trees on which any of these merge requests was tried."""
    wanted = set(requests)
    rows = db.execute("SELECT requests, tree FROM trials WHERE tree IS NOT NULL")
    return {Oid(row[1]) for row in rows if wanted & set(json.loads(row[0]))}


def of_request(db: sqlite3.Connection, request: MergeRequestId) -> list[TrialRecord]:
    """Return the newest trials with this merge request, oldest first."""
    return TRIALS.select(
        db, "requests LIKE ? ORDER BY number DESC LIMIT ?", f'%"{request}"%', MOST_OF_REQUEST
    )[::-1]
