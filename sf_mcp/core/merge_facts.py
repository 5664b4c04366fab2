"""The merge queue's words: requests, trials and landings as facts, and the plan made of them.

A set of requests is written as the order in which they are merged onto the target. The target is
named by the number of the landing that brought it to where it is, its base. A trial on an earlier
base is one of the present base as well when what has landed since is how its set begins: the rest
of the set then gives the same tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

RequestSet = tuple[str, ...]
"""Ids of merge requests, in the order in which they are merged."""


class Outcome(StrEnum):
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    CONFLICTED = "conflicted"
    """The set could not be merged at all."""
    NOT_STARTED = "not_started"
    """A check could not start: it says nothing of the set."""
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """One merge request that waits, as far as the planner must know it."""

    id: str
    after: frozenset[str] = frozenset()
    """Requests of the queue that land before it, or with it and ahead of it."""
    conflicts: frozenset[str] = frozenset()
    """Requests that it cannot be merged with: never in one set with it."""
    may_land: bool = True
    """Nobody's word is missing. One that may not is checked, and never in a set that is to land."""
    wants_verdict: bool = True
    """Somebody waits to see whether its checks pass."""
    since: int = 0
    """The newest trial's number when it came to the queue: who has waited longest has the least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One set that was merged onto a base and checked."""

    number: int
    base: int
    requests: RequestSet
    outcome: Outcome
    is_full: bool = True
    """Every check ran, so that the set may land on it; else only those that its paths call for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """One move of the target."""

    number: int
    requests: RequestSet
    """What it brought; empty for commits that came from elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What has been stored, oldest first: moves of the target, trials, and the present queue."""

    queue: Sequence[Queued]
    """In the order in which they should land."""
    landed: Sequence[Landed]
    """The newest moves; the last one is the present base."""
    trials: Sequence[Trial]

    @property
    def base(self) -> int:
        """Return the number of the move that brought the target to where it is."""
        return self.landed[-1].number if self.landed else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A set to check on the present base, or an ended trial to repeat."""

    requests: RequestSet
    is_full: bool = True
    again: int | None = None
    """The trial to repeat on its very tree, also when the target has moved on since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    land: RequestSet = ()
    """Passed on the present base, and every one of them may land."""
    evict: tuple[str, ...] = ()
    """Failed twice, alone, on one tree."""
    run: tuple[Wanted, ...] = ()
    """What should be running, the most important first; at most as many as there are slots."""
    go_on: tuple[int, ...] = ()
    """The running trials among them, by number; every other running trial can no longer matter."""
    start: tuple[Wanted, ...] = ()
    """Those to run that no running trial is yet."""
