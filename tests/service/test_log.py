"""Looking for events: what the page's log and its filters ask for."""

from pathlib import Path
from typing import Any

import pytest

from sf_mcp.core.identity import PERSON
from tests.builders import Project, a_project, a_task, a_worker


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def found(project: Project, **by: Any) -> list[tuple[str, str]]:
    events = project.services.fleet.search_log(PERSON, **by)
    return [(event.kind, event.subject) for event in events]


def test_the_newest_event_comes_first(project: Project) -> None:
    a_task(project)
    a_task(project)

    numbers = [one.number for one in project.services.fleet.search_log(PERSON)]

    assert numbers == sorted(numbers, reverse=True)
    assert numbers


def test_pages_follow_one_another_without_a_gap(project: Project) -> None:
    for _ in range(5):
        a_task(project)
    whole = project.services.fleet.search_log(PERSON, limit=1000)

    pages, before = list[int](), None
    while page := project.services.fleet.search_log(PERSON, before=before, limit=3):
        pages += [one.number for one in page]
        before = page[-1].number

    assert pages == [one.number for one in whole]


def test_events_are_filtered_by_subject_kind_and_actor_at_once(project: Project) -> None:
    first, second = a_task(project), a_task(project)

    assert found(project, subject=first, kind="task_created") == [("task_created", first)]
    assert found(project, kind="task_created", actor="person") == [
        ("task_created", second),
        ("task_created", first),
    ]
    assert found(project, subject=first, actor="somebody else") == []


def test_a_session_is_found_by_its_name(project: Project) -> None:
    worker = a_worker(project, a_task(project))

    assert ("session_started", worker.session.id) in found(project, subject=worker.session.name)


@pytest.mark.parametrize("text", ["größe", "GRÖßE"[:2], 'a "quoted" word', "100%_", "größe der"])
def test_text_is_found_in_what_an_event_says(project: Project, text: str) -> None:
    task = a_task(project, 'Die größe der a "quoted" word 100%_ sure')
    a_task(project, "Something else")

    assert found(project, text=text, kind="task_created") == [("task_created", task)]


def test_a_wildcard_is_no_wildcard(project: Project) -> None:
    a_task(project, "Something")

    assert found(project, text="%") == []
