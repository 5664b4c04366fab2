"""What sessions are told first: a director has the question, the task, the plan, and the code."""

from pathlib import Path

import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import Role
from sf_mcp.core.states import TaskState
from sf_mcp.service.drafts import TaskDraft
from tests.builders import Project, a_project, a_task, a_worker, dispatched, git, some_tasks

TEXT = "Should the store of events be a file or a table?"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def told_to_the_director(project: Project) -> str:
    """Let the question wait until a director is woken; return what it is told first."""
    project.clock.advance(minutes=1)
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    assert order.session.role is Role.DIRECTOR
    return order.message


def test_a_director_is_told_the_question_the_task_and_the_plan(project: Project) -> None:
    plan = project.services.plans.create_plan(
        PERSON, title="Sprint 14", description="Events for teams."
    ).plan.id
    store, guide = some_tasks(
        project,
        TaskDraft(
            title="Add an event store",
            key="store",
            description="Keep events in order.",
            acceptance=["Events come back in order"],
        ),
        TaskDraft(title="Write a guide", depends_on=["store"]),
        plan=plan,
    )
    worker = a_worker(project, store)
    project.services.questions.ask_director(
        worker.caller, question=TEXT, options=("file", "table"), context="The task says neither."
    )
    told = told_to_the_director(project)
    assert told == (
        f"Answer Q1, asked about {store}: {TEXT}\n"
        "Options: file, table\n\n"
        "The task says neither.\n\n"
        "The task, claimed: Add an event store\n"
        "Keep events in order.\n"
        "- Events come back in order\n\n"
        f"Its plan is {plan}, active: Sprint 14\n"
        "Events for teams.\n"
        f"- {store} (claimed): Add an event store\n"
        f"- {guide} (open): Write a guide\n"
        f"Behind {store} wait: {guide}\n\n"
        "Your directory is a checkout of the target branch.\n\n"
        "Call get_task for attempts and handoffs, read the code if you need to, then call "
        "answer_question, or escalate if only the person can decide."
    )


def test_a_director_is_shown_what_was_answered_in_the_plan_to_questions_like_it(
    project: Project,
) -> None:
    first, second = some_tasks(project, TaskDraft(title="One"), TaskDraft(title="Two"), plan="")
    a_worker(project, first).ask("Does the event store use a file or a table?")
    project.services.questions.answer_question(PERSON, "Q1", answer="A table.\nAlways.")
    a_worker(project, second).ask(TEXT)
    told = told_to_the_director(project)
    assert (
        "Like it, and answered in this plan before:\n"
        f"- Q1 about {first}: Does the event store use a file or a table? → A table. Always."
    ) in told


def test_a_long_plan_and_long_texts_are_cut_with_the_way_to_the_rest(project: Project) -> None:
    drafts = [
        TaskDraft(title=f"Task {number} " + "word " * 80, description="why " * 5_000)
        for number in range(100)
    ]
    task_id, *_ = some_tasks(project, *drafts)
    a_worker(project, task_id).ask(TEXT)
    told = told_to_the_director(project)
    assert "- … and 70 more: list_tasks(plan='P1')" in told
    assert len(told) < 14_000


def test_a_director_reads_what_the_asking_worker_has_committed(project: Project) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    commit = worker.commit({"half.txt": "half\n"})
    worker.ask(TEXT)
    project.clock.advance(minutes=1)
    director = dispatched(project)
    assert git(director.cwd, "rev-parse", "HEAD") == commit
    assert (director.cwd / "half.txt").read_text() == "half\n"
    assert director.cwd != worker.cwd


def test_a_director_asked_about_a_stuck_task_has_the_evidence(project: Project) -> None:
    task_id = a_task(project, state=TaskState.STUCK)
    told = told_to_the_director(project)
    assert f"asked about {task_id}: {task_id} (Add a thing) is stuck." in told
    assert "5 attempts failed." in told
    assert "(attempt 5): no outcome" in told
    assert "Options: retry, cancel" in told
