"""The merge queue's planner: what to check next, what to land now, what proves itself bad.

Pure and without memory: it is given the queue and the stored facts at every event and plans anew,
so that the same facts give the same plan. It decides what is *worth* checking. What may land is not
its word alone: the train lands nothing whose exact tree has not passed.

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
    """A set to check on the present base."""

    requests: RequestSet
    is_full: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    land: RequestSet = ()
    """Passed on the present base, and every one of them may land."""
    evict: tuple[str, ...] = ()
    """Failed twice, alone, on the present base."""
    run: tuple[Wanted, ...] = ()
    """What should be running, the most important first; at most as many as there are slots."""
    go_on: tuple[int, ...] = ()
    """The running trials among them, by number; every other running trial can no longer matter."""


FAILURES_THAT_EVICT = 2
"""On one tree: a check that fails once may be flaky."""


def plan(facts: Facts, slots: int) -> Plan:
    """Return what should happen now, with at most `slots` sets being checked at once."""
    known = _on_the_present_base(facts)
    evict = tuple(
        one.id
        for one in facts.queue
        if _failures(known, (one.id,)) >= FAILURES_THAT_EVICT and not _passed(known, (one.id,))
    )
    waiting = [one for one in facts.queue if one.id not in evict]
    if land := _longest_that_passed(known, waiting):
        return Plan(land=land, evict=evict)
    wanted: list[Wanted] = []
    chain: RequestSet = ()
    for one in waiting:
        if not one.may_land or one.conflicts.intersection(chain) or not one.after <= set(chain):
            continue
        longer = (*chain, one.id)
        if _failures(known, longer):
            if not chain:
                wanted.append(Wanted(requests=longer))
            continue
        chain = longer
        wanted.append(Wanted(requests=chain))
    for one in waiting:
        alone = (one.id,)
        if one.wants_verdict and not one.may_land and not one.after and not _passed(known, alone):
            wanted.append(Wanted(requests=alone))
    run = tuple(dict.fromkeys(wanted))[:slots]
    sets = {one.requests for one in run}
    return Plan(
        evict=evict,
        run=run,
        go_on=tuple(
            one.number
            for one in known
            if one.outcome is Outcome.RUNNING and one.is_full and one.requests in sets
        ),
    )


def _on_the_present_base(facts: Facts) -> list[Trial]:
    """Return the trials that hold for the present base, each with what is left of its set."""
    found: list[Trial] = []
    for trial in facts.trials:
        rest = trial.requests
        is_same_tree = True
        for move in facts.landed:
            if move.number <= trial.base:
                continue
            count = len(move.requests)
            is_same_tree = is_same_tree and count > 0 and rest[:count] == move.requests
            rest = rest[count:]
        if is_same_tree and rest:
            found.append(
                Trial(
                    number=trial.number,
                    base=facts.base,
                    requests=rest,
                    outcome=trial.outcome,
                    is_full=trial.is_full,
                )
            )
    return found


def _failures(known: Sequence[Trial], requests: RequestSet) -> int:
    return sum(
        one.requests == requests and one.outcome in (Outcome.FAILED, Outcome.CONFLICTED)
        for one in known
    )


def _passed(known: Sequence[Trial], requests: RequestSet) -> bool:
    return any(
        one.requests == requests and one.is_full and one.outcome is Outcome.PASSED for one in known
    )


def _longest_that_passed(known: Sequence[Trial], waiting: Sequence[Queued]) -> RequestSet:
    may_land = {one.id: one.after for one in waiting if one.may_land}
    best: RequestSet = ()
    for one in known:
        if one.outcome is not Outcome.PASSED or not one.is_full or len(one.requests) <= len(best):
            continue
        if all(
            request in may_land and may_land[request] <= set(one.requests[:place])
            for place, request in enumerate(one.requests)
        ):
            best = one.requests
    return best
