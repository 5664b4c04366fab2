"""Makes `.venv` with everything that the tests and the rehearsal need; says what it does.

Standard library only: it runs before anything is installed. Prints the environment's Python last.

    python .ci/prepare.py          for the rehearsal
    python .ci/prepare.py --tests  with the terminal and the browser that the tests drive
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "prepared-for"
MINIMUM_PYTHON = (3, 11)
MINIMUM_GIT = (2, 38)


def main() -> None:
    """Prepare, or say in one line what is missing."""
    if sys.version_info < MINIMUM_PYTHON:
        sys.exit(f"Python {'.'.join(map(str, MINIMUM_PYTHON))} or newer is needed.")
    need_programs(PROGRAMS if "--tests" in sys.argv[1:] else {"git": ("git",)})
    wanted = "\n".join(
        path.read_text() for path in (ROOT / "pyproject.toml", ROOT / ".ci" / "constraints.txt")
    )
    if not PYTHON.exists() or not STAMP.exists() or STAMP.read_text() != wanted:
        say(f"preparing {VENV.name} (once; the Claude Code binary is a large download)")
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run(
            [
                str(PYTHON),
                *("-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                *("--constraint", str(ROOT / ".ci" / "constraints.txt")),
                *("--editable", f"{ROOT}[claude,test]"),
            ],
            check=True,
            env={"HOME": str(VENV), **os.environ},
            stdout=sys.stderr,
        )
        STAMP.write_text(wanted)
    print(PYTHON)


PROGRAMS = {"git": ("git",), "tmux": ("tmux",), "chromium": ("chromium", "chromium-browser")}
"""Debian's package -> the names under which the program is found."""


def need_programs(programs: dict[str, tuple[str, ...]]) -> None:
    """Install what is missing where that can be done; otherwise say in one line what to do."""
    missing = [one for one, names in programs.items() if not any(map(shutil.which, names))]
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        say(f"installing {', '.join(missing)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-qq"], ["install", "-y", "-qq", *missing]):
            subprocess.run(["apt-get", *command], check=True, stdout=sys.stderr, env=environment)
    elif missing:
        sys.exit(
            f"Install {', '.join(missing)} with your system's package manager, then try again."
        )
    words = subprocess.run(
        ["git", "--version"], check=True, capture_output=True, text=True
    ).stdout.split()
    version = tuple(int(part) for part in words[2].split(".")[:2])
    if version < MINIMUM_GIT:
        sys.exit(f"git {'.'.join(map(str, MINIMUM_GIT))} or newer is needed; this is {words[2]}.")


def say(text: str) -> None:
    """Tell the person what takes time."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
