"""One Claude Code process from its order to its reported end.

Rule 1: the process is reported before it is told anything, and its end is reported only when its
whole group is gone.
Rule 2: alive, in a turn, and making progress are three facts; none is guessed from another.
Rule 3: every wait is bounded, so that whatever the client does the session comes to an end.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, auto

import anyio
import anyio.to_thread

from launcher.core.calls import Calls
from launcher.core.command_line import MCP_SERVER_NAME
from launcher.core.ends import OUTSIDE_ENDS, End, Ending, classify
from launcher.core.observation import Observation, fold
from launcher.core.stream import Event, interrupt, parse_line, user_message
from launcher.fleet.child import Child
from launcher.fleet.family import end_family
from launcher.fleet.gauge import Gauge, nothing_seen
from launcher.fleet.orders import HandOver, NextStep, Order, Verdict, verdict
from launcher.fleet.report import Report
from launcher.fleet.starting import Surroundings, log_path, not_started, start_client
from launcher.fleet.zone import local_zone
from sf_mcp.clock import utc_now
from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.interrupted import Trace
from sf_mcp.core.models import EndKind, Role

logger = logging.getLogger(__name__)

START_SECONDS = 30.0
"""From the spawn to the first word; a cold disk reads hundreds of megabytes in this time."""
INTERRUPT_SECONDS = 5.0
"""For an interrupted turn to end."""
EXIT_SECONDS = 5.0
"""For a client without input to end by itself; it takes some hundred milliseconds."""
GRACE_SECONDS = 3.0
"""Between TERM and KILL. With the two before it a stop takes at most 13 s and the KILL."""
RENEWALS = 3
"""Reports in the time of one lease: two may be lost."""
STEP_SECONDS = 30.0
"""For a tool that is at work to end by itself, before it is interrupted for a person who waits."""
LONG_LINE_BYTES = 200_000
"""Longer lines are parsed in a thread: the loop serves other sessions meanwhile."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A request to end a session."""

    kind: EndKind
    reason: str


class _Happening(StrEnum):
    """What a session at work has to react to next."""

    STOP = auto()
    TURN_ENDED = auto()
    EXITED = auto()
    FULL = auto()
    HAND_OVER = auto()
    SILENT = auto()


