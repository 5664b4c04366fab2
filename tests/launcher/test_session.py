"""How sessions come to their ends, with the real Claude Code and a scripted model."""

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from launcher.rehearsal.messages import RequestKind
from launcher.rehearsal.scripted_api import ScriptedApi
from tests.launcher.builders_project import (
    Project,
    call,
    commit,
    lands,
    running,
    say,
    worker,
)
from tests.launcher.client_harness import client_binary

HANDS_OFF = [
    say(call("claim_task")),
    say(commit("half.txt", "half")),
    say(
        call(
            "write_handoff",
            progress="half.txt is there",
            remaining="the other half",
            next_step="write whole.txt",
        )
    ),
    say(),
]
GOES_ON = [
    say(call("claim_task")),
    say(commit("whole.txt", "whole"), expect="write whole.txt"),
    *lands("whole.txt")[2:],
]
FORGETS = [
    say(call("claim_task")),
    say(text="I think that is all."),
    say(text="Really.", expect="no outcome yet"),
    say(text="Truly.", expect="no outcome yet"),
]
SLEEPS = [
    say(call("claim_task")),
    say(call("Bash", command="touch begun; sleep 300; touch later", description="work")),
]
GETS_KILLED = [
    say(call("claim_task")),
    say(
        call("Bash", command="touch begun; sleep 300; touch later", description="work"),
        unless="Your process was killed",
    ),
    say(commit("killed.txt", "done"), expect="Bash: touch begun.* look at the state of the files"),
    *lands("killed.txt")[2:],
]
FILLS_UP = [
    say(call("claim_task")),
    say(commit("part.txt", "part")),
    say(call("Bash", command="sleep 300", description="work"), fill=180_000),
]
TAKES_OVER = [
    say(call("claim_task")),
    say(commit("rest.txt", "rest"), expect="context was full"),
    *lands("rest.txt")[2:],
]
FALLS_SILENT = [say(call("claim_task")), say(hang=60.0)]


