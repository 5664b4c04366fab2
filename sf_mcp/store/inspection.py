"""The database as one who only looks sees it: nothing is written, not even beside it.

Reading a file in WAL mode makes `-wal` and `-shm` files that stay when the reader may not write. So
a file that has none, which nobody has open, is read as one that does not change; should it change
all the same, what was read is thrown away and read again in the usual way.
"""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeVar

from sf_mcp.core.errors import StorageFailed
from sf_mcp.store.database import BUSY_TIMEOUT_SECONDS, explained
from sf_mcp.store.database_file import damaged, gone, signature

State = sqlite3.Connection
T = TypeVar("T")

SQLITE_VERSION = sqlite3.sqlite_version_info
MINIMUM_SQLITE = (3, 35, 0)
"""The first with everything that the schema and the queries use (`ALTER TABLE … DROP COLUMN`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Something that holds at every moment; each row of the query is a case in which it does not.

    Its first column names the case.
    """

    name: str
    sentence: str
    query: str


RULES: tuple[Rule, ...] = (
    Rule(
        name="leases",
        sentence="nothing is leased to two sessions at once",
        query="SELECT subject FROM leases WHERE ended_at IS NULL GROUP BY subject"
        " HAVING count(*) > 1",
    ),
    Rule(
        name="claims",
        sentence="a task is claimed exactly while a session has a live lease on it",
        query="SELECT id FROM tasks WHERE (state = 'claimed') <> EXISTS"
        " (SELECT 1 FROM leases WHERE subject = tasks.id AND ended_at IS NULL)",
    ),
    Rule(
        name="holders",
        sentence="only a session that may be alive has a live lease",
        query="SELECT l.subject FROM leases l JOIN sessions s ON s.id = l.session_id"
        " WHERE l.ended_at IS NULL AND s.state NOT IN ('starting', 'running', 'stopping')",
    ),
    Rule(
        name="reviews",
        sentence="a task is in review exactly while a merge request of it is under way",
        query="SELECT id FROM tasks WHERE (state = 'in_review') <> EXISTS"
        " (SELECT 1 FROM merge_requests WHERE task_id = tasks.id AND state IN ('open', 'landing'))",
    ),
    Rule(
        name="waiting",
        sentence="a task that waits for an answer has an open question",
        query="SELECT id FROM tasks WHERE state = 'waiting' AND NOT EXISTS"
        " (SELECT 1 FROM questions WHERE task_id = tasks.id AND state = 'open')",
    ),
    Rule(
        name="merged",
        sentence="a task that is merged has one landing",
        query="SELECT id FROM tasks WHERE state = 'merged' AND 1 <> (SELECT count(*)"
        " FROM landing_requests r JOIN landings l ON l.number = r.landing AND l.state = 'done'"
        " JOIN merge_requests m ON m.id = r.merge_request_id WHERE m.task_id = tasks.id)",
    ),
    Rule(
        name="landed",
        sentence="what has landed is recorded as landed",
        query="SELECT m.id FROM landing_requests r JOIN landings l ON l.number = r.landing"
        " JOIN merge_requests m ON m.id = r.merge_request_id"
        " WHERE l.state = 'done' AND m.state <> 'landed'",
    ),
    Rule(
        name="landings",
        sentence="each landing begins where the one before it ended",
        query="SELECT 'landing ' || number FROM (SELECT number, old, lag(new) OVER"
        " (ORDER BY number) AS before FROM landings WHERE state = 'done')"
        " WHERE before IS NOT NULL AND old IS NOT before",
    ),
    Rule(
        name="plans",
        sentence="a plan that is over has no unfinished task",
        query="SELECT DISTINCT p.id FROM plans p JOIN tasks t ON t.plan_id = p.id"
        " WHERE p.state IN ('completed', 'cancelled')"
        " AND t.state NOT IN ('merged', 'closed', 'cancelled')",
    ),
)


@contextmanager
def inspect(path: Path) -> Generator[State]:
    """Open the database for one look; everything in it is seen as at one moment.

    Raises:
        StorageFailed: it is not there, is no database, or cannot be read.
    """
    if not path.exists():
        raise gone(path)
    if not path.stat().st_size:
        raise damaged(path, "it is empty")
    is_at_rest = not path.with_name(f"{path.name}-wal").exists()
    mode = "ro&immutable=1" if is_at_rest else "ro"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
        )
        with closing(connection):
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")
            yield connection
    except sqlite3.Error as error:
        raise explained(error, path) from error


def steadily(path: Path, look: Callable[[State], T]) -> T:
    """Return what `look` sees; again, if the file changed under a look that took it for at rest.

    Raises:
        StorageFailed: the database cannot be read.
    """
    before = signature(path)
    try:
        with inspect(path) as state:
            seen = look(state)
    except StorageFailed:
        if signature(path) == before:
            raise
    else:
        if signature(path) == before:
            return seen
    with inspect(path) as state:
        return look(state)


def schema_version(state: State) -> int:
    """Return the version of the schema that the database has."""
    return int(state.execute("PRAGMA user_version").fetchone()[0])


def damage(state: State) -> str:
    """Return what a look through the whole file finds wrong; empty when it is sound."""
    found = str(state.execute("PRAGMA quick_check(1)").fetchone()[0])
    return "" if found == "ok" else " ".join(found.split())


def broken_references(state: State) -> list[str]:
    """Return the tables that have rows which speak of something that is not there."""
    rows = state.execute("PRAGMA foreign_key_check").fetchall()
    return sorted({f"{row[0]} → {row[2]}" for row in rows})


def broken_rules(state: State) -> list[tuple[Rule, list[str]]]:
    """Return the rules that do not hold, each with what breaks it."""
    return [
        (rule, cases)
        for rule in RULES
        if (cases := [str(row[0]) for row in state.execute(rule.query)])
    ]


def cycle(state: State) -> list[str]:
    """Return tasks that wait for one another in a circle, the first of them again at its end."""
    waits: dict[str, list[str]] = {}
    for task, on in state.execute("SELECT task_id, depends_on FROM dependencies"):
        waits.setdefault(task, []).append(on)
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def newest_event_at(state: State) -> str:
    """Return when the newest event is said to have happened, as ISO 8601; empty without one."""
    row = state.execute("SELECT max(at) FROM events").fetchone()
    return str(row[0] or "")
