"""Questions with the real Claude Code: asked, parked, answered, resumed; and killed in between."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.rehearsal.messages import RequestKind
from launcher.rehearsal.script import Script
from launcher.rehearsal.scripted_api import ScriptedApi
from sf_mcp.core.models import Role
from tests.launcher.builders_project import (
    WAIT_SECONDS,
    Project,
    call,
    commit,
    lands,
    running,
    say,
    worker,
)

ASKS = [
    say(call("claim_task")),
    say(call("ask_director", question="Which colour?", options=["red", "blue"])),
]
TOLD = "Q1 was answered by person: blue"


def sf(project: Project, *arguments: str) -> str:
    """Run the person's command in a process of its own."""
    command = [str(Path(sys.executable).with_name("sf")), *arguments]
    done = subprocess.run(
        command,
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def conversation(api: ScriptedApi) -> str:
    """Return all that the newest request of a worker shows to the model."""
    asked = [one for one in api.requests if one.role is Role.WORKER and one.body]
    return json.dumps(json.loads(asked[-1].body or b"")["messages"], ensure_ascii=False)


def test_a_question_answered_while_its_asker_is_parked_resumes_the_same_conversation(
    tmp_path: Path,
) -> None:
    """Rows 19 and 36 of the known defects: nobody goes on, and nothing is asked, meanwhile."""
    steps = [
        *ASKS,
        say(text="I wait for the colour.", expect="pending"),
        say(commit("colour.txt", "blue"), expect=TOLD),
        *lands("colour.txt")[2:],
    ]
    with running(tmp_path, worker("Paint it", steps), answer_wait_seconds=0.2) as (project, api):
        (task,) = project.plan({"title": "Paint it"})
        project.start_fleet("--attached")

        project.wait_for_state(task, "waiting")
        project.wait_for(lambda: project.ends() == ["parked"])
        asked = api.count(RequestKind.MAIN)
        assert not project.all_processes()
        assert "worker-1 waits since" in sf(project, "question", "list")
        why = sf(project, "why", task)
        assert f"{task} waits for the answer to Q1" in why
        assert 'sf question answer Q1 "…"' in why
        assert not project.all_processes()
        assert api.count(RequestKind.MAIN) == asked == 3

        assert sf(project, "question", "answer", "Q1", "blue") == "Q1 is answered\n"
        project.wait_for_state(task, "merged")

        assert not api.misses
        project.wait_for(lambda: project.ends() == ["parked", "merge_requested"])
        assert len(project.sessions()) == 1
        seen = conversation(api)
        assert seen.index("Which colour?") < seen.index("I wait for the colour.") < seen.index(TOLD)
        assert seen.count(TOLD) == 1
        project.wait_for(lambda: (project.root / "colour.txt").exists())
        assert "has had it since" in sf(project, "question", "show", "Q1")


@pytest.mark.parametrize("killed", ["before it went on with it", "after it went on with it"])
def test_a_worker_that_is_killed_with_an_answer_is_told_again_unless_it_had_gone_on_with_it(
    tmp_path: Path, killed: str
) -> None:
    """Row 35 of the known defects: "delivered" to a session that never saw it."""
    steps = [
        *ASKS,
        say(commit("colour.txt", "blue"), wait_for="before it went on with it"),
        say(call("run_checks"), wait_for="after it went on with it"),
        *lands("colour.txt")[2:],
    ]
    is_told_again = killed == "before it went on with it"
    with running(tmp_path, worker("Paint it", steps)) as (project, api):
        (task,) = project.plan({"title": "Paint it"})
        project.start_fleet("--attached")

        project.wait_for(lambda: project.call("list_questions"))
        project.call("answer_question", question_id="Q1", answer="blue")
        if not is_told_again:
            api.open_barrier("before it went on with it")
        # What comes next of the model is held back: the client waits for it.
        project.wait_for(lambda: api.waiting_at(killed))
        signs = {event["kind"] for event in project.events() if event["subject"] == "Q1"}
        assert ("answer_acknowledged" in signs) is not is_told_again
        assert "answer_delivered" in signs
        (pid,) = project.claude_pids()
        os.killpg(pid, signal.SIGKILL)
        project.wait_for(lambda: project.ends() == ["killed"])
        for barrier in ("before it went on with it", "after it went on with it"):
            api.open_barrier(barrier)
        project.wait_for_state(task, "merged")

        assert not api.misses
        assert len(project.sessions()) == 1
        assert len(project.events("answer_delivered")) == 1 + is_told_again
        assert len(project.events("answer_acknowledged")) == 1
        # Besides in the result, which a conversation may have lost.
        assert conversation(api).count(TOLD) == is_told_again


def test_an_answer_that_is_given_while_the_server_is_dead_reaches_the_one_whose_call_was_cut_off(
    tmp_path: Path,
) -> None:
    steps = [
        *ASKS,
        say(text="I wait for the colour."),
        say(commit("colour.txt", "blue"), expect=TOLD),
        # The client takes some seconds to find the server again [2.1.330].
        say(call("request_merge", summary="Blue."), until="is open for"),
        say(),
    ]
    with running(tmp_path, worker("Paint it", steps)) as (project, api):
        (task,) = project.plan({"title": "Paint it"})
        project.start_fleet("--attached")
        project.wait_for(lambda: project.call("list_questions"))

        project.stop_server()
        sf(project, "question", "answer", "Q1", "blue")
        project.start_server()
        project.wait_for_state(task, "merged")

        assert not [miss for miss in api.misses if "not offered" not in miss]
        assert len(project.sessions()) == 1
        assert conversation(api).count(TOLD) == 1
        assert [event["kind"] for event in project.events() if event["subject"] == "Q1"] == [
            "question_asked",
            "question_answered",
            "answer_delivered",
            "answer_acknowledged",
        ]


def test_a_headless_director_answers_from_the_plan_and_what_the_worker_has_committed(
    tmp_path: Path,
) -> None:
    asks = [
        say(call("claim_task")),
        say(commit("palette.txt", "blue and nothing else")),
        say(call("ask_director", question="Which colour of the palette?")),
        say(commit("colour.txt", "blue"), expect="blue, by the palette"),
        *lands("colour.txt")[2:],
    ]
    answers = [
        say(call("Read", file_path="palette.txt"), expect="Its plan is P1, active: The plan"),
        say(
            call("answer_question", question="Q1", answer="blue, by the palette"),
            expect="blue and nothing else",
        ),
        say(),
    ]
    script = Script(role=Role.DIRECTOR, match="Which colour", attempts=(tuple(answers),))
    agents = {
        "steward": {"review": False},
        "director": {"headless": True, "headlessAfterSeconds": 0},
    }
    with running(tmp_path, worker("Paint it", asks), script, agents=agents) as (project, api):
        (task,) = project.plan({"title": "Paint it"})
        project.start_fleet("--attached")

        project.wait_for_state(task, "merged")

        assert not api.misses
        project.wait_for(lambda: (project.root / "colour.txt").exists())
        assert project.call("get_question", question="Q1")["answered_by"] == "director-1"
