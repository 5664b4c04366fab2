"""Checks: the person's own commands, run on a tree, judged by their exit codes alone.

A check's command is the one text that reaches a shell (`/bin/sh -c`): it is configuration that the
person wrote in their own checkout, never anything from a branch, a model or a task.
"""

import contextlib
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sf_mcp import process
from sf_mcp.core.identity import SESSION_VARIABLE
from sf_mcp.git.command import readable
from sf_mcp.git.fair_slots import FairSlots, Turn
from sf_mcp.git.junit import failing_tests, remove_reports

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""What a POSIX shell exits with when it cannot start the command."""

TIMED_OUT = "timed out after "


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    name: str
    command: str
    timeout_seconds: float
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """On top of the environment of all checks."""
    junit: str | None = None
    """A pattern of the JUnit XML reports that it writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    check: Check
    passed: bool
    outcome: str
    """`passed`, `failed (exit 1)`, `timed out after 900 s`, `could not start: …`, `cancelled`."""
    could_not_start: bool
    cancelled: bool
    """Stopped on request: it says nothing about the tree."""
    seconds: float
    log_path: Path
    failing: tuple[str, ...] = ()
    """Tests that failed, as its report names them."""


def check_environment(base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the person's environment without git's and the sessions' own variables.

    A check must say the same whether a person, a server or a session started it.
    """
    return {name: value for name, value in base.items() if not SESSION_VARIABLE.match(name)}


def run_checks(
    checks: Sequence[Check],
    worktree: Path,
    log_dir: Path,
    *,
    slots: FairSlots,
    env: Mapping[str, str],
    cancel: threading.Event | None = None,
    on_done: Callable[[CheckOutcome], None] = lambda _: None,
) -> tuple[CheckOutcome, ...]:
    """Run all checks in `worktree`, each once it has a slot, and return what each said, in order.

    Each command runs as `["/bin/sh", "-c", command]` in a process group of its own, its output in
    a file of its own below `log_dir`; nothing of the group is left afterwards. `on_done` is given
    each outcome as it comes, in the thread that ran the check.

    Raises:
        StorageFailed: a log cannot be written.
    """

    def run_one(number: int, check: Check, turn: Turn) -> CheckOutcome:
        log_path = log_dir / f"{number:02}-{_file_name(check.name)}.log"
        with turn:
            if turn.wait(cancel):
                outcome = _run(check, worktree, log_path, env, cancel)
            else:
                outcome = _cancelled(check, log_path)
        on_done(outcome)
        return outcome

    with ThreadPoolExecutor(max_workers=max(1, len(checks)), thread_name_prefix="check") as pool:
        # In the line in the order in which they stand in the configuration.
        turns = [slots.line_up() for _ in checks]
        return tuple(pool.map(run_one, range(1, len(checks) + 1), checks, turns))


def end_interrupted_checks(log_dir: Path) -> int:
    """End the process groups of checks whose server was killed; return how many still ran."""
    ended = 0
    for record in sorted(log_dir.glob("**/*.running")):
        with contextlib.suppress(OSError, ValueError):
            pid, started = record.read_text("utf-8").split(" ", 1)
            ended += process.end_group(int(pid), started.strip())
        record.unlink(missing_ok=True)
    return ended


def tail(log_path: Path, lines: int = 60, max_bytes: int = 8_000) -> str:
    """Return the end of a log, whatever bytes are in it; empty when there is no log.

    At most `lines` lines and `max_bytes` bytes are read: of a longer line only the end is shown.
    """
    try:
        with log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - max_bytes))
            found = log.read(max_bytes)
    except FileNotFoundError:
        return ""
    if size > max_bytes and b"\n" in found[:-1]:
        found = found.split(b"\n", 1)[1]  # the first line is cut
    elif size > max_bytes:
        # One huge line: do not begin within a character.
        while found and found[0] & 0xC0 == 0x80:
            found = found[1:]
    return "\n".join(readable(found).rstrip("\n").split("\n")[-lines:])


def _run(
    check: Check,
    worktree: Path,
    log_path: Path,
    env: Mapping[str, str],
    cancel: threading.Event | None,
) -> CheckOutcome:
    record = log_path.with_suffix(".running")

    def remember(pid: int, started: str) -> None:
        record.write_text(f"{pid} {started}\n", "utf-8")

    if check.junit:
        remove_reports(worktree, check.junit)
    try:
        done = process.run(
            ["/bin/sh", "-c", check.command],
            cwd=worktree,
            env={**env, **check.env},
            timeout_seconds=check.timeout_seconds,
            output_path=log_path,
            cancel=cancel,
            on_start=remember,
        )
    finally:
        record.unlink(missing_ok=True)
    words = _words(check, done, log_path)
    failing, problem = (), ""
    if check.junit and done.exit_code not in (None, 0):
        failing, problem = failing_tests(worktree, check.junit)
    if problem:
        with contextlib.suppress(OSError), log_path.open("a", encoding="utf-8") as log:
            log.write(f"\n{problem}\n")
    return CheckOutcome(
        check=check,
        passed=done.exit_code == 0,
        outcome=words,
        could_not_start=words.startswith("could not start"),
        cancelled=done.cancelled,
        seconds=done.seconds,
        log_path=log_path,
        failing=failing,
    )


def _cancelled(check: Check, log_path: Path) -> CheckOutcome:
    return CheckOutcome(
        check=check,
        passed=False,
        outcome="cancelled",
        could_not_start=False,
        cancelled=True,
        seconds=0.0,
        log_path=log_path,
    )


def time_out_words(seconds: float) -> str:
    """Return the outcome of a check that ran longer than it may."""
    return f"{TIMED_OUT}{seconds:g} s"


def _words(check: Check, done: process.Outcome, log_path: Path) -> str:
    if done.could_not_start:
        return f"could not start: {done.could_not_start}"
    if done.cancelled:
        return "cancelled"
    if done.timed_out:
        return time_out_words(check.timeout_seconds)
    match done.exit_code:
        case 0:
            return "passed"
        case code if code in (NOT_FOUND, NOT_EXECUTABLE):
            said = tail(log_path, lines=1, max_bytes=500) or "command not found"
            return f"could not start: {said} (exit {code})"
        case code if code is not None and code < 0:
            return f"failed (signal {-code})"
        case code:
            return f"failed (exit {code})"


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "check"
