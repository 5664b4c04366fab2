"""Speed of the task graph at 100,000 tasks with 300,000 dependencies.

The wide graph is a random DAG in which a task may depend on any older one; in the deep one only on
one of the thousand before it, so that a change at the end can reach very far.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from sf_mcp.core.graph import Dependency, Node, Standing, TaskGraph
from sf_mcp.core.models import TaskId
from tests.benchmarks.figures import Figure, report

TASKS, DEPENDENCIES = 100_000, 300_000
REPEATS = 500
WORKERS = 32
"""A fleet's worth of the ready list is read after each change, as a dispatcher would."""

Clocked = Callable[[], object]


def of(name: str, milliseconds: float, target: float | None = None) -> Figure:
    return Figure(name=name, value=milliseconds, unit="ms", most=target)


def milliseconds(work: Clocked) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1_000


def a_random_graph(
    tasks: int, dependencies: int, window: int | None
) -> tuple[list[Node], list[Dependency]]:
    """Return a DAG of the same seed each time, as rows of a store would come: by task."""
    chance = random.Random(tasks)
    pairs: set[tuple[int, int]] = set()
    while len(pairs) < dependencies:
        task = chance.randrange(1, tasks)
        pairs.add((task, chance.randrange(0 if window is None else max(0, task - window), task)))
    nodes = [
        Node(
            id=TaskId(f"T{number}"),
            order=number,
            priority=chance.choice((1, 2, 3, 3, 3, 4, 5)),
            estimate_minutes=float(chance.randrange(5, 120)),
        )
        for number in range(tasks)
    ]
    return nodes, [(TaskId(f"T{a}"), TaskId(f"T{b}")) for a, b in sorted(pairs)]


def spread(name: str, times: list[float], target: float) -> list[Figure]:
    """Return median and p99, held to the target, and the maximum for information."""
    p99 = statistics.quantiles(times, n=100)[-1]
    return [
        of(f"{name}, median", statistics.median(times), target),
        of(f"{name}, p99", p99, target),
        of(f"{name}, max", max(times), None),
    ]


def changes(shape: str, window: int | None) -> list[Figure]:
    """Measure loading, and the ready set after each of many changes."""
    nodes, dependencies = a_random_graph(TASKS, DEPENDENCIES, window)
    graph = TaskGraph()
    load = milliseconds(lambda: (graph.load(nodes, dependencies), graph.ready(WORKERS)))
    figures = [of(f"{shape}: load {TASKS:,} / {DEPENDENCIES:,}", load, 1_500)]
    chance = random.Random(1)

    def after(change: Clocked) -> float:
        return milliseconds(lambda: (change(), graph.ready(WORKERS)))

    claimed: list[float] = []
    completed: list[float] = []
    for _ in range(REPEATS):
        task = graph.first_ready()
        assert task is not None
        claimed.append(after(lambda task=task: graph.update(task, standing=Standing.HELD)))
        completed.append(after(lambda task=task: graph.update(task, standing=Standing.SATISFIED)))

    def times_to_add(first: int, oldest: int) -> list[float]:
        """Add tasks numbered from `first` that depend on three of those numbered from `oldest`."""
        times: list[float] = []
        for number in range(first, first + REPEATS):
            node = Node(id=TaskId(f"T{number}"), order=number, priority=chance.randrange(1, 6))
            needed = [TaskId(f"T{chance.randrange(oldest, TASKS)}") for _ in range(3)]
            times.append(after(lambda node=node, needed=needed: graph.add(node, needed)))
        return times

    added = times_to_add(TASKS, 0)
    at_end = times_to_add(TASKS + REPEATS, TASKS - 200)
    figures += spread(f"{shape}: ready set after a claim", claimed, 1)
    figures += spread(f"{shape}: ready set after a completed task", completed, 1)
    figures += spread(f"{shape}: ready set after an added task", added, 1)
    # Such a task may lengthen the path of tens of thousands, so only its median has a target.
    median, *rest = spread(f"{shape}: ready set after a task added at the very end", at_end, 1)
    figures += [median, *(replace(figure, most=None) for figure in rest)]
    return figures


def chain() -> list[Figure]:
    """Measure the worst re-prioritising: it must reach the other end of a chain."""
    ids = [TaskId(f"T{number}") for number in range(TASKS)]
    graph = TaskGraph()
    graph.load(
        [Node(id=task_id, order=order) for order, task_id in enumerate(ids)],
        list(zip(ids[1:], ids, strict=False)),
    )
    times: list[float] = []
    for priority in (1, 5, 2):
        times.append(
            milliseconds(
                lambda priority=priority: (
                    graph.update(ids[-1], priority=priority),
                    graph.ready(WORKERS),
                )
            )
        )
        assert graph.effective_priority(ids[0]) == min(priority, 3)
    name = f"re-prioritise the end of a chain of {TASKS:,}, slowest of 3"
    return [of(name, max(times), 1_000)]


def first_ready() -> list[Figure]:
    """Measure one worker's question among few tasks and many, all of them ready."""

    def median_among(tasks: int) -> float:
        graph = TaskGraph()
        graph.load([Node(id=TaskId(f"T{n}"), order=n) for n in range(tasks)])
        skip = set(graph.ready(WORKERS))
        return statistics.median(
            milliseconds(lambda: graph.first_ready(skip)) for _ in range(REPEATS)
        )

    few, many = median_among(1_000), median_among(TASKS)
    return [
        of("first_ready past 32 skipped, 1,000 tasks", few, 0.1),
        # The same work at a hundred times the tasks; twice is for the noise of a shared machine.
        of(f"first_ready past 32 skipped, {TASKS:,} tasks", many, max(2 * few, 0.02)),
    ]


def command_line() -> list[Figure]:
    """Measure what each `sf task ready` does without a server: nodes, load, first page."""
    nodes, dependencies = a_random_graph(5_000, 15_000, None)

    def list_ready() -> None:
        graph = TaskGraph()
        graph.load(
            [
                Node(
                    id=node.id,
                    order=node.order,
                    priority=node.priority,
                    estimate_minutes=node.estimate_minutes,
                    standing=node.standing,
                    ahead=node.ahead,
                )
                for node in nodes
            ],
            dependencies,
        )
        graph.ready(WORKERS)

    median = statistics.median(milliseconds(list_ready) for _ in range(9))
    name = "nodes, load and ready list, 5,000 / 15,000, median of 9"
    return [of(name, median, 40)]


def measure() -> list[Figure]:
    return [
        *command_line(),
        *first_ready(),
        *chain(),
        *changes("wide", None),
        *changes("deep", 1_000),
    ]


if __name__ == "__main__":
    sys.exit(report(measure))
