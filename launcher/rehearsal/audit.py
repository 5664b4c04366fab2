"""What must hold when a drill is over, found out from outside: the ledger, git, the database.

Nothing here asks the server or trusts what it sums up: git is asked by git's own commands, the
database by SQL.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from launcher.rehearsal.ledger import Entry
from launcher.rehearsal.state import State, open_state
from launcher.rehearsal.verdict import TARGET, Finding, target_values
from launcher.rehearsal.world import World
from sf_mcp.core.layout import Layout

SHOWN = 5
"""What is wrong, in one finding; the rest is counted."""

KEPT_REFS = ("--branches", "--glob=refs/stoneforge/*")
"""What the forge promises to keep: the target, the tasks' branches, snapshots, what was undone."""

_TRACEBACK = re.compile(
    r"^Traceback \(most recent call last\):\n(?:[ |+].*\n|\n)*(\S.*)$", re.MULTILINE
)
"""The error is the first line after it that is not indented."""

NOTHING = "0" * 40
"""Git's name for the content of a path that is not there."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query whose every row is something wrong."""

    what: str
    """What holds when there is none."""
    query: str


QUESTIONS: tuple[Question, ...] = (
    Question(
        "every task has landed, or rightly had nothing to land",
        "SELECT id, state FROM tasks WHERE state NOT IN ('merged', 'closed')",
    ),
    Question(
        "no two leases on one task at a time",
        "SELECT a.subject, a.number, b.number FROM leases a JOIN leases b"
        " ON a.subject = b.subject AND a.number < b.number"
        " WHERE a.ended_at IS NULL OR a.ended_at > b.granted_at",
    ),
    Question(
        "fencing tokens only rise",
        "SELECT a.subject, a.fence, b.fence FROM leases a JOIN leases b"
        " ON a.subject = b.subject AND a.number < b.number WHERE a.fence >= b.fence",
    ),
    Question(
        "every lease has come to an end",
        "SELECT subject, number FROM leases WHERE ended_at IS NULL",
    ),
    Question(
        "no session did anything to a task that it did not hold",
        # `kind` are what only the holder of the task may do, all told with the holder's name.
        "SELECT e.kind, e.subject, e.actor, e.number FROM events e"
        " WHERE e.kind IN ('progress', 'handed_off', 'merge_requested', 'question_asked')"
        " AND e.actor LIKE 'worker-%' AND NOT EXISTS ("
        " SELECT 1 FROM leases l JOIN sessions s ON s.id = l.session_id"
        " WHERE s.name = e.actor AND l.granted_at <= e.at"
        " AND (l.ended_at IS NULL OR e.at <= l.ended_at)"
        " AND l.subject IN (e.subject, json_extract(e.data, '$.task')))",
    ),
    Question(
        "no session is left alive",
        "SELECT name, state FROM sessions WHERE state IN ('starting', 'running', 'stopping')",
    ),
    Question(
        "no landing is left half-way",
        "SELECT number, state FROM landings WHERE state = 'intended'",
    ),
    Question(
        "nothing has landed twice",
        "SELECT m.task_id, count(*) FROM landing_requests l JOIN merge_requests m"
        " ON m.id = l.merge_request_id GROUP BY m.task_id"
        " HAVING count(*) > 1",
    ),
    Question(
        "each landing begins where the one before has ended",
        "SELECT number, old, before FROM (SELECT number, old, lag(new) OVER (ORDER BY number)"
        " AS before FROM landings WHERE state = 'done') WHERE before IS NOT NULL"
        " AND old IS NOT before",
    ),
    Question(
        "a task that has landed has one landing, and one event that tells of it",
        "SELECT t.id, landed, told FROM (SELECT id, state,"
        " (SELECT count(*) FROM landing_requests l JOIN merge_requests m"
        "  ON m.id = l.merge_request_id WHERE m.task_id = tasks.id) AS landed,"
        " (SELECT count(*) FROM events e WHERE e.kind = 'merged' AND e.subject = tasks.id) AS told"
        " FROM tasks) t WHERE (t.state = 'merged') != (landed = 1) OR landed != told",
    ),
    Question(
        "tasks have landed after what they depend on",
        "SELECT d.task_id, d.depends_on FROM dependencies d"
        " JOIN events mine ON mine.kind = 'merged' AND mine.subject = d.task_id"
        " LEFT JOIN events theirs ON theirs.kind IN ('merged', 'closed')"
        "  AND theirs.subject = d.depends_on"
        " WHERE theirs.number IS NULL OR theirs.number > mine.number",
    ),
    Question(
        "each grant of a lease is told once",
        "SELECT subject, granted, told FROM (SELECT subject, count(*) AS granted,"
        " (SELECT count(*) FROM events e WHERE e.kind = 'claimed' AND e.subject = leases.subject)"
        " AS told FROM leases GROUP BY subject) WHERE granted != told",
    ),
    Question(
        "nobody but the server has moved the target",
        "SELECT number, data FROM events WHERE kind = 'target_move_undone'",
    ),
    Question(
        "an answer that a session has acknowledged is not given to it again",
        "SELECT given.subject, given.number FROM events given JOIN events known"
        " ON known.subject = given.subject AND known.kind = 'answer_acknowledged'"
        " WHERE given.kind = 'answer_delivered' AND given.number > known.number",
    ),
    Question(
        "every snapshot that was called for was made",
        "SELECT subject, data FROM events WHERE kind = 'snapshot_failed'",
    ),
    Question(
        "every question has come to an end",
        "SELECT id, task_id FROM questions WHERE state = 'open'",
    ),
    Question(
        "the database is whole",
        "SELECT * FROM pragma_integrity_check WHERE integrity_check != 'ok'",
    ),
    Question(
        "every row of the database has what it speaks of", "SELECT * FROM pragma_foreign_key_check"
    ),
)


