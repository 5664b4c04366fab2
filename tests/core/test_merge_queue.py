"""What the merge queue's planner decides, told as examples; its rules in any history are held by
`test_merge_queue_properties.py`."""

import pytest

from sf_mcp.core.merge_queue import Facts, Landed, Outcome, Queued, RequestSet, Trial, plan
from sf_mcp.core.trial_choice import TURN_OF_THE_OLDEST
from sf_mcp.core.trial_evidence import read
from tests.core.builders_merge_queue import PaperTrain, a_world


def a_train(
    *ids: str,
    slots: int = 4,
    bad: tuple[str, ...] = (),
    clashes: tuple[tuple[str, str], ...] = (),
    flaky: dict[RequestSet, int] | None = None,
) -> PaperTrain:
    train = PaperTrain(slots=slots, verdicts=a_world(bad, clashes, flaky))
    train.arrive(*ids)
    return train


def many(count: int, first: int = 1) -> list[str]:
    return [f"M{number}" for number in range(first, first + count)]


def finish(train: PaperTrain, *requests: str) -> Outcome:
    """End the newest running trial of this very set."""
    number = next(one.number for one in train.running[::-1] if one.requests == requests)
    return train.finish(number)


def run_to_the_end(train: PaperTrain) -> None:
    """Let the oldest trial end first until nothing runs."""
    train.follow()
    while train.running:
        train.finish(train.running[0].number)
        train.follow()


def test_a_short_queue_is_a_chain_each_on_top_of_those_ahead_of_it() -> None:
    train = a_train("M1", "M2", "M3")
    train.follow()
    assert train.sets_running == [("M1",), ("M1", "M2"), ("M1", "M2", "M3")]


def test_a_long_queue_is_screened_in_groups_that_have_nobody_in_common() -> None:
    train = a_train(*many(40))
    train.follow()
    tried = [one for requests in train.sets_running for one in requests]
    assert len(train.sets_running) == 4
    assert all(len(requests) > 3 for requests in train.sets_running)
    assert len(tried) == len(set(tried))


def test_what_passed_in_groups_of_its_own_is_checked_and_lands_together() -> None:
    train = a_train(*many(40))
    train.follow()
    first, *others = train.sets_running
    for requests in (first, *others):
        finish(train, *requests)
        train.follow()
    assert train.landed[1].requests == first
    assert any(
        set(others[0]) | set(others[1]) <= set(requests) for requests in train.sets_running
    ) or any(set(others[0]) <= set(requests) for requests in train.sets_running)
    run_to_the_end(train)
    assert set(train.history) == set(many(40))
    assert len(train.trials) < 20


def test_groups_are_smaller_where_requests_are_often_bad() -> None:
    def rate_and_first_group(bad: tuple[str, ...]) -> tuple[float, int]:
        train = a_train(*many(20), slots=1, bad=bad)
        run_to_the_end(train)
        train.arrive(*many(60, first=100))
        train.follow()
        return read(train.facts).bad_rate, len(train.sets_running[0])

    few, large = rate_and_first_group(())
    often, small = rate_and_first_group(tuple(many(10)))
    assert few < 0.1 < 0.3 < often
    assert small < large


def test_the_longest_prefix_that_passed_lands_and_what_goes_on_is_valid_still() -> None:
    train = a_train("M1", "M2", "M3")
    train.follow()
    finish(train, "M1", "M2")
    plan = train.follow()
    assert train.history == ("M1", "M2")
    assert [one.requests for one in plan.run] == [("M3",)]
    assert train.sets_running == [("M1", "M2", "M3")]
    finish(train, "M1", "M2", "M3")
    train.follow()
    assert train.history == ("M1", "M2", "M3")
    assert len(train.trials) == 3


def test_what_can_no_longer_matter_is_cancelled() -> None:
    train = a_train("M1", "M2", "M3", bad=("M1",))
    train.follow()
    finish(train, "M1")
    train.follow()
    assert [one.requests for one in train.trials if one.outcome is Outcome.CANCELLED] == [
        ("M1", "M2"),
        ("M1", "M2", "M3"),
    ]


def test_a_failure_repeats_on_the_same_tree_before_it_evicts() -> None:
    train = a_train("M1", bad=("M1",))
    train.follow()
    finish(train, "M1")
    assert not train.follow().evict
    assert train.evicted == []
    finish(train, "M1")
    train.follow()
    assert train.evicted == ["M1"]
    assert train.trees[1] == train.trees[2]


