"""What a child process prints, kept in a file of bounded size: its beginning and its end.

Neither memory nor disk fills, however much is printed: what is beyond the bound takes the place of
what came before it, but for the beginning. Where the disk takes nothing more, the rest is dropped
and the child goes on.
"""

import contextlib
import fcntl
import os
import select
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import IO

CHUNK_BYTES = 1 << 18
_F_SETPIPE_SZ = 1031
"""Linux: a pipe that holds more lets a child that prints much wait less often."""


@contextlib.contextmanager
def bounded_log(path: Path, most_bytes: int) -> Generator[int]:
    """Yield a descriptor to print to; what comes of it is in the file once this is left.

    To be left once the child and its group have ended: what a process that escaped prints later
    is lost.

    Raises:
        OSError: the file cannot be made.
    """
    with path.open("w+b", buffering=0) as file:
        reading, writing = os.pipe()
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                fcntl.fcntl(writing, _F_SETPIPE_SZ, CHUNK_BYTES)
        wake, stop = os.pipe()
        log = _Log(file, most_bytes)
        pump = threading.Thread(target=_pump, args=(reading, wake, log), name=f"log {path.name}")
        pump.start()
        try:
            yield writing
        finally:
            os.close(writing)
            os.close(stop)
            pump.join()
            os.close(reading)
            os.close(wake)
            with contextlib.suppress(OSError):
                log.finish()


def _pump(reading: int, wake: int, log: "_Log") -> None:
    """Copy until nobody can print any more, or until woken and nothing more is there."""
    os.set_blocking(reading, False)
    # Not select(): it takes no descriptor beyond 1,023, and a busy server has more.
    poll = select.poll()
    for descriptor in (reading, wake):
        poll.register(descriptor, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poll.poll()]
        try:
            data = os.read(reading, CHUNK_BYTES) if reading in ready else None
        except BlockingIOError:
            data = None
        if data:
            log.write(data)
        elif data == b"" or wake in ready:
            return


class _Log:
    """A file whose second half is written round and round."""

    def __init__(self, file: IO[bytes], most_bytes: int) -> None:
        self._file = file
        self._half = max(1, most_bytes // 2)
        self._count = 0
        """Bytes that were printed."""
        self._is_full = False
        """The disk took no more."""

    def write(self, data: bytes) -> None:
        if self._is_full:
            return
        if len(data) > self._half and self._count >= self._half:
            skipped = len(data) - self._half
            self._count += skipped
            data = data[skipped:]
        try:
            while data:
                at, room = self._place()
                self._file.seek(at)
                written = self._file.write(data[:room])
                self._count += written
                data = data[written:]
        except OSError:
            self._is_full = True

    def _place(self) -> tuple[int, int]:
        """Return where the next byte goes, and how many may follow it there."""
        if self._count < self._half:
            return self._count, self._half - self._count
        at = (self._count - self._half) % self._half
        return self._half + at, self._half - at

    def finish(self) -> None:
        """Put the second half in its order, with a line for what is missing before it."""
        left_out = self._count - 2 * self._half
        if left_out <= 0:
            return
        at, room = self._place()
        self._file.seek(at)
        older = self._file.read(room)
        self._file.seek(self._half)
        newer = self._file.read(at - self._half)
        self._file.seek(self._half)
        self._file.write(f"\n[… {left_out} bytes are left out here …]\n".encode())
        for part in (older, newer):
            self._file.write(part)
