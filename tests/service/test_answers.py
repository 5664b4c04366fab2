"""How an answer reaches the session that asked: given, acknowledged, and given again when lost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sf_mcp.core.identity import PERSON, SERVER, Caller
from sf_mcp.core.models import EndKind, Question, Session
from sf_mcp.core.states import QuestionState, SessionState, TaskState
from sf_mcp.service.turns import NextStep, TurnVerdict
from tests.builders import Project, Worker, a_project, a_task, a_worker

ASKED = "Which colour?"
TOLD = "Q1 was answered by person: Blue."


@pytest.fixture
def project(tmp_path: Path) -> Project:
    config = "checks: []\nagents: {director: {headless: false}, steward: {review: false}}\n"
    return a_project(tmp_path, config=config)


@pytest.fixture
def worker(project: Project) -> Worker:
    return a_worker(project, a_task(project))


def answer(project: Project, question: str = "Q1") -> Question:
    return project.services.questions.answer_question(PERSON, question, answer="Blue.")


def turn_ended(worker: Worker, turn: int = 0) -> TurnVerdict:
    services = worker.project.services
    return services.sessions.turn_ended(PERSON, worker.session.id, turn=turn)


def hook(worker: Worker, name: str, tool: str = "Bash", **event: Any) -> dict[str, Any]:
    return worker.project.services.hooks.answer(
        worker.caller, {"hook_event_name": name, "tool_name": tool, **event}
    )


def result_arrives(worker: Worker, question: str = "Q1") -> None:
    """Do what Claude Code does when it has got the result of `ask_director` [2.1.330]."""
    told = json.dumps({"question": question, "status": "answered", "answer": "Blue."})
    hook(worker, "PostToolUse", "mcp__sf__ask_director", tool_response=told)


def is_acknowledged(project: Project, question: str = "Q1") -> bool:
    return project.question(question).acknowledged_at is not None


# -- given and acknowledged --------------------------------------------------------------------


def test_an_answer_in_a_result_that_arrived_is_not_told_again(
    project: Project, worker: Worker
) -> None:
    worker.ask(ASKED)
    answer(project)
    result_arrives(worker)
    assert not is_acknowledged(project)
    assert "no outcome" in turn_ended(worker).message
    assert is_acknowledged(project)
    assert project.event_kinds("Q1").count("answer_delivered") == 1
    assert project.event_kinds("Q1").count("answer_acknowledged") == 1


def test_an_answer_in_a_result_that_was_lost_on_its_way_is_told_at_the_turns_end(
    project: Project, worker: Worker
) -> None:
    """Row 35 of the known defects: what was sent was taken for delivered."""
    worker.ask(ASKED)
    answer(project)
    worker.ask(ASKED)  # the server is killed before the reply is out
    hook(worker, "PreToolUse")
    assert project.question("Q1").delivered_at is None
    verdict = turn_ended(worker)
    assert (verdict.step, verdict.message) == (NextStep.CONTINUE, TOLD)


@pytest.mark.parametrize("sign", ["PreToolUse", "PostToolUse", "Stop", "the turn's end"])
def test_any_later_sign_of_the_session_acknowledges_what_it_was_given(
    project: Project, worker: Worker, sign: str
) -> None:
    worker.ask(ASKED)
    answer(project)
    assert turn_ended(worker, 1).message == TOLD
    assert not is_acknowledged(project)
    if sign == "the turn's end":
        turn_ended(worker, 2)
    else:
        hook(worker, sign)
    assert is_acknowledged(project)


def test_the_end_of_a_killed_process_acknowledges_nothing(project: Project, worker: Worker) -> None:
    worker.ask(ASKED)
    answer(project)
    turn_ended(worker, 1)
    hook(worker, "SessionEnd")
    worker.hear()
    worker.end(EndKind.KILLED)
    assert not is_acknowledged(project)


def test_a_turns_end_that_is_reported_again_gets_the_same_word(
    project: Project, worker: Worker
) -> None:
    """The server was killed with its reply under way: the launcher asks again."""
    worker.ask(ASKED)
    answer(project)
    first = turn_ended(worker, 1)
    project.reopen()
    assert turn_ended(worker, 1) == first
    assert project.event_kinds("Q1").count("answer_delivered") == 1
    missing = turn_ended(worker, 2)
    assert "no outcome" in missing.message
    assert turn_ended(worker, 2) == missing
    assert project.session(worker.session.id).nudges == 1


def test_answers_to_questions_of_one_task_come_one_by_one_and_all_of_them(
    project: Project, worker: Worker
) -> None:
    for number, words in enumerate(("First thing?", "Second thing?", "Third thing?"), start=1):
        worker.ask(words)
        answer(project, f"Q{number}")
    # The first two were never looked at, as by one who went on with something else.
    assert turn_ended(worker, 1).message.splitlines() == [
        f"Q{number} was answered by person: Blue." for number in (1, 2, 3)
    ]
    turn_ended(worker, 2)
    assert all(is_acknowledged(project, f"Q{number}") for number in (1, 2, 3))


def test_an_answered_question_can_be_looked_up_while_the_next_one_is_open(
    project: Project, worker: Worker
) -> None:
    worker.ask(ASKED)
    answer(project)
    worker.ask("And the border?")
    again = worker.ask(ASKED)
    assert (again.id, again.state, again.answer) == ("Q1", QuestionState.ANSWERED, "Blue.")


# -- parking -----------------------------------------------------------------------------------


def test_a_session_that_is_lost_at_rest_with_an_open_question_is_parked_all_the_same(
    project: Project, worker: Worker
) -> None:
    """Its launcher was killed between the turn's end and the parking."""
    worker.ask(ASKED)
    worker.hear(is_turn_active=False)
    assert turn_ended(worker, 1).step is NextStep.PARK
    worker.crash(EndKind.STOPPED)
    assert project.session(worker.session.id).state is SessionState.PARKED
    assert project.task("T1").state is TaskState.WAITING
    project.clock.advance(minutes=60)
    assert project.services.dispatch.next_order(PERSON) is None
    answer(project)
    resumed, message = goes_on(project)
    assert (resumed.session.id, message.startswith(TOLD)) == (worker.session.id, True)


