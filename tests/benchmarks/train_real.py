"""The merge train for real: forty branches over a suite of five seconds, against one at a time.

Of the forty four are in textual conflict with one another (one of them can land, the others are
left to a steward), four fail alone and two fail only together. The serial queue is the same train
with the same services and git; its planner is shown the first request alone and has one slot.

    python -m tests.benchmarks.train_real --quick      a suite of half a second, no target
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sf_mcp.core import merge_queue
from sf_mcp.core.merge_queue import Facts, Plan
from sf_mcp.core.states import MergeState
from tests.benchmarks.figures import Figure, report
from tests.builders import Project, a_merge_request, a_project, a_task
from tests.service.builders_landing import config

SUITE_SECONDS, QUICK_SUITE_SECONDS = 5.0, 0.5
SLOTS = 2
BRANCHES, IN_CONFLICT, BAD = 40, 4, 4
LANDING = BRANCHES - (IN_CONFLICT - 1) - BAD - 1
"""One of those in conflict lands, and one of the two that fail together."""

MOST_SHARE = 0.6
"""Of the serial queue's time."""

MOST_STEPS = 2_000

Planner = Callable[[Facts, int], Plan]


def files_of(number: int) -> dict[str, str | None]:
    """Return what a branch changes; those that are special are spread over the queue."""
    if number % 10 == 3:
        return {"readme.md": f"hello from {number}\n"}
    if number % 10 == 6:
        return {f"bad-{number}.txt": "bad\n"}
    if number in (11, 28):
        return {f"half-{number}.txt": "half\n"}
    return {f"good-{number}.txt": "good\n"}


def a_queue(folder: Path, suite_seconds: float, slots: int) -> Project:
    """Make the project and its forty merge requests."""
    check = (
        f"sleep {suite_seconds}; test -z \"$(ls | grep '^bad-')\""
        " && test \"$(ls | grep -c '^half-')\" -lt 2"
    )
    project = a_project(
        folder,
        config=config({"suite": check}, timeout_seconds=300, merge={"parallelChecks": slots}),
    )
    for number in range(BRANCHES):
        a_merge_request(project, a_task(project, f"Branch {number}"), files_of(number))
    return project


def serial(facts: Facts, slots: int) -> Plan:
    """Plan as if there were the first request alone."""
    return _PLAN(replace(facts, queue=facts.queue[:1]), 1)


_PLAN = merge_queue.plan


@contextmanager
def own_home(folder: Path) -> Generator[None]:
    """Let nothing of the machine's configuration have a say."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("GIT_", "SF_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("XDG_CONFIG_HOME", str(folder / ".config"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


def seconds(planner: Planner, suite_seconds: float, slots: int) -> float:
    """Return how long the train takes until nothing is left that it could land."""
    with (
        tempfile.TemporaryDirectory(prefix="sf-train-") as name,
        own_home(Path(name)),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(merge_queue, "plan", planner)
        project = a_queue(Path(name), suite_seconds, slots)
        start = time.perf_counter()
        project.run_train(most=MOST_STEPS)
        took = time.perf_counter() - start
        states = [project.request(f"M{number + 1}").state for number in range(BRANCHES)]
        landed = sum(state is MergeState.LANDED for state in states)
        assert landed == LANDING, f"{landed} landed instead of {LANDING}: {states}"
        project.services.close()
    return took


def measure() -> list[Figure]:
    is_quick = "--quick" in sys.argv[1:]
    suite_seconds = QUICK_SUITE_SECONDS if is_quick else SUITE_SECONDS
    planned = seconds(_PLAN, suite_seconds, SLOTS)
    one_by_one = seconds(serial, suite_seconds, 1)
    name = f"{BRANCHES} branches, a suite of {suite_seconds:g} s"
    return [
        Figure(name=f"{name}: one at a time", value=one_by_one, unit="s"),
        Figure(name=f"{name}: the train, {SLOTS} slots", value=planned, unit="s"),
        Figure(
            name=f"{name}: share of the serial time",
            value=planned / one_by_one,
            unit="x",
            most=None if is_quick else MOST_SHARE,
        ),
    ]


if __name__ == "__main__":
    sys.exit(report(measure))
