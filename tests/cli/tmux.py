"""A terminal of a test's own, by tmux: keys go in, the screen is read back."""

import contextlib
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60.0
"""How long a screen may take to show what is waited for, on a machine that is busy."""


@dataclass(slots=True)
class Terminal:
    """One screen, on a tmux server of its own."""

    socket: Path

    def _tmux(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-S", str(self.socket), *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        ).stdout

    def press(self, *keys: str) -> None:
        """Press keys, by the names that tmux has for them."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type this very text."""
        self._tmux("send-keys", "-l", "--", text)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    @property
    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    @property
    def raw(self) -> str:
        """The screen with the escape sequences of its colours."""
        return self._tmux("capture-pane", "-p", "-e")

    def shows(self, *texts: str) -> str:
        """Wait until all of it is on the screen; return the screen."""
        return self.until(lambda screen: all(text in screen for text in texts), f"{texts}")

    def lacks(self, *texts: str) -> str:
        """Wait until none of it is on the screen."""
        return self.until(lambda screen: not any(text in screen for text in texts), f"no {texts}")

    def until(self, holds: Callable[[str], bool], what: str) -> str:
        deadline = time.monotonic() + SECONDS
        while not holds(screen := self.screen):
            assert time.monotonic() < deadline, f"never shown: {what} in:\n{screen}"
            time.sleep(0.05)
        return screen


@contextlib.contextmanager
def a_terminal(
    folder: Path,
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    size: tuple[int, int] = (110, 32),
) -> Generator[Terminal]:
    """Run a command on a screen of this size; then `ended CODE` stands there, and what is typed."""
    terminal = Terminal(folder / "tmux.socket")
    width, height = size
    subprocess.run(
        [
            *("tmux", "-S", str(terminal.socket), "-f", os.devnull, "new-session", "-d"),
            *("-x", str(width), "-y", str(height)),
            f"{shlex.join(command)}; echo ended $?; exec cat",
        ],
        cwd=cwd,
        env={**environment, "TERM": "xterm-256color"},
        check=True,
        timeout=SECONDS,
    )
    try:
        yield terminal
    finally:
        subprocess.run(
            ["tmux", "-S", str(terminal.socket), "kill-server"],
            check=False,
            capture_output=True,
            timeout=SECONDS,
        )
