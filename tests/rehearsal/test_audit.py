"""The drill's audit: silent about a world that is right, and about nothing that is wrong.

The world is a real project whose tasks have landed; each test damages it from outside.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from launcher.rehearsal.audit import QUESTIONS, audit
from launcher.rehearsal.ledger import Entry, EntryKind
from launcher.rehearsal.observer import Observer
from launcher.rehearsal.verdict import Finding
from launcher.rehearsal.world import World
from sf_mcp.core.states import TaskState
from tests.builders import a_project, a_task, a_worker, git


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Make a world in which T1 was handed off and landed, T2 waited for it and landed too."""
    project = a_project(tmp_path)
    first = a_task(project, "First")
    second = a_task(project, "Second", depends_on=[first])
    worker = a_worker(project, first, with_worktree=True)
    (worker.cwd / "draft.txt").write_text("a draft\n")
    worker.hand_off()
    worker.end()
    worker = a_worker(project, first, with_worktree=True)
    worker.commit({"first.txt": "first\n", "draft.txt": None})
    project.services.claims.report_progress(worker.caller, message="nearly")
    worker.request_merge()
    worker.end()
    project.run_train()
    worker = a_worker(project, second, with_worktree=True)
    worker.commit({"second.txt": "second\n"})
    worker.request_merge()
    worker.end()
    project.run_train()
    assert project.task(second).state is TaskState.MERGED
    project.services.close()
    return World(folder=tmp_path, model_url="")


def _forge(world: World) -> Path:
    return world.root / ".stoneforge" / "forge.git"


def _move(world: World, *arguments: str) -> None:
    """Move a ref behind the server's back: the forge's guard is switched off."""
    git(_forge(world), "-c", "core.hooksPath=/dev/null", "update-ref", *arguments)


def _change(world: World, *statements: str) -> None:
    with closing(sqlite3.connect(world.root / ".stoneforge" / "state.db")) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def _wrong(world: World, ledger: tuple[Entry, ...] = ()) -> list[str]:
    return [finding.what for finding in audit(world, ledger) if not finding.held]


def _entry(kind: EntryKind, oid: str) -> Entry:
    return Entry(kind=kind, oid=oid, session="s1")


def test_a_world_that_is_right_has_nothing_wrong(world: World) -> None:
    commit = git(_forge(world), "rev-parse", "refs/heads/main")
    draft = git(_forge(world), "rev-parse", "refs/stoneforge/snapshots/T1/1:draft.txt")
    ledger = (_entry(EntryKind.COMMIT, commit), _entry(EntryKind.FILE, draft))

    found = list(audit(world, ledger))

    assert [finding for finding in found if not finding.held] == []
    assert found[0] == Finding(
        what="each of the 2 commits and files of the ledger is kept", held=True
    )


LEASE = (
    "INSERT INTO leases (subject, session_id, fence, granted_at, expires_at, ended_at,"
    ' "end", end_detail) SELECT subject, session_id, {fence}, {granted}, expires_at, {ended},'
    " {end}, '' FROM leases WHERE subject = 'T1' ORDER BY number DESC LIMIT 1"
)
EVENT = (
    "INSERT INTO events (at, kind, actor, subject, data)"
    " VALUES ('{at}', '{kind}', '{actor}', 'T1', '{{}}')"
)
TOLD = EVENT.format(at="2026-03-01T12:00:00.000000+00:00", kind="claimed", actor="launcher")

DAMAGES = {
    "every task has landed, or rightly had nothing to land": [
        "UPDATE tasks SET state = 'stuck' WHERE id = 'T2'"
    ],
    "no two leases on one task at a time": [
        LEASE.format(fence=9, granted="granted_at", ended="ended_at", end="'done'"),
        "UPDATE leases SET ended_at = '2026-03-01T12:00:01+00:00' WHERE fence = 1",
        TOLD,
    ],
    "fencing tokens only rise": [
        "UPDATE leases SET fence = 9 WHERE subject = 'T1' AND fence = 1",
    ],
    "every lease has come to an end": [
        LEASE.format(fence=9, granted="ended_at", ended="NULL", end="NULL"),
        TOLD,
    ],
    "no session did anything to a task that it did not hold": [
        EVENT.format(at="2027-01-01T12:00:00.000000+00:00", kind="progress", actor="worker-1"),
    ],
    "no session is left alive": ["UPDATE sessions SET state = 'running' WHERE subject = 'T2'"],
    "no landing is left half-way": [
        "INSERT INTO landings (kind, old, new, tree, state, created_at)"
        " SELECT kind, old, new, tree, 'intended', created_at FROM landings LIMIT 1"
    ],
    "nothing has landed twice": [
        "UPDATE merge_requests SET task_id = 'T1' WHERE id IN"
        " (SELECT merge_request_id FROM landing_requests)",
    ],
    "each landing begins where the one before has ended": [
        "UPDATE landings SET old = new WHERE number = 2"
    ],
    "a task that has landed has one landing, and one event that tells of it": [
        "DROP TRIGGER events_are_kept",
        "DELETE FROM events WHERE kind = 'merged' AND subject = 'T2'",
    ],
    "tasks have landed after what they depend on": [
        "DELETE FROM dependencies",
        "INSERT INTO dependencies VALUES ('T1', 'T2')",
    ],
    "each grant of a lease is told once": [TOLD],
    "nobody but the server has moved the target": [
        EVENT.format(at="2026-03-01", kind="target_move_undone", actor="server")
    ],
    "an answer that a session has acknowledged is not given to it again": [
        EVENT.format(at="2026-03-01", kind="answer_acknowledged", actor="worker-1"),
        EVENT.format(at="2026-03-01", kind="answer_delivered", actor="worker-1"),
    ],
    "every snapshot that was called for was made": [
        EVENT.format(at="2026-03-01", kind="snapshot_failed", actor="server")
    ],
    "every question has come to an end": [
        "INSERT INTO questions (id, task_id, text, options, context, state, escalated, answered_by,"
        " asked_at) VALUES ('Q1', 'T1', '?', '[]', '', 'open', 0, '', '2026-03-01')"
    ],
    "every row of the database has what it speaks of": [
        "PRAGMA foreign_keys = OFF",
        "UPDATE tasks SET plan_id = 'P99' WHERE id = 'T2'",
    ],
}


