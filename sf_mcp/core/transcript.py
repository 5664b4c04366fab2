"""A session's stream log (Claude Code's stream-json, one object a line) as entries for people.

The lines are what a model and its tools wrote: text to be shown, never to be obeyed. A line or a
field of another shape than expected is passed over.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

MOST_LINE_BYTES = 16 * 1024 * 1024
"""Of a line that is read: a longer one is left out."""
TEXT_CHARACTERS = 8_000
"""Of an entry's text that are kept; the log has the rest."""


class EntryKind(StrEnum):
    """What an entry of a transcript is."""

    TEXT = "text"
    TOOL = "tool"
    """A call: `name` is the tool's, `text` its input as JSON."""
    RESULT = "result"
    """What a tool returned; `is_error` when it failed."""
    END = "end"
    """Of a turn: `name` says how, `cost_usd` what the session has cost by then."""
    LEFT_OUT = "left_out"
    """A stretch of the log that is no line of bounded length."""


class Speaker(StrEnum):
    """Whose words an entry holds."""

    ASSISTANT = "assistant"
    SUBAGENT = "subagent"
    USER = "user"
    """What the session was told: prompts, feedback of hooks, results of tools."""
    CLIENT = "client"
    """Claude Code itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that a session said, did or was told."""

    offset: int
    """Where its line begins in the log, in bytes; several entries may come of one line."""
    role: Speaker
    kind: EntryKind
    text: str
    name: str = ""
    is_error: bool = False
    is_cut: bool = False
    """The text was longer."""
    at: datetime | None = None
    """When, as far as the line says it."""
    cost_usd: float | None = None


def entries_of(line: bytes, offset: int = 0) -> list[Entry]:
    """Return the entries of one line; none when it is no event that people want to see."""
    event = event_of(line)
    return [] if event is None else list(entries_in(event, offset))


def event_of(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object in the line; None when there is none, as in a torn last one."""
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def entries_in(event: Mapping[str, Any], offset: int = 0) -> Iterator[Entry]:
    """Yield the entries of one event of the stream."""
    at = _moment(event.get("timestamp"))
    match event.get("type"):
        case "assistant":
            is_main = event.get("parent_tool_use_id") is None
            role = Speaker.ASSISTANT if is_main else Speaker.SUBAGENT
            for block in _blocks(event):
                if block.get("type") == "text" and (text := str(block.get("text", "")).strip()):
                    yield _entry(offset, role, EntryKind.TEXT, text, at)
                elif block.get("type") == "tool_use":
                    given = json.dumps(block.get("input", {}), ensure_ascii=False)
                    name = _name(block.get("name"))
                    yield _entry(offset, role, EntryKind.TOOL, given, at, name=name)
        case "user":
            for block in _blocks(event):
                if block.get("type") == "text" and (text := str(block.get("text", "")).strip()):
                    yield _entry(offset, Speaker.USER, EntryKind.TEXT, text, at)
                elif block.get("type") == "tool_result":
                    text, is_error = _text_of(block.get("content")), bool(block.get("is_error"))
                    kind = EntryKind.RESULT
                    yield _entry(offset, Speaker.USER, kind, text, at, is_error=is_error)
        case "result":
            cost = event.get("total_cost_usd")
            yield _entry(
                offset,
                Speaker.CLIENT,
                EntryKind.END,
                str(event.get("result") or "") if event.get("is_error") else "",
                at,
                name=_name(event.get("subtype")),
                is_error=bool(event.get("is_error")),
                cost_usd=float(cost) if isinstance(cost, int | float) else None,
            )
        case _:
            return


def _entry(
    offset: int,
    role: Speaker,
    kind: EntryKind,
    text: str,
    at: datetime | None,
    *,
    name: str = "",
    is_error: bool = False,
    cost_usd: float | None = None,
) -> Entry:
    is_cut = len(text) > TEXT_CHARACTERS
    return Entry(
        offset=offset,
        role=role,
        kind=kind,
        text=_unicode(text[:TEXT_CHARACTERS]),
        name=name,
        is_error=is_error,
        is_cut=is_cut,
        at=at,
        cost_usd=cost_usd,
    )


def _unicode(text: str) -> str:
    """Return the text without lone surrogates, which JSON may hold and UTF-8 may not."""
    return text.encode("utf-8", "replace").decode()


def _name(value: object) -> str:
    return _unicode(str(value or "?")[:200])


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _blocks(event: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    message: object = event.get("message")
    content: object = (
        cast(dict[str, Any], message).get("content") if isinstance(message, dict) else None
    )
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        return []
    blocks = cast(list[object], content)
    return [cast(dict[str, Any], block) for block in blocks if isinstance(block, dict)]


def _text_of(content: object) -> str:
    if isinstance(content, list):
        blocks = cast(list[object], content)
        texts = (cast(dict[str, Any], b).get("text", "") for b in blocks if isinstance(b, dict))
        return "\n".join(str(text) for text in texts)
    return "" if content is None else str(content)
