"""Follows a project's server through its restarts: what it tells, and whether it is there."""

import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.client import Client, Told, connect
from sf_mcp.core.errors import ServerUnreachable, StoneforgeError

LOOK_SECONDS = 0.5
"""Between two looks at whether there is a server; each reads one small file."""
HOW_TO_START = "Start it with `sf serve`."
REFUSED_SECONDS = 1.0
"""Before a server that refused is asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The server answers; what it tells comes next."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """There is no server, or it has gone. Said once, until there is one again."""

    message: str
    remedy: str


class Following:
    """What one thread reads and any other may end."""

    def __init__(self, root: Path, *, after: int | None = None) -> None:
        """Follow the server of the project at `root`, from the event after this number on."""
        self._root = root
        self._after = after
        self._stopped = threading.Event()
        self._client: Client | None = None

    def stop(self) -> None:
        """End it soon, from any thread."""
        self._stopped.set()
        if (client := self._client) is not None:
            client.break_off()

    def follow(self) -> Generator[Live | Lost | Told]:
        """Yield what the server tells, for ever; each event once, whatever breaks in between."""
        said: Live | Lost | None = None
        while not self._stopped.is_set():
            seconds = LOOK_SECONDS
            try:
                client = self._client = self._connected()
                for told in client.events(after=self._after):
                    if self._stopped.is_set():
                        return
                    if not isinstance(said, Live):
                        said = Live(url=client.url)
                        yield said
                    self._after = self._after if told.number is None else told.number
                    yield told
                lost = Lost(message="The server has ended.", remedy=HOW_TO_START)
            except StoneforgeError as error:
                lost = Lost(message=error.message, remedy=error.remedy)
                if not isinstance(error, ServerUnreachable):
                    seconds = REFUSED_SECONDS
            if self._stopped.is_set():
                return
            if said != lost:
                said = lost
                yield lost
            self._stopped.wait(seconds)

    def _connected(self) -> Client:
        if (client := connect(self._root)) is None:
            raise ServerUnreachable("No server is running.", remedy=HOW_TO_START)
        return client
