"""The graph, question by question; `test_graph_properties` holds it against a naive model."""

import itertools
import math

import pytest

from sf_mcp.core.errors import CyclicDependencies, InvalidInput, NotFound
from sf_mcp.core.graph import Node, Standing, TaskGraph
from sf_mcp.core.models import TaskId

A, B, C, D, E = (TaskId(letter) for letter in "ABCDE")
CHAIN = 100_000


def a_node(
    task_id: str,
    *,
    priority: int = 3,
    minutes: float = 10,
    standing: Standing = Standing.OPEN,
    ahead: bool = False,
    order: int | None = None,
) -> Node:
    return Node(
        id=TaskId(task_id),
        order=ord(task_id[0]) if order is None else order,
        priority=priority,
        estimate_minutes=minutes,
        standing=standing,
        ahead=ahead,
    )


def a_graph(*nodes: Node, waits: str = "") -> TaskGraph:
    """Build a graph; `waits` is words such as `BA`: B depends on A."""
    graph = TaskGraph()
    graph.load(nodes, [(TaskId(word[0]), TaskId(word[1])) for word in waits.split()])
    return graph


def a_plain_graph(letters: str, waits: str = "") -> TaskGraph:
    return a_graph(*map(a_node, letters), waits=waits)


def a_chain(length: int) -> TaskGraph:
    graph = TaskGraph()
    ids = [TaskId(f"T{number}") for number in range(length)]
    graph.load(
        [Node(id=task_id, order=order) for order, task_id in enumerate(ids)],
        [(later, earlier) for earlier, later in itertools.pairwise(ids)],
    )
    return graph


# The ready set


def test_a_task_is_ready_when_all_it_depends_on_is_satisfied() -> None:
    graph = a_plain_graph("ABC", "CA CB")
    assert graph.ready() == (A, B)
    graph.update(A, standing=Standing.SATISFIED)
    assert graph.ready() == (B,)
    assert graph.unmet(C) == (B,)
    graph.update(B, standing=Standing.SATISFIED)
    assert graph.ready() == (C,)
    assert graph.is_ready(C)
    assert graph.unmet(C) == ()
    assert graph.dependencies(C) == (A, B)


@pytest.mark.parametrize("standing", [Standing.HELD, Standing.CANCELLED])
def test_a_task_that_is_held_or_cancelled_is_not_ready_and_satisfies_nobody(
    standing: Standing,
) -> None:
    graph = a_plain_graph("AB", "BA")
    graph.update(A, standing=standing)
    assert graph.ready() == ()
    assert graph.unmet(B) == (A,)


def test_a_task_that_opens_again_takes_its_place_back() -> None:
    graph = a_plain_graph("AB", "BA")
    graph.update(A, standing=Standing.HELD)
    assert graph.ready() == ()
    graph.update(A, standing=Standing.OPEN)
    assert graph.ready() == (A,)
    graph.update(A, standing=Standing.SATISFIED)
    assert graph.ready() == (B,)
    graph.update(A, standing=Standing.OPEN)
    assert graph.ready() == (A,)


def test_the_ready_order_is_priority_then_ahead_then_longest_path_then_age_then_id() -> None:
    graph = a_graph(
        a_node("A", order=9),
        a_node("B", order=9),
        a_node("C", order=1),
        a_node("D", minutes=11, order=10),
        a_node("E", ahead=True, order=11),
        a_node("F", priority=2, order=12),
    )
    assert graph.ready() == ("F", "E", "D", "C", "A", "B")


def test_an_urgent_task_pulls_everything_that_it_waits_for() -> None:
    graph = a_plain_graph("ABCD", "CB DC")
    assert graph.ready() == (B, A)  # B is on the longer path
    graph.update(B, estimate_minutes=0)
    graph.update(D, priority=1)
    assert graph.effective_priority(B) == 1
    assert graph.first_ready() == B
    graph.update(D, priority=5)
    assert graph.effective_priority(B) == 3


@pytest.mark.parametrize("end", [Standing.SATISFIED, Standing.CANCELLED])
def test_an_ended_task_pulls_nothing_and_passes_nothing_on(end: Standing) -> None:
    graph = a_graph(a_node("A"), a_node("B"), a_node("C", priority=1), waits="BA CB")
    assert (graph.effective_priority(A), graph.remaining_minutes(A)) == (1, 30)
    graph.update(B, standing=end)
    assert (graph.effective_priority(A), graph.remaining_minutes(A)) == (3, 10)
    assert (graph.effective_priority(B), graph.remaining_minutes(B)) == (3, 0)


