"""The inbox: what waits for the person, once each, what holds up most first."""

from collections.abc import Sequence
from pathlib import Path

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind
from sf_mcp.core.overview import WaitingLine
from sf_mcp.core.states import TaskState
from tests.builders import (
    TINY,
    Project,
    a_merge_request,
    a_plan,
    a_project,
    a_proposal,
    a_steward,
    a_task,
    a_worker,
    bring,
    dispatched,
)
from tests.service.builders_landing import config

REVIEWED = "checks: []\nagents:\n  steward: {review: true}\n"
BY_HAND = "checks: []\nagents:\n  steward: {review: false, autoMerge: false}\n"
ALONE = TINY + "  director: {headless: false}\n"


def waiting(project: Project) -> list[WaitingLine]:
    return project.services.fleet.fleet_status(PERSON).waiting


def kinds(lines: Sequence[WaitingLine]) -> list[tuple[str, str]]:
    return [(line.kind.value, line.id) for line in lines]


def test_nothing_waits_when_the_fleet_can_go_on_by_itself(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    first = a_task(project, plan=plan)
    a_task(project, plan=plan, depends_on=[first])
    a_worker(project, first)
    a_merge_request(project, a_task(project, plan=plan))
    assert waiting(project) == []


def test_what_holds_up_most_work_comes_first_and_then_what_is_oldest(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    lonely, old, base = (a_task(project, plan=plan) for _ in range(3))
    middle = a_task(project, plan=plan, depends_on=[base])
    a_task(project, plan=plan, depends_on=[middle])
    for task_id in (old, lonely, base):
        a_worker(project, task_id).ask()
        project.clock.advance(minutes=1)
    lines = waiting(project)
    assert [(line.task_id, line.behind) for line in lines] == [(base, 3), (old, 1), (lonely, 1)]
    assert lines[0].since is not None
    assert lines[0].command == 'sf question answer Q3 "…"'


def test_an_ended_task_no_longer_counts_among_those_that_wait(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    base = a_task(project, plan=plan)
    middle = a_task(project, plan=plan, depends_on=[base])
    a_task(project, plan=plan, depends_on=[middle])
    a_worker(project, base).ask()
    project.services.plans.cancel_task(PERSON, middle)
    by_kind = {(line.kind.value, line.task_id): line.behind for line in waiting(project)}
    # What waits for the cancelled one waits for a decision about that, not for this answer.
    assert by_kind == {("question", base): 1, ("question", middle): 1}


def test_a_stuck_task_is_there_once_with_what_it_failed_of(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, "Write the parser", state=TaskState.STUCK)
    (line,) = waiting(project)
    assert (line.kind.value, line.id, line.options) == ("stuck", task_id, ("retry", "cancel"))
    assert line.text.startswith("Write the parser is stuck: ")
    assert line.command == f"sf task retry {task_id}"
    project.services.plans.retry_task(PERSON, task_id)
    assert waiting(project) == []


def test_a_proposal_waits_until_it_is_accepted_or_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    proposed = a_proposal(project)
    (line,) = waiting(project)
    assert (line.kind.value, line.id) == ("proposal", proposed)
    project.services.plans.update_task(PERSON, proposed, accept=False)
    assert waiting(project) == []


def test_a_question_that_a_director_works_on_waits_for_the_director(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    asked = a_worker(project, a_task(project)).ask()
    # The first minute is the person's, and their own director's.
    assert kinds(waiting(project)) == [("question", asked.id)]
    project.clock.advance(minutes=2)
    director = dispatched(project)
    assert waiting(project) == []
    # One that ends without an answer leaves it lying: then it is the person's again.
    director.end(EndKind.NO_OUTCOME)
    assert kinds(waiting(project)) == [("question", asked.id)]


def test_a_question_that_a_director_left_to_the_person_is_theirs_at_once(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    asked = a_worker(project, a_task(project)).ask()
    project.clock.advance(minutes=2)
    director = dispatched(project)
    project.services.questions.escalate(director.caller, asked.id, note="not in the code")
    assert kinds(waiting(project)) == [("question", asked.id)]
    project.services.questions.answer_question(PERSON, asked.id, answer="the first")
    assert waiting(project) == []


def test_a_goal_is_the_directors_and_not_the_persons(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    project.services.questions.set_goal(PERSON, goal="make it faster")
    assert waiting(project) == []


def test_a_merge_request_waits_for_the_person_once_everything_else_is_done(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=BY_HAND)
    request = a_merge_request(project, a_task(project, "Add a thing"))
    assert waiting(project) == []
    project.run_train()
    (line,) = waiting(project)
    assert (line.kind.value, line.id, line.text) == ("review", request.id, "Add a thing")
    assert line.command == f"sf mr approve {request.id}"
    project.services.requests.approve_merge(PERSON, request.id)
    assert waiting(project) == []


def test_a_review_that_a_steward_left_to_the_person_waits_for_them(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    request = a_merge_request(project, a_task(project, "Add a thing"))
    project.run_train()
    steward = a_steward(project, request)
    assert waiting(project) == []
    project.services.requests.escalate_review(steward.caller, note="it changes the licence")
    (line,) = waiting(project)
    assert (line.kind.value, line.id) == ("review", request.id)
    assert line.text == "Add a thing: it changes the licence"


def test_a_pause_holds_up_everything_and_comes_first(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    for _ in range(3):
        a_task(project)
    bring(project, a_task(project), TaskState.STUCK)
    project.services.fleet.pause_fleet(PERSON, reason="lunch")
    lines = waiting(project)
    assert [line.kind.value for line in lines] == ["paused", "stuck"]
    assert (lines[0].text, lines[0].behind) == ("The fleet is paused: lunch", 4)
    assert lines[0].since == project.clock.now
    project.services.fleet.resume_fleet(PERSON)
    assert [line.kind.value for line in waiting(project)] == ["stuck"]


def test_a_session_leads_with_the_question_it_is_blocked_on(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    asked = a_worker(project, a_task(project)).ask("Which port?")
    (line,) = project.services.fleet.fleet_status(PERSON).sessions
    assert (line.question_id, line.question, line.asked_at) == (
        asked.id,
        "Which port?",
        asked.asked_at,
    )


def test_a_bad_edit_and_a_red_target_wait_too_and_hold_up_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "false"}))
    project.run_train()
    (line,) = waiting(project)
    assert (line.kind.value, line.behind) == ("target", 0)
    assert "tests failed (exit 1)" in line.text
    project.configure("orchestrator: {maxConcurrent: many}\n")
    found = {line.kind.value: line for line in waiting(project)}
    assert set(found) == {"target", "configuration"}
    assert found["configuration"].command == "sf config check"
    assert found["configuration"].text.startswith("The last good configuration is in use: ")


def test_a_question_about_the_usage_limit_holds_up_everything_and_is_there_once(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config=TINY + "limits: {onUsageLimit: ask}\n")
    worker = a_worker(project, a_task(project))
    a_task(project)
    worker.end(EndKind.USAGE_LIMIT, "limit reached", resets_at="2026-03-01T14:00:00+00:00")
    (line,) = waiting(project)
    assert (line.kind.value, line.behind) == ("question", 2)
    assert line.options == ("wait", "go on now", "stop")
