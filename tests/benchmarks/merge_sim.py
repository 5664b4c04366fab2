"""A world of merge requests, some of them bad, and the queues that bring them into a target.

A request is bad alone with probability `bad`; two that touch the same part of the code and came
within `REACH` of one another break together with probability `clash`; a check of a good tree fails
with probability `flake`. Checks take a lognormal time with mean 1, the unit of all times here. All
queues follow the same rules: the target only moves to a tree whose check passed, and a request is
thrown out when it failed twice, alone, on one tree.

The competitors are models of the algorithms as their projects describe them, not the products:
bors checks one batch at a time and halves what fails; Zuul checks each request on top of all that
are ahead of it and have not failed, in a window that grows with each landing and halves with each
failure. What they remember is theirs; the shipped planner is given the stored facts and nothing
else.
"""

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sf_mcp.core.merge_queue import Facts, Landed, Outcome, Queued, Trial, plan

Set = tuple[int, ...]

REACH = 60
PARTS = 40
SPREAD = 0.3
"""Standard deviation of the logarithm of a check's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a world is like; the queues are told none of it but the slots."""

    slots: int
    bad: float
    clash: float = 0.005
    flake: float = 0.02
    requests: int = 300
    load: float | None = None
    """Requests that arrive per check time; None: all of them are there at the start."""


