"""Which snapshots of a task are kept as it grows older.

The rule: the newest 20; of the last 24 hours the newest of each hour; before that the newest of
each day. What is pinned, because something names it, is always kept. Days and hours are those of
UTC, so that thinning often keeps the same ones as thinning late.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

NEWEST = 20
HOURLY = timedelta(hours=24)


def kept(
    taken: Sequence[tuple[int, datetime]], now: datetime, pinned: Collection[int] = ()
) -> set[int]:
    """Return the numbers of the snapshots to keep.

    Args:
        taken: number and time of each; a higher number is newer, whatever the clock said.
        now: the present time.
        pinned: numbers to keep whatever their age.
    """
    newest_first = sorted(taken, reverse=True)
    found = {number for number, _ in newest_first[:NEWEST]}
    found |= {number for number, _ in newest_first if number in pinned}
    seen: set[tuple[str, str]] = set()
    for number, at in newest_first:
        moment = at.astimezone(UTC)
        day, hour = moment.strftime("%Y-%m-%d"), moment.strftime("%H")
        # A day's newest, and an hour's while it is young; the newest of a day is one of its hours'.
        for bucket in (("day", day), *([("hour", day + hour)] if now - at < HOURLY else [])):
            if bucket not in seen:
                seen.add(bucket)
                found.add(number)
    return found
