"""Follows the server while the fleet runs: new events, the overview, and whether all is done."""

import logging
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.to_thread

from launcher.cli.idle import Judgement, judge
from launcher.cli.screen import Screen
from launcher.fleet.loop import Fleet
from launcher.fleet.server import Server
from sf_mcp.client import Refused
from sf_mcp.core.errors import ServerUnreachable, StoneforgeError
from sf_mcp.core.layout import Layout
from sf_mcp.git.checkout import open_checkout

logger = logging.getLogger(__name__)

EVENTS = 200
BUSY_SECONDS = 0.5
AT_REST_SECONDS = 10.0
"""Between two looks while nothing goes on. What starts a session is seen at once all the same."""
SETTLED_SECONDS = 2.0
"""How long nothing must have happened before "all is done" is believed."""
STALLED_SECONDS = 360.0
"""Beyond the longest back-off: work that is ready and not started by then never will be."""


class Watch:
    """Keeps the screen up to date, and ends the fleet when it is to run until idle."""

    def __init__(
        self, layout: Layout, server: Server, fleet: Fleet, screen: Screen, *, until_idle: bool
    ) -> None:
        """Follow this server for this screen."""
        self._layout = layout
        self._server = server
        self._fleet = fleet
        self._screen = screen
        self._until_idle = until_idle
        self._newest: int | None = None
        self._overview: Mapping[str, Any] | None = None
        self._changed = anyio.Event()
        self._quiet_since = 0.0
        self.judgement: Judgement | None = None
        """What the fleet was ended for; None while it runs or when somebody else ended it."""

    def wake(self) -> None:
        """Look soon: something about a session has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        self._quiet_since = anyio.current_time()
        while True:
            try:
                is_busy = await self._look()
            except (ServerUnreachable, Refused):
                # The fleet's own loop says so and decides.
                is_busy = True
            except Exception:  # the loop's root: the fleet does not end because a screen fails
                logger.exception("the screen could not be brought up to date")
                is_busy = True
            await anyio.sleep(BUSY_SECONDS)
            if not is_busy and not self._until_idle:
                with anyio.move_on_after(AT_REST_SECONDS):
                    await self._changed.wait()
            self._changed = anyio.Event()

    async def look_once_more(self) -> None:
        """Show how everything ended."""
        try:
            await self._look()
        except StoneforgeError:
            return

    async def _look(self) -> bool:
        """Take in what is new; return whether anything goes on."""
        running = len(self._fleet.sessions)
        if self._newest is None:
            newest = await self._server.call_once("read_log", limit=1)
            self._newest = newest[-1]["number"] if newest else 0
            events = newest
        else:
            events = await self._server.call_once("read_log", after=self._newest, limit=EVENTS)
            if events:
                self._newest = events[-1]["number"]
                self._screen.tell_events(events)
        if events:
            self._quiet_since = anyio.current_time()
        overview = self._overview
        if events or running or overview is None or self._until_idle:
            overview = self._overview = await self._overview_now()
            self._screen.show(overview)
        judgement = judge(overview, running)
        if self._until_idle and not self._fleet.is_stopping:
            await self._end_when_idle(overview, judgement)
        return bool(events) or judgement.is_working

    async def _overview_now(self) -> Mapping[str, Any]:
        return await self._server.call_once("fleet_status")

    async def _end_when_idle(self, overview: Mapping[str, Any], judgement: Judgement) -> None:
        quiet = anyio.current_time() - self._quiet_since
        if judgement.is_working:
            if quiet < STALLED_SECONDS or overview["sessions"] or overview["parked_until"]:
                return
            judgement = Judgement(
                reasons=(f"Nothing has happened for {quiet:.0f} s: see `sf status`.",)
            )
        if quiet < SETTLED_SECONDS:
            return
        if judgement.is_done and not await anyio.to_thread.run_sync(self._is_published, overview):
            return
        self.judgement = judgement
        self._fleet.stop("All is done." if judgement.is_done else "A person is needed.")

    def _is_published(self, overview: Mapping[str, Any]) -> bool:
        """Return whether the person's branch has what landed, or was left alone on purpose."""
        target = overview["target"]
        if target["commit"] is None or target["checkout"] != "up to date":
            return True
        theirs = open_checkout(self._layout.root).repository
        head = theirs.head_of(f"refs/heads/{target['branch']}")
        if head is None or theirs.head_of(target["commit"]) is None:
            return False
        return theirs.is_ancestor(target["commit"], head)
