"""A Claude Code process and its three pipes, without a thread of its own.

Rule 1: a line may be of any length; what is read goes to the log as it comes.
Rule 2: every wait is bounded, and the end of the process is seen even while something that it has
started keeps its pipes open.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import anyio
import anyio.to_thread

from sf_mcp import process

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 18
SEND_SECONDS = 10.0
"""For a client to take a message off its pipe; it reads all the time, so this is generous."""
LOOK_SECONDS = 0.2
"""How often a silent process is looked at where the system does not tell of its end (macOS)."""
FIRST_WAIT_SECONDS = 0.002
LONGEST_WAIT_SECONDS = 0.05
ERROR_TAIL_BYTES = 8_000


class Child:
    """One process, leader of a group of its own."""

    def __init__(
        self, popen: "subprocess.Popen[bytes]", started: str, log: IO[bytes], errors: Path
    ) -> None:
        """Use `start`."""
        assert popen.stdin is not None
        assert popen.stdout is not None
        self._popen = popen
        self._stdin = popen.stdin
        self._stdout = popen.stdout
        self._log: IO[bytes] | None = log
        self._errors = errors
        self._is_group_gone = False
        self._sending = anyio.Lock()
        self.started = started
        """The kernel's start time, to tell it from a later process with the same pid."""
        self._end = _end_of(popen.pid)
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)

    @classmethod
    async def start(
        cls, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path
    ) -> "Child":
        """Start `argv`; its output is appended to `log`, its complaints to a file beside it.

        Raises:
            OSError: the program, the directory or the log cannot be used.
        """
        return await anyio.to_thread.run_sync(cls._start, argv, cwd, env, log)

    @classmethod
    def _start(cls, argv: Sequence[str], cwd: Path, env: Mapping[str, str], log: Path) -> "Child":
        log.parent.mkdir(parents=True, exist_ok=True)
        errors = log.with_suffix(".stderr")
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(log.open("a+b", buffering=0))
            if _is_cut(output):
                output.write(b"\n")
            with errors.open("wb") as complaints:
                popen = process.spawn(
                    argv,
                    cwd=cwd,
                    env=env,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                )
            stack.pop_all()
        return cls(popen, process.start_time(popen.pid), output, errors)

    @property
    def pid(self) -> int:
        """The process id, which is its group's id too."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._popen.poll()

    async def send(self, line: bytes) -> None:
        """Write one line to it.

        Raises:
            OSError: it has closed its input, or does not read (TimeoutError).
        """
        rest = memoryview(line)
        # One line at a time: a long one is written in several pieces.
        with anyio.fail_after(SEND_SECONDS):
            async with self._sending:
                while rest:
                    try:
                        rest = rest[os.write(self._stdin.fileno(), rest) :]
                    except BlockingIOError:
                        await anyio.wait_writable(self._stdin)

    def close_input(self) -> None:
        """Say that nothing more will come; it then finishes its turn and ends."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    async def lines(self) -> AsyncIterator[bytes]:
        """Return its output line by line, to its end."""
        rest = bytearray()
        looked = 0
        async for chunk in self._chunks():
            self._keep(chunk)
            rest += chunk
            while (end := rest.find(b"\n", looked)) >= 0:
                yield bytes(rest[:end])
                del rest[: end + 1]
                looked = 0
            looked = len(rest)
        if rest:
            yield bytes(rest)

    async def _chunks(self) -> AsyncIterator[bytes]:
        output = self._stdout.fileno()
        while True:
            has_ended = self._popen.poll() is not None
            try:
                chunk = os.read(output, CHUNK_BYTES)
            except BlockingIOError:
                if has_ended:
                    return
                await self._wait_for_word_or_end()
                continue
            if not chunk:
                return
            yield chunk

    async def _wait_for_word_or_end(self) -> None:
        """Wait until there is output, or the process has ended with its pipe held by another."""
        if self._end is None:
            with anyio.move_on_after(LOOK_SECONDS):
                await anyio.wait_readable(self._stdout)
            return

        async def wait_for(readable: IO[bytes] | int) -> None:
            await anyio.wait_readable(readable)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(wait_for, self._stdout)
            group.start_soon(wait_for, self._end)

    def _keep(self, chunk: bytes) -> None:
        if self._log is None:
            return
        try:
            self._log.write(chunk)
        except OSError as error:
            # A full disk must not end the session: its work is in git, the log is for people.
            logger.warning("the log of process %s is cut short: %s", self.pid, error)
            self._log.close()
            self._log = None

    async def wait(self, seconds: float) -> int | None:
        """Wait for its end at most so long; return its exit code, None if it still runs."""
        step = FIRST_WAIT_SECONDS
        with anyio.move_on_after(seconds):
            if self._end is not None and self._popen.poll() is None:
                await _readable_copy(self._end)
            while self._popen.poll() is None:
                await anyio.sleep(step)
                step = min(step * 2, LONGEST_WAIT_SECONDS)
        return self._popen.poll()

    async def end_group(self, *, grace_seconds: float) -> None:
        """End whatever is left of its group, and wait until it is gone. Once: then it is over."""
        if self._is_group_gone:
            return
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(
                lambda: process.end_child(self._popen, grace_seconds=grace_seconds)
            )
            self._is_group_gone = True

    def close(self) -> None:
        """Close the pipes and the log; the group has been ended, and nobody reads any more."""
        self.close_input()
        self._stdout.close()
        if self._end is not None:
            os.close(self._end)
            self._end = None
        if self._log is not None:
            self._log.close()

    def kill(self) -> None:
        """Kill the whole group now."""
        # While the leader has not been waited for, its number belongs to nobody else.
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def complaints(self) -> str:
        """Return the end of what it wrote to stderr."""
        try:
            with self._errors.open("rb") as file:
                file.seek(max(0, self._errors.stat().st_size - ERROR_TAIL_BYTES))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""


def _is_cut(log: IO[bytes]) -> bool:
    """Return whether the process before was ended in the middle of a line."""
    if log.seek(0, os.SEEK_END) == 0:
        return False
    log.seek(-1, os.SEEK_END)
    return log.read(1) != b"\n"


async def _readable_copy(file: int) -> None:
    """Wait for a file that another task may be waiting for too, which one number does not allow."""
    copy = os.dup(file)
    try:
        await anyio.wait_readable(copy)
    finally:
        os.close(copy)


def _end_of(pid: int) -> int | None:
    """Return a file that is readable once the process has ended; None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:  # an old kernel, or a sandbox that forbids it
        logger.info("the end of process %s is looked for: %s", pid, error)
        return None
