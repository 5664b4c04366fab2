"""The launcher beside the server: a command, started again when it dies, stopped first.

It leads a process group of its own, so that a Ctrl-C at the terminal reaches `sf serve` alone,
which then says in which order things end.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread

from sf_mcp.cli.output import hint
from sf_mcp.core.exits import ExitCode
from sf_mcp.process import end_child, own_program, spawn

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 60.0
SOUND_SECONDS = 60.0
"""A launcher that ran this long was well: its next death counts as its first."""
STOP_SECONDS = 60.0
"""For the sessions to finish or to be snapshotted; what is left then is ended and snapshotted."""
HURRIED_SECONDS = 5.0
FINAL = frozenset({ExitCode.DONE, ExitCode.USAGE, ExitCode.UNUSABLE})
"""Started again, it would end the same way."""


def launcher_command() -> list[str]:
    """Return the command that runs the launcher of this very installation, to end with us."""
    # By name: a launcher that asks who its parent is may do so when we are dead already.
    return [*launcher_program(), "--attached", f"--parent={os.getpid()}"]


def launcher_program() -> tuple[str, ...]:
    """Return how to run `sf-launch` of this very installation."""
    return own_program("sf-launch", "launcher")


class Fleet:
    """The launcher's process for as long as the server runs."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path, first_delay_seconds: float = FIRST_DELAY_SECONDS
    ) -> None:
        """Nothing is started yet."""
        self._command = list(command)
        self._cwd = cwd
        self._first_delay = first_delay_seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._is_stopping = False
        self._ended = anyio.Event()
        self._is_hurried = False
        self._ended_or_hurried = anyio.Event()

    @property
    def is_running(self) -> bool:
        """Whether there is a launcher at this moment."""
        return self._child is not None

    async def run(self) -> None:
        """Keep a launcher running until `stop`, or until it ends for a reason that stays."""
        delay = self._first_delay
        while not self._is_stopping:
            try:
                child = self._start()
            except OSError as error:
                hint(f"The fleet cannot be started: {self._command[0]}: {error.strerror}.")
                return
            began = anyio.current_time()
            code = await self._end_of(child)
            if self._is_stopping:
                return
            how = f"exit code {code}" if code >= 0 else f"signal {-code}"
            if code in FINAL:
                hint(f"The fleet has stopped ({how}); the server goes on. Again: sf-launch")
                return
            if anyio.current_time() - began >= SOUND_SECONDS:
                delay = self._first_delay
            hint(f"The launcher has died ({how}); it is started again in {delay:g} s.")
            await anyio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    def _start(self) -> subprocess.Popen[bytes]:
        # Its output is the terminal's, where it shows its table; its input is nobody's.
        sys.stdout.flush()
        child = spawn(
            self._command,
            cwd=self._cwd,
            env=os.environ,
            stdout=sys.stdout.fileno(),
            stderr=sys.stderr.fileno(),
        )
        self._child, self._ended = child, anyio.Event()
        return child

    async def _end_of(self, child: subprocess.Popen[bytes]) -> int:
        try:
            return await anyio.to_thread.run_sync(child.wait, abandon_on_cancel=True)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(end_child, child)
            self._child = None
            self._ended.set()
            self._ended_or_hurried.set()

    async def stop(self) -> None:
        """Ask the launcher to stop, and wait until it has, at most `STOP_SECONDS`."""
        self._is_stopping = True
        if (child := self._child) is None:
            return
        self._ended_or_hurried = anyio.Event()
        if not self._is_hurried:
            _interrupt(child)
            with anyio.move_on_after(STOP_SECONDS):
                await self._ended_or_hurried.wait()
        if self._is_hurried and not self._ended.is_set():
            _interrupt(child)
            with anyio.move_on_after(HURRIED_SECONDS):
                await self._ended.wait()
        # Whatever is left of its group.
        await anyio.to_thread.run_sync(end_child, child)

    def hurry(self) -> None:
        """Cut the waiting of `stop` short."""
        self._is_hurried = True
        self._ended_or_hurried.set()


def _interrupt(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGINT)
