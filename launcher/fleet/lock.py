"""One launcher per repository: whoever holds `.stoneforge/launcher.lock`."""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sf_mcp.core.errors import AlreadyRunning, StorageFailed

RETRY_SECONDS = 0.1


@contextmanager
def launcher_lock(path: Path, *, wait_seconds: float = 0.0) -> Generator[None]:
    """Hold the lock, waiting for it at most `wait_seconds`. The kernel lets go of it at any death.

    Raises:
        AlreadyRunning: another launcher holds it.
        StorageFailed: the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StorageFailed(
            f"{path} cannot be opened: {error.strerror}.", remedy="Correct the permissions."
        ) from error
    with lock:
        _take(lock, time.monotonic() + wait_seconds)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _take(lock: IO[str], deadline: float) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() < deadline:
                time.sleep(RETRY_SECONDS)
                continue
            lock.seek(0)
            holder = lock.read(20).strip() or "unknown"
            raise AlreadyRunning(
                f"A launcher already runs for this repository (process {holder}).",
                remedy=f"Use that one, or end it with Ctrl-C in its terminal (`kill {holder}`).",
            ) from error
        return
