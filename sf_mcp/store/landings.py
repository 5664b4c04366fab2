"""The moves of the target branch, and the verdicts of checks on trees, as rows."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sf_mcp.core.models import Landing, LandingKind, LandingState, MergeRequestId, Oid, Verdict
from sf_mcp.store.rows import Table, to_column

LANDINGS = Table("landings", Landing, key="number")
VERDICTS = Table("verdicts", Verdict, key="tree")
PREEXISTING = "preexisting_failure"
"""The kind of the event which says that a check fails on the target itself."""
_SAME = 'tree = ? AND "check" = ? AND command = ?'


def intend(
    db: sqlite3.Connection,
    *,
    kind: LandingKind,
    old: Oid | None,
    new: Oid,
    tree: Oid,
    is_green: bool | None,
    at: datetime,
    brings: Mapping[MergeRequestId, Oid] | None = None,
) -> int:
    """Record that the target is about to move; return the landing's number.

    `brings` is what lands with it, in order: each merge request, and its commit on the target.
    """
    number = LANDINGS.insert_numbered(
        db,
        {
            "kind": kind,
            "old": old,
            "new": new,
            "tree": tree,
            "state": LandingState.INTENDED,
            "is_green": is_green,
            "created_at": at,
        },
    )
    db.executemany(
        "INSERT INTO landing_requests VALUES (?, ?, ?, ?)",
        [
            (number, position, request, commit)
            for position, (request, commit) in enumerate((brings or {}).items(), 1)
        ],
    )
    return number


def brought(db: sqlite3.Connection, number: int) -> dict[MergeRequestId, Oid]:
    """Return what landed, or is to land, with a move: each merge request and its commit."""
    rows = db.execute(
        'SELECT merge_request_id, "commit" FROM landing_requests WHERE landing = ?'
        " ORDER BY position",
        (number,),
    )
    return {MergeRequestId(row[0]): Oid(row[1]) for row in rows}


def range_of(db: sqlite3.Connection, request: MergeRequestId) -> tuple[Oid | None, Oid] | None:
    """Return between which commits of the target the merge request's own lie; None: not landed."""
    row = db.execute(
        'SELECT coalesce((SELECT "commit" FROM landing_requests b WHERE b.landing = r.landing'
        ' AND b.position = r.position - 1), l.old), r."commit" FROM landing_requests r'
        " JOIN landings l ON l.number = r.landing AND l.state = 'done'"
        " WHERE r.merge_request_id = ?",
        (request,),
    ).fetchone()
    return (row[0], Oid(row[1])) if row else None


def landed_as(db: sqlite3.Connection, commit: Oid) -> MergeRequestId | None:
    """Return the merge request that this commit of the target brought, if it is one's."""
    row = db.execute(
        'SELECT merge_request_id FROM landing_requests WHERE "commit" = ?', (commit,)
    ).fetchone()
    return MergeRequestId(row[0]) if row else None


def of_request(db: sqlite3.Connection, request: MergeRequestId) -> Landing | None:
    """Return the finished move that brought this merge request."""
    return LANDINGS.first(
        db,
        "state = 'done' AND number = (SELECT landing FROM landing_requests"
        " WHERE merge_request_id = ?)",
        request,
    )


def bringing_to(db: sqlite3.Connection, commit: Oid) -> Landing | None:
    """Return the newest finished move that brought the target to this commit."""
    return LANDINGS.first(db, "state = 'done' AND new = ? ORDER BY number DESC", commit)


def finish(db: sqlite3.Connection, number: int, state: LandingState, at: datetime) -> None:
    """Record what became of an intended move."""
    db.execute(
        "UPDATE landings SET state = ?, finished_at = ? WHERE number = ? AND state = 'intended'",
        (state.value, to_column(at), number),
    )
    if state is LandingState.ABORTED:
        db.execute("DELETE FROM landing_requests WHERE landing = ?", (number,))


def intended(db: sqlite3.Connection) -> Landing | None:
    """Return the move under way."""
    return LANDINGS.first(db, "state = 'intended'")


def newest_done(db: sqlite3.Connection) -> Landing | None:
    """Return the newest finished move: where the target rightly is."""
    return LANDINGS.first(db, "state = 'done' ORDER BY number DESC")


def newest(db: sqlite3.Connection, most: int) -> list[Landing]:
    """Return the newest finished moves, oldest first."""
    return LANDINGS.select(db, "state = 'done' ORDER BY number DESC LIMIT ?", most)[::-1]


def done(db: sqlite3.Connection) -> list[Landing]:
    """Return every finished move, oldest first."""
    return LANDINGS.select(db, "state = 'done' ORDER BY number")


def mark_green(db: sqlite3.Connection, tree: Oid, is_green: bool) -> bool:
    """Record whether the checks pass on a tree that the target had without them having run.

    Returns whether that is news.
    """
    done = db.execute(
        "UPDATE landings SET is_green = ? WHERE tree = ? AND is_green IS NULL", (is_green, tree)
    )
    return done.rowcount > 0


def add_verdict(db: sqlite3.Connection, verdict: Verdict) -> bool:
    """Store what a check said of a tree; return whether it is news that the check is flaky there.

    That is the first time that it says the opposite of what it had said of the same tree.
    """
    said = {
        bool(row[0])
        for row in db.execute(
            f"SELECT DISTINCT passed FROM verdicts WHERE {_SAME}",
            (verdict.tree, verdict.check, verdict.command),
        )
    }
    VERDICTS.insert(db, verdict)
    return said == {not verdict.passed}


def newest_verdict(db: sqlite3.Connection, tree: Oid, check: str, command: str) -> Verdict | None:
    """Return what this check last said of this tree."""
    return VERDICTS.first(db, f"{_SAME} ORDER BY rowid DESC", tree, check, command)


def count_failures(db: sqlite3.Connection, tree: Oid, check: str, command: str) -> int:
    """Return how often this check has failed on this tree."""
    found = db.execute(
        f"SELECT count(*) FROM verdicts WHERE {_SAME} AND NOT passed", (tree, check, command)
    )
    return int(found.fetchone()[0])


def is_known_as_preexisting(db: sqlite3.Connection, verdict: Verdict) -> bool:
    """Return whether it was said before that this check fails on this tree of the target."""
    found = db.execute(
        f"SELECT 1 FROM events WHERE kind = '{PREEXISTING}'"
        " AND json_extract(data, '$.tree') = ? AND json_extract(data, '$.check') = ? LIMIT 1",
        (verdict.tree, verdict.check),
    )
    return found.fetchone() is not None


def verdicts_on(db: sqlite3.Connection, tree: Oid) -> list[Verdict]:
    """Return every verdict on the tree, oldest first."""
    return VERDICTS.select(db, "tree = ? ORDER BY rowid", tree)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flakes:
    """How reliable a check is: its verdict on one tree should be one and the same."""

    check: str
    flaky_trees: int
    """Trees on which it both passed and failed."""
    trees: int
    """Trees that it has said anything of."""


def flakes(db: sqlite3.Connection) -> list[Flakes]:
    """Return the checks that have contradicted themselves on a tree, the flakiest first."""
    rows = db.execute(
        'SELECT "check", sum(lowest < highest) AS flaky, count(*) FROM (SELECT "check",'
        ' min(passed) AS lowest, max(passed) AS highest FROM verdicts GROUP BY "check", command,'
        ' tree) GROUP BY "check" HAVING flaky > 0 ORDER BY flaky DESC, "check"'
    )
    return [Flakes(check=row[0], flaky_trees=row[1], trees=row[2]) for row in rows]
