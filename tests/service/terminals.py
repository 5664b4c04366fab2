"""Processes that stand for a person's terminal: they live until they are told otherwise."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from sf_mcp import process


@dataclass(frozen=True, slots=True)
class Terminal:
    """A process of this machine, as it is reported."""

    pid: int
    started: str
    _child: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._child.kill()
        self._child.wait(20)


@contextmanager
def a_terminal() -> Generator[Terminal]:
    """Have a terminal; it is gone afterwards."""
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    )
    terminal = Terminal(child.pid, process.start_time(child.pid), child)
    try:
        yield terminal
    finally:
        terminal.kill()
        assert child.stdin is not None
        child.stdin.close()
