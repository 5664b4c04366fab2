"""From a dependency's landing to the start of the process that works on its dependent.

A chain of tasks in a repository of 1,300 files, with the installed server and launcher. In Claude
Code's place stands a script that notes the time first of all, and then does a worker's work
(`stand_in`): what is measured ends with the process's start. No checks, no review.

The landing's time is that of its done row, the beginning of the transaction that records it.
"""

import shlex
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from sf_mcp.client import Client
from tests.benchmarks.figures import Figure, report
from tests.benchmarks.project import Project

FILES = 1_300
WARM_UP, SAMPLES = 3, 40
MOST_MS = 300.0
TASK_SECONDS = 30.0
"""For one link of the chain; it takes a second or so."""

CONFIG = """\
orchestrator: {{claudePath: {client}}}
agents:
  steward: {{review: false}}
checks: []
"""

CLIENT = """\
#!/bin/sh
case "$*" in *--version*) echo "9.9.9 (Claude Code)"; exit;; esac
date +%s.%N > {starts}/"$(basename "$PWD")"
exec {python} {stand_in} "$@"
"""

LANDED = """
SELECT merge_requests.task_id, landings.finished_at FROM landing_requests
JOIN landings ON landings.number = landing_requests.landing AND landings.state = 'done'
JOIN merge_requests ON merge_requests.id = landing_requests.merge_request_id
"""
CHOSEN = "SELECT subject, created_at FROM sessions"


def a_project(folder: Path) -> tuple[Project, Path]:
    """Return a project whose client notes each task's start in a file of the folder beside."""
    client, starts = folder / "claude", folder / "starts"
    starts.mkdir()
    client.write_text(
        CLIENT.format(
            starts=shlex.quote(str(starts)),
            python=shlex.quote(sys.executable),
            stand_in=shlex.quote(str(Path(__file__).with_name("stand_in.py"))),
        )
    )
    client.chmod(0o755)
    return Project(folder, files=FILES, config=CONFIG.format(client=client)), starts


def run_chain(client: Client, starts: Path, number: int) -> list[str]:
    """Have a chain of so many tasks done; return their ids."""
    drafts: list[dict[str, Any]] = [
        {"title": f"Link {n}", "key": str(n), "depends_on": [str(n - 1)] if n else []}
        for n in range(number)
    ]
    client.call("create_plan", title="Chain", tasks=drafts)
    ids = [f"T{n + 1}" for n in range(number)]
    for task_id in ids:
        deadline = time.monotonic() + TASK_SECONDS
        while not (starts / task_id).exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{task_id} is not started: {client.call('why', task=task_id)}")
            time.sleep(0.05)
    return ids


def times(project: Project, query: str) -> dict[str, float]:
    """Return a time by task, in seconds since the epoch."""
    with closing(sqlite3.connect(f"file:{project.layout.database}?mode=ro", uri=True)) as db:
        return {
            row[0]: datetime.fromisoformat(row[1]).timestamp()
            for row in db.execute(query)
            if row[1]
        }


def figures_of(name: str, samples: Sequence[float], most: float | None = None) -> list[Figure]:
    """Return the median, for information, and the 95th percentile."""
    ms = [sample * 1000 for sample in samples]
    p95 = statistics.quantiles(ms, n=20, method="inclusive")[-1]
    return [
        Figure(name=f"{name}, median of {len(ms)}", value=statistics.median(ms), unit="ms"),
        Figure(name=f"{name}, p95", value=p95, unit="ms", most=most),
    ]


def measure() -> list[Figure]:
    """Run the chain and look at when each link was free, chosen and started."""
    with tempfile.TemporaryDirectory() as folder:
        project, starts = a_project(Path(folder))
        with project.served(with_fleet=True) as (client, _):
            ids = run_chain(client, starts, WARM_UP + SAMPLES + 1)
        started = {
            path.name: float(path.read_text()) for path in starts.iterdir() if path.read_text()
        }
        landed, chosen = times(project, LANDED), times(project, CHOSEN)
        links = list(pairwise(ids))[WARM_UP:]
    name = "landed → dependent's process started"
    return [
        *figures_of(name, [started[after] - landed[before] for before, after in links], MOST_MS),
        *figures_of(
            "  of it: landed → dependent claimed",
            [chosen[after] - landed[before] for before, after in links],
        ),
        *figures_of(
            "  of it: claimed → worktree made, order answered, process started",
            [started[after] - chosen[after] for _, after in links],
        ),
    ]


if __name__ == "__main__":
    sys.exit(report(measure))
