"""What `sf watch` asks in front of everything else: an answer, a reason, whether really, the help.

All text goes into `Content` without markup.
"""

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from sf_mcp.cli.lines import Line
from sf_mcp.cli.watch import acting, keys
from sf_mcp.cli.watch.drawing import content, content_of


class OneLine(Input):
    """A line to type; what is pasted becomes one line."""

    def on_paste(self, event: events.Paste) -> None:
        """Take all of it: the widget itself would take the first line alone."""
        event.prevent_default()
        event.stop()
        self.insert_text_at_cursor(" ".join(event.text.split()))


class Asking(ModalScreen[str | None]):
    """Text to read, and a line to type; gives None when it is left with Esc."""

    AUTO_FOCUS = "#typed"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def __init__(self, lines: Sequence[Line], what: str, options: Sequence[str] = ()) -> None:
        """Show these lines; `what` is to be typed, or the number of an option."""
        super().__init__()
        self._lines = lines
        self._what = what
        self._options = list(options)

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with Vertical(classes="box"):
            with VerticalScroll():
                yield Static(content(self._lines))
            yield Static(id="meant")
            yield OneLine(placeholder="", id="typed")
            yield Static(content_of(self._what))

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show which option a number stands for."""
        meant = acting.chosen(self._options, event.value)
        is_option = meant != event.value.strip()
        self.query_one("#meant", Static).update(content_of(f"Answer: {meant}" if is_option else ""))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give what was typed; an empty line is none."""
        event.stop()
        if meant := acting.chosen(self._options, event.value):
            self.dismiss(meant)

    def action_leave(self) -> None:
        """Leave without an answer."""
        self.dismiss(None)


class Sure(ModalScreen[bool]):
    """Asks once before what cannot be undone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "say(True)", show=False),
        Binding("n,escape,q", "say(False)", show=False),
    ]

    def __init__(self, question: str) -> None:
        """Ask this."""
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with Vertical(classes="box small"):
            yield Static(content_of(f"{self._question}\n\ny yes   n no"))

    def action_say(self, is_sure: bool) -> None:
        """Give the answer."""
        self.dismiss(is_sure)


class Help(ModalScreen[None]):
    """The keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "leave", show=False)
    ]

    def compose(self) -> ComposeResult:
        """Lay it out."""
        rows = [f"{shown:20}{about}" for shown, about in keys.help_text()]
        with VerticalScroll(classes="box"):
            yield Static(content_of("\n".join([*rows, "", "Esc closes this."])))

    def action_leave(self) -> None:
        """Close it."""
        self.dismiss(None)