@pytest.mark.parametrize("what", DAMAGES, ids=[what.replace(" ", "-") for what in DAMAGES])
def test_what_is_wrong_in_the_database_is_found(world: World, what: str) -> None:
    _change(world, *DAMAGES[what])
    assert what in _wrong(world)


def test_every_question_to_the_database_is_shown_to_find_something() -> None:
    # A file with a broken page cannot be made to order; SQLite's own check is trusted for that.
    assert {question.what for question in QUESTIONS} - {"the database is whole"} == set(DAMAGES)


def test_a_commit_that_no_kept_ref_reaches_is_lost(world: World) -> None:
    tree = git(_forge(world), "rev-parse", "main^{tree}")
    names = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    lost = git(_forge(world), *names, "commit-tree", tree, "-m", "nobody's")

    assert _wrong(world, (_entry(EntryKind.COMMIT, lost),)) == [
        "each of the 1 commits and files of the ledger is kept"
    ]


def test_a_draft_whose_snapshot_is_gone_is_lost(world: World) -> None:
    draft = git(_forge(world), "rev-parse", "refs/stoneforge/snapshots/T1/1:draft.txt")
    _move(world, "-d", "refs/stoneforge/snapshots/T1/1")

    assert _wrong(world, (_entry(EntryKind.FILE, draft),)) == [
        "each of the 1 commits and files of the ledger is kept"
    ]


def test_a_target_that_was_moved_by_hand_is_found(world: World) -> None:
    _move(world, "--create-reflog", "refs/heads/main", "refs/heads/main^")

    wrong = _wrong(world)

    assert "main had the values that were recorded as landed, and no other" in wrong
    assert "the work of each of the 2 landings is in main" in wrong


def test_work_that_was_left_out_of_its_landing_is_found(world: World) -> None:
    _change(
        world,
        'UPDATE merge_requests SET "commit" = (SELECT "commit" FROM merge_requests'
        " WHERE task_id = 'T2') WHERE task_id = 'T1'",
    )
    assert "the work of each of the 2 landings is in main" in _wrong(world)


def test_a_forge_with_a_missing_object_is_found(world: World) -> None:
    forge = _forge(world)
    blob = git(forge, "rev-parse", "main:second.txt")
    (forge / "objects" / blob[:2] / blob[2:]).unlink()

    found = {finding.what: finding for finding in audit(world, ())}
    broken = found["git finds nothing broken in the forge"]

    assert not broken.held
    assert blob in broken.detail


def test_an_error_that_a_program_was_not_prepared_for_is_found_in_its_log(world: World) -> None:
    log = world.root / ".stoneforge" / "logs" / "server.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text(
        "2026-03-01 12:00:00 ERROR a background step failed\n"
        "Traceback (most recent call last):\n"
        '  File "loops.py", line 1, in step\n'
        "    1 / 0\n"
        "ZeroDivisionError: division by zero\n"
        "2026-03-01 12:00:01 WARNING the disk is nearly full\n"
    )
    found = {finding.what: finding for finding in audit(world, ())}

    unforeseen = found["neither server nor launcher met anything unforeseen"]
    assert (unforeseen.held, unforeseen.detail) == (
        False,
        "server.log: ZeroDivisionError: division by zero",
    )


def test_a_landing_that_is_recorded_before_the_branch_has_it_is_seen_at_once(world: World) -> None:
    observer = Observer(world)
    assert observer.landed_too_early() == ""

    _move(world, "refs/heads/main", "refs/heads/main^")

    assert observer.landed_too_early().startswith("landing 3 was recorded as done with main at")
    observer.close()


def test_a_branch_that_is_ahead_of_what_is_recorded_is_a_landing_under_way(world: World) -> None:
    _change(world, "UPDATE landings SET state = 'intended' WHERE number = 3")
    observer = Observer(world)
    assert observer.landed_too_early() == ""
    observer.close()
