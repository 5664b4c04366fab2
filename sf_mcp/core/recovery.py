"""What follows the end of a worker's session: the same one again or a fresh one, and when.

Rule 1: a session whose process is gone goes on with its conversation. A fresh one takes over where
the conversation itself is what has failed, and after too many crashes in a row.
Rule 2: the wait grows with the failures in a row of one subject and holds up nothing else.
Rule 3: nothing here is random or stored: the jitter of a wait follows from the lease that failed.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from zlib import crc32

from sf_mcp.core.models import FAILURES, EndKind, Lease

RESUMED: Mapping[EndKind, str] = {
    EndKind.KILLED: "was killed",
    EndKind.FAILED_TO_START: "could not be started",
    EndKind.STOPPED: "was stopped with the fleet",
    EndKind.TAKEN_OVER: "was ended, since a person went on in its place",
    EndKind.LEASE_EXPIRED: "was not heard of in time",
    EndKind.USAGE_LIMIT: "has hit the usage limit",
    EndKind.OVERLOADED: "got no answer from the API",
    EndKind.AUTHENTICATION: "was refused by the API",
    EndKind.BAD_CONFIGURATION: "could not run as it is configured",
}
"""The ends after which the same session goes on, each in words."""

CRASHES = frozenset({EndKind.KILLED, EndKind.FAILED_TO_START})
"""Of these, the ends that may be the conversation's own fault."""

MOST_CRASHES = 2
"""Of one session, in a row: then a fresh one takes over, with the brief but no conversation."""

STEADY = timedelta(minutes=5)
"""A process that has lived so long did start: its crash begins a new row."""

FIRST_WAIT = timedelta(seconds=2)
LONGEST_WAIT = timedelta(minutes=5)
MOST_DOUBLINGS = 10
JITTER = 0.25
"""Each wait is off by up to so much of itself, so that what failed together does not start
together."""

WAITED_OUT = FAILURES | {EndKind.CONVERSATION_LOST}
"""The ends that a wait follows. The loss of a conversation is no failure, but it may repeat."""


def is_resumed(attempts: Sequence[Lease]) -> bool:
    """Return whether the session of the newest attempt goes on, as far as the attempts tell.

    `attempts` are the subject's ended leases, newest first.
    """
    if not attempts or attempts[0].end not in RESUMED:
        return False
    crashed = _row(attempts, CRASHES)
    own = takewhile(lambda attempt: attempt.session_id == attempts[0].session_id, crashed)
    return len(list(own)) < MOST_CRASHES


def wait_after(attempts: Sequence[Lease], *, is_resumed: bool) -> timedelta:
    """Return how long a subject waits after its newest attempt, before it is started again.

    No time after an end that is no failure, before the resume that follows a first crash, and after
    a conversation has been lost; then twice as long each time.
    """
    row = _row(attempts, WAITED_OUT)
    lost = sum(attempt.end is EndKind.CONVERSATION_LOST for attempt in row)
    if not row or (is_resumed and len(row) == 1):
        return timedelta(0)
    if lost == 1 and row[0].end is EndKind.CONVERSATION_LOST:
        return timedelta(0)
    return doubled(len(row), random=_drawn(row[0]))


def doubled(failures: int, *, random: float, first: timedelta = FIRST_WAIT) -> timedelta:
    """Return the wait after so many failures in a row; none after none. `random` is in [0, 1)."""
    if failures <= 0:
        return timedelta(0)
    # Past 2^32 the longest wait is certain; a greater power would overflow the timedelta.
    grown = min(LONGEST_WAIT, first * 2 ** min(failures - 1, 32))
    return min(LONGEST_WAIT, grown * (1 + JITTER * (2 * random - 1)))


def wait_ends(attempts: Sequence[Lease], *, now: datetime, is_resumed: bool) -> datetime | None:
    """Return until when the subject waits; None when it need not.

    An attempt that ended in the future did so before the clock was put back: nobody waits for the
    clock to come round again.
    """
    ended_at = attempts[0].ended_at if attempts else None
    if ended_at is None or ended_at > now:
        return None
    until = ended_at + wait_after(attempts, is_resumed=is_resumed)
    return until if until > now else None


def _row(attempts: Sequence[Lease], kinds: frozenset[EndKind]) -> list[Lease]:
    """Return the attempts of these kinds that failed one after another, newest first."""
    row: list[Lease] = []
    for attempt in attempts:
        if attempt.end not in kinds:
            break
        row.append(attempt)
        if attempt.ended_at is not None and attempt.ended_at - attempt.granted_at >= STEADY:
            break
    return row


def _drawn(lease: Lease) -> float:
    """Return a number in [0, 1) that is the same for this lease each time, and differs by lease."""
    return crc32(f"{lease.subject}:{lease.fence}".encode()) / 2**32
