"""Budgets of a task and the fleet: warned of, held to, spent, raised; and the cap on sessions."""

import json
from pathlib import Path
from typing import Any

import pytest

from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.models import EndKind, Event, Role
from sf_mcp.core.states import QuestionState, SessionState, TaskState
from sf_mcp.service.starting import MOST_STARTS
from sf_mcp.service.turns import NextStep
from tests.builders import (
    TINY,
    Project,
    Worker,
    a_merge_request,
    a_project,
    a_task,
    a_worker,
    dispatched,
)

TASK_10 = f"{TINY}budget: {{taskUsd: 10}}\n"
TASK_20 = f"{TINY}budget: {{taskUsd: 20}}\n"
FLEET_10 = "checks: []\nbudget: {fleetUsd: 10}\n"
FLEET_20 = "checks: []\nbudget: {fleetUsd: 20}\n"


def starts(project: Project) -> bool:
    return project.services.dispatch.next_order(PERSON) is not None


def events_of(project: Project, kind: str) -> list[Event]:
    found = project.services.fleet.read_log(PERSON, after=0, limit=1000)
    return [event for event in found if event.kind == kind]


def hook(worker: Worker, name: str, tool: str = "Bash") -> str:
    event: dict[str, Any] = {"hook_event_name": name, "tool_name": tool}
    return json.dumps(worker.project.services.hooks.answer(worker.caller, event))


def notes(project: Project) -> str:
    return "\n".join(project.services.fleet.fleet_status(PERSON).notes)


def stop_of(worker: Worker) -> str:
    directives = worker.project.services.launcher.directives(PERSON, [worker.session.id], False)
    return directives.stop[0].reason if directives.stop else ""


def the_question(project: Project) -> str:
    (question,) = project.services.questions.list_questions(PERSON)
    assert question.escalated  # money is the person's to give
    return question.id


# -- of a task ---------------------------------------------------------------------------------


def test_at_80_percent_it_is_said_once_to_the_person_and_to_the_worker_until_it_ends(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config=TASK_10)
    worker = a_worker(project, a_task(project))
    worker.hear(cost_usd=7.9)
    assert notes(project) == notes(a_project(tmp_path / "other"))
    assert hook(worker, "PostToolUse") == "{}"
    for cost_usd in (8.0, 8.5, 9.0):
        worker.hear(cost_usd=cost_usd)
    (warned,) = events_of(project, "budget_warned")
    assert (warned.subject, warned.data) == ("T1", {"cost_usd": 8.0, "limit_usd": 10.0})
    assert "T1 has cost $9.00 of $10.00 (budget.taskUsd)" in notes(project)
    for _ in range(2):
        assert "Wrap up" in hook(worker, "PostToolUse")
    assert hook(worker, "PreToolUse") == "{}"
    assert stop_of(worker) == ""


def test_near_its_end_a_worker_may_only_end_its_work(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=TASK_10)
    worker = a_worker(project, a_task(project))
    worker.hear(cost_usd=9.5)
    denied = hook(worker, "PreToolUse")
    assert '"permissionDecision": "deny"' in denied
    assert "Call write_handoff now" in denied
    for tool in ("mcp__sf__write_handoff", "mcp__sf__request_merge"):
        assert hook(worker, "PreToolUse", tool) == "{}"


