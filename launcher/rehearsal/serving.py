"""`sf serve` in a world whose server may be killed: started again as the person would.

Nothing is started while somebody holds `calm`, nor before the rest that a kill left.
"""

import signal
import subprocess
import threading
from contextlib import suppress
from time import monotonic

from launcher.rehearsal.world import SF, World
from sf_mcp import process
from sf_mcp.client import Client, connect
from sf_mcp.core.errors import StoneforgeError

STOP_SECONDS = 60.0
LOOK_SECONDS = 0.05
START_SECONDS = 60.0
MOST_BAD_EXITS = 5
"""Ends in a row that nobody asked for; then it is given up."""


class Serving:
    """The server's process, whichever it is at the moment."""

    def __init__(self, world: World) -> None:
        """Nothing is started yet."""
        self.calm = threading.RLock()
        """Held by whoever needs the server to be neither started nor killed meanwhile."""
        self.starts = 0
        self.bad_exits: list[str] = []
        """Ends of its own, with what it said last."""
        self._in_a_row = 0
        self._world = world
        self._child: subprocess.Popen[bytes] | None = None
        self._is_killed = False
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        """The process of the server; None when there is none."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    @property
    def client(self) -> Client | None:
        """A client of the server; None when it does not answer."""
        return connect(self._world.root) if self.pid is not None else None

    def tend(self) -> None:
        """Start the server if there is none and nobody minds.

        Raises:
            StoneforgeError: it has ended of itself too often.
        """
        if self.pid is not None or not self.calm.acquire(blocking=False):
            return
        try:
            if monotonic() >= self._not_before:
                self._note_end()
                self._start()
        finally:
            self.calm.release()

    def _start(self) -> None:
        self.starts += 1
        output = self._world.folder / f"serve-{self.starts:03}.log"
        with output.open("wb") as log:
            self._child = process.spawn(
                [*SF, "serve"],
                cwd=self._world.root,
                env=self._world.environment,
                stdout=log,
                stderr=log,
            )
        self._is_killed = False

    def _note_end(self) -> None:
        if self._child is None or self._is_killed:
            self._in_a_row = 0
            return
        output = self._world.folder / f"serve-{self.starts:03}.log"
        said = output.read_text("utf-8", "replace").strip()[-500:]
        self.bad_exits.append(f"exit code {self._child.returncode}: {said}")
        self._in_a_row += 1
        if self._in_a_row >= MOST_BAD_EXITS:
            raise StoneforgeError(f"The server cannot be started any more: {said}")

    def kill(self, *, rest_seconds: float) -> bool:
        """Kill the server, and let it lie for some time; False when there was none.

        Only with `calm` held.
        """
        child = self._child
        self._not_before = monotonic() + rest_seconds
        if child is None or child.poll() is not None:
            return False
        self._is_killed = True
        child.send_signal(signal.SIGKILL)
        child.wait()
        return True

    def stop(self) -> None:
        """Press Ctrl-C, as the person would, and wait; then end what is left of the group."""
        child = self._child
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                child.wait(STOP_SECONDS)
        process.end_child(child)