def test_it_repeats_on_the_same_tree_also_when_the_target_has_moved_on_since() -> None:
    train = a_train("M1", "M2", bad=("M1",))
    train.follow()
    finish(train, "M1")
    train.follow()
    # The server is killed meanwhile, so that the repetition has to begin anew.
    (repetition,) = [one.number for one in train.running if one.requests == ("M1",)]
    train.end(repetition, Outcome.CANCELLED)
    finish(train, "M2")
    train.follow()
    assert train.history == ("M2",)
    run_to_the_end(train)
    assert train.evicted == ["M1"]
    assert [train.trees[one.number] for one in train.trials if one.requests == ("M1",)] == [
        ("M1",),
        ("M1",),
        ("M1",),
    ]


def test_it_repeats_in_the_next_free_slot_however_much_waits() -> None:
    train = a_train("M1", bad=("M1",), slots=2)
    train.follow()
    train.arrive(*many(60, first=100))
    finish(train, "M1")
    train.follow()
    assert ("M1",) in train.sets_running


def test_a_flaky_failure_evicts_nobody() -> None:
    train = a_train("M1", flaky={("M1",): 1})
    run_to_the_end(train)
    assert (train.history, train.evicted) == (("M1",), [])
    assert [one.outcome for one in train.trials] == [Outcome.FAILED, Outcome.PASSED]


def test_what_failed_together_is_halved_and_the_bad_one_is_found() -> None:
    train = a_train(*many(16), slots=1, bad=("M5",))
    run_to_the_end(train)
    assert train.evicted == ["M5"]
    assert set(train.history) == set(many(16)) - {"M5"}
    assert len(train.trials) <= 14


