"""The merge queue's planner: what to check next, what to land now, what proves itself bad.

Pure and without memory: it is given the queue and the stored facts at every event and plans anew,
so that the same facts give the same plan. It decides what is *worth* checking. What may land is not
its word alone: the train lands nothing whose exact tree has not passed.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sf_mcp.core.merge_facts import (
    Facts,
    Landed,
    Outcome,
    Plan,
    Queued,
    RequestSet,
    Trial,
    Wanted,
)
from sf_mcp.core.trial_evidence import FAILURES_THAT_EVICT, Evidence, Tried, read

__all__ = [
    "FAILURES_THAT_EVICT",
    "Facts",
    "Landed",
    "Outcome",
    "Plan",
    "Queued",
    "RequestSet",
    "Trial",
    "Wanted",
    "plan",
]

SURE = 0.75
"""What passes with this chance others are checked on top of, as if it had landed."""

PASSING_SHARE = 0.5
"""The chance with which a group of fresh requests passes: then its outcome tells the most."""

LANDING_SHARE = 0.5
"""The chance with which the vetted ones that are to land together must at least pass."""

LARGEST_GROUP = 32
PATIENCE = 24
"""Trials of one request after which nothing lands before it is decided."""

TURN_OF_THE_OLDEST = 4
"""Each so many trials the longest waiting go first, whatever is more urgent."""


def plan(facts: Facts, slots: int) -> Plan:
    """Return what should happen now, with at most `slots` sets being checked at once."""
    found = read(facts)
    # A landing or an eviction changes the facts: until the plan after it, all goes on as it is.
    as_it_is = tuple(one.trial.number for one in found.running)
    if evict := tuple(one for one in found.queue if one in found.condemned):
        return Plan(evict=evict, go_on=as_it_is)
    due = _due(found)
    if land := _longest_that_passed(found, due):
        return Plan(land=land, go_on=as_it_is)
    board = _Board(found, facts, slots)
    for one in found.running:
        if len(board.chosen) < slots and _matters(found, one):
            board.keep(one)
    if due:
        board.add_alone(due)
    while len(board.chosen) < slots and board.add_next():
        pass
    return Plan(run=tuple(board.chosen), go_on=tuple(board.kept), start=tuple(board.start))


def fits(found: Evidence, ahead: Iterable[str], one: Queued) -> bool:
    """Return whether a request may be merged after those ahead of it."""
    there = set(ahead)
    return (
        one.id not in there
        and there.isdisjoint(one.conflicts)
        and not any(one.id in found.queue[other].conflicts for other in there)
        and all(other in there for other in one.after if other in found.queue)
    )


def _can_land(found: Evidence, requests: RequestSet) -> bool:
    return all(
        one in found.queue
        and found.queue[one].may_land
        and fits(found, requests[:place], found.queue[one])
        for place, one in enumerate(requests)
    )


def _longest_that_passed(found: Evidence, due: str | None) -> RequestSet:
    """Return what to land: on equal lengths the first in the queue's order."""
    places = {one: place for place, one in enumerate(found.queue)}
    best: RequestSet = ()
    for requests in found.passed:
        if not requests or (due and due not in requests) or not _can_land(found, requests):
            continue
        if (len(requests), [-places[one] for one in requests]) > (
            len(best),
            [-places[one] for one in best],
        ):
            best = requests
    return best


def _due(found: Evidence) -> str | None:
    """Return the first request that has been tried too often: it must be decided now."""
    for one in found.queue.values():
        if (
            found.tries.get(one.id, 0) >= PATIENCE
            and one.may_land
            and one.id not in found.stuck
            and not any(other in found.queue for other in one.after)
        ):
            return one.id
    return None


def _matters(found: Evidence, one: Tried) -> bool:
    """Return whether a running trial can still tell something, or land."""
    rest = one.rest
    if not rest or any(request not in found.queue for request in rest):
        return False
    if any(request in found.doubted for request in rest):
        return len(rest) == 1
    if one.is_here:
        return not found.must_fail(rest) and rest not in found.passed
    return any(request not in found.vetted or not found.queue[request].may_land for request in rest)


