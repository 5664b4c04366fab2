"""The gate of an account: one file for all fleets of a person, whatever becomes of it."""

import fcntl
import json
import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sf_mcp.core.account import Park
from sf_mcp.core.models import EndKind
from sf_mcp.store.account_gate import AccountGate

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def a_gate(folder: Path, by: str = "/project") -> AccountGate:
    return AccountGate(folder / "accounts" / "0123456789abcdef.json", by=by)


def a_park(length: timedelta = HOUR, since: datetime = NOON) -> Park:
    return Park(kind=EndKind.USAGE_LIMIT, reason="limit", since=since, until=since + length)


def test_nobody_has_closed_a_gate_that_is_not_there(tmp_path: Path) -> None:
    gate = a_gate(tmp_path)
    assert gate.current(NOON) is None
    assert gate.open(NOON) is None
    assert gate.problem == ""
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "accounts"])


def test_what_one_fleet_meets_all_of_the_account_see(tmp_path: Path) -> None:
    one, other = a_gate(tmp_path, "/one"), a_gate(tmp_path, "/other")
    assert other.current(NOON) is None
    one.park(a_park())
    assert other.current(NOON) == one.current(NOON) == a_park()
    other.park(a_park(2 * HOUR))
    assert one.current(NOON) == a_park(2 * HOUR)
    assert one.open(NOON) == a_park(2 * HOUR)
    assert other.current(NOON) is None
    assert other.problem == one.problem == ""


def test_only_its_owner_can_read_it_and_it_says_who_closed_it(tmp_path: Path) -> None:
    gate = a_gate(tmp_path, "/home/ada/project")
    gate.park(a_park())
    assert gate.path.stat().st_mode & 0o777 == 0o600
    assert gate.path.parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(gate.path.read_text())["by"] == "/home/ada/project"


def test_a_shorter_limit_does_not_open_it_earlier(tmp_path: Path) -> None:
    gate = a_gate(tmp_path)
    gate.park(a_park(timedelta(days=31)))
    assert gate.park(a_park(HOUR)).until == NOON + timedelta(days=31)
    assert gate.current(NOON + timedelta(days=30)) == a_park(timedelta(days=31))
    assert gate.current(NOON + timedelta(days=32)) is None


def _park_many(folder: Path, hours: int) -> None:
    gate = a_gate(folder)
    for minute in range(40):
        gate.park(a_park(HOUR * hours + timedelta(minutes=minute)))


def test_of_limits_that_many_processes_meet_at_once_the_longest_stays(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_park_many, args=(tmp_path, n)) for n in (1, 2, 3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert a_gate(tmp_path).current(NOON) == a_park(3 * HOUR + timedelta(minutes=39))
    assert sorted(path.suffix for path in (tmp_path / "accounts").iterdir()) == [".json", ".lock"]


# -- files that are not as they should be --------------------------------------------------------


@pytest.mark.parametrize("text", [b"", b"garbage", b"\xff\xfe", b"[" * 9_000, b"x" * 3_000_000])
def test_garbage_counts_as_open_is_said_and_gone_at_the_next_limit(
    tmp_path: Path, text: bytes
) -> None:
    gate = a_gate(tmp_path)
    gate.park(a_park())
    gate.path.write_bytes(text)
    assert gate.current(NOON) is None
    assert "cannot be read (it makes no sense), so it counts as open" in gate.problem
    assert str(gate.path) in gate.problem
    assert gate.park(a_park()) == a_park()
    assert gate.current(NOON) == a_park() == a_gate(tmp_path).current(NOON)
    assert gate.problem == ""


def test_a_folder_in_its_place_counts_as_open_and_the_limit_is_heeded_all_the_same(
    tmp_path: Path,
) -> None:
    gate = a_gate(tmp_path)
    gate.path.mkdir(parents=True)
    (gate.path / "in the way").touch()
    assert gate.current(NOON) is None
    assert "cannot be read" in gate.problem
    gate.park(a_park())
    assert gate.current(NOON) == a_park()
    assert gate.current(NOON + 2 * HOUR) is None


def test_a_gate_that_cannot_be_written_holds_this_fleet_alone_and_can_be_opened(
    tmp_path: Path,
) -> None:
    """A file where the folder should be: also root, who may write everywhere, cannot."""
    (tmp_path / "accounts").write_text("in the way")
    gate = a_gate(tmp_path)
    assert gate.park(a_park()) == a_park()
    assert gate.current(NOON) == a_park()
    assert "cannot be written" in gate.problem
    assert gate.open(NOON) == a_park()
    assert gate.current(NOON) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_said_and_not_fatal(tmp_path: Path) -> None:
    gate = a_gate(tmp_path)
    gate.park(a_park())
    gate.path.parent.chmod(0o500)
    try:
        gate.park(a_park(2 * HOUR))
        assert gate.current(NOON) == a_park(2 * HOUR)
        assert "cannot be written" in gate.problem
        gate.open(NOON)
        assert gate.current(NOON) is None
    finally:
        gate.path.parent.chmod(0o700)


def test_a_gate_that_is_removed_counts_as_open_and_is_said_until_it_would_have_opened(
    tmp_path: Path,
) -> None:
    gate = a_gate(tmp_path)
    gate.park(a_park())
    gate.path.unlink()
    assert gate.current(NOON) is None
    assert "was removed before 2026-03-01 13:00 UTC" in gate.problem
    assert gate.current(NOON + HOUR / 2) is None
    assert "was removed" in gate.problem
    assert gate.current(NOON + HOUR) is None
    assert gate.problem == ""


def test_a_gate_whose_time_is_over_may_be_removed_without_a_word(tmp_path: Path) -> None:
    gate = a_gate(tmp_path)
    gate.park(a_park())
    gate.path.unlink()
    assert gate.current(NOON + 2 * HOUR) is None
    assert gate.problem == ""


def test_a_lock_that_somebody_never_lets_go_of_stops_nothing(tmp_path: Path) -> None:
    gate = a_gate(tmp_path)
    gate.park(a_park())
    with gate.path.with_suffix(".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert gate.park(a_park(2 * HOUR)) == a_park(2 * HOUR)
        assert gate.open(NOON) == a_park(2 * HOUR)
    assert gate.current(NOON) is None


# -- clocks ----------------------------------------------------------------------------------------


def test_a_clock_that_jumps_ahead_and_back_opens_it_only_while_it_is_wrong(tmp_path: Path) -> None:
    gate = a_gate(tmp_path)
    gate.park(a_park())
    assert gate.current(NOON + timedelta(days=1)) is None
    assert gate.current(NOON + HOUR / 2) == a_park()


def test_a_clock_that_was_a_day_ahead_at_the_limit_does_not_hold_the_account_for_a_day(
    tmp_path: Path,
) -> None:
    gate, other = a_gate(tmp_path), a_gate(tmp_path)
    gate.park(a_park(since=NOON + timedelta(days=1)))
    for one in (gate, other):
        park = one.current(NOON)
        assert park is not None
        assert park.until == NOON + HOUR
    assert gate.current(NOON + 2 * HOUR) is None
