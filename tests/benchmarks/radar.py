"""The conflict radar over 100 live branches on 15,000 files: all of it, and after one commit more.

Branches are of three commits that change ten files each, of 750 that everybody works on: some 12 %
of the pairs meet, as they did in repositories that were measured. Looked at as the server does it,
from the tasks' rows to the conflicts with their lines; the repository is that of `sf init`.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sf_mcp.clock import utc_now
from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.models import LandingKind, TaskId
from sf_mcp.git.repository import Repository
from sf_mcp.service import Services, open_services
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.service.radar import RadarService
from sf_mcp.store import tasks
from tests.benchmarks.figures import Figure, report
from tests.benchmarks.project import Project

FILES, BRANCHES, COMMITS, CHANGED, HOT = 15_000, 100, 3, 10, 750
WARM_UP, SAMPLES = 3, 40
MOST_MATRIX_MS, MOST_UPDATE_MS = 2_000.0, 50.0
TITLES = [f"Task {number}" for number in range(BRANCHES)]


class Work:
    """Commits on the branches, made without a worktree."""

    def __init__(self, forge: Repository, chance: random.Random) -> None:
        """Begin all branches at the target."""
        self._forge = forge
        self._chance = chance
        self._made = 0
        self._hot = chance.sample(range(FILES), HOT)

    def commit(self, *branches: str, files: int = CHANGED // COMMITS) -> None:
        """Add a commit to each that changes a line each of so many files, and adds a file."""
        words: list[str] = []
        begun: set[str] = set()
        for branch in branches:
            self._made += 1
            tip = f"refs/heads/{branch}"
            words.append(
                f"commit {tip}\ncommitter B <b@example.org> {1_700_000_000 + self._made} +0000\n"
                "data 0\n"
            )
            if branch not in begun:
                is_there = self._forge.head_of(tip) is not None
                words.append(f"from {tip}^0\n" if is_there else "from refs/heads/main\n")
                begun.add(branch)
            for number in self._chance.sample(self._hot, files):
                lines = [f"{number}\n"] * 100
                lines[self._chance.randrange(100)] = f"{branch} {self._made}\n"
                words.append(_file(f"part{number // 26}/file{number % 26}.txt", "".join(lines)))
            words.append(_file(f"part{self._made % 500}/{branch}-{self._made}.txt", branch))
        subprocess.run(
            ["git", "-c", f"core.hooksPath={os.devnull}", "fast-import", "--quiet"],
            cwd=self._forge.git_dir,
            input="".join(words).encode(),
            check=True,
        )


def _file(path: str, text: str) -> str:
    return f"M 100644 inline {path}\ndata {len(text)}\n{text}\n"


def a_fleet(folder: Path) -> tuple[Services, Work, dict[TaskId, str]]:
    """Return a project in which so many tasks have a branch with work on it."""
    project = Project(folder, files=FILES)
    services = open_services(project.root, utc_now)
    services.target.recover()
    base = services.target.head()
    made = services.plans.create_plan(
        PERSON, title="Many", tasks=[TaskDraft(title=title) for title in TITLES]
    )
    work = Work(services.worktrees.forge, random.Random(1))
    branches = {task.id: f"sf/{task.id}" for task in made.tasks}
    with services.workspace.write(SERVER) as tx:
        for task_id, branch in branches.items():
            tx.edit_task(tasks.get(tx.db, task_id), branch=branch, base=base)
    work.commit(*list(branches.values()) * COMMITS)
    return services, work, branches


def look(radar: RadarService) -> float:
    """Return the milliseconds of one look."""
    start = time.perf_counter()
    radar.look()
    return (time.perf_counter() - start) * 1_000


def measure() -> list[Figure]:
    """Return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        services, work, branches = a_fleet(Path(folder))
        fulls: list[float] = []
        radar = services.radar
        for _ in range(5):  # each of a server that has just started
            radar = RadarService(services.workspace, services.worktrees.forge, services.target)
            fulls.append(look(radar))
        survey = radar.look()
        updates: list[float] = []
        idle: list[float] = []
        for number in range(WARM_UP + SAMPLES):
            work.commit(list(branches.values())[number % BRANCHES])
            updates.append(look(radar))
            idle.append(look(radar))
        landed = a_landing(services, radar, work)
        services.close()
    updates, idle = updates[WARM_UP:], idle[WARM_UP:]
    name = f"{BRANCHES} branches on {FILES:,} files"
    return [
        Figure(name=f"{name}: pairs in conflict", value=len(survey.between), unit=""),
        Figure(
            name=f"{name}: full matrix, slowest of {len(fulls)}",
            value=max(fulls),
            unit="ms",
            most=MOST_MATRIX_MS,
        ),
        Figure(
            name=f"{name}: after one commit, median of {len(updates)}",
            value=statistics.median(updates),
            unit="ms",
            most=MOST_UPDATE_MS,
        ),
        Figure(
            name=f"{name}: after one commit, p95",
            value=statistics.quantiles(updates, n=20, method="inclusive")[-1],
            unit="ms",
            most=MOST_UPDATE_MS,
        ),
        Figure(name=f"{name}: nothing has moved", value=statistics.median(idle), unit="ms"),
        Figure(name=f"{name}: after a landing", value=landed, unit="ms"),
    ]


def a_landing(services: Services, radar: RadarService, work: Work) -> float:
    """Return the milliseconds of the look after the target has moved."""
    work.commit("landed")
    forge = services.worktrees.forge
    new = forge.require_commit("refs/heads/landed")
    old = services.target.head()
    services.target.land([], kind=LandingKind.UPSTREAM, old=old, new=new, green=None)
    return look(radar)


if __name__ == "__main__":
    sys.exit(report(measure))
