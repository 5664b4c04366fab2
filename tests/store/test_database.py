"""The database file: transactions, schema versions, and what happens when it cannot be written."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sf_mcp.core.errors import InvalidInput, StorageFailed
from sf_mcp.core.models import TaskId
from sf_mcp.store import facts, handoffs, leases, sessions
from sf_mcp.store.database import Database
from sf_mcp.store.schema import SCHEMA_VERSION

COUNT_UP = """
import sys
from pathlib import Path
from sf_mcp.store import facts
from sf_mcp.store.database import Database

database = Database(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    with database.write() as db:
        facts.put(db, "count", str(int(facts.get(db, "count") or 0) + 1))
"""


def count(database: Database) -> int:
    with database.read() as db:
        return int(facts.get(db, "count") or 0)


def test_processes_that_read_and_then_write_wait_their_turn(tmp_path: Path) -> None:
    """A deferred BEGIN would fail at once with "database is locked", whatever the time-out."""
    path = tmp_path / "state.db"
    database = Database(path)
    others = [subprocess.Popen([sys.executable, "-c", COUNT_UP, str(path), "40"]) for _ in range(2)]
    for _ in range(40):
        with database.write() as db:
            facts.put(db, "count", str(int(facts.get(db, "count") or 0) + 1))
    assert [other.wait(60) for other in others] == [0, 0]
    assert count(database) == 120


LOOK = """
import sys
from pathlib import Path
from sf_mcp.store import facts
from sf_mcp.store.database import Database

database = Database(Path(sys.argv[1]))
with database.read() as db:
    print(facts.get(db, "count"))
database.close()
"""


def test_what_is_written_after_another_process_has_come_and_gone_is_there_for_the_next(
    tmp_path: Path,
) -> None:
    """A process that closes a database which it takes for its own alone removes the log beside it.

    To open and close the file by hand drops every lock that this process has on it (POSIX advisory
    locks, https://www.sqlite.org/howtocorrupt.html section 2.2), and with them the sign that it is
    still in use.
    """
    path = tmp_path / "state.db"
    database = Database(path)

    def seen_by_another() -> str:
        done = subprocess.run(
            [sys.executable, "-c", LOOK, str(path)], capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    for number in ("1", "2", "3"):
        with database.write() as db:
            facts.put(db, "count", number)
        assert seen_by_another() == number
    assert Path(f"{path}-wal").exists()


def test_threads_that_read_and_then_write_wait_their_turn(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")

    def count_up() -> None:
        for _ in range(25):
            with database.write() as db:
                facts.put(db, "count", str(int(facts.get(db, "count") or 0) + 1))

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert count(database) == 100


def test_an_exception_takes_everything_back(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")

    def fail() -> None:
        with database.write() as db:
            facts.put(db, "count", "1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert count(database) == 0


def test_a_peek_sees_what_is_committed_while_a_writer_is_at_work(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    with database.write() as db:
        facts.put(db, "count", "1")
    with database.write() as db:
        facts.put(db, "count", "2")
        with database.peek() as seen:
            assert facts.get(seen, "count") == "1"
    with database.peek() as seen:
        assert facts.get(seen, "count") == "2"


def test_a_peek_cannot_write(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    with pytest.raises(StorageFailed, match="readonly"), database.peek() as db:
        facts.put(db, "count", "1")


def test_a_commit_reaches_the_disk_before_it_is_reported(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    with database.read() as db:
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert db.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_opening_again_finds_everything_and_migrates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    first = Database(path)
    with first.write() as db:
        facts.put(db, "count", "7")
    first.close()
    second = Database(path)
    assert count(second) == 7
    with second.read() as db:
        steps = db.execute("SELECT name FROM _sqlite_migrations").fetchall()
        assert [row[0] for row in steps] == [
            "0001_tables",
            "0002_recovery",
            "0003_train",
            "0004_seat",
        ]
        assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION


def test_a_migration_that_was_killed_midway_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    program = """
import os, signal, sys
from pathlib import Path
from sf_mcp.store import migrations
from sf_mcp.store.database import Database

whole = migrations._statements

def half(script):
    yield from whole(script)[:9]
    os.kill(os.getpid(), signal.SIGKILL)

migrations._statements = half
Database(Path(sys.argv[1]))
"""
    killed = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    assert killed.returncode == -9
    database = Database(path)
    with database.write() as db:
        facts.put(db, "count", "1")
    assert count(database) == 1


def test_a_file_of_the_first_release_keeps_all_of_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    program = """
import sys
from pathlib import Path
from sf_mcp.store import migrations
from sf_mcp.store.database import Database

migrations.MIGRATIONS._migrations = migrations.MIGRATIONS._migrations[:1]
migrations.SCHEMA_VERSION = 1
Database(Path(sys.argv[1]))
"""
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)
    with sqlite3.connect(path) as raw:
        raw.execute("INSERT INTO plans VALUES ('P1', 'One', '', 'active', 'now', 'now')")
        raw.execute(
            "INSERT INTO tasks (id, plan_id, title, description, acceptance, priority, paths,"
            " state, created_at, updated_at)"
            " VALUES ('T1', 'P1', 'Do', '', '[]', 3, '[]', 'open', 'now', 'now')"
        )
        raw.execute(
            "INSERT INTO handoffs VALUES (1, 'T1', 's', 'p', 'r', 'd', 'f', 'n', NULL, NULL, 0,"
            " '2026-11-25T00:00:00+00:00')"
        )
        at = "2026-11-25T00:00:00+00:00"
        raw.execute(
            "INSERT INTO sessions VALUES ('s', 'worker-1', 'worker', 'T1', 'running', 'sonnet', 7,"
            " 'then', 1, 'line', 5, 6, 0.5, '', 0, 'log', ?, ?, NULL, NULL, '')",
            (at, at),
        )
        raw.execute("INSERT INTO leases VALUES (1, 'T1', 's', 1, ?, ?, NULL, NULL, '')", (at, at))
    raw.close()

    with Database(path).read() as db:
        (handoff,) = handoffs.of_task(db, TaskId("T1"))
        session = sessions.get(db, "worker-1")
        lease = leases.live_of(db, session.id)
        broken = db.execute("PRAGMA foreign_key_check").fetchall()

    assert (handoff.progress, handoff.met) == ("p", ())
    assert (session.pid, session.starts, session.taken_over_at) == (7, 0, None)
    assert lease is not None
    assert broken == []


def test_a_file_of_a_newer_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    Database(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StorageFailed, match="newer release") as refused:
        Database(path)
    assert "Install the newer release" in refused.value.remedy
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is not SQLite" * 100)
    before = path.read_bytes()
    with pytest.raises(StorageFailed, match="not a database") as refused:
        Database(path)
    assert "forge.git, untouched" in refused.value.remedy
    assert path.read_bytes() == before


def test_a_damaged_page_is_reported_as_damage(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database(path)
    with database.write() as db:
        for number in range(200):
            facts.put(db, f"fact-{number}", "x" * 200)
    database.close()
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 400] = b"\xff" * 400
    path.write_bytes(bytes(data))
    with pytest.raises(StorageFailed, match="malformed") as refused:
        count(Database(path))
    assert ".recover" in refused.value.remedy


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="unable to open") as refused:
        Database(tmp_path / "gone" / "state.db")
    assert str(tmp_path / "gone") in refused.value.remedy


READ_ONLY = """
import os, sys
from pathlib import Path
from sf_mcp.core.errors import StorageFailed
from sf_mcp.core.models import TaskId
from sf_mcp.store import facts, handoffs
from sf_mcp.store.database import Database

database = Database(Path(sys.argv[1]))
database._connection.execute("PRAGMA query_only = ON")
try:
    with database.write() as db:
        facts.put(db, "count", "2")
except StorageFailed as error:
    print(error.message, error.remedy)
"""


def test_a_database_that_may_not_be_written_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database(path)
    with database.write() as db:
        facts.put(db, "count", "1")
    told = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert "readonly" in told
    assert "is writable" in told
    assert count(database) == 1


def test_a_full_disk_is_reported_and_changes_nothing(tmp_path: Path) -> None:
    """SQLite's own limit on pages fails in the way in which a full disk does: SQLITE_FULL."""
    database = Database(tmp_path / "state.db")
    with database.write() as db:
        facts.put(db, "count", "1")
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 5}")

    def fill() -> None:
        with database.write() as db:
            facts.put(db, "count", "2")
            facts.put(db, "big", "x" * 1_000_000)

    with pytest.raises(StorageFailed, match="full") as refused:
        fill()
    assert "Free some disk space" in refused.value.remedy
    assert count(database) == 1
    with database.write() as db:
        db.execute("PRAGMA max_page_count = 1073741823")
        facts.put(db, "count", "3")
    assert count(database) == 3


LIMITED = """
import resource, signal, sys
from pathlib import Path
from sf_mcp.core.errors import StorageFailed
from sf_mcp.core.models import TaskId
from sf_mcp.store import facts, handoffs
from sf_mcp.store.database import Database

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
database = Database(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    with database.write() as db:
        facts.put(db, "count", "2")
        facts.put(db, "big", "x" * 3_000_000)
except StorageFailed as error:
    print(error.message)
with database.read() as db:
    print(facts.get(db, "count"))
"""


def test_a_write_that_the_system_refuses_changes_nothing(tmp_path: Path) -> None:
    """The kernel's limit on a file's size: the log of a transaction cannot grow."""
    path = tmp_path / "state.db"
    database = Database(path)
    with database.write() as db:
        facts.put(db, "count", "1")
    size = Path(f"{path}-wal").stat().st_size + 100_000
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(size)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    assert "refused" in told[0]
    assert told[1] == "1"
    assert count(database) == 1


def test_text_that_is_not_unicode_is_refused_as_input(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    with pytest.raises(InvalidInput, match="cannot be stored"), database.read() as db:
        facts.get(db, "\ud800")

    def write_too_much() -> None:
        with database.write() as db:
            facts.put(db, "count", "5")
            db.execute("SELECT ?", (2**70,))

    with pytest.raises(InvalidInput, match="cannot be stored"):
        write_too_much()
    assert count(database) == 0


def test_a_busy_file_is_waited_for_and_then_named(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database(path)
    with database.read() as db:
        db.execute("PRAGMA busy_timeout = 50")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageFailed, match="locked") as refused, database.write():
        raise AssertionError("never inside")
    assert "Another program holds the file" in refused.value.remedy
    holder.execute("ROLLBACK")
    holder.close()
    with database.write() as db:
        facts.put(db, "count", "1")
