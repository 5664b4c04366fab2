"""How sessions come to their ends, with the real Claude Code and a scripted model."""

import os
import signal
from pathlib import Path

from launcher.rehearsal.messages import RequestKind
from tests.launcher.builders_project import WAIT_SECONDS, call, commit, lands, running, say, worker
from tests.launcher.client_harness import client_binary


def test_a_handoff_is_taken_up_by_a_fresh_session(tmp_path: Path) -> None:
    hands_off = [
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
    goes_on = [
        say(call("claim_task")),
        say(commit("whole.txt", "whole"), expect="write whole.txt"),
        *lands("whole.txt")[2:],
    ]
    with running(tmp_path, worker("", hands_off, goes_on)) as (project, api):
        (task,) = project.plan({"title": "One"})
        project.start_fleet("--attached")

        project.wait_for_state(task, "merged")
        project.wait_for(lambda: project.ends() == ["handed_off", "merge_requested"])

        project.wait_for(lambda: (project.root / "whole.txt").exists())
        assert (project.root / "half.txt").exists()
        assert not api.misses


def test_a_worker_without_an_outcome_is_told_so_twice_and_then_counts_as_a_failure(
    tmp_path: Path,
) -> None:
    forgets = [
        say(call("claim_task")),
        say(text="I think that is all."),
        say(text="Really.", expect="no outcome yet"),
        say(text="Truly.", expect="no outcome yet"),
    ]
    with running(tmp_path, worker("", forgets, lands("a.txt"))) as (project, api):
        (task,) = project.plan({"title": "One"})
        project.start_fleet("--attached")

        project.wait_for_state(task, "merged")

        assert project.ends()[0] == "no_outcome"
        assert not api.misses


def test_a_killed_worker_leaves_no_process_and_another_attempt_lands(tmp_path: Path) -> None:
    """Claude Code runs each command in a session of its own, which outlives a killed client."""
    works = [
        say(call("claim_task")),
        say(call("Bash", command="touch begun; sleep 300; touch later", description="work")),
    ]
    with running(tmp_path, worker("", works, lands("a.txt"))) as (project, _):
        (task,) = project.plan({"title": "One"})
        project.start_fleet("--attached")
        begun = project.layout.worktrees / task / "begun"
        project.wait_for(begun.exists)
        (pid,) = project.claude_pids()
        shells = project.shells()
        assert shells

        os.kill(pid, signal.SIGKILL)
        project.wait_for(project.ends)

        assert project.ends() == ["killed"]
        assert not set(shells) & set(project.shells())
        project.wait_for_state(task, "merged")


def test_a_full_context_is_taken_over_and_a_fresh_session_goes_on(tmp_path: Path) -> None:
    fills = [
        say(call("claim_task")),
        say(commit("half.txt", "half")),
        say(call("Bash", command="touch begun; sleep 300", description="work"), fill=180_000),
    ]
    goes_on = [
        say(call("claim_task")),
        say(commit("whole.txt", "whole"), expect="context was full"),
        *lands("whole.txt")[2:],
    ]
    with running(tmp_path, worker("", fills, goes_on)) as (project, api):
        (task,) = project.plan({"title": "One"})
        project.start_fleet("--attached")

        project.wait_for_state(task, "merged")

        assert project.ends()[0] == "context_full"
        (handoff,) = project.events("handed_off")
        assert handoff["subject"] == task
        assert not api.misses


def test_a_silent_turn_is_interrupted_and_ends_as_timed_out(tmp_path: Path) -> None:
    silent = [say(call("claim_task")), say(hang=60.0)]
    limits = {"turnTimeoutSeconds": 10}
    with running(tmp_path, worker("", silent, lands("a.txt")), orchestrator=limits) as (project, _):
        (task,) = project.plan({"title": "One"})
        project.start_fleet("--attached")

        project.wait_for_state(task, "merged")

        assert project.ends()[0] == "timed_out"


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


def test_a_stopped_session_ends_at_once_and_its_task_is_open_again(tmp_path: Path) -> None:
    works = [say(call("claim_task")), say(hang=60.0)]
    with running(tmp_path, worker("", works)) as (project, api):
        (task,) = project.plan({"title": "One"})
        project.start_fleet("--attached")
        assert api.wait_until(lambda api: len(api.requests) >= 2, WAIT_SECONDS)
        project.call("pause_fleet", reason="looking")

        project.call("stop_session", session="worker-1", reason="enough")
        project.wait_for(project.ends)

        assert project.ends() == ["stopped"]
        assert project.state(task) == "open"
        assert not project.claude_pids()


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