def test_a_held_task_still_pulls_what_it_waits_for() -> None:
    graph = a_graph(a_node("A"), a_node("B", priority=1, standing=Standing.HELD), waits="BA")
    assert (graph.effective_priority(A), graph.remaining_minutes(A)) == (1, 20)


def test_ready_can_be_limited_and_tasks_skipped_by_a_set_or_a_test() -> None:
    graph = a_plain_graph("ABCD")
    assert graph.ready(limit=2) == (A, B)
    assert graph.ready(limit=0) == ()
    assert graph.ready(limit=2, skip={A, C}) == (B, D)
    assert graph.first_ready(skip=lambda task_id: task_id != D) == D
    assert graph.first_ready(skip={A, B, C, D}) is None
    assert graph.ready_count() == 4


def test_a_removed_dependency_frees_the_task_and_no_longer_pulls() -> None:
    graph = a_graph(a_node("A"), a_node("B", priority=1), waits="BA")
    graph.remove_dependency(B, A)
    graph.remove_dependency(B, A)
    assert graph.ready() == (B, A)
    assert (graph.effective_priority(A), graph.remaining_minutes(A)) == (3, 10)
    assert graph.dependents(A) == ()


def test_a_new_task_pulls_what_it_depends_on() -> None:
    graph = a_plain_graph("AB")
    assert graph.first_ready() == A
    graph.add(a_node("C", priority=1), depends_on=[B])
    assert graph.ready() == (B, A)
    assert graph.dependents(B) == (C,)


def test_a_change_of_many_places_at_once_keeps_the_order() -> None:
    """More than a share of the queue changes: it is sorted, not moved one by one."""
    tasks = 1_000
    graph = TaskGraph()
    graph.load([Node(id=TaskId(f"T{n}"), order=n) for n in range(tasks)])
    assert graph.ready(limit=1) == ("T0",)
    graph.update(TaskId("T7"), priority=1)
    assert graph.ready(limit=2) == ("T7", "T0")
    for number in range(500, tasks):
        graph.update(TaskId(f"T{number}"), priority=2)
    assert graph.ready() == (
        "T7",
        *(f"T{n}" for n in range(500, tasks)),
        *(f"T{n}" for n in range(500) if n != 7),
    )


# Why a task waits


def test_what_a_task_waits_for_goes_through_unfinished_tasks_only() -> None:
    graph = a_plain_graph("ABCDE", "BA CB EC ED")
    assert graph.waits_for(E) == (A, B, C, D)
    graph.update(B, standing=Standing.SATISFIED)
    assert graph.waits_for(E) == (C, D)
    graph.update(E, standing=Standing.CANCELLED)
    assert graph.waits_for(E) == ()


def test_the_cancelled_tasks_that_block_are_named_near_and_far() -> None:
    graph = a_plain_graph("ABCDE", "BA CB EC ED")
    assert graph.blocked_by_ends(E) == ()
    graph.update(D, standing=Standing.CANCELLED)
    graph.update(B, standing=Standing.CANCELLED)
    graph.update(A, standing=Standing.CANCELLED)
    assert graph.blocked_by_ends(E) == (B, D)  # what the cancelled B waited for no longer matters
    assert graph.blocked_by_ends(A) == ()


# Cycles


def test_a_cycle_is_refused_and_named_each_task_depending_on_the_next() -> None:
    graph = a_plain_graph("ABCD", "BA CB DC")
    with pytest.raises(CyclicDependencies) as caught:
        graph.add_dependency(A, C)
    assert caught.value.cycle == (A, C, B, A)
    assert graph.dependencies(A) == ()
    assert graph.ready() == (A,)


def test_the_named_cycle_is_a_shortest_one() -> None:
    graph = a_plain_graph("ABCDE", "BA CB DC EA ED")
    with pytest.raises(CyclicDependencies) as caught:
        graph.add_dependency(A, E)
    assert caught.value.cycle == (A, E, A)