@dataclass(slots=True)
class _Board:
    """The sets to check, chosen one after another, the most important first."""

    found: Evidence
    facts: Facts
    slots: int
    chosen: list[Wanted] = field(default_factory=list[Wanted])
    kept: list[int] = field(default_factory=list[int])
    start: list[Wanted] = field(default_factory=list[Wanted])
    here: list[RequestSet] = field(default_factory=list[RequestSet])
    busy: set[str] = field(default_factory=set[str])
    """Requests in a chosen set."""

    def keep(self, one: Tried) -> None:
        again = None if one.is_here else one.trial.number
        self.chosen.append(Wanted(requests=one.rest, is_full=one.trial.is_full, again=again))
        self.kept.append(one.trial.number)
        self.busy.update(one.rest)
        if one.is_here:
            self.here.append(one.rest)

    def add(self, requests: RequestSet, *, is_full: bool = True) -> bool:
        """Choose a set unless its outcome is known or being found out."""
        known = self.found.passed if is_full else self.found.passed_in_part
        if (
            not requests
            or requests in self.here
            or requests in self.found.failed
            or requests in known
        ):
            return False
        self._choose(Wanted(requests=requests, is_full=is_full))
        self.here.append(requests)
        return True

    def add_alone(self, one: str) -> bool:
        """Choose one request alone, or to repeat it where it has failed alone."""
        if any(wanted.requests == (one,) for wanted in self.chosen):
            return False
        if (trial := self.found.doubted.get(one)) is not None:
            self._choose(Wanted(requests=(one,), again=trial))
            return True
        return self.add((one,))

    def _choose(self, wanted: Wanted) -> None:
        self.chosen.append(wanted)
        self.start.append(wanted)
        self.busy.update(wanted.requests)

    @property
    def turn(self) -> int:
        """The number of the trial that would be chosen next, as good as."""
        newest = self.facts.trials[-1].number if self.facts.trials else 0
        return newest + len(self.start)

    def order(self) -> list[Queued]:
        queue = list(self.found.queue.values())
        if self.turn % TURN_OF_THE_OLDEST == TURN_OF_THE_OLDEST - 1:
            queue.sort(key=lambda one: one.since)
        return queue

    def tip(self) -> RequestSet:
        """Return the longest chosen set that surely enough passes: the next base, as good as."""
        best: RequestSet = ()
        for requests in self.here:
            if (
                len(requests) > len(best)
                and all(self.found.queue[one].may_land for one in requests)
                and self.found.chance(requests) >= SURE
            ):
                best = requests
        return best

    def add_next(self) -> bool:
        """Choose one set more, if any is worth it."""
        return (
            self._repeat()
            or self._land()
            or self._split()
            or self._group()
            or self._hedge()
            or self._single()
        )

    def _repeat(self) -> bool:
        """Repeat on its very tree what failed alone."""
        for one, trial in self.found.doubted.items():
            if not any(wanted.requests == (one,) for wanted in self.chosen):
                self._choose(Wanted(requests=(one,), again=trial))
                return True
        return False

    def _land(self) -> bool:
        """Check together what is vetted and may land."""
        vetted = self.found.vetted
        under_way = [
            one
            for one in self.here
            if all(request in vetted and self.found.queue[request].may_land for request in one)
        ]
        if under_way:
            return False
        ready = [
            one
            for one in self.order()
            if one.id in vetted
            and one.may_land
            and one.id not in self.found.blamed
            and one.id not in self.found.stuck
        ]
        most = max(1, int(math.log(LANDING_SHARE) / math.log(1 - self.found.clash_rate)))
        return self.add(self._joined((), ready, most))

    def _split(self) -> bool:
        """Check one half of what failed together; when it fails the other may well be good."""
        for blame in self.found.blames:
            if not self.busy.isdisjoint(blame.requests):
                continue
            half = self._closed(blame.requests[: max(1, len(blame.requests) // 2)])
            if half is None:
                continue
            is_fresh = blame.requests[0] not in self.found.vetted
            tip = self.tip() if is_fresh and len(half) > 1 else ()
            if self.add(self._joined(tip, half)) or self.add(self._joined((), half)):
                return True
        return False

    def _group(self) -> bool:
        """Check fresh requests: those that may land and those that may not in turn."""
        fresh = [one for one in self.order() if self._is_fresh(one)]
        for_landing = [one for one in fresh if one.may_land]
        for_verdicts = [one for one in fresh if not one.may_land]
        kinds = [for_landing, for_verdicts]
        if self.turn % 2 == 0:
            kinds.reverse()
        return any(self._group_of(kind) for kind in kinds if kind)

    def _is_fresh(self, one: Queued) -> bool:
        found = self.found
        if one.id in self.busy or one.id in found.blamed:
            return False
        if one.id in found.doubted or one.id in found.condemned or one.id in found.stuck:
            return False
        if one.may_land:
            return one.id not in found.vetted
        return one.wants_verdict and not any(one.id in passed for passed in found.passed_in_part)

    def _group_of(self, fresh: Sequence[Queued]) -> bool:
        free = self.slots - len(self.chosen)
        size = round(math.log(PASSING_SHARE) / math.log(1 - self.found.bad_rate))
        size = max(1, min(LARGEST_GROUP, size, math.ceil(len(fresh) / free)))
        is_short = len(fresh) <= free
        if not fresh[0].may_land:
            for first in fresh:
                if closed := self._closed((first.id,)):
                    others = [one for one in fresh if one.id not in closed]
                    group = self._joined(closed, others, len(closed) + size - 1)
                    if self.add(group, is_full=is_short) or self.add(closed, is_full=is_short):
                        return True
            return False
        for tip in (self.tip(), ()):
            group = self._joined(tip, fresh, len(tip) + size)
            if group != tip and self.add(group):
                return True
        return False

    def _hedge(self) -> bool:
        """Use a free slot: the other half of what failed, and shorter sets that may land sooner."""
        for blame in self.found.blames:
            rest = [one for one in blame.requests if one not in self.busy]
            if rest and len(blame.requests) > 1:
                half = self._closed(tuple(rest[: (len(rest) + 1) // 2]))
                if half and self.add(half):
                    return True
        for requests in sorted(self.here, key=len, reverse=True):
            count = len(requests)
            for length in (count // 2, count * 3 // 4, count // 4):
                if length and self.add(requests[:length]):
                    return True
        return False

    def _single(self) -> bool:
        """Never stand still: check the first request alone that is still undecided."""
        if self.chosen:
            return False
        return any(
            self.add_alone(one.id)
            for one in self.order()
            if one.may_land
            and one.id not in self.found.stuck
            and not any(other in self.found.queue for other in one.after)
        )

    def _joined(
        self, ahead: RequestSet, others: Iterable[Queued | str], most: float = math.inf
    ) -> RequestSet:
        """Return the set ahead with those of the others that fit, up to a length."""
        joined = list(ahead)
        for other in others:
            one = self.found.queue[other] if isinstance(other, str) else other
            if len(joined) < most and fits(self.found, joined, one):
                joined.append(one.id)
        return tuple(joined)

    def _closed(self, requests: RequestSet) -> RequestSet | None:
        """Return the set with all that must land ahead of it; None when some of that cannot."""
        closed: list[str] = []

        def take(one: str) -> bool:
            if one in closed:
                return True
            if one in self.found.doubted or one in self.found.condemned or one in self.found.stuck:
                return False
            queued = self.found.queue[one]
            if not all(take(other) for other in sorted(queued.after) if other in self.found.queue):
                return False
            if not fits(self.found, closed, queued):
                return False
            closed.append(one)
            return True

        return tuple(closed) if all(take(one) for one in requests) else None
