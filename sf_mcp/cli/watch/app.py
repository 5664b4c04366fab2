"""The program of `sf watch`: list on the left, details on the right, kept up to date by the stream.

A thread reads the stream and hands over what comes; one task at a time asks for the details of what
is selected. Nothing is asked while nothing happens.
"""

import asyncio
import contextlib
import threading
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from sf_mcp.cli.lines import a_line
from sf_mcp.cli.output import cut
from sf_mcp.cli.standing import colour_of
from sf_mcp.cli.watch.asking import Help, OneLine
from sf_mcp.cli.watch.deciding import DecidingApp
from sf_mcp.cli.watch.drawing import content, content_of, one_line, selected
from sf_mcp.cli.watch.keys import KEYS, footer
from sf_mcp.cli.watch.lists import entries, next_waiting, selection
from sf_mcp.cli.watch.looking import Seen, View, look
from sf_mcp.core.errors import ServerUnreachable, StoneforgeError
from sf_mcp.following import Following, Live, Lost

WAITS = "Waiting for it; this goes on by itself."


class Filter(OneLine):
    """The line for letters to look for."""

    async def action_submit(self) -> None:
        """Go back to the list at once: the next key is the list's already."""
        await self.run_action("app.to_list")


class WatchApp(DecidingApp):
    """The whole of it."""

    CSS_PATH = "watch.tcss"
    ENABLE_COMMAND_PALETTE = False
    TITLE = "sf watch"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key.key, key.action, show=False) for key in KEYS if key.key != "enter"),
        Binding("j", "move(1)", show=False),
        Binding("k", "move(-1)", show=False),
        Binding("escape", "rest", show=False),
        Binding("ctrl+c", "interrupt", show=False, priority=True),
    ]

    def __init__(self, root: Path) -> None:
        """Watch the project at `root`."""
        super().__init__(root)
        self.theme = "ansi-dark"
        self.is_interrupted = False
        """Whether Ctrl-C ended it."""
        self._following = Following(root)
        self._link: Live | Lost | None = None
        self._marked = ""
        """The key of the entry that is drawn as the selected one."""
        self._wanted = ""
        self._view = View.DETAIL
        self._to_look = asyncio.Event()

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Static(id="head")
        with Horizontal():
            yield OptionList(id="list", markup=False, compact=True)
            with VerticalScroll(id="right"):
                yield Static(id="detail")
        yield Filter(id="filter", placeholder="letters to look for", compact=True)
        yield Static(id="foot")

    def on_mount(self) -> None:
        """Start to follow."""
        self.query_one("#filter").display = False
        self.set_focus(self.query_one("#list"))
        self._draw()
        self.run_worker(self._keep_looking())
        threading.Thread(target=self._follow, daemon=True).start()

    def on_unmount(self) -> None:
        """Stop to follow."""
        self._following.stop()

    def on_resize(self) -> None:
        """Cut the lines to the new width."""
        self.call_after_refresh(self._draw)

    # -- what comes from the server ---------------------------------------------------------------

    def _follow(self) -> None:
        """Hand over what the stream brings, as fast as it is taken; in a thread of its own."""
        # The app may have ended meanwhile.
        with contextlib.suppress(RuntimeError, asyncio.CancelledError):
            for seen in self._following.follow():
                self.call_from_thread(self._take, seen)

    def _take(self, seen: Any) -> None:
        if isinstance(seen, Live | Lost):
            self._link = seen
        elif seen.kind == "overview":
            self.overview = seen.value
        elif seen.kind != "events":
            return
        self._draw()
        self._to_look.set()

    async def _keep_looking(self) -> None:
        """Ask for the details of what is selected, again whenever something has happened."""
        while True:
            await self._to_look.wait()
            self._to_look.clear()
            overview, row, view = self.overview, self.row, self._view
            if overview is None or not isinstance(self._link, Live):
                continue
            key, url = self.key, self._link.url
            looking = partial(look, row=row, view=view, overview=overview, url=url)
            try:
                seen = await self.asked(looking)
            except ServerUnreachable:
                continue
            except StoneforgeError as error:
                seen = Seen(title="", lines=[a_line(f"{error.message} {error.remedy}")])
            if key == self.key and view is self._view:
                self._show(key, seen)

    # -- drawing ----------------------------------------------------------------------------------

    def _draw(self) -> None:
        width = self.size.width
        self.query_one("#head", Static).update(content_of(self._headline(width)))
        self.query_one("#head").set_class(isinstance(self._link, Lost), "lost")
        self._draw_list()
        self.query_one("#foot", Static).update(content_of(footer(self.row, width - 2)))
        if self.overview is None and isinstance(self._link, Lost):
            words = f"{self._link.message}\n{self._link.remedy}\n\n{WAITS}"
            self.query_one("#detail", Static).update(content_of(words))

    def _headline(self, width: int) -> str:
        if self.overview is None:
            return "sf watch" if self._link is None else f"sf watch  {_link(self._link)}"
        target = self.overview["target"]
        facts = [
            self.overview["project"],
            _link(self._link),
            f"{target['branch']} {(target['commit'] or '')[:8]} {colour_of(self.overview)}",
            "PAUSED" if self.overview["paused"] else "",
            f"${self.overview['cost_usd']:.2f}" if self.overview["cost_usd"] else "",
            f"only {self._wanted!r}" if self._wanted else "",
        ]
        return cut("  ".join(fact for fact in facts if fact), width - 2)

    def _draw_list(self) -> None:
        if self.overview is None:
            return
        shown = self.query_one("#list", OptionList)
        before, self.listed = (
            self.listed,
            entries(self.overview, self._wanted, max(10, shown.content_size.width)),
        )
        key = selection(before, self.listed, self.key) or ""
        if [one.key for one in before] != [one.key for one in self.listed]:
            offset = shown.scroll_offset.y
            with self.prevent(OptionList.OptionHighlighted):
                shown.set_options(
                    Option(one_line(one.line), id=one.key, disabled=one.row is None)
                    for one in self.listed
                )
                self._marked = ""
                shown.scroll_to(y=offset, animate=False)
        else:
            for index, (old, new) in enumerate(zip(before, self.listed, strict=True)):
                if old.line != new.line:
                    shown.replace_option_prompt_at_index(index, one_line(new.line))
                    self._marked = "" if new.key == self._marked else self._marked
        self._select(key)

    def _select(self, key: str) -> None:
        """Select the entry; look at it if it is another one."""
        shown = self.query_one("#list", OptionList)
        index = next((n for n, one in enumerate(self.listed) if one.key == key), None)
        if shown.highlighted != index:
            with self.prevent(OptionList.OptionHighlighted):
                shown.highlighted = index
        if key != self.key:
            self.key = key
            self._changed()
        self._mark()

    def _mark(self) -> None:
        """Draw what is selected as such, and what was before as it is."""
        shown = self.query_one("#list", OptionList)
        if self._marked == self.key:
            return
        for one in self.listed:
            if one.key == self._marked:
                shown.replace_option_prompt(one.key, one_line(one.line))
            elif one.key == self.key:
                marked = selected(one.line, shown.content_size.width)
                shown.replace_option_prompt(one.key, marked)
        self._marked = self.key

    def _changed(self) -> None:
        """Look at what is selected now."""
        self.query_one("#right", VerticalScroll).scroll_home(animate=False)
        self.query_one("#foot", Static).update(content_of(footer(self.row, self.size.width - 2)))
        self._to_look.set()

    def _show(self, key: str, seen: Seen) -> None:
        right = self.query_one("#right", VerticalScroll)
        is_other = (key, seen.title) != (self.seen.key, self.seen.title)
        was_at_end = right.scroll_offset.y >= right.max_scroll_y
        lines_changed = is_other or seen.lines != self.seen.lines
        self.seen = Seen(
            key=key, title=seen.title, lines=seen.lines, ends_last=seen.ends_last,
            commit=seen.commit, question=seen.question,
        )  # fmt: skip
        if not lines_changed:
            return
        right.border_title = content_of(seen.title)
        self.query_one("#detail", Static).update(content(seen.lines))
        if seen.ends_last and (is_other or was_at_end):
            self.call_after_refresh(right.scroll_end, animate=False)

    # -- keys -------------------------------------------------------------------------------------

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Look at what the person went to."""
        if event.option_id is not None and event.option_id != self.key:
            self.key = event.option_id
            self._changed()
            self._mark()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter, or a click."""
        event.stop()
        self.action_open()

    def action_move(self, by: int) -> None:
        """Go up or down, in the list or in the details."""
        if self.query_one("#right").has_focus:
            self.query_one("#right").scroll_relative(y=by, animate=False)
        elif by > 0:
            self.query_one("#list", OptionList).action_cursor_down()
        else:
            self.query_one("#list", OptionList).action_cursor_up()

    def action_next(self) -> None:
        """Go to the next thing that waits for the person."""
        key = next_waiting(self.listed, self.key)
        if key is None:
            self.notify("Nothing waits for you.", markup=False)
            return
        self._select(key)
        self.set_focus(self.query_one("#list"))

    def action_rest(self) -> None:
        """Leave the details and the filter."""
        self.query_one("#filter", Filter).value = ""
        self.action_to_list()

    def action_filter(self) -> None:
        """Type what to look for."""
        self.query_one("#filter").display = True
        self.set_focus(self.query_one("#filter"))

    def on_input_changed(self, _: Input.Changed) -> None:
        """Show what has these letters."""
        self._sift()

    def _sift(self) -> None:
        self._wanted = self.query_one("#filter", Filter).value.strip()
        self._draw()

    def action_to_list(self) -> None:
        """Go back to the list, with what was typed in force: the next key is about what it left."""
        self._sift()
        self.query_one("#filter").display = bool(self._wanted)
        self.set_focus(self.query_one("#list"))

    def action_log(self) -> None:
        """Show the log of what is selected, of everything, or the details."""
        self._view = self._view.following
        self._changed()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Help())

    def action_leave(self) -> None:
        """End."""
        self.exit()

    def action_interrupt(self) -> None:
        """End as Ctrl-C does."""
        self.is_interrupted = True
        self.exit()


def _link(link: Live | Lost | None) -> str:
    match link:
        case Live():
            return f"{link.url} live"
        case Lost():
            return f"NOT CONNECTED: {link.message} {link.remedy}"
        case None:
            return "connecting"
