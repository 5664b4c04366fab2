"""The issue's quick start, with and without a running server, through the installed command."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.cli.builders_project import (
    Person,
    someone_set_up,
    someone_with_a_commit,
    someone_with_a_plan,
)

TITLES = ("Add user invitation API", "Build notification system")


def test_the_quick_start_makes_two_tasks_that_are_ready_at_once(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    for words in (
        ("init",),
        ("plan", "create", "--title", "Sprint 14"),
        *(("task", "create", "--title", title, "--plan", "Sprint 14") for title in TITLES),
    ):
        assert person.sf(*words).code == 0
    ready = person.sf("task", "ready").out
    assert [line.split("  ")[0] for line in ready.splitlines()] == ["ID", "T1", "T2"]
    assert all(title in ready for title in TITLES)


def test_a_server_and_the_state_itself_give_the_same_json(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, *TITLES)
    person.ok("dep", "add", "T2", "T1")
    questions = (
        ("task", "ready"),
        ("task", "list", "--state", "blocked", "--limit", "5"),
        ("task", "show", "T2"),
        ("plan", "list"),
        ("dep", "tree", "T2"),
        ("mr", "list", "--all"),
    )
    alone = [person.ok(*words, "--json").json for words in questions]
    with person.serving():
        served = [person.ok(*words, "--json").json for words in questions]
        overview = person.ok("status", "--json").json
    assert served == alone
    assert _lasting(overview) == _lasting(person.ok("status", "--json").json)


def _lasting(overview: dict[str, Any]) -> dict[str, Any]:
    changing = ("at", "newest_event", "target")
    return {name: value for name, value in overview.items() if name not in changing}


def test_refusals_are_the_same_with_and_without_a_server(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    refused = (
        ("task", "show", "T99"),
        ("task", "create", "--title", "x", "--priority", "9"),
        ("task", "list", "--state", "sleeping"),
        ("task", "retry", "T1"),
        ("dep", "add", "T1", "T1"),
    )
    alone = [person.sf(*words, "--json") for words in refused]
    with person.serving():
        served = [person.sf(*words, "--json") for words in refused]
    assert [done.json for done in served] == [done.json for done in alone]
    assert {done.code for done in (*alone, *served)} == {1}
    assert all(set(done.json) == {"code", "message", "remedy"} for done in alone)


def test_a_refusal_goes_to_stderr_with_its_remedy(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path)
    done = person.sf("task", "show", "T99")
    assert (done.code, done.out) == (1, "")
    assert done.err == "There is no task T99.\nList them with `sf task list`.\n"


def test_the_plain_and_the_parsed_form_of_a_command_print_the_same(tmp_path: Path) -> None:
    """`sf task ready` alone is run without the command line parser."""
    person = someone_with_a_plan(tmp_path, *TITLES)
    plain, parsed = person.ok("task", "ready"), person.ok("task", "ready", "--limit", "50")
    assert (plain.out, plain.err) == (parsed.out, parsed.err)


def test_every_change_of_a_task_is_possible_from_the_terminal(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path)
    description = person.home / "what.md"
    description.write_text("Über alles.\n\nZweitens.")
    person.ok("task", "create", "--title", "First")
    created = person.ok(
        *("task", "create", "--title", "Second", "--description-file", str(description)),
        *("--accept-criterion", "it works", "--accept-criterion", "it is tested"),
        *("--priority", "2", "--estimate", "45.5", "--path", "src/", "--depends-on", "T1"),
        "--json",
    ).json[0]
    assert created["description"] == "Über alles.\n\nZweitens."
    assert created["acceptance"] == ["it works", "it is tested"]
    assert (created["priority"], created["estimate_minutes"]) == (2, 45.5)
    assert created["paths"] == ["src/"]
    blocked = person.ok("task", "list", "--state", "blocked", "--json").json
    assert [(task["id"], on) for task, on in blocked["tasks"]] == [("T2", ["T1"])]
    person.ok("dep", "remove", "T2", "T1")
    updated = person.ok(
        "task", "update", "T2", "--title", "New", "--description-file", "-", stdin="typed"
    )
    assert updated.out == "T2 is open: New\n"
    assert person.ok("task", "show", "T2", "--json").json["task"]["description"] == "typed"
    assert "does not start" not in person.ok("why", "T2").out
    assert person.ok("task", "cancel", "T2").out == "T2 is cancelled: New\n"
    assert "cancelled" in person.ok("why", "T2").out


def test_a_draft_is_held_back_until_it_is_activated(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    person.ok("plan", "create", "--title", "Later", "--draft")
    person.ok("task", "create", "--title", "One", "--plan", "Later")
    assert person.ok("task", "ready").out == "No task is ready.\n"
    person.ok("plan", "activate", "Later")
    assert "T1" in person.ok("task", "ready").out
    refused = person.sf("plan", "complete", "P1")
    assert (refused.code, "T1" in refused.err) == (1, True)
    assert "cancelled" in person.ok("plan", "cancel", "P1").out


def test_without_a_plan_named_a_task_joins_the_newest_active_one(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    refused = person.sf("task", "create", "--title", "One")
    assert (refused.code, "sf plan create" in refused.err) == (1, True)
    for title, more in (("Old", ()), ("New", ()), ("Draft", ("--draft",))):
        person.ok("plan", "create", "--title", title, *more)
    task = person.ok("task", "create", "--title", "One", "--json").json[0]
    assert task["plan_id"] == "P2"


def test_a_pause_is_shown_by_status_and_why(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    person.ok("pause", "--reason", "release day")
    assert "release day" in person.ok("status").out
    assert "release day" in person.ok("why", "T1").out
    person.ok("resume")
    assert "release day" not in person.ok("status").out


def test_long_lists_say_how_to_go_on(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One", "Two", "Three")
    first = person.ok("task", "list", "--limit", "2")
    assert "2 of 3" in first.err
    assert "--after T2" in first.err
    rest = person.ok("task", "list", "--limit", "2", "--after", "T2")
    assert ("T3" in rest.out, rest.err) == (True, "")


def test_sf_works_from_a_subfolder_a_linked_worktree_and_by_sf_root(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    (person.root / "deep" / "er").mkdir(parents=True)
    person.git("worktree", "add", "--quiet", str(tmp_path / "linked"), "-b", "side")
    expected = person.ok("task", "ready", "--json").json
    for cwd in (person.root / "deep" / "er", tmp_path / "linked"):
        assert person.ok("task", "ready", "--json", cwd=cwd).json == expected
    elsewhere = Person(root=person.root, home=person.home, extra={"SF_ROOT": str(person.root)})
    assert elsewhere.ok("task", "ready", "--json", cwd=tmp_path).json == expected
    wrong = person.sf("status", env={"SF_ROOT": str(tmp_path / "gone")})
    assert (wrong.code, "SF_ROOT" in wrong.err) == (1, True)


def test_a_folder_without_a_project_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    done = person.sf("status", "--json")
    assert (done.code, done.json["code"]) == (3, "not_set_up")
    assert "sf init" in person.sf("status").err


def test_tokens_are_stored_as_hashes_only(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    token = person.ok("token").out.strip()
    assert person.ok("token", "--headers").json == {"Authorization": f"Bearer {token}"}
    assert (person.folder / "person.token").stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(person.folder / "state.db")) as db:
        assert token not in "\n".join(db.iterdump())


def test_a_renewed_token_replaces_the_old_one_beside_a_running_server(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    old = person.ok("token").out.strip()
    with person.serving():
        new = person.ok("token", "--renew").out.strip()
        assert new != old
        assert "T1" in person.ok("task", "ready").out
        (person.folder / "person.token").write_text(old)
        refused = person.sf("status", "--json")
        assert (refused.code, refused.json["code"]) == (1, "unauthorized")
        assert "sf token --renew" in refused.json["remedy"]
        for damaged in (b"", b"caf\xc3\xa9", b"\xff\xfe"):
            (person.folder / "person.token").write_bytes(damaged)
            assert person.sf("status", "--json").json["code"] == "unauthorized"


def test_umask_does_not_make_the_token_readable(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    before = os.umask(0)
    try:
        person.ok("init")
    finally:
        os.umask(before)
    assert (person.folder / "person.token").stat().st_mode & 0o777 == 0o600
