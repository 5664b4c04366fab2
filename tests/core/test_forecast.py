"""The forecast: list scheduling over measured durations, and what it says when nobody knows."""

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sf_mcp.core.forecast import (
    UNKNOWN,
    Job,
    Outlook,
    Pace,
    Worked,
    clock,
    expected,
    rounded,
    schedule,
    still,
)
from sf_mcp.core.models import PlanId, TaskId

NOW = datetime(2026, 3, 1, 12, 2, 30, tzinfo=UTC)
P1, P2 = PlanId("P1"), PlanId("P2")


def a_job(number: int, *after: int, work: float = 10.0, landing: float = 0.0) -> Job:
    return Job(
        id=TaskId(f"T{number}"),
        order=(number,),
        after=tuple(TaskId(f"T{one}") for one in after),
        work=work,
        landing=landing,
    )


def landed(jobs: list[Job], slots: int) -> dict[str, float]:
    return {task_id: one.landed for task_id, one in schedule(jobs, slots).items()}


@st.composite
def plans_of_work(draw: st.DrawFn, *, may_be_unknown: bool = True) -> list[Job]:
    """Draw jobs, each after some of those before it."""
    known = st.floats(0, 1000)
    seconds = st.one_of(known, st.just(UNKNOWN)) if may_be_unknown else known
    jobs: list[Job] = []
    for number in range(draw(st.integers(1, 12))):
        after = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set[int]()
        is_under_way = not after and draw(st.booleans())
        jobs.append(
            Job(
                id=TaskId(f"T{number}"),
                order=(draw(st.integers(1, 5)), number),
                after=tuple(TaskId(f"T{one}") for one in sorted(after)),
                work=draw(seconds),
                landing=draw(seconds),
                earliest=draw(st.sampled_from([0.0, 0.0, 50.0])),
                has_slot=is_under_way and draw(st.booleans()),
            )
        )
    return jobs


# -- the schedule ----------------------------------------------------------------------------------


def test_with_two_slots_two_start_at_once_and_the_third_when_one_is_free() -> None:
    found = schedule([a_job(1, work=10), a_job(2, work=4), a_job(3, work=1)], 2)
    assert found[TaskId("T3")] == Outlook(start=4, end=5, landed=5)


def test_what_waits_starts_when_the_other_has_landed_and_not_when_it_is_handed_in() -> None:
    found = schedule([a_job(1, work=10, landing=5), a_job(2, 1, work=3)], 4)
    assert found[TaskId("T2")] == Outlook(start=15, end=18, landed=18)


def test_the_ready_order_decides_who_takes_the_free_slot() -> None:
    first, second, urgent = a_job(1), a_job(2), Job(id=TaskId("T3"), order=(0,), work=10)
    assert landed([first, second, urgent], 1) == {"T1": 20, "T2": 30, "T3": 10}


def test_one_that_is_handed_in_needs_no_slot() -> None:
    done = Job(id=TaskId("T1"), order=(1,), landing=7, is_handed_in=True)
    assert landed([done, a_job(2, work=3)], 1) == {"T1": 7, "T2": 3}


def test_one_that_is_being_worked_on_holds_its_slot_although_there_are_fewer_now() -> None:
    running = [Job(id=TaskId(f"T{n}"), order=(n,), work=10.0 * n, has_slot=True) for n in (1, 2, 3)]
    assert landed([*running, a_job(4, work=5)], 1)["T4"] == 35


def test_what_hangs_on_something_unknown_is_unknown() -> None:
    unknown = a_job(1, work=UNKNOWN)
    assert landed([unknown, a_job(2, 1), a_job(3)], 2) == {"T1": UNKNOWN, "T2": UNKNOWN, "T3": 10}
    # And what finds no slot because of it.
    assert landed([unknown, a_job(3)], 1)["T3"] == UNKNOWN


def test_what_somebody_has_to_release_never_starts_by_itself() -> None:
    held = Job(id=TaskId("T1"), order=(1,), work=1, earliest=UNKNOWN)
    gone = a_job(2, 9)
    assert schedule([held, gone], 3) == {"T1": Outlook(), "T2": Outlook()}


@given(plans_of_work(), st.integers(1, 4))
def test_nothing_is_before_now_or_before_what_it_waits_for(jobs: list[Job], slots: int) -> None:
    found = schedule(jobs, slots)
    for job in jobs:
        one = found[job.id]
        assert 0 <= one.start <= one.end <= one.landed
        if not job.has_slot:
            assert one.start >= max([job.earliest, *(found[on].landed for on in job.after)])


