"""Who `sf` acts as: the person in their own folders, a session where a token or a worktree says."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sf_mcp.core.models import Role
from tests.cli.builders_project import Person, someone_with_a_plan
from tests.cli.builders_work import an_order, services_of


def _a_workers_token(person: Person) -> str:
    """Mint what the server gives to a session that it starts."""
    with services_of(person) as services:
        order = an_order(services)
        assert order.session.role is Role.WORKER
        return order.token


def test_in_a_fleet_worktree_nothing_is_done_as_the_person(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    _a_workers_token(person)
    worktree = person.folder / "worktrees" / "T1"
    assert worktree.is_dir()
    for words in (("status",), ("init",), ("serve", "--no-fleet"), ("token",), ("pause",)):
        done = person.sf(*words, cwd=worktree)
        assert (done.code, "This is a fleet worktree" in done.err) == (1, True)
    named = person.sf("status", cwd=worktree, env={"SF_ROOT": str(person.root)})
    assert (named.code, "This is a fleet worktree" in named.err) == (1, True)


def test_with_a_sessions_token_sf_is_that_session(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One", "Two")
    token = {"SF_TOKEN": _a_workers_token(person)}
    worktree = person.folder / "worktrees" / "T1"
    with person.serving():
        assert person.sf("task", "show", "T2", cwd=worktree, env=token).code == 0
        for words in (("pause",), ("task", "cancel", "T2"), ("mr", "approve", "M1")):
            done = person.sf(*words, "--json", cwd=worktree, env=token)
            assert (done.code, done.json["code"]) == (1, "not_allowed")
        for words in (("token",), ("init",), ("serve",), ("session", "attach", "worker-1")):
            done = person.sf(*words, env=token)
            assert (done.code, "SF_TOKEN is set" in done.err) == (1, True)
        for wrong in ("nonsense", "ümlaut", "two\nlines"):
            done = person.sf("status", "--json", env={"SF_TOKEN": wrong})
            assert (done.code, done.json["code"]) == (1, "unauthorized")


def test_a_session_never_works_on_the_state_itself(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    token = {"SF_TOKEN": _a_workers_token(person)}
    done = person.sf("status", "--json", env=token)
    assert (done.code, done.json["code"]) == (3, "server_unreachable")


def test_a_session_that_has_ended_is_told_so(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    token = {"SF_TOKEN": _a_workers_token(person)}
    with closing(sqlite3.connect(person.folder / "state.db")) as db, db:
        db.execute("DELETE FROM tokens WHERE session_id IS NOT NULL")
    with person.serving():
        done = person.sf("task", "show", "T1", env=token)
    assert (done.code, "its session has ended" in done.err) == (1, True)
