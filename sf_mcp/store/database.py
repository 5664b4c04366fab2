"""The SQLite database: one connection, one writer at a time, every write `BEGIN IMMEDIATE`.

A deferred `BEGIN` that reads and then writes fails at once with "database is locked" when another
connection wrote in between, whatever the busy timeout; an immediate one waits its turn
(https://www.sqlite.org/lang_transaction.html). `synchronous=FULL`: a committed claim survives a
power cut.
"""

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from sf_mcp.core.errors import InvalidInput, StoneforgeError, StorageFailed
from sf_mcp.store.database_file import (
    Header,
    backup_path,
    copy_to,
    damaged,
    file_id,
    gone,
    has_header,
    ids_beside,
    rescued_path,
    set_aside,
    signature,
)

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_SECONDS = 5.0
CACHED_STATEMENTS = 512
"""More than the server has; to prepare one anew takes longer than to run it."""

REFUSALS = (sqlite3.Error, UnicodeEncodeError, OverflowError)
"""What `sqlite3` raises: the last two for a lone surrogate and a number beyond 64 bits."""

Connection = sqlite3.Connection
"""An open connection, for those that pass it on and must not know sqlite."""


class Database:
    """An open database file. Safe to share between threads: one transaction runs at a time.

    The file is looked at before each transaction. One that was removed or damaged is refused, with
    the way back; one that was put in its place since is opened and gone on with.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file and bring its schema up to date.

        Raises:
            StorageFailed: the file cannot be opened, is not a database, or is from a newer release.
        """
        self.path = path
        self.on_replaced: Callable[[], None] = lambda: None
        """Called when another file was opened in the old one's place: what is remembered of that
        holds no more."""
        self._lock = threading.Lock()
        self._peek_lock = threading.Lock()
        self._peeker: sqlite3.Connection | None = None
        self._refused: tuple[int, ...] | None = None
        self._has_rescued = False
        self._connection: sqlite3.Connection | None = None
        self._header: Header | None = None
        self._connection = self._opened()

    def _opened(self, mode: str = "rwc") -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_TIMEOUT_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=CACHED_STATEMENTS,
            )
        except sqlite3.Error as error:
            raise explained(error, self.path) from error
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._migrate(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise explained(error, self.path) from error
            raise
        try:
            self._header = Header(self.path)
        except OSError as error:
            connection.close()
            raise gone(self.path) from error
        self._file = file_id(self.path)
        self._beside = ids_beside(self.path)
        return connection

    def _usable(self) -> sqlite3.Connection:
        """Return the connection to the file that lies at the path now; the lock is held.

        Raises:
            StorageFailed: there is none, or it is no sound database.
        """
        connection, found = self._connection, file_id(self.path)
        if (
            connection is not None
            and found == self._file
            and self._header is not None
            and self._header.is_there()
        ):
            return connection
        if found is None:
            self._rescue()
            raise gone(self.path)
        if connection is not None:
            if found != self._file:
                self._rescue()
            # While the new file is not there or not sound: what SQLite writes now harms nothing.
            self._close()
            set_aside(self.path, self._beside)
        if (present := signature(self.path)) == self._refused:
            raise damaged(self.path, "it has not changed since it was found to be")
        self._refused = present
        if not has_header(self.path):
            raise damaged(self.path, "it is no database")
        connection = self._opened(mode="rw")
        try:
            require_sound(connection, self.path)
        except StorageFailed:
            connection.close()
            self._let_go_of_header()
            raise
        logger.warning("Another file lies at %s; going on with it.", self.path)
        self._connection, self._refused, self._has_rescued = connection, None, False
        self.on_replaced()
        return connection

    def _rescue(self) -> None:
        """Keep the newest state of a file that was removed, once: the open one still has it."""
        if self._connection is None or self._has_rescued:
            return
        self._has_rescued = True
        try:
            copy_to(self._connection, rescued_path(self.path))
        except (sqlite3.Error, OSError) as error:
            logger.warning("The removed %s could not be kept: %s", self.path, error)
        else:
            logger.warning("%s was removed; it is kept in %s", self.path, rescued_path(self.path))

    def keep_copy(self) -> None:
        """See that the database is sound, and keep a copy of it beside it.

        Raises:
            StorageFailed: it is not sound. That there is no room for a copy is logged alone.
        """
        with self.read() as connection:
            require_sound(connection, self.path)
        with self._lock:
            try:
                copy_to(self._usable(), backup_path(self.path))
            except (sqlite3.Error, OSError) as error:
                logger.warning("No copy of %s was kept: %s", self.path, error)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        # sqlite_utils costs 100 ms to import, so the common case asks SQLite's own version first.
        from sf_mcp.store.schema import SCHEMA_VERSION

        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise StorageFailed(
                f"{self.path} was written by a newer release (schema {version}; this one knows "
                f"{SCHEMA_VERSION}).",
                remedy="Install the newer release again, or move the file away to start afresh.",
            )
        if version < SCHEMA_VERSION:
            from sf_mcp.store.migrations import migrate

            migrate(connection)

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
            connection = self._usable()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                try:
                    connection.execute("COMMIT")
                except sqlite3.Error:
                    if on_failed_commit is not None:
                        on_failed_commit()
                    raise
            except REFUSALS as error:
                _roll_back(connection)
                raise self._failed(error) from error
            except BaseException:
                _roll_back(connection)
                raise

    @contextmanager
    def read(self) -> Generator[sqlite3.Connection]:
        """Run one reading transaction: every query in it sees the same state.

        Raises:
            StorageFailed: the file is gone or damaged.
        """
        with self._lock:
            connection = self._usable()
            try:
                connection.execute("BEGIN")
                yield connection
                _roll_back(connection)
            except REFUSALS as error:
                _roll_back(connection)
                raise self._failed(error) from error
            except BaseException:
                _roll_back(connection)
                raise

    @contextmanager
    def peek(self) -> Generator[sqlite3.Connection]:
        """Look at the newest committed state; never waits for a writer (a reader in WAL mode).

        Raises:
            StorageFailed: the file is gone or damaged.
        """
        if file_id(self.path) != self._file or self._connection is None:
            with self._lock:
                self._usable()
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
                raise explained(error, self.path) from error

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        with self._lock:
            self._close()

    def _failed(self, error: Exception) -> StoneforgeError:
        """Return the refusal; a damaged file is closed, so that nothing more is written to it."""
        refusal = explained(error, self.path)
        if _tells_damage(error):
            self._close()
            set_aside(self.path, self._beside)
        return refusal

    def _close(self) -> None:
        with self._peek_lock:
            if self._peeker is not None:
                self._peeker.close()
                self._peeker = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._let_go_of_header()

    def _let_go_of_header(self) -> None:
        if self._header is not None:
            self._header.close()
            self._header = None


def require_sound(connection: sqlite3.Connection, path: Path) -> None:
    """Look through the whole file.

    Raises:
        StorageFailed: it is damaged.
    """
    try:
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        raise explained(error, path) from error
    if found != "ok":
        raise damaged(path, " ".join(found.split()))


def _roll_back(connection: sqlite3.Connection) -> None:
    # A full or failing disk may have rolled back already; what raised says more than this.
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _tells_damage(error: Exception) -> bool:
    return "malformed" in str(error) or "not a database" in str(error)


def explained(error: Exception, path: Path) -> StoneforgeError:
    """Return what SQLite raised as a refusal that says what to do."""
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
    elif _tells_damage(error):
        return damaged(path, text)
    elif "locked" in text:
        remedy = "Another program holds the file; end it and try again."
    else:
        remedy = f"Check that {path.parent} exists and is writable."
    return StorageFailed(f"The database {path} refused: {text}.", remedy=remedy)
