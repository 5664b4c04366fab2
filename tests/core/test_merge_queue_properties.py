"""The planner in any history: arrivals, verdicts, approvals and foreign moves in any order.

`PaperTrain` holds each plan to the rules as it follows it.
"""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from sf_mcp.core.merge_queue import Facts, Outcome, RequestSet, plan
from tests.core.builders_merge_queue import PaperTrain, Verdicts

ENOUGH = 120
"""More trials than any request of these small queues should have to wait for."""


def arbitrary_verdicts(seed: int, share: int) -> Verdicts:
    """Return verdicts without rhyme or reason, but always the same of the same try of a tree."""

    def verdict(tree: RequestSet, tries: int) -> Outcome:
        chance = random.Random(f"{seed} {tree} {tries}")
        if chance.randrange(100) >= share:
            return Outcome.PASSED
        return Outcome.FAILED

    return verdict


def a_train(chance: random.Random, slots: int, requests: int, share: int) -> PaperTrain:
    train = PaperTrain(slots=slots, verdicts=arbitrary_verdicts(chance.randrange(10**9), share))
    for number in range(requests):
        others = [f"M{other}" for other in range(number)]
        after = frozenset(one for one in others if chance.random() < 0.1)
        train.arrive(
            f"M{number}",
            after=after,
            conflicts=frozenset(
                one for one in others if one not in after and chance.random() < 0.05
            ),
            may_land=chance.random() < 0.8,
        )
    return train


def step(train: PaperTrain, chance: random.Random) -> None:
    """Let one thing happen: mostly a trial ends."""
    train.follow()
    what = chance.random()
    running = train.running
    if what < 0.02:
        train.move_from_elsewhere()
    elif what < 0.04:
        # The server is killed: what ran is nobody's.
        for one in running:
            train.end(one.number, Outcome.CANCELLED)
    elif what < 0.06 and train.queue:
        request = chance.choice(train.queue)
        train.change(request.id, may_land=not request.may_land)
    elif what < 0.08 and running:
        train.end(chance.choice(running).number, Outcome.NOT_STARTED)
    elif what < 0.09 and train.queue:
        train.leave(chance.choice(train.queue).id)
    elif running:
        train.finish(chance.choice(running).number)
    for one in train.queue:
        if one.wants_verdict and any(
            one.id in trial.requests and trial.outcome is Outcome.PASSED for trial in train.trials
        ):
            train.change(one.id, wants_verdict=False)


histories = {
    "seed": st.integers(0, 10**9),
    "slots": st.integers(1, 6),
    "requests": st.integers(1, 14),
    "share": st.sampled_from((0, 5, 20, 50, 90, 100)),
}


@settings(max_examples=150, deadline=None)
@given(**histories)
def test_in_any_history_each_plan_keeps_the_rules(
    seed: int, slots: int, requests: int, share: int
) -> None:
    chance = random.Random(seed)
    train = a_train(chance, slots, requests, share)
    for _ in range(80):
        step(train, chance)
        if not train.queue:
            break


@settings(max_examples=100, deadline=None)
@given(**histories)
def test_no_request_starves_whatever_the_verdicts(
    seed: int, slots: int, requests: int, share: int
) -> None:
    chance = random.Random(seed)
    train = a_train(chance, slots, requests, share)
    for one in list(train.queue):
        train.change(one.id, may_land=True)
    most = ENOUGH * requests
    while train.queue:
        train.follow()
        if not train.queue:
            break
        assert train.running, f"nothing runs and {[one.id for one in train.queue]} wait"
        train.finish(chance.choice(train.running).number)
        assert len(train.trials) < most, [one.id for one in train.queue]


@settings(max_examples=60, deadline=None)
@given(**histories)
def test_the_same_facts_give_the_same_plan(
    seed: int, slots: int, requests: int, share: int
) -> None:
    chance = random.Random(seed)
    train = a_train(chance, slots, requests, share)
    for _ in range(40):
        step(train, chance)
    for facts, made in train.plans:
        again = Facts(queue=list(facts.queue), landed=list(facts.landed), trials=list(facts.trials))
        assert plan(again, slots) == made
