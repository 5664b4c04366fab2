"""`sf export` and `sf report`: what was done, for programs and for people."""

import json
from datetime import timedelta
from pathlib import Path

from markdown_it import MarkdownIt

from sf_mcp.clock import utc_now
from tests.cli.builders_project import Person, someone_with_a_plan
from tests.cli.builders_work import services_of, someone_asks, someone_hands_in

HOSTILE = "<img src=x onerror=alert(1)> | [a](javascript:b) `c` \x1b[31m"


def exported(person: Person, *options: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in person.ok("export", *options).out.splitlines()]


def test_every_event_is_one_line_in_the_order_of_its_number(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One", HOSTILE)
    done = person.sf("export")
    assert done.code == 0
    assert done.out.isascii()
    assert "\x1b" not in done.out
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert list(events[-1]) == ["number", "at", "kind", "actor", "subject", "data"]
    assert (events[-1]["kind"], events[-1]["subject"]) == ("task_created", "T2")
    assert events[-1]["data"]["title"].startswith("<img src=x")
    with person.serving():
        assert exported(person)[: len(events)] == events


def test_events_since_a_number_a_time_or_an_age_and_of_one_subject(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One", "Two")
    every = exported(person)
    assert exported(person, "--since", "3") == every[2:]
    assert exported(person, "--subject", "T2") == [every[-1]]
    assert exported(person, "--since", "1h") == every
    tomorrow = (utc_now() + timedelta(days=1)).date().isoformat()
    assert exported(person, "--since", tomorrow) == []
    assert exported(person, "--since", str(every[-1]["at"]), "--subject", "T2") == [every[-1]]
    refused = person.sf("export", "--since", "soon", "--json")
    assert (refused.code, refused.json["code"]) == (1, "invalid_input")


def test_more_events_than_a_page_are_all_there_once(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path)
    with services_of(person) as services:
        from sf_mcp.core.identity import PERSON

        with services.workspace.write(PERSON) as tx:
            for number in range(2500):
                tx.event("progress", "T1" if number % 3 else "", text=f"step {number}")
    assert [event["number"] for event in exported(person)] == list(range(1, 2503))
    assert len(exported(person, "--subject", "T1")) == 1666


def test_a_file_is_made_and_never_written_over(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    told = person.ok("export", "-o", "events.jsonl", "--json").json
    path = person.root / "events.jsonl"
    assert told == {"path": str(path), "events": 3}
    assert [json.loads(line) for line in path.read_text().splitlines()] == exported(person)
    before = path.read_bytes()
    for command in ("export", "report"):
        refused = person.sf(command, "-o", "events.jsonl")
        assert (refused.code, "there already" in refused.err) == (1, True)
    assert path.read_bytes() == before


def test_a_report_is_markdown_in_which_nothing_but_text_comes_from_people(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, HOSTILE, "Two")
    someone_hands_in(person, "new\n")
    someone_asks(person, HOSTILE)
    person.ok("question", "answer", "Q1", HOSTILE)
    person.ok("report", "-o", "report.md")
    text = (person.root / "report.md").read_text()
    again = person.ok("report", "Sprint 14").out
    assert again.splitlines()[:1] == text.splitlines()[:1]
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert "<img" not in html
    assert "<a " not in html
    assert "&lt;img src=x onerror=alert(1)&gt; | [a](javascript:b) `c` [31m" in html
    for heading in ("Sprint 14", "Tasks", "Commits", "Decisions", "What is left"):
        assert f">{heading}</h" in html
    assert "(not landed)" in text
    assert "P1 is active: 0 of 2 tasks have ended" in text


def test_a_report_as_json_says_why_what_is_left_is_left(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    with person.serving():
        found = person.ok("report", "--json").json
    assert found["left"] == ["T1"]
    assert found["why"]["T1"].startswith("T1 is ready")
    assert person.sf("report", "Nothing").code == 1
