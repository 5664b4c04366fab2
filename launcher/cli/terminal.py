"""A client in the person's own terminal, as if the shell had started it itself.

Rule 1: it shares our process group, so that keys reach it and job control stops and continues both.
Rule 2: nothing is printed while it runs.
Rule 3: the terminal's settings are put back, also after a client that was killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

HANGUP_SECONDS = 5.0
"""For a client whose terminal was closed to end by itself."""
LOOK_SECONDS = 0.02

_AFTER_A_KILL = (
    # The normal screen and cursor; no mouse, focus or paste reports; keys as they usually are.
    "\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l"
    "\x1b[<u\x1b[>4;0m\x1b[0m\r\n"
)


def is_terminal() -> bool:
    """Return whether a person sits there."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def terminal_name() -> str:
    """Return the name of the terminal, such as `pts/3`; empty when it has none."""
    try:
        return os.ttyname(sys.stdin.fileno()).removeprefix("/dev/")
    except OSError:
        return ""


def run_in_terminal(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
    """Run the client to its end and return its exit code, negative for a signal.

    Raises:
        OSError: it cannot be started.
    """
    with _terminal_kept(), _signals() as ending:
        child = subprocess.Popen(list(argv), cwd=cwd, env=dict(env))
        code = _wait(child, ending)
    if code < 0:
        _write(_AFTER_A_KILL)
    return code


class _Ending:
    """Whether we were told to end."""

    is_asked = False

    def ask(self, *_: object) -> None:
        self.is_asked = True


@contextlib.contextmanager
def _signals() -> Generator[_Ending]:
    """Leave the keys to the client. A handler is not inherited by it; "ignored" would be."""
    ending = _Ending()
    handlers = {
        signal.SIGINT: _nothing,
        signal.SIGQUIT: _nothing,
        # We stop when the client has, and not before: else we could not tell that it has gone on.
        signal.SIGTSTP: _nothing,
        signal.SIGHUP: ending.ask,
        signal.SIGTERM: ending.ask,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing(*_: object) -> None:
    pass


def _wait(child: "subprocess.Popen[bytes]", ending: _Ending) -> int:
    """Wait for the end of the client; stop when it stops, and go on with it."""
    deadline = None
    while True:
        # A signal that comes between a look and a wait would be missed: the waits are short.
        pid, status = os.waitpid(child.pid, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            os.kill(os.getpid(), signal.SIGSTOP)
            # Continued: by the shell, which continues all of the group, or by somebody else.
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGCONT)
        elif pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode
        if ending.is_asked:
            now = time.monotonic()
            if deadline is None:
                deadline = now + HANGUP_SECONDS
                child.send_signal(signal.SIGTERM)
            elif now >= deadline:
                child.kill()
        time.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def _terminal_kept() -> Generator[None]:
    number = sys.stdin.fileno()
    try:
        kept = termios.tcgetattr(number)
    except termios.error:
        yield
        return
    try:
        yield
    finally:
        # From the background, setting it would stop us.
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(number, termios.TCSADRAIN, kept)
        signal.signal(signal.SIGTTOU, before)


def _write(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), text.encode())
