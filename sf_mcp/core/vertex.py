"""One task of the graph: what the graph is told about it, and the record that it keeps.

Rule 1: what an ended task pulls is nothing: its `effective` is the lowest priority and its
`remaining` 0, so that the loops over neighbours need no test of their own.
Rule 2: a vertex never changes a neighbour; `graph` does.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.models import (
    DEFAULT_ESTIMATE_MINUTES,
    DEFAULT_PRIORITY,
    HIGHEST_PRIORITY,
    LOWEST_PRIORITY,
    TaskId,
)


class Standing(StrEnum):
    """What a task's and its plan's state mean to the graph."""

    OPEN = "open"
    """May be claimed as soon as nothing it depends on is missing."""
    HELD = "held"
    """Unfinished, but not to be claimed now: claimed, waiting, in review, proposed, stuck, or in
    a plan that is not active."""
    SATISFIED = "satisfied"
    """Merged or closed: its dependents need not wait for it."""
    CANCELLED = "cancelled"
    """Ended without satisfying: its dependents stay blocked."""


UNFINISHED = frozenset({Standing.OPEN, Standing.HELD})

ReadyKey: TypeAlias = tuple[int, int, float, int, TaskId]
"""Effective priority, 0 if ahead of its peers, minus the remaining minutes, order, id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What the graph is told about one task."""

    id: TaskId
    order: int
    """Its creation number: age, the last tie-break before the id."""
    priority: int = DEFAULT_PRIORITY
    estimate_minutes: float = DEFAULT_ESTIMATE_MINUTES
    standing: Standing = Standing.OPEN
    ahead: bool = False
    """Sent back or reserved: before its peers of the same effective priority."""


class Vertex:
    """A mutable record: the graph owns it and nobody outside the graph ever sees it."""

    __slots__ = (
        "ahead",
        "dependencies",
        "dependents",
        "effective",
        "estimate",
        "id",
        "order",
        "position",
        "priority",
        "ready_key",
        "remaining",
        "standing",
        "unmet",
    )

    def __init__(self, node: Node, position: int) -> None:
        """Start without neighbours; `effective` and `remaining` wait for `recompute`.

        Raises:
            InvalidInput: the priority or the estimate is out of its range.
        """
        check_range(node.id, node.priority, node.estimate_minutes)
        self.id = node.id
        self.order = node.order
        self.priority = node.priority
        self.estimate = node.estimate_minutes
        self.standing = node.standing
        self.ahead = node.ahead
        self.position = position
        """Its place in a topological order of the whole graph; unique, dependencies lower."""
        self.dependencies: dict[Vertex, None] = {}
        """A set that keeps its order. Tasks with thousands of dependencies are looked up here."""
        self.dependents: list[Vertex] = []
        self.unmet = 0
        """How many of its dependencies are not satisfied."""
        self.effective = LOWEST_PRIORITY
        self.remaining = 0.0
        self.ready_key: ReadyKey | None = None
        """Where it stands in the ready queue; None while it is not in it."""

    @property
    def is_unfinished(self) -> bool:
        return self.standing in UNFINISHED

    @property
    def is_ready(self) -> bool:
        return self.unmet == 0 and self.standing is Standing.OPEN

    @property
    def age(self) -> tuple[int, TaskId]:
        """Oldest first; the id breaks ties."""
        return (self.order, self.id)

    @property
    def node(self) -> Node:
        return Node(
            id=self.id,
            order=self.order,
            priority=self.priority,
            estimate_minutes=self.estimate,
            standing=self.standing,
            ahead=self.ahead,
        )

    def key(self) -> ReadyKey:
        """Return its place in the ready order (design section 4)."""
        return (self.effective, 0 if self.ahead else 1, -self.remaining, self.order, self.id)

    def recompute(self) -> None:
        """Set `effective` and `remaining` from its own values and its dependents'."""
        if self.standing not in UNFINISHED:
            self.effective, self.remaining = LOWEST_PRIORITY, 0.0
            return
        effective, longest = self.priority, 0.0
        for dependent in self.dependents:
            if dependent.effective < effective:
                effective = dependent.effective
            if dependent.remaining > longest:
                longest = dependent.remaining
        self.effective, self.remaining = effective, self.estimate + longest


def check_range(task_id: TaskId, priority: int, estimate: float) -> None:
    """Raise `InvalidInput` for a number that would break the ready order, such as NaN."""
    if not HIGHEST_PRIORITY <= priority <= LOWEST_PRIORITY:
        raise InvalidInput(
            f"The priority of {task_id} is {priority}.",
            remedy=f"Use {HIGHEST_PRIORITY} (most urgent) to {LOWEST_PRIORITY}.",
        )
    if not 0 <= estimate < math.inf:
        raise InvalidInput(
            f"The estimate of {task_id} is {estimate} minutes.",
            remedy="Give a number of minutes, 0 or more, or none.",
        )
