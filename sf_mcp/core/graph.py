"""The tasks of all plans and their dependencies, in memory, kept up to date change by change.

It knows nothing of stores and states: the service tells it each change as a `Standing`, and asks
what is ready, in which order, and why something is not.

Rule 1: there is never a cycle; a change that would make one is refused and changes nothing.
Rule 2: changes are cheap and the next question settles them (`ready_queue`), so make all changes of
one transaction before the first question.
Rule 3: it is not for two threads at once, questions included: they settle.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from typing import TypeAlias

from sf_mcp.core.errors import CyclicDependencies, InvalidInput, NotFound
from sf_mcp.core.models import TaskId
from sf_mcp.core.ready_queue import ReadyQueue
from sf_mcp.core.topology import arrange, count_behind, longest_chain, make_room, oldest_first
from sf_mcp.core.vertex import UNFINISHED, Node, ReadyKey, Standing, Vertex, check_range

__all__ = ["Dependency", "Node", "Skip", "Standing", "TaskGraph"]

Dependency: TypeAlias = tuple[TaskId, TaskId]
"""A task and what it depends on."""

Skip: TypeAlias = Container[TaskId] | Callable[[TaskId], bool]
"""Tasks to leave out of an answer: a set of them, or a test."""


class TaskGraph:
    """All tasks and dependencies. Questions about a task that it does not have raise `NotFound`."""

    def __init__(self) -> None:
        """Start empty."""
        self._vertices: dict[TaskId, Vertex] = {}
        self._next_position = 0
        self._queue = ReadyQueue()

    def __len__(self) -> int:
        return len(self._vertices)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._vertices

    # Changes

    def load(self, nodes: Iterable[Node], dependencies: Iterable[Dependency] = ()) -> None:
        """Forget everything and take these tasks and dependencies; all or nothing.

        Raises:
            CyclicDependencies: the dependencies have a cycle; the error names one.
            NotFound: a dependency names a task that is not among `nodes`.
            InvalidInput: two nodes have one id, or a number is out of its range.
        """
        fresh = TaskGraph()
        fresh.add_all(nodes, dependencies)
        self._vertices = fresh._vertices
        self._next_position = fresh._next_position
        self._queue = fresh._queue

    def add(self, node: Node, depends_on: Iterable[TaskId] = ()) -> None:
        """Add one task; see `add_all`."""
        self.add_all((node,), [(node.id, dependency) for dependency in depends_on])

    def add_all(self, nodes: Iterable[Node], dependencies: Iterable[Dependency] = ()) -> None:
        """Add tasks and dependencies, all or nothing; they may name one another in any order.

        A dependency may also join tasks that were here before. Repeated ones do no harm.

        Raises:
            CyclicDependencies: there would be a cycle; the error names one.
            NotFound: a dependency names an unknown task.
            InvalidInput: a task is here already, or a number is out of its range.
        """
        first = self._next_position
        added = self._add_vertices(nodes)
        joined: list[tuple[Vertex, Vertex]] = []
        try:
            late, in_order = self._link_new(dependencies, first)
            if not in_order:
                added = arrange(added, first)
            for task, dependency in late:
                if dependency not in task.dependencies:
                    make_room(task, dependency)
                    _link(task, dependency)
                    joined.append((task, dependency))
        except BaseException:  # undone and passed on, whatever the caller's iterator raised
            for task, dependency in joined:
                _unlink(task, dependency)
            self._forget(added)
            raise
        self._queue.enter(added)
        for task, dependency in joined:
            self._queue.note_pull(task, dependency)
            self._queue.note_moved(task)

    def update(
        self,
        task_id: TaskId,
        *,
        priority: int | None = None,
        estimate_minutes: float | None = None,
        standing: Standing | None = None,
        ahead: bool | None = None,
    ) -> None:
        """Change what is given and leave the rest.

        Raises:
            NotFound: there is no such task.
            InvalidInput: a number is out of its range.
        """
        vertex = self._vertex(task_id)
        if priority is None:
            priority = vertex.priority
        if estimate_minutes is None:
            estimate_minutes = vertex.estimate
        check_range(task_id, priority, estimate_minutes)
        if (priority, estimate_minutes) != (vertex.priority, vertex.estimate):
            vertex.priority, vertex.estimate = priority, estimate_minutes
            self._queue.note_stale(vertex)
        if ahead is not None:
            vertex.ahead = ahead
            self._queue.note_moved(vertex)
        if standing is not None and standing is not vertex.standing:
            self._change_standing(vertex, standing)

    def add_dependency(self, task_id: TaskId, depends_on: TaskId) -> None:
        """Let one task wait for another; a repeated dependency does no harm.

        Raises:
            CyclicDependencies: the other waits for this one already; the error names the cycle.
            NotFound: one of them is unknown.
        """
        task, dependency = self._vertex(task_id), self._vertex(depends_on)
        if dependency in task.dependencies:
            return
        make_room(task, dependency)
        _link(task, dependency)
        self._queue.note_pull(task, dependency)
        self._queue.note_moved(task)

    def remove_dependency(self, task_id: TaskId, depends_on: TaskId) -> None:
        """Let one task no longer wait for another; nothing happens when it did not.

        Raises:
            NotFound: one of them is unknown.
        """
        task, dependency = self._vertex(task_id), self._vertex(depends_on)
        if dependency in task.dependencies:
            _unlink(task, dependency)
            self._queue.note_stale(dependency)
            self._queue.note_moved(task)

    def discard(self, task_ids: Iterable[TaskId]) -> None:
        """Forget tasks and their dependencies: for an `add` whose transaction was rolled back.

        Raises:
            NotFound: one of them is unknown; nothing is forgotten.
        """
        self._forget([self._vertex(task_id) for task_id in dict.fromkeys(task_ids)])

    # Questions about one task

    def node(self, task_id: TaskId) -> Node:
        """Return what the graph was told about the task."""
        return self._vertex(task_id).node

    def dependencies(self, task_id: TaskId) -> tuple[TaskId, ...]:
        """Return what the task depends on, oldest first."""
        return _ids(self._vertex(task_id).dependencies)

    def dependents(self, task_id: TaskId) -> tuple[TaskId, ...]:
        """Return what depends on the task, oldest first."""
        return _ids(self._vertex(task_id).dependents)

    def unmet(self, task_id: TaskId) -> tuple[TaskId, ...]:
        """Return the dependencies that are not satisfied, oldest first."""
        return _ids(_unsatisfied(self._vertex(task_id)))

    def is_ready(self, task_id: TaskId) -> bool:
        """Say whether the task is open with every dependency satisfied."""
        return self._vertex(task_id).is_ready

    def waits_for(self, task_id: TaskId) -> tuple[TaskId, ...]:
        """Return everything that must still end well before the task can start, oldest first.

        Transitive; what an ended task depended on no longer matters. Empty for an ended task.
        """
        vertex = self._vertex(task_id)
        found = list(_unsatisfied(vertex)) if vertex.is_unfinished else []
        seen = set(found)
        for waited in found:  # grows while it is walked
            if waited.is_unfinished:
                further = [d for d in _unsatisfied(waited) if d not in seen]
                seen.update(further)
                found += further
        return _ids(found)

    def blocked_by_ends(self, task_id: TaskId) -> tuple[TaskId, ...]:
        """Return the cancelled tasks, near and far, because of which this one can never start."""
        return tuple(
            waited
            for waited in self.waits_for(task_id)
            if self._vertices[waited].standing is Standing.CANCELLED
        )

    def effective_priority(self, task_id: TaskId) -> int:
        """Return the most urgent priority among the task and the unfinished that wait for it.

        An ended task has its own priority, and pulls nothing.
        """
        self._queue.settle()
        vertex = self._vertex(task_id)
        return vertex.effective if vertex.is_unfinished else vertex.priority

    def remaining_minutes(self, task_id: TaskId) -> float:
        """Return the longest path in minutes from the task through the unfinished that wait for it.

        The task itself is included; 0 for an ended task.
        """
        self._queue.settle()
        return self._vertex(task_id).remaining

    # Questions about all or some tasks

    def ready(self, limit: int | None = None, skip: Skip = ()) -> tuple[TaskId, ...]:
        """Return the tasks that can be claimed now, first to claim first, at most `limit`."""
        found: list[TaskId] = []
        for task_id in self._unskipped(skip):
            if len(found) == limit:
                break
            found.append(task_id)
        return tuple(found)

    def in_ready_order(self, skip: Skip = ()) -> Iterator[TaskId]:
        """Yield the tasks that can be claimed now, first to claim first, as far as it is read.

        Nothing may be changed before the last of them has been taken.
        """
        return self._unskipped(skip)

    def first_ready(self, skip: Skip = ()) -> TaskId | None:
        """Return the task to claim next; its cost grows with what is skipped, not with tasks."""
        return next(self._unskipped(skip), None)

    def ready_count(self) -> int:
        """Return how many tasks can be claimed now."""
        return len(self._queue)

    def behind(self, task_ids: Iterable[TaskId]) -> dict[TaskId, int]:
        """Return of each how many unfinished tasks wait for it, near and far, itself included."""
        counted = count_behind(self._chosen(tuple(task_ids)))
        return {vertex.id: count for vertex, count in counted.items()}

    def unfinished(self) -> Iterator[tuple[TaskId, ReadyKey, tuple[TaskId, ...]]]:
        """Yield each task that has not ended, its place in the ready order, what it waits for."""
        self._queue.settle()
        for vertex in self._vertices.values():
            if vertex.is_unfinished:
                unmet = tuple(d.id for d in _unsatisfied(vertex)) if vertex.unmet else ()
                yield vertex.id, vertex.key(), unmet

    def critical_path(self, task_ids: Iterable[TaskId] | None = None) -> tuple[TaskId, ...]:
        """Return the longest chain, by estimates, of unfinished tasks (of these), first task first.

        Each depends directly on the one before; among equals the oldest is taken.
        """
        chosen = (vertex for vertex in self._chosen(task_ids) if vertex.is_unfinished)
        return tuple(vertex.id for vertex in longest_chain(chosen))

    def topological_order(self, task_ids: Iterable[TaskId] | None = None) -> tuple[TaskId, ...]:
        """Return all tasks (or these), dependencies first and otherwise the oldest first.

        Ended tasks are included, and dependencies by way of tasks that are not asked for count.
        """
        return tuple(vertex.id for vertex in oldest_first(self._chosen(task_ids)))

    # Inside

    def _vertex(self, task_id: TaskId) -> Vertex:
        try:
            return self._vertices[task_id]
        except KeyError:
            raise _unknown(task_id) from None

    def _chosen(self, task_ids: Iterable[TaskId] | None) -> Iterable[Vertex]:
        if task_ids is None:
            return self._vertices.values()
        return [self._vertex(task_id) for task_id in dict.fromkeys(task_ids)]

    def _unskipped(self, skip: Skip) -> Iterator[TaskId]:
        if callable(skip):
            return (task_id for task_id in self._queue if not skip(task_id))
        return (task_id for task_id in self._queue if task_id not in skip)

    def _add_vertices(self, nodes: Iterable[Node]) -> list[Vertex]:
        """Add unlinked vertices, all or none, at positions after all others."""
        added: dict[TaskId, Vertex] = {}
        for position, node in enumerate(nodes, self._next_position):
            if node.id in self._vertices or node.id in added:
                raise InvalidInput(
                    f"Task {node.id} is in the graph already.",
                    remedy="Update it, or use a new id.",
                )
            added[node.id] = Vertex(node, position)
        self._next_position += len(added)
        self._vertices.update(added)
        return list(added.values())

    def _link_new(
        self, dependencies: Iterable[Dependency], first: int
    ) -> tuple[list[tuple[Vertex, Vertex]], bool]:
        """Link what new tasks depend on; `first` is the position of the first new one.

        Returns the dependencies of older tasks, not linked yet, and whether the positions of the
        new ones are a topological order as they are.
        """
        vertices, satisfied = self._vertices, Standing.SATISFIED
        late: list[tuple[Vertex, Vertex]] = []
        in_order = True
        for task_id, depends_on in dependencies:
            try:
                task, dependency = vertices[task_id], vertices[depends_on]
            except KeyError as error:
                raise _unknown(error.args[0]) from None
            if task is dependency:
                raise CyclicDependencies((task_id, task_id))
            if dependency in task.dependencies:
                continue
            if task.position < first:
                late.append((task, dependency))
                continue
            if dependency.position > task.position:
                in_order = False
            task.dependencies[dependency] = None
            dependency.dependents.append(task)
            if dependency.standing is not satisfied:
                task.unmet += 1
        return late, in_order

    def _change_standing(self, vertex: Vertex, standing: Standing) -> None:
        was_satisfied = vertex.standing is Standing.SATISFIED
        if vertex.is_unfinished != (standing in UNFINISHED):
            self._queue.note_stale(vertex)
        vertex.standing = standing
        self._queue.note_moved(vertex)
        is_satisfied = standing is Standing.SATISFIED
        if is_satisfied and not was_satisfied:
            for dependent in vertex.dependents:
                dependent.unmet -= 1
                if dependent.unmet == 0:
                    self._queue.note_moved(dependent)
        elif was_satisfied and not is_satisfied:
            for dependent in vertex.dependents:
                dependent.unmet += 1
                if dependent.unmet == 1:
                    self._queue.note_moved(dependent)

    def _forget(self, vertices: list[Vertex]) -> None:
        doomed = set(vertices)
        for vertex in vertices:
            for dependency in vertex.dependencies:
                if dependency not in doomed:
                    dependency.dependents.remove(vertex)
                    self._queue.note_stale(dependency)
            for dependent in vertex.dependents:
                if dependent not in doomed:
                    del dependent.dependencies[vertex]
                    dependent.unmet -= vertex.standing is not Standing.SATISFIED
                    self._queue.note_moved(dependent)
            del self._vertices[vertex.id]
        self._queue.leave(vertices)


def _unknown(task_id: TaskId) -> NotFound:
    return NotFound(f"There is no task {task_id}.", remedy="List the tasks and use one of them.")


def _unsatisfied(vertex: Vertex) -> Iterator[Vertex]:
    return (d for d in vertex.dependencies if d.standing is not Standing.SATISFIED)


def _ids(vertices: Iterable[Vertex]) -> tuple[TaskId, ...]:
    return tuple(vertex.id for vertex in sorted(vertices, key=lambda vertex: vertex.age))


def _link(task: Vertex, dependency: Vertex) -> None:
    task.dependencies[dependency] = None
    dependency.dependents.append(task)
    task.unmet += dependency.standing is not Standing.SATISFIED


def _unlink(task: Vertex, dependency: Vertex) -> None:
    del task.dependencies[dependency]
    dependency.dependents.remove(task)
    task.unmet -= dependency.standing is not Standing.SATISFIED
