"""The plan of a drill: all of it from the seed."""

from collections import Counter

import pytest

from launcher.rehearsal.faults import BLOCK, OF_EVERYBODY, Faults, fault_of, of_workers
from launcher.rehearsal.injections import REQUIRED, Phase, Victim, plan
from sf_mcp.core.models import Role


def test_a_seed_always_gives_the_same_plan_and_another_seed_another_one() -> None:
    assert plan(7, 50) == plan(7, 50)
    assert plan(7, 50) != plan(8, 50)


def test_half_of_the_kills_are_aimed_evenly_and_the_others_at_nothing() -> None:
    aims = Counter(one.aim for one in plan(1, 100) if one.aim is not Phase.FENCE)

    assert aims[None] == 50
    assert {phase: aims[phase] for phase in REQUIRED} == {
        Phase.LANDING: 13,
        Phase.SNAPSHOT: 13,
        Phase.CLAIM: 12,
        Phase.CHECK: 12,
    }


def test_aimed_kills_hit_the_server_alone_or_all_at_once() -> None:
    aimed = {one.victim for one in plan(1, 200) if one.aim in REQUIRED}
    assert aimed == {Victim.SERVER, Victim.EVERYTHING}


def test_everybody_is_hit_sometime_and_freezes_come_besides() -> None:
    injections = plan(1, 100)
    victims = Counter(one.victim for one in injections)

    assert set(victims) == set(Victim)
    assert len(injections) - victims[Victim.FROZEN] == 100
    assert [one.number for one in injections] == list(range(1, len(injections) + 1))


def test_with_aims_every_kill_is_aimed_and_at_these_alone() -> None:
    injections = plan(3, 5, [Phase.FENCE, Phase.LANDING])

    assert Counter(one.aim for one in injections) == {Phase.FENCE: 3, Phase.LANDING: 2}
    assert {one.victim for one in injections if one.aim is Phase.FENCE} == {Victim.FROZEN}


@pytest.mark.parametrize("block", [0, 1, 17])
def test_each_fault_comes_once_in_a_block_of_requests(block: int) -> None:
    numbers = range(block * BLOCK, (block + 1) * BLOCK)
    found = [fault_of(number, OF_EVERYBODY, seed="1") for number in numbers]

    happened = Counter(fault.name for fault in found if fault is not None)
    assert happened == Counter(fault.name for fault in OF_EVERYBODY)
    assert found != [fault_of(number, OF_EVERYBODY, seed="2") for number in numbers]


def test_only_workers_meet_a_full_context_and_every_fault_is_counted() -> None:
    filled = of_workers(140_000, 160_000, 176_000)
    faults = Faults(1, filled)

    stewards = [faults.next(Role.STEWARD) for _ in range(3 * BLOCK)]
    workers = [faults.next(Role.WORKER) for _ in range(2 * BLOCK)]

    assert not any(step is not None and step.fill for step in stewards)
    assert {step.fill for step in workers if step is not None} == {
        None,
        140_001,
        160_001,
        176_001,
    }
    happened = [step for step in (*stewards, *workers) if step is not None]
    assert sum(faults.counts.values()) == len(happened)
    assert set(faults.counts) == {fault.name for fault in (*OF_EVERYBODY, *filled)}


def test_nothing_goes_wrong_any_more_once_faults_are_stopped() -> None:
    faults = Faults(1, ())
    faults.stop()
    assert not any(faults.next(Role.WORKER) for _ in range(2 * BLOCK))
