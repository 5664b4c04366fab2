"""The SQLite database: one connection, one writer at a time, every write `BEGIN IMMEDIATE`.

A deferred `BEGIN` that reads and then writes fails at once with "database is locked" when another
connection wrote in between, whatever the busy timeout; an immediate one waits its turn
(https://www.sqlite.org/lang_transaction.html). `synchronous=FULL`: a committed claim survives a
power cut.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from sf_mcp.core.errors import InvalidInput, StoneforgeError, StorageFailed

BUSY_TIMEOUT_SECONDS = 5.0
CACHED_STATEMENTS = 512
"""More than the server has; to prepare one anew takes longer than to run it."""

REFUSALS = (sqlite3.Error, UnicodeEncodeError, OverflowError)
"""What `sqlite3` raises: the last two for a lone surrogate and a number beyond 64 bits."""

Connection = sqlite3.Connection
"""An open connection, for those that pass it on and must not know sqlite."""


class Database:
    """An open database file. Safe to share between threads: one transaction runs at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create the file and bring its schema up to date.

        Raises:
            StorageFailed: the file cannot be opened, is not a database, or is from a newer release.
        """
        self.path = path
        self._lock = threading.Lock()
        self._peek_lock = threading.Lock()
        self._peeker: sqlite3.Connection | None = None
        try:
            self._connection = sqlite3.connect(
                path,
                timeout=BUSY_TIMEOUT_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=CACHED_STATEMENTS,
            )
        except sqlite3.Error as error:
            raise _explained(error, path) from error
        try:
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._migrate()
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error):
                raise _explained(error, path) from error
            raise

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

    @property
    def is_in_use(self) -> bool:
        """Whether a transaction is open at this moment."""
        return self._lock.locked()

    @contextmanager
    def write(
        self, *, on_failed_commit: Callable[[], None] | None = None
    ) -> Generator[sqlite3.Connection]:
        """Run one writing transaction: committed at the end, rolled back on any exception.

        `on_failed_commit` is called before anyone else may look, when the commit itself fails.

        Raises:
            StorageFailed: the disk is full, the file is gone or damaged, or a constraint would be
                broken; nothing was written.
            InvalidInput: a value is none that SQLite can hold.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                try:
                    self._connection.execute("COMMIT")
                except sqlite3.Error:
                    if on_failed_commit is not None:
                        on_failed_commit()
                    raise
            except REFUSALS as error:
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
            except REFUSALS as error:
                raise _explained(error, self.path) from error
            finally:
                self._roll_back()

    @contextmanager
    def peek(self) -> Generator[sqlite3.Connection]:
        """Look at the newest committed state; never waits for a writer (a reader in WAL mode).

        Raises:
            StorageFailed: the file is gone or damaged.
        """
        with self._peek_lock:
            try:
                if self._peeker is None:
                    self._peeker = sqlite3.connect(
                        f"{self.path.absolute().as_uri()}?mode=ro",
                        uri=True,
                        isolation_level=None,
                        check_same_thread=False,
                    )
                    self._peeker.row_factory = sqlite3.Row
                yield self._peeker
            except REFUSALS as error:
                raise _explained(error, self.path) from error

    def _roll_back(self) -> None:
        # A full or failing disk may have rolled back already; what raised says more than this.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        with self._peek_lock:
            if self._peeker is not None:
                self._peeker.close()
                self._peeker = None
        with self._lock:
            self._connection.close()


def _explained(error: Exception, path: Path) -> StoneforgeError:
    text = str(error)
    if not isinstance(error, sqlite3.Error):
        return InvalidInput(
            f"A value cannot be stored: {text}.",
            remedy="Send text as UTF-8, and whole numbers of at most 64 bits.",
        )
    if isinstance(error, sqlite3.IntegrityError):
        remedy = "Nothing was changed. Look at the present state and try again."
    elif "full" in text:
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
