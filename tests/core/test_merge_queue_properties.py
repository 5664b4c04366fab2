"""The planner in any history: arrivals, verdicts, approvals and foreign moves in any order.

`PaperTrain` holds each plan to the rules as it follows it.
"""

import json
import random
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sf_mcp.core import merge_queue
from sf_mcp.core.merge_queue import (
    PATIENCE,
    Facts,
    Landed,
    Outcome,
    Queued,
    RequestSet,
    Trial,
    plan,
)
from tests.core.builders_merge_queue import PaperTrain, Verdicts, a_world

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


@settings(max_examples=150, deadline=None)
@given(**histories, patience=st.sampled_from((1, 3, PATIENCE)))
def test_no_request_starves_whatever_the_verdicts(
    seed: int, slots: int, requests: int, share: int, patience: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_queue, "PATIENCE", patience)
        all_are_decided(seed, slots, requests, share)


def all_are_decided(seed: int, slots: int, requests: int, share: int) -> None:
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
@given(seed=st.integers(0, 10**9), slots=st.integers(1, 6), requests=st.integers(2, 20))
def test_what_is_cancelled_would_not_have_landed(seed: int, slots: int, requests: int) -> None:
    """In a world without flakes: what is cancelled on the present target must fail there."""
    chance = random.Random(seed)
    train = a_train(chance, slots, requests, 0)
    ids = [one.id for one in train.queue]
    train.verdicts = a_world(
        [one for one in ids if chance.random() < 0.2],
        [(one, chance.choice(ids)) for one in ids if chance.random() < 0.2],
    )
    for one in ids:
        train.change(one, may_land=True)
    while train.queue:
        before = {one.number for one in train.running}
        tree_before = train.history
        train.follow()
        for one in train.trials:
            if one.number in before and one.outcome is Outcome.CANCELLED:
                tree = train.trees[one.number]
                would_land = tree[: len(train.history)] == train.history and set(
                    tree[len(train.history) :]
                ) <= {other.id for other in train.queue}
                if would_land and train.history == tree_before:
                    assert train.verdicts(tree, 0) is Outcome.FAILED
        if train.running:
            train.finish(chance.choice(train.running).number)


@settings(max_examples=60, deadline=None)
@given(**histories)
def test_the_same_facts_give_the_same_plan_also_from_their_stored_form(
    seed: int, slots: int, requests: int, share: int
) -> None:
    chance = random.Random(seed)
    train = a_train(chance, slots, requests, share)
    for _ in range(40):
        step(train, chance)
    for facts, made in train.plans:
        assert plan(facts, slots) == made
        assert plan(stored_and_read(facts), slots) == made


def stored_and_read(facts: Facts) -> Facts:
    """Return the facts as they come from text, sets in whatever order."""
    read = json.loads(json.dumps(asdict(facts), default=lambda ids: sorted(ids, reverse=True)))
    return Facts(
        queue=[
            Queued(**one | {key: frozenset(one[key]) for key in ("after", "conflicts")})
            for one in read["queue"]
        ],
        landed=[Landed(**one | {"requests": tuple(one["requests"])}) for one in read["landed"]],
        trials=[
            Trial(**one | {"requests": tuple(one["requests"]), "outcome": Outcome(one["outcome"])})
            for one in read["trials"]
        ],
    )
