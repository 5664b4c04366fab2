"""The examples run, and say what the README says."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_quickstart_lands_both_of_its_tasks() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "quickstart" / "run.py")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "both tasks have landed" in done.stdout


def test_the_quickstart_runs_the_commands_that_the_readme_shows() -> None:
    commands = (ROOT / "examples" / "quickstart" / "commands.sh").read_text()
    assert f"{commands}sf serve            # server and fleet\n" in (ROOT / "README.md").read_text()
