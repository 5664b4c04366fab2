"""A session's stream log (Claude Code's stream-json, one object a line) for people to read."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sf_mcp.cli.output import line, printable
from sf_mcp.core.errors import NotFound
from sf_mcp.core.transcript import (
    MOST_LINE_BYTES,
    Entry,
    EntryKind,
    Speaker,
    entries_in,
    event_of,
)

SHOWN_CHARACTERS = 120
"""Of a tool's input or complaint: enough to see which file or command it was."""


def print_transcript(path: Path, *, as_json: bool = False) -> None:
    """Print the log; a line that is no JSON object, such as a torn last one, is passed over.

    Raises:
        NotFound: the file is gone.
    """
    try:
        with path.open("rb") as file:
            while raw := file.readline(MOST_LINE_BYTES):
                if (event := event_of(raw)) is None:
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
    return filter(None, map(shown, entries_in(event)))


def shown(entry: Entry) -> str:
    """Return an entry as a terminal shows it; empty when it is not shown there."""
    match entry.kind:
        case EntryKind.TEXT if entry.role is not Speaker.USER:
            return printable(entry.text) + ("…" if entry.is_cut else "")
        case EntryKind.TOOL:
            return f"  > {line(entry.name)} {_cut(line(entry.text))}"
        case EntryKind.RESULT if entry.is_error:
            return f"  ! {_cut(line(entry.text))}"
        case EntryKind.END:
            spent = "" if entry.cost_usd is None else f", ${entry.cost_usd:.2f}"
            return f"-- turn ended: {line(entry.name)}{spent}"
        case _:
            return ""


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
