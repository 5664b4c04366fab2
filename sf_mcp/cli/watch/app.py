"""The program of `sf watch`: list on the left, details on the right, kept up to date by the stream.

A thread reads the stream and hands over what comes; one task at a time asks for the details of what
is selected. Nothing is asked while nothing happens.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from sf_mcp.cli.about import question_lines
from sf_mcp.cli.api import Call
from sf_mcp.cli.lines import a_line
from sf_mcp.cli.output import cut
from sf_mcp.cli.standing import Overview, Row, colour_of
from sf_mcp.cli.watch import acting
from sf_mcp.cli.watch.asking import Asking, Help, OneLine, Sure
from sf_mcp.cli.watch.drawing import content, content_of, one_line, selected
from sf_mcp.cli.watch.keys import KEYS, footer
from sf_mcp.cli.watch.lists import Entry, entries, next_waiting, selection
from sf_mcp.cli.watch.looking import Seen, View, look, question_of, task_of
from sf_mcp.client import connect
from sf_mcp.core.errors import ServerUnreachable, StoneforgeError
from sf_mcp.following import Following, Live, Lost

TOAST_SECONDS = 8
WAITS = "Waiting for it; this goes on by itself."


class Filter(OneLine):
    """The line for letters to look for."""

    async def action_submit(self) -> None:
        """Go back to the list at once: the next key is the list's already."""
        await self.run_action("app.to_list")


