"""One writer at a time: what was read in a transaction still holds when it writes."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sf_mcp.store import facts
from sf_mcp.store.database import Connection, Database

TOO_EARLY_SECONDS = 0.5
"""Long enough for a writer that does not wait its turn to have come to an end."""


def the_same(database: Database) -> Database:
    return database


def another_process(database: Database) -> Database:
    """Open the file once more, as another process does: a lock of this one keeps nobody out."""
    return Database(database.path)


def count_up(db: Connection) -> None:
    facts.put(db, "count", str(int(facts.get(db, "count") or 0) + 1))


@pytest.mark.parametrize("other", [the_same, another_process])
def test_a_second_writer_waits_until_the_first_has_written_what_it_read(
    tmp_path: Path, other: Callable[[Database], Database]
) -> None:
    """Row 12 of the known defects: each wrote on top of what it had read before."""
    database = Database(tmp_path / "state.db")
    second = other(database)
    is_over = threading.Event()

    def write() -> None:
        try:
            with second.write() as db:
                count_up(db)
        finally:
            is_over.set()

    thread = threading.Thread(target=write)
    with database.write() as db:
        read = int(facts.get(db, "count") or 0)
        thread.start()
        assert not is_over.wait(TOO_EARLY_SECONDS)
        facts.put(db, "count", str(read + 1))
    thread.join(20)
    with database.read() as db:
        assert facts.get(db, "count") == "2"
