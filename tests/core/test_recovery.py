"""Who goes on after a session's end, and after what wait."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sf_mcp.core.models import FAILURES, EndKind, Lease, SessionId
from sf_mcp.core.recovery import (
    LONGEST_WAIT,
    RESUMED,
    WAITED_OUT,
    doubled,
    is_resumed,
    wait_after,
    wait_ends,
)

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def attempts(*ends: EndKind, lasting: float = 10, subject: str = "T1") -> list[Lease]:
    """Return ended leases, given and returned newest first; the newest ended at noon."""
    return [
        Lease(
            number=len(ends) - age,
            subject=subject,
            session_id=SessionId("s"),
            fence=len(ends) - age,
            granted_at=NOON - timedelta(minutes=age, seconds=lasting),
            expires_at=NOON,
            ended_at=NOON - timedelta(minutes=age),
            end=end,
            end_detail="",
        )
        for age, end in enumerate(ends)
    ]


GOES_ON = {
    EndKind.KILLED,
    EndKind.FAILED_TO_START,
    EndKind.STOPPED,
    EndKind.TAKEN_OVER,
    EndKind.LEASE_EXPIRED,
    EndKind.USAGE_LIMIT,
    EndKind.OVERLOADED,
    EndKind.AUTHENTICATION,
    EndKind.BAD_CONFIGURATION,
}


@pytest.mark.parametrize("kind", EndKind)
def test_what_ended_from_outside_goes_on_and_what_the_session_itself_ended_does_not(
    kind: EndKind,
) -> None:
    assert is_resumed(attempts(kind)) is (kind in GOES_ON)
    assert (kind in RESUMED) is (kind in GOES_ON)


def test_nothing_goes_on_that_was_never_tried() -> None:
    assert not is_resumed([])
    assert wait_after([], is_resumed=False) == timedelta(0)


def test_after_two_crashes_in_a_row_a_fresh_session_takes_over() -> None:
    killed, failed = EndKind.KILLED, EndKind.FAILED_TO_START
    assert is_resumed(attempts(killed))
    assert not is_resumed(attempts(killed, killed))
    assert not is_resumed(attempts(failed, killed))
    assert is_resumed(attempts(killed, EndKind.STOPPED, killed))
    assert is_resumed(attempts(EndKind.STOPPED, killed, killed))


def test_a_crash_after_minutes_of_work_begins_a_new_row() -> None:
    steady = attempts(EndKind.KILLED, EndKind.KILLED, EndKind.KILLED, lasting=300)
    assert is_resumed(steady)
    assert wait_after(steady, is_resumed=True) == timedelta(0)


@pytest.mark.parametrize("kind", sorted(set(EndKind) - WAITED_OUT))
def test_only_a_failure_is_waited_out(kind: EndKind) -> None:
    assert wait_after(attempts(kind), is_resumed=False) == timedelta(0)
    assert wait_after(attempts(kind, EndKind.KILLED), is_resumed=True) == timedelta(0)


@pytest.mark.parametrize("kind", sorted(FAILURES))
def test_each_failure_in_a_row_is_waited_out_about_twice_as_long(kind: EndKind) -> None:
    for number, seconds in enumerate((2, 4, 8, 16, 32), start=1):
        waited = wait_after(attempts(*[kind] * number), is_resumed=False)
        assert timedelta(seconds=0.75 * seconds) <= waited < timedelta(seconds=1.25 * seconds)


def test_a_first_crash_is_resumed_without_a_wait() -> None:
    assert wait_after(attempts(EndKind.KILLED), is_resumed=True) == timedelta(0)
    assert wait_after(attempts(EndKind.KILLED, EndKind.NO_OUTCOME), is_resumed=True) > timedelta(0)


def test_a_lost_conversation_is_followed_by_a_fresh_session_at_once_unless_it_repeats() -> None:
    lost, killed = EndKind.CONVERSATION_LOST, EndKind.KILLED
    assert lost not in FAILURES
    assert wait_after(attempts(lost, killed), is_resumed=False) == timedelta(0)
    assert wait_after(attempts(lost, lost), is_resumed=False) > timedelta(0)


def test_what_failed_together_does_not_start_together_and_waits_the_same_when_asked_again() -> None:
    waits = [
        wait_after(attempts(EndKind.KILLED, EndKind.KILLED, subject=f"T{n}"), is_resumed=False)
        for n in range(100)
    ]
    assert len(set(waits)) > 90
    again = wait_after(attempts(EndKind.KILLED, EndKind.KILLED, subject="T7"), is_resumed=False)
    assert again == waits[7]


def test_a_wait_ends_and_one_that_began_in_the_future_is_over() -> None:
    failed = attempts(EndKind.KILLED, EndKind.KILLED)
    until = wait_ends(failed, now=NOON, is_resumed=False)
    assert until is not None
    assert NOON < until < NOON + timedelta(seconds=6)
    assert wait_ends(failed, now=until, is_resumed=False) is None
    # The clock was put back by a day.
    assert wait_ends(failed, now=NOON - timedelta(days=1), is_resumed=False) is None


@given(
    failures=st.integers(min_value=0, max_value=10**6),
    random=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_a_wait_is_bounded_whatever_the_count(failures: int, random: float) -> None:
    assert timedelta(0) <= doubled(failures, random=random) <= LONGEST_WAIT


def test_jitter_spreads_starts_by_a_quarter() -> None:
    assert doubled(3, random=0.0) == timedelta(seconds=6)
    assert doubled(3, random=0.5) == timedelta(seconds=8)