class WatchApp(App[None]):
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
        # Said here too: NO_COLOR is heeded before there is a theme.
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.is_interrupted = False
        """Whether Ctrl-C ended it."""
        self._root = root
        self._following = Following(root)
        self._link: Live | Lost | None = None
        self._overview: Overview | None = None
        self._entries: list[Entry] = []
        self._key = ""
        self._marked = ""
        """The key of the entry that is drawn as the selected one."""
        self._wanted = ""
        self._view = View.DETAIL
        self._seen = Seen()
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

    @property
    def listed(self) -> Sequence[Entry]:
        """What the list on the left has."""
        return self._entries

    @property
    def seen(self) -> Seen:
        """What the right side shows."""
        return self._seen

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
            self._overview = seen.value
        elif seen.kind != "events":
            return
        self._draw()
        self._to_look.set()

    async def _keep_looking(self) -> None:
        """Ask for the details of what is selected, again whenever something has happened."""
        while True:
            await self._to_look.wait()
            self._to_look.clear()
            overview, row, view = self._overview, self._row, self._view
            if overview is None or not isinstance(self._link, Live):
                continue
            key, url = self._key, self._link.url
            looking = partial(look, row=row, view=view, overview=overview, url=url)
            try:
                seen = await self._asked(looking)
            except ServerUnreachable:
                continue
            except StoneforgeError as error:
                seen = Seen(title="", lines=[a_line(f"{error.message} {error.remedy}")])
            if key == self._key and view is self._view:
                self._show(key, seen)

    async def _asked(self, ask: Callable[[Call], Any]) -> Any:
        """Return what the server says, without keeping the screen waiting."""

        def run() -> Any:
            client = connect(self._root)
            if client is None:
                raise ServerUnreachable(
                    "The server does not answer.", remedy="Start it with `sf serve`."
                )
            return ask(client.call)

        return await asyncio.to_thread(run)

    # -- drawing ----------------------------------------------------------------------------------

    @property
    def _row(self) -> Row | None:
        return next((one.row for one in self._entries if one.key == self._key), None)

    def _draw(self) -> None:
        width = self.size.width
        self.query_one("#head", Static).update(content_of(self._headline(width)))
        self.query_one("#head").set_class(isinstance(self._link, Lost), "lost")
        self._draw_list()
        self.query_one("#foot", Static).update(content_of(footer(self._row, width - 2)))
        if self._overview is None and isinstance(self._link, Lost):
            words = f"{self._link.message}\n{self._link.remedy}\n\n{WAITS}"
            self.query_one("#detail", Static).update(content_of(words))

    def _headline(self, width: int) -> str:
        if self._overview is None:
            return "sf watch" if self._link is None else f"sf watch  {_link(self._link)}"
        target = self._overview["target"]
        facts = [
            self._overview["project"],
            _link(self._link),
            f"{target['branch']} {(target['commit'] or '')[:8]} {colour_of(self._overview)}",
            "PAUSED" if self._overview["paused"] else "",
            f"${self._overview['cost_usd']:.2f}" if self._overview["cost_usd"] else "",
            f"only {self._wanted!r}" if self._wanted else "",
        ]
        return cut("  ".join(fact for fact in facts if fact), width - 2)

    def _draw_list(self) -> None:
        if self._overview is None:
            return
        shown = self.query_one("#list", OptionList)
        before, self._entries = (
            self._entries,
            entries(self._overview, self._wanted, max(10, shown.content_size.width)),
        )
        key = selection(before, self._entries, self._key) or ""
        if [one.key for one in before] != [one.key for one in self._entries]:
            offset = shown.scroll_offset.y
            with self.prevent(OptionList.OptionHighlighted):
                shown.set_options(
                    Option(one_line(one.line), id=one.key, disabled=one.row is None)
                    for one in self._entries
                )
                self._marked = ""
                shown.scroll_to(y=offset, animate=False)
        else:
            for index, (old, new) in enumerate(zip(before, self._entries, strict=True)):
                if old.line != new.line:
                    shown.replace_option_prompt_at_index(index, one_line(new.line))
                    self._marked = "" if new.key == self._marked else self._marked
        self._select(key)

    def _select(self, key: str) -> None:
        """Select the entry; look at it if it is another one."""
        shown = self.query_one("#list", OptionList)
        index = next((n for n, one in enumerate(self._entries) if one.key == key), None)
        if shown.highlighted != index:
            with self.prevent(OptionList.OptionHighlighted):
                shown.highlighted = index
        if key != self._key:
            self._key = key
            self._changed()
        self._mark()

    def _mark(self) -> None:
        """Draw what is selected as such, and what was before as it is."""
        shown = self.query_one("#list", OptionList)
        if self._marked == self._key:
            return
        for one in self._entries:
            if one.key == self._marked:
                shown.replace_option_prompt(one.key, one_line(one.line))
            elif one.key == self._key:
                marked = selected(one.line, shown.content_size.width)
                shown.replace_option_prompt(one.key, marked)
        self._marked = self._key

    def _changed(self) -> None:
        """Look at what is selected now."""
        self.query_one("#right", VerticalScroll).scroll_home(animate=False)
        self.query_one("#foot", Static).update(content_of(footer(self._row, self.size.width - 2)))
        self._to_look.set()

    def _show(self, key: str, seen: Seen) -> None:
        right = self.query_one("#right", VerticalScroll)
        is_other = (key, seen.title) != (self._seen.key, self._seen.title)
        was_at_end = right.scroll_offset.y >= right.max_scroll_y
        lines_changed = is_other or seen.lines != self._seen.lines
        self._seen = Seen(
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
        if event.option_id is not None and event.option_id != self._key:
            self._key = event.option_id
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
        key = next_waiting(self._entries, self._key)
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

    # -- acting -----------------------------------------------------------------------------------

    def action_open(self) -> None:
        """Answer the question, or go to the details."""
        row = self._row
        if self._overview is not None and (question := question_of(row, self._overview)):
            self._answer(question)
        elif row is not None:
            self.set_focus(self.query_one("#right"))

    @work
    async def _answer(self, question: str) -> None:
        if self._seen.key != self._key or self._seen.question.get("id") != question:
            asked = await self._tried(lambda ask: ask("get_question", question=question))
            if asked is None:
                return
        else:
            asked = self._seen.question
        what = "Enter answers"
        if options := asked["options"]:
            what = f"1-{len(options)} for an option, or your own words; {what}"
        text = await self.push_screen_wait(
            Asking(list(question_lines(asked, is_numbered=True)), f"{what}, Esc leaves.", options)
        )
        if text is not None:
            await self._do(lambda ask: acting.answer(ask, question, text))

    @work
    async def action_approve(self) -> None:
        """Approve what is shown."""
        if (row := self._row) is None:
            return
        if row.kind == "proposal":
            await self._do(lambda ask: acting.decide(ask, row.id, accept=True))
        elif commit := self._commit_of(row):
            await self._do(lambda ask: acting.approve(ask, row.id, commit))

    @work
    async def action_reject(self) -> None:
        """Send it back, with the reason."""
        if (row := self._row) is None:
            return
        if row.kind == "proposal":
            if await self.push_screen_wait(Sure(f"Refuse {row.id}? {row.text}")):
                await self._do(lambda ask: acting.decide(ask, row.id, accept=False))
        elif commit := self._commit_of(row):
            what = "What must change, and where? Enter sends it back, Esc leaves."
            reason = await self.push_screen_wait(Asking(list(self._seen.lines), what))
            if reason is not None:
                await self._do(lambda ask: acting.send_back(ask, row.id, commit, reason))

    def _commit_of(self, row: Row) -> str:
        """Return the commit that the person sees; nothing is decided unseen."""
        if row.kind not in ("review", "conflict", "merge"):
            return self._not_for("a merge request or a proposal")
        if self._seen.key != self._key or not self._seen.commit:
            self.notify("Wait until its details are shown.", severity="warning", markup=False)
            return ""
        return self._seen.commit

    @work
    async def action_stop(self) -> None:
        """Stop the session."""
        if (row := self._row) is None or row.kind != "session":
            self._not_for("a session")
        elif await self.push_screen_wait(Sure(f"Stop {row.id}? Its work is kept.")):
            session = row.value["id"]
            await self._do(lambda ask: acting.stop(ask, session, row.id))

    @work
    async def action_retry(self) -> None:
        """Open the stuck task again."""
        if task := self._task_id():
            await self._do(lambda ask: acting.retry(ask, task))

    @work
    async def action_cancel(self) -> None:
        """Cancel the task."""
        if (task := self._task_id()) and await self.push_screen_wait(
            Sure(f"Cancel {task}? Its commits are kept; what depends on it stays blocked.")
        ):
            await self._do(lambda ask: acting.cancel(ask, task))

    @work
    async def action_raise(self) -> None:
        """Make the task more urgent."""
        if task := self._task_id():
            await self._do(lambda ask: acting.reprioritise(ask, task, -1))

    @work
    async def action_lower(self) -> None:
        """Make the task less urgent."""
        if task := self._task_id():
            await self._do(lambda ask: acting.reprioritise(ask, task, 1))

    @work
    async def action_pause(self) -> None:
        """Pause the fleet, or let it go on."""
        if self._overview is not None:
            is_paused = bool(self._overview["paused"])
            await self._do(lambda ask: acting.pause_or_resume(ask, is_paused=is_paused))

    def _task_id(self) -> str:
        task = task_of(self._row, self._overview) if self._overview is not None else ""
        return task or self._not_for("a task")

    def _not_for(self, what: str) -> str:
        self.notify(f"Select {what} first.", severity="warning", markup=False)
        return ""

    async def _do(self, act: Callable[[Call], str]) -> None:
        """Do it and say so."""
        if (said := await self._tried(act)) is not None:
            self.notify(said, timeout=TOAST_SECONDS, markup=False)

    async def _tried(self, ask: Callable[[Call], Any]) -> Any:
        """Return what the server says; None, with its words shown, when it refuses."""
        try:
            return await self._asked(ask)
        except StoneforgeError as error:
            words = f"{error.message}\n{error.remedy}".strip()
            self.notify(
                words, title="Refused", severity="error", timeout=TOAST_SECONDS, markup=False
            )
            return None


def _link(link: Live | Lost | None) -> str:
    match link:
        case Live():
            return f"{link.url} live"
        case Lost():
            return f"NOT CONNECTED: {link.message} {link.remedy}"
        case None:
            return "connecting"