def test_a_session_that_is_lost_in_the_middle_of_other_work_goes_on_with_that(
    project: Project, worker: Worker
) -> None:
    worker.ask(ASKED)
    worker.crash()
    resumed, message = goes_on(project)
    assert (resumed.session.id, "Blue." in message) == (worker.session.id, False)
    answer(project)
    assert turn_ended(resumed, 1).message == TOLD


def test_a_session_that_the_person_ends_is_not_parked(project: Project, worker: Worker) -> None:
    worker.ask(ASKED)
    worker.hear(is_turn_active=False)
    project.services.sessions.stop_session(PERSON, worker.session.id)
    worker.crash(EndKind.STOPPED)
    assert project.session(worker.session.id).state is SessionState.EXITED
    assert project.task("T1").state is TaskState.OPEN


def test_a_late_report_of_the_parked_process_says_nothing_about_the_resumed_one(
    project: Project, worker: Worker
) -> None:
    """The server was killed with the reply under way; the answer came before the second report."""
    services, session_id = project.services, worker.session.id
    services.sessions.started(PERSON, session_id, pid=11, process_started="", log_path="")
    worker.ask(ASKED)

    def parks() -> None:
        services.work.session_ended(PERSON, session_id, kind=EndKind.PARKED, pid=11)

    parks()
    answer(project)
    order = services.dispatch.next_order(PERSON)
    assert order is not None
    for _ in range(2):
        parks()
        assert project.session(session_id).state is SessionState.STARTING
        assert services.sessions.authenticate(order.token).session_id == session_id
        services.sessions.started(PERSON, session_id, pid=12, process_started="", log_path="")
    services.work.session_ended(PERSON, session_id, kind=EndKind.RELEASED, pid=12)
    assert project.session(session_id).state is SessionState.EXITED


# -- lost before it was acknowledged -----------------------------------------------------------


def goes_on(project: Project) -> tuple[Worker, str]:
    """Return the session that is started next, and what it is told first."""
    project.clock.advance(minutes=1)  # beyond a back-off
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    session = order.session
    project.services.sessions.started(PERSON, session.id, pid=4711, process_started="", log_path="")
    caller = Caller(role=session.role, name=session.name, session_id=session.id)
    worker = Worker(project, session, order.token, caller, Path(order.cwd), order.environment)
    return worker, order.message


LOSSES: list[Callable[[Worker], Session]] = [
    lambda worker: worker.crash(),
    lambda worker: worker.crash(EndKind.STOPPED),
    lambda worker: worker.end(EndKind.KILLED),
]
"""Its process is killed, or stopped with its launcher; its conversation is gone besides."""


@pytest.mark.parametrize("loss", LOSSES, ids=["killed", "stopped", "forgotten"])
def test_an_answer_that_was_given_and_not_acknowledged_is_given_again_after_a_loss(
    project: Project, worker: Worker, loss: Callable[[Worker], Session]
) -> None:
    worker.ask(ASKED)
    answer(project)
    assert turn_ended(worker, 1).message == TOLD
    loss(worker)
    later, message = goes_on(project)
    assert TOLD in message
    assert project.event_kinds("Q1").count("answer_delivered") == 2
    assert "no outcome" in turn_ended(later, 1).message
    assert is_acknowledged(project)


