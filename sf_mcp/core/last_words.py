"""What a session said last, from the end of its log: for a handoff that it did not write itself.

The log is Claude Code's stream-json. A line or a field of another shape than expected is passed
over: a handoff with less in it is better than none.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from sf_mcp.core.text import one_line

KEPT_TEXTS = 3
KEPT_CALLS = 6
CALL_CHARACTERS = 160
TEXT_CHARACTERS = 1_500

_MARKS = {"completed": "[x]", "in_progress": "[~]"}
_TELLING_INPUTS = ("command", "file_path", "pattern", "path", "summary", "message")


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWords:
    """The end of a session's own account of its work, oldest first."""

    texts: tuple[str, ...] = ()
    """What it said, cut to a readable length."""
    calls: tuple[str, ...] = ()
    """The tools it used, one line each."""
    steps: tuple[str, ...] = ()
    """Its own list of steps, each marked `[x]` done, `[~]` begun, `[ ]` not begun."""


def last_words(lines: Iterable[bytes]) -> LastWords:
    """Return the last words in these lines of a session's log."""
    texts: list[str] = []
    calls: list[str] = []
    steps: dict[str, tuple[str, str]] = {}
    for block in _blocks(lines):
        if block.get("type") == "text":
            if text := str(block.get("text", "")).strip():
                texts = [*texts, text][-KEPT_TEXTS:]
        elif block.get("type") == "tool_use":
            name, given = str(block.get("name", "")), _object(block.get("input"))
            if not _note_steps(steps, name, given):
                calls = [*calls, _call(name, given)][-KEPT_CALLS:]
    return LastWords(
        texts=tuple(_cut(text) for text in texts),
        calls=tuple(calls),
        steps=tuple(
            f"{_MARKS.get(state, '[ ]')} {one_line(words, CALL_CHARACTERS)}"
            for words, state in steps.values()
            if state != "deleted"
        ),
    )


def _note_steps(steps: dict[str, tuple[str, str]], name: str, given: Mapping[str, object]) -> bool:
    """Follow the session's list of steps; return whether the call was about it.

    Older clients have one tool that writes the whole list, newer ones one that adds a step and one
    that changes it; they number the steps from 1.
    """
    match name:
        case "TodoWrite":
            steps.clear()
            for number, step in enumerate(map(_object, _list(given.get("todos"))), start=1):
                steps[str(number)] = (str(step.get("content", "")), str(step.get("status", "")))
        case "TaskCreate":
            steps[str(len(steps) + 1)] = (str(given.get("subject", "")), "pending")
        case "TaskUpdate":
            key = str(given.get("taskId", ""))
            if key in steps:
                words, state = steps[key]
                words = str(given.get("subject") or words)
                steps[key] = (words, str(given.get("status") or state))
        case "TaskList" | "TaskGet":
            pass
        case _:
            return False
    return True


def _blocks(lines: Iterable[bytes]) -> Iterable[Mapping[str, object]]:
    for line in lines:
        if b'"assistant"' not in line:
            continue
        try:
            event = _object(json.loads(line))
        except (ValueError, RecursionError):
            continue
        if event.get("type") == "assistant" and event.get("parent_tool_use_id") is None:
            yield from map(_object, _list(_object(event.get("message")).get("content")))


def _call(name: str, given: Mapping[str, object]) -> str:
    told = next((v for k in _TELLING_INPUTS if isinstance(v := given.get(k), str)), "")
    short = name.rsplit("__", 1)[-1]
    return one_line(f"{short}: {told}" if told else short, CALL_CHARACTERS)


def _cut(text: str) -> str:
    # What it came to stands at the end.
    return text if len(text) <= TEXT_CHARACTERS else f"…{text[1 - TEXT_CHARACTERS :]}"


def _object(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
