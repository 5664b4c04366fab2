"""A plan as a graph: each task as it stands, and what waits for what."""

import sqlite3
from pathlib import Path

import pytest

from sf_mcp.core.errors import NotFound
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, TaskId
from sf_mcp.core.states import TaskState
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.service.plan_views import PlanGraph, PlanNode
from tests.builders import (
    Project,
    a_merge_request,
    a_plan,
    a_project,
    a_proposal,
    a_task,
    a_worker,
    some_tasks,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def shown(project: Project, plan: str = "") -> PlanGraph:
    return project.services.plan_views.show_plan(PERSON, plan=plan)


def node(graph: PlanGraph, task: str) -> PlanNode:
    (found,) = (one for one in graph.tasks if one.id == task)
    return found


def test_tasks_and_what_waits_for_what_are_shown(project: Project) -> None:
    plan = a_plan(project, "Sprint 14")
    first = a_task(project, "First", plan=plan)
    second = a_task(project, "Second", plan=plan, depends_on=[first], priority=1)
    third = a_task(project, "Third", plan=plan, depends_on=[first])

    graph = shown(project, plan)

    assert [one.title for one in graph.plans] == ["Sprint 14"]
    assert [one.id for one in graph.tasks] == [first, second, third]
    assert graph.edges == [(first, second), (first, third)]
    assert [one.standing for one in graph.tasks] == ["ready", "blocked", "blocked"]
    assert graph.counts == {"ready": 1, "blocked": 2}
    assert (node(graph, first).priority, node(graph, first).effective_priority) == (3, 1)


def test_the_critical_path_is_in_order_and_marked(project: Project) -> None:
    tasks = some_tasks(
        project,
        TaskDraft(title="A", key="a", estimate_minutes=5),
        TaskDraft(title="B", key="b", estimate_minutes=50, depends_on=["a"]),
        TaskDraft(title="C", key="c", estimate_minutes=10, depends_on=["a"]),
        TaskDraft(title="D", key="d", estimate_minutes=10, depends_on=["b", "c"]),
    )

    graph = shown(project)

    assert graph.critical_path == [tasks[0], tasks[1], tasks[3]]
    assert [one.is_critical for one in graph.tasks] == [True, True, False, True]
    assert node(graph, tasks[1]).estimate_minutes == 50


def test_every_standing_has_the_word_that_is_used_elsewhere(project: Project) -> None:
    plan = a_plan(project)
    wanted = (
        TaskState.MERGED,
        TaskState.CLOSED,
        TaskState.CLAIMED,
        TaskState.WAITING,
        TaskState.IN_REVIEW,
        TaskState.STUCK,
        TaskState.CANCELLED,
    )
    for state in wanted:
        a_task(project, state.value, plan=plan, state=state)
    a_task(project, "ready", plan=plan)

    graph = shown(project, plan)

    assert {one.title: one.standing for one in graph.tasks} == {
        **{state.value: state.value for state in wanted},
        "ready": "ready",
    }
    proposed = a_proposal(project)
    assert node(shown(project), proposed).standing == "proposed"


def test_who_is_at_work_is_named(project: Project) -> None:
    claimed, waiting = a_task(project), a_task(project)
    worker = a_worker(project, claimed)
    asking = a_worker(project, waiting)
    asking.ask()
    asking.end(EndKind.PARKED)

    graph = shown(project)

    assert node(graph, claimed).session == worker.session.name
    assert node(graph, waiting).session == asking.session.name
    worker.end(EndKind.NO_OUTCOME)
    assert node(shown(project), claimed).session == ""


def test_a_merge_request_under_way_is_named_with_what_it_waits_for(project: Project) -> None:
    task = a_task(project)
    request = a_merge_request(project, task)

    seen = node(shown(project), task)

    assert (seen.merge_request, seen.merge_status) == (request.id, "waiting for its checks")
    project.run_train()
    seen = node(shown(project, project.task(task).plan_id), task)
    assert (seen.merge_request, seen.merge_status, seen.standing) == (None, "", "merged")


def test_a_task_of_another_plan_is_shown_beside_the_plan_that_needs_it(project: Project) -> None:
    first = a_task(project, "Elsewhere", plan=a_plan(project, "One"))
    plan = a_plan(project, "Two")
    second = a_task(project, "Here", plan=plan, depends_on=[first])

    graph = shown(project, "Two")

    assert [(one.id, one.is_outside) for one in graph.tasks] == [(first, True), (second, False)]
    assert graph.edges == [(first, second)]
    assert graph.counts == {"blocked": 1}
    assert graph.critical_path == [second]


def test_without_a_name_all_plans_that_are_not_finished_are_shown(project: Project) -> None:
    active, draft = a_plan(project, "Active"), a_plan(project, "Draft", draft=True)
    over = a_plan(project, "Over")
    tasks = [a_task(project, plan=plan) for plan in (active, draft, over)]
    project.services.plans.cancel_plan(PERSON, over)

    graph = shown(project)

    assert [one.id for one in graph.plans] == [active, draft]
    assert [(one.id, one.standing) for one in graph.tasks] == [
        (tasks[0], "ready"),
        (tasks[1], "blocked"),
    ]


def test_an_empty_project_has_an_empty_graph(project: Project) -> None:
    graph = shown(project)
    assert (graph.plans, graph.tasks, graph.edges, graph.counts) == ([], [], [], {})
    with pytest.raises(NotFound):
        shown(project, "P9")


def test_a_plan_of_many_tasks_takes_no_more_questions_than_one_of_few(project: Project) -> None:
    plan = a_plan(project)
    first = a_task(project, plan=plan)

    def questions() -> int:
        asked: list[str] = []
        with project.services.workspace.read() as tx:
            connection: sqlite3.Connection = tx.db
            connection.set_trace_callback(asked.append)
            shown(project, plan)
            connection.set_trace_callback(None)
        return len(asked)

    few = questions()
    drafts = [TaskDraft(title=f"Task {number}", depends_on=[first]) for number in range(300)]
    many: list[TaskId] = some_tasks(project, *drafts, plan=plan)
    assert len(many) == 300

    assert questions() == few
