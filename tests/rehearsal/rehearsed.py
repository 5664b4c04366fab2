"""A story that was rehearsed, watched from outside while it ran, and what is left of it."""

import json
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

MOST_SECONDS = 300


@dataclass
class Recording:
    """Values that the target branch was seen to have, oldest first, looked at from outside."""

    values: list[str] = field(default_factory=list[str])

    def watch(self, ref: Path, over: threading.Event) -> None:
        """Read the ref again and again; of two landings in one moment only the second is seen."""
        while not over.wait(0.005):
            try:
                value = ref.read_text().strip()
            except OSError:
                continue
            if value and (not self.values or self.values[-1] != value):
                self.values.append(value)


@dataclass(frozen=True)
class Rehearsed:
    """What is left of the rehearsal, and what was seen of it."""

    folder: Path
    outcome: dict[str, Any]
    printed: str
    seen: list[str]
    """What the test saw the target branch at while the story ran."""
    targets: list[str]
    """Every value it ever had, as git itself wrote it down."""
    left_running: list[str]

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def git(self, *arguments: str) -> str:
        """Return what git says in the person's checkout."""
        return subprocess.run(
            ["git", *arguments], cwd=self.project, check=True, capture_output=True, text=True
        ).stdout

    def passed(self, clone: Path, *commands: str) -> list[set[str]]:
        """Return which of the commands pass on each value that the target branch ever had."""
        forge = self.project / ".stoneforge" / "forge.git"
        subprocess.run(["git", "clone", "-q", "-n", str(forge), str(clone)], check=True)
        found: list[set[str]] = []
        for commit in self.targets:
            subprocess.run(["git", "checkout", "-q", "--detach", commit], cwd=clone, check=True)
            codes = {
                one: subprocess.run(
                    ["/bin/sh", "-c", one], cwd=clone, capture_output=True, check=False
                ).returncode
                for one in commands
            }
            found.append({one for one, code in codes.items() if code == 0})
        return found


def rehearse(folder: Path, *arguments: str) -> Rehearsed:
    """Rehearse a story in `folder`; `arguments` name it, none: the shipped one."""
    recording, over = Recording(), threading.Event()
    ref = folder / "project" / ".stoneforge" / "forge.git" / "refs" / "heads" / "main"
    watcher = threading.Thread(target=recording.watch, args=(ref, over))
    watcher.start()
    command = [sys.executable, "-m", "launcher", "rehearse", *arguments]
    try:
        done = subprocess.run(
            [*command, "--keep", str(folder), "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS,
            check=False,
        )
    finally:
        over.set()
        watcher.join()
    assert done.stdout, done.stderr
    left = [
        " ".join(process.cmdline())
        for process in psutil.process_iter(["cmdline", "cwd"])
        if str(folder) in str(process.info)
    ]
    return Rehearsed(
        folder=folder,
        outcome=json.loads(done.stdout),
        printed=done.stderr,
        seen=recording.values,
        targets=_written_by_git(ref),
        left_running=left,
    )


def _written_by_git(ref: Path) -> list[str]:
    """Return the values of a ref's log: what it was made with, and what each move made it."""
    forge = ref.parents[2]
    lines = (forge / "logs" / ref.relative_to(forge)).read_text().splitlines()
    old = lines[0].split(" ")[0]
    return [*([] if set(old) == {"0"} else [old]), *(line.split(" ")[1] for line in lines)]
