"""A person at the terminal: the real Claude Code under a pty, and what is on its screen."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Self

import pyte
import pytest

WAIT_SECONDS = 120.0
"""The bound of every wait; what is waited for takes a second or two."""

ROWS, COLUMNS = 50, 140
KEYS = {"enter": "\r", "down": "\x1b[B", "escape": "\x1b", "ctrl-c": "\x03"}
PRESS_AGAIN_SECONDS = 3.0
"""Longer than the client takes to answer a key on a busy machine."""


class Terminal:
    """One interactive process on a terminal of its own."""

    def __init__(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._changed = threading.Condition()
        self._is_over = False
        ours, theirs = pty.openpty()
        self._terminal = ours
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**env, "TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT_SECONDS)
        self._reader.join(WAIT_SECONDS)
        os.close(self._terminal)

    @property
    def text(self) -> str:
        """What is on the screen."""
        with self._changed:
            return "\n".join(line.rstrip() for line in self._screen.display).strip()

    def wait_for(self, pattern: str, *, count: int = 1) -> str:
        """Wait until the screen shows so often what matches; return the last match."""
        ends = monotonic() + WAIT_SECONDS
        with self._changed:
            while True:
                shown = "\n".join(line.rstrip() for line in self._screen.display)
                found = list(re.finditer(pattern, shown))
                if len(found) >= count:
                    return found[-1].group()
                if self._is_over or monotonic() > ends:
                    pytest.fail(f"{pattern!r} never came on the screen:\n{shown.strip()}")
                self._changed.wait(0.2)

    def write(self, text: str) -> None:
        """Type text, without Enter."""
        os.write(self._terminal, text.encode())

    def press(self, key: str) -> None:
        """Press one of `KEYS`."""
        os.write(self._terminal, KEYS[key].encode())

    def press_until(self, key: str, pattern: str) -> None:
        """Press a key, again every few seconds, until the screen shows what matches.

        The client takes no key of a question that has only just come up, lest one that was meant
        for something else answers it.
        """
        ends = monotonic() + WAIT_SECONDS
        self.press(key)
        pressed = monotonic()
        while not re.search(pattern, self.text):
            if monotonic() > ends:
                self.wait_for(pattern)
            if monotonic() - pressed > PRESS_AGAIN_SECONDS:
                self.press(key)
                pressed = monotonic()
            with self._changed:
                self._changed.wait(0.2)

    def say(self, words: str) -> None:
        """Type a line into the prompt and send it."""
        self.write(words)
        self.wait_for(re.escape(words[-40:]))
        self.press("enter")

    def _read(self) -> None:
        while True:
            poll = select.poll()
            poll.register(self._terminal, select.POLLIN)
            if not poll.poll(500):
                if self.process.poll() is not None:
                    break
                continue
            try:
                data = os.read(self._terminal, 65_536)
            except OSError:  # Linux says so when the last one on the other side is gone
                break
            if not data:
                break
            with self._changed:
                self._stream.feed(data)
                self._changed.notify_all()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()


def know_the_person(home: Path, *folders: Path, api_key: str) -> None:
    """Answer beforehand what Claude Code asks at the first start: theme, key, trust of a folder."""
    said: dict[str, Any] = {
        "hasCompletedOnboarding": True,
        "theme": "dark",
        "customApiKeyResponses": {"approved": [api_key[-20:]], "rejected": []},
        "projects": {
            str(folder): {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
            for folder in folders
        },
    }
    home.mkdir(parents=True, exist_ok=True)
    (home / ".claude.json").write_text(json.dumps(said))