@pytest.mark.parametrize("loss", LOSSES, ids=["killed", "stopped", "forgotten"])
def test_an_acknowledged_answer_is_never_given_again(
    project: Project, worker: Worker, loss: Callable[[Worker], Session]
) -> None:
    worker.ask(ASKED)
    answer(project)
    turn_ended(worker, 1)
    hook(worker, "PreToolUse")
    loss(worker)
    later, message = goes_on(project)
    assert "Blue." not in message
    assert "no outcome" in turn_ended(later, 1).message
    assert project.event_kinds("Q1").count("answer_delivered") == 1
    # A session that remembers nothing finds it in its brief.
    assert project.services.claims.claim_task(later.caller).answers == [(ASKED, "Blue.")]


def test_a_resumed_session_whose_order_was_lost_is_told_again(
    project: Project, worker: Worker
) -> None:
    worker.ask(ASKED)
    worker.end(EndKind.PARKED)
    answer(project)
    resumed, message = goes_on(project)
    assert (resumed.session.id, TOLD in message) == (worker.session.id, True)
    resumed.crash(EndKind.STOPPED)  # as the next launcher reports what it never started
    again, message = goes_on(project)
    assert (again.session.id, TOLD in message) == (worker.session.id, True)


def test_an_answer_that_comes_while_the_next_session_is_being_started_is_told_at_its_turns_end(
    project: Project, worker: Worker
) -> None:
    worker.ask(ASKED)
    worker.hand_off()
    worker.end(EndKind.HANDED_OFF)
    fresh, message = goes_on(project)
    answer(project)
    assert "Blue." not in message
    assert turn_ended(fresh, 1).message == TOLD


def test_the_next_answer_comes_alone_when_the_last_was_had_by_the_turn_that_asked_again(
    project: Project, worker: Worker
) -> None:
    worker.ask(ASKED)
    worker.end(EndKind.PARKED)
    answer(project)
    resumed, _ = goes_on(project)
    resumed.ask("And the border?")
    resumed.end(EndKind.PARKED)
    answer(project, "Q2")
    again, message = goes_on(project)
    assert again.session.id == worker.session.id
    assert message.startswith("Q2 was answered by person: Blue.")
    assert "Q1" not in message


def test_a_handoff_that_the_server_writes_acknowledges_nothing(
    project: Project, worker: Worker
) -> None:
    worker.ask(ASKED)
    answer(project)
    turn_ended(worker, 1)
    project.services.work.take_over_context(PERSON, worker.session.id)
    worker.end(EndKind.CONTEXT_FULL)
    assert f"{ASKED}\n{TOLD}" in goes_on(project)[1]


def test_an_answer_to_a_session_that_was_lost_reaches_the_next_with_its_question(
    project: Project, worker: Worker
) -> None:
    worker.ask(ASKED)
    worker.end(EndKind.PARKED)
    project.services.sessions.stop_session(PERSON, worker.session.id)
    answer(project)  # while the task is nobody's
    fresh, message = goes_on(project)
    assert fresh.session.id != worker.session.id
    assert f"{ASKED}\n{TOLD}" in message
    assert project.services.claims.claim_task(fresh.caller).answers == [(ASKED, "Blue.")]
    assert turn_ended(fresh, 1).message.startswith("Your task T1 has no outcome yet.")


def test_a_fresh_session_waits_for_the_answer_that_an_earlier_one_asked_for(
    project: Project, worker: Worker
) -> None:
    worker.ask(ASKED)
    worker.hand_off()
    worker.end(EndKind.HANDED_OFF)
    fresh, _ = goes_on(project)
    brief = project.services.claims.claim_task(fresh.caller)
    assert brief.open_question == f"Q1: {ASKED}"
    assert turn_ended(fresh, 1).step is NextStep.PARK
    answer(project)
    assert turn_ended(fresh, 2).message == TOLD


def test_when_the_reservation_has_run_out_a_fresh_session_is_told(
    project: Project, worker: Worker
) -> None:
    worker.ask(ASKED)
    worker.end(EndKind.PARKED)
    answer(project)
    project.clock.advance(minutes=16)
    project.services.lease_watch.release_reservations(SERVER)
    assert project.session(worker.session.id).state is SessionState.EXITED
    fresh, message = goes_on(project)
    assert fresh.session.id != worker.session.id
    assert f"{ASKED}\n{TOLD}" in message
    assert project.services.claims.claim_task(fresh.caller).answers == [(ASKED, "Blue.")]


def test_a_question_about_the_task_itself_is_nobodys_to_be_told(project: Project) -> None:
    task_id = a_task(project, state=TaskState.STUCK)
    project.services.questions.answer_question(PERSON, "Q1", answer="Retry: it was the disk.")
    _, message = goes_on(project)
    assert message == f"Your task is {task_id}: Add a thing\n\nCall claim_task for your brief, " + (
        "then begin."
    )
    assert project.question("Q1").delivered_at is None