def test_a_task_cannot_depend_on_itself() -> None:
    graph = a_plain_graph("A")
    with pytest.raises(CyclicDependencies) as caught:
        graph.add_dependency(A, A)
    assert caught.value.cycle == (A, A)
    with pytest.raises(CyclicDependencies) as caught:
        graph.add(a_node("B"), depends_on=[B])
    assert caught.value.cycle == (B, B)
    assert B not in graph


def test_an_older_task_can_come_to_depend_on_a_newer_one() -> None:
    graph = a_plain_graph("ABCDE", "BA DC")
    graph.add_dependency(A, D)
    assert graph.topological_order() == (C, D, A, B, E)
    with pytest.raises(CyclicDependencies) as caught:
        graph.add_dependency(C, B)
    assert caught.value.cycle == (C, B, A, D, C)


def test_a_whole_graph_may_name_its_tasks_in_any_order() -> None:
    graph = a_plain_graph("A")
    graph.add_all([a_node("B"), a_node("C"), a_node("D")], [(B, C), (C, D), (D, A)])
    assert graph.ready() == (A,)
    assert graph.topological_order() == (A, D, C, B)
    assert graph.remaining_minutes(A) == 40


def test_a_whole_graph_may_put_new_tasks_before_old_ones() -> None:
    graph = a_graph(a_node("A"), a_node("B", priority=1), waits="BA")
    graph.add_all([a_node("C"), a_node("D")], [(A, D), (D, C), (A, D)])
    assert graph.ready() == (C,)
    assert graph.effective_priority(C) == 1
    assert graph.remaining_minutes(C) == 40
    graph.update(C, standing=Standing.SATISFIED)
    graph.update(D, standing=Standing.SATISFIED)
    assert graph.ready() == (A,)


@pytest.mark.parametrize(
    ("dependencies", "error"),
    [
        ([(C, D), (D, C)], CyclicDependencies),
        ([(A, D), (D, C), (C, B)], CyclicDependencies),
        ([(C, A), (A, D), (C, E)], NotFound),
        ([(E, C)], NotFound),
    ],
    ids=["among-the-new", "through-old-ones", "unknown-dependency", "unknown-task"],
)
def test_a_refused_batch_leaves_nothing_behind(
    dependencies: list[tuple[TaskId, TaskId]], error: type[Exception]
) -> None:
    graph = a_plain_graph("AB", "BA")
    with pytest.raises(error):
        graph.add_all([a_node("C", priority=1), a_node("D")], dependencies)
    assert (len(graph), graph.topological_order()) == (2, (A, B))
    assert (graph.dependencies(A), graph.dependents(A), graph.dependents(B)) == ((), (B,), ())
    assert (graph.ready(), graph.effective_priority(A), graph.remaining_minutes(A)) == ((A,), 3, 20)
    graph.add_all([a_node("C"), a_node("D")], [(D, C), (C, B)])
    assert graph.topological_order() == (A, B, C, D)


def test_a_batch_whose_source_fails_leaves_nothing_behind() -> None:
    graph = a_plain_graph("A")

    def failing() -> list[tuple[TaskId, TaskId]]:
        raise OSError("the source went away")

    with pytest.raises(OSError, match="went away"):
        graph.add_all([a_node("B")], (pair for _ in range(1) for pair in failing()))
    assert (len(graph), graph.ready()) == (1, (A,))


def test_a_refused_load_keeps_the_old_graph() -> None:
    graph = a_plain_graph("AB", "BA")
    with pytest.raises(CyclicDependencies) as caught:
        graph.load([a_node("C"), a_node("D"), a_node("E")], [(C, D), (D, E), (E, D)])
    assert caught.value.cycle == (D, E, D)
    assert graph.ready() == (A,)
    graph.load([a_node("C")])
    assert (graph.ready(), len(graph)) == ((C,), 1)


# Bad input


def test_unknown_tasks_are_refused_by_every_question_and_change() -> None:
    graph = a_plain_graph("A")
    for ask in (
        graph.node,
        graph.dependencies,
        graph.dependents,
        graph.unmet,
        graph.is_ready,
        graph.waits_for,
        graph.blocked_by_ends,
        graph.effective_priority,
        graph.remaining_minutes,
        graph.update,
    ):
        with pytest.raises(NotFound, match="no task E"):
            ask(E)
    for change in (graph.add_dependency, graph.remove_dependency):
        with pytest.raises(NotFound, match="no task E"):
            change(A, E)
    for choose in (graph.critical_path, graph.topological_order, graph.discard):
        with pytest.raises(NotFound, match="no task E"):
            choose([A, E])
    assert graph.ready() == (A,)


