"""The page's main thread while 50 sessions report what they do, in each view that is always live.

The real server and a real browser; tasks on the main thread as the browser itself measures them
(https://www.w3.org/TR/longtasks-1/: it reports those of 50 ms and more).
"""

import contextlib
import sys
import tempfile
import threading
import time
from pathlib import Path

from sf_mcp.core.identity import PERSON
from sf_mcp.service.drafts import TaskDraft
from tests.benchmarks.figures import Figure, report
from tests.browser.builders_page import Chromium, ServedSeat, a_seat
from tests.builders import Worker, a_plan, a_worker, some_tasks

SESSIONS = 50
SECONDS = 4.0 if "--quick" in sys.argv[1:] else 15.0
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


def measure() -> list[Figure]:
    """Look at each view for a while."""
    figures: list[Figure] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        chromium = stack.enter_context(Chromium.started())
        stack.enter_context(chromium.in_use())
        seat = stack.enter_context(a_seat(folder, chromium))
        titles = [TaskDraft(title=f"Mend part {number}") for number in range(SESSIONS)]
        plan = a_plan(seat.project)
        workers = [
            a_worker(seat.project, task) for task in some_tasks(seat.project, *titles, plan=plan)
        ]
        over = threading.Event()
        reporter = threading.Thread(target=report_as_they_work, args=(seat, workers, over))
        reporter.start()
        try:
            seat.page.evaluate(WATCH)
            for view in ("now", "train", "log"):
                seat.go(view)
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
