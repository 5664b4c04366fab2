"""The overview as one screen of text: how many rows fit, and how they look."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from sf_mcp.cli.output import cut, has_colour, line, painted, width_of
from sf_mcp.cli.standing import HOW_TO_SEE_ALL, Part, Row, Section, headlines, parts

LABEL = 9
GAP = "  "
INDENT = "  "
WARNING, STRONG, DIM = "33", "1", "2"
"""The terminal's own colours, which hold on light and dark alike."""
WARNS = frozenset({"paused", "parked", "note"})


def show_overview(overview: Any, address: str) -> None:
    """Print the overview: on a terminal within its height and width, else whole."""
    width = height = None
    if sys.stdout.isatty():
        # Here: it takes longer to import than all the rest of this.
        from shutil import get_terminal_size

        width, height = get_terminal_size()
    for text in screen(overview, address, width=width, height=height, colour=has_colour()):
        print(text)


def screen(
    overview: Any, address: str, *, width: int | None, height: int | None, colour: bool = False
) -> list[str]:
    """Return the lines of the screen; the last line of a terminal is left to the prompt.

    At a bound of None nothing is cut. A sentence that is for reading, such as a note, is never cut.
    """
    lines = [
        painted(f"{label:{LABEL}}", DIM, colour)
        + painted(line(text), WARNING if label in WARNS else "", colour)
        for label, text in headlines(overview, address)
    ]
    present = [part for part in parts(overview) if part.rows or part.total]
    taken = sum(rows_of(text, width) for text in lines)
    shown = fitting(present, None if height is None else height - 1 - taken)
    for part, count in zip(present, shown, strict=True):
        lines.extend(_part(part, count, width, colour=colour))
    return lines


def rows_of(text: str, width: int | None) -> int:
    """Return on how many rows of a terminal a line stands."""
    return 1 if width is None else max(1, -(-width_of(text) // width))


def fitting(present: Sequence[Part], height: int | None) -> list[int]:
    """Return how many rows of each part to show, in turn one more of each while there is room.

    At least one of each is shown. A row of what waits takes two lines: it has its command below.
    """
    if height is None:
        return [len(part.rows) for part in present]
    counts = [min(1, len(part.rows)) for part in present]
    while True:
        before = list(counts)
        for index, part in enumerate(present):
            more = [*counts[:index], counts[index] + 1, *counts[index + 1 :]]
            if counts[index] < len(part.rows) and _height(present, more) <= height:
                counts = more
        if counts == before:
            return counts


def _height(present: Sequence[Part], counts: Sequence[int]) -> int:
    # An empty line and the heading, the rows, and how many more there are.
    return sum(
        2 + count * (2 if part.section is Section.WAITING else 1) + (count < part.total)
        for part, count in zip(present, counts, strict=True)
    )


def _part(part: Part, count: int, width: int | None, *, colour: bool) -> Iterator[str]:
    yield ""
    yield painted(f"{part.section.value} ({part.total})", STRONG, colour)
    rows = part.rows[:count]
    cells = [[line(cell) for cell in (row.id or row.kind, *row.facts)] for row in rows]
    # A column that nobody has anything in is left out.
    widths = [max(map(width_of, column)) for column in zip(*cells, strict=True)]
    for row, own in zip(rows, cells, strict=True):
        padded = [
            cell + " " * (size - width_of(cell))
            for cell, size in zip(own, widths, strict=True)
            if size
        ]
        lead = INDENT + GAP.join(padded) + GAP
        yield from _row(row, lead, width, colour=colour)
    if count < part.total:
        rest = f"{INDENT}and {part.total - count} more: {HOW_TO_SEE_ALL[part.section]}"
        yield painted(rest, DIM, colour)


def _row(row: Row, lead: str, width: int | None, *, colour: bool) -> Iterator[str]:
    text = line(row.text)
    if width is not None and (row.command or row.section is not Section.WAITING):
        text = cut(text, max(10, width - width_of(lead)))
    yield f"{painted(lead, WARNING if row.is_urgent else '', colour)}{text}".rstrip()
    if row.command:
        yield f"{' ' * width_of(lead)}{painted(line(row.command), DIM, colour)}"
