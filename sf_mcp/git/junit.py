"""JUnit XML reports of a check: which tests failed.

A report comes from somebody's branch: it is read without entities, up to a size, and only where it
lies within the worktree. One that cannot be read is said, and changes nothing of the verdict.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from sf_mcp.core.path_patterns import matches
from sf_mcp.core.text import one_line

MOST_BYTES = 20 * 2**20
"""Of all reports of one run."""
MOST_NAMES = 1000
MOST_CHARACTERS = 200
"""Of one test's name."""
FAILURES = ("failure", "error")


class Unreadable(Exception):
    """The report is no JUnit XML, or is more than is read."""


def remove_reports(worktree: Path, pattern: str) -> None:
    """Remove what earlier runs have left, so that it is not taken for this one's."""
    for path in _reports(worktree, pattern):
        path.unlink(missing_ok=True)


def failing_tests(worktree: Path, pattern: str) -> tuple[tuple[str, ...], str]:
    """Return the tests that failed by the reports in the worktree, and what cannot be read."""
    names: set[str] = set()
    problems: list[str] = []
    left = MOST_BYTES
    for path in _reports(worktree, pattern):
        shown = path.relative_to(worktree)
        try:
            data = _read(path, left)
            left -= len(data)
            names |= read_report(data)
        except (Unreadable, OSError) as error:
            problems.append(f"{shown} cannot be read: {one_line(str(error), 200)}")
    found = sorted(names)
    if len(found) > MOST_NAMES:
        found = [*found[:MOST_NAMES], f"and {len(found) - MOST_NAMES} more"]
    return tuple(found), "; ".join(problems[:5])


def read_report(data: bytes) -> set[str]:
    """Return the names of the tests that failed.

    Raises:
        Unreadable: it is no XML, or declares a document type: no report needs one, and entities
            would come with it.
    """
    failing: set[str] = set()
    case = ""

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal case
        if tag == "testcase":
            parts = [attributes.get("classname", ""), attributes.get("name", "")]
            case = one_line("::".join(filter(None, parts)), MOST_CHARACTERS) or "a test"
        elif tag in FAILURES and case:
            failing.add(case)

    def end(tag: str) -> None:
        nonlocal case
        if tag == "testcase":
            case = ""

    def refuse(*_: object) -> None:
        raise Unreadable("it declares a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise Unreadable(f"it is not XML ({error})") from error
    return failing


def _reports(worktree: Path, pattern: str) -> Iterator[Path]:
    """Return the files that the pattern means; no symbolic link is followed."""
    for folder, folders, files in os.walk(worktree):
        folders[:] = sorted(name for name in folders if name != ".git")
        for name in sorted(files):
            path = Path(folder) / name
            if matches(path.relative_to(worktree).as_posix(), [pattern]):
                yield path


def _read(path: Path, most: int) -> bytes:
    # Not blocking: it may be a pipe, of which nobody writes the other end.
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(opened, "rb") as file:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable("it is no file")
        if found.st_size > most:
            raise Unreadable(f"it has {found.st_size} bytes; {MOST_BYTES} are read in all")
        return file.read(most)
