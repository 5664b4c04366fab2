"""The page with 500 tasks: until it can be used, and its main thread while 50 sessions report.

The real server and a real browser; tasks on the main thread as the browser itself measures them
(https://www.w3.org/TR/longtasks-1/: it reports those of 50 ms and more).
"""

import contextlib
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from playwright.sync_api import expect

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import TaskId
from sf_mcp.service.drafts import TaskDraft
from tests.benchmarks.figures import Figure, report
from tests.browser.builders_page import Chromium, ServedSeat, a_seat
from tests.browser.builders_plans import a_large_plan
from tests.builders import Project, Worker, a_plan, a_project, a_worker, some_tasks

TASKS, SESSIONS = 500, 50
MANY, BATCH, LOOKS = 5_000, 1_000, 9
QUICK = "--quick" in sys.argv[1:]
LOADS = 2 if QUICK else 5
SECONDS = 4.0 if QUICK else 15.0
EACH_SECONDS = 1.0
"""How often each session is heard of."""
MOST_MILLISECONDS = 100.0

WATCH = """() => {
  window.longest = 0;
  window.longTasks = 0;
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) {
      window.longest = Math.max(window.longest, one.duration);
      window.longTasks += 1;
    }
  }).observe({ type: "longtask" });
}"""


def report_as_they_work(seat: ServedSeat, workers: list[Worker], over: threading.Event) -> None:
    """Report a line of each session's stream, one after the other, until it is over."""
    number = 0
    while not over.wait(EACH_SECONDS / SESSIONS):
        number += 1
        worker = workers[number % SESSIONS]
        seat.project.services.sessions.heard(
            PERSON,
            worker.session.id,
            is_turn_active=number % 3 > 0,
            last_line=f"Edit: src/module_{number}.py, line {number}",
            context_tokens=number * 97 % 190_000,
            context_window=200_000,
            cost_usd=number / 100,
        )
        if number % 25 == 0:
            seat.project.services.fleet.pause_fleet(PERSON, reason=f"reason {number}")
            seat.project.services.fleet.resume_fleet(PERSON)


def looks_at_many(folder: Path) -> list[Figure]:
    """Measure the read model of a plan of 5,000 tasks, each of which depends on two."""
    project: Project = a_project(folder)
    plan = a_plan(project)
    made: list[TaskId] = []
    for first in range(0, MANY, BATCH):
        drafts = [
            TaskDraft(
                title=f"Task {number}",
                key=f"k{number}",
                depends_on=[
                    *([f"k{number - 7}"] if number - 7 >= first else []),
                    *([made[number - BATCH]] if first else []),
                ],
            )
            for number in range(first, first + BATCH)
        ]
        made += some_tasks(project, *drafts, plan=plan)
    times: list[float] = []
    for _ in range(LOOKS):
        start = time.perf_counter()
        seen = project.services.plan_views.show_plan(PERSON, plan=plan)
        times.append((time.perf_counter() - start) * 1000)
        assert len(seen.tasks) == MANY
    project.services.close()
    return [_median(f"show_plan of {MANY:,} tasks", times, 500)]


def loads(seat: ServedSeat) -> list[Figure]:
    """Load the page anew, some times, where it shows the graph of 500 tasks."""
    live: list[float] = []
    drawn: list[float] = []
    arranged: list[float] = []
    seat.go("plan/P1")
    for _ in range(LOADS):
        start = time.perf_counter()
        seat.page.reload()
        seat.is_live()
        live.append((time.perf_counter() - start) * 1000)
        expect(seat.page.locator(".node")).to_have_count(TASKS, timeout=60_000)
        drawn.append((time.perf_counter() - start) * 1000)
        arranged.append(float(seat.page.locator(".graph").get_attribute("data-layout") or 0))
    return [
        _median(f"plan of {TASKS} tasks: the page can be used", live, 2_000),
        _median(f"plan of {TASKS} tasks: all of them are drawn", drawn, 5_000),
        _median(f"plan of {TASKS} tasks: layout, in the worker", arranged),
    ]


def _median(name: str, times: list[float], most: float | None = None) -> Figure:
    value = statistics.median(times)
    return Figure(name=f"{name}, median of {len(times)}", value=value, unit="ms", most=most)


def measure() -> list[Figure]:
    """Look at each view for a while."""
    figures: list[Figure] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        figures += looks_at_many(folder / "many")
        chromium = stack.enter_context(Chromium.started())
        stack.enter_context(chromium.in_use())
        seat = stack.enter_context(a_seat(folder / "seat", chromium))
        a_large_plan(seat.project, TASKS - SESSIONS)
        titles = [TaskDraft(title=f"Mend part {number}") for number in range(SESSIONS)]
        workers = [
            a_worker(seat.project, task) for task in some_tasks(seat.project, *titles, plan="P1")
        ]
        figures += loads(seat)
        over = threading.Event()
        reporter = threading.Thread(target=report_as_they_work, args=(seat, workers, over))
        reporter.start()
        try:
            seat.page.evaluate(WATCH)
            for view in ("now", "plan/P1", f"task/{workers[0].task_id}", "train", "log"):
                seat.go(view)
                # What is measured is the view as it changes, not as it is opened.
                expect(seat.page.locator(".node")).to_have_count(TASKS if "plan" in view else 0)
                seat.page.wait_for_timeout(1500)
                seat.page.evaluate("() => { window.longest = 0; window.longTasks = 0 }")
                time.sleep(SECONDS)
                longest = float(seat.page.evaluate("window.longest"))
                figures.append(
                    Figure(
                        name=f"{view}: longest task with {SESSIONS} sessions at work (0: under 50)",
                        value=longest,
                        unit="ms",
                        most=MOST_MILLISECONDS,
                    )
                )
        finally:
            over.set()
            reporter.join()
    return figures


if __name__ == "__main__":
    sys.exit(report(measure))
