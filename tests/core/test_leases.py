"""Leases one step at a time; `test_lease_properties` takes them in any order."""

from datetime import UTC, datetime, timedelta

import pytest

from sf_mcp.core.errors import AlreadyClaimed, StaleLease
from sf_mcp.core.leases import check_token, end, grant, is_live, renew
from sf_mcp.core.models import EndKind, Lease, SessionId
from tests.core.builders_leases import is_expired, is_held

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TWO_MINUTES = timedelta(minutes=2)
ANN, BOB = SessionId("session-ann"), SessionId("session-bob")


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def a_lease(
    session_id: SessionId = ANN,
    *,
    newest: Lease | None = None,
    now: datetime = NOON,
    number: int = 1,
) -> Lease:
    return grant(
        "T12",
        session_id,
        number=number,
        newest=newest,
        now=now,
        duration=TWO_MINUTES,
    )


def test_the_first_claim_gets_the_first_fencing_token() -> None:
    assert a_lease() == Lease(
        number=1,
        subject="T12",
        session_id=ANN,
        fence=1,
        granted_at=NOON,
        expires_at=after(120),
        ended_at=None,
        end=None,
        end_detail="",
    )


def test_a_lease_is_live_until_its_time_is_up_and_held_until_it_is_ended() -> None:
    lease = a_lease()
    assert is_live(lease, after(119))
    assert not is_expired(lease, after(119))
    assert not is_live(lease, after(120))
    assert is_expired(lease, after(120))
    assert is_held(lease)
    assert is_held(lease, ANN)
    assert not is_held(lease, BOB)
    ended = end(lease, EndKind.LEASE_EXPIRED, now=after(121))
    assert not is_held(ended)
    assert not is_live(ended, NOON)
    assert not is_expired(ended, after(500))
    assert not is_held(None)


def test_a_second_session_cannot_claim_what_is_held() -> None:
    with pytest.raises(AlreadyClaimed) as caught:
        grant(
            "T12",
            BOB,
            number=2,
            newest=a_lease(),
            now=after(5),
            duration=TWO_MINUTES,
            holder="worker-1",
        )
    assert caught.value.message == (
        "T12 is held by session worker-1, whose lease runs until 2026-03-01 12:02:00 UTC "
        "unless it is renewed."
    )


def test_a_lease_whose_time_is_up_still_excludes_others_until_it_is_ended() -> None:
    lease = a_lease()
    with pytest.raises(AlreadyClaimed, match=r"ran out at 2026-03-01 12:02:00 UTC and is about"):
        a_lease(BOB, newest=lease, now=after(500))
    ended = end(lease, EndKind.LEASE_EXPIRED, now=after(500))
    assert a_lease(BOB, newest=ended, now=after(500)).fence == 2


def test_the_same_session_gets_the_same_claim_again() -> None:
    lease = a_lease()
    again = a_lease(newest=lease, now=after(60), number=2)
    assert (again.number, again.fence, again.granted_at) == (1, 1, NOON)
    assert again.expires_at == after(180)


def test_the_fencing_token_rises_above_the_newest_leases() -> None:
    ended = end(a_lease(), EndKind.RELEASED, now=after(1))
    assert a_lease(BOB, newest=ended).fence == ended.fence + 1


def test_a_renewal_never_shortens_a_lease() -> None:
    lease = a_lease()
    assert renew(lease, now=after(100), duration=TWO_MINUTES).expires_at == after(220)
    assert renew(lease, now=after(-3600), duration=TWO_MINUTES) == lease
    assert renew(lease, now=after(1), duration=timedelta(seconds=1)) == lease


def test_a_late_renewal_is_accepted_while_nobody_has_ended_the_lease() -> None:
    renewed = renew(a_lease(), now=after(500), duration=TWO_MINUTES)
    assert is_live(renewed, after(619))


def test_an_ended_lease_cannot_be_renewed() -> None:
    ended = end(a_lease(), EndKind.LEASE_EXPIRED, now=after(130), detail="no heartbeat for 120 s")
    with pytest.raises(StaleLease) as caught:
        renew(ended, now=after(131), duration=TWO_MINUTES)
    assert str(caught.value) == (
        "The lease on T12 cannot be renewed: it ended at 2026-03-01 12:02:10 UTC: lease expired "
        "(no heartbeat for 120 s). Your work is kept on the branch; stop working on this task."
    )


def test_a_lease_keeps_its_first_end_and_never_ends_before_it_was_granted() -> None:
    ended = end(a_lease(), EndKind.HANDED_OFF, now=after(-60), detail="context")
    assert ended.ended_at == NOON
    assert end(ended, EndKind.KILLED, now=after(60)) == ended


def test_the_holder_may_write_also_when_its_time_is_up_but_nobody_ended_it() -> None:
    lease = a_lease()
    assert check_token(lease, ANN, 1, "T12") is lease


def a_refusal(newest: Lease | None, fence: int = 1, holder: str = "") -> str:
    with pytest.raises(StaleLease) as caught:
        check_token(newest, ANN, fence, "T12", holder=holder)
    assert caught.value.remedy == "Your work is kept on the branch; stop working on this task."
    return caught.value.message


def test_a_stale_fencing_token_is_told_who_holds_the_task_now() -> None:
    ended = end(a_lease(), EndKind.LEASE_EXPIRED, now=after(130))
    theirs = a_lease(BOB, newest=ended, now=after(140))
    assert a_refusal(theirs, holder="worker-2") == (
        "Your claim on T12 (fencing token 1) does not hold it: session worker-2 holds it now, "
        "with token 2."
    )
    assert a_refusal(theirs) == (
        "Your claim on T12 (fencing token 1) does not hold it: session session-bob holds it now, "
        "with token 2."
    )


def test_a_stale_fencing_token_is_told_how_the_newest_claim_ended() -> None:
    first = end(a_lease(), EndKind.LEASE_EXPIRED, now=after(130))
    second = a_lease(BOB, newest=first, now=after(140))
    over = end(second, EndKind.MERGE_REQUESTED, now=after(200), detail="M7")
    assert a_refusal(over, holder="worker-2") == (
        "Your claim on T12 (fencing token 1) does not hold it: session worker-2 had the newest "
        "claim, with token 2; it ended at 2026-03-01 12:03:20 UTC: merge requested (M7)."
    )


def test_an_ended_claim_is_told_how_and_when_it_ended() -> None:
    ended = end(a_lease(), EndKind.LEASE_EXPIRED, now=after(130))
    assert a_refusal(ended) == (
        "Your claim on T12 (fencing token 1) is over: "
        "it ended at 2026-03-01 12:02:10 UTC: lease expired."
    )


def test_an_older_or_invented_token_of_the_same_session_is_refused() -> None:
    again = a_lease(newest=end(a_lease(), EndKind.STOPPED, now=after(10)), now=after(20))
    assert again.fence == 2
    assert "with token 2" in a_refusal(again, fence=1)
    assert "with token 2" in a_refusal(again, fence=3)
    assert a_refusal(None) == "Nobody has ever claimed T12."
