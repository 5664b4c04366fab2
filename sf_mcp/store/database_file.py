"""The database's file in the hands of others: removed, replaced or overwritten while it is open.

SQLite goes on with the file that it has opened, wherever that went: in WAL mode nothing tells it,
and what it commits to a removed file is gone with the process. So we look ourselves.
"""

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Self

from sf_mcp.core.errors import StorageFailed

logger = logging.getLogger(__name__)

HEADER = b"SQLite format 3\0"
BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside the file, by name alone: it would replay one into the other."""

FileId = tuple[int, int]


def file_id(path: Path) -> FileId | None:
    """Return what tells the file at the path from every other; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def signature(path: Path) -> tuple[int, ...] | None:
    """Return what differs as soon as the file has been changed or replaced; None without one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def has_header(path: Path) -> bool:
    """Return whether the file begins as a database does.

    Never of one that this process has open: see `Header`.
    """
    try:
        with Header(path) as header:
            return header.is_there()
    except OSError:
        return False


class Header:
    """The beginning of a file that this process may have open as a database.

    It is opened once and closed after the last connection. To close any descriptor of a file drops
    every lock that the process has on it (POSIX); another process would then take itself for the
    only one, and remove the log that is still written to
    (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            OSError: there is none, or it may not be read.
        """
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def is_there(self) -> bool:
        """Return whether the file begins as a database does, at this moment."""
        try:
            return os.pread(self._descriptor, len(HEADER), 0) == HEADER
        except OSError:
            return False

    def close(self) -> None:
        """Let go of the file; no connection of this process to it may be open."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        """Let go with the database that was not closed, as its connection does."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def backup_path(path: Path) -> Path:
    """Return where the copy of the last start of the server lies."""
    return path.with_name(f"{path.name}.backup")


def rescued_path(path: Path) -> Path:
    """Return where the newest state of a file that was removed is kept."""
    return path.with_name(f"{path.name}.rescued")


def copy_to(connection: sqlite3.Connection, path: Path) -> None:
    """Write everything that the connection sees to a file, whole or not at all.

    Raises:
        sqlite3.Error: it cannot be read or written.
        OSError: it cannot be put in its place.
    """
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    with closing(sqlite3.connect(beside)) as target:
        connection.backup(target)
    beside.replace(path)


def set_aside(path: Path, opened: dict[str, FileId | None]) -> None:
    """Rename what SQLite left beside a file that is not there any more."""
    for suffix in BESIDE:
        left = path.with_name(path.name + suffix)
        known = opened.get(suffix)
        if known is not None and file_id(left) == known:
            left.replace(left.with_name(f"{left.name}.old"))


def ids_beside(path: Path) -> dict[str, FileId | None]:
    """Return which files SQLite has beside the path now."""
    return {suffix: file_id(path.with_name(path.name + suffix)) for suffix in BESIDE}


def gone(path: Path) -> StorageFailed:
    """Return the refusal when there is no file."""
    return StorageFailed(
        f"The database {path} has been removed; no session is started and nothing lands.",
        remedy=f"Put it back{_from_a_copy(path)}. {_GOES_ON}",
    )


def damaged(path: Path, how: str) -> StorageFailed:
    """Return the refusal when the file cannot be read as a database."""
    return StorageFailed(
        f"The database {path} is damaged: {how}.",
        remedy=f"Move it away and keep it (`sqlite3 FILE .recover` may read more of it), then put "
        f"a sound one in its place{_from_a_copy(path)}. {_GOES_ON}",
    )


_GOES_ON = (
    "A running server goes on with it by itself; else start `sf serve`. Commits and snapshots are "
    "in forge.git, untouched."
)


def _from_a_copy(path: Path) -> str:
    copies = [one.name for one in (rescued_path(path), backup_path(path)) if one.exists()]
    if not copies:
        return ""
    older = f"; {copies[1]} is of the last start" if len(copies) > 1 else ""
    return f" (in {path.parent}: cp {copies[0]} {path.name}{older})"
