"""`.stoneforge/server.lock`: held by whoever may write the state, a server or one short command.

The kernel lets go of it when the holder ends in whatever way, so nothing is ever left behind.
"""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager

from sf_mcp.core.errors import StorageFailed
from sf_mcp.core.layout import Layout


@contextmanager
def server_lock(layout: Layout) -> Generator[bool]:
    """Try to take the lock, without waiting; the value says whether it is held now.

    Raises:
        StorageFailed: the file cannot be opened.
    """
    try:
        # Not inherited by children (PEP 446): a check that outlives the server does not hold it.
        descriptor = os.open(layout.server_lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageFailed(
            f"{layout.server_lock} cannot be opened: {error.strerror}.",
            remedy="Run `sf` as the user who ran `sf init`, on a disk that can be written.",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
