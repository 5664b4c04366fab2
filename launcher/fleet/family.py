"""The processes that a session has started, wherever they have gone: told by what they inherited.

Claude Code runs each shell command in a session of its own [2.1.330], so they are not in its
process group and outlive a client that is killed. All of them carry the variable that we put into
the client's environment, unless they took pains to lose it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sf_mcp import process

SESSION_VARIABLE = "SF_SESSION"
"""Holds the session's id, in its environment and in that of everything it starts."""

LOOK_SECONDS = 0.02
KILL_WAIT_SECONDS = 5.0
PS_TIMEOUT_SECONDS = 10.0


def end_family(session_id: str, *, grace_seconds: float) -> tuple[int, ...]:
    """End every process that carries the session's id, and wait; return those that there were.

    TERM, then KILL after the grace. One that starts another meanwhile is seen at the next look.
    """
    found: dict[int, None] = {}
    deadline = time.monotonic() + grace_seconds
    number = signal.SIGTERM
    while members := _members(session_id):
        if time.monotonic() >= deadline:
            if number is signal.SIGKILL:
                break
            number = signal.SIGKILL
            deadline = time.monotonic() + KILL_WAIT_SECONDS
        for pid, started in members.items():
            if number is signal.SIGKILL or pid not in found:
                found[pid] = None
                _signal(pid, started, number)
        time.sleep(LOOK_SECONDS)
    return tuple(found)


def _members(session_id: str) -> dict[int, str]:
    """Return the living processes that carry the id, with their start times."""
    mark = f"{SESSION_VARIABLE}={session_id}"
    pids = [pid for pid, words in environments().items() if mark in words]
    starts = {pid: process.start_time(pid) for pid in pids if pid != os.getpid()}
    return {
        pid: started
        for pid, started in starts.items()
        if started and process.is_alive(pid, started)
    }


def environments() -> dict[int, list[str]]:
    """Return what each process was started with, as `NAME=value`, as far as it may be seen.

    A process that has ended has nothing. Where there is no /proc, the words of its command line
    come with them.
    """
    return _environments_by_proc() if sys.platform == "linux" else _environments_by_ps()


def _environments_by_proc() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        # Another user's, or gone meanwhile. A zombie's is empty.
        with contextlib.suppress(OSError):
            words = (entry / "environ").read_bytes().decode("utf-8", "surrogateescape")
            found[int(entry.name)] = words.split("\0")
    return found


def _environments_by_ps() -> dict[int, list[str]]:
    # macOS shows the environment of the person's own processes, though not of Apple's binaries.
    try:
        done = subprocess.run(
            ["/bin/ps", "-axEww", "-o", "pid=,command="],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PS_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    rows = (line.split(None, 1) for line in done.stdout.splitlines())
    return {int(row[0]): row[1].split() for row in rows if len(row) == 2}


def _signal(pid: int, started: str, number: signal.Signals) -> None:
    # The number may have been given to another process since the look.
    if process.start_time(pid) == started:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
