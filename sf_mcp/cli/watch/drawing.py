"""Lines as textual's content.

Rule: no text reaches a parser of markup, nor what steers a terminal the terminal.
"""

from collections.abc import Sequence

from textual.content import Content

from sf_mcp.cli.lines import Line, Tone
from sf_mcp.cli.output import printable

STYLES = {
    Tone.PLAIN: "",
    Tone.STRONG: "bold",
    Tone.DIM: "dim",
    Tone.WARN: "ansi_yellow",
    Tone.GOOD: "ansi_green",
    Tone.BAD: "ansi_red",
}
"""The terminal's own colours, so that they hold on light and dark."""


def text_of(text: str) -> str:
    """Return the text without what steers a terminal, tabs as spaces."""
    return printable(text).expandtabs(4)


def content(lines: Sequence[Line]) -> Content:
    """Return lines of text, one below the other."""
    return Content("\n").join([one_line(line) for line in lines])


def one_line(line: Line) -> Content:
    """Return one line."""
    return Content.assemble(*((text_of(text), STYLES[tone]) for text, tone in line))


def selected(line: Line, width: int) -> Content:
    """Return one line as what is selected: reversed, which holds without colours too."""
    text = one_line(line)
    return text.pad_right(max(0, width - text.cell_length)).stylize("reverse")


def content_of(text: str) -> Content:
    """Return plain text."""
    return Content(text_of(text))