def test_at_100_percent_the_server_hands_off_stops_and_asks_the_person(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=TASK_10)
    a_task(project)
    worker = dispatched(project)
    head = worker.commit({"a.txt": "a\n"}, "Half of it")
    (worker.cwd / "draft.txt").write_text("the rest")
    worker.hear(cost_usd=10.2)
    assert "T1 has cost $10.20 of $10.00" in stop_of(worker)
    ended = worker.end(EndKind.STOPPED, "the budget is used up")
    assert (ended.state, ended.end) == (SessionState.EXITED, EndKind.OVER_BUDGET)
    assert project.task("T1").state is TaskState.STUCK
    assert [event.kind for event in events_of(project, "budget_spent")] == ["budget_spent"]
    view = project.services.queries.get_task(PERSON, "T1")
    assert view.attempts[0][1].startswith("over_budget")
    (handoff,) = view.handoffs
    assert handoff.by_server
    assert handoff.commit == head
    assert handoff.snapshot is not None
    assert "T1 has cost $10.20 of $10.00" in handoff.pitfalls
    question = project.question(the_question(project))
    assert question.options == ("retry", "cancel")
    assert "T1 has cost $10.20 of $10.00 (budget.taskUsd)" in question.context
    why = project.services.queries.why(PERSON, "T1")
    assert why.sentence == "T1 is set aside: T1 has cost $10.20 of $10.00 (budget.taskUsd)."
    assert why.next_step == "Raise budget.taskUsd, or sf task retry T1"


def test_a_worker_that_hands_off_itself_keeps_its_own_words(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=TASK_10)
    a_task(project)
    worker = dispatched(project)
    worker.hear(cost_usd=9.7)
    worker.hand_off()
    worker.hear(cost_usd=10.1)
    assert stop_of(worker) == ""
    verdict = project.services.sessions.turn_ended(PERSON, worker.session.id)
    assert (verdict.step, verdict.end) == (NextStep.FINISH, EndKind.HANDED_OFF)
    worker.end(EndKind.HANDED_OFF)
    (handoff,) = project.services.queries.get_task(PERSON, "T1").handoffs
    assert not handoff.by_server
    # What the last words cost was beyond it: the task is set aside before another session starts.
    assert not starts(project)
    project.services.budgets.look(SERVER)
    assert project.task("T1").state is TaskState.STUCK
    the_question(project)


def test_a_task_that_is_finished_with_its_last_cent_lands(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=TASK_10)
    a_task(project)
    worker = dispatched(project)
    worker.commit({"a.txt": "a\n"})
    worker.hear(cost_usd=9.9)
    worker.request_merge()
    worker.hear(cost_usd=10.4)
    assert stop_of(worker) == ""
    worker.end(EndKind.MERGE_REQUESTED)
    project.run_train()
    assert project.task("T1").state is TaskState.MERGED


@pytest.mark.parametrize("kind", [EndKind.KILLED, EndKind.TIMED_OUT, EndKind.NO_OUTCOME])
def test_a_spent_budget_is_nobodys_failure_however_the_process_ended(
    tmp_path: Path, kind: EndKind
) -> None:
    project = a_project(tmp_path, config=TASK_10)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.hear(cost_usd=10)
    assert worker.end(kind).end is EndKind.OVER_BUDGET
    assert project.task("T1").state is TaskState.STUCK
    assert project.services.queries.why(PERSON, "T1").sentence.startswith("T1 is set aside")


def test_a_usage_limit_parks_the_account_also_at_the_end_of_a_budget(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=TASK_10)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.hear(cost_usd=10)
    assert worker.end(EndKind.USAGE_LIMIT, "limit reached").end is EndKind.USAGE_LIMIT
    assert project.services.fleet.fleet_status(PERSON).parked_until is not None
    assert project.task("T1").state is TaskState.STUCK


def test_a_question_that_was_open_at_the_end_of_the_budget_is_in_the_handoff(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config=TASK_10)
    worker = a_worker(project, a_task(project), with_worktree=True)
    asked = worker.ask("Which colour?")
    worker.hear(cost_usd=10)
    worker.end(EndKind.PARKED)
    assert project.question(asked.id).state is QuestionState.WITHDRAWN
    (handoff,) = project.services.queries.get_task(PERSON, "T1").handoffs
    assert "It had asked: Which colour?" in handoff.pitfalls
    assert project.task("T1").state is TaskState.STUCK


def set_aside(project: Project) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.hear(cost_usd=10.2)
    worker.end(EndKind.STOPPED)
    assert project.task("T1").state is TaskState.STUCK