class Session:
    """One session's process and the conversation with it."""

    def __init__(self, order: Order, around: Surroundings) -> None:
        """Carry out `order`; nothing is started yet."""
        self.order = order
        self.seen = Observation()
        self._calls = Calls()
        self._around = around
        self._server = around.server
        self._child: Child | None = None
        self._stop: Stop | None = None
        self.wanted = HandOver.NO
        """Whether a person waits for it."""
        self._wanted_at = 0.0
        self._is_killed = False
        self._is_over = False
        """Its output has ended."""
        self._expects_turn = False
        """A message was sent that no turn's end has answered."""
        self._turns_handled = 0
        self._heard_at = 0.0
        self._changed = anyio.Event()
        self._interrupts = 0
        lease_seconds = around.settings.current().orchestrator.lease_seconds
        self._gauge = Gauge(order.role, around.settings, lambda: self.seen)
        self._report = Report(
            order,
            around.server,
            self._observed,
            self._gauge.thresholds,
            renewal_seconds=lease_seconds / RENEWALS,
        )

    @property
    def name(self) -> str:
        """What people call it: `worker-2`."""
        return self.order.name

    @property
    def pid(self) -> int | None:
        """Its process; None before there is one."""
        return self._child.pid if self._child is not None else None

    @property
    def answers(self) -> float:
        """A number that grows with each answer of the model to this process."""
        result = self.seen.last_result
        good = self.seen.turns_ended if result is not None and not result.is_error else 0
        return self.seen.usage.total.prompt + good

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to end."""
        return self._stop is not None

    @property
    def is_turn_active(self) -> bool:
        """Whether it works on something."""
        return self._expects_turn or self.seen.is_turn_active

    @property
    def trace(self) -> Trace:
        """What the server is to know of its process once that has ended."""
        return self._calls.trace(is_resumable=self._calls.has_begun or self.order.is_resume)

    def stop(self, kind: EndKind, reason: str) -> None:
        """Ask it to end: its turn is interrupted, its files are kept. The first request counts."""
        if self._stop is None:
            self._stop = Stop(kind, reason)
            self._wake()

    def hand_over(self, how: HandOver) -> None:
        """End its process for a person who goes on in it, or do not any more."""
        if self.wanted is HandOver.NO:
            self._wanted_at = anyio.current_time()
        self.wanted = how
        self._wake()

    def kill(self) -> None:
        """End its process group at once."""
        self.stop(EndKind.STOPPED, "killed on request")
        self._is_killed = True
        if self._child is not None:
            self._child.kill()

    async def run(self) -> End:
        """Run it until its whole process group is gone, and return how it ended."""
        if self._stop is not None:
            return End(kind=self._stop.kind, sentence=self._stop.reason)
        if self.order.is_resume:
            # One conversation, one client: also of a person's whose terminal was killed.
            await self._end_family(GRACE_SECONDS)
        try:
            self._child = child = await start_client(self.order, self._around)
            self.seen = nothing_seen(self._around.layout, self.order.role)
        except OSError as error:
            return not_started(error, self._around.claude)
        except StoneforgeError as error:
            return End(kind=EndKind.FAILED_TO_START, sentence=str(error))
        end = End(kind=EndKind.STOPPED, sentence="The launcher was ended.")
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._listen, child)
                group.start_soon(self._report.run)
                group.start_soon(self._gauge.run, child)
                try:
                    end = await self._guarded(child)
                finally:
                    self._gauge.close()
                    await self._clear_away(child)
                    self._report.close()
            return end
        finally:
            child.close()

    async def _guarded(self, child: Child) -> End:
        try:
            await self._server.call(
                "session_started",
                session_id=self.order.session_id,
                pid=child.pid,
                process_started=child.started,
                log_path=str(log_path(self.order, self._around.layout)),
            )
            return await self._converse(child)
        except StoneforgeError as error:
            # The server refuses or is gone for good: not this session's failure.
            return End(kind=EndKind.STOPPED, sentence=f"It could not go on: {error}")

    async def _clear_away(self, child: Child) -> None:
        """End what is left of the client and of everything that it has started."""
        grace = 0.0 if self._is_killed else GRACE_SECONDS
        await child.end_group(grace_seconds=grace)
        await self._end_family(grace)

    async def _end_family(self, grace: float) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(
                lambda: end_family(self.order.session_id, grace_seconds=grace)
            )

    # -- the process -------------------------------------------------------------------------------

    async def _listen(self, child: Child) -> None:
        async for line in child.lines():
            if len(line) > LONG_LINE_BYTES:
                event: Event = await anyio.to_thread.run_sync(parse_line, line)
            else:
                event = parse_line(line)
            turns = self.seen.turns_ended
            self.seen = fold(self.seen, event)
            self._gauge.hear(event)
            self._calls.take(event)
            if self.seen.turns_ended > turns:
                self._expects_turn = False
            self._heard_at = anyio.current_time()
            self._report.note()
            self._wake()
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        self._around.on_change()

    async def _wait_until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        with anyio.move_on_after(seconds):
            while not is_so():
                await self._changed.wait()
        return is_so()

    def _observed(self) -> tuple[Observation, bool]:
        return self.seen, self.is_turn_active and not self._is_over

    # -- the conversation --------------------------------------------------------------------------

    async def _converse(self, child: Child) -> End:
        """Feed the client until it has reached an outcome or has to go."""
        if self._stop is None:
            # Before anything is used: the window, and what earlier processes have cost.
            await self._gauge.ask(child)
            await self._tell(child, self.order.message)
        if (end := await self._connect(child)) is not None:
            return end
        while True:
            match await self._next():
                case _Happening.STOP:
                    return await self._carry_out_stop(child)
                case _Happening.EXITED:
                    return await self._end_of_exited(child)
                case _Happening.FULL:
                    return await self._take_over(child)
                case _Happening.HAND_OVER:
                    await self._interrupt(child)
                    if (end := await self._after_turn(child)) is not None:
                        return end
                case _Happening.SILENT:
                    seconds = self._around.settings.current().orchestrator.turn_timeout_seconds
                    await self._interrupt(child)
                    return await self._finish(
                        child, EndKind.TIMED_OUT, f"Nothing was heard for {seconds} s."
                    )
                case _Happening.TURN_ENDED:
                    if (end := await self._after_turn(child)) is not None:
                        return end

    async def _tell(self, child: Child, message: str) -> None:
        self._expects_turn = True
        self._heard_at = anyio.current_time()
        try:
            await child.send(user_message(message))
        except OSError as error:
            # It is ending or hangs: the one is seen in its output, the other by its silence.
            logger.info("%s took no message: %s", self.name, error)

    async def _connect(self, child: Child) -> End | None:
        """Wait for the client's first word; return the end if it cannot work."""
        await self._wait_until(
            lambda: bool(self.seen.session_id) or self._is_over or self._stop is not None,
            START_SECONDS,
        )
        if self._stop is not None:
            return await self._carry_out_stop(child)
        if not self.seen.session_id:
            if self._is_over:
                return await self._end_of_exited(child)
            return End(
                kind=EndKind.FAILED_TO_START,
                sentence=f"Claude Code said nothing within {START_SECONDS:.0f} s of its start.",
            )
        if self.seen.mcp_servers.get(MCP_SERVER_NAME) != "connected":
            return self._judged(self._ending(None))
        self._report.connected(self.seen.model)
        return None

    async def _next(self) -> _Happening:
        while True:
            changed = self._changed
            if (happening := self._happening()) is not None:
                return happening
            until = min(self._silent_at(), self._due_at())
            with anyio.move_on_after(max(0.0, until - anyio.current_time())):
                await changed.wait()

    def _happening(self) -> _Happening | None:
        if self._stop is not None:
            return _Happening.STOP
        if self.seen.turns_ended > self._turns_handled:
            return _Happening.TURN_ENDED
        if self._is_over:
            return _Happening.EXITED
        if self.is_turn_active and self._gauge.is_full:
            return _Happening.FULL
        if anyio.current_time() >= self._due_at():
            return _Happening.HAND_OVER
        if anyio.current_time() >= self._silent_at():
            return _Happening.SILENT
        return None

    def _due_at(self) -> float:
        """Return when its turn is interrupted for a person: between two of its steps, if it may."""
        if self.wanted is HandOver.NO or not self.is_turn_active or not self._calls.has_begun:
            return float("inf")
        if self.wanted is HandOver.AT_A_STEP and self._calls.is_under_way:
            return self._wanted_at + STEP_SECONDS
        return 0.0

    def _silent_at(self) -> float:
        if not self.is_turn_active:
            return float("inf")
        return self._heard_at + self._around.settings.current().orchestrator.turn_timeout_seconds

    async def _after_turn(self, child: Child) -> End | None:
        # An interrupted turn may not have ended: then the word is not on a turn that was told of.
        turn = self.seen.turns_ended if self.seen.turns_ended > self._turns_handled else 0
        self._turns_handled = self.seen.turns_ended
        result = self.seen.last_result
        if result is not None and result.is_error:
            end = self._judged(self._ending(None))
            if end.kind is EndKind.CONTEXT_FULL:
                return await self._take_over(child)
            if end.kind in OUTSIDE_ENDS:
                await self._finish(child, end.kind)
                return end
        word = await self._word(turn)
        match word.step:
            case NextStep.HAND_OVER:
                return await self._finish(child, EndKind.TAKEN_OVER)
            case NextStep.CONTINUE if self._gauge.is_full:
                return await self._take_over(child)
            case NextStep.CONTINUE:
                self.wanted = HandOver.NO
                await self._tell(child, word.message)
                return None
            case NextStep.FINISH:
                return await self._finish(child, word.end)
            case NextStep.PARK:
                return await self._finish(child, EndKind.PARKED)
            case NextStep.FAIL:
                return await self._finish(child, word.end)

    async def _word(self, turn: int) -> Verdict:
        """Ask the server what becomes of a session whose turn has ended."""
        # What the turn has cost is known from its end on; budgets are looked at there.
        await self._report.flush()
        return verdict(
            await self._server.call(
                "session_turn_ended",
                session_id=self.order.session_id,
                turn=turn,
            )
        )

    # -- ways to end -------------------------------------------------------------------------------

    async def _interrupt(self, child: Child) -> None:
        """End the running turn, if there is one, within some seconds."""
        if self.is_turn_active and not self._is_over:
            self._interrupts += 1
            # What the turn has cost so far: one that heeds no interrupt will not say it.
            await self._gauge.ask(child)
            try:
                await child.send(interrupt(f"interrupt-{self._interrupts}"))
            except OSError as error:
                logger.info("%s took no interrupt: %s", self.name, error)
            await self._wait_until(
                lambda: self._is_over or not self.is_turn_active, INTERRUPT_SECONDS
            )

    async def _finish(self, child: Child, kind: EndKind, detail: str = "") -> End:
        """Let the client end by itself; what is left of it is ended afterwards."""
        child.close_input()
        await child.wait(EXIT_SECONDS)
        said = classify(Ending(exit_code=None, asked=kind), now=utc_now()).sentence
        return End(kind=kind, sentence=detail or said)

    async def _carry_out_stop(self, child: Child) -> End:
        assert self._stop is not None
        await self._interrupt(child)
        return await self._finish(child, self._stop.kind, self._stop.reason)

    async def _take_over(self, child: Child) -> End:
        """Have the server write the handoff of a session whose context is full.

        Once nothing of it runs any more: what it still wrote would not be in the handoff.
        """
        await self._interrupt(child)
        child.close_input()
        await child.wait(EXIT_SECONDS)
        await self._clear_away(child)
        await self._report.flush()
        kind = EndKind.CONTEXT_FULL
        if self.order.role is Role.WORKER:
            # An outcome that it reached meanwhile stands.
            told = await self._server.call("take_over_context", session_id=self.order.session_id)
            kind = EndKind(told)
        return classify(Ending(exit_code=None, asked=kind), now=utc_now())

    async def _end_of_exited(self, child: Child) -> End:
        code = await child.wait(EXIT_SECONDS)
        return self._judged(self._ending(code, child.complaints()))

    def _judged(self, ending: Ending) -> End:
        return classify(ending, now=utc_now(), local_zone=local_zone())

    def _ending(self, exit_code: int | None, errors: str = "") -> Ending:
        return Ending(
            exit_code=exit_code,
            asked=self._stop.kind if self._stop is not None else None,
            last_result=self.seen.last_result,
            assistant_error=self.seen.assistant_error,
            rate_limit=self.seen.rate_limit,
            mcp_servers=self.seen.mcp_servers,
            has_started=bool(self.seen.session_id),
            is_turn_active=self.is_turn_active,
            errors=errors,
        )
