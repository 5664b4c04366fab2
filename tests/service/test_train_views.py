"""The train as people see it: who is in line, what lands next, what was checked and has landed."""

from pathlib import Path

from sf_mcp.core.identity import PERSON
from sf_mcp.core.train_view import TrainView
from tests.builders import Project, a_merge_request, a_project, a_task
from tests.service.builders_landing import config


def shown(project: Project) -> TrainView:
    return project.services.train_views.show_train(PERSON)


def test_an_empty_train_shows_where_the_target_began(tmp_path: Path) -> None:
    view = shown(a_project(tmp_path))
    assert (view.slots, view.used, view.queue, view.trials, view.next) == (2, 0, [], [], [])
    assert [(one.kind.value, one.requests) for one in view.landed] == [("initial", [])]


def test_the_queue_is_in_the_order_in_which_it_lands(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}))
    late = a_merge_request(project, a_task(project, "late", priority=4))
    urgent = a_merge_request(project, a_task(project, "urgent", priority=1))
    view = shown(project)
    assert [(one.position, one.id, one.title) for one in view.queue] == [
        (1, urgent.id, "urgent"),
        (2, late.id, "late"),
    ]
    # One slot: both together are checked first.
    assert view.next == [urgent.id, late.id]
    assert all(one.is_next and one.may_land for one in view.queue)


def test_what_lands_next_is_what_lands_then(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}))
    for title in ("one", "two", "three"):
        a_merge_request(project, a_task(project, title))
    promised = shown(project).next
    project.run_train()
    view = shown(project)
    assert view.landed[0].requests == promised
    assert (view.queue, view.next) == ([], [])
    assert sorted(view.landed[0].titles) == ["one", "three", "two"]
    (trial,) = view.trials
    assert (trial.outcome.value, [(one.name, one.passed) for one in trial.checks]) == (
        "passed",
        [("tests", True)],
    )


def test_one_that_waits_for_the_person_is_in_line_and_not_next(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}, steward={"autoMerge": False}))
    request = a_merge_request(project, a_task(project))
    project.run_train()
    view = shown(project)
    assert [(one.id, one.may_land, one.is_next) for one in view.queue] == [
        (request.id, False, False)
    ]
    assert view.queue[0].status == f"waiting for your approval: sf mr approve {request.id}"
    project.services.requests.approve_merge(PERSON, request.id)
    assert shown(project).next == [request.id]


def test_a_paused_train_says_so(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    project.services.fleet.pause_fleet(PERSON, reason="lunch")
    assert shown(project).stopped == "lunch"
