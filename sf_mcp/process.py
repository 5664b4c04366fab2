"""Child processes: each leads a session and process group of its own, and ends with all of it.

Rule 1: output goes to a file of bounded size; it is never held in memory.
Rule 2: no member of a group outlives its run: a time-out, a cancellation and the leader's own end
all finish with the whole group gone (TERM, a grace period, KILL).
Rule 3: a recorded group is ended only if its start time still matches, so that a pid which the
kernel has given to somebody else is never signalled. A process that makes a session of its own
(`setsid`) leaves the group; that is the one way out, and it takes intent.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from sf_mcp.bounded_log import bounded_log
from sf_mcp.core.errors import StorageFailed

MOST_OUTPUT_BYTES = 32 * 2**20
"""Of one run: more than anybody reads, and its beginning and end are what they look for."""
STOP_GRACE_SECONDS = 5.0
"""Between TERM and KILL: long enough for a test runner to remove its temporary files."""
KILL_WAIT_SECONDS = 5.0
"""After KILL a process can only linger in the kernel; nobody should wait longer for that."""
FIRST_POLL_SECONDS = 0.002
LONGEST_POLL_SECONDS = 0.05


def own_program(name: str, module: str) -> tuple[str, ...]:
    """Return the words that run a program of this very installation, from wherever they are said.

    `module` is the same as a module of Python's, for an installation without scripts.
    """
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    return (found,) if found else (sys.executable, "-m", module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended. `exit_code` is None when it did not end by itself, negative for a signal."""

    exit_code: int | None
    timed_out: bool = False
    cancelled: bool = False
    seconds: float = 0.0
    could_not_start: str = ""
    """Why there was no process at all; empty when there was one."""


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start `argv` as the leader of a new session and process group (pgid = its pid).

    Raises:
        OSError: there is no such program or directory, or it may not be run.
    """
    return subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=dict(env),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_seconds: float | None,
    output_path: Path,
    cancel: threading.Event | None = None,
    on_start: Callable[[int, str], None] | None = None,
    grace_seconds: float = STOP_GRACE_SECONDS,
    most_output_bytes: int = MOST_OUTPUT_BYTES,
) -> Outcome:
    """Run `argv` to its end, its stdout and stderr together in `output_path`.

    Of more output than `most_output_bytes`, the first and the last half of that are kept.

    `on_start` receives the pid and start time before the first wait, so that a caller can record
    what `end_group` needs after a crash.

    Raises:
        StorageFailed: the output file cannot be made.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        try:
            output_path.parent.mkdir(parents=True, exist_ok=True)
            output = stack.enter_context(bounded_log(output_path, most_output_bytes))
        except OSError as error:
            raise StorageFailed(
                f"The log {output_path} cannot be written: {error.strerror}.",
                remedy="Free some disk space or correct the permissions, then try again.",
            ) from error
        try:
            child = spawn(argv, cwd=cwd, env=env, stdout=output, stderr=subprocess.STDOUT)
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
            return Outcome(
                exit_code=None,
                seconds=time.monotonic() - began,
                could_not_start=_why_not_started(argv, cwd, error),
            )
        try:
            if on_start is not None:
                on_start(child.pid, start_time(child.pid))
            deadline = None if timeout_seconds is None else began + timeout_seconds
            timed_out, cancelled = _wait(child, deadline, cancel)
        finally:
            end_child(child, grace_seconds=grace_seconds)
    interrupted = timed_out or cancelled
    return Outcome(
        exit_code=None if interrupted else child.returncode,
        timed_out=timed_out,
        cancelled=cancelled,
        seconds=time.monotonic() - began,
    )


def end_child(child: subprocess.Popen[bytes], *, grace_seconds: float = STOP_GRACE_SECONDS) -> None:
    """End what is left of the group of `child` (leader or not) and collect its exit code."""
    child.poll()
    _end_members(child.pid, grace_seconds, reap=child.poll)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(KILL_WAIT_SECONDS)


