"""Runs the rehearsal from a bare checkout: the whole system with the real Claude Code, no tokens.

python3 examples/rehearse.py               examples/rehearsals/sprint-14.yaml
python3 examples/rehearse.py STORY.yaml    another story
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Return the rehearsal's exit code."""
    prepared = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "prepare.py")], stdout=subprocess.PIPE, text=True
    )
    if prepared.returncode != 0:
        return prepared.returncode
    binaries = Path(prepared.stdout.split()[-1]).parent
    environment = {"HOME": str(binaries.parent), **os.environ}
    environment["PATH"] = f"{binaries}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return subprocess.run(
        [str(binaries / "sf-launch"), "rehearse", *sys.argv[1:]], env=environment
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
