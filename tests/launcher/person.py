"""A person at a terminal of their own: types, reads the screen, closes the window."""

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

import pyte

from tests.launcher.builders_project import WAIT_SECONDS, Project

ROWS, COLUMNS = 45, 120
LOOK_SECONDS = 0.03
ENTER, ESCAPE, CTRL_C, CTRL_D, CTRL_Z = "\r", "\x1b", "\x03", "\x04", "\x1a"


def know_the_person(project: Project) -> None:
    """Let the project's person have used Claude Code before, and trust the project.

    Claude Code keeps that by repository [2.1.330]: for the fleet's worktrees that is the forge.
    """
    known = {
        "hasCompletedOnboarding": True,
        "theme": "dark",
        "customApiKeyResponses": {"approved": ["sk-dummy"], "rejected": []},
        "projects": {str(project.layout.forge): {"hasTrustDialogAccepted": True}},
    }
    (project.home / ".claude.json").write_text(json.dumps(known))


class Person:
    """A command in a terminal, as the leader of the terminal's session."""

    def __init__(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        """Start `command` there."""
        self.folder = cwd
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._is_closed = False
        self._master, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._settings = termios.tcgetattr(theirs)
        self._slave = theirs
        self.process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**env, "TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_the_terminal()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT_SECONDS)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while not self._is_closed:
                # A read that waits would keep the terminal open.
                poll = select.poll()
                poll.register(self._master, select.POLLIN)
                if not poll.poll(LOOK_SECONDS * 1000):
                    continue
                data = os.read(self._master, 65536)
                with self._lock:
                    self._stream.feed(data)

    @property
    def screen(self) -> str:
        """What is to be seen."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self._screen.display)

    @property
    def is_terminal_as_it_was(self) -> bool:
        """Whether keys do what they did before the command."""
        return termios.tcgetattr(self._slave) == self._settings

    def sees(self, text: str) -> None:
        """Wait until the text is on the screen; line breaks count as spaces."""
        self.waits_for(lambda: text in " ".join(self.screen.split()))

    def waits_for(self, what: Any) -> None:
        """Wait until `what` is so."""
        ends = monotonic() + WAIT_SECONDS
        while not what():
            assert monotonic() < ends, self.screen
            sleep(LOOK_SECONDS)

    def types(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def says(self, prompt: str) -> None:
        """Type a prompt, and send it once it is to be read."""
        self.types(prompt)
        self.sees(prompt[-30:])
        self.types(ENTER)

    def leaves(self) -> int:
        """Type /exit; return the exit code."""
        self.says("/exit")
        return self.process.wait(WAIT_SECONDS)

    def close_the_terminal(self) -> None:
        """Close the window."""
        if self._is_closed:
            return
        self._is_closed = True
        self._reader.join(WAIT_SECONDS)
        for number in (self._master, self._slave):
            os.close(number)


def attaching(project: Project, session: str, *options: str) -> Person:
    """Have a person who runs `sf session attach`."""
    command = [sys.executable, "-m", "sf_mcp.cli", "session", "attach", session, *options]
    return Person(command, cwd=project.root, env=project.environment)
