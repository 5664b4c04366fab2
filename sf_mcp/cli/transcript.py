"""A session's stream log (Claude Code's stream-json, one object a line) for people to read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from sf_mcp.cli.output import line, printable
from sf_mcp.core.errors import NotFound

INPUT_CHARACTERS = 120
"""Of a tool's input that are shown: enough to see which file or command it was."""
MOST_LINE_BYTES = 16 * 1024 * 1024


def print_transcript(path: Path, *, as_json: bool = False) -> None:
    """Print the log; a line that is no JSON object, such as a torn last one, is passed over.

    Raises:
        NotFound: the file is gone.
    """
    try:
        with path.open("rb") as file:
            while raw := file.readline(MOST_LINE_BYTES):
                if (event := _event(raw)) is None:
                    continue
                if as_json:
                    print(json.dumps(event))
                    continue
                for text in readable(event):
                    print(text)
    except FileNotFoundError as error:
        raise NotFound(
            f"The log {path} is gone.", remedy="What the session did is in `sf log` and in git."
        ) from error


def readable(event: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a person wants to see of one event: text, tools, the end of a turn."""
    match event.get("type"):
        case "assistant":
            for block in _blocks(event):
                if block.get("type") == "text" and str(block.get("text", "")).strip():
                    yield printable(str(block["text"])).strip()
                elif block.get("type") == "tool_use":
                    shown = line(json.dumps(block.get("input", {}), ensure_ascii=False))
                    cut = (
                        shown if len(shown) <= INPUT_CHARACTERS else f"{shown[:INPUT_CHARACTERS]}…"
                    )
                    yield f"  > {line(block.get('name', '?'))} {cut}"
        case "user":
            for block in _blocks(event):
                if block.get("type") == "tool_result" and block.get("is_error"):
                    yield f"  ! {_cut(line(_text_of(block.get('content'))))}"
        case "result":
            cost = event.get("total_cost_usd")
            spent = f", ${cost:.2f}" if isinstance(cost, int | float) else ""
            yield f"-- turn ended: {line(event.get('subtype', '?'))}{spent}"
        case _:
            return


def _cut(text: str) -> str:
    return text if len(text) <= INPUT_CHARACTERS else f"{text[:INPUT_CHARACTERS]}…"


def _event(raw: bytes) -> dict[str, Any] | None:
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


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
        return " ".join(str(text) for text in texts)
    return str(content)
