"""The gate of one account: a file that all fleets of a person share, whatever their repositories.

Rule 1: nothing here raises, and no wait is longer than a moment. A gate that cannot be read counts
as open, since the next session that meets the limit closes it again; one that cannot be written is
heeded by this process alone. `problem` says so.
Rule 2: the file is replaced whole, under a lock, and only its owner can read it.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Generator
from datetime import datetime
from pathlib import Path

from sf_mcp.core.account import (
    MOST_SPREAD,
    Park,
    after_clock_was_put_back,
    decode,
    encode,
    longer,
)
from sf_mcp.core.errors import StorageFailed
from sf_mcp.store.secret_files import write_secret

LOCK_SECONDS = 1.0
"""A holder needs a millisecond. One that hangs must not make the fleets hang."""
LOOK_SECONDS = 0.01
MOST_BYTES = 10_000

_Signature = tuple[int, int, int]


class AccountGate:
    """One account's gate. Safe for many threads; costs one `stat` while nothing changes."""

    def __init__(self, path: Path, *, by: str) -> None:
        """Use the file at `path`, which need not exist; `by` is this fleet's name in it."""
        self.path = path
        self._by = by
        self._lock = threading.Lock()
        self._seen: _Signature | None = None
        self._told: Park | None = None
        """What the file said when it was last read."""
        self._own: Park | None = None
        """A park that could not be written."""
        self._gone_until: datetime | None = None
        """The end of a park whose file was removed."""
        self._problem = ""

    @property
    def problem(self) -> str:
        """What is wrong with the file and what that means, for people; empty when nothing is."""
        return self._problem

    def current(self, now: datetime) -> Park | None:
        """Return the newest park, also for a while after its end; None when there is none."""
        with self._lock:
            park = self._newest(now)
            if park is None:
                return None
            moved = after_clock_was_put_back(park, now)
            if moved is not park:
                self._write(moved, now)
            return None if moved.until + 4 * MOST_SPREAD <= now else moved

    def park(self, new: Park) -> Park:
        """Close the gate until the end of `new`, or leave it closed for longer; return which."""
        with self._lock, self._file_lock():
            park = longer(self._newest(new.since), new)
            self._write(park, new.since)
            return park

    def open(self, now: datetime) -> Park | None:
        """Open the gate; return what had closed it."""
        with self._lock, self._file_lock():
            park = self._newest(now)
            if park is None or park.until + MOST_SPREAD <= now:
                return None
            self._write(None, now)
            return park

    def _newest(self, now: datetime) -> Park | None:
        self._look(now)
        if self._own is None:
            return self._told
        return longer(self._told, self._own)

    def _look(self, now: datetime) -> None:
        """Read the file if it has changed."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                signature = found.st_mtime_ns, found.st_size, found.st_ino
                if signature == self._seen:
                    return
                self._told = decode(file.read(MOST_BYTES).decode())
        except (FileNotFoundError, NotADirectoryError):
            self._missing(now)
        except (OSError, ValueError, RecursionError) as error:
            self._seen, self._told = None, None
            reason = error.strerror if isinstance(error, OSError) else "it makes no sense"
            self._problem = (
                f"The account's gate {self.path} cannot be read ({reason}), so it counts as open. "
                "Remove it; it is made anew at the next limit."
            )
        else:
            # Whoever could write it knew more than we.
            self._seen, self._own, self._gone_until, self._problem = signature, None, None, ""

    def _missing(self, now: datetime) -> None:
        was = self._told
        self._seen, self._told = None, None
        if was is None or was.until <= now:
            if self._own is None and (self._gone_until is None or self._gone_until <= now):
                self._problem = ""
        else:
            self._gone_until = was.until
            self._problem = (
                f"The account's gate {self.path} was removed before {was.until:%Y-%m-%d %H:%M} "
                "UTC, so it counts as open; it is made anew at the next limit."
            )

    def _write(self, park: Park | None, now: datetime) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_secret(self.path, encode(park, by=self._by, now=now).strip())
        except (StorageFailed, OSError) as error:
            self._own = park
            if park is None:
                self._told = None
            reason = error.strerror if isinstance(error, OSError) else error.message
            self._problem = (
                f"The account's gate cannot be written, so other fleets do not hear of this one's "
                f"limits: {reason} Correct the permissions of {self.path.parent}."
            )
        else:
            self._own, self._problem = None, ""
            self._look(now)

    @contextlib.contextmanager
    def _file_lock(self) -> Generator[None]:
        """Hold the lock of all processes; go on without it rather than wait for one that hangs.

        What may be lost without it is one of two parks that were met in the same millisecond.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            yield  # it cannot be written either, which says why
            return
        try:
            deadline = time.monotonic() + LOCK_SECONDS
            while time.monotonic() < deadline:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    time.sleep(LOOK_SECONDS)
            yield
        finally:
            os.close(descriptor)