def audit(world: World, ledger: Sequence[Entry]) -> Iterator[Finding]:
    """Yield each thing that must hold of what a drill has left, with whether it does."""
    yield from audit_ledger(world, ledger)
    with closing(open_state(world)) as db:
        for question in QUESTIONS:
            rows = db.execute(question.query).fetchall()
            yield _finding(question.what, [" ".join(map(str, row)) for row in rows])
        yield from _git(world, db)
    yield _finding("neither server nor launcher met anything unforeseen", _unforeseen(world))


def audit_ledger(world: World, ledger: Sequence[Entry]) -> Iterator[Finding]:
    """Yield whether all that the model has made is reachable from a kept ref."""
    # An object that is gone although something names it is not listed, and so it is lost.
    listed = world.git("rev-list", "--objects", "--missing=allow-any", *KEPT_REFS)
    reachable = {line[:40] for line in listed.splitlines()}
    lost = [
        f"{entry.kind} {entry.oid[:12]} {entry.path} of session {entry.session[:8]}"
        for entry in ledger
        if entry.oid not in reachable
    ]
    yield _finding(f"each of the {len(ledger)} commits and files of the ledger is kept", lost)


def _git(world: World, db: State) -> Iterator[Finding]:
    values = target_values(world)
    done = [row[0] for row in db.execute("SELECT new FROM landings WHERE state = 'done'")]
    yield Finding(
        what=f"{TARGET} had the values that were recorded as landed, and no other",
        held=values == done,
        detail=f"{len(values)} values, {len(done)} landings",
    )
    landed = db.execute(
        'SELECT m.task_id, m.base, m."commit", l."commit" FROM landing_requests l'
        " JOIN merge_requests m ON m.id = l.merge_request_id"
    ).fetchall()
    missing = [
        f"{task}: {path}"
        for task, base, commit, new in landed
        for path in _left_out(world, base, commit, new, values[-1])
    ]
    yield _finding(f"the work of each of the {len(landed)} landings is in {TARGET}", missing)
    # Whatever git finds wrong it says and fails; unreachable objects are nothing wrong.
    said = world.git("fsck", "--connectivity-only", "--no-dangling", accept=range(256))
    broken = [line for line in said.splitlines() if not line.startswith(("notice", "unreachable"))]
    yield _finding("git finds nothing broken in the forge", broken)


def _left_out(world: World, base: str, commit: str, new: str, target: str) -> list[str]:
    """Return the paths that a merge request changed and its landing does not have so.

    All of them when the landing is not in the target.
    """
    listed = world.git("diff-tree", "-r", "-z", "--no-renames", base, commit).split("\0")
    changed = {
        path: fields.split(" ")[3] for fields, path in zip(listed[::2], listed[1::2], strict=False)
    }
    if world.git("merge-base", new, target, accept=(0, 1)).strip() != new:
        return list(changed)
    entries = (line.partition("\t") for line in world.git("ls-tree", "-r", "-z", new).split("\0"))
    there = {path: fields.split(" ")[-1] for fields, _, path in entries}
    return [path for path, blob in changed.items() if there.get(path, NOTHING) != blob]


def _unforeseen(world: World) -> list[str]:
    """Return the errors with which the programs were not prepared to deal, as they logged them."""
    logs = [*Layout(world.root).logs.glob("server*.log*"), *world.folder.glob("serve-*.log")]
    return [
        f"{log.name}: {error}"
        for log in sorted(logs)
        for error in _TRACEBACK.findall(log.read_text("utf-8", "replace"))
    ]


def _finding(what: str, wrong: Sequence[str]) -> Finding:
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return Finding(what=what, held=not wrong, detail=f"{'; '.join(wrong[:SHOWN])}{more}")
