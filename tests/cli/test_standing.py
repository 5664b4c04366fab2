"""`sf status`: everything on one screen, what waits for the person first."""

import re
from pathlib import Path
from typing import Any

import pytest

from sf_mcp.cli.output import width_of
from sf_mcp.cli.overview import screen
from sf_mcp.cli.standing import Section, age, parts
from sf_mcp.core.identity import PERSON
from sf_mcp.service.drafts import TaskDraft
from tests.builders import NOON, Project, a_worker, some_tasks
from tests.cli.builders_project import on_a_terminal, someone_with_a_plan
from tests.cli.builders_standing import a_busy_project, overview_of


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_busy_project(tmp_path)


def shown(overview: dict[str, Any], width: int | None = 80, height: int | None = 24) -> str:
    return "\n".join(screen(overview, "http://127.0.0.1:7420", width=width, height=height))


def test_everything_stands_on_one_screen_of_eighty_columns_and_24_lines(project: Project) -> None:
    lines = shown(overview_of(project)).splitlines()
    assert len(lines) <= 23
    assert max(width_of(line) for line in lines if not line.startswith("note")) <= 80
    assert [re.sub(r"[0-9a-f]{12}", "COMMIT", line) for line in lines] == [
        "project  project at http://127.0.0.1:7420",
        "target   main at COMMIT, not checked; your checkout: up to date",
        "plans    P1 Sprint 14 0/7",
        "tasks    3 ready, 1 blocked (2 claimed, 1 in review, 4 open); $1.25 spent",
        "note     Nothing is checked before the target branch moves: the list `checks` is empty.",
        "",
        "Waits for you (2)",
        "  Q1  question  12 min  T1  Which table should it use? (1 more task waits)",
        '                            sf question answer Q1 "…"',
        "  M1  review    15 min  T4  Add a header",
        "                            sf mr approve M1",
        "",
        "Sessions (2)",
        "  worker-1  asks 12 min  T1              12 min ago  Q1: Which table should it…",
        "  worker-2  working      T3  42%  $1.25  4 s ago     working",
        "",
        "Merge train (1)",
        "  M1  T4  waiting for your approval: sf mr approve M1: Add a header",
        "",
        "Ready (3)",
        "  T5  priority 3  Write the manual",
        "  and 2 more: sf task ready",
    ]


def test_a_session_that_asks_comes_first_with_its_question_and_for_how_long(
    project: Project,
) -> None:
    sessions = parts(overview_of(project))[1]
    assert sessions.section is Section.SESSIONS
    first, second = sessions.rows
    assert (first.facts[0], first.text) == ("asks 12 min", "Q1: Which table should it use?")
    assert (second.facts[0], second.is_urgent) == ("working", False)


def test_what_does_not_fit_is_counted_with_the_command_that_shows_it(project: Project) -> None:
    plan = some_tasks(project, *(TaskDraft(title=f"Task {n}") for n in range(30)))
    for task_id in plan[:9]:
        a_worker(project, task_id).ask(f"What about {task_id}?")
    text = shown(overview_of(project))
    assert len(text.splitlines()) <= 23
    assert re.search(r"Waits for you \(11\)\n(.*\n)+?  and \d+ more: sf watch\n", text)
    assert re.search(r"Sessions \(11\)\n(.*\n)+  and \d+ more: sf session list\n", text)
    assert re.search(r"Ready \(24\)\n(.*\n)+  and \d+ more: sf task ready", text)
    whole = shown(overview_of(project), width=None, height=None)
    assert whole.count("sf question answer") == 10
    assert "sf session list" not in whole


def test_a_screen_of_any_size_shows_the_first_of_everything(project: Project) -> None:
    for width, height in ((20, 5), (40, 10), (200, 60)):
        text = shown(overview_of(project), width, height)
        for part in parts(overview_of(project)):
            assert f"\n{part.section.value} ({part.total})\n" in text


def test_titles_can_neither_steer_the_terminal_nor_break_the_columns(project: Project) -> None:
    text = shown(overview_of(project), width=None, height=None)
    assert not re.search(
        r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", text
    )
    assert "[red]bold[/red]" in text
    for width in range(30, 90, 7):
        ready = shown(overview_of(project), width).partition("\nReady")[2]
        assert all(width_of(line) <= width for line in ready.splitlines())


def test_a_pause_is_said_with_how_to_end_it(project: Project) -> None:
    project.services.fleet.pause_fleet(PERSON, reason="release day")
    text = shown(overview_of(project))
    assert "paused   release day (sf resume)" in text
    assert "The fleet is paused: release day" in text


def test_an_age_has_its_one_fitting_unit() -> None:
    from datetime import timedelta

    ages = {-5: "0 s", 0: "0 s", 119: "119 s", 120: "2 min", 7_199: "119 min", 7_200: "2 h"}
    ages |= {172_799: "47 h", 172_800: "2 d", 10**7: "115 d"}
    for seconds, text in ages.items():
        assert age(NOON, NOON + timedelta(seconds=seconds)) == text


def test_colours_are_for_terminals_that_want_them(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    person.ok("pause", "--reason", "release day")
    assert "\x1b[33mrelease day" in on_a_terminal(person, "status", env={})
    plain = on_a_terminal(person, "status", env={"NO_COLOR": "1"})
    assert "release day" in plain
    assert "\x1b" not in plain
    assert "no server is running: sf serve" in plain
