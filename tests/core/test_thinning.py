"""Old snapshots become few, and what matters of them stays."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sf_mcp.core.thinning import HOURLY, NEWEST, kept

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

ages = st.timedeltas(timedelta(days=-2), timedelta(days=60))
histories = st.lists(ages, max_size=120).map(
    lambda found: [(number, NOON - age) for number, age in enumerate(sorted(found)[::-1], 1)]
)
jumping = st.lists(ages, max_size=120).map(
    lambda found: [(number, NOON - age) for number, age in enumerate(found, 1)]
)
pins = st.sets(st.integers(1, 120), max_size=10)


def every(minutes: int, *, over: timedelta) -> list[tuple[int, datetime]]:
    """One snapshot every so many minutes, the newest at noon."""
    number = int(over / timedelta(minutes=minutes))
    return [(n, NOON - timedelta(minutes=minutes * (number - n))) for n in range(1, number + 1)]


def test_few_snapshots_are_all_kept() -> None:
    taken = every(60 * 24 * 30, over=timedelta(days=30 * NEWEST))
    assert kept(taken, NOON) == set(range(1, NEWEST + 1))
    assert kept([], NOON) == set()


def test_a_week_of_turns_becomes_the_last_ones_the_hours_and_the_days() -> None:
    taken = every(5, over=timedelta(days=7))
    left = kept(taken, NOON)
    times = sorted(at for number, at in taken if number in left)
    assert times[-NEWEST:] == [at for _, at in taken[-NEWEST:]]
    hours = [at for at in times if NOON - HOURLY < at <= taken[-NEWEST][1]]
    assert {at.strftime("%d %H") for at in hours} == {
        (NOON - timedelta(hours=back)).strftime("%d %H") for back in range(2, 25)
    }
    assert all(at.minute == 55 for at in hours[:-1])
    days = [at for at in times if at < NOON - HOURLY]
    assert [at.strftime("%d %H:%M") for at in days] == [
        f"{day:02} 23:55" for day in (22, 23, 24, 25, 26, 27)
    ]


@given(jumping, pins)
def test_the_newest_and_what_is_named_is_always_kept(
    taken: list[tuple[int, datetime]], pinned: set[int]
) -> None:
    left = kept(taken, NOON, pinned)
    numbers = [number for number, _ in taken]
    assert left <= set(numbers)
    assert set(numbers[-NEWEST:]) <= left
    assert pinned & set(numbers) <= left


@given(jumping, pins)
def test_every_day_and_every_young_hour_keeps_its_newest(
    taken: list[tuple[int, datetime]], pinned: set[int]
) -> None:
    left = kept(taken, NOON, pinned)
    days = {at.strftime("%j"): number for number, at in taken}
    hours = {at.strftime("%j %H"): number for number, at in taken if NOON - at < HOURLY}
    assert {*days.values(), *hours.values()} <= left


@given(histories, pins)
def test_they_become_few(taken: list[tuple[int, datetime]], pinned: set[int]) -> None:
    days = {at.strftime("%j") for _, at in taken}
    young = {at.strftime("%j %H") for _, at in taken if NOON - at < HOURLY}
    most = NEWEST + len(days) + len(young) + len(pinned)
    assert len(kept(taken, NOON, pinned)) <= most


@given(jumping, pins, st.lists(st.timedeltas(timedelta(0), timedelta(days=9)), max_size=4))
def test_thinning_often_keeps_the_same_as_thinning_once(
    taken: list[tuple[int, datetime]], pinned: set[int], pauses: list[timedelta]
) -> None:
    now, left = NOON, taken
    for pause in pauses:
        now += pause
        keep = kept(left, now, pinned)
        left = [(number, at) for number, at in left if number in keep]
    assert kept(left, now, pinned) == kept(taken, now, pinned)
