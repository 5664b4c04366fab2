"""The fields of a task that both kinds of file have, from their text."""

import re

_HOURS = re.compile(r"(\d+(?:\.\d+)?)\s*(m|min|mins|minutes?|h|hours?)?", re.IGNORECASE)
_ITEM = re.compile(r'\s*(?:"([^"]*)"|“([^”]*)”|([^,]+?))\s*(?:,|$)')


def minutes_of(text: str) -> float | None:
    """Return the minutes that an estimate such as `45`, `45m` or `1.5 h` stands for."""
    found = _HOURS.fullmatch(text.strip())
    if found is None:
        return None
    is_hours = (found[2] or "m").lower().startswith("h")
    return float(found[1]) * (60 if is_hours else 1)


def items_of(text: str) -> list[str]:
    """Return the items between commas; one in double quotes may itself hold commas."""
    found = ((one[0] or one[1] or one[2]).strip() for one in _ITEM.findall(text))
    return [item for item in found if item]