@given(plans_of_work(), st.integers(1, 4))
def test_no_more_are_worked_on_at_once_than_there_are_slots(jobs: list[Job], slots: int) -> None:
    found = schedule(jobs, slots)
    already = sum(job.has_slot for job in jobs)
    spans = [found[job.id] for job in jobs if job.work > 0 and found[job.id].start < UNKNOWN]
    for span in spans:
        at_once = sum(one.start <= span.start < one.end for one in spans)
        assert at_once <= max(slots, already)


@given(plans_of_work(may_be_unknown=False), st.integers(1, 4))
def test_all_is_over_within_the_bound_that_graham_proved(jobs: list[Job], slots: int) -> None:
    chains: dict[TaskId, float] = {}
    for job in jobs:
        before = max((chains[on] for on in job.after), default=0.0)
        chains[job.id] = max(before, job.earliest) + job.work + job.landing
    over = max(one.landed for one in schedule(jobs, slots).values())
    assert over <= sum(job.work for job in jobs) / slots + max(chains.values()) + 1e-6


@given(plans_of_work(may_be_unknown=False))
def test_with_a_slot_for_each_it_is_the_longest_chain(jobs: list[Job]) -> None:
    found = schedule(jobs, len(jobs))
    for job in jobs:
        begins = max([0.0, *(found[on].landed for on in job.after)])
        if not job.has_slot:
            begins = max(begins, job.earliest)
        assert math.isclose(found[job.id].landed, begins + job.work + job.landing, abs_tol=1e-6)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=10))
def test_what_waits_for_nothing_is_never_later_with_more_slots(works: list[float]) -> None:
    """With dependencies it may be: Graham's anomalies."""
    jobs = [a_job(number, work=work) for number, work in enumerate(works)]
    for fewer, more in pairwise([landed(jobs, slots) for slots in range(1, 5)]):
        assert all(more[one] <= fewer[one] + 1e-9 for one in fewer)


# -- how long --------------------------------------------------------------------------------------


def worked(*minutes: float, plan: PlanId = P1, estimate: float | None = None) -> list[Worked]:
    return [Worked(plan_id=plan, estimate_minutes=estimate, seconds=one * 60) for one in minutes]


def test_where_nothing_was_measured_and_nothing_estimated_nobody_knows() -> None:
    assert Pace().of_work(P1, None) == UNKNOWN


def test_few_measurements_leave_the_estimate_as_it_is() -> None:
    pace = Pace(worked=worked(1, 1, estimate=10))
    assert pace.of_work(P1, 30) == 30 * 60


def test_estimates_are_scaled_by_what_the_estimated_took() -> None:
    pace = Pace(worked=worked(2, 5, 6, estimate=10))
    assert pace.of_work(P1, 30) == 15 * 60


def test_without_an_estimate_it_is_what_is_usual_in_the_plan() -> None:
    pace = Pace(worked=[*worked(1, 2, 3), *worked(10, 20, 30, plan=P2)])
    assert pace.of_work(P1, None) == 2 * 60
    assert pace.of_work(PlanId("P3"), None) == 6.5 * 60


def test_the_estimates_of_the_plan_count_before_a_single_measurement() -> None:
    pace = Pace(worked=worked(1), estimates={P1: 20})
    assert pace.of_work(P1, None) == 20 * 60
    assert pace.of_work(P2, None) == 60


def test_of_one_that_takes_longer_than_others_some_is_always_still_to_come() -> None:
    assert (still(100, 30), still(100, 500)) == (70, 25)


# -- in words --------------------------------------------------------------------------------------


def test_a_time_is_said_no_more_exactly_than_it_is_known() -> None:
    pace = Pace(worked=worked(10, 10, 10, 20, 40))
    said = expected(3600, NOW, pace)
    assert said.at == datetime(2026, 3, 1, 13, 5, tzinfo=UTC)
    assert said.words == "about 13:05 UTC, between 13:05 and 15:15 (by what 5 tasks took)"


def test_without_measurements_it_says_what_it_rests_on() -> None:
    words = expected(3600, NOW, Pace()).words
    assert words == (
        "about 13:05 UTC, between 12:35 and 14:05 (by the estimates; too little has been measured "
        "yet)"
    )


@given(st.floats(0, 10_000_000))
def test_a_rounded_time_is_never_before_the_time_itself(seconds: float) -> None:
    exact = NOW + timedelta(seconds=seconds)
    assert exact <= rounded(seconds, NOW) <= exact + timedelta(hours=1)


def test_another_day_is_named() -> None:
    at = rounded(20 * 3600, NOW)
    assert clock(at, NOW) == "2026-03-02 09:00"
