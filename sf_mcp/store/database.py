"""The SQLite database: one connection, one writer at a time, every write `BEGIN IMMEDIATE`.

A deferred `BEGIN` that reads and then writes fails at once with "database is locked" when another
connection wrote in between, whatever the busy timeout; an immediate one waits its turn
(https://www.sqlite.org/lang_transaction.html). `synchronous=FULL`: a committed claim survives a
power cut.
"""

import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sf_mcp.core.errors import StorageFailed

BUSY_TIMEOUT_SECONDS = 5.0


class Database:
    """An open database file. Safe to share between threads: one transaction runs at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create the file and bring its schema up to date.

        Raises:
            StorageFailed: the file cannot be opened, is not a database, or is from a newer release.
        """
        self.path = path
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                path,
                timeout=BUSY_TIMEOUT_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._migrate()
        except sqlite3.Error as error:
            raise _explained(error, path) from error

    def _migrate(self) -> None:
        # sqlite_utils costs 100 ms to import, so the common case asks SQLite's own version first.
        from sf_mcp.store.schema import SCHEMA_VERSION

        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise StorageFailed(
                f"{self.path} was written by a newer release (schema {version}; this one knows "
                f"{SCHEMA_VERSION}).",
                remedy="Install the newer release again, or move the file away to start afresh.",
            )
        if version < SCHEMA_VERSION:
            from sf_mcp.store.migrations import migrate

            migrate(self._connection)

    @contextmanager
    def write(self) -> Generator[sqlite3.Connection]:
        """Run one writing transaction: committed at the end, rolled back on any exception.

        Raises:
            StorageFailed: the disk is full, the file is gone or damaged; nothing was written.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.IntegrityError:
                self._roll_back()
                raise
            except sqlite3.Error as error:
                self._roll_back()
                raise _explained(error, self.path) from error
            except BaseException:
                self._roll_back()
                raise

    @contextmanager
    def read(self) -> Generator[sqlite3.Connection]:
        """Run one reading transaction: every query in it sees the same state.

        Raises:
            StorageFailed: the file is gone or damaged.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN")
                yield self._connection
            except sqlite3.Error as error:
                raise _explained(error, self.path) from error
            finally:
                self._roll_back()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        with self._lock:
            self._connection.close()


def _explained(error: sqlite3.Error, path: Path) -> StorageFailed:
    text = str(error)
    if "full" in text:
        remedy = "Free some disk space; nothing was written and nothing is lost."
    elif "malformed" in text or "not a database" in text:
        remedy = (
            "Stop the server, keep the file, and restore it from a backup or with "
            f"`sqlite3 {path.name} .recover`. Commits and snapshots are in forge.git, untouched."
        )
    elif "locked" in text:
        remedy = "Another program holds the file; end it and try again."
    else:
        remedy = f"Check that {path.parent} exists and is writable."
    return StorageFailed(f"The database {path} refused: {text}.", remedy=remedy)
