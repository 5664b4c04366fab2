"""What people and models type: told apart, never run, never lost."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.builders_project import (
    Person,
    on_a_terminal,
    someone_set_up,
    someone_with_a_plan,
)

TITLES = (
    "`touch pwned`",
    "$(touch pwned) $HOME ${PATH}",
    'it\'s "quoted" \\ and ; | & > pwned',
    "Ship it 🚀 für Ærøskøbing 漢字",
    "--title --json -rf",
    "-x",
    "/etc/passwd /../..",
    "[red]not markup[/red] [link=x]y[/link]",
    "%s {0} {title} \\n",
)


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return someone_with_a_plan(tmp_path_factory.mktemp("bad"))


def test_titles_come_out_as_they_went_in(person: Person) -> None:
    for title in TITLES:
        task = person.ok("task", "create", "--title", title, "--json").json[0]
        assert task["title"] == title
    listed = person.ok("task", "ready").out
    assert all(title in listed for title in TITLES)
    assert not list(person.root.rglob("pwned"))


def test_a_title_of_several_lines_becomes_one(person: Person) -> None:
    task = person.ok("task", "create", "--title", "first\nsecond\r\n\tthird\x1b[31m", "--json")
    assert task.json[0]["title"] == "first second third [31m"


def test_a_title_of_ten_thousand_characters_is_refused_with_the_limit(person: Person) -> None:
    done = person.sf("task", "create", "--title", "x" * 10_000)
    assert (done.code, "10,000 characters" in done.err) == (1, True)
    assert "--description" in done.err


def test_bytes_that_are_no_text_are_refused(person: Person) -> None:
    done = person.sf("task", "create", "--title", b"\xff\xfe".decode(errors="surrogateescape"))
    assert done.code == 1
    assert done.err


def test_an_unknown_plan_and_an_unknown_dependency_are_named(person: Person) -> None:
    plan = person.sf("task", "create", "--title", "x", "--plan", "Sprint 15")
    assert (plan.code, "There is no plan 'Sprint 15'." in plan.err) == (1, True)
    dependency = person.sf("task", "create", "--title", "x", "--depends-on", "T999")
    assert (dependency.code, "T999" in dependency.err) == (1, True)


def test_a_cycle_is_refused_and_named(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One", "Two", "Three")
    person.ok("dep", "add", "T2", "T1")
    person.ok("dep", "add", "T3", "T2")
    done = person.sf("dep", "add", "T1", "T3", "--json")
    assert (done.code, done.json["code"]) == (1, "cyclic_dependencies")
    assert "T1 → T3 → T2 → T1" in done.json["message"]
    assert person.ok("dep", "tree", "T3").out.splitlines() == [
        "T3  open  Three",
        "  T2  open  Two",
        "    T1  open  One",
    ]


def test_a_description_file_that_is_not_there_is_refused(person: Person) -> None:
    gone = person.sf("task", "create", "--title", "x", "--description-file", "/no/such/file")
    assert (gone.code, "/no/such/file" in gone.err) == (1, True)
    both = person.sf(
        "task", "create", "--title", "x", "--description", "a", "--description-file", "b"
    )
    assert (both.code, "Give one of them" in both.err) == (1, True)


def test_json_has_no_character_that_steers_a_terminal(person: Person) -> None:
    nasty = "a\x1b]0;owned\x07b\x9b31mc\u202ed"
    done = person.ok("task", "create", "--title", "x", "--description", nasty, "--json")
    assert json.loads(done.out)[0]["description"] == nasty
    assert done.out.isascii()
    assert not set(done.out) & set(map(chr, range(32))) - {"\n"}


def test_text_is_shown_without_what_steers_a_terminal(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    person.ok("plan", "create", "--title", "P", "--description", "a\x1b]0;owned\x07b\nc\u202ed")
    shown = person.ok("plan", "show", "P").out
    assert "a]0;ownedb\ncd" in shown


def test_a_terminal_gets_a_table_within_its_width(tmp_path: Path) -> None:
    title = "[red]x[/red] :rocket: " + "long " * 60
    person = someone_with_a_plan(tmp_path, title)
    for words in (("task", "ready"), ("status",)):
        shown = on_a_terminal(person, *words, width=60, env={"NO_COLOR": "1"})
        assert "[red]x[/red] :rocket:" in shown
        assert "\x1b[3" not in shown, "a colour"
        lines = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
        tables = lines[lines.index("") :] if words == ("status",) else lines
        assert max(map(len, tables)) <= 60
        assert any(re.match(r" *T1  .*…$", line.rstrip()) for line in lines)
    # A pipe gets it whole.
    assert title.strip() in person.ok("task", "ready").out
