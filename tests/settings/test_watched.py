import os
import threading
from pathlib import Path

import pytest

from sf_mcp.core.errors import ConfigInvalid
from sf_mcp.settings import SettingsFile

GOOD = "orchestrator: {maxConcurrent: 2}\n"
BETTER = "orchestrator: {maxConcurrent: 12}\n"
BAD = "orchestrator: {maxConcurrent: many}\n"


def a_file(folder: Path, text: str = GOOD) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_an_unchanged_file_gives_the_very_same_settings(tmp_path: Path) -> None:
    watched = SettingsFile(a_file(tmp_path))
    assert watched.current() is watched.current()
    assert watched.problem is None


def test_an_edit_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    watched = SettingsFile(path)
    before = watched.current().orchestrator.max_concurrent
    path.write_text(BETTER)
    assert (before, watched.current().orchestrator.max_concurrent) == (2, 12)


def test_an_edit_that_keeps_size_and_time_but_replaces_the_file_is_taken_up(
    tmp_path: Path,
) -> None:
    path = a_file(tmp_path)
    watched = SettingsFile(path)
    watched.current()
    status = path.stat()
    other = tmp_path / "new"
    other.write_text(GOOD.replace("2", "3"))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert watched.current().orchestrator.max_concurrent == 3


def test_a_bad_edit_keeps_the_last_good_settings_and_says_so(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    watched = SettingsFile(path)
    good = watched.current()
    path.write_text(BAD)
    assert watched.current() is good
    assert watched.problem is not None
    assert watched.problem.path == "orchestrator.maxConcurrent"
    assert watched.current() is good
    assert watched.problem is not None


def test_mending_a_bad_edit_ends_the_problem(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    watched = SettingsFile(path)
    watched.current()
    path.write_text(BAD)
    watched.current()
    path.write_text(BETTER)
    assert watched.current().orchestrator.max_concurrent == 12
    assert watched.problem is None


def test_a_removed_file_keeps_the_last_good_settings_and_says_so(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    watched = SettingsFile(path)
    good = watched.current()
    path.unlink()
    assert watched.current() is good
    assert watched.problem is not None
    assert "There is no configuration" in watched.problem.message
    path.write_text(GOOD)
    assert watched.current() == good
    assert watched.problem is None


def test_the_empty_instant_of_an_editors_write_does_not_switch_the_checks_off(
    tmp_path: Path,
) -> None:
    path = a_file(tmp_path, "checks: [{name: tests, run: pytest}]\n")
    watched = SettingsFile(path)
    watched.current()
    path.write_text("")
    assert not watched.current().checks_vacuous
    assert watched.problem is not None
    assert "has become empty" in watched.problem.message


def test_a_file_that_was_never_good_is_refused_each_time(tmp_path: Path) -> None:
    path = a_file(tmp_path, BAD)
    watched = SettingsFile(path)
    for _ in range(2):
        with pytest.raises(ConfigInvalid, match="maxConcurrent"):
            watched.current()
    path.write_text(GOOD)
    assert watched.current().orchestrator.max_concurrent == 2


def test_many_threads_see_only_whole_versions_of_a_file_that_is_replaced(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    watched = SettingsFile(path)
    seen: set[int] = set()

    def read() -> None:
        for _ in range(200):
            seen.add(watched.current().orchestrator.max_concurrent)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for turn in range(50):
        other = tmp_path / "new"
        other.write_text(BETTER if turn % 2 == 0 else GOOD)
        other.replace(path)
    for reader in readers:
        reader.join(timeout=30)
    assert not any(reader.is_alive() for reader in readers)
    assert seen <= {2, 12}
    assert watched.problem is None
    assert watched.current().orchestrator.max_concurrent == 2
