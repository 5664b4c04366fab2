"""`sf plan import`: what comes of a file, once and again."""

from pathlib import Path
from shutil import copy

import pytest

from tests.cli.builders_project import Person, someone_set_up, someone_with_a_plan
from tests.cli.test_plan_file import EXAMPLES

PLAN = "# Sprint 15\n\n- [ ] A\n- [ ] B\n  depends on: A\n"


def imported(person: Person, text: str, *options: str, dry: bool = False) -> object:
    words = ["plan", "import", "-", *options, "--json", *(["--dry-run"] if dry else [])]
    return person.ok(*words, stdin=text).json


def titles(person: Person) -> list[str]:
    return [task["title"] for task, _ in person.ok("task", "list", "--json").json["tasks"]]


@pytest.mark.parametrize("kind", ["md", "yaml"])
def test_the_examples_become_a_plan_with_its_tasks(tmp_path: Path, kind: str) -> None:
    person = someone_set_up(tmp_path)
    copy(EXAMPLES / f"sprint-14.{kind}", person.root)
    dry = person.ok("plan", "import", f"sprint-14.{kind}", "--dry-run")
    assert "Would create 4 tasks." in dry.out
    assert "There is no plan yet" in person.ok("plan", "list").out

    done = person.sf("plan", "import", f"sprint-14.{kind}")
    assert done.code == 0, done.err
    assert done.out == dry.out.replace("Would create", "Created").replace("would create", "created")
    assert done.out.splitlines()[-1].endswith("skipped: Decide how long an invitation is valid")
    shown = person.ok("task", "show", "T4", "--json").json
    assert shown["depends_on"] == ["T1", "T3"]
    assert shown["task"]["estimate_minutes"] == 45
    plan = person.ok("plan", "show", "Sprint 14", "--json").json["plan"]
    assert (plan["state"], plan["description"].startswith("Users can")) == ("active", True)


def test_a_file_imported_again_doubles_nothing_and_adds_what_is_new(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    imported(person, PLAN)
    again = person.ok("plan", "import", "-", stdin=PLAN)
    assert "Created 0 tasks." in again.out
    assert "left as they are: T1 T2" in again.out
    more = f"{PLAN}  priority: 1\n- [ ] C\n  depends on: B\n"
    report = person.ok("plan", "import", "-", "--json", stdin=more).json
    assert [(one["id"], one["is_new"], one["differs"]) for one in report["tasks"]] == [
        ("T1", False, []),
        ("T2", False, ["priority"]),
        ("T3", True, []),
    ]
    assert report["tasks"][2]["depends_on"] == ["T2"]
    assert person.ok("task", "show", "T2", "--json").json["task"]["priority"] == 3
    assert (
        "T2 differs from the file in: priority" in person.ok("plan", "import", "-", stdin=more).out
    )
    assert titles(person) == ["A", "B", "C"]


def test_a_key_holds_when_the_title_changes(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    imported(person, "# P\n- [ ] A\n  key: a\n")
    report = person.ok("plan", "import", "-", "--json", stdin="# P\n- [ ] Better\n  key: a\n").json
    assert [(one["title"], one["differs"]) for one in report["tasks"]] == [("A", ["title"])]


def test_tasks_go_into_a_plan_that_is_there_and_may_wait_for_its_tasks(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "Old")
    person.ok("plan", "create", "--title", "Other")
    text = "- [ ] New\n  depends on: T1\n"
    report = person.ok("plan", "import", "-", "--plan", "P2", "--json", stdin=text).json
    assert (report["plan"]["title"], report["is_new_plan"]) == ("Other", False)
    assert report["tasks"][0]["depends_on"] == ["T1"]
    by_title = person.ok("plan", "import", "-", "--json", stdin="# Sprint 14\n- [ ] More\n").json
    assert (by_title["plan"]["id"], by_title["is_new_plan"]) == ("P1", False)


def test_a_draft_and_a_title_of_ones_own(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    person.ok("plan", "import", "-", "--title", "Mine", "--draft", stdin=PLAN)
    assert person.ok("plan", "show", "Mine", "--json").json["plan"]["state"] == "draft"
    refused = person.sf("plan", "import", "-", "--plan", "Mine", "--draft", stdin=PLAN)
    assert (refused.code, "--plan names a plan" in refused.err) == (1, True)


def test_what_cannot_be_imported_whole_is_not_imported_at_all(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    path = person.root / "plan.md"
    for text, words in (
        ("# P\n- [ ] A\n- [ ] B\n  depends on: T9\n", "There is no task T9"),
        ("# P\n- [ ] A\n- [ ] A\n", "plan.md, line 3"),
        ("- [ ] A\n", "The plan has no title"),
    ):
        path.write_text(text)
        refused = person.sf("plan", "import", "plan.md")
        assert (refused.code, words in refused.err) == (1, True), refused.err
    as_json = person.sf("plan", "import", "plan.md", "--json")
    assert as_json.json["code"] == "invalid_input"
    assert titles(person) == []
    assert person.ok("plan", "list", "--json").json == []


def test_with_a_server_too_and_a_dry_run_leaves_nothing_behind(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    with person.serving():
        person.ok("plan", "import", "-", "--dry-run", stdin=PLAN)
        assert titles(person) == []
        person.ok("plan", "import", "-", stdin=PLAN)
        again = person.ok("plan", "import", "-", "--json", stdin=PLAN).json
        assert [one["is_new"] for one in again["tasks"]] == [False, False]
        assert [row[0]["id"] for row in person.ok("task", "ready", "--json").json["tasks"]] == [
            "T1"
        ]
