"""Runs every check of the project from a bare checkout: format, lint, layers, types, tests.

python3 tests/run.py             everything
python3 tests/run.py -k landing  arguments go to pytest; the other checks are left out
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CHECKS = (
    ("format", ["ruff", "format", "--check", "--quiet", "."]),
    ("lint", ["ruff", "check", "--quiet", "."]),
    ("layers", ["lint-imports", "--no-cache"]),
    ("types", ["basedpyright"]),
)


def main() -> int:
    """Return 0 when everything passed."""
    prepared = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "prepare.py"), "--tests"],
        stdout=subprocess.PIPE,
        text=True,
    )
    if prepared.returncode != 0:
        return prepared.returncode
    binaries = Path(prepared.stdout.split()[-1]).parent
    # Where no HOME is set, the tools keep their files in the environment's own folder.
    environment = {"HOME": str(binaries.parent), **os.environ}
    environment["PATH"] = f"{binaries}{os.pathsep}{environment.get('PATH', os.defpath)}"
    failed: list[str] = []
    for name, command in () if sys.argv[1:] else CHECKS:
        started = time.monotonic()
        done = subprocess.run([str(binaries / command[0]), *command[1:]], cwd=ROOT, env=environment)
        verdict = "ok" if done.returncode == 0 else "FAILED"
        print(f"{name}: {verdict} ({time.monotonic() - started:.1f} s)", flush=True)
        if done.returncode != 0:
            failed.append(name)
    tests = subprocess.run(
        [str(binaries / "python"), "-m", "pytest", "-q", "--numprocesses=2", *sys.argv[1:]],
        cwd=ROOT,
        env=environment,
    )
    if tests.returncode != 0:
        failed.append("tests")
    if failed:
        print(f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
