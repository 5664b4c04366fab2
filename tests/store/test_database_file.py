"""A database file that somebody removes, replaces or overwrites while it is open."""

import shutil
from pathlib import Path

import pytest

from sf_mcp.core.errors import StorageFailed
from sf_mcp.store import facts
from sf_mcp.store.database import Database
from sf_mcp.store.database_file import backup_path, rescued_path


def put(database: Database, value: str) -> None:
    with database.write() as db:
        facts.put(db, "value", value)


def value_in(database: Database) -> str | None:
    with database.read() as db:
        return facts.get(db, "value")


def opened(folder: Path) -> Database:
    database = Database(folder / "state.db")
    put(database, "first")
    return database


def fold_in(database: Database) -> None:
    """Have everything that was committed in the file itself."""
    with database.read() as db:
        pass
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_removed_file_is_noticed_by_every_kind_of_access(tmp_path: Path) -> None:
    """SQLite itself writes on into the file that has no name any more."""
    database = opened(tmp_path)
    database.path.unlink()
    for access in (database.write, database.read, database.peek):
        with pytest.raises(StorageFailed, match="has been removed"), access():
            pytest.fail("it was opened")
    assert not database.path.exists()


def test_the_newest_state_of_a_removed_file_is_kept_and_put_back_it_goes_on(
    tmp_path: Path,
) -> None:
    database = opened(tmp_path)
    told: list[str] = []
    database.on_replaced = lambda: told.append("replaced")
    put(database, "newest")
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(StorageFailed) as refused:
        value_in(database)
    assert "cp state.db.rescued state.db" in refused.value.remedy

    shutil.copy(rescued_path(database.path), database.path)

    assert value_in(database) == "newest"
    assert told == ["replaced"]
    put(database, "later")
    database.close()
    assert value_in(Database(database.path)) == "later"


def test_a_file_that_is_moved_away_and_back_goes_on(tmp_path: Path) -> None:
    database = opened(tmp_path)
    away = database.path.rename(tmp_path / "away")
    with pytest.raises(StorageFailed):
        value_in(database)
    away.rename(database.path)
    assert value_in(database) == "first"
    put(database, "second")
    assert value_in(database) == "second"


def test_another_file_in_its_place_is_taken_as_it_is_without_what_the_old_one_left_beside(
    tmp_path: Path,
) -> None:
    """SQLite would replay the old one's write-ahead log into it."""
    (tmp_path / "other").mkdir()
    other = opened(tmp_path / "other")
    put(other, "of the copy")
    other.close()
    database = opened(tmp_path)
    for number in range(50):
        put(database, f"change {number}")
    (tmp_path / "other" / "state.db").replace(database.path)

    assert value_in(database) == "of the copy"
    with database.peek() as db:
        assert facts.get(db, "value") == "of the copy"
    assert value_in(Database(rescued_path(database.path))) == "change 49"


@pytest.mark.parametrize("garbage", [b"", b"x", b"not a database at all" * 1000])
def test_a_file_that_was_overwritten_is_refused_until_a_sound_one_lies_there(
    tmp_path: Path, garbage: bytes
) -> None:
    database = opened(tmp_path)
    database.keep_copy()
    fold_in(database)
    database.path.write_bytes(garbage)
    with pytest.raises(StorageFailed, match="is damaged"), database.write():
        pytest.fail("it was opened")
    with pytest.raises(StorageFailed, match="is damaged") as refused:
        value_in(database)
    assert "cp state.db.backup state.db" in refused.value.remedy

    database.path.rename(tmp_path / "kept")
    with pytest.raises(StorageFailed, match="has been removed"):
        value_in(database)
    shutil.copy(backup_path(database.path), database.path)

    assert value_in(database) == "first"


def test_what_the_log_beside_it_still_holds_whole_is_not_lost_with_the_file(tmp_path: Path) -> None:
    database = opened(tmp_path)
    put(database, "newest")
    database.path.write_bytes(b"")
    assert value_in(database) == "newest"


def test_damage_in_the_middle_closes_the_file_and_a_copy_over_it_goes_on(tmp_path: Path) -> None:
    database = opened(tmp_path)
    with database.write() as db:
        for number in range(500):
            facts.put(db, f"name {number}", "x" * 500)
    database.keep_copy()
    fold_in(database)
    size = database.path.stat().st_size
    with database.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(StorageFailed, match="damaged"), database.read() as db:
        # Not from what it remembers.
        db.executescript("PRAGMA shrink_memory; SELECT count(*), max(value) FROM facts;")
    with pytest.raises(StorageFailed, match="damaged"):
        put(database, "more")

    shutil.copy(backup_path(database.path), database.path)

    with database.read() as db:
        assert facts.get(db, "name 499") == "x" * 500


def test_a_damaged_database_is_not_taken_for_a_good_copy(tmp_path: Path) -> None:
    database = opened(tmp_path)
    with database.write() as db:
        for number in range(500):
            facts.put(db, f"name {number}", "x" * 500)
    database.keep_copy()
    copy = backup_path(database.path).read_bytes()
    database.close()
    with database.path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 8192)
    again = Database(database.path)
    with pytest.raises(StorageFailed, match="damaged"):
        again.keep_copy()
    assert backup_path(database.path).read_bytes() == copy
