"""Earlier answers of the plan are offered before a question is opened: once, for one call."""

from pathlib import Path

import pytest

from sf_mcp.core.errors import InvalidInput, StaleLease
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, Question
from sf_mcp.core.states import TaskState
from sf_mcp.service.questions import Asked
from tests.builders import Project, Worker, a_plan, a_project, a_task, a_worker, dispatched

FIRST = "Which database should the event store use, SQLite or Postgres?"
LIKE_IT = "Should the store for events use SQLite or Postgres?"
ANOTHER = "May I rename the column user_id?"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    config = "checks: []\nagents: {director: {headless: false}, steward: {review: false}}\n"
    return a_project(tmp_path, config=config)


@pytest.fixture
def plan(project: Project) -> str:
    return a_plan(project)


def decided(
    project: Project, plan: str, question: str = FIRST, answer: str = "SQLite."
) -> Question:
    """Have a worker of the plan ask, and the person answer."""
    asked = a_worker(project, a_task(project, plan=plan)).ask(question)
    return project.services.questions.answer_question(PERSON, asked.id, answer=answer)


def ask(worker: Worker, question: str, *, none_applies: bool = False, use_id: str = "") -> Asked:
    return worker.project.services.questions.ask_director(
        worker.caller, question=question, none_applies=none_applies, use_id=use_id
    )


def ids(asked: Asked) -> list[str]:
    return [one.id for one in asked.earlier]


def test_an_answer_to_a_question_like_it_is_offered_and_nobody_is_asked(
    project: Project, plan: str
) -> None:
    decided(project, plan)
    worker = a_worker(project, a_task(project, plan=plan))
    asked = ask(worker, LIKE_IT)
    assert asked.question is None
    (earlier,) = asked.earlier
    assert (earlier.text, earlier.answer, earlier.answered_by) == (FIRST, "SQLite.", "person")
    assert project.services.questions.list_questions(PERSON) == []
    assert "earlier_answers_offered" in project.event_kinds(worker.task_id)


def test_when_none_applies_the_question_is_opened(project: Project, plan: str) -> None:
    decided(project, plan)
    worker = a_worker(project, a_task(project, plan=plan))
    ask(worker, LIKE_IT)
    asked = ask(worker, LIKE_IT, none_applies=True)
    assert asked.question is not None
    assert ask(worker, LIKE_IT, none_applies=True).question == asked.question


def test_one_call_is_all_that_it_ever_costs(project: Project, plan: str) -> None:
    """A worker that does not say so asks again: that says it too."""
    decided(project, plan)
    worker = a_worker(project, a_task(project, plan=plan))
    assert ids(ask(worker, LIKE_IT)) == ["Q1"]
    assert ask(worker, LIKE_IT).question is not None


def test_a_worker_that_says_so_at_once_is_offered_nothing(project: Project, plan: str) -> None:
    decided(project, plan)
    worker = a_worker(project, a_task(project, plan=plan))
    assert ask(worker, LIKE_IT, none_applies=True).question is not None


def test_the_same_call_of_the_client_again_is_offered_the_same(project: Project, plan: str) -> None:
    decided(project, plan)
    worker = a_worker(project, a_task(project, plan=plan))
    first = ask(worker, LIKE_IT, use_id="u1")
    decided(project, plan, LIKE_IT, "Postgres.")
    assert ids(ask(worker, LIKE_IT, use_id="u1")) == ids(first) == ["Q1"]
    project.reopen()
    assert ids(ask(worker, LIKE_IT, use_id="u1")) == ["Q1"]
    assert ask(worker, LIKE_IT, use_id="u2").question is not None
    assert project.event_kinds(worker.task_id).count("earlier_answers_offered") == 1


def test_a_resumed_session_may_be_offered_them_again(project: Project, plan: str) -> None:
    """It may have forgotten what it was told last."""
    decided(project, plan)
    worker = a_worker(project, a_task(project, plan=plan))
    ask(worker, LIKE_IT)
    worker.ask(ANOTHER)
    worker.end(EndKind.PARKED)
    project.services.questions.answer_question(PERSON, "Q2", answer="No.")
    resumed = dispatched(project)
    assert resumed.session.id == worker.session.id
    assert ids(ask(resumed, LIKE_IT)) == ["Q1"]
    assert ask(resumed, LIKE_IT).question is not None


def test_another_plans_answers_are_its_own(project: Project, plan: str) -> None:
    decided(project, a_plan(project, "Another"))
    assert ask(a_worker(project, a_task(project, plan=plan)), LIKE_IT).question is not None


def test_another_kind_of_question_is_asked_at_once(project: Project, plan: str) -> None:
    decided(project, plan)
    assert ask(a_worker(project, a_task(project, plan=plan)), ANOTHER).question is not None


def test_what_was_decided_about_a_stuck_task_is_no_answer_to_a_worker(
    project: Project, plan: str
) -> None:
    task = a_task(project, "Use SQLite or Postgres", plan=plan, state=TaskState.STUCK)
    project.services.questions.answer_question(PERSON, "Q1", answer="retry")
    worker = a_worker(project, task)
    assert ask(worker, f"{task} (Use SQLite or Postgres) is stuck. Retry?").question is not None


def test_the_same_question_of_another_task_is_offered_its_answer(
    project: Project, plan: str
) -> None:
    decided(project, plan)
    assert ids(ask(a_worker(project, a_task(project, plan=plan)), FIRST)) == ["Q1"]


def test_at_most_three_are_offered_the_likest_first(project: Project, plan: str) -> None:
    for number in range(5):
        decided(project, plan, f"{FIRST} ({number})")
    worker = a_worker(project, a_task(project, plan=plan))
    assert ids(ask(worker, f"{FIRST} (3)")) == ["Q4", "Q5", "Q3"]


def test_while_a_question_is_open_nothing_is_offered_for_another(
    project: Project, plan: str
) -> None:
    decided(project, plan)
    worker = a_worker(project, a_task(project, plan=plan))
    worker.ask(ANOTHER)
    with pytest.raises(InvalidInput, match="Q2 of this task is still open"):
        ask(worker, LIKE_IT)


def test_without_a_lease_nothing_is_offered(project: Project, plan: str) -> None:
    decided(project, plan)
    worker = a_worker(project, a_task(project, plan=plan))
    project.services.claims.release_task(worker.caller, reason="no")
    with pytest.raises(StaleLease, match="is over"):
        ask(worker, LIKE_IT)
