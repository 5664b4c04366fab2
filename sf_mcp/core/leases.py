"""Lease arithmetic: who may act on a task or a review, until when, and with which fencing token.

Rule 1: a lease is held until it is *ended*, not until its time is up. Time only says when the
server may end it, so a clock that jumps can neither revive a lease nor make a second one.
Rule 2: every grant raises the subject's fencing token, and a write with an older one is refused
(M. Kleppmann, "How to do distributed locking", 2016). The token decides, not the clock.
Rule 3: a renewal never shortens a lease, whatever the clock did. Only who has seen that the clock
was put back, or that everybody slept, sets it anew.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from sf_mcp.core.errors import AlreadyClaimed, StaleLease
from sf_mcp.core.models import EndKind, Lease, SessionId

KEPT = "Your work is kept on the branch; stop working on this task."


def is_live(lease: Lease, now: datetime) -> bool:
    """Say whether the lease is held and its time is not up."""
    return lease.ended_at is None and now < lease.expires_at


def is_over(began: datetime, wait: timedelta, now: datetime) -> bool:
    """Say whether a wait is over; one that began in the future is: the clock was put back since."""
    return began > now or began + wait <= now


def grant(
    subject: str,
    session_id: SessionId,
    *,
    number: int,
    newest: Lease | None,
    now: datetime,
    duration: timedelta,
    holder: str = "",
) -> Lease:
    """Return the lease of a new claim, or the renewed one if the session holds it already.

    Args:
        subject: the task or merge request.
        session_id: who claims it.
        number: the new lease's number; unused if the session holds the subject already.
        newest: the subject's newest lease, ended or not; None before the first.
        now: the time of the claim.
        duration: how long until it must be renewed.
        holder: the name by which people know the session of `newest`.

    Raises:
        AlreadyClaimed: another session holds it; one whose time is up holds it until it is ended.
    """
    if newest is not None and newest.ended_at is None:
        if newest.session_id == session_id:
            return renew(newest, now=now, duration=duration)
        until = _at(newest.expires_at)
        raise AlreadyClaimed(
            f"{subject} is held by {_who(newest, holder)}, "
            + (
                f"whose lease runs until {until} unless it is renewed."
                if is_live(newest, now)
                else f"whose lease ran out at {until} and is about to be ended."
            ),
            remedy="Take other work; ask again after that time if you need this one.",
        )
    return Lease(
        number=number,
        subject=subject,
        session_id=session_id,
        fence=newest.fence + 1 if newest is not None else 1,
        granted_at=now,
        expires_at=now + duration,
        ended_at=None,
        end=None,
        end_detail="",
    )


def renew(lease: Lease, *, now: datetime, duration: timedelta) -> Lease:
    """Return the lease with `duration` from `now` left, or more if it had more.

    Also after its time is up, as long as nobody has ended it: nobody else can hold it then.

    Raises:
        StaleLease: it has ended.
    """
    if lease.ended_at is not None:
        raise StaleLease(
            f"The lease on {lease.subject} cannot be renewed: {_how_it_ended(lease)}.", remedy=KEPT
        )
    return replace(lease, expires_at=max(lease.expires_at, now + duration))


def set_anew(lease: Lease, *, now: datetime, duration: timedelta) -> Lease:
    """Return a live lease with exactly `duration` from `now` left, whatever it had."""
    return replace(lease, expires_at=now + duration)


def end(lease: Lease, kind: EndKind, *, now: datetime, detail: str = "") -> Lease:
    """Return the lease ended; one that has ended already keeps its first end."""
    if lease.ended_at is not None:
        return lease
    return replace(lease, ended_at=max(now, lease.granted_at), end=kind, end_detail=detail)


def check_token(
    newest: Lease | None,
    session_id: SessionId,
    fence: int,
    subject: str,
    *,
    holder: str = "",
) -> Lease:
    """Return `newest`, the newest lease on `subject`, if it is held by this very claim.

    `holder` is the name by which people know the session of `newest`.

    Raises:
        StaleLease: it has ended, or it is another claim's; the message says whose, how and when.
    """
    if newest is None:
        raise StaleLease(f"Nobody has ever claimed {subject}.", remedy=KEPT)
    if (newest.session_id, newest.fence) != (session_id, fence):
        who = _who(newest, holder)
        raise StaleLease(
            f"Your claim on {subject} (fencing token {fence}) does not hold it: "
            + (
                f"{who} holds it now, with token {newest.fence}."
                if newest.ended_at is None
                else f"{who} had the newest claim, with token {newest.fence}; "
                f"{_how_it_ended(newest)}."
            ),
            remedy=KEPT,
        )
    if newest.ended_at is not None:
        raise StaleLease(
            f"Your claim on {subject} (fencing token {fence}) is over: {_how_it_ended(newest)}.",
            remedy=KEPT,
        )
    return newest


def _who(lease: Lease, holder: str) -> str:
    return f"session {holder or lease.session_id}"


def _how_it_ended(lease: Lease) -> str:
    when = "" if lease.ended_at is None else f" at {_at(lease.ended_at)}"
    how = "" if lease.end is None else f": {lease.end.value.replace('_', ' ')}"
    detail = f" ({lease.end_detail})" if lease.end_detail else ""
    return f"it ended{when}{how}{detail}"


def _at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