@pytest.mark.parametrize("minutes", [-1, math.inf, math.nan])
def test_an_estimate_that_cannot_be_ordered_is_refused(minutes: float) -> None:
    graph = a_plain_graph("A")
    with pytest.raises(InvalidInput):
        graph.add(a_node("B", minutes=minutes))
    with pytest.raises(InvalidInput):
        graph.update(A, estimate_minutes=minutes)
    assert graph.ready() == (A,)
    assert graph.node(A) == a_node("A")


@pytest.mark.parametrize("priority", [0, 6])
def test_a_priority_out_of_range_is_refused(priority: int) -> None:
    graph = a_plain_graph("A")
    with pytest.raises(InvalidInput):
        graph.add(a_node("B", priority=priority))
    with pytest.raises(InvalidInput):
        graph.update(A, priority=priority)


def test_a_task_cannot_be_added_twice() -> None:
    graph = a_plain_graph("A")
    with pytest.raises(InvalidInput, match="already"):
        graph.add(a_node("A"))
    with pytest.raises(InvalidInput, match="already"):
        graph.add_all([a_node("B"), a_node("B")])
    assert len(graph) == 1


def test_a_repeated_dependency_does_no_harm() -> None:
    graph = a_plain_graph("AB", "BA BA")
    graph.add_dependency(B, A)
    assert (graph.dependencies(B), graph.dependents(A)) == ((A,), (B,))
    graph.update(A, standing=Standing.SATISFIED)
    assert graph.ready() == (B,)


# Paths and orders


def test_the_critical_path_is_the_longest_chain_of_unfinished_tasks() -> None:
    graph = a_graph(
        a_node("A"), a_node("B"), a_node("C"), a_node("D", minutes=25), waits="BA CB DA"
    )
    assert graph.critical_path() == (A, D)
    graph.update(D, standing=Standing.HELD)
    assert graph.critical_path() == (A, D)
    graph.update(D, standing=Standing.SATISFIED)
    assert graph.critical_path() == (A, B, C)
    assert graph.critical_path([B, C]) == (B, C)
    assert graph.critical_path([A, C]) == (A,)
    assert graph.critical_path([D]) == ()
    assert TaskGraph().critical_path() == ()


def test_the_topological_order_is_oldest_first_and_keeps_ended_tasks() -> None:
    graph = a_plain_graph("ABCDE", "AD BA CE")
    graph.update(D, standing=Standing.SATISFIED)
    graph.update(E, standing=Standing.CANCELLED)
    assert graph.topological_order() == (D, A, B, E, C)


def test_the_order_of_some_tasks_keeps_dependencies_by_way_of_others() -> None:
    graph = a_plain_graph("ABCDE", "AB BC ED")
    assert graph.topological_order([A, C, D]) == (C, A, D)
    assert graph.topological_order([A, A]) == (A,)
    assert graph.topological_order([]) == ()


def test_discarded_tasks_leave_the_graph_as_if_never_added() -> None:
    graph = a_plain_graph("AB", "BA")
    graph.add_all([a_node("C", priority=1), a_node("D")], [(C, A), (D, C)])
    assert graph.effective_priority(A) == 1
    graph.discard([C, D])
    assert (len(graph), graph.dependents(A), graph.effective_priority(A)) == (2, (B,), 3)
    graph.discard([A])
    assert graph.ready() == (B,)
    assert graph.unmet(B) == ()


def test_a_chain_of_100_000_tasks_is_followed_without_recursion() -> None:
    graph = a_chain(CHAIN)
    last = TaskId(f"T{CHAIN - 1}")
    graph.update(last, priority=1)
    assert graph.effective_priority(TaskId("T0")) == 1
    assert len(graph.critical_path()) == len(graph.topological_order()) == CHAIN
    assert len(graph.waits_for(last)) == CHAIN - 1
    with pytest.raises(CyclicDependencies) as caught:
        graph.add_dependency(TaskId("T0"), last)
    assert len(caught.value.cycle) == CHAIN + 1
