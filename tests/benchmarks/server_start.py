"""From the start of `sf serve` to its first answer, after a power cut in the middle of much work.

5,000 tasks in chains, 200 of them claimed by sessions whose processes are gone.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sf_mcp.client import connect
from sf_mcp.clock import utc_now
from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.models import Role
from sf_mcp.service import open_services
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.store import tasks
from tests.benchmarks.figures import Figure, report
from tests.benchmarks.project import SF, START_SECONDS, Project

TASKS, SESSIONS = 5_000, 200
CHAIN = 5
STARTS = 7
MOST_SECONDS = 2.0


def fill(project: Project) -> None:
    """Make the plans and claim as many tasks as there are sessions."""
    services = open_services(project.root, utc_now)
    for plan in range(5):
        drafts = [
            TaskDraft(
                title=f"Task {n}",
                description="What is wanted, and why. " * 20,
                key=str(n),
                depends_on=[str(n - 1)] if n % CHAIN else [],
            )
            for n in range(TASKS // 5)
        ]
        services.plans.create_plan(PERSON, title=f"Plan {plan}", tasks=drafts)
    with services.workspace.write(SERVER) as tx:
        for task_id in list(tx.graph.ready())[:SESSIONS]:
            session = services.dispatch.new_session(tx, Role.WORKER, task_id)
            services.claims.grant(tx, tasks.get(tx.db, task_id), session.id)
            services.sessions.mint(tx, Role.WORKER, session.id)
            services.sessions.started(
                PERSON, session.id, pid=1, process_started="gone", log_path=""
            )
            services.sessions.connected(PERSON, session.id, model="sonnet")
    services.close()


def seconds_to_answer(project: Project) -> float:
    """Start the server, wait for its first answer, and end it as a power cut does."""
    began = time.perf_counter()
    server = subprocess.Popen(
        [SF, "serve", "--no-fleet"],
        cwd=project.root,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while (client := connect(project.root)) is None:
            if server.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise RuntimeError("sf serve does not start")
            time.sleep(0.005)
        took = time.perf_counter() - began
        waiting = client.call("list_sessions")
        if len(waiting) != SESSIONS:
            raise RuntimeError(f"{len(waiting)} sessions are left")
        return took
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def measure() -> list[Figure]:
    """Start it some times; the first start warms the machine."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder))
        fill(project)
        samples = [seconds_to_answer(project) for _ in range(STARTS)][1:]
    name = f"server start with {TASKS:,} tasks and {SESSIONS} sessions to recover"
    return [
        Figure(
            name=f"{name}, median of {len(samples)}", value=statistics.median(samples), unit="s"
        ),
        Figure(name=f"{name}, longest", value=max(samples), unit="s", most=MOST_SECONDS),
    ]


if __name__ == "__main__":
    sys.exit(report(measure))
