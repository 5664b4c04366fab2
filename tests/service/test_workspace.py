"""Transactions over rows and graph: all or nothing, once per call, and nobody woken for nothing."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sf_mcp.core.errors import IdempotencyConflict, InvalidInput, StorageFailed
from sf_mcp.core.graph import TaskGraph
from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.states import TaskState
from sf_mcp.service.workspace import Call
from sf_mcp.store import facts, tasks
from tests.builders import Project, a_plan, a_project, a_task

CALL = Call(key="s1:toolu_1", tool="create_plan", request_hash="abc")


def graph_of(project: Project) -> TaskGraph:
    with project.services.workspace.read() as tx:
        return tx.graph


def fresh_graph(project: Project) -> TaskGraph:
    graph = TaskGraph()
    with project.services.workspace.read() as tx:
        graph.load(tasks.graph_rows(tx.db), tasks.dependency_rows(tx.db))
    return graph


def test_a_write_inside_a_write_is_part_of_it(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    workspace = project.services.workspace

    def fail() -> None:
        with workspace.write(SERVER):
            a_plan(project, "inner")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert project.services.plans.list_plans(PERSON) == []
    a_plan(project, "later")
    assert [view.plan.id for view in project.services.plans.list_plans(PERSON)] == ["P1"]


def test_a_read_inside_a_write_sees_what_was_written(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    workspace = project.services.workspace
    with workspace.write(SERVER) as tx:
        facts.put(tx.db, "port", "1")
        with workspace.read() as inner:
            assert facts.get(inner.db, "port") == "1"


def test_a_read_inside_a_read_does_not_wait_for_itself(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    workspace = project.services.workspace
    with workspace.read() as outer, workspace.read() as inner:
        assert inner is outer


def test_a_write_inside_a_read_is_an_error_and_no_deadlock(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    workspace = project.services.workspace
    with (
        workspace.read(),
        pytest.raises(RuntimeError, match="inside a read"),
        workspace.write(SERVER),
    ):
        raise AssertionError("never inside")
    a_plan(project)


def test_a_failed_transaction_leaves_the_graph_as_the_rows_are(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    first = a_task(project)
    second = a_task(project)
    graph_of(project)

    def fail() -> None:
        with project.services.workspace.write(SERVER) as tx:
            tx.edit_task(tasks.get(tx.db, first), priority=1)
            project.services.plans.set_dependencies(PERSON, second, add=[first])
            raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        fail()
    assert graph_of(project).dependencies(second) == ()
    assert graph_of(project).effective_priority(first) == 3
    assert graph_of(project).ready() == fresh_graph(project).ready() == (first, second)


def test_a_commit_that_fails_leaves_the_graph_as_the_rows_are(tmp_path: Path) -> None:
    """A foreign key that is checked at the commit fails there, as a full disk does."""
    project = a_project(tmp_path)
    first = a_task(project)
    graph_of(project)

    def fail() -> None:
        with project.services.workspace.write(SERVER) as tx:
            tx.db.execute("PRAGMA defer_foreign_keys = ON")
            tx.edit_task(tasks.get(tx.db, first), priority=1)
            tx.db.execute("INSERT INTO dependencies VALUES ('T1', 'T99')")

    with pytest.raises(StorageFailed):
        fail()
    assert graph_of(project).effective_priority(first) == 3


def test_only_a_change_wakes_those_who_wait(tmp_path: Path) -> None:
    """Looking for work is a write that mostly changes nothing: it must not wake itself."""
    project = a_project(tmp_path)
    woken: list[int] = []
    project.services.workspace.on_commit.append(lambda: woken.append(1))
    project.services.questions.set_goal(PERSON, goal="Make it so")
    project.configure("checks: []\nagents: {director: {headless: false}}\n")
    woken.clear()
    for _ in range(3):
        assert project.services.dispatch.next_order(PERSON) is None
    assert woken == []
    a_plan(project)
    assert woken == [1]


def test_a_listener_runs_after_the_commit_and_outside_of_it(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    seen: list[int] = []
    workspace = project.services.workspace
    workspace.on_commit.append(lambda: seen.append(len(project.services.plans.list_plans(PERSON))))
    a_plan(project)
    assert seen == [1]


def once(project: Project, call: Call, action: Callable[[], object]) -> object:
    return project.services.workspace.once(SERVER, call, action)


def test_a_call_has_its_effect_once_and_the_same_result_each_time(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    results = [once(project, CALL, lambda: {"plan": a_plan(project)}) for _ in range(3)]
    assert results == [{"plan": "P1"}] * 3
    assert project.services.workspace.recorded(CALL) == {"plan": "P1"}
    assert len(project.services.plans.list_plans(PERSON)) == 1


def test_a_call_that_failed_may_be_made_again(tmp_path: Path) -> None:
    project = a_project(tmp_path)

    def fail() -> object:
        a_plan(project)
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        once(project, CALL, fail)
    assert project.services.workspace.recorded(CALL) is None
    assert project.services.plans.list_plans(PERSON) == []
    assert once(project, CALL, lambda: a_plan(project)) == "P1"


@pytest.mark.parametrize(
    "other",
    [
        Call(key=CALL.key, tool=CALL.tool, request_hash="other"),
        Call(key=CALL.key, tool="cancel_task", request_hash=CALL.request_hash),
    ],
    ids=["another request", "another tool"],
)
def test_a_key_is_not_used_for_two_requests(tmp_path: Path, other: Call) -> None:
    project = a_project(tmp_path)
    once(project, CALL, lambda: a_plan(project))
    with pytest.raises(IdempotencyConflict):
        once(project, other, lambda: a_plan(project))
    with pytest.raises(IdempotencyConflict):
        project.services.workspace.recorded(other)
    assert len(project.services.plans.list_plans(PERSON)) == 1


def test_two_calls_at_once_with_one_key_have_one_effect(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    barrier = threading.Barrier(4)
    results: list[object] = []

    def call() -> None:
        barrier.wait(30)
        results.append(once(project, CALL, lambda: a_plan(project)))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == ["P1"] * 4
    assert len(project.services.plans.list_plans(PERSON)) == 1


def test_a_restart_finds_the_graph_again(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    first = a_task(project)
    second = a_task(project, depends_on=[first])
    project.reopen()
    assert graph_of(project).ready() == (first,)
    assert graph_of(project).unmet(second) == (first,)
    assert project.task(second).state is TaskState.OPEN