def end_group(pid: int, started: str, *, grace_seconds: float = STOP_GRACE_SECONDS) -> bool:
    """End the recorded group that `pid`, begun at `started`, once led. True if any of it lived.

    When the leader is gone, its group may still have members: they are ended too. When the pid
    belongs to another process by now, the old group is empty (the kernel gives out no pid that is
    in use as a group id), so nothing is signalled.
    """
    if pid <= 1 or not started or _boot(started) != _boot_id():
        return False
    present = start_time(pid)
    if present and present != started:
        return False
    if not group_is_alive(pid):
        return False
    _end_members(pid, grace_seconds)
    return True


def is_alive(pid: int, started: str) -> bool:
    """Tell whether the very process that began at `started` still runs; a zombie does not."""
    return pid > 0 and start_time(pid) == started != "" and _state(pid) not in {"", "Z", "X"}


def group_is_alive(pgid: int) -> bool:
    """Tell whether any process of the group still runs; zombies do not count."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # macOS answers so for a group of zombies; the list of processes decides.
        pass
    return pgid in _running_groups()


def start_time(pid: int) -> str:
    """Return when `pid` began, as text to compare and store; empty if there is no such process.

    Linux: clock ticks since boot (field 22 of /proc/<pid>/stat) and the boot's id, since ticks
    repeat from boot to boot. macOS: `ps -o lstart=`.
    """
    if sys.platform == "linux":
        fields = _stat(pid)
        return f"{fields[19]}@{_boot_id()}" if fields else ""
    return _ps("-o", "lstart=", "-p", str(pid)).strip()


def _wait(
    child: subprocess.Popen[bytes], deadline: float | None, cancel: threading.Event | None
) -> tuple[bool, bool]:
    """Return (timed out, cancelled) as soon as the leader ends or must be ended."""
    step = FIRST_POLL_SECONDS
    while child.poll() is None:
        if cancel is not None and cancel.is_set():
            return False, True
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                return True, False
            step = min(step, left)
        if cancel is not None:
            cancel.wait(step)
        else:
            time.sleep(step)
        step = min(step * 2, LONGEST_POLL_SECONDS)
    return False, False


def _end_members(
    pgid: int, grace_seconds: float, reap: Callable[[], object] = lambda: None
) -> None:
    if not group_is_alive(pgid):
        return
    # CONT, so that a stopped process gets to see its TERM.
    for first in (signal.SIGTERM, signal.SIGCONT):
        _signal_group(pgid, first)
    if _is_gone_within(pgid, grace_seconds, reap):
        return
    _signal_group(pgid, signal.SIGKILL)
    _is_gone_within(pgid, KILL_WAIT_SECONDS, reap)


def _is_gone_within(pgid: int, seconds: float, reap: Callable[[], object]) -> bool:
    deadline = time.monotonic() + seconds
    step = FIRST_POLL_SECONDS
    while group_is_alive(pgid):
        if time.monotonic() >= deadline:
            return False
        time.sleep(step)
        reap()
        step = min(step * 2, LONGEST_POLL_SECONDS)
    return True


def _signal_group(pgid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, number)


def _why_not_started(argv: Sequence[str], cwd: Path, error: Exception) -> str:
    if not cwd.is_dir():
        return f"the directory {cwd} does not exist"
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return f"{argv[0] if argv else 'an empty command'}: {reason}"


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the third (the state) on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    # The second field is the program's name in parentheses and may itself hold spaces and ")".
    return text.rpartition(")")[2].split()


def _state(pid: int) -> str:
    if sys.platform == "linux":
        fields = _stat(pid)
        return fields[0] if fields else ""
    return _ps("-o", "stat=", "-p", str(pid)).strip()[:1]


def _running_groups() -> set[int]:
    """Return the group of every process that is not a zombie."""
    if sys.platform == "linux":
        found = (
            _stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()
        )
        return {int(fields[2]) for fields in found if fields and fields[0] not in "ZX"}
    lines = (line.split(None, 1) for line in _ps("-axo", "pgid=,stat=").splitlines())
    return {int(group) for group, state in lines if not state.startswith("Z")}


@cache
def _boot_id() -> str:
    if sys.platform != "linux":
        return ""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:13]
    except OSError:
        return ""


def _boot(started: str) -> str:
    return started.rpartition("@")[2] if sys.platform == "linux" else ""


def _ps(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["/bin/ps", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
