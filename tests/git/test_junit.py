"""JUnit reports: failing tests by name, whatever a branch puts in their place."""

import os
from pathlib import Path

import pytest

from sf_mcp.git import junit
from sf_mcp.git.checks import Check, check_environment, run_checks, tail
from sf_mcp.git.fair_slots import FairSlots
from sf_mcp.git.junit import Unreadable, failing_tests, read_report, remove_reports

REPORT = """<?xml version="1.0"?>
<testsuites><testsuite name="s">
<testcase classname="tests.test_a" name="test_one"/>
<testcase classname="tests.test_a" name="test_two"><failure message="m">no</failure></testcase>
<testcase name="alone"><error/></testcase>
<testcase classname="c" name="skipped"><skipped/></testcase>
</testsuite></testsuites>"""
BOMB = """<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<testsuite><testcase name="&b;"><failure/></testcase></testsuite>"""


def test_the_tests_that_failed_are_named() -> None:
    assert read_report(REPORT.encode()) == {"tests.test_a::test_two", "alone"}


@pytest.mark.parametrize("text", [BOMB, "", "<a>", "not xml", "\0"])
def test_what_is_no_plain_report_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read_report(text.encode())


def test_nothing_outside_the_worktree_is_read(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
    (outside / "r.xml").write_text(REPORT)
    (inside / "r.xml").symlink_to(outside / "r.xml")
    (inside / "folder").symlink_to(outside)
    os.mkfifo(inside / "pipe.xml")
    names, problem = failing_tests(inside, "**/*.xml")
    assert names == ()
    assert "r.xml cannot be read" in problem
    assert "pipe.xml cannot be read: it is no file" in problem
    remove_reports(inside, "**/*.xml")
    assert (outside / "r.xml").exists()


def test_names_are_bounded_in_number_and_length(tmp_path: Path) -> None:
    cases = "".join(
        f'<testcase name="{n:05}{"x" * 500}"><failure/></testcase>' for n in range(1100)
    )
    (tmp_path / "r.xml").write_text(f"<testsuite>{cases}</testsuite>")
    names, _ = failing_tests(tmp_path, "r.xml")
    assert (len(names), names[-1]) == (junit.MOST_NAMES + 1, "and 100 more")
    assert max(map(len, names)) <= junit.MOST_CHARACTERS


def test_a_report_that_is_too_large_is_said_and_not_read(tmp_path: Path) -> None:
    with (tmp_path / "r.xml").open("wb") as file:
        file.truncate(junit.MOST_BYTES + 1)
    names, problem = failing_tests(tmp_path, "r.xml")
    assert (names, "are read in all" in problem) == ((), True)


def outcome(worktree: Path, command: str) -> tuple[str, tuple[str, ...], str]:
    check = Check(name="x", command=command, timeout_seconds=20, junit="out/*.xml")
    (done,) = run_checks(
        [check],
        worktree,
        worktree / "logs",
        slots=FairSlots(lambda: 1),
        env=check_environment(),
    )
    return done.outcome, done.failing, tail(done.log_path)


def test_a_failed_check_brings_the_names_from_the_report_that_it_wrote(tmp_path: Path) -> None:
    (tmp_path / "report").write_text(REPORT)
    said = outcome(tmp_path, "mkdir -p out; cp report out/r.xml; exit 1")
    assert said[:2] == ("failed (exit 1)", ("alone", "tests.test_a::test_two"))


def test_the_report_of_an_earlier_run_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/r.xml").write_text(REPORT)
    assert outcome(tmp_path, "exit 1")[:2] == ("failed (exit 1)", ())


def test_a_malformed_report_is_said_in_the_log_and_changes_nothing(tmp_path: Path) -> None:
    words, names, log = outcome(tmp_path, "mkdir out; echo no > out/r.xml; echo mine; exit 3")
    assert (words, names) == ("failed (exit 3)", ())
    assert log.startswith("mine\n\nout/r.xml cannot be read: it is not XML")
