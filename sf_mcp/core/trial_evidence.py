"""What the stored trials say of the requests that still wait.

Nothing is remembered between plans: who is vetted, what has to be split, how often requests are
bad, all of it is read from the trials again each time. What a trial of an earlier base says stays
evidence of what is *worth* checking; what may land and who is thrown out only same trees decide.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sf_mcp.core.merge_facts import Facts, Outcome, Queued, RequestSet, Trial

FAILURES_THAT_EVICT = 2
"""On one tree: a check that fails once may be flaky."""

GUESSED_BAD, GUESSED_CLASHES = 0.1, 0.025
"""What is assumed of a request that nothing is known of, and of one that passed among others."""

GUESS_WEIGHS = 10.0
"""As many requests as have to be seen before what was seen counts for more than the guess."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial and what is left of its set since parts of it landed."""

    trial: Trial
    rest: RequestSet
    at: int
    """The latest base on which the rest gives the trial's tree."""
    is_here: bool
    """That is the present base."""


@dataclass(frozen=True, slots=True)
class Blame:
    """Requests at least one of which is bad, after a trial that failed."""

    requests: RequestSet
    whole: frozenset[str]
    """With those that were tried with them and passed elsewhere."""


@dataclass(slots=True, kw_only=True)
class Evidence:
    """What is known of the queue's requests."""

    queue: Mapping[str, Queued]
    """In the order in which they should land."""
    running: list[Tried] = field(default_factory=list[Tried])
    passed: dict[RequestSet, int] = field(default_factory=dict[RequestSet, int])
    """On the present base, every check, and the trial."""
    passed_in_part: set[RequestSet] = field(default_factory=set[RequestSet])
    """On the present base, perhaps not every check."""
    failed: dict[RequestSet, int] = field(default_factory=dict[RequestSet, int])
    """On the present base, and the trial; in the trials' order, like all here that is counted."""
    last_pass: dict[str, int] = field(default_factory=dict[str, int])
    """The newest trial that passed with it."""
    vetted: set[str] = field(default_factory=set[str])
    """Passed in some trial, on some base."""
    doubted: dict[str, int] = field(default_factory=dict[str, int])
    """Failed once alone, here or where it was tried last: the trial that has to be repeated."""
    condemned: set[str] = field(default_factory=set[str])
    """Failed twice alone on one tree."""
    stuck: set[str] = field(default_factory=set[str])
    """Could not be merged onto the present base: no trial will change that."""
    blames: list[Blame] = field(default_factory=list[Blame])
    """Disjoint."""
    tries: dict[str, int] = field(default_factory=dict[str, int])
    """How many trials of it have ended with a verdict."""
    bad_rate: float = GUESSED_BAD
    clash_rate: float = GUESSED_CLASHES
    blamed: dict[str, Blame] = field(default_factory=dict[str, Blame])

    def fits(self, ahead: Iterable[str], one: Queued) -> bool:
        """Return whether a request may be merged after those ahead of it."""
        there = set(ahead)
        return (
            one.id not in there
            and there.isdisjoint(one.conflicts)
            and not any(one.id in self.queue[other].conflicts for other in there)
            and all(other in there for other in one.after if other in self.queue)
        )

    def can_land(self, requests: RequestSet) -> bool:
        """Return whether the set may land in this order, once it has passed."""
        return all(
            one in self.queue
            and self.queue[one].may_land
            and self.fits(requests[:place], self.queue[one])
            for place, one in enumerate(requests)
        )

    def chance(self, requests: RequestSet) -> float:
        """Return how likely the set passes on the present base."""
        good, calm = 1 - self.bad_rate, 1 - self.clash_rate
        likely = 1.0
        shares: dict[RequestSet, int] = {}
        for one in requests:
            if one in self.doubted or one in self.condemned:
                return 0.0
            if blame := self.blamed.get(one):
                shares[blame.requests] = shares.get(blame.requests, 0) + 1
            else:
                likely *= calm if one in self.vetted else good
        for blamed, share in shares.items():
            rate = calm if blamed[0] in self.vetted else good
            none_bad = rate ** len(blamed)
            likely *= max(0.0, (rate**share - none_bad) / (1 - none_bad))
        for failed in self.failed:
            if len(failed) > len(requests) and failed[: len(requests)] == requests:
                # The longer one failed for its own part, or for this part of it.
                others = math.prod(
                    calm if one in self.vetted else good for one in failed[len(requests) :]
                )
                likely = likely * (1 - others) / (likely * (1 - others) + 1 - likely or 1)
        return likely

    def must_fail(self, requests: RequestSet) -> bool:
        """Return whether a part of the set has failed, so that checking all of it is in vain."""
        tried = set(requests)
        return any(
            len(blame.whole) < len(requests) and blame.whole <= tried for blame in self.blames
        ) or any(
            len(failed) < len(requests) and failed == requests[: len(failed)]
            for failed in self.failed
        )


def read(facts: Facts) -> Evidence:
    """Return what the facts say, which does not depend on anything but them."""
    found = Evidence(queue={one.id: one for one in facts.queue})
    landed = {one for move in facts.landed for one in move.requests}
    tried = [
        seen
        for trial in facts.trials
        if trial.outcome not in (Outcome.CANCELLED, Outcome.NOT_STARTED)
        for seen in (_since(trial, facts),)
    ]
    alone = _note(found, tried)
    bad = _judge(found, alone)
    _blame(found, tried, landed)
    _estimate(found, landed, bad)
    return found


