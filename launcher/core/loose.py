"""Reading JSON that somebody else's program wrote: what has another shape counts as absent."""

from collections.abc import Mapping
from typing import cast

Json = Mapping[str, object]


def object_in(value: object) -> Json:
    """Return the object, or an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def list_in(value: object) -> list[object]:
    """Return the list, or an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def text_in(value: object) -> str:
    """Return the text, or an empty one."""
    return value if isinstance(value, str) else ""


def number_in(value: object) -> float:
    """Return the number, or 0 for what is none: NaN, infinite, or beyond every measure here."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    # A JSON number can also be an integer that no float holds.
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    return number if abs(number) < 1e15 else 0.0


def count_in(value: object) -> int:
    """Return the whole number of things, or 0 for what is none."""
    return max(0, int(number_in(value)))
