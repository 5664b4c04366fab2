"""Contexts that fill up, with the real Claude Code and a model whose usage says how full it is.

The client here heeds no interrupt, so that a session is taken over the hard way.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from launcher.rehearsal.script import Step
from launcher.rehearsal.scripted_api import ScriptedApi
from tests.launcher.builders_project import Project, call, commit, lands, running, say, worker
from tests.launcher.client_harness import client_binary

DEAF = """#!/bin/sh
case "$1" in --version) exec "$REAL" --version;; esac
grep --line-buffered -v '"subtype": "interrupt"' | "$REAL" "$@"
"""


def hands_off(path: str, barrier: str, fill: int, met: list[int], *, expect: str) -> list[Step]:
    """Return a session that adds a file, crosses the first threshold, and does as it is asked."""
    handoff = call(
        "write_handoff",
        progress=f"{path} is there",
        remaining="the others",
        next_step="write the next file",
        criteria_met=met,
    )
    return [
        say(call("claim_task")),
        say(commit(path, path), expect=expect, fill=fill),
        say(call("report_progress", message="one more"), wait_for=barrier, fill=fill + 1_000),
        say(handoff, expect="Your context holds 1[45][0-9],[0-9]{3} tokens", fill=fill + 2_000),
        say(),
    ]


CROSSES_TWICE = (
    hands_off("one.txt", "first is full", 145_000, [1], expect='"met": ?\\[\\]'),
    hands_off(
        "two.txt", "second is full", 150_000, [1, 2], expect="1, says worker.*one.txt is there"
    ),
    [
        say(call("claim_task")),
        say(
            commit("three.txt", "three"),
            expect="1, says worker.*2, says worker.*two.txt is there.*one.txt is there",
        ),
        *lands("three.txt")[2:],
    ],
)
BASH = call("Bash", command="echo ran >> ran.txt", description="go on")
IGNORES = (
    [
        say(call("claim_task")),
        say(commit("part.txt", "part"), fill=145_000),
        say(BASH, text="I will not stop.", wait_for="it is asked", fill=150_000),
        say(call("list_tasks"), expect="Your context holds 1", fill=165_000),
        say(BASH, wait_for="it is restricted", fill=166_000),
        say(call("report_progress", message="on"), expect="Call write_handoff now", fill=167_000),
        say(BASH, text="Never.", expect="Call write_handoff now", fill=179_000),
        say(hang=60.0),
    ],
    [
        say(call("claim_task")),
        say(commit("rest.txt", "rest"), expect="context was full.*Never.*Its last calls"),
        *lands("rest.txt")[2:],
    ],
)


class Fleet:
    """Two tasks whose sessions fill their contexts, each in its own way."""

    def __init__(self, project: Project, api: ScriptedApi) -> None:
        self.project = project
        self.api = api
        self.twice, self.ignoring = project.plan(
            {"title": "Cross twice", "acceptance": ["one.txt", "two.txt", "three.txt"]},
            {"title": "Ignore it"},
        )
        project.start_fleet("--attached", REAL=client_binary())

    def open_when(self, barrier: str, task: str, tokens: int) -> None:
        """Let a session go on once the server knows how full it is."""
        self.project.wait_for(lambda: self.tokens_of(task) >= tokens)
        self.api.open_barrier(barrier)

    def tokens_of(self, task: str) -> int:
        running = [one for one in self.sessions_of(task) if one["end"] is None]
        return running[0]["context_tokens"] if running else 0

    def sessions_of(self, task: str) -> list[dict[str, Any]]:
        return [one for one in self.project.sessions() if one["subject"] == task]

    def ends_of(self, task: str) -> list[str]:
        return [one["end"] for one in self.sessions_of(task) if one["end"]]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Generator[Fleet]:
    folder = tmp_path_factory.mktemp("context")
    program = Path(folder / "claude")
    program.write_text(DEAF)
    program.chmod(0o755)
    scripts = [worker("Cross twice", *CROSSES_TWICE), worker("Ignore it", *IGNORES)]
    with running(folder / "here", *scripts, orchestrator={"claudePath": str(program)}) as (
        project,
        api,
    ):
        fleet = Fleet(project, api)
        fleet.open_when("first is full", fleet.twice, 145_000)
        fleet.open_when("it is asked", fleet.ignoring, 145_000)
        fleet.open_when("it is restricted", fleet.ignoring, 165_000)
        fleet.open_when("second is full", fleet.twice, 150_000)
        yield fleet


def test_a_task_that_crosses_the_threshold_twice_is_done_by_three_sessions(fleet: Fleet) -> None:
    fleet.project.wait_for_state(fleet.twice, "merged")
    fleet.project.wait_for(
        lambda: fleet.ends_of(fleet.twice) == ["handed_off", "handed_off", "merge_requested"]
    )

    for name in ("one.txt", "two.txt", "three.txt"):
        fleet.project.wait_for((fleet.project.root / name).exists)
    handoffs = fleet.project.call("get_task", task=fleet.twice)["handoffs"]
    assert [(one["by_server"], one["met"]) for one in handoffs] == [(False, [1]), (False, [1, 2])]
    assert not [miss for miss in fleet.api.misses if "Cross" in miss]


def test_a_model_that_ignores_every_request_is_taken_over_and_its_work_goes_on(
    fleet: Fleet,
) -> None:
    fleet.project.wait_for_state(fleet.ignoring, "merged")
    fleet.project.wait_for(
        lambda: fleet.ends_of(fleet.ignoring) == ["context_full", "merge_requested"]
    )

    assert not [miss for miss in fleet.api.misses if "Ignore" in miss]
    (handoff,) = fleet.project.call("get_task", task=fleet.ignoring)["handoffs"]
    assert handoff["by_server"]
    assert "Add part.txt" in handoff["progress"]
    # Once, while it was only asked; what came after the restriction was not carried out.
    fleet.project.wait_for((fleet.project.root / "rest.txt").exists)
    assert (fleet.project.root / "ran.txt").read_text() == "ran\n"
    full = fleet.sessions_of(fleet.ignoring)[0]
    assert not fleet.project.processes_of(full["id"])


def test_what_sessions_used_is_known_although_one_never_ended_its_turn(fleet: Fleet) -> None:
    fleet.project.wait_for(lambda: len(fleet.ends_of(fleet.ignoring)) == 2)
    full, done = fleet.sessions_of(fleet.ignoring)

    assert full["context_tokens"] >= 179_000
    assert (full["context_window"], done["context_window"]) == (200_000, 200_000)
    # 800,000 tokens were given to it, most of them from the cache.
    assert full["cost_usd"] > done["cost_usd"] > 0
    # It was asked before it was used, while it worked, and before it was interrupted.
    assert '"request_id":"cost-3"' in Path(full["log_path"]).read_text()
