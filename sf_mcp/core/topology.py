"""Keeps a topological order under new dependencies, and names the cycle when there is none.

Every vertex has a position, and each stands after all of its dependencies. Most new dependencies
fit the positions as they are and cost nothing. One that does not is searched for a cycle, and the
order repaired, only between the two positions: D. J. Pearce and P. H. J. Kelly, "A Dynamic
Topological Sort Algorithm for Directed Acyclic Graphs", ACM JEA 11 (2006).
"""

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

from sf_mcp.core.errors import CyclicDependencies
from sf_mcp.core.models import TaskId
from sf_mcp.core.vertex import Vertex


def make_room(task: Vertex, dependency: Vertex) -> None:
    """Change positions so that `task`, not yet linked to `dependency`, can depend on it.

    Raises:
        CyclicDependencies: `dependency` waits for `task` already; no position has changed.
    """
    lower, upper = task.position, dependency.position
    if upper < lower:
        return
    after = _waiting_between(task, dependency, upper)
    before = _needed_between(dependency, lower)
    before.sort(key=_position)
    after.sort(key=_position)
    moved = before + after
    for vertex, position in zip(moved, sorted(map(_position, moved)), strict=True):
        vertex.position = position


def _waiting_between(task: Vertex, dependency: Vertex, upper: int) -> list[Vertex]:
    """Return `task` and all that wait for it at positions up to `upper`, nearest first."""
    reached_from: dict[Vertex, Vertex] = {task: task}
    found = [task]
    for vertex in found:  # grows while it is walked: breadth first, so the cycle is a shortest one
        if vertex is dependency:
            raise CyclicDependencies(_cycle(task, dependency, reached_from))
        for dependent in vertex.dependents:
            if dependent.position <= upper and dependent not in reached_from:
                reached_from[dependent] = vertex
                found.append(dependent)
    return found


def _needed_between(dependency: Vertex, lower: int) -> list[Vertex]:
    """Return `dependency` and all that it waits for at positions above `lower`."""
    seen = {dependency}
    found = [dependency]
    for vertex in found:
        for further in vertex.dependencies:
            if further.position > lower and further not in seen:
                seen.add(further)
                found.append(further)
    return found


def _cycle(task: Vertex, dependency: Vertex, reached_from: dict[Vertex, Vertex]) -> list[TaskId]:
    cycle = [task.id]
    vertex = dependency
    while vertex is not task:
        cycle.append(vertex.id)
        vertex = reached_from[vertex]
    return [*cycle, task.id]


def arrange(vertices: Sequence[Vertex], first_position: int) -> list[Vertex]:
    """Give `vertices` the positions from `first_position` on, and return them in that order.

    Only dependencies among `vertices` count (A. B. Kahn, "Topological sorting of large networks",
    CACM 5, 1962).

    Raises:
        CyclicDependencies: they depend on each other in a cycle.
    """
    missing = dict.fromkeys(vertices, 0)
    for vertex in vertices:
        for dependent in vertex.dependents:
            if dependent in missing:
                missing[dependent] += 1
    placed = [vertex for vertex, count in missing.items() if count == 0]
    for vertex in placed:  # grows while it is walked
        for dependent in vertex.dependents:
            if dependent in missing:
                missing[dependent] -= 1
                if missing[dependent] == 0:
                    placed.append(dependent)
    if len(placed) < len(vertices):
        raise CyclicDependencies(_cycle_among({v for v, count in missing.items() if count > 0}))
    for position, vertex in enumerate(placed, first_position):
        vertex.position = position
    return placed


def _cycle_among(stuck: set[Vertex]) -> list[TaskId]:
    """Return a cycle; each of `stuck` depends on another of them, so any walk comes round."""
    vertex = min(stuck, key=lambda v: v.age)
    walked: dict[Vertex, int] = {}
    while vertex not in walked:
        walked[vertex] = len(walked)
        vertex = min((d for d in vertex.dependencies if d in stuck), key=lambda v: v.age)
    return [v.id for v in list(walked)[walked[vertex] :]] + [vertex.id]


def oldest_first(wanted: Iterable[Vertex]) -> list[Vertex]:
    """Return `wanted` with dependencies first, direct or not, and otherwise the oldest first."""
    members = set(wanted)
    if not members:
        return []
    region = _region(members)
    missing = {vertex: sum(d in region for d in vertex.dependencies) for vertex in region}
    free = [vertex for vertex, count in missing.items() if count == 0]
    due = [(*vertex.age, vertex) for vertex in free if vertex in members]
    heapify(due)
    # What lies between two members only carries their order, so it goes as soon as it can.
    between = [vertex for vertex in free if vertex not in members]
    result: list[Vertex] = []
    while due or between:
        if between:
            vertex = between.pop()
        else:
            vertex = heappop(due)[-1]
            result.append(vertex)
        for dependent in vertex.dependents:
            if dependent in missing:
                missing[dependent] -= 1
                if missing[dependent] == 0:
                    if dependent in members:
                        heappush(due, (*dependent.age, dependent))
                    else:
                        between.append(dependent)
    return result


def _region(members: set[Vertex]) -> set[Vertex]:
    """Return `members` and all that they wait for, as far down as their lowest position."""
    lowest = min(map(_position, members))
    region = set(members)
    found = list(members)
    for vertex in found:
        for dependency in vertex.dependencies:
            if dependency.position > lowest and dependency not in region:
                region.add(dependency)
                found.append(dependency)
    return region


def longest_chain(vertices: Iterable[Vertex]) -> list[Vertex]:
    """Return the chain of `vertices` with the largest sum of estimates, first task first.

    Longest path in a DAG by dynamic programming over a topological order (Kahn, 1962). Each of
    the chain depends directly on the one before; among equals the oldest is taken.
    """
    best: dict[Vertex, float] = {}
    following: dict[Vertex, Vertex] = {}
    start: Vertex | None = None
    for vertex in sorted(vertices, key=_position, reverse=True):
        onward = [dependent for dependent in vertex.dependents if dependent in best]
        best[vertex] = vertex.estimate
        if onward:
            following[vertex] = min(onward, key=lambda v: (-best[v], *v.age))
            best[vertex] += best[following[vertex]]
        if start is None or (-best[vertex], *vertex.age) < (-best[start], *start.age):
            start = vertex
    chain: list[Vertex] = []
    while start is not None:
        chain.append(start)
        start = following.get(start)
    return chain


def count_behind(asked: Iterable[Vertex]) -> dict[Vertex, int]:
    """Return of each how many unfinished ones wait for it, near and far, itself included.

    One walk for all, dependents first: what waits for a vertex is a set, kept as the bits of a
    number, and no longer than something still needs it.
    """
    counts = dict.fromkeys(asked, 0)
    region = dict.fromkeys(counts)
    found = list(counts)
    for vertex in found:  # grows while it is walked
        new = [d for d in vertex.dependents if d.is_unfinished and d not in region]
        region.update(dict.fromkeys(new))
        found += new
    needed = {vertex: sum(d in region for d in vertex.dependencies) for vertex in found}
    behind: dict[Vertex, int] = {}
    for number, vertex in enumerate(sorted(found, key=_position, reverse=True)):
        bits = 1 << number if vertex.is_unfinished else 0
        for dependent in vertex.dependents:
            if dependent in region and dependent.is_unfinished:
                bits |= behind[dependent]
                needed[dependent] -= 1
                if needed[dependent] == 0:
                    del behind[dependent]
        if vertex in counts:
            counts[vertex] = bits.bit_count()
        if needed[vertex]:
            behind[vertex] = bits
    return counts


def _position(vertex: Vertex) -> int:
    return vertex.position
