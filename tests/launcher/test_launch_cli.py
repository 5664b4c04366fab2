"""`sf-launch`: what it finds, what it shows, when it ends, and what it becomes."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from launcher.cli.idle import judge
from launcher.cli.screen import Lines, event_line
from launcher.cli.table import draw
from launcher.settings import ClientUnusable, find_claude, find_root, require_claude
from sf_mcp.core.errors import NotAllowed, NotSetUp
from sf_mcp.core.layout import Layout
from tests.launcher.builders_project import (
    WAIT_SECONDS,
    Project,
    git,
    lands,
    running,
    worker,
)

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def an_overview(**changes: Any) -> dict[str, Any]:
    """Return an overview in which everything is done, but for `changes`."""
    return {
        "project": "acme",
        "paused": "",
        "parked_until": None,
        "parked_reason": "",
        "notes": [],
        "target": {
            "branch": "main",
            "commit": "0123456789abcdef",
            "is_green": True,
            "checkout": "up to date",
            "remedy": "",
        },
        "counts": {"merged": 3},
        "ready": 0,
        "blocked": 0,
        "plans": [],
        "stuck": [],
        "sessions": [],
        "merges": [],
        "questions": [],
        "cost_usd": 1.5,
        **changes,
    }


def a_session(**changes: Any) -> dict[str, Any]:
    return {
        "name": "worker-1",
        "subject": "T1",
        "title": "Add a file",
        "state": "running",
        "note": "",
        "is_turn_active": True,
        "context_tokens": 50_000,
        "context_window": 200_000,
        "last_line": "Bash: git status",
        "heard_at": "2026-11-22T11:59:57+00:00",
        **changes,
    }


def a_merge(status: str) -> dict[str, Any]:
    return {"id": "M1", "task_id": "T1", "title": "Add a file", "status": status}


def a_program(folder: Path, script: str) -> Path:
    path = folder / "claude"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# -- when there is nothing left to do --------------------------------------------------------------


@pytest.mark.parametrize(
    "overview",
    [
        an_overview(ready=1),
        an_overview(sessions=[a_session(state="starting")]),
        an_overview(sessions=[a_session(state="taken_over")]),
        # Given back by a person: its task is claimed, so that nothing is ready.
        an_overview(sessions=[a_session(state="backoff")]),
        an_overview(merges=[a_merge("waiting for its checks")]),
        an_overview(merges=[a_merge("waiting for review")]),
        an_overview(merges=[a_merge("next to land")]),
        an_overview(parked_until="2026-11-22T13:00:00+00:00"),
        an_overview(questions=[{"id": "Q1", "text": "?", "escalated": False}]),
    ],
)
def test_a_fleet_that_can_go_on_is_working(overview: dict[str, Any]) -> None:
    assert judge(overview, running=0).is_working


def test_a_fleet_with_everything_merged_is_done() -> None:
    assert judge(an_overview(), running=0).is_done
    assert judge(an_overview(), running=1).is_working


@pytest.mark.parametrize(
    ("overview", "told"),
    [
        (an_overview(paused="authentication: run sf resume", ready=2), "sf resume"),
        (an_overview(merges=[a_merge("waiting for your approval: sf mr approve M1")]), "approve"),
        (an_overview(merges=[a_merge("left to the person: sf mr show M1")]), "sf mr show"),
        (an_overview(merges=[a_merge("check tests could not start: no such file")]), "start"),
        (an_overview(questions=[{"id": "Q1", "text": "Pay?", "escalated": True}]), "Pay?"),
        (an_overview(counts={"stuck": 1}, stuck=[{"id": "T1", "title": "One"}]), "is stuck"),
        (
            an_overview(
                counts={"open": 1},
                plans=[{"id": "P1", "title": "One", "state": "draft", "done": 0, "total": 1}],
            ),
            "sf plan activate P1",
        ),
        (an_overview(counts={"open": 2}), "No task can be started"),
    ],
)
def test_a_fleet_that_waits_for_a_person_says_for_what(overview: dict[str, Any], told: str) -> None:
    judgement = judge(overview, running=0)

    assert not judgement.is_working
    assert told in " ".join(judgement.reasons)


# -- what people see -------------------------------------------------------------------------------


def test_the_table_shows_sessions_tasks_merges_and_the_servers_address() -> None:
    overview = an_overview(
        sessions=[a_session(), a_session(name="steward-1", subject="M1", state="parked")],
        merges=[a_merge("waiting for review")],
        questions=[{"id": "Q1", "text": "Which colour?", "escalated": True}],
        counts={"open": 4, "merged": 2},
        ready=1,
        blocked=3,
    )
    output = StringIO()
    console = Console(file=output, width=160, force_terminal=False)

    console.print(draw(overview, ["12:00:00 merged T7"], "http://127.0.0.1:7420", NOW))

    shown = output.getvalue()
    for told in (
        "http://127.0.0.1:7420",
        "4 open, 2 merged; 1 ready, 3 blocked",
        "in a turn",
        "3 s ago",
        "50,000 (25 %)",
        "Bash: git status",
        "waiting for review",
        "Q1 waits for you: Which colour?",
        "merged T7",
    ):
        assert told in shown


def test_the_table_says_until_when_it_rests_why_and_what_to_do() -> None:
    overview = an_overview(
        ready=1,
        parked_until="2026-11-22T13:00:00+00:00",
        parked_reason="a usage limit: You've hit your limit",
    )
    output = StringIO()
    Console(file=output, width=160).print(draw(overview, [], "", NOW))
    assert (
        "At rest until 2026-11-22 13:00 UTC: a usage limit: You've hit your limit. "
        "It goes on by itself then; at once: sf resume"
    ) in " ".join(output.getvalue().split())


def test_the_table_says_when_a_session_without_a_process_goes_on() -> None:
    note = "was killed 3 s ago; it is resumed in 12 s (attempt 3 of 5)"
    waiting = a_session(state="backoff", is_turn_active=False, note=note)
    output = StringIO()

    Console(file=output, width=160).print(draw(an_overview(sessions=[waiting]), [], "", NOW))

    assert "backoff" in output.getvalue()
    assert note in output.getvalue()


def test_text_of_a_model_is_no_markup_and_no_escape_on_the_screen() -> None:
    overview = an_overview(sessions=[a_session(title="[bold]x[/bold] [/]")])
    output = StringIO()

    Console(file=output, width=160).print(draw(overview, [], "", NOW))

    assert "[bold]x[/bold]" in output.getvalue()


def test_an_event_is_one_plain_line() -> None:
    event = {
        "number": 7,
        "at": "2026-11-22T12:00:01+00:00",
        "kind": "sent_back",
        "actor": "steward-1",
        "subject": "M1",
        "data": {
            "task": "T1",
            "reason": "two\nlines\x1b[31m",
            "nothing": None,
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "session": "7049959b-f255-4528-8fcb-ed09a25ee15f",
        },
    }

    assert event_line(event) == "12:00:01 sent back M1 (task T1, reason two, commit 0123456789ab)"


def test_lines_go_where_they_are_told() -> None:
    said: list[str] = []

    Lines(said.append).say("server_lost", "It is gone.")

    assert said[0].endswith("server lost: It is gone.")


# -- what it finds ---------------------------------------------------------------------------------


def test_claude_is_the_configured_one_else_from_path_else_the_sdks(tmp_path: Path) -> None:
    program = a_program(tmp_path, "echo 2.1.400")
    on_path = {"PATH": str(tmp_path)}

    assert find_claude(str(program), {"PATH": ""}) == str(program)
    assert find_claude(None, on_path) == str(program)
    assert find_claude(None, {"PATH": str(tmp_path / "empty")}).endswith("_bundled/claude")


def test_a_claude_that_prints_no_version_or_fails_is_refused_with_the_remedy(
    tmp_path: Path,
) -> None:
    program = a_program(tmp_path, "echo broken >&2; exit 1")

    with pytest.raises(ClientUnusable, match="broken") as refusal:
        require_claude(str(program), {"PATH": os.environ["PATH"]})

    assert "pip install" in refusal.value.remedy


def test_the_project_is_found_from_inside_it_and_from_a_linked_worktree(tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "config", "user.name", "A Person")
    git(root, "config", "user.email", "person@example.test")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "Start")
    git(root, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "linked"))
    layout = Layout(root)
    layout.folder.mkdir()
    layout.database.touch()

    assert find_root(root / "src", {}) == root
    assert find_root(tmp_path / "linked", {}) == root
    assert find_root(Path("/"), {"SF_ROOT": str(root)}) == root


def test_the_fleet_is_not_run_from_nowhere_nor_from_a_sessions_worktree(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    (layout.worktrees / "T1").mkdir(parents=True)
    with pytest.raises(NotSetUp, match="not set up"):
        find_root(tmp_path, {})

    layout.database.touch()

    with pytest.raises(NotAllowed, match="worktree"):
        find_root(layout.worktrees / "T1", {})


# -- the command -----------------------------------------------------------------------------------


def launch(
    project: Project, *arguments: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run `sf-launch` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "launcher", *arguments],
        cwd=project.root,
        env={**project.environment, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


def test_without_a_server_the_fleet_starts_its_own_and_ends_it(tmp_path: Path) -> None:
    with running(tmp_path, worker("", lands("a.txt"))) as (project, _):
        project.plan({"title": "One"})
        project.stop_server()

        done = launch(project, "--until-idle", CLAUDECODE="1", CLAUDE_CODE_ENTRYPOINT="cli")

        assert done.returncode == 0, done.stdout + done.stderr
        assert (project.root / "a.txt").exists()
        assert "merged T1" in done.stdout
        assert not project.layout.server.exists()
        assert not project.claude_pids()


def test_a_fleet_that_needs_a_person_says_so_with_its_exit_code(tmp_path: Path) -> None:
    agents = {"steward": {"review": False, "autoMerge": False}, "director": {"headless": False}}
    with running(tmp_path, worker("", lands("a.txt")), agents=agents) as (project, _):
        project.plan({"title": "One"})

        done = launch(project, "--until-idle", "--json")

        assert done.returncode == 4, done.stdout + done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        (needed,) = [line for line in lines if line["kind"] == "needs_a_person"]
        assert "sf mr approve M1" in needed["text"]


def test_the_director_becomes_claude_code_with_the_persons_token_nowhere_about_it(
    tmp_path: Path,
) -> None:
    program = a_program(
        tmp_path,
        'case "$1" in --version) echo "2.1.400 (Claude Code)"; exit;; esac\n'
        'for one in "$@"; do echo "arg $one"; done; env; pwd',
    )
    settings = {"claudePath": str(program)}
    with running(tmp_path / "here", orchestrator=settings) as (project, _):
        token = project.layout.person_token.read_text()

        done = launch(project, "director", CLAUDECODE="1")

        assert done.returncode == 0, done.stderr
        assert token not in done.stdout
        assert "token --headers" in done.stdout
        assert "/person/mcp" in done.stdout
        assert "CLAUDECODE" not in done.stdout
        assert done.stdout.splitlines()[-1] == str(project.root)


def test_the_director_without_a_server_is_told_to_start_one(tmp_path: Path) -> None:
    with running(tmp_path) as (project, _):
        project.stop_server()

        done = launch(project, "director")

        assert done.returncode == 3
        assert "sf serve" in done.stderr


def test_outside_a_project_the_fleet_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "launcher"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )

    assert done.returncode == 3
    assert "sf init" in done.stderr


def test_a_session_is_taken_over_in_a_terminal_only(tmp_path: Path) -> None:
    with running(tmp_path) as (project, _):
        done = subprocess.run(
            [sys.executable, "-m", "launcher", "session", "worker-1"],
            cwd=project.root,
            env=project.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_SECONDS,
        )
    assert done.returncode == 1
    assert "needs a terminal" in done.stderr
