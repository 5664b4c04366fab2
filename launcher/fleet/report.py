"""What the server is told of a running session: that it lives, and what its stream says."""

import logging
from collections.abc import Callable

import anyio

from launcher.core.fill import is_step
from launcher.core.observation import Observation
from launcher.core.usage import Amount, by_day
from launcher.fleet.orders import Order
from launcher.fleet.server import Server
from sf_mcp.client import Refused
from sf_mcp.clock import utc_now
from sf_mcp.core.errors import ServerUnreachable
from sf_mcp.settings import HandoffThresholds

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Between two reports of one session, however much it says."""


class Report:
    """Reports one session while it runs; each report also renews its lease."""

    def __init__(
        self,
        order: Order,
        server: Server,
        observed: Callable[[], tuple[Observation, bool]],
        thresholds: Callable[[], HandoffThresholds],
        *,
        renewal_seconds: float,
    ) -> None:
        """`observed` gives what is known and whether a turn is active.

        The hooks and tools that ask for the handoff go by what was reported, so a fill that
        matters by `thresholds` is reported at once.
        """
        self._order = order
        self._server = server
        self._observed = observed
        self._thresholds = thresholds
        self._renewal_seconds = renewal_seconds
        self._model: str | None = None
        self._has_news = anyio.Event()
        self._is_urgent = anyio.Event()
        self._is_closed = False
        self._told_tokens = 0
        self._days: dict[str, Amount] = {}
        self._calls = anyio.Lock()

    def note(self) -> None:
        """Something about the session has changed."""
        self._has_news.set()
        seen, _ = self._observed()
        if is_step(self._told_tokens, seen.context_tokens, self._thresholds()):
            self._is_urgent.set()

    def connected(self, model: str) -> None:
        """The client has reached the server: it runs."""
        self._model = model
        self._has_news.set()
        self._is_urgent.set()

    def close(self) -> None:
        """Report once more, then no more."""
        self._is_closed = True
        self._has_news.set()
        self._is_urgent.set()

    async def run(self) -> None:
        """Report until closed, and then once more: what was said last counts too."""
        while not self._is_closed:
            with anyio.move_on_after(self._renewal_seconds):
                await self._has_news.wait()
            # Only here: who waits for an event must be the one that replaces it.
            self._has_news, self._is_urgent = anyio.Event(), anyio.Event()
            await self.flush()
            if not self._is_closed:
                with anyio.move_on_after(PAUSE_SECONDS):
                    await self._is_urgent.wait()
        await self.flush()

    async def flush(self) -> None:
        """Report what is known now. A server that does not answer is told the next time."""
        async with self._calls:
            seen, is_turn_active = self._observed()
            amount = Amount(
                tokens=seen.usage.total,
                coordination=seen.usage.coordination,
                cost_usd=seen.cost_usd,
            )
            self._days = by_day(self._days, amount, utc_now().date().isoformat())
            try:
                if self._model is not None:
                    await self._server.call_once(
                        "session_connected", session_id=self._order.session_id, model=self._model
                    )
                    self._model = None
                await self._server.call_once(
                    "session_heard",
                    session_id=self._order.session_id,
                    is_turn_active=is_turn_active,
                    last_line=seen.last_line,
                    context_tokens=seen.context_tokens,
                    context_window=seen.context_window,
                    # A process knows its own cost alone.
                    cost_usd=self._order.cost_usd + seen.cost_usd,
                    usage=[reported(day, amount) for day, amount in self._days.items()],
                )
                self._told_tokens = seen.context_tokens
            except ServerUnreachable:
                self._has_news.set()
            except Refused as error:
                logger.warning("the report of %s was refused: %s", self._order.name, error)


def reported(day: str, amount: Amount) -> dict[str, object]:
    """Return what was used on a day as the server takes it."""
    return {
        "day": day,
        "input_tokens": amount.tokens.input,
        "cache_write_tokens": amount.tokens.cache_write,
        "cache_read_tokens": amount.tokens.cache_read,
        "output_tokens": amount.tokens.output,
        "coordination_tokens": amount.coordination,
        "cost_usd": amount.cost_usd,
    }