@pytest.mark.parametrize("config", [TASK_20, TINY])
def test_a_task_goes_on_by_itself_when_its_budget_is_raised_or_taken_away(
    tmp_path: Path, config: str
) -> None:
    project = a_project(tmp_path, config=TASK_10)
    set_aside(project)
    asked = the_question(project)
    project.services.budgets.look(SERVER)
    assert project.task("T1").state is TaskState.STUCK
    project.configure(config)
    project.services.budgets.look(SERVER)
    assert project.task("T1").state is TaskState.OPEN
    assert project.question(asked).state is QuestionState.WITHDRAWN
    worker = dispatched(project)
    assert project.services.claims.claim_task(worker.caller).handoffs[0].by_server


def test_what_was_spent_before_counts_towards_the_raised_budget(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=TASK_10)
    set_aside(project)
    project.configure(TASK_20)
    project.services.budgets.look(SERVER)
    worker = dispatched(project)
    worker.hear(cost_usd=5.9)
    assert "T1 has cost $16.10 of $20.00" in notes(project)
    assert len(events_of(project, "budget_warned")) == 1
    worker.hear(cost_usd=9.8)
    assert "T1 has cost $20.00 of $20.00" in stop_of(worker)


def test_a_retry_gives_the_same_amount_once_more(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=TASK_10)
    set_aside(project)
    project.clock.advance(seconds=1)
    project.services.plans.retry_task(PERSON, "T1")
    project.clock.advance(seconds=1)
    worker = dispatched(project)
    worker.hear(cost_usd=8.1)
    assert "T1 has cost $8.10 of $10.00" in notes(project)
    assert len(events_of(project, "budget_warned")) == 1  # the first went past it in one step
    worker.hear(cost_usd=10)
    assert len(events_of(project, "budget_spent")) == 2


def test_a_lower_budget_sets_aside_what_has_cost_more_already(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=TASK_20)
    worker = a_worker(project, a_task(project))
    worker.hear(cost_usd=12)
    worker.end(EndKind.STOPPED)
    a_task(project)
    project.configure(TASK_10)
    project.services.budgets.look(SERVER)
    assert project.task("T1").state is TaskState.STUCK
    # Others are not held up by it.
    assert dispatched(project).task_id == "T2"


def test_a_session_that_waits_for_an_answer_is_not_resumed_beyond_its_budget(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config=TASK_20)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.hear(cost_usd=12)
    asked = worker.ask()
    worker.end(EndKind.PARKED)
    project.services.questions.answer_question(PERSON, asked.id, answer="blue")
    project.configure(TASK_10)
    assert not starts(project)
    project.services.budgets.look(SERVER)
    assert project.task("T1").state is TaskState.STUCK
    assert project.session(worker.session.id).state is SessionState.EXITED


# -- of the fleet ------------------------------------------------------------------------------


def test_at_80_percent_the_fleet_is_warned_of_once(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=FLEET_10)
    first, second = (a_worker(project, a_task(project)) for _ in range(2))
    first.hear(cost_usd=5)
    second.hear(cost_usd=3.5)
    first.hear(cost_usd=5.2)
    (warned,) = events_of(project, "budget_warned")
    assert (warned.subject, warned.data) == ("", {"cost_usd": 8.5, "limit_usd": 10.0})
    assert "the fleet has cost $8.70 of $10.00 (budget.fleetUsd)." in notes(project)
    assert "Wrap up" in hook(first, "PostToolUse")


def test_at_100_percent_every_session_hands_off_and_nothing_new_starts(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=FLEET_10)
    for _ in range(3):
        a_task(project)
    first, second = dispatched(project), dispatched(project)
    first.hear(cost_usd=6)
    second.hear(cost_usd=4)
    for worker in (first, second):
        assert "the fleet has cost $10.00 of $10.00" in stop_of(worker)
        assert worker.end(EndKind.STOPPED).end is EndKind.OVER_BUDGET
        (handoff,) = project.services.queries.get_task(PERSON, worker.task_id).handoffs
        assert handoff.by_server
    # It is not the tasks' fault: they stay open, and nobody is asked about them.
    assert {project.task(f"T{number}").state for number in (1, 2, 3)} == {TaskState.OPEN}
    assert not starts(project)
    assert "nothing is started until you raise it" in notes(project)
    why = project.services.queries.why(PERSON, "T3")
    assert why.sentence == (
        "T3 is ready, but the fleet has cost $10.00 of $10.00 (budget.fleetUsd)."
    )
    assert why.next_step == "Raise budget.fleetUsd."
    # No restart is needed.
    project.configure(FLEET_20)
    assert starts(project)


