"""How long to wait before the next start, and when to give up: the words are supervisor's.

Pure: the random number comes in, and the caller keeps the `Restarts` of each subject.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from launcher.core.ends import PARKS_FLEET
from sf_mcp.core.models import FAILURES, EndKind

FIRST_DELAY = timedelta(seconds=1)
LONGEST_DELAY = timedelta(minutes=5)
JITTER = 0.25
"""Each delay is off by up to so much of itself, so that sessions which failed together do not
start together."""

MAX_FAILED_STARTS = 5
"""Then the subject is FATAL, and a person is told."""

LIMIT_DELAY = timedelta(minutes=5)
"""The wait after a usage limit that did not say when it ends."""

OVERLOAD_DELAY = timedelta(seconds=30)
AFTER_RESET = timedelta(seconds=5)
"""Clocks differ: a start at the very second of the reset would be refused once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """What is remembered of one subject: a task, a merge request, the director."""

    failures: int = 0
    """In a row."""
    not_before: datetime | None = None
    is_fatal: bool = False

    def may_start(self, now: datetime) -> bool:
        """Say whether the back-off is over."""
        return not self.is_fatal and (self.not_before is None or now >= self.not_before)


def after_end(
    restarts: Restarts,
    kind: EndKind,
    *,
    now: datetime,
    random: float,
    max_failures: int = MAX_FAILED_STARTS,
) -> Restarts:
    """Return what is remembered after a session of the subject ended as `kind`.

    A failure doubles the delay, `max_failures` of them are fatal; an end that is no failure, and
    every end that the whole fleet waits out, leaves no mark. `random` is in [0, 1).
    """
    if kind in PARKS_FLEET:
        return restarts
    if kind not in FAILURES:
        return Restarts()
    failures = restarts.failures + 1
    return replace(
        restarts,
        failures=failures,
        not_before=now + delay(failures, random=random),
        is_fatal=failures >= max_failures,
    )


def delay(failures: int, *, random: float, first: timedelta = FIRST_DELAY) -> timedelta:
    """Return the wait after so many failures in a row; none after none."""
    if failures <= 0:
        return timedelta(0)
    # Past 2^32 the longest delay is certain; a greater power would overflow the timedelta.
    grown = min(LONGEST_DELAY, first * 2 ** min(failures - 1, 32))
    return min(LONGEST_DELAY, grown * (1 + JITTER * (2 * random - 1)))


def fleet_pause(
    kind: EndKind,
    resets_at: datetime | None,
    *,
    now: datetime,
    pauses: int,
    random: float,
) -> datetime | None:
    """Return until when the fleet waits after `kind`; None when it need not.

    `pauses` counts those before this one since a session last worked.
    """
    if kind not in PARKS_FLEET:
        return None
    if kind is EndKind.USAGE_LIMIT and resets_at is not None:
        return max(now, resets_at) + AFTER_RESET
    first = LIMIT_DELAY if kind is EndKind.USAGE_LIMIT else OVERLOAD_DELAY
    return now + delay(pauses + 1, random=random, first=first)
