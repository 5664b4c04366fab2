"""How long the whole fleet waits after a limit or an overload. Pure: the random number comes in.

How long one task waits after its failures is the server's: `sf_mcp.core.recovery`.
"""

from datetime import datetime, timedelta

from launcher.core.ends import PARKS_FLEET
from sf_mcp.core.models import EndKind
from sf_mcp.core.recovery import doubled

LIMIT_DELAY = timedelta(minutes=5)
"""The wait after a usage limit that did not say when it ends."""

OVERLOAD_DELAY = timedelta(seconds=30)
AFTER_RESET = timedelta(seconds=5)
"""Clocks differ: a start at the very second of the reset would be refused once more."""


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
        if resets_at > now:
            return resets_at + AFTER_RESET
        # Just over, or so it says: soon, and less soon each time that it is not.
        return now + doubled(pauses + 1, random=random, first=AFTER_RESET)
    first = LIMIT_DELAY if kind is EndKind.USAGE_LIMIT else OVERLOAD_DELAY
    return now + doubled(pauses + 1, random=random, first=first)
