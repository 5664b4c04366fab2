"""A person takes a worker over in a terminal, with the real Claude Code, and gives it back."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launcher.rehearsal.script import Step
from sf_mcp import process
from tests.launcher.builders_project import (
    WAIT_SECONDS,
    Project,
    call,
    commit,
    running,
    say,
    worker,
)
from tests.launcher.person import CTRL_D, Person, attaching, know_the_person

TITLE = "worker-1 on T1: Add a file (/exit gives it back)"
"""In the client's status line, once it is ready."""
GIVEN_BACK = "A person has worked in this session at a terminal"


def wait_for_file(path: Path, **fields: Any) -> Step:
    """Return a step of the model that runs a command until the file is there."""
    command = f"until [ -e {path} ]; do sleep 0.05; done"
    return say(call("Bash", command=command, description="wait"), **fields)


def at_work(project: Project) -> tuple[str, "subprocess.Popen[bytes]"]:
    """Start a fleet with one worker; return the task and the fleet once its command runs."""
    know_the_person(project)
    (task,) = project.plan({"title": "Add a file"})
    fleet = project.start_fleet("--attached")
    project.wait_for(lambda: "Bash" in the_session(project)["last_line"])
    return task, fleet


def the_session(project: Project) -> dict[str, Any]:
    found = project.sessions()
    assert len(found) <= 1
    return found[0] if found else {"last_line": "", "state": ""}


def claims(project: Project) -> list[int]:
    """Return the fencing tokens of every claim."""
    return [event["data"]["fence"] for event in project.events("claimed")]


def taken_over(person: Person) -> Callable[[], bool]:
    """Return whether the client is ready for the person's words."""
    return lambda: TITLE in person.screen


def test_a_person_takes_over_in_the_middle_of_a_turn_works_and_leaves_and_the_task_lands(
    tmp_path: Path,
) -> None:
    steps = [
        say(call("claim_task")),
        wait_for_file(tmp_path / "never"),
        say(commit("theirs.txt", "theirs"), expect="A person has taken over this session"),
        say(text="It is committed."),
        say(call("request_merge", summary="Added."), expect="Committed meanwhile, newest first"),
        say(),
    ]
    with running(tmp_path, worker("Add a file", steps)) as (project, api):
        task, _ = at_work(project)
        with attaching(project, "worker-1", "--now") as person:
            person.waits_for(taken_over(person))
            session = the_session(project)
            assert session["state"] == "taken_over"
            assert project.processes_of(session["id"]), "the client knows its session"
            with attaching(project, "worker-1") as another:
                assert another.process.wait(WAIT_SECONDS) == 1
                another.sees("worker-1 is taken over by")
            person.says("Commit it, please.")
            person.sees("It is committed.")
            project.wait_for(lambda: the_session(project)["context_tokens"] > 0)

            assert person.leaves() == 0

            person.sees("worker-1 goes back to the fleet, which goes on with T1.")
            assert person.is_terminal_as_it_was
        project.wait_for_state(task, "merged")
        project.wait_for(lambda: project.ends() == ["merge_requested"])

        assert claims(project) == [1]
        assert len(project.events("lease_ended")) == 1
        assert not api.misses
        assert the_session(project)["cost_usd"] > session["cost_usd"]
        (event,) = project.events("given_back")
        assert event["data"]["files"] == ["theirs.txt"]
        assert Path(event["data"]["transcript"]).is_file()


def test_a_step_ends_before_the_person_has_the_session_and_a_killed_terminal_gives_it_back(
    tmp_path: Path,
) -> None:
    go = tmp_path / "go"
    steps = [
        say(call("claim_task")),
        wait_for_file(go),
        # The model may have said it by the time the turn is interrupted.
        wait_for_file(tmp_path / "never", unless=GIVEN_BACK),
        say(commit("fleet.txt", "of the fleet"), expect=GIVEN_BACK),
        say(call("request_merge", summary="Added.")),
        say(),
    ]
    with running(tmp_path, worker("Add a file", steps)) as (project, api):
        task, _ = at_work(project)
        with attaching(project, "worker-1") as person:
            person.sees("Waiting for worker-1 on T1, Add a file (Bash")
            assert the_session(project)["state"] == "running"
            go.touch()
            person.waits_for(taken_over(person))
            session = the_session(project)
            theirs = project.processes_of(session["id"])

            # The server is killed too, and the launcher, while nobody looks.
            project.stop_server()
            os.kill(person.process.pid, signal.SIGKILL)
            project.start_server()

            project.wait_for_state(task, "merged")

            started = {pid: process.start_time(pid) for pid in theirs}
            assert not any(process.is_alive(pid, at) for pid, at in started.items())
        assert claims(project) == [1]
        assert not api.misses


def test_a_fleet_that_is_started_anew_leaves_the_person_alone_and_goes_on_when_they_have_left(
    tmp_path: Path,
) -> None:
    steps = [
        say(call("claim_task")),
        wait_for_file(tmp_path / "never"),
        say(text="Yes, still here."),
        say(call("request_merge", summary="-", no_changes_reason="nothing to do")),
        say(),
    ]
    with running(tmp_path, worker("Add a file", steps)) as (project, api):
        task, fleet = at_work(project)
        with attaching(project, "worker-1", "--now") as person:
            person.waits_for(taken_over(person))
            fleet.kill()
            fleet.wait(20)
            project.stop_server()
            project.start_server()
            project.start_fleet("--attached")
            project.wait_for(lambda: project.output().count("fleet_started") == 2)

            person.says("Are you still there?")
            person.sees("Yes, still here.")
            assert the_session(project)["state"] == "taken_over"
            assert len(project.events("session_started")) == 1

            person.types(CTRL_D)
            person.types(CTRL_D)
            assert person.process.wait(WAIT_SECONDS) == 0
        project.wait_for_state(task, "closed")
        assert claims(project) == [1]
        assert not api.misses