class Stories:
    """One fleet in which sessions come to many ends at the same time, each on a task of its own."""

    def __init__(self, project: Project, api: ScriptedApi) -> None:
        self.project = project
        self.api = api
        titles = ["Hand over", "Forget", "Get killed", "Fill up", "Fall silent", "Be stopped"]
        tasks = project.plan(*({"title": title} for title in titles))
        self.task = dict(zip(titles, tasks, strict=True))
        project.start_fleet("--attached")

    def sessions_of(self, title: str) -> list[dict[str, Any]]:
        """Return the sessions on a task, oldest first."""
        task = self.task[title]
        return [one for one in self.project.sessions() if one["subject"] == task]

    def ends_of(self, title: str) -> list[str]:
        """Return how the sessions on a task have ended."""
        return [one["end"] for one in self.sessions_of(title) if one["end"] is not None]

    def said_of(self, session: dict[str, Any], kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind about a session."""
        return [one for one in self.project.events(kind) if one["subject"] == session["id"]]

    def wait_until_landed(self, title: str) -> None:
        self.project.wait_for_state(self.task[title], "merged")

    def begin(self, title: str) -> dict[str, Any]:
        """Wait until the first session on a task is in its long command; return it."""
        begun = self.project.layout.worktrees / self.task[title] / "begun"
        self.project.wait_for(begun.exists)
        (session,) = self.sessions_of(title)
        return session

    def misses_of(self, title: str) -> list[str]:
        return [miss for miss in self.api.misses if title in miss]


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stories]:
    scripts = [
        worker("Hand over", HANDS_OFF, GOES_ON),
        worker("Forget", FORGETS, lands("forgotten.txt")),
        worker("Get killed", GETS_KILLED),
        worker("Fill up", FILLS_UP, TAKES_OVER),
        worker("Fall silent", FALLS_SILENT, lands("silent.txt")),
        worker("Be stopped", SLEEPS, lands("stopped.txt")),
    ]
    folder = tmp_path_factory.mktemp("stories")
    with running(folder, *scripts, orchestrator={"turnTimeoutSeconds": 10}) as (project, api):
        yield Stories(project, api)


def test_a_killed_worker_leaves_no_process_and_goes_on_with_its_conversation(
    stories: Stories,
) -> None:
    """Claude Code runs each command in a session of its own, which outlives a killed client."""
    session = stories.begin("Get killed")
    shells = stories.project.processes_of(session["id"])
    assert len(shells) > 1

    os.kill(session["pid"], signal.SIGKILL)
    stories.project.wait_for(lambda: stories.said_of(session, "session_resumed"))

    (ended,) = stories.said_of(session, "session_ended")
    assert ended["data"]["end"] == "killed"
    assert not set(shells) & set(stories.project.processes_of(session["id"]))
    stories.wait_until_landed("Get killed")
    (same,) = stories.sessions_of("Get killed")
    assert (same["id"], same["starts"]) == (session["id"], 2)
    assert not stories.misses_of("Get killed")


def test_a_stopped_session_ends_at_once_and_another_takes_its_task(stories: Stories) -> None:
    session = stories.begin("Be stopped")

    stories.project.call("stop_session", session=session["name"], reason="enough")
    stories.project.wait_for(lambda: stories.ends_of("Be stopped"))

    assert stories.ends_of("Be stopped")[0] == "stopped"
    assert stories.sessions_of("Be stopped")[0]["end_detail"] == "enough"
    assert not stories.project.processes_of(session["id"])
    stories.wait_until_landed("Be stopped")


def test_a_handoff_is_taken_up_by_a_fresh_session(stories: Stories) -> None:
    stories.wait_until_landed("Hand over")
    stories.project.wait_for(
        lambda: stories.ends_of("Hand over") == ["handed_off", "merge_requested"]
    )

    stories.project.wait_for(lambda: (stories.project.root / "whole.txt").exists())
    assert (stories.project.root / "half.txt").exists()
    assert not stories.misses_of("Hand over")


def test_a_worker_without_an_outcome_is_told_so_twice_and_then_counts_as_a_failure(
    stories: Stories,
) -> None:
    stories.wait_until_landed("Forget")

    assert stories.ends_of("Forget")[0] == "no_outcome"
    assert not stories.misses_of("Forget")


def test_a_full_context_is_taken_over_and_a_fresh_session_goes_on(stories: Stories) -> None:
    stories.wait_until_landed("Fill up")

    assert stories.ends_of("Fill up")[0] == "context_full"
    handed_off = [event["subject"] for event in stories.project.events("handed_off")]
    assert stories.task["Fill up"] in handed_off
    assert not stories.misses_of("Fill up")


def test_a_silent_turn_is_interrupted_and_ends_as_timed_out(stories: Stories) -> None:
    stories.wait_until_landed("Fall silent")

    assert stories.ends_of("Fall silent")[0] == "timed_out"


def test_a_usage_limit_parks_the_fleet_until_its_reset(tmp_path: Path) -> None:
    limited = [
        say(call("claim_task")),
        say(error=429, message="usage limit", headers={"retry-after": "3600"}),
    ]
    with running(tmp_path, worker("", limited)) as (project, api):
        project.plan({"title": "One"}, {"title": "Two"})
        project.configure(orchestrator={"maxConcurrent": 1})
        project.start_fleet("--attached")

        project.wait_for(project.ends)

        assert project.ends() == ["usage_limit"]
        assert project.call("fleet_status")["parked_until"]
        # A limit is nobody's failure, and the second task was not tried.
        assert {task["state"] for task, _ in project.call("list_tasks")["tasks"]} == {"open"}
        assert api.count(RequestKind.MAIN) <= 3


def test_a_client_that_does_not_reach_the_server_fails_to_start_and_makes_one_request_at_most(
    tmp_path: Path,
) -> None:
    with running(tmp_path, worker("", lands("a.txt"))) as (project, api):
        project.plan({"title": "One"})
        # A proxy that takes loopback too: the commonest way to lose the server.
        project.start_fleet("--attached", HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="")

        project.wait_for(project.ends)

        assert project.ends()[0] == "failed_to_start"
        assert "NO_PROXY" in project.events("session_ended")[0]["data"]["detail"]
        assert api.count(RequestKind.MAIN) <= 1


def test_a_client_that_has_vanished_pauses_the_fleet_with_the_remedy(tmp_path: Path) -> None:
    program = tmp_path / "claude"
    program.symlink_to(client_binary())
    limits = {"claudePath": str(program)}
    with running(tmp_path / "here", orchestrator=limits) as (project, _):
        project.start_fleet("--attached")
        project.wait_for(lambda: "fleet_started" in project.output())
        program.unlink()

        project.plan({"title": "One"}, {"title": "Two"})
        project.wait_for(project.ends)

        assert project.ends()[0] == "bad_configuration"
        paused = project.call("fleet_status")["paused"]
        assert str(program) in paused
        assert "sf resume" in paused


def test_a_line_of_ten_megabytes_is_read_like_any_other(tmp_path: Path) -> None:
    """Through a stand-in that says a long line first, and is the real client otherwise."""
    program = tmp_path / "claude"
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in --version) exec "$REAL" --version;; esac\n'
        'printf \'{"type":"system","subtype":"notice","text":"\'\n'
        "head -c 10000000 /dev/zero | tr '\\0' x\n"
        "printf '\"}\\n'\n"
        'exec "$REAL" "$@"\n'
    )
    program.chmod(0o755)
    settings = {"claudePath": str(program)}
    scripts = worker("", lands("a.txt"))
    with running(tmp_path / "here", scripts, orchestrator=settings) as (project, _):
        (task,) = project.plan({"title": "One"})
        project.start_fleet("--attached", REAL=client_binary())

        project.wait_for_state(task, "merged")

        (log,) = (project.layout.logs / "sessions").glob("*.jsonl")
        assert log.stat().st_size > 10_000_000
