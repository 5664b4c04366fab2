"""What the train merged for trial and what came of it, as rows."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from sf_mcp.core.merge_queue import Outcome
from sf_mcp.core.models import MergeRequestId, Oid, TrialRecord
from sf_mcp.store.rows import Table, to_column

TRIALS = Table("trials", TrialRecord, key="number")


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


def end(db: sqlite3.Connection, number: int, outcome: Outcome, at: datetime) -> None:
    """Record what came of a trial that was running."""
    db.execute(
        "UPDATE trials SET outcome = ?, ended_at = ? WHERE number = ? AND outcome = 'running'",
        (outcome.value, to_column(at), number),
    )


def end_all(db: sqlite3.Connection, outcome: Outcome, at: datetime) -> None:
    """End every trial that a server which is gone left running."""
    db.execute(
        "UPDATE trials SET outcome = ?, ended_at = ? WHERE outcome = 'running'",
        (outcome.value, to_column(at)),
    )


def newest(db: sqlite3.Connection, most: int) -> list[TrialRecord]:
    """Return the newest trials, oldest first."""
    return TRIALS.select(db, "1 ORDER BY number DESC LIMIT ?", most)[::-1]
