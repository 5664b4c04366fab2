"""Keeps results short: a model pays for every character, and long results never reach it whole.

Long texts come by page, long lists by `after`; what is only shortened says where all of it is.
Lengths are those of the JSON that the model sees, escapes and all.
"""

import json
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)

RESULT_CHARACTERS = 13_000
"""Of a whole result: about 3,700 tokens at 3.5 characters each; 4,000 is the limit."""

PAGE_CHARACTERS = 7_000
"""Of a page of text, so that there is room for what stands beside it."""

LIST_CHARACTERS = 11_000
SHORTEST = 120
"""No text is cut below this."""

_BLOCK = 500


def json_length(value: Any) -> int:
    """Return how many characters the value has as JSON."""
    return len(json.dumps(value, ensure_ascii=False))


def page_of(text: str, page: int) -> tuple[str, int]:
    """Return one page of a long text, from 1, and how many there are; no character is lost."""
    pages: list[str] = [""]
    room = PAGE_CHARACTERS
    for start in range(0, len(text), _BLOCK):
        block = text[start : start + _BLOCK]
        length = json_length(block) - 2
        if length > room and pages[-1]:
            pages.append("")
            room = PAGE_CHARACTERS
        pages[-1] += block
        room -= length
    return pages[min(max(page, 1), len(pages)) - 1], len(pages)


def clipped(text: str, limit: int) -> str:
    """Return the text, cut at `limit` characters with `…`."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def how_many_fit(lines: Sequence[BaseModel], limit: int = LIST_CHARACTERS) -> int:
    """Return how many of the lines, from the first, fit into a result; at least one."""
    used = 0
    for number, line in enumerate(lines):
        used += json_length(line.model_dump(mode="json", by_alias=True)) + 2
        if used > limit and number:
            return number
    return len(lines)


def fitted(result: M, *, note: str, keep: Sequence[str] = ()) -> M:
    """Return the result, its longest texts and lists cut until it fits; then `note` says so.

    `keep` names fields that are never cut; they must fit by themselves.
    """
    data = result.model_dump(mode="json", by_alias=True)
    if json_length(data) <= RESULT_CHARACTERS:
        return result
    data["note"] = note
    rest = {name: value for name, value in data.items() if name not in (*keep, "note")}
    while json_length({**data, **rest}) > RESULT_CHARACTERS:
        if not _cut_longest_text(rest) and not _cut_longest_list(rest):
            break
    return type(result).model_validate({**data, **rest})


def _cut_longest_text(value: Any) -> bool:
    """Halve the longest text in the value; return whether there was one to cut."""
    length, holder, key = max(_texts(value), key=lambda found: found[0], default=(0, None, None))
    if length <= SHORTEST or holder is None:
        return False
    holder[key] = clipped(holder[key], max(SHORTEST, length // 2))
    return True


def _texts(value: Any) -> list[tuple[int, Any, Any]]:
    found: list[tuple[int, Any, Any]] = []
    for key, item in _items(value):
        if isinstance(item, str):
            found.append((len(item), value, key))
        else:
            found += _texts(item)
    return found


def _cut_longest_list(value: Any) -> bool:
    """Halve the list of most items in the value; return whether there was one to cut."""
    lists = _lists(value)
    if not lists:
        return False
    longest = max(lists, key=len)
    if len(longest) <= 1:
        return False
    del longest[len(longest) // 2 :]
    return True


def _lists(value: Any) -> list[list[Any]]:
    found: list[list[Any]] = [cast(list[Any], value)] if isinstance(value, list) else []
    for _, item in _items(value):
        found += _lists(item)
    return found


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(cast(dict[Any, Any], value).items())
    return list(enumerate(cast(list[Any], value))) if isinstance(value, list) else []