class World:
    """One drawn world. The same seed gives the same requests to every queue."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape = shape
        self.seed = seed
        chance = random.Random(f"world {seed}")
        count = shape.requests
        self.is_bad = [chance.random() < shape.bad for _ in range(count)]
        weights = [1 / (part + 1) for part in range(PARTS)]
        touched = [
            set(chance.choices(range(PARTS), weights, k=chance.choice((1, 1, 2, 3))))
            for _ in range(count)
        ]
        self.clashes: list[set[int]] = [set() for _ in range(count)]
        for late in range(count):
            for early in range(max(0, late - REACH), late):
                if touched[late] & touched[early] and chance.random() < shape.clash:
                    self.clashes[late].add(early)
                    self.clashes[early].add(late)
        self.arrivals = [0.0] * count
        if shape.load is not None:
            now = 0.0
            for one in range(count):
                now += chance.expovariate(shape.load)
                self.arrivals[one] = now

    def is_good(self, merged: set[int], tried: Set) -> bool:
        there = merged.union(tried)
        return not any(self.is_bad[one] or self.clashes[one] & there for one in tried)

    def bad_share(self) -> float:
        """Return the share that must be thrown out by a queue that takes them in order."""
        merged: set[int] = set()
        for one in range(self.shape.requests):
            if self.is_good(merged, (one,)):
                merged.add(one)
        return 1 - len(merged) / self.shape.requests


@dataclass(slots=True)
class Running:
    tried: Set
    number: int
    """The check's own; a trial's number."""
    since: float
    ends: float
    passes: bool
    tree: frozenset[int]
    """All that is in it."""
    again: int | None
    """The ended check whose tree it repeats."""


@dataclass(slots=True, kw_only=True)
class Decision:
    """What a queue wants: what lands, who is thrown out, what is to run (all on the target)."""

    land: Set = ()
    evict: Set = ()
    run: list[tuple[Set, int | None]] = field(default_factory=list[tuple[Set, int | None]])
    """Each set with the number of the ended check whose very tree it repeats, if any."""


class Queue(Protocol):
    def decide(self, waiting: Sequence[int], running: Sequence[Running]) -> Decision: ...

    def ended(self, check: Running) -> None: ...

    def landed(self, what: Set) -> None: ...

    def started(self, check: Running) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    time: float
    landed: int
    wrongly_evicted: int
    checks: int
    busy: float
    waits: list[float]
    steps: int

    @property
    def throughput(self) -> float:
        return self.landed / self.time

    def wait(self, share: float) -> float:
        return self.waits[min(len(self.waits) - 1, int(share * len(self.waits)))]


def simulate(world: World, queue: Queue) -> Result:
    """Run a queue through a world until every request has landed or is thrown out."""
    slots, chance = world.shape.slots, random.Random(f"checks {world.seed}")
    now, arrived, numbers, busy, wrong, steps = 0.0, 0, 0, 0.0, 0, 0
    waiting: list[int] = []
    merged: set[int] = set()
    trees: dict[int, frozenset[int]] = {}
    running: list[Running] = []
    ends: list[tuple[float, int]] = []
    waits: list[float] = []
    while arrived < world.shape.requests or waiting:
        while arrived < world.shape.requests and world.arrivals[arrived] <= now:
            waiting.append(arrived)
            arrived += 1
        while True:
            steps += 1
            decision = queue.decide(waiting, running)
            for one in decision.evict:
                waiting.remove(one)
                wrong += world.is_good(merged, (one,))
            for one in decision.land:
                waiting.remove(one)
                waits.append(now - world.arrivals[one])
            if decision.land:
                merged.update(decision.land)
                queue.landed(decision.land)
                for check in running:
                    if check.tried[: len(decision.land)] == decision.land:
                        check.tried = check.tried[len(decision.land) :]
            if not decision.land and not decision.evict:
                break
        wanted = [
            (tried, again, frozenset(merged.union(tried)) if again is None else trees[again])
            for tried, again in decision.run[:slots]
        ]
        kept: list[Running] = []
        for check in running:
            if any(check.tree == tree for _, _, tree in wanted):
                kept.append(check)
            else:
                busy += now - check.since
        running[:] = kept
        for tried, again, tree in wanted:
            if any(check.tree == tree for check in running):
                continue
            numbers += 1
            time = math.exp(chance.gauss(-(SPREAD**2) / 2, SPREAD))
            before = set(tree - set(tried))
            passes = world.is_good(before, tried) and chance.random() >= world.shape.flake
            check = Running(tried, numbers, now, now + time, passes, tree, again)
            trees[numbers] = tree
            running.append(check)
            heapq.heappush(ends, (check.ends, numbers))
            queue.started(check)
        alive = {check.number for check in running}
        while ends and ends[0][1] not in alive:
            heapq.heappop(ends)
        coming = world.arrivals[arrived] if arrived < world.shape.requests else math.inf
        if not ends and coming == math.inf:
            if not waiting:
                break
            raise RuntimeError(f"stuck with {waiting[:9]} of {len(waiting)}")
        if not ends or coming < ends[0][0]:
            now = coming
            continue
        now, number = heapq.heappop(ends)
        check = next(one for one in running if one.number == number)
        running.remove(check)
        busy += now - check.since
        queue.ended(check)
    return Result(
        time=now,
        landed=len(waits),
        wrongly_evicted=wrong,
        checks=numbers,
        busy=busy / (now * slots),
        waits=sorted(waits),
        steps=steps,
    )


class Planned:
    """The shipped planner, given the facts that a store would give it."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.moves: list[Landed] = [Landed(number=1, requests=())]
        self.trials: dict[int, Trial] = {}

    def decide(self, waiting: Sequence[int], running: Sequence[Running]) -> Decision:
        alive = {check.number for check in running}
        for number, trial in self.trials.items():
            if trial.outcome is Outcome.RUNNING and number not in alive:
                self._end(number, Outcome.CANCELLED)
        facts = Facts(
            queue=[Queued(id=f"M{one}") for one in waiting],
            landed=self.moves[-200:],
            trials=list(self.trials.values())[-1000:],
        )
        made = plan(facts, self.slots)
        return Decision(
            land=tuple(int(one[1:]) for one in made.land),
            evict=tuple(int(one[1:]) for one in made.evict),
            run=[(tuple(int(one[1:]) for one in want.requests), want.again) for want in made.run],
        )

    def started(self, check: Running) -> None:
        repeated = None if check.again is None else self.trials[check.again]
        self.trials[check.number] = Trial(
            number=check.number,
            base=repeated.base if repeated else self.moves[-1].number,
            requests=repeated.requests if repeated else tuple(f"M{one}" for one in check.tried),
            outcome=Outcome.RUNNING,
        )

    def ended(self, check: Running) -> None:
        self._end(check.number, Outcome.PASSED if check.passes else Outcome.FAILED)

    def landed(self, what: Set) -> None:
        self.moves.append(
            Landed(number=len(self.moves) + 1, requests=tuple(f"M{one}" for one in what))
        )

    def _end(self, number: int, outcome: Outcome) -> None:
        trial = self.trials[number]
        self.trials[number] = Trial(
            number=number, base=trial.base, requests=trial.requests, outcome=outcome
        )