def _since(trial: Trial, facts: Facts) -> Tried:
    """Return what is left of the trial's set after the moves that only took its beginning."""
    moves = facts.landed
    if moves and trial.base < moves[0].number:
        return Tried(trial, trial.requests, trial.base, False)
    rest, at = trial.requests, trial.base
    for place in range(bisect_right(moves, trial.base, key=lambda move: move.number), len(moves)):
        brought = moves[place].requests
        if not brought or rest[: len(brought)] != brought:
            return Tried(trial, rest, at, False)
        rest, at = rest[len(brought) :], moves[place].number
    return Tried(trial, rest, at, True)


@dataclass(slots=True)
class _Alone:
    """What came of one request alone on one tree."""

    failures: int = 0
    has_passed: bool = False
    first: int = 0
    """The first trial that failed."""
    is_here: bool = False
    has_passed_since: bool = False
    """On whatever base."""


def _note(found: Evidence, tried: Sequence[Tried]) -> dict[tuple[str, int], _Alone]:
    """Sort the trials' outcomes; return those of single requests by request and base."""
    alone: dict[tuple[str, int], _Alone] = {}
    last_pass = found.last_pass
    for one in tried:
        outcome, rest = one.trial.outcome, one.rest
        if outcome is Outcome.RUNNING:
            found.running.append(one)
            continue
        for request in one.trial.requests:
            found.tries[request] = found.tries.get(request, 0) + 1
            if outcome is Outcome.PASSED:
                last_pass[request] = one.trial.number
        if one.is_here and outcome is Outcome.PASSED:
            found.passed_in_part.add(rest)
            if one.trial.is_full:
                found.passed[rest] = one.trial.number
        elif one.is_here:
            found.failed[rest] = one.trial.number
        if len(rest) != 1:
            continue
        if outcome is Outcome.CONFLICTED:
            if one.is_here:
                found.stuck.add(rest[0])
            continue
        single = alone.setdefault((rest[0], one.at), _Alone())
        if outcome is Outcome.PASSED:
            single.has_passed = True
        else:
            single.failures += 1
            single.first = single.first or one.trial.number
        single.is_here = one.is_here
    found.vetted = {one for one in last_pass if one in found.queue}
    for (request, _), single in alone.items():
        single.has_passed_since = last_pass.get(request, 0) > single.first
    return alone


def _judge(found: Evidence, alone: Mapping[tuple[str, int], _Alone]) -> int:
    """Tell the condemned from the doubted; return how many were ever condemned."""
    bad: set[str] = set()
    for (request, _), single in alone.items():
        if single.has_passed or not single.failures:
            continue
        if single.failures >= FAILURES_THAT_EVICT:
            bad.add(request)
        elif request in found.queue and (single.is_here or not single.has_passed_since):
            found.doubted[request] = single.first
    found.condemned = {one for one in found.queue if one in bad}
    for one in found.condemned:
        found.doubted.pop(one, None)
    found.vetted -= found.condemned | found.doubted.keys()
    return len(bad)


def _blame(found: Evidence, tried: Sequence[Tried], landed: set[str]) -> None:
    """Find who is to blame for what failed, unless a part of it explains that.

    Those of a set are blamed that never passed. When all of them did, they break one another or
    what has landed, and those are blamed that have not passed again since.
    """
    failed: dict[frozenset[str], int] = {}
    for one in tried:
        if one.trial.outcome not in (Outcome.FAILED, Outcome.CONFLICTED) or not one.rest:
            continue
        whole = frozenset(request for request in one.rest if request not in landed)
        if (
            len(one.rest) > 1
            and whole
            and all(
                request in found.queue
                and request not in found.doubted
                and request not in found.condemned
                and request not in found.stuck
                for request in whole
            )
        ):
            failed[whole] = one.trial.number
    places = {one: place for place, one in enumerate(found.queue)}
    kept: list[frozenset[str]] = []
    for whole in sorted(failed, key=len):
        if any(smaller <= whole for smaller in kept):
            continue
        blamed = whole - found.vetted or {
            one for one in whole if found.last_pass[one] < failed[whole]
        }
        if not blamed:
            continue
        kept.append(whole)
        if not found.blamed.keys().isdisjoint(blamed):
            continue
        blame = Blame(tuple(sorted(blamed, key=places.__getitem__)), whole)
        found.blames.append(blame)
        found.blamed |= dict.fromkeys(blamed, blame)


def _estimate(found: Evidence, landed: set[str], bad: int) -> None:
    """Estimate the rates from the history, with a weak guess before there is one."""
    fresh = [blame for blame in found.blames if blame.requests[0] not in found.vetted]
    good = len(landed) + len(found.vetted)
    bad += len(fresh) + len(found.doubted)
    seen = good + bad + sum(len(blame.requests) - 1 for blame in fresh)
    rate = (bad + GUESS_WEIGHS * GUESSED_BAD) / (seen + GUESS_WEIGHS)
    found.bad_rate = min(0.6, max(0.005, rate))
    found.clash_rate = GUESSED_CLASHES
