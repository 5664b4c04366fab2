"""From the kill of a worker's process to the start of the process that goes on with its task.

Tasks one after another in a repository of 1,300 files, with the installed server and launcher. In
Claude Code's place stands a script that notes the time first of all (`stand_in`): the first process
of each session connects, changes some files, leaves a command running that holds its pipe open, as
Claude Code's shell does, and waits to be killed; the one that resumes it does a worker's work.
"""

import os
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sf_mcp.client import Client
from tests.benchmarks.dispatch import figures_of
from tests.benchmarks.figures import Figure, report
from tests.benchmarks.project import Project

FILES = 1_300
WARM_UP, SAMPLES = 2, 25
MOST_MS = 1000.0
START_SECONDS = 60.0

CONFIG = """\
orchestrator: {{claudePath: {client}, maxConcurrent: 1}}
agents:
  steward: {{review: false}}
checks: []
"""

CLIENT = """\
#!/bin/sh
case "$*" in *--version*) echo "9.9.9 (Claude Code)"; exit;; esac
case "$*" in *--resume*) start=2 wait=;; *) start=1 wait=--until-killed;; esac
echo "$(date +%s.%N) $$" > {starts}/"$(basename "$PWD").$start.new"
mv {starts}/"$(basename "$PWD").$start.new" {starts}/"$(basename "$PWD").$start"
exec {python} {stand_in} $wait "$@"
"""


def a_project(folder: Path) -> tuple[Project, Path]:
    """Return a project whose client notes each process's start in a file of the folder beside."""
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


def started(path: Path, client: Client) -> tuple[float, int]:
    """Wait for a process's start; return its time, in seconds since the epoch, and its pid."""
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name} does not start: {client.call('fleet_status')}")
        time.sleep(0.01)
    at, pid = path.read_text().split()
    return float(at), int(pid)


def time_of_one(task_id: str, starts: Path, client: Client) -> float:
    """Kill the worker of a task as soon as it works; return how long its successor took to start.

    Raises:
        TimeoutError: nobody went on.
    """
    _, pid = started(starts / f"{task_id}.1", client)
    deadline = time.monotonic() + START_SECONDS
    while not _is_at_work(client, task_id):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{task_id} does not come to work")
        time.sleep(0.05)
    killed = time.time()
    os.kill(pid, signal.SIGKILL)
    at, _ = started(starts / f"{task_id}.2", client)
    return at - killed


def _is_at_work(client: Client, task_id: str) -> bool:
    sessions: list[dict[str, Any]] = client.call("list_sessions")
    return any(
        one["subject"] == task_id and one["state"] == "running" and one["last_line"]
        for one in sessions
    )


def measure() -> list[Figure]:
    """Kill one worker after another."""
    with tempfile.TemporaryDirectory() as folder:
        project, starts = a_project(Path(folder))
        with project.served(with_fleet=True) as (client, _):
            number = WARM_UP + SAMPLES
            drafts: list[dict[str, Any]] = [{"title": f"Task {n}"} for n in range(number)]
            client.call("create_plan", title="Killed", tasks=drafts)
            samples = [time_of_one(f"T{n + 1}", starts, client) for n in range(number)]
    return figures_of("worker killed → successor's process started", samples[WARM_UP:], MOST_MS)


if __name__ == "__main__":
    sys.exit(report(measure))
