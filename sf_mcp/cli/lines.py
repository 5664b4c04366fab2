"""Lines of text with tones: what a view consists of, before it is known where it is shown.

The texts in them are as people and models wrote them; they are cleaned where they are shown.
"""

from collections.abc import Iterable
from enum import StrEnum

from sf_mcp.cli.output import has_colour, painted, printable


class Tone(StrEnum):
    """How a piece of text is meant; the colour is the terminal's own, so light and dark both do."""

    PLAIN = "default"
    STRONG = "bold"
    DIM = "dim"
    WARN = "yellow"
    GOOD = "green"
    BAD = "red"


_CODES = {
    Tone.PLAIN: "",
    Tone.STRONG: "1",
    Tone.DIM: "2",
    Tone.WARN: "33",
    Tone.GOOD: "32",
    Tone.BAD: "31",
}

Span = tuple[str, Tone]
Line = tuple[Span, ...]


def a_line(text: str, tone: Tone = Tone.PLAIN) -> Line:
    """Return a line of one tone."""
    return ((text, tone),)


def heading(text: str) -> list[Line]:
    """Return a heading with the empty line above it."""
    return [a_line(""), a_line(text, Tone.STRONG)]


def plain(line: Line) -> str:
    """Return a line's text."""
    return "".join(text for text, _ in line)


def say_lines(lines: Iterable[Line]) -> None:
    """Print the lines, in colour on a terminal that wants it."""
    colour = has_colour()
    for line in lines:
        print("".join(painted(printable(text), _CODES[tone], colour) for text, tone in line))
