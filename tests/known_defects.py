"""Shows that each known defect has a test that fails when the defect comes back.

    python tests/known_defects.py          every row of known_defects.md
    python tests/known_defects.py 2 33     some rows

All the tests must be green in a copy of the checkout. Then each row's one-line mutation is applied
to a copy, in which its test must turn red; what pytest said is shown. Two rows at a time.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import psutil

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "known_defects.md"
TEST_TIMEOUT_SECONDS = 180
COPIED = ("sf_mcp", "launcher", "tests", "prompts", "examples", "pyproject.toml", "README.md")
AT_ONCE = 2
SHOWN = 110
"""Characters of pytest's reason in a verdict."""

ALL_FAILED = 1
"""Pytest's exit code when tests ran and some failed; any other is no proof."""

ROW = re.compile(
    r"^\| (?P<number>\d+) \| (?P<what>.+?) \| `(?P<test>[^`]+)` \| `(?P<file>[^`]+)` \| "
    r"`` (?P<old>.+?) `` → `` (?P<new>.*?) `` \|$"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One defect: its test, and the line that brings it back."""

    number: int
    what: str
    test: str
    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Run:
    """What pytest did; `code` is None when it had to be ended."""

    code: int | None
    output: str

    @property
    def reason(self) -> str:
        """The first line in which pytest says what was wrong."""
        found = re.search(r"^E +(.+)$", self.output, re.MULTILINE)
        return found[1][:SHOWN] if found else ""


def rows() -> list[Row]:
    """Return the table's rows.

    Raises:
        SystemExit: a line of the table cannot be read.
    """
    found: list[Row] = []
    for line in TABLE.read_text("utf-8").splitlines():
        if not re.match(r"^\| \d", line):
            continue
        match = ROW.match(line)
        if match is None:
            raise SystemExit(f"This row of {TABLE.name} cannot be read:\n{line}")
        texts = {name: text.replace("\\|", "|") for name, text in match.groupdict().items()}
        found.append(Row(int(texts.pop("number")), **texts))
    return found


class Copy:
    """A copy of the checkout, with temporary files of its own."""

    def __init__(self, folder: Path) -> None:
        """Copy what the tests need to `folder`."""
        self._temporary = folder / "t"
        self._checkout = folder / "checkout"
        self._checkout.mkdir(parents=True)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                without = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, self._checkout / name, ignore=without)
            else:
                shutil.copy2(source, self._checkout / name)

    def run(self, *tests: str, stops_at_first: bool = False) -> Run:
        """Run tests; nothing of them is left when this returns."""
        self._temporary.mkdir()
        environment = {
            **os.environ,
            "PYTHONPATH": str(self._checkout),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(self._temporary),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                [*command, *["-x"] * stops_at_first, *tests],
                cwd=self._checkout,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=TEST_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Run(None, "")
        finally:
            self._end_what_is_left()
            shutil.rmtree(self._temporary, ignore_errors=True)
        return Run(done.returncode, done.stdout.decode(errors="replace"))

    def _end_what_is_left(self) -> None:
        """End what a mutated program has left running: that may be the very defect."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if Path(process.cwd()).is_relative_to(self._temporary):
                    process.kill()

    def mutated(self, row: Row) -> Run:
        """Run the row's test with the row's mutation.

        Raises:
            ValueError: the line to change is not in the file exactly once.
        """
        path = self._checkout / row.file
        text = path.read_text("utf-8")
        if (times := text.count(row.old)) != 1:
            raise ValueError(f"the line to change is in {row.file} {times} times")
        path.write_text(text.replace(row.old, row.new), "utf-8")
        try:
            return self.run(row.test, stops_at_first=True)
        finally:
            path.write_text(text, "utf-8")


def fault_of(row: Row, *, copies: "SimpleQueue[Copy]") -> tuple[str, str]:
    """Return what is wrong with a row, empty when it is proved, and what pytest said."""
    copy = copies.get()
    try:
        done = copy.mutated(row)
    except ValueError as error:
        return str(error), ""
    finally:
        copies.put(copy)
    if done.code is None:
        return f"its test does not end within {TEST_TIMEOUT_SECONDS} s with the mutation", ""
    if done.code != ALL_FAILED:
        return f"its test stays green with the mutation (pytest exit {done.code})", ""
    return "", done.reason


def red_without(wanted: Sequence[Row], copy: Copy) -> set[str]:
    """Return the tests that fail without any mutation."""
    tests = dict.fromkeys(row.test for row in wanted)
    done = copy.run(*tests)
    if done.code == 0:
        return set()
    print(done.output, flush=True)
    return {test for test in tests if test in done.output} or set(tests)


def main() -> int:
    """Print each row's verdict; 1 when a test does not catch its defect."""
    numbers = {int(number) for number in sys.argv[1:]}
    wanted = [row for row in rows() if not numbers or row.number in numbers]
    bad = 0
    with tempfile.TemporaryDirectory(prefix="known-defects-") as folder:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(AT_ONCE):
            copies.put(Copy(Path(folder).resolve() / str(number)))
        first = copies.get()
        red = red_without(wanted, first)
        copies.put(first)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            verdicts = pool.map(partial(fault_of, copies=copies), wanted)
            for row, (fault, reason) in zip(wanted, verdicts, strict=True):
                fault = "its test is red without the mutation" if row.test in red else fault
                bad += bool(fault)
                verdict = f"NO: {fault}" if fault else "red, as it should"
                print(f"{row.number:>3} {verdict}: {row.test}", flush=True)
                if reason and not fault:
                    print(f"      {reason}", flush=True)
    print(f"{bad} of {len(wanted)} rows without a proof" if bad else "every row is proved")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
