"""A train on paper: it follows the plans as the real one does and holds each to the rules."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from sf_mcp.core.merge_queue import (
    Facts,
    Landed,
    Outcome,
    Plan,
    Queued,
    RequestSet,
    Trial,
    plan,
)

Verdicts = Callable[[RequestSet, int], Outcome]
"""What comes of checking all that has landed with a set on top, at which try of that tree."""


@dataclass
class PaperTrain:
    """Keeps what a store would keep, and besides, for the tests alone, each trial's tree."""

    slots: int
    verdicts: Verdicts
    queue: list[Queued] = field(default_factory=list[Queued])
    landed: list[Landed] = field(default_factory=lambda: [Landed(number=1, requests=())])
    trials: list[Trial] = field(default_factory=list[Trial])
    history: RequestSet = ()
    """What is in the target, in order; commits from elsewhere stand in it as their move."""
    trees: dict[int, RequestSet] = field(default_factory=dict[int, RequestSet])
    """What was merged for each trial, from the very beginning."""
    evicted: list[str] = field(default_factory=list[str])
    plans: list[tuple[Facts, Plan]] = field(default_factory=list[tuple[Facts, Plan]])

    @property
    def facts(self) -> Facts:
        return Facts(queue=tuple(self.queue), landed=tuple(self.landed), trials=tuple(self.trials))

    @property
    def running(self) -> list[Trial]:
        return [one for one in self.trials if one.outcome is Outcome.RUNNING]

    @property
    def sets_running(self) -> list[RequestSet]:
        return [one.requests for one in self.running]

    def arrive(self, *ids: str, **how: object) -> None:
        newest = self.trials[-1].number if self.trials else 0
        self.queue += [Queued(id=one, since=newest, **how) for one in ids]  # type: ignore[arg-type]

    def change(self, request: str, **how: object) -> None:
        self.queue = [
            replace(one, **how) if one.id == request else one  # type: ignore[arg-type]
            for one in self.queue
        ]

    def leave(self, request: str) -> None:
        self.queue = [one for one in self.queue if one.id != request]

    def move_from_elsewhere(self) -> None:
        number = self.landed[-1].number + 1
        self.landed.append(Landed(number=number, requests=()))
        self.history = (*self.history, f"upstream {number}")

    def follow(self) -> Plan:
        """Plan and act until there is nothing to do but to wait; return the last plan."""
        for _ in range(2 * len(self.queue) + 2):
            made = plan(self.facts, self.slots)
            self.plans.append((self.facts, made))
            self._hold_to_the_rules(made)
            for one in self.running:
                if one.number not in made.go_on:
                    self.end(one.number, Outcome.CANCELLED)
            for request in made.evict:
                self.evicted.append(request)
                self.leave(request)
            if made.land:
                self.landed.append(Landed(number=self.landed[-1].number + 1, requests=made.land))
                self.history += made.land
                for request in made.land:
                    self.leave(request)
            if not made.land and not made.evict:
                for wanted in made.start:
                    self._start(wanted.requests, wanted.is_full, wanted.again)
                return made
        raise AssertionError("plans follow one another without an end")

    def finish(self, number: int) -> Outcome:
        """End a trial with the verdict that the world has for its tree."""
        tree = self.trees[number]
        ended = (Outcome.PASSED, Outcome.FAILED, Outcome.CONFLICTED)
        tries = sum(self.trees[one.number] == tree and one.outcome in ended for one in self.trials)
        outcome = self.verdicts(tree, tries)
        self.end(number, outcome)
        return outcome

    def end(self, number: int, outcome: Outcome) -> None:
        self.trials = [
            replace(one, outcome=outcome) if one.number == number else one for one in self.trials
        ]

    def _start(self, requests: RequestSet, is_full: bool, again: int | None) -> None:
        number = len(self.trials) + 1
        repeated = None if again is None else self.trials[again - 1]
        self.trees[number] = (
            (*self.history, *requests) if repeated is None else self.trees[repeated.number]
        )
        self.trials.append(
            Trial(
                number=number,
                base=self.landed[-1].number if repeated is None else repeated.base,
                requests=requests if repeated is None else repeated.requests,
                outcome=Outcome.RUNNING,
                is_full=is_full if repeated is None else repeated.is_full,
            )
        )

    # -- the rules ---------------------------------------------------------------------------------

    def _hold_to_the_rules(self, made: Plan) -> None:
        queue = {one.id: one for one in self.queue}
        running = {one.number: one for one in self.running}
        assert len(made.run) <= self.slots
        assert set(made.go_on) <= running.keys()
        if not made.land and not made.evict:
            assert len(made.go_on) + len(made.start) == len(made.run)
        for wanted in made.run:
            assert wanted.requests
            assert_is_orderly(wanted.requests, queue)
        if made.land:
            self._assert_may_land(made.land, queue)
        for request in made.evict:
            self._assert_is_condemned(request)

    def _assert_may_land(self, land: RequestSet, queue: Mapping[str, Queued]) -> None:
        assert_is_orderly(land, queue)
        assert all(queue[one].may_land for one in land)
        tree = (*self.history, *land)
        assert any(
            one.outcome is Outcome.PASSED and one.is_full and self.trees[one.number] == tree
            for one in self.trials
        ), f"{land} never passed on this very tree"

    def _assert_is_condemned(self, request: str) -> None:
        alone = [
            self.trees[one.number]
            for one in self.trials
            if one.outcome is Outcome.FAILED and self.trees[one.number][-1] == request
        ]
        assert any(alone.count(tree) >= 2 and self._was_the_target(tree[:-1]) for tree in alone), (
            f"{request} did not fail twice alone on one tree"
        )

    def _was_the_target(self, tree: RequestSet) -> bool:
        grown: RequestSet = ()
        if tree == grown:
            return True
        for move in self.landed:
            grown += move.requests or ((f"upstream {move.number}",) if move.number > 1 else ())
            if tree == grown:
                return True
        return False


def assert_is_orderly(requests: RequestSet, queue: Mapping[str, Queued]) -> None:
    """Hold a set to dependencies and conflicts."""
    assert len(set(requests)) == len(requests)
    for place, one in enumerate(requests):
        ahead = set(requests[:place])
        assert {other for other in queue[one].after if other in queue} <= ahead
        assert ahead.isdisjoint(queue[one].conflicts)
        assert not any(one in queue[other].conflicts for other in ahead)


def a_world(
    bad: Iterable[str] = (),
    clashes: Iterable[tuple[str, str]] = (),
    flaky: Mapping[RequestSet, int] | None = None,
) -> Verdicts:
    """Return a world: who fails alone, who fails together, which trees fail how often first."""
    rotten, pairs, shaky = set(bad), [set(pair) for pair in clashes], dict(flaky or {})

    def verdict(tree: RequestSet, tries: int) -> Outcome:
        there = set(tree)
        is_bad = there & rotten or any(pair <= there for pair in pairs)
        return Outcome.FAILED if is_bad or tries < shaky.get(tree, 0) else Outcome.PASSED

    return verdict