def test_reviews_and_answers_count_for_the_fleet_and_stop_with_it(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=FLEET_10)
    a_merge_request(project, a_task(project))
    project.run_train()
    project.services.questions.set_goal(PERSON, goal="More")
    steward, director = dispatched(project), dispatched(project)
    assert (steward.session.role, director.session.role) == (Role.STEWARD, Role.DIRECTOR)
    steward.hear(cost_usd=4)
    director.hear(cost_usd=6)
    for worker in (steward, director):
        assert "the fleet has cost $10.00 of $10.00" in stop_of(worker)
        worker.end(EndKind.STOPPED)
    a_task(project)
    assert not starts(project)
    project.configure(FLEET_20)
    assert sorted(dispatched(project).session.role for _ in range(3)) == [
        Role.DIRECTOR,
        Role.STEWARD,
        Role.WORKER,
    ]


def test_a_lower_budget_stops_what_runs(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=FLEET_20)
    worker = a_worker(project, a_task(project))
    worker.hear(cost_usd=12)
    assert stop_of(worker) == ""
    project.configure(FLEET_10)
    project.services.budgets.look(SERVER)
    assert "the fleet has cost $12.00 of $10.00" in stop_of(worker)


def test_without_a_budget_nothing_is_said_or_stopped(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    worker.hear(cost_usd=1e6)
    project.services.budgets.look(SERVER)
    assert stop_of(worker) == ""
    assert not {"budget_warned", "budget_spent"} & set(project.event_kinds())


# -- without end ---------------------------------------------------------------------------------


def test_a_task_that_sessions_hand_off_for_ever_is_set_aside(tmp_path: Path) -> None:
    """Row 37 of the known defects: nothing capped the spawning of sessions."""
    project = a_project(tmp_path)
    task_id = a_task(project)
    for _ in range(MOST_STARTS):
        a_worker(project, task_id).end(EndKind.RELEASED)
    assert not starts(project)
    project.services.budgets.look(SERVER)
    assert project.task(task_id).state is TaskState.STUCK
    assert f"{MOST_STARTS} sessions" in project.question(the_question(project)).context
    assert f"{MOST_STARTS} sessions" in project.services.queries.why(PERSON, task_id).sentence
    project.clock.advance(seconds=1)
    project.services.plans.retry_task(PERSON, task_id)
    project.services.budgets.look(SERVER)
    assert starts(project)


def test_a_session_that_asks_for_ever_is_not_resumed_for_ever(tmp_path: Path) -> None:
    """Row 37 of the known defects: each question wakes a director and the asker."""
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    for number in range(MOST_STARTS):
        asked = worker.ask(f"And now, for the {number}th time?")
        worker.end(EndKind.PARKED)
        project.services.questions.answer_question(PERSON, asked.id, answer="Go on.")
        if not starts(project):
            break
        project.services.sessions.started(
            PERSON, worker.session.id, pid=1, process_started="", log_path=""
        )
    assert project.session(worker.session.id).starts == MOST_STARTS
    project.services.budgets.look(SERVER)
    assert project.task(worker.task_id).state is TaskState.STUCK


def test_a_review_that_no_session_decides_is_left_to_the_person(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\n")
    request = a_merge_request(project, a_task(project))
    project.run_train()
    for _ in range(MOST_STARTS):
        dispatched(project).end(EndKind.STOPPED)
    assert project.request(request.id).is_escalated
    assert not starts(project)
