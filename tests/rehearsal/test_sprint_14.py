"""The main job, whole: the shipped story with real Claude Code processes, watched from outside."""

import json
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

MOST_SECONDS = 300
SUITE = ["python3", "-m", "unittest", "-q"]


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


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Rehearsed:
    folder = tmp_path_factory.mktemp("sprint") / "world"
    recording, over = Recording(), threading.Event()
    ref = folder / "project" / ".stoneforge" / "forge.git" / "refs" / "heads" / "main"
    watcher = threading.Thread(target=recording.watch, args=(ref, over))
    watcher.start()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "launcher", "rehearse", "--keep", str(folder), "--json"],
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


def test_everything_the_story_expects_has_held(rehearsed: Rehearsed) -> None:
    failed = [finding for finding in rehearsed.outcome["findings"] if not finding["held"]]
    assert failed == []
    assert set(rehearsed.outcome["tasks"].values()) == {"merged"}


def test_git_wrote_down_every_value_that_the_test_saw(rehearsed: Rehearsed) -> None:
    written = iter(rehearsed.targets)
    assert len(rehearsed.seen) > 2
    assert all(value in written for value in rehearsed.seen)


def test_every_value_the_target_branch_ever_had_passes_the_suite(
    rehearsed: Rehearsed, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    forge = rehearsed.project / ".stoneforge" / "forge.git"
    subprocess.run(["git", "clone", "-q", "-n", str(forge), str(clone)], check=True)
    red: list[str] = []
    for commit in rehearsed.targets:
        subprocess.run(["git", "checkout", "-q", "--detach", commit], cwd=clone, check=True)
        done = subprocess.run(SUITE, cwd=clone, capture_output=True, check=False)
        red += [commit] if done.returncode else []
    assert red == []
    # The state before the story, and one landing for each of its seven tasks.
    assert len(rehearsed.targets) == 8


def test_tasks_landed_after_what_they_depend_on(rehearsed: Rehearsed) -> None:
    order = [
        next(
            line.removeprefix("Task: ")
            for line in _git(rehearsed, "show", "-s", "--format=%B", commit).splitlines()
            if line.startswith("Task: ")
        )
        for commit in rehearsed.targets[1:]
    ]
    # In the story's order: store, limits, guide, invite, notify, welcome, release.
    depends_on = {"T4": ["T1"], "T5": ["T1"], "T6": ["T4", "T5"], "T7": ["T6", "T2", "T3"]}
    too_early = [
        (task, on)
        for task, others in depends_on.items()
        for on in others
        if order.index(on) > order.index(task)
    ]
    assert too_early == []


def test_the_persons_checkout_ends_on_the_last_value_and_is_clean(rehearsed: Rehearsed) -> None:
    assert _git(rehearsed, "rev-parse", "HEAD").strip() == rehearsed.targets[-1]
    assert _git(rehearsed, "symbolic-ref", "--short", "HEAD").strip() == "main"
    assert _git(rehearsed, "status", "--porcelain", "--untracked-files=no") == ""


def test_no_process_is_left_behind(rehearsed: Rehearsed) -> None:
    assert rehearsed.left_running == []


def _written_by_git(ref: Path) -> list[str]:
    """Return the values of a ref's log: what it was made with, and what each move made it."""
    forge = ref.parents[2]
    lines = (forge / "logs" / ref.relative_to(forge)).read_text().splitlines()
    old = lines[0].split(" ")[0]
    return [*([] if set(old) == {"0"} else [old]), *(line.split(" ")[1] for line in lines)]


def _git(rehearsed: Rehearsed, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=rehearsed.project, check=True, capture_output=True, text=True
    ).stdout
