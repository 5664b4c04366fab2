"""The ready set in ready order, and the effective priorities and remaining paths behind it.

Rule 1: a change only notes what it touches; the next question settles it. So many changes in a row
cost one settling, in which each task is computed at most once.
Rule 2: every vertex that is not noted as stale agrees with the stored values of its dependents.

The keys are a sorted list, not a heap: it is read from the front again and again without being
emptied, entries leave from its middle, and moving 100,000 pointers takes some 20 microseconds.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush

from sf_mcp.core.models import TaskId
from sf_mcp.core.vertex import UNFINISHED, ReadyKey, Vertex

SORT_AT_SHARE = 50
"""One sort of the whole list is cheaper than single moves once more than 1 key in 50 changes."""


class ReadyQueue:
    """The tasks that are ready, first to claim first; it settles before each answer."""

    def __init__(self) -> None:
        """Start empty."""
        self._keys: list[ReadyKey] = []
        self._stale: set[Vertex] = set()
        self._moved: set[Vertex] = set()

    def __len__(self) -> int:
        self.settle()
        return len(self._keys)

    def __iter__(self) -> Iterator[TaskId]:
        self.settle()
        for key in self._keys:
            yield key[-1]

    def enter(self, vertices: Sequence[Vertex]) -> None:
        """Take new vertices, linked to their neighbours, each after those it depends on."""
        for vertex in reversed(vertices):
            vertex.recompute()
            if vertex.is_ready:
                self._moved.add(vertex)
        new = set(vertices)
        for vertex in vertices:
            for dependency in vertex.dependencies:
                if dependency not in new:
                    self.note_pull(vertex, dependency)

    def leave(self, vertices: Iterable[Vertex]) -> None:
        """Drop vertices, unlinked from their neighbours."""
        gone = set(vertices)
        self._stale -= gone
        self._moved -= gone
        self._replace([v.ready_key for v in gone if v.ready_key is not None], ())

    def note_moved(self, vertex: Vertex) -> None:
        """Note that the vertex may have entered, left or changed its place in the ready set."""
        self._moved.add(vertex)

    def note_stale(self, vertex: Vertex) -> None:
        """Note that its effective priority or remaining path may have changed."""
        self._stale.add(vertex)

    def note_pull(self, task: Vertex, dependency: Vertex) -> None:
        """Note a new dependency: it makes `dependency` stale only if `task` pulls it further."""
        if dependency.is_unfinished and (
            task.effective < dependency.effective
            or dependency.estimate + task.remaining > dependency.remaining
        ):
            self._stale.add(dependency)

    def settle(self) -> None:
        """Bring all values and the order up to date."""
        if self._stale:
            self._propagate()
        if self._moved:
            self._requeue()

    def _propagate(self) -> None:
        """Compute what is stale, dependents first, and go on only where a value has changed."""
        queued = self._stale
        heap = [(-vertex.position, vertex) for vertex in queued]
        heapify(heap)
        while heap:
            vertex = heappop(heap)[1]
            was_effective, was_remaining = vertex.effective, vertex.remaining
            vertex.recompute()
            effective, remaining = vertex.effective, vertex.remaining
            if effective == was_effective and remaining == was_remaining:
                continue
            if vertex.unmet == 0:
                self._moved.add(vertex)
            for dependency in vertex.dependencies:
                if dependency in queued or dependency.standing not in UNFINISHED:
                    continue
                # Pulled further than before, or no longer held where it was by this dependent.
                if (
                    effective < dependency.effective
                    or dependency.estimate + remaining > dependency.remaining
                    or was_effective == dependency.effective < effective
                    or (
                        remaining < was_remaining
                        and dependency.estimate + was_remaining == dependency.remaining
                    )
                ):
                    queued.add(dependency)
                    heappush(heap, (-dependency.position, dependency))
        self._stale = set()

    def _requeue(self) -> None:
        removed: list[ReadyKey] = []
        added: list[ReadyKey] = []
        for vertex in self._moved:
            key = vertex.key() if vertex.is_ready else None
            if key != vertex.ready_key:
                if vertex.ready_key is not None:
                    removed.append(vertex.ready_key)
                if key is not None:
                    added.append(key)
                vertex.ready_key = key
        self._moved = set()
        self._replace(removed, added)

    def _replace(self, removed: Sequence[ReadyKey], added: Sequence[ReadyKey]) -> None:
        keys = self._keys
        if (len(removed) + len(added)) * SORT_AT_SHARE > len(keys):
            gone = set(removed)
            self._keys = sorted([*(key for key in keys if key not in gone), *added])
            return
        for key in removed:
            del keys[bisect_left(keys, key)]
        for key in added:
            insort(keys, key)