def test_one_half_of_what_failed_is_checked_before_another_group() -> None:
    train = a_train(*many(60), slots=2)
    train.follow()
    first = train.sets_running[0]
    train.end(train.running[0].number, Outcome.FAILED)
    train.follow()
    assert train.sets_running[-1] == first[: len(first) // 2]


def test_nobody_is_blamed_for_a_failure_that_a_part_of_the_set_explains() -> None:
    trials = [
        Trial(number=1, base=1, requests=("M1", "M2", "M3"), outcome=Outcome.FAILED),
        Trial(number=2, base=1, requests=("M1", "M2"), outcome=Outcome.FAILED),
        Trial(number=3, base=1, requests=("M4", "M1", "M2", "M5"), outcome=Outcome.RUNNING),
    ]
    facts = Facts(
        queue=[Queued(id=one) for one in many(5)],
        landed=[Landed(number=1, requests=())],
        trials=trials,
    )
    assert [blame.requests for blame in read(facts).blames] == [("M1", "M2")]
    assert 3 not in plan(facts, 4).go_on, "what holds a set that failed is in vain"


def test_of_two_that_fail_only_together_one_lands() -> None:
    for slots in (1, 4):
        train = a_train(*many(16), slots=slots, clashes=(("M3", "M11"),))
        run_to_the_end(train)
        assert len(train.evicted) == 1
        assert train.evicted[0] in ("M3", "M11")
        assert len(train.history) == 15
        assert len(train.trials) <= 24


def test_independent_work_never_waits_behind_a_failing_request() -> None:
    train = a_train(*many(6), slots=2, bad=("M1",))
    for _ in range(60):
        train.follow()
        others = [one for one in train.running if one.requests != ("M1",)]
        if not others:
            break
        train.finish(others[0].number)
    assert set(train.history) == set(many(6)) - {"M1"}, "although no trial of M1 alone has ended"


def test_dependencies_land_in_order() -> None:
    train = a_train()
    train.arrive("M1", after=frozenset({"M2"}))
    train.arrive("M2")
    train.follow()
    assert ("M2",) in train.sets_running
    run_to_the_end(train)
    assert train.history == ("M2", "M1")


def test_what_depends_on_a_failing_request_is_judged_without_it_once_that_is_gone() -> None:
    train = a_train("M1", bad=("M1",))
    train.arrive("M2", after=frozenset({"M1"}))
    run_to_the_end(train)
    assert (train.history, train.evicted) == (("M2",), ["M1"])


def test_a_conflicting_pair_is_never_in_one_set() -> None:
    train = a_train("M1")
    train.arrive("M2", conflicts=frozenset({"M1"}))
    train.arrive("M3")
    train.follow()
    assert ("M1", "M3") in train.sets_running
    assert not any({"M1", "M2"} <= set(requests) for requests in train.sets_running)


def test_the_first_in_the_queue_is_checked_in_the_next_free_slot() -> None:
    train = a_train(*many(40), slots=2)
    train.follow()
    newcomer = "M99"
    train.arrive(newcomer)
    train.queue.insert(0, train.queue.pop())
    train.finish(train.running[0].number)
    train.follow()
    assert newcomer in train.sets_running[-1]


def test_what_nobody_approved_is_checked_and_does_not_land() -> None:
    train = a_train()
    train.arrive("M1", may_land=False)
    train.follow()
    finish(train, "M1")
    train.follow()
    assert (train.history, train.running) == ((), [])
    train.change("M1", may_land=True)
    train.follow()
    assert train.history == ("M1",), "it passed on this very tree: nothing is to be checked again"
    assert len(train.trials) == 1


def test_with_one_slot_verdicts_and_landings_take_turns() -> None:
    train = a_train(*many(400), slots=1)
    train.arrive(*many(400, first=500), may_land=False)
    kinds: list[bool] = []
    for _ in range(8):
        train.follow()
        (running,) = train.running
        waiting = {one.id: one for one in train.queue}
        kinds.append(all(waiting[one].may_land for one in running.requests))
        train.finish(running.number)
    assert 2 <= sum(kinds) <= 6


def test_a_trial_that_ran_in_part_lands_nothing() -> None:
    train = a_train()
    train.arrive(*many(30), may_land=False)
    train.follow()
    assert not any(one.is_full for one in train.running), "a long queue is screened by paths"
    for one in train.running:
        train.finish(one.number)
    for request in many(30):
        train.change(request, may_land=True)
    train.follow()
    assert train.history == ()
    assert all(one.is_full for one in train.running)


def test_checks_that_could_not_start_say_nothing() -> None:
    train = a_train("M1")
    train.follow()
    train.end(train.running[0].number, Outcome.NOT_STARTED)
    known = read(train.facts)
    assert not known.doubted
    assert not known.blames
    assert not known.vetted


def test_what_cannot_be_merged_onto_the_target_is_not_tried_again_there() -> None:
    train = a_train("M1")
    train.follow()
    train.end(train.running[0].number, Outcome.CONFLICTED)
    train.follow()
    assert (train.running, train.evicted) == ([], [])
    train.arrive("M2")
    train.follow()
    assert train.sets_running == [("M2",)]
    train.move_from_elsewhere()
    train.follow()
    assert ("M1",) in train.sets_running


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_who_waits_longest_is_decided_however_many_more_urgent_ones_come(slots: int) -> None:
    train = a_train("M0", slots=slots)
    number = 1
    while "M0" not in train.history:
        # Always enough urgent ones for more groups than there are slots.
        while len(train.queue) < 100 * slots:
            train.arrive(f"M{number}")
            train.queue.insert(0, train.queue.pop())
            number += 1
        train.follow()
        train.finish(train.running[0].number)
        assert len(train.trials) < 12 * TURN_OF_THE_OLDEST * slots
        train.follow()


def test_a_landing_waits_for_a_larger_set_under_way_that_it_would_make_worthless() -> None:
    large = tuple(many(9))

    def land(outcome_of_large: Outcome, number: int = 2) -> RequestSet:
        trials = (
            Trial(number=1, base=1, requests=large, outcome=Outcome.PASSED),
            Trial(number=number, base=2, requests=large, outcome=outcome_of_large),
            Trial(number=3, base=2, requests=("M10",), outcome=Outcome.PASSED),
        )
        landed = (Landed(number=1, requests=()), Landed(number=2, requests=("M11",)))
        return plan(
            Facts(queue=[Queued(id=one) for one in many(10)], landed=landed, trials=trials), 4
        ).land

    assert land(Outcome.RUNNING) == ()
    assert land(Outcome.FAILED) == ("M10",)
    assert land(Outcome.PASSED) == large
    assert land(Outcome.RUNNING, number=99) == ("M10",), "not for all that began long after it"


def test_with_fewer_slots_than_before_fewer_sets_go_on() -> None:
    train = a_train(*many(40), slots=4)
    train.follow()
    train.slots = 2
    train.follow()
    assert len(train.running) == 2


def test_what_passed_on_a_target_that_has_moved_elsewhere_since_does_not_land() -> None:
    train = a_train("M1")
    train.follow()
    number = train.running[0].number
    train.move_from_elsewhere()
    train.finish(number)
    train.follow()
    assert train.history == ("upstream 2",)
    assert train.sets_running == [("M1",)]
