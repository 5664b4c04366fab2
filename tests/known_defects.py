"""Shows that each known defect has a test that fails when the defect comes back.

    python tests/known_defects.py          every row of known_defects.md
    python tests/known_defects.py 2 33     some rows

For each row the one-line mutation is applied to a copy of the checkout, in which its test must turn
red; without the mutation it must be green.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "known_defects.md"
TEST_TIMEOUT_SECONDS = 180
COPIED = ("sf_mcp", "launcher", "tests", "prompts", "examples", "pyproject.toml", "README.md")
ALL_FAILED = 1
"""Pytest's exit code when tests ran and some failed; any other is no proof."""

ROW = re.compile(
    r"^\| (?P<row>\d+) \| (?P<what>.+?) \| `(?P<test>[^`]+)` \| `(?P<file>[^`]+)` \| "
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


def rows() -> list[Row]:
    """Return the table's rows.

    Raises:
        SystemExit: a line of the table cannot be read.
    """
    found: list[Row] = []
    for line in TABLE.read_text().splitlines():
        if not re.match(r"^\| \d", line):
            continue
        match = ROW.match(line)
        if match is None:
            raise SystemExit(f"This row of {TABLE.name} cannot be read:\n{line}")
        values = {name: text.replace("\\|", "|") for name, text in match.groupdict().items()}
        found.append(
            Row(
                int(values["row"]),
                values["what"],
                values["test"],
                values["file"],
                values["old"],
                values["new"],
            )
        )
    return found


def run(row: Row, checkout: Path) -> int:
    """Run the row's test in the copy; return pytest's exit code."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", row.test],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TEST_TIMEOUT_SECONDS,
        check=False,
    )
    return done.returncode


def show(row: Row, folder: Path) -> str:
    """Return what is wrong with a row; empty when its test does what it should."""
    checkout = folder / f"row-{row.number}-{abs(hash(row.test)) % 10_000}"
    checkout.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, checkout / name)
    mutated = checkout / row.file
    text = mutated.read_text()
    if text.count(row.old) != 1:
        return f"the line to change is in {row.file} {text.count(row.old)} times"
    if run(row, checkout) != 0:
        return "its test is red without the mutation"
    mutated.write_text(text.replace(row.old, row.new))
    if (code := run(row, checkout)) != ALL_FAILED:
        return f"its test stays green with the mutation (pytest exit {code})"
    shutil.rmtree(checkout)
    return ""


def main() -> int:
    """Print each row's verdict; 1 when a test does not catch its defect."""
    wanted = {int(number) for number in sys.argv[1:]}
    bad = 0
    with tempfile.TemporaryDirectory(prefix="known-defects-") as folder:
        for row in rows():
            if wanted and row.number not in wanted:
                continue
            fault = show(row, Path(folder))
            bad += bool(fault)
            print(
                f"{row.number:>3} {'NO: ' + fault if fault else 'red, as it should'}: {row.test}",
                flush=True,
            )
    print(f"{bad} rows without a proof" if bad else "every row is proved")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
