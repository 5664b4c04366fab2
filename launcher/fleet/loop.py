"""The fleet's loop: ask for work, start it at once, stop what should stop, leave nothing behind.

Rule 1: a launcher never adopts. What a predecessor left running is ended and reported before the
first order is asked for.
Rule 2: whatever the server takes for alive and this launcher does not run is a stray, left by a
lost answer or a refused report; it is ended and reported. A session that a person has taken over is
theirs, and none.
"""

import logging
import random
from collections.abc import Callable, Mapping

import anyio
import anyio.to_thread

from launcher.core.ends import PARKS_FLEET, STOPS_FLEET, End
from launcher.core.proof import Proof
from launcher.core.restarts import fleet_pause
from launcher.fleet.family import end_family
from launcher.fleet.orders import Order, Recorded, recorded
from launcher.fleet.remains import trace_in
from launcher.fleet.server import UNABLE, Say, Server
from launcher.fleet.session import GRACE_SECONDS, Session
from launcher.fleet.starting import Surroundings
from sf_mcp import process
from sf_mcp.client import Refused
from sf_mcp.clock import utc_now
from sf_mcp.core.account import account_key
from sf_mcp.core.encoding import to_json
from sf_mcp.core.errors import ServerUnreachable, StoneforgeError
from sf_mcp.core.layout import Layout
from sf_mcp.core.models import EndKind, SessionId
from sf_mcp.core.states import OF_THE_LAUNCHER
from sf_mcp.settings import SettingsFile

logger = logging.getLogger(__name__)

STOP_PATIENCE_SECONDS = 5.0
KILL_PATIENCE_SECONDS = 1.0
LOST_PAUSE_SECONDS = 0.5
"""Between two polls of a server that does not answer; a call of it takes its own time besides."""
UNABLE_PAUSE_SECONDS = 5.0
"""Between two polls of a server that answers and cannot, as with a full disk."""


