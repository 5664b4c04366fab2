"""What people and Claude Code run all day, as whole processes, on 20 and on 5,000 tasks.

Each without a server and with one. The median of 15 runs of the installed command after two that
are not counted, its output to a pipe. The bare interpreter stands beside it: nothing is faster.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sf_mcp.clock import utc_now
from sf_mcp.core.identity import PERSON
from sf_mcp.service import open_services
from sf_mcp.service.drafts import TaskDraft
from tests.benchmarks.figures import Figure, report
from tests.benchmarks.project import SF, Project

WARM_UP, RUNS = 2, 15
MOST_MS = {20: 110.0, 5_000: 150.0}
"""Number of tasks -> the most that a command may take."""
COMMANDS = (("task", "ready"), ("status",), ("statusline",), ("hook",))


def median_ms(project: Project, command: Sequence[str]) -> float:
    """Run the command some times; return the median of its wall times."""
    times: list[float] = []
    for _ in range(WARM_UP + RUNS):
        started = time.perf_counter()
        subprocess.run(
            command,
            cwd=project.root,
            env=project.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[WARM_UP:])


def add_tasks(project: Project, number: int) -> None:
    """Add tasks in plans of 500; three of four depend on up to three others before them."""
    services = open_services(project.root, utc_now)
    for start in range(0, number, 500):
        drafts = [
            TaskDraft(
                title=f"Task {n}",
                key=str(n),
                depends_on=[str(n - back) for back in (7, 8, 10) if n - back >= start and n % 4],
            )
            for n in range(start, min(start + 500, number))
        ]
        services.plans.create_plan(PERSON, title=f"Plan {start}", tasks=drafts)
    services.close()


def measure() -> list[Figure]:
    """Measure both commands, at both sizes, in both ways."""
    figures: list[Figure] = []
    for number in MOST_MS:
        with tempfile.TemporaryDirectory() as folder:
            project = Project(Path(folder))
            add_tasks(project, number)
            if not figures:
                bare = median_ms(project, [sys.executable, "-c", "pass"])
                figures.append(Figure(name="the bare interpreter", value=bare, unit="ms"))

            def all_of(how: str, project: Project = project, number: int = number) -> list[Figure]:
                return [
                    Figure(
                        name=f"sf {' '.join(command)}, {number:,} tasks, {how}",
                        value=median_ms(project, [str(SF), *command]),
                        unit="ms",
                        most=MOST_MS[number],
                    )
                    for command in COMMANDS
                ]

            figures += all_of("no server")
            with project.served(with_fleet=False):
                figures += all_of("server running")
    return figures


if __name__ == "__main__":
    sys.exit(report(measure))