class Remembering:
    """What the competitors have in common: results of the sets that are tried on the target."""

    def __init__(self) -> None:
        self.passed: set[Set] = set()
        self.failures: dict[Set, int] = {}

    def ended(self, check: Running) -> None:
        if check.passes:
            self.passed.add(check.tried)
        else:
            self.failures[check.tried] = self.failures.get(check.tried, 0) + 1

    def started(self, check: Running) -> None:
        """Nothing to remember."""

    def landed(self, what: Set) -> None:
        """Forget what was known of the target as it was, but for sets that began with `what`."""
        count = len(what)

        def rest(tried: Set) -> Set:
            return tried[count:] if tried[:count] == what else ()

        self.passed = {rest(tried) for tried in self.passed} - {()}
        self.failures = {rest(tried): n for tried, n in self.failures.items() if rest(tried)}

    def is_condemned(self, one: int) -> bool:
        return self.failures.get((one,), 0) > 1


class Serial(Remembering):
    """One request at a time."""

    def decide(self, waiting: Sequence[int], running: Sequence[Running]) -> Decision:
        if not waiting:
            return Decision()
        first = (waiting[0],)
        if first in self.passed:
            return Decision(land=first)
        if self.is_condemned(waiting[0]):
            return Decision(evict=first)
        return Decision(run=[(first, None)])


class Bors(Remembering):
    """One batch at a time, halved when it fails (bors-ng's divider)."""

    MOST = 32

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Set] = []

    def decide(self, waiting: Sequence[int], running: Sequence[Running]) -> Decision:
        if not self.batches and waiting:
            self.batches = [tuple(waiting[: self.MOST])]
        while self.batches:
            batch = self.batches[0]
            if batch in self.passed:
                self.batches.pop(0)
                return Decision(land=batch)
            if len(batch) == 1 and self.is_condemned(batch[0]):
                self.batches.pop(0)
                return Decision(evict=batch)
            if len(batch) > 1 and batch in self.failures:
                half = len(batch) // 2
                self.batches[0:1] = [batch[:half], batch[half:]]
                continue
            return Decision(run=[(batch, None)])
        return Decision()


class Zuul(Remembering):
    """Zuul's dependent pipeline: each on top of those ahead of it that have not failed."""

    FIRST, LEAST = 20, 3

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots
        self.window = self.FIRST

    def decide(self, waiting: Sequence[int], running: Sequence[Running]) -> Decision:
        if not waiting:
            return Decision()
        first = (waiting[0],)
        if first in self.passed:
            self.window += 1
            return Decision(land=first)
        if self.is_condemned(waiting[0]):
            self.window = max(self.LEAST, self.window // 2)
            return Decision(evict=first)
        run: list[tuple[Set, int | None]] = []
        ahead: Set = ()
        for one in waiting[: self.window]:
            tried = (*ahead, one)
            has_failed = tried in self.failures
            if (not has_failed or tried == first) and tried not in self.passed:
                run.append((tried, None))
            if not has_failed:
                ahead = tried
        return Decision(run=run[: self.slots])
