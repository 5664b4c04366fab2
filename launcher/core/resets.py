"""When a usage limit ends, from what the API or the client says of it.

Rule: unknown is None, never a guess. A time is an aware datetime, so a reset a month away is as
good as one in a minute: no timer is ever set to a difference that was computed here.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

from sf_mcp.core.account import FARTHEST

JUST_PASSED = timedelta(minutes=10)
"""`resets 3pm`, read at 3:02, means the 3pm that has just passed, not tomorrow's."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_EPOCH = re.compile(r"limit[^|\n]{0,80}\|\s*(\d{9,13})\b", re.IGNORECASE)

# `resets 3pm (Europe/Berlin)`, `resets Nov 25, 3:30pm (UTC)`, `reset at Jan 2, 2027 at 15:00`.
_CLOCK = re.compile(
    r"""resets?\s+(?:at\s+|on\s+)?
        (?:(?P<month>[a-z]{3})[a-z]*\.?\s+(?P<day>\d{1,2})(?:,?\s+(?P<year>\d{4}))?(?:,|\s+at)?\s+)?
        (?P<hour>\d{1,2})(?::(?P<minute>\d{2}))?\s*(?P<half>[ap]\.?m\b\.?)?
        (?:\s*\((?P<zone>[^)]*)\))?""",
    re.IGNORECASE | re.VERBOSE,
)

_DURATION = re.compile(
    r"(?:resets?|try again|retry)\s+(?:in|after)\s+(?P<parts>(?:\d+\s*[a-z]+[\s,]*(?:and\s+)?)+)",
    re.IGNORECASE,
)
_PART = re.compile(r"(\d+)\s*(d|h|m|s)[a-z]*", re.IGNORECASE)
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def parse_reset(
    text: str,
    headers: Mapping[str, str] | None = None,
    *,
    now: datetime,
    local_zone: tzinfo = UTC,
) -> datetime | None:
    """Return when the limit that `text` or `headers` speak of ends, in UTC; None when unknown.

    A time of day without a zone is in `local_zone`, the zone of the client that wrote it.
    """
    found = (
        _from_headers(headers or {}, now)
        or _from_epoch(text)
        or _from_duration(text, now)
        or _from_clock(text, now, local_zone)
    )
    return within_reach(found, now) if found is not None else None


def within_reach(reset: datetime, now: datetime) -> datetime | None:
    """Return the time if it can be a limit's end; None when it was misread."""
    return reset if abs(reset - now) <= FARTHEST else None


def _from_headers(headers: Mapping[str, str], now: datetime) -> datetime | None:
    values = {name.lower(): value.strip() for name, value in headers.items()}
    retry_after = values.get("retry-after", "")
    if retry_after.isdecimal():
        return _after(now, int(retry_after))
    if retry_after:
        try:
            at = parsedate_to_datetime(retry_after)
        except ValueError:
            at = None
        if at is not None:
            return at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return _epoch(values.get("anthropic-ratelimit-unified-reset", ""))


def _from_epoch(text: str) -> datetime | None:
    found = _EPOCH.search(text)
    return _epoch(found.group(1)) if found is not None else None


def _from_duration(text: str, now: datetime) -> datetime | None:
    found = _DURATION.search(text)
    if found is None:
        return None
    parts = _PART.findall(found["parts"])
    if not parts:
        return None
    return _after(now, sum(int(count) * _UNITS[unit.lower()] for count, unit in parts))


def _from_clock(text: str, now: datetime, local_zone: tzinfo) -> datetime | None:
    found = _CLOCK.search(text)
    if found is None:
        return None
    zone = _zone(found["zone"]) if found["zone"] is not None else local_zone
    hour, minute = int(found["hour"]), int(found["minute"] or 0)
    if found["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found["half"].lower().startswith("p") else 0)
    elif found["minute"] is None:
        # `resets 3` alone says nothing.
        return None
    if zone is None or hour > 23 or minute > 59:
        return None
    here = now.astimezone(zone)
    try:
        if not found["month"]:
            at = here.replace(hour=hour, minute=minute, second=0, microsecond=0)
            if at < here - JUST_PASSED:
                at += timedelta(days=1)
            return at.astimezone(UTC)
        if found["month"].lower() not in _MONTHS:
            return None
        month, day = _MONTHS.index(found["month"].lower()) + 1, int(found["day"])
        year = int(found["year"] or here.year)
        at = datetime(year, month, day, hour, minute, tzinfo=zone)
        if not found["year"] and at < here - timedelta(days=1):
            at = at.replace(year=year + 1)
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _zone(name: str) -> tzinfo | None:
    # Reads the system's zone tables, as `import` reads modules; an unknown name, one that is no
    # name at all, or a system without tables gives None.
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def _epoch(digits: str) -> datetime | None:
    if not digits.isdecimal() or len(digits) > 13:
        return None
    seconds = int(digits) / (1000 if len(digits) == 13 else 1)
    return datetime.fromtimestamp(seconds, UTC)


def _after(now: datetime, seconds: int) -> datetime | None:
    return now + timedelta(seconds=seconds) if seconds <= FARTHEST.total_seconds() else None
