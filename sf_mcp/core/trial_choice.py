"""Which sets are worth checking, chosen one after another for the slots that are free.

The order of importance: what failed alone is repeated, what is vetted is checked together so that
it can land, what failed together is halved, fresh requests are screened; a slot that nothing of
that needs is a hedge.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sf_mcp.core.merge_facts import Facts, Queued, RequestSet, Wanted
from sf_mcp.core.trial_evidence import Evidence, Tried

SURE = 0.65
"""What passes with this chance others are checked on top of, as if it had landed."""

PASSING_SHARE = 0.45
"""The chance with which a group of fresh requests passes: then its outcome tells the most."""

LANDING_SHARE = 0.5
"""The chance with which the vetted ones that are to land together must at least pass."""

MOST_LINES, WORTH_A_LINE = 2, 12
"""So many sets of vetted requests are checked at once, each longer by so many than the last."""

LARGEST_GROUP = 32
TURN_OF_THE_OLDEST = 4
"""Each so many trials the longest waiting go first, whatever is more urgent."""


@dataclass(slots=True)
class Board:
    """The sets to check, chosen one after another, the most important first."""

    found: Evidence
    facts: Facts
    slots: int
    held: RequestSet = ()
    """Passed, and waits whether more can land at once."""
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
        best = self.held
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
        if len(under_way) >= MOST_LINES:
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
        if not under_way:
            return self.add(self._joined(self.held, ready, most))
        tip = self.tip()
        longer = self._joined(tip, ready, most)
        return len(longer) >= len(tip) + WORTH_A_LINE and self.add(longer)

    def _split(self) -> bool:
        """Check one half of what failed together; when it fails the other may well be good."""
        for blame in self.found.blames:
            if not self.busy.isdisjoint(blame.requests):
                continue
            half = self._closed(blame.requests[: max(1, len(blame.requests) // 2)])
            if half is None:
                continue
            is_fresh = blame.requests[0] not in self.found.vetted
            tip = self.tip() if not is_fresh or len(half) > 1 else ()
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
            if len(joined) < most and self.found.fits(joined, one):
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
            if not self.found.fits(closed, queued):
                return False
            closed.append(one)
            return True

        return tuple(closed) if all(take(one) for one in requests) else None
