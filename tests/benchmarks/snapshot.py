"""A snapshot of a worktree of 15,000 files, ten of them changed since the one before.

Called as the server calls it at a turn's end. The turns at whose end nothing is new are measured
too: they are the many.
"""

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sf_mcp.clock import utc_now
from sf_mcp.core.models import TaskId
from sf_mcp.git.checkout import open_checkout
from sf_mcp.git.forge import make_forge
from sf_mcp.git.worktrees import Worktrees
from tests.benchmarks.figures import Figure, report
from tests.benchmarks.project import Project

FILES, CHANGED = 15_000, 10
WARM_UP, SAMPLES = 3, 40
MOST_MS = 300.0
TASK = TaskId("T1")


def a_worktree(folder: Path) -> tuple[Worktrees, Path]:
    """Return a task's worktree in a project of so many files."""
    project = Project(folder, files=FILES)
    forge = make_forge(open_checkout(project.root), project.layout.folder, "main")
    worktrees = Worktrees(forge, "main", utc_now)
    place = worktrees.prepare(TASK, "Measure", forge.require_commit("refs/heads/main")).path
    # As a session leaves it: git has looked at each file since it was written.
    project.git("status", "--short", cwd=place)
    return worktrees, place


def times(worktrees: Worktrees, files: list[Path]) -> list[float]:
    """Change the files and take a snapshot, again and again; return the milliseconds of each."""
    found: list[float] = []
    for number in range(WARM_UP + SAMPLES):
        for path in files:
            path.write_text(f"round {number}\n" * 100)
        start = time.perf_counter()
        kept = worktrees.snapshot(TASK, "turn's end")
        found.append((time.perf_counter() - start) * 1000)
        assert (kept is not None) is bool(files)
    return found[WARM_UP:]


def figures_of(name: str, samples: list[float], most: float | None = None) -> list[Figure]:
    """Return the median and the 95th percentile."""
    ranks = {
        "median": statistics.median(samples),
        "p95": statistics.quantiles(samples, n=20, method="inclusive")[-1],
    }
    return [
        Figure(name=f"{name}, {rank}", value=value, unit="ms", most=most)
        for rank, value in ranks.items()
    ]


def measure() -> list[Figure]:
    """Return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        worktrees, place = a_worktree(Path(folder))
        every = sorted(path for path in place.rglob("*.txt"))
        clean = times(worktrees, [])
        changed = times(worktrees, random.Random(1).sample(every, CHANGED))
    return [
        *figures_of(f"snapshot of {FILES:,} files, {CHANGED} changed", changed, MOST_MS),
        *figures_of(f"look at {FILES:,} files, none changed", clean),
    ]


if __name__ == "__main__":
    sys.exit(report(measure))
