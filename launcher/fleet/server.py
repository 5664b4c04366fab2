"""The launcher's line to the server: calls that outlast a restart of it, and the long poll."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from launcher.fleet.orders import Directives, directives
from sf_mcp.client import Address, Client, Refused, address_of, connect
from sf_mcp.core.errors import ServerUnreachable, StorageFailed, Unauthorized
from sf_mcp.core.layout import Layout

logger = logging.getLogger(__name__)

OUTAGE_SECONDS = 600.0
"""How long sessions are kept while the server does not answer."""
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 2.0
UNABLE = frozenset({StorageFailed.code, "internal"})
"""Codes of refusals that say nothing about what was asked: a full disk, a mistake of the server."""
UNABLE_SECONDS = 60.0
"""How long such a refusal is taken for a passing one."""
POLL_SECONDS = 25.0
ANSWER_SECONDS = 300.0
"""Beyond the server's own wait: a large repository's worktree is made before an order is given."""
THREADS = 40
"""Calls at once; each waits for the server and costs nothing else."""

Say = Callable[[str, str], None]
"""Tells people: the kind of what happened, and a sentence."""


class Server:
    """The one server of a project, wherever it listens at the moment."""

    def __init__(self, root: Path, say: Say) -> None:
        """Reach the server of the project at `root`; nothing is connected yet."""
        self._root = root
        self._say = say
        self._threads = anyio.CapacityLimiter(THREADS)
        self._client: Client | None = None
        self._lost_at: float | None = None
        self._patience_seconds = OUTAGE_SECONDS

    @property
    def address(self) -> Address | None:
        """Where it says it listens."""
        return address_of(Layout(self._root))

    @property
    def is_lost(self) -> bool:
        """Whether it did not answer the last time."""
        return self._lost_at is not None

    def hurry(self, patience_seconds: float) -> None:
        """From now on, give up on a silent server after so many seconds."""
        self._patience_seconds = patience_seconds

    def require_hope(self) -> None:
        """Give up when the server has not answered for too long.

        Raises:
            ServerUnreachable: it has not.
        """
        lost_at = self._lost_at
        if lost_at is not None and anyio.current_time() - lost_at >= self._patience_seconds:
            raise ServerUnreachable(
                f"The server has not answered for {self._patience_seconds:.0f} s.",
                remedy="Start it with `sf serve`, then the fleet again.",
            )

    async def call(self, name: str, **arguments: Any) -> Any:
        """Carry out an operation, again and again while the server does not answer or cannot.

        Raises:
            Refused: the server refused.
            ServerUnreachable: it has not answered for too long.
        """
        delay = FIRST_DELAY_SECONDS
        began = anyio.current_time()
        while True:
            try:
                return await self.call_once(name, **arguments)
            except ServerUnreachable:
                since = max(began, self._lost_at or began)
                if anyio.current_time() - since >= self._patience_seconds:
                    raise
            except Refused as error:
                patience = min(self._patience_seconds, UNABLE_SECONDS)
                if error.code not in UNABLE or anyio.current_time() - began >= patience:
                    raise
            await anyio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    async def call_once(self, name: str, **arguments: Any) -> Any:
        """Carry out an operation, or say that the server does not answer.

        Raises:
            Refused: the server refused.
            ServerUnreachable: it does not answer.
        """
        return await self._noting(lambda: self._answer(name, arguments))

    async def poll(
        self,
        running: Sequence[str],
        *,
        account: str,
        start_after_seconds: float = 0.0,
        handing_over: Mapping[str, str],
    ) -> Directives:
        """Wait for something to do; a cancelled wait takes no order with it.

        `account` tells the account that sessions are paid from, as `account_key` gives it. An order
        comes only when it may be carried out now: before `start_after_seconds` are over, none does.
        `handing_over` is what is known of the sessions that persons wait for.

        Raises:
            Refused: the server refused.
            ServerUnreachable: it does not answer.
        """
        return directives(
            await self._noting(
                lambda: self._poll(running, account, start_after_seconds, handing_over)
            )
        )

    async def _noting(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        try:
            answer = await ask()
        except ServerUnreachable as error:
            self._client = None
            if self._lost_at is None:
                self._lost_at = anyio.current_time()
                self._say("server_lost", f"{error.message} Sessions are kept; trying again.")
            raise
        if self._lost_at is not None:
            self._lost_at = None
            self._say("server_back", "The server answers again.")
        return answer

    async def _answer(self, name: str, arguments: dict[str, Any]) -> Any:
        is_fresh = self._client is None
        client = self._client = self._client or await self._connected()
        try:
            return await anyio.to_thread.run_sync(
                partial(client.call, name, **arguments),
                limiter=self._threads,
                abandon_on_cancel=True,
            )
        except Refused as error:
            if error.code != Unauthorized.code or is_fresh:
                raise
            # The person's token was renewed meanwhile.
            self._client = None
            return await self._answer(name, arguments)

    async def _poll(
        self,
        running: Sequence[str],
        account: str,
        start_after: float,
        handing_over: Mapping[str, str],
    ) -> Any:
        # A client of its own: breaking it off must not touch another call.
        client = await self._connected()
        call = partial(
            client.call,
            "poll",
            running=list(running),
            account=account,
            handing_over=dict(handing_over),
            may_start=start_after <= 0,
            seconds=min(start_after, POLL_SECONDS) or POLL_SECONDS,
            timeout_seconds=POLL_SECONDS + ANSWER_SECONDS,
        )
        try:
            return await anyio.to_thread.run_sync(
                call, limiter=self._threads, abandon_on_cancel=True
            )
        except anyio.get_cancelled_exc_class():
            client.break_off()
            raise

    async def _connected(self) -> Client:
        client = await anyio.to_thread.run_sync(connect, self._root, limiter=self._threads)
        if client is None:
            raise ServerUnreachable(
                "The server does not answer.", remedy="Start it with `sf serve`."
            )
        return client
