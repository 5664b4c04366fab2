"""A server with nothing to do: its memory, and its processor time in 60 s.

The installed `sf serve` with its launcher attached and 20 tasks of which none is ready. The
launcher is a process of its own; its figures stand beside the server's for information.
"""

import sys
import tempfile
import time
from pathlib import Path

import psutil

from sf_mcp.client import Client
from tests.benchmarks.figures import Figure, report
from tests.benchmarks.project import Project

SETTLE_SECONDS = 5.0
SECONDS = 60.0
MOST_MEGABYTES = 120.0
MOST_CPU_SECONDS = 0.1
TASKS = 20

CONFIG = """\
orchestrator: {{claudePath: {client}}}
checks: []
"""

CLIENT = """\
#!/bin/sh
echo "9.9.9 (Claude Code)"
"""


def add_waiting_tasks(client: Client) -> None:
    """Add tasks of which none is ready: all wait for one of a plan that is not active."""
    client.call("create_plan", title="Later", draft=True, tasks=[{"title": "First"}])
    tasks = [{"title": f"Task {number}", "depends_on": ["T1"]} for number in range(1, TASKS)]
    client.call("create_plan", title="Now", tasks=tasks)


def cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time that a process has had."""
    times = process.cpu_times()
    return times.user + times.system


def measure() -> list[Figure]:
    """Let the server rest, and see what it takes."""
    with tempfile.TemporaryDirectory() as folder:
        client_path = Path(folder, "claude")
        client_path.write_text(CLIENT)
        client_path.chmod(0o755)
        project = Project(Path(folder), config=CONFIG.format(client=client_path))
        with project.served(with_fleet=True) as (client, pid):
            add_waiting_tasks(client)
            server = psutil.Process(pid)
            time.sleep(SETTLE_SECONDS)
            (launcher,) = server.children()
            before = [cpu_seconds(one) for one in (server, launcher)]
            time.sleep(SECONDS)
            took = [
                cpu_seconds(one) - start
                for one, start in zip((server, launcher), before, strict=True)
            ]
            megabytes = [one.memory_info().rss / 1e6 for one in (server, launcher)]
    return [
        Figure(name="server: memory", value=megabytes[0], unit="MB", most=MOST_MEGABYTES),
        Figure(name="server: CPU in 60 s", value=took[0], unit="s", most=MOST_CPU_SECONDS),
        Figure(name="launcher: memory", value=megabytes[1], unit="MB"),
        Figure(name="launcher: CPU in 60 s", value=took[1], unit="s"),
    ]


if __name__ == "__main__":
    sys.exit(report(measure))