class Fleet:
    """All sessions of one project, run by this process."""

    def __init__(
        self,
        layout: Layout,
        server: Server,
        *,
        claude: str,
        environ: Mapping[str, str],
        say: Say,
    ) -> None:
        """Run the project at `layout` with this Claude Code; `environ` is what sessions inherit."""
        self._server = server
        self._say = say
        self.on_change: Callable[[], None] = lambda: None
        """Called when something about a session has changed, for those who show it."""
        self._around = Surroundings(
            layout=layout,
            server=server,
            settings=SettingsFile(layout.config),
            claude=claude,
            environ=environ,
            on_change=self._changed,
        )
        self._account = account_key(environ)
        self._sessions: dict[SessionId, Session] = {}
        self._stopping = anyio.Event()
        self._polling: anyio.CancelScope | None = None
        self._told_unable = ""
        """Why the server cannot serve, as it was last said."""
        self._proof = Proof()
        self._is_waiting_for_proof = False
        self._pauses = 0
        """Since a session last came to a good end."""

    def _changed(self) -> None:
        self._proof.look(self._answers())
        now = anyio.current_time()
        has_news = any(
            self._proof.connected(session_id, now)
            for session_id, session in self._sessions.items()
            if session.seen.session_id
        )
        if self._is_waiting_for_proof and (has_news or self._proof.is_given):
            self._is_waiting_for_proof = False
            if self._polling is not None:
                # A poll that brings no order: nothing is lost with it.
                self._polling.cancel()
        self.on_change()

    def _answers(self) -> dict[str, float]:
        return {session_id: session.answers for session_id, session in self._sessions.items()}

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions that run now, oldest first."""
        return tuple(self._sessions.values())

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to end."""
        return self._stopping.is_set()

    def stop(self, reason: str) -> None:
        """Start nothing more; interrupt and end every session, its work kept."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._server.hurry(STOP_PATIENCE_SECONDS)
        number = len(self._sessions)
        told = f" Sessions to end first: {number}." if number else ""
        self._say("fleet_stopping", f"{reason}{told}")
        if self._polling is not None:
            self._polling.cancel()
        for session in self.sessions:
            session.stop(EndKind.STOPPED, "the fleet was stopped")

    def kill(self) -> None:
        """End every process now."""
        self.stop("Ending at once.")
        self._server.hurry(KILL_PATIENCE_SECONDS)
        for session in self.sessions:
            session.kill()

    async def run(self) -> None:
        """Run until stopped; on return no process of the fleet is left.

        Raises:
            StoneforgeError: the server refuses this launcher, or was gone for too long.
        """
        await self._end_strays("the launcher was restarted")
        failure: StoneforgeError | None = None
        async with anyio.create_task_group() as group:
            try:
                await self._dispatch(group)
            except StoneforgeError as error:
                failure = error
                self.stop(str(error))
        if failure is not None:
            raise failure
        if self._server.is_lost:
            return
        try:
            # An order that was under way when the poll was broken off.
            await self._end_strays("the fleet was stopped")
        except StoneforgeError as error:
            logger.warning("the last look at the sessions failed: %s", error)

    # -- dispatch ----------------------------------------------------------------------------------

    async def _dispatch(self, group: anyio.abc.TaskGroup) -> None:
        """Ask for something to do and do it, again and again until stopped.

        Raises:
            StoneforgeError: the server was gone for too long, or does not know this person.
        """
        must_look = False
        while not self._stopping.is_set():
            with anyio.CancelScope() as self._polling:
                try:
                    must_look = not await self._take_orders(group) or must_look
                    if must_look:
                        await self._end_strays("its process is gone")
                        must_look = False
                except ServerUnreachable:
                    # What was on its way when the line broke is looked for afterwards.
                    must_look = True
                    self._server.require_hope()
                    await anyio.sleep(LOST_PAUSE_SECONDS)
                except Refused as error:
                    if error.code not in UNABLE:
                        raise
                    self._say_unable(str(error))
                    await anyio.sleep(UNABLE_PAUSE_SECONDS)

    def _say_unable(self, reason: str) -> None:
        if reason != self._told_unable:
            self._told_unable = reason
            self._say("server_unable", f"{reason} Trying again.")

    async def _take_orders(self, group: anyio.abc.TaskGroup) -> bool:
        """Do what one poll brings; return whether it brought anything."""
        running = [one.order.session_id for one in self.sessions if not one.is_stopping]
        wait = self._proof.seconds_to_wait(self._answers(), anyio.current_time())
        self._is_waiting_for_proof = wait > 0
        found = await self._server.poll(
            running,
            account=self._account,
            start_after_seconds=wait,
            handing_over={one.order.session_id: one.wanted.value for one in self.sessions},
        )
        self._told_unable = ""
        for session_id, reason in found.stops.items():
            if session_id in self._sessions:
                self._sessions[session_id].stop(EndKind.STOPPED, reason)
        for session_id, how in found.hand_over.items():
            if session_id in self._sessions:
                self._sessions[session_id].hand_over(how)
        if found.order is not None:
            self._start(group, found.order)
        return found.order is not None or bool(found.stops) or bool(found.hand_over)

    def _start(self, group: anyio.abc.TaskGroup, order: Order) -> None:
        session = Session(order, self._around)
        self._sessions[order.session_id] = session
        self._proof.started(order.session_id, anyio.current_time())
        if self._stopping.is_set():
            session.stop(EndKind.STOPPED, "the fleet was stopped")
        group.start_soon(self._run, session)

    async def _run(self, session: Session) -> None:
        try:
            end = await session.run()
        except Exception as error:  # one session's root: the others go on
            logger.exception("the session %s failed inside the launcher", session.name)
            end = End(kind=EndKind.STOPPED, sentence=f"The launcher failed: {error!r}.")
        try:
            await self._report_end(session, end)
        finally:
            # The server may have answered with the order to resume this very session.
            if self._sessions.get(session.order.session_id) is session:
                del self._sessions[session.order.session_id]
            self.on_change()

    async def _report_end(self, session: Session, end: End) -> None:
        resets_at = ""
        if end.kind in PARKS_FLEET | STOPS_FLEET:
            self._proof.lose(self._answers())
        if end.kind in PARKS_FLEET:
            until = fleet_pause(
                end.kind,
                end.resets_at,
                now=utc_now(),
                pauses=self._pauses,
                random=random.random(),
            )
            resets_at = until.isoformat() if until is not None else ""
            self._pauses += 1
        elif session.seen.turns_ended:
            self._pauses = 0
        try:
            await self._server.call(
                "session_ended",
                session_id=session.order.session_id,
                kind=end.kind.value,
                detail=end.sentence,
                resets_at=resets_at,
                trace=to_json(session.trace),
                pid=session.pid or 0,
            )
        except StoneforgeError as error:
            # It becomes a stray, and its end is reported later or by the next launcher.
            self._say("report_failed", f"The end of {session.name} is not recorded yet: {error}")

    # -- strays ------------------------------------------------------------------------------------

    async def _end_strays(self, reason: str) -> None:
        """End and report what the server takes for alive and is not run here.

        Called only while no poll is under way, so that no order is on its way to us.
        """
        listed = await self._server.call("list_sessions")
        strays = [
            recorded(one)
            for one in listed
            if one["state"] in OF_THE_LAUNCHER and one["id"] not in self._sessions
        ]
        async with anyio.create_task_group() as group:
            for stray in strays:
                group.start_soon(self._end_stray, stray, reason)

    async def _end_stray(self, stray: Recorded, reason: str) -> None:
        if await anyio.to_thread.run_sync(_end_processes, stray):
            self._say("stray_ended", f"{stray.name} (process {stray.pid}) was left over; ended.")
        try:
            await self._server.call(
                "session_ended",
                session_id=stray.session_id,
                kind=EndKind.STOPPED.value,
                detail=reason,
                trace=to_json(await anyio.to_thread.run_sync(trace_in, stray.log_path)),
            )
        except (Refused, ServerUnreachable) as error:
            self._say("report_failed", f"The end of {stray.name} is not recorded yet: {error}")


def _end_processes(stray: Recorded) -> bool:
    """End what a session has left running; return whether there was anything."""
    lived = process.end_group(stray.pid, stray.process_started, grace_seconds=GRACE_SECONDS)
    return bool(end_family(stray.session_id, grace_seconds=GRACE_SECONDS)) or lived
