"""Questions: asked once, answered once, delivered for sure; nobody resumes without an answer."""

from pathlib import Path

import pytest

from sf_mcp.core.errors import IllegalTransition, InvalidInput, NotAllowed, NotFound, StaleLease
from sf_mcp.core.identity import PERSON, SERVER, Caller
from sf_mcp.core.models import EndKind, Role, SessionId
from sf_mcp.core.states import QuestionState, SessionState, TaskState
from sf_mcp.service.turns import NextStep
from tests.builders import (
    Project,
    Worker,
    a_merge_request,
    a_project,
    a_task,
    a_worker,
    bring,
    dispatched,
)

NO_DIRECTOR = "checks: []\nagents: {director: {headless: false}}\n"
DIRECTOR = Caller(role=Role.DIRECTOR, name="director-1", session_id=SessionId("d"))


def answer(project: Project, question: str, text: str = "Take the first.") -> None:
    project.services.questions.answer_question(PERSON, question, answer=text)


def turn_ended(worker: Worker) -> NextStep:
    return worker.project.services.sessions.turn_ended(PERSON, worker.session.id).step


# -- asking ------------------------------------------------------------------------------------


def test_the_same_open_question_asked_again_is_the_same_one(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    first = worker.ask("Which  one?")
    assert worker.ask(" Which  one? ") == first
    assert project.event_kinds().count("question_asked") == 1


def test_a_question_asked_again_after_its_answer_gets_that_answer(tmp_path: Path) -> None:
    """The reply with the answer may have been lost: nobody is asked a second time."""
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    asked = worker.ask()
    answer(project, asked.id)
    again = worker.ask()
    assert (again.id, again.answer) == (asked.id, "Take the first.")
    assert project.event_kinds().count("question_asked") == 1


def test_a_task_asks_one_thing_at_a_time(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    worker.ask("First?")
    with pytest.raises(InvalidInput, match=r"Q1 of this task is still open: First\?"):
        worker.ask("Second?")


@pytest.mark.parametrize(
    ("question", "options", "context", "words"),
    [
        ("  ", (), "", "question is empty"),
        ("x" * 3001, (), "", "3,001 characters"),
        ("ok", ("o",) * 11, "", "At most 10 options"),
        ("ok", ("x" * 201,), "", "The option has 201"),
        ("ok", ("",), "", "The option is empty"),
        ("ok", (), "x" * 3001, "The context has 3,001"),
    ],
)
def test_a_question_that_cannot_be_accepted_is_refused(
    tmp_path: Path, question: str, options: tuple[str, ...], context: str, words: str
) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    with pytest.raises(InvalidInput, match=words):
        project.services.questions.ask_director(
            worker.caller, question=question, options=options, context=context
        )
    assert project.services.questions.list_questions(PERSON) == []


# -- answering ---------------------------------------------------------------------------------


def test_a_question_is_answered_once(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    asked = a_worker(project, a_task(project)).ask()
    answer(project, asked.id, "first")
    with pytest.raises(IllegalTransition, match=r'answered already, by person at .* UTC: "first"'):
        answer(project, asked.id, "second")
    assert project.question(asked.id).answer == "first"


def test_only_planners_answer_and_an_answer_says_something(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    asked = worker.ask()
    with pytest.raises(NotAllowed):
        project.services.questions.answer_question(worker.caller, asked.id, answer="mine")
    with pytest.raises(InvalidInput, match="answer is empty"):
        answer(project, asked.id, "  ")
    with pytest.raises(NotFound, match="no question Q9"):
        answer(project, "Q9")


# -- parking -----------------------------------------------------------------------------------


def test_a_turn_that_ends_with_an_open_question_is_parked_until_the_answer(tmp_path: Path) -> None:
    """Row 19 of the known defects: one who asked was resumed in 5 s without an answer."""
    project = a_project(tmp_path, config=NO_DIRECTOR)
    worker = a_worker(project, a_task(project))
    asked = worker.ask()
    assert turn_ended(worker) is NextStep.PARK
    worker.end(EndKind.PARKED)
    assert project.task(worker.task_id).state is TaskState.WAITING
    assert project.session(worker.session.id).state is SessionState.PARKED
    assert project.services.queries.why(PERSON, "T1").sentence.startswith(
        "T1 waits for the answer to Q1"
    )
    project.clock.advance(minutes=600)
    assert project.services.dispatch.next_order(PERSON) is None  # not even after hours

    answer(project, asked.id)
    task = project.task(worker.task_id)
    assert (task.state, task.reserved_for) == (TaskState.OPEN, worker.session.id)
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    assert (order.session.id, order.is_resume) == (worker.session.id, True)
    assert order.session.name == worker.session.name
    assert "Q1 was answered by person: Take the first." in order.message
    assert order.token != worker.token
    assert project.question(asked.id).delivered_at is not None
    lease = project.live_lease(worker.task_id)
    assert lease is not None
    assert (lease.session_id, lease.fence) == (worker.session.id, 2)


def test_the_old_process_is_forgotten_when_a_session_is_resumed(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    project.services.sessions.started(
        PERSON, worker.session.id, pid=4711, process_started="then", log_path="x"
    )
    asked = worker.ask()
    worker.end(EndKind.PARKED)
    answer(project, asked.id)
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    assert (order.session.pid, order.session.process_started) == (None, "")


def test_an_answered_session_goes_on_before_anything_new_even_with_one_slot(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config="checks: []\norchestrator: {maxConcurrent: 1}\n")
    worker = a_worker(project, a_task(project, priority=5))
    asked = worker.ask()
    worker.end(EndKind.PARKED)
    a_task(project, "urgent", priority=1)
    answer(project, asked.id)
    assert dispatched(project).session.id == worker.session.id
    assert project.services.dispatch.next_order(PERSON) is None


def test_an_answer_between_the_turns_end_and_the_parking_is_not_lost(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    asked = worker.ask()
    assert turn_ended(worker) is NextStep.PARK
    answer(project, asked.id)
    worker.end(EndKind.PARKED)
    task = project.task(worker.task_id)
    assert (task.state, task.reserved_for) == (TaskState.OPEN, worker.session.id)
    assert project.session(worker.session.id).state is SessionState.PARKED
    assert "Take the first." in dispatched_message(project)


def dispatched_message(project: Project) -> str:
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    return order.message


def test_an_answer_never_starts_a_second_session_beside_one_that_runs(tmp_path: Path) -> None:
    """Row 22 of the known defects: an answer re-dispatched a task whose session still ran."""
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    asked = worker.ask()
    answer(project, asked.id)
    assert project.task(worker.task_id).state is TaskState.CLAIMED
    assert project.services.dispatch.next_order(PERSON) is None
    verdict = project.services.sessions.turn_ended(PERSON, worker.session.id)
    assert verdict.step is NextStep.CONTINUE
    assert verdict.message == "Q1 was answered by person: Take the first."


def test_a_reservation_that_nobody_takes_up_ends(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    asked = worker.ask()
    worker.end(EndKind.PARKED)
    answer(project, asked.id)
    project.services.fleet.pause_fleet(PERSON)
    project.clock.advance(seconds=899)
    project.services.lease_watch.release_reservations(SERVER)
    assert project.task(worker.task_id).reserved_for == worker.session.id
    project.clock.advance(seconds=1)
    project.services.lease_watch.release_reservations(SERVER)
    task = project.task(worker.task_id)
    assert (task.reserved_for, task.ahead) == (None, True)
    assert project.session(worker.session.id).state is SessionState.EXITED
    project.services.fleet.resume_fleet(PERSON)
    fresh = dispatched(project)
    assert fresh.session.id != worker.session.id
    brief = project.services.claims.claim_task(fresh.caller)
    assert brief.answers == [("Which one?", "Take the first.")]


def test_a_parked_session_that_the_person_stops_gives_its_task_to_another(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    asked = worker.ask()
    worker.end(EndKind.PARKED)
    project.services.sessions.stop_session(PERSON, worker.session.name)
    assert project.session(worker.session.id).state is SessionState.EXITED
    fresh = dispatched(project)
    assert fresh.task_id == worker.task_id
    assert project.question(asked.id).session_id == fresh.session.id


def test_a_merge_request_settles_a_question_that_was_still_open(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    asked = worker.ask()
    worker.commit({"a.txt": "a\n"})
    worker.request_merge()
    assert project.question(asked.id).state is QuestionState.WITHDRAWN
    assert turn_ended(worker) is NextStep.FINISH


# -- directors ---------------------------------------------------------------------------------


def test_a_person_is_asked_first_and_the_headless_director_after_a_minute(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    asked = a_worker(project, a_task(project)).ask("Tabs or spaces?")
    assert project.services.dispatch.next_order(PERSON) is None
    assert project.services.dispatch.seconds_until_retry() == 60
    project.clock.advance(seconds=60)
    director = dispatched(project)
    assert (director.session.role, director.session.subject) == (Role.DIRECTOR, asked.id)
    assert project.services.dispatch.next_order(PERSON) is None  # one director at a time
    project.services.questions.answer_question(director.caller, asked.id, answer="Spaces.")
    assert turn_ended(director) is NextStep.FINISH
    director.end()
    assert project.live_lease(asked.id) is None


def test_a_director_that_was_given_up_answers_and_plans_nothing_any_more(tmp_path: Path) -> None:
    """It comes back from a laptop's sleep, or from a hung request, and another has taken over."""
    project = a_project(tmp_path)
    task_id = a_task(project)
    asked = a_worker(project, task_id).ask()
    project.clock.advance(seconds=60)
    director = dispatched(project)
    project.clock.advance(seconds=130)
    project.services.lease_watch.expire(SERVER)
    services, caller = project.services, director.caller
    for attempt in (
        lambda: services.questions.answer_question(caller, asked.id, answer="Spaces."),
        lambda: services.questions.escalate(caller, asked.id, note="hard"),
        lambda: services.plans.create_plan(caller, title="Another"),
        lambda: services.plans.cancel_task(caller, task_id),
        lambda: services.fleet.pause_fleet(caller),
    ):
        with pytest.raises(StaleLease, match="lease expired"):
            attempt()
    assert project.question(asked.id).state is QuestionState.OPEN


def test_a_director_whose_question_is_settled_finishes_what_it_is_at(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    bring(project, task_id, TaskState.STUCK)
    project.clock.advance(seconds=60)
    director = dispatched(project)
    project.services.plans.retry_task(director.caller, task_id)
    assert project.question(director.session.subject).state is QuestionState.WITHDRAWN
    project.services.plans.update_task(director.caller, task_id, description="In other words.")


def test_no_director_is_woken_when_that_is_switched_off(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=NO_DIRECTOR)
    a_worker(project, a_task(project)).ask()
    project.clock.advance(minutes=60)
    assert project.services.dispatch.next_order(PERSON) is None


def test_an_escalated_question_waits_for_the_person_alone(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    asked = worker.ask()
    project.clock.advance(seconds=60)
    director = dispatched(project)
    project.services.questions.escalate(director.caller, asked.id, note="It costs money.")
    assert turn_ended(director) is NextStep.FINISH
    director.end()
    project.clock.advance(minutes=60)
    assert project.services.dispatch.next_order(PERSON) is None
    question = project.question(asked.id)
    assert question.escalated
    assert question.context == "director-1: It costs money."
    again = project.services.questions.escalate(PERSON, asked.id, note="more")
    assert again.context == question.context
    answer(project, asked.id)
    with pytest.raises(InvalidInput, match="answered already"):
        project.services.questions.escalate(DIRECTOR, asked.id, note="too late")


def test_a_director_whose_question_the_person_answers_is_told_to_stop(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    asked = a_worker(project, a_task(project)).ask()
    project.clock.advance(seconds=60)
    director = dispatched(project)
    answer(project, asked.id)
    assert project.session(director.session.id).stop_requested == "Q1 was answered"


def test_a_director_that_settles_a_question_by_a_tool_is_not_stopped_for_it(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, state=TaskState.STUCK)
    project.clock.advance(minutes=10)
    director = dispatched(project)
    project.services.plans.retry_task(director.caller, task_id)
    assert project.session(director.session.id).stop_requested == ""
    assert turn_ended(director) is NextStep.FINISH


def test_a_question_that_directors_fail_at_is_left_to_the_person(tmp_path: Path) -> None:
    """Rows 36 and 37: a director must not be woken again and again for ever."""
    project = a_project(tmp_path)
    asked = a_worker(project, a_task(project)).ask()
    for _ in range(5):
        project.clock.advance(minutes=10)
        dispatched(project).end(EndKind.NO_OUTCOME)
    assert project.question(asked.id).escalated
    project.clock.advance(minutes=60)
    assert project.services.dispatch.next_order(PERSON) is None


# -- stuck tasks -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["retry", "Retry: the disk was full.", " **RETRY** now"])
def test_a_stuck_task_is_retried_by_the_answer(tmp_path: Path, text: str) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, state=TaskState.STUCK)
    answer(project, "Q1", text)
    assert project.task(task_id).state is TaskState.OPEN
    brief = project.services.claims.claim_task(a_worker(project, task_id).caller)
    assert brief.answers[-1][1] == text.strip()


def test_a_stuck_task_is_cancelled_by_the_answer(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, state=TaskState.STUCK)
    answer(project, "Q1", "Cancel it.")
    assert project.task(task_id).state is TaskState.CANCELLED


def test_an_answer_about_a_stuck_task_that_decides_nothing_is_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, state=TaskState.STUCK)
    with pytest.raises(InvalidInput, match="must begin with retry or cancel"):
        answer(project, "Q1", "I have made it smaller.")
    assert project.task(task_id).state is TaskState.STUCK
    assert project.question("Q1").state is QuestionState.OPEN


# -- goals -------------------------------------------------------------------------------------


def test_a_goal_is_planned_by_a_director_at_once(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    goal = project.services.questions.set_goal(PERSON, goal="Add invitations")
    director = dispatched(project)
    assert (director.session.role, director.session.subject) == (Role.DIRECTOR, goal.id)
    project.services.questions.answer_question(director.caller, goal.id, answer="Planned as P1.")
    assert turn_ended(director) is NextStep.FINISH


def test_only_the_person_sets_goals_and_a_goal_says_something(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    with pytest.raises(NotAllowed):
        project.services.questions.set_goal(DIRECTOR, goal="World peace")
    with pytest.raises(InvalidInput, match="goal is empty"):
        project.services.questions.set_goal(PERSON, goal=" ")


def test_questions_are_listed_by_page(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    for _ in range(3):
        a_worker(project, a_task(project)).ask()
    answer(project, "Q1")
    questions = project.services.questions
    assert [one.id for one in questions.list_questions(PERSON)] == ["Q2", "Q3"]
    assert [one.id for one in questions.list_questions(PERSON, all=True, after="Q1")] == [
        "Q2",
        "Q3",
    ]
    with pytest.raises(NotFound):
        questions.list_questions(PERSON, after="Q77")


def test_a_task_in_review_has_no_use_for_an_answer(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    request = a_merge_request(project, a_task(project))
    project.services.plans.cancel_task(PERSON, request.task_id)
    assert project.services.questions.list_questions(PERSON) == []
