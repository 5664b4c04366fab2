"""What `sf` prints: JSON, lines, tables.

Text in it comes from people and models.
Rule 1: it never reaches a markup parser.
Rule 2: characters that steer a terminal are taken out, or escaped in JSON.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
_LINE_ENDS_AND_DIRECTIONS = (
    *(0x061C, 0x200E, 0x200F),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
)
_STEERING = dict.fromkeys((*_CONTROLS, *_LINE_ENDS_AND_DIRECTIONS))
_WRITTEN_OUT = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in _STEERING
    if chr(code) not in "\t\n"
}
_STEERING_IN_TEXT = {code: None for code in _STEERING if chr(code) not in "\t\n"}


GIVES_WAY = frozenset({"TITLE", "TEXT", "LAST LINE", "STATUS", "DEPENDS ON"})
"""Columns that are cut first where a terminal is narrow."""


def printable(text: str) -> str:
    """Return the text, of any number of lines, without what steers a terminal."""
    return text.replace("\r\n", "\n").translate(_STEERING_IN_TEXT)


def visible(text: str) -> str:
    """Return the text with what steers a terminal written out as its number: nothing is hidden.

    For what must be judged, such as a diff.
    """
    return text.replace("\r\n", "\\r\n").translate(_WRITTEN_OUT)


def line(text: object) -> str:
    """Return the value as one line without what steers a terminal."""
    return " ".join(str(text).split()).translate(_STEERING)


def has_colour() -> bool:
    """Return whether what is printed may have colour: on a terminal, unless NO_COLOR is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def painted(text: str, colour: str, is_wanted: bool) -> str:
    """Return the text in a colour of the terminal's, where one is wanted and named."""
    if not colour or not is_wanted:
        return text
    end = "\n" if text.endswith("\n") else ""
    return f"\x1b[{colour}m{text.removesuffix(end)}\x1b[0m{end}"


def width_of(text: str) -> int:
    """Return how many columns of a terminal one line takes."""
    if text.isascii():
        return len(text)
    # Here: it is only needed for some texts, and costs a third of a short command.
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """Return one line's text in so many columns at most, with `…` where it was cut."""
    if width_of(text) <= width:
        return text
    kept = text[: max(width - 1, 0)]
    while kept and width_of(kept) >= width:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def fill(session: Any) -> str:
    """Return how full a session's context is; empty until its room is known."""
    tokens, room = session["context_tokens"], session["context_window"]
    return f"{100 * tokens // room}%" if room else ""


def print_json(value: Any) -> None:
    """Print plain JSON values. ASCII alone: what is not, is escaped, whatever the terminal."""
    import json

    print(json.dumps(value, indent=2))


def say(text: str) -> None:
    """Print text."""
    print(printable(text))


def hint(text: str) -> None:
    """Print what helps a person and is not part of the answer: to stderr."""
    print(printable(text), file=sys.stderr)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Print a table: within the terminal's width on a terminal, else in plain columns, uncut."""
    cells = [[line(cell) for cell in row] for row in rows]
    if not cells:
        return
    if sys.stdout.isatty():
        _rich_table(headers, cells, title)
        return
    if title:
        print(f"\n{title}")
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    for row in (headers, *cells):
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip())


def _rich_table(headers: Sequence[str], cells: Sequence[Sequence[str]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(markup=False, emoji=False, highlight=False)
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in headers:
        # What may be long gives way first; ids and states stay whole.
        shown.add_column(Text(header), no_wrap=header not in GIVES_WAY)
    for row in cells:
        # Text, not str: a string would be read as markup.
        shown.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    if title:
        console.print(Text(f"\n{title}", style="bold"))
    console.print(shown)
