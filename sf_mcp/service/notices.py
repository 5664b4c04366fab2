"""Lets coroutines wait for the next committed change instead of asking again and again."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from sf_mcp.service.workspace import Workspace

T = TypeVar("T")


class Notices:
    """Wakes every waiter at each commit, from whichever thread it was made."""

    def __init__(self, workspace: Workspace) -> None:
        """Listen to this project's commits."""
        self._changed = anyio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        workspace.on_commit.append(self.wake)

    def attach(self) -> None:
        """Serve waiters of the event loop that runs now."""
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        """Wake every waiter; from any thread."""
        if self._loop is None or self._loop.is_closed():
            return
        if _running_loop() is self._loop:
            self._loop.call_soon(self._renew)
            return
        # The one thread-safe way in that does not make the writer wait for the loop. A loop that is
        # closed at this very moment has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._renew)

    def _renew(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    @property
    def upcoming(self) -> anyio.Event:
        """What the next commit sets: to be taken before looking, so that none is missed."""
        return self._changed

    async def wait(self, seconds: float) -> bool:
        """Wait for the next commit; return whether there was one in time."""
        changed = self.upcoming
        with anyio.move_on_after(seconds):
            await changed.wait()
        return changed.is_set()

    async def wait_for(
        self,
        look: Callable[[], Awaitable[T | None]],
        *,
        seconds: float,
        due: Callable[[], Awaitable[float | None]] | None = None,
    ) -> T | None:
        """Return what `look` gives as soon as it is not None, looking again at each commit.

        `due` says in how many seconds there may be something without one; None: not at all.
        """
        deadline = anyio.current_time() + seconds
        while True:
            changed = self.upcoming
            if (seen := await look()) is not None:
                return seen
            remaining = deadline - anyio.current_time()
            if remaining <= 0:
                return None
            soonest = await due() if due is not None else None
            with anyio.move_on_after(remaining if soonest is None else min(remaining, soonest)):
                await changed.wait()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
