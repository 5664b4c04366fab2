"""Two people's seats at one fleet: the real interactive Claude Code, each attached its own way.

One was started by `sf-launch director`, one by plain `claude` after `sf attach`. Both plan, both
answer, both approve; the workers are real sessions too. Every model's words are scripted.
"""

import itertools
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from launcher.rehearsal.script import Script, Step
from launcher.rehearsal.scripted_api import ScriptedApi
from tests.launcher.builders_project import (
    WAIT_SECONDS,
    Project,
    call,
    commit,
    git,
    running,
    say,
    worker,
)
from tests.launcher.client_harness import client_binary
from tests.launcher.interactive import Terminal, know_the_person

PERSON_APPROVES = {
    "steward": {"review": False, "autoMerge": False},
    "director": {"headless": False},
}


def a_worker_that_asks(match: str, path: str) -> Script:
    return worker(
        match,
        [
            say(call("claim_task")),
            say(call("ask_director", question="Which format?"), until="JSON|YAML"),
            say(commit(path, "done")),
            say(call("request_merge", summary=f"Added {path}.")),
            say(),
        ],
    )


def a_director(name: str, *steps: Step) -> Script:
    # The client waits for a server a few seconds and then begins without its tools.
    ready = say(text="Ready.", until="plan the")
    return Script(match=f"hello {name}", attempts=((ready, *steps),))


def question_of(task: str) -> str:
    return f"{{{{any:(Q\\d+) waits for an answer: \\S+ asks about {task}:}}}}"


def request_of(task: str) -> str:
    return f"{{{{any:(M\\d+) waits for the person's word: {task} }}}}"


def plans(title: str) -> Step:
    return say(call("create_plan", title=title, tasks=[{"title": f"Write {title}"}]))


SCRIPTS = (
    a_worker_that_asks("the parser", "parser.txt"),
    a_worker_that_asks("the painter", "painter.txt"),
    a_director(
        "one",
        plans("the parser"),
        say(text="The parser is planned."),
        say(call("answer_question", question=question_of("T1"), answer="JSON.")),
        say(text="The parser is answered."),
        say(call("approve_merge", merge_request=request_of("T1"))),
        say(text="The parser is approved."),
    ),
    a_director(
        "other",
        plans("the painter"),
        say(text="The painter is planned."),
        say(text="Two questions wait."),
        say(call("answer_question", question=question_of("T1"), answer="YAML.")),
        say(
            call("answer_question", question=question_of("T2"), answer="YAML."),
            expect="was answered already, by person at .*: .JSON",
        ),
        say(text="One was answered before."),
        say(call("get_task", task="T1"), expect="T1 .+ landed"),
        # The client takes a moment to see that the server is back.
        say(call("get_task", task="T1"), until="merged"),
        say(call("approve_merge", merge_request=request_of("T2"))),
        say(text="The painter is approved."),
        say(text="Nothing more."),
    ),
)


def sf(project: Project, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sf_mcp.cli", *arguments],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=True,
    )
    return done.stdout


def at_a_terminal(project: Project, *command: str) -> Terminal:
    return Terminal(command, cwd=project.root, env=project.environment)


def sit_down(terminal: Terminal, api: ScriptedApi, name: str) -> str:
    """Wait until the session shows the fleet and has its tools; return its id."""
    terminal.wait_for(r"Stoneforge: \d running")
    for number in itertools.count(1):
        terminal.say(f"hello {name}")
        terminal.wait_for("● Ready", count=number)
        newest = [one for one in api.requests if f"hello {name}" in one.script][-1]
        if any(tool.endswith("__create_plan") for tool in newest.tools):
            return newest.session
    raise AssertionError


def ask(terminal: Terminal, words: str, *, answer: str) -> None:
    """Say something to the session, and wait until it has answered."""
    terminal.say(words)
    terminal.wait_for(f"● {answer}")


def approve(terminal: Terminal, words: str, *, about: str, answer: str) -> None:
    """Say something after which the session asks to approve a merge, and say yes to it."""
    terminal.say(words)
    shown = terminal.wait_for(r"This decides in your name\.[^\n]*")
    assert about in shown
    terminal.wait_for("Do you want to proceed")
    terminal.press_until("enter", f"● {answer}")


def statuses(project: Project) -> list[str]:
    return [view["status"] for view in project.call("list_merge_requests")]


def told(api: ScriptedApi, session: str, words: str) -> int:
    """Return how often the words stand in all that a session's model was told till the end."""
    last = [one for one in api.requests if one.session == session and one.script][-1]
    assert last.body is not None
    return last.body.decode().count(words)


def test_two_directors_plan_answer_and_approve_side_by_side(tmp_path: Path) -> None:
    config: dict[str, Any] = {"agents": PERSON_APPROVES}
    with running(tmp_path, *SCRIPTS, **config) as (project, api):
        know_the_person(project.home, project.root, api_key="sk-dummy")
        sf(project, "attach")
        fleet = project.start_fleet()
        with (
            at_a_terminal(project, sys.executable, "-m", "launcher", "director") as one,
            at_a_terminal(project, client_binary()) as other,
        ):
            first, second = sit_down(one, api, "one"), sit_down(other, api, "other")
            ask(one, "plan the parser", answer="The parser is planned")
            ask(other, "plan the painter", answer="The painter is planned")
            project.wait_for(lambda: len(project.call("list_questions")) == 2)

            ask(other, "what is new?", answer="Two questions wait")
            ask(one, "answer mine", answer="The parser is answered")
            ask(other, "answer both", answer="One was answered before")
            answers = {
                one["task_id"]: one["answer"] for one in project.call("list_questions", all=True)
            }
            assert answers == {"T1": "JSON.", "T2": "YAML."}

            def both_wait() -> bool:
                return [one[:25] for one in statuses(project)] == ["waiting for your approval"] * 2

            project.wait_for(both_wait)
            approve(
                one, "approve mine", about='T1 "Write the parser"', answer="The parser is approved"
            )
            project.wait_for_state("T1", "merged")
            assert project.state("T2") == "in_review"

            fleet.send_signal(signal.SIGTERM)
            fleet.wait(WAIT_SECONDS)
            project.stop_server()
            sf(project, "token", "--renew")
            project.start_server()
            approve(
                other,
                "approve yours",
                about='T2 "Write the painter"',
                answer="The painter is approved",
            )
            project.wait_for_state("T2", "merged")
            ask(other, "anything else?", answer="Nothing more")

        missed = [record.misses for record in api.requests if record.misses]
        assert missed == []
        for session in (first, second):
            assert told(api, session, "You direct the fleet") == 1
            assert told(api, session, "about T1") == 1
            assert told(api, session, "word: T1") == 1
        assert told(api, second, 'Write the parser\\" landed') == 1
        assert told(api, second, 'Write the painter\\" landed') == 1
        assert len(project.call("fleet_status")["directors"]) == 2

        sf(project, "detach")
        assert (
            git(project.root, "status", "--porcelain", "--ignored", "--", ".mcp.json", ".claude")
            == ""
        )
