"""What a person decides in `sf watch`, by one key each, about what is selected and shown.

Rule: nothing is decided unseen. An approval names the commit that is on the screen.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual import work
from textual.app import App

from sf_mcp.cli.about import question_lines
from sf_mcp.cli.api import Call
from sf_mcp.cli.standing import Overview, Row
from sf_mcp.cli.watch import acting
from sf_mcp.cli.watch.asking import Asking, Sure
from sf_mcp.cli.watch.lists import Entry
from sf_mcp.cli.watch.looking import Seen, question_of, task_of
from sf_mcp.client import connect
from sf_mcp.core.errors import ServerUnreachable, StoneforgeError

TOAST_SECONDS = 8


class DecidingApp(App[None]):
    """Knows what is selected and what is shown of it, and does what the keys ask for."""

    def __init__(self, root: Path) -> None:
        """Decide in the project at `root`."""
        # Said here too: NO_COLOR is heeded before there is a theme.
        super().__init__(ansi_color=True)
        self._root = root
        self.overview: Overview | None = None
        self.listed: list[Entry] = []
        """What the list on the left has."""
        self.key = ""
        """Of the entry that is selected."""
        self.seen = Seen()
        """What the right side shows."""

    @property
    def row(self) -> Row | None:
        """What is selected."""
        return next((one.row for one in self.listed if one.key == self.key), None)

    async def asked(self, ask: Callable[[Call], Any]) -> Any:
        """Return what the server says, without keeping the screen waiting."""

        def run() -> Any:
            client = connect(self._root)
            if client is None:
                raise ServerUnreachable(
                    "The server does not answer.", remedy="Start it with `sf serve`."
                )
            return ask(client.call)

        return await asyncio.to_thread(run)

    def action_open(self) -> None:
        """Answer the question, or go to the details."""
        row = self.row
        if self.overview is not None and (question := question_of(row, self.overview)):
            self._answer(question)
        elif row is not None:
            self.set_focus(self.query_one("#right"))

    @work
    async def _answer(self, question: str) -> None:
        if self.seen.key != self.key or self.seen.question.get("id") != question:
            asked = await self._tried(lambda ask: ask("get_question", question=question))
            if asked is None:
                return
        else:
            asked = self.seen.question
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
        if (row := self.row) is None:
            return
        if row.kind == "proposal":
            await self._do(lambda ask: acting.decide(ask, row.id, accept=True))
        elif commit := self._commit_of(row):
            await self._do(lambda ask: acting.approve(ask, row.id, commit))

    @work
    async def action_reject(self) -> None:
        """Send it back, with the reason."""
        if (row := self.row) is None:
            return
        if row.kind == "proposal":
            if await self.push_screen_wait(Sure(f"Refuse {row.id}? {row.text}")):
                await self._do(lambda ask: acting.decide(ask, row.id, accept=False))
        elif commit := self._commit_of(row):
            what = "What must change, and where? Enter sends it back, Esc leaves."
            reason = await self.push_screen_wait(Asking(list(self.seen.lines), what))
            if reason is not None:
                await self._do(lambda ask: acting.send_back(ask, row.id, commit, reason))

    def _commit_of(self, row: Row) -> str:
        """Return the commit that the person sees; nothing is decided unseen."""
        if row.kind not in ("review", "conflict", "merge"):
            return self._not_for("a merge request or a proposal")
        if self.seen.key != self.key or not self.seen.commit:
            self.notify("Wait until its details are shown.", severity="warning", markup=False)
            return ""
        return self.seen.commit

    @work
    async def action_stop(self) -> None:
        """Stop the session."""
        if (row := self.row) is None or row.kind != "session":
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
        if self.overview is not None:
            is_paused = bool(self.overview["paused"])
            await self._do(lambda ask: acting.pause_or_resume(ask, is_paused=is_paused))

    def _task_id(self) -> str:
        task = task_of(self.row, self.overview) if self.overview is not None else ""
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
            return await self.asked(ask)
        except StoneforgeError as error:
            words = f"{error.message}\n{error.remedy}".strip()
            self.notify(
                words, title="Refused", severity="error", timeout=TOAST_SECONDS, markup=False
            )
            return None
