"""The fleet with the real Claude Code, the real server and a scripted model."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from launcher.rehearsal.messages import RequestKind
from launcher.rehearsal.script import Script
from sf_mcp.core.models import Role
from tests.launcher.builders_project import (
    WAIT_SECONDS,
    Project,
    call,
    commit,
    git,
    lands,
    running,
    say,
    worker,
)
from tests.launcher.client_harness import client_binary

EVERYONES = {"get_task", "list_tasks", "why"}
TOOLS_OF = {
    # Design section 5.
    Role.WORKER: EVERYONES
    | {"claim_task", "report_progress", "write_handoff", "ask_director", "check_conflicts"}
    | {"run_checks", "request_merge", "release_task", "propose_task"},
    Role.STEWARD: EVERYONES
    | {"claim_review", "approve_merge", "send_back", "escalate"}
    | {"claim_conflict", "submit_resolution"},
    Role.DIRECTOR: EVERYONES
    | {"create_plan", "add_tasks", "update_task", "set_dependencies", "activate_plan"}
    | {"cancel_plan", "cancel_task", "retry_task", "list_questions", "answer_question"}
    | {"escalate", "list_merge_requests", "fleet_status", "read_log", "wait_for_events"}
    | {"pause_fleet", "resume_fleet"},
}
EVERY_TOOL = {tool for tools in TOOLS_OF.values() for tool in tools}


def transcripts(project: Project) -> str:
    """Return all that the clients of the project's person have written of conversations."""
    folder = project.home / ".claude" / "projects"
    return "".join(path.read_text("utf-8", "replace") for path in folder.rglob("*.jsonl"))


def test_one_worker_claims_a_task_and_its_commit_lands_in_the_persons_checkout(
    tmp_path: Path,
) -> None:
    with running(tmp_path, worker("Add a file", lands("hello.txt", "hello"))) as (project, api):
        (task,) = project.plan({"title": "Add a file"})
        project.start_fleet("--attached")

        project.wait_for_state(task, "merged")
        # The branch moves last, when the files are there.
        project.wait_for(
            lambda: "Task: T1" in git(project.root, "log", "-1", "--format=%B", "main")
        )

        assert (project.root / "hello.txt").read_text() == "hello"
        project.wait_for(lambda: project.ends() == ["merge_requested"])
        assert not project.claude_pids()
        assert not api.misses


def test_three_workers_work_at_the_same_time(tmp_path: Path) -> None:
    # The others start when the model has answered the first.
    commits = say(commit("{{any:Your task is (T[0-9]+)}}", "done"), together=3)
    steps = [say(call("claim_task")), commits, *lands("{{any:Your task is (T[0-9]+)}}")[2:]]
    with running(tmp_path, worker("", steps)) as (project, api):
        tasks = project.plan(*({"title": f"File {number}"} for number in range(3)))
        project.start_fleet("--attached")

        project.wait_for(lambda: {project.state(task) for task in tasks} == {"merged"})

        # The second answer of each was held back until all three had asked for it.
        assert api.max_concurrent(Role.WORKER) == 3
        assert not api.misses
        names = {session["name"] for session in project.sessions()}
        assert names == {"worker-1", "worker-2", "worker-3"}
        project.wait_for(lambda: all((project.root / task).exists() for task in tasks))


def test_a_dependent_starts_when_its_dependency_has_landed_and_sees_its_work(
    tmp_path: Path,
) -> None:
    first = worker("Lay the ground", lands("ground.txt", "ground"))
    reads = [
        say(call("claim_task"), expect="Your task is T2"),
        say(call("Bash", command="cat ground.txt", description="read"), expect="Added ground"),
        say(commit("house.txt", "house"), expect="ground"),
        *lands("house.txt")[2:],
    ]
    with running(tmp_path, first, worker("Build on it", reads)) as (project, api):
        tasks = project.plan(
            {"title": "Lay the ground", "key": "a"}, {"title": "Build on it", "depends_on": ["a"]}
        )
        project.start_fleet("--attached")

        project.wait_for_state(tasks[1], "merged")

        assert not api.misses


def test_a_goal_is_planned_by_a_director_done_by_a_worker_and_approved_by_a_steward(
    tmp_path: Path,
) -> None:
    """Each role sees exactly its own tools, in the requests that the client itself sent."""
    plans = [
        say(
            call(
                "create_plan",
                title="Greeting",
                tasks=[{"title": "Add a greeting", "acceptance": ["greeting.txt says hello"]}],
            ),
            expect="Plan this goal",
        ),
        say(call("answer_question", question="Q1", answer="One task: T1."), expect="T1"),
        say(),
    ]
    reviews = [
        say(call("claim_review"), expect="Review merge request M1"),
        say(call("approve_merge", reason="greeting.txt:1 says hello"), expect="greeting.txt"),
        say(),
    ]
    scripts = (
        Script(role=Role.DIRECTOR, attempts=(tuple(plans),)),
        worker("Add a greeting", lands("greeting.txt", "hello")),
        Script(role=Role.STEWARD, attempts=(tuple(reviews),)),
    )
    agents = {"steward": {"review": True}, "director": {"headless": True}}
    with running(tmp_path, *scripts, agents=agents) as (project, api):
        fleet = project.start_fleet("--goal", "Greet the world", "--until-idle")

        assert fleet.wait(WAIT_SECONDS) == 0, project.story()

        assert (project.root / "greeting.txt").read_text() == "hello"
        assert not api.misses
        for role, tools in TOOLS_OF.items():
            offered = next(r for r in api.requests if r.role is role and r.tools).tools
            ours = {name.removeprefix("mcp__sf__") for name in offered if "mcp__" in name}
            assert ours == tools
        # The client's own stand-in for tools that it loads later; it does nothing.
        reading = {"Read", "Grep", "Glob", "DeferredToolPlaceholder"}
        for role in (Role.STEWARD, Role.DIRECTOR):
            offered = next(r for r in api.requests if r.role is role and r.tools).tools
            assert {name for name in offered if "mcp__" not in name} == reading


def test_a_token_opens_its_own_roles_tools_and_no_other(tmp_path: Path) -> None:
    """The launcher's own way to the tokens; the calls are made without any client."""
    agents = {"steward": {"review": True}, "director": {"headless": True}}
    with running(tmp_path, agents=agents) as (project, _):
        project.plan({"title": "One"})
        tokens: dict[Role, str] = {}

        def take(role: Role) -> Any:
            order: Any = None

            def is_there() -> bool:
                nonlocal order
                order = project.call("poll", running=[], seconds=1)["order"]
                return order is not None

            project.wait_for(is_there)
            assert order["session"]["role"] == role.value
            tokens[role] = order["token"]
            return order

        worktree = Path(take(Role.WORKER)["cwd"])
        (worktree / "a.txt").write_text("a")
        git(worktree, "add", "--all")
        git(worktree, "-c", "user.name=A", "-c", "user.email=a@b.test", "commit", "-qm", "A")
        status, answer = project.call_tool(
            Role.WORKER, tokens[Role.WORKER], "request_merge", summary="Done"
        )
        assert (status, "M1 is open" in answer) == (200, True), answer
        take(Role.STEWARD)
        project.call("set_goal", goal="More")
        take(Role.DIRECTOR)

        for role, own in TOOLS_OF.items():
            status, answer = project.call_tool(role, tokens[role], "list_tasks")
            assert (status, '"isError":true' in answer) == (200, False), answer
            for other in {*TOOLS_OF, Role.PERSON} - {role}:
                status, _ = project.call_tool(other, tokens[role], "list_tasks")
                assert status in {401, 403}
            for foreign in EVERY_TOOL - own:
                status, answer = project.call_tool(role, tokens[role], foreign)
                assert status != 200 or "Unknown tool" in answer, (role, foreign, answer)


def test_work_that_a_steward_sends_back_is_repaired_by_the_next_worker(tmp_path: Path) -> None:
    repairs = [
        say(call("claim_task")),
        say(commit("hello.txt", "hello"), expect="hello.txt:1 has a typo"),
        *lands("hello.txt")[2:],
    ]
    sends_back = [
        say(call("claim_review")),
        say(call("send_back", reason="hello.txt:1 has a typo: helo")),
        say(),
    ]
    approves = [say(call("claim_review")), say(call("approve_merge", reason="Right.")), say()]
    scripts = (
        worker("Add a file", lands("hello.txt", "helo"), repairs),
        Script(role=Role.STEWARD, attempts=(tuple(sends_back), tuple(approves))),
    )
    agents = {"steward": {"review": True}, "director": {"headless": False}}
    with running(tmp_path, *scripts, agents=agents) as (project, api):
        (task,) = project.plan({"title": "Add a file"})
        project.start_fleet("--attached")

        project.wait_for_state(task, "merged")
        project.wait_for(lambda: (project.root / "hello.txt").exists())

        assert (project.root / "hello.txt").read_text() == "hello"
        assert not api.misses
        project.wait_for(
            lambda: project.ends() == ["merge_requested", "done", "merge_requested", "done"]
        )


def test_an_idle_fleet_makes_no_model_request(tmp_path: Path) -> None:
    with running(tmp_path) as (project, api):
        fleet = project.start_fleet("--until-idle")

        assert fleet.wait(WAIT_SECONDS) == 0, project.story()

        assert not api.requests


def test_a_refused_login_pauses_the_fleet_with_the_remedy_and_is_not_tried_again(
    tmp_path: Path,
) -> None:
    refused = [say(error=401, message="invalid x-api-key", times=100)]
    with running(tmp_path, worker("", refused)) as (project, api):
        project.plan({"title": "One"})
        fleet = project.start_fleet("--until-idle")

        assert fleet.wait(WAIT_SECONDS) == 4, project.story()

        paused = project.call("fleet_status")["paused"]
        assert "log in" in paused
        assert "sf resume" in paused
        assert "sf resume" in project.output()
        assert len(project.sessions()) == 1
        # The client itself asks once more.
        assert api.count(RequestKind.MAIN) <= 2


def test_ctrl_c_interrupts_the_sessions_keeps_their_files_and_leaves_no_process(
    tmp_path: Path,
) -> None:
    works = [
        say(call("claim_task")),
        say(call("Bash", command="echo half > half.txt; sleep 300", description="work")),
    ]
    with running(tmp_path, worker("", works)) as (project, _):
        (task,) = project.plan({"title": "One"})
        fleet = project.start_fleet("--attached")
        half = project.layout.worktrees / task / "half.txt"
        project.wait_for(half.exists)
        assert len(project.all_processes()) > 1

        fleet.send_signal(signal.SIGINT)

        assert fleet.wait(15) == 0, project.story()
        assert not project.all_processes()
        assert project.ends() == ["stopped"]
        assert project.state(task) == "open"
        kept = git(project.layout.forge, "for-each-ref", "refs/stoneforge/snapshots")
        assert kept


def test_a_launcher_whose_server_died_before_it_began_ends_by_itself(tmp_path: Path) -> None:
    """Else it would run on beside the next server, and no Ctrl-C there would end it."""
    with running(tmp_path, worker("", [say(text="done")])) as (project, _):
        ended = subprocess.Popen(["/bin/true"])
        ended.wait()

        fleet = project.start_fleet("--attached", f"--parent={ended.pid}")

        assert fleet.wait(15) == 0, project.story()
        assert "The server's process has ended." in project.output()


def test_a_second_ctrl_c_ends_at_once_what_does_not_end_by_itself(tmp_path: Path) -> None:
    """Through a stand-in for a client that hangs and heeds nothing but KILL."""
    program = tmp_path / "claude"
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in --version) exec "$REAL" --version;; esac\n'
        "trap '' TERM INT\n"
        "while :; do sleep 1; done\n"
    )
    program.chmod(0o755)
    settings = {"claudePath": str(program)}
    with running(tmp_path / "here", orchestrator=settings) as (project, _):
        (task,) = project.plan({"title": "One"})
        fleet = project.start_fleet("--attached", REAL=client_binary())
        project.wait_for(lambda: project.events("session_started"))

        fleet.send_signal(signal.SIGINT)
        project.wait_for(lambda: "fleet_stopping" in project.output())
        fleet.send_signal(signal.SIGINT)

        # One alone takes 13 s here: 5 for the turn, 5 for the exit, 3 after TERM.
        assert fleet.wait(9) == 0, project.story()
        assert not project.all_processes()
        assert project.state(task) == "open"


def test_a_killed_launcher_is_followed_by_one_that_ends_what_it_left_and_resumes_it(
    tmp_path: Path,
) -> None:
    goes_on = [
        say(call("claim_task")),
        say(
            call("Bash", command="touch begun; sleep 300", description="work"),
            unless="the launcher was restarted",
        ),
        say(commit("done.txt", "done"), expect="Bash: touch begun; sleep 300 was interrupted"),
        *lands("done.txt")[2:],
    ]
    with running(tmp_path, worker("", goes_on)) as (project, api):
        (task,) = project.plan({"title": "One"})
        fleet = project.start_fleet("--attached")
        begun = project.layout.worktrees / task / "begun"
        project.wait_for(begun.exists)

        os.kill(fleet.pid, signal.SIGKILL)
        fleet.wait(5)
        left = project.claude_pids()
        assert left
        project.start_fleet("--attached")

        project.wait_for_state(task, "merged")
        assert not set(left) & set(project.claude_pids())
        assert project.ends()[0] == "stopped"
        assert "restarted" in project.events("session_ended")[0]["data"]["detail"]
        # The same session, in its second process, which has its conversation still.
        (session,) = project.sessions()
        assert session["starts"] == 2
        resumed = next(r.body or b"" for r in api.requests if b"was restarted" in (r.body or b""))
        assert b"claim_task" in resumed
        assert not api.misses


def test_a_worker_killed_in_a_call_that_was_recorded_is_told_and_does_not_repeat_it(
    tmp_path: Path,
) -> None:
    """The client itself can only say that the outcome of the call is unknown [2.1.330]."""
    recorded = "report_progress was interrupted: the server has recorded it: Noted"
    steps = [
        say(call("claim_task")),
        say(call("report_progress", message="Half of it."), unless=recorded),
        say(commit("done.txt", "done"), expect="Do not repeat it"),
        *lands("done.txt")[2:],
    ]
    with running(tmp_path, worker("", steps)) as (project, api):
        (task,) = project.plan({"title": "One"})
        project.hold("report_progress")
        project.start_fleet("--attached")
        project.wait_for(lambda: project.events("progress"))
        # The client writes its transcript a moment later than it goes on.
        project.wait_for(lambda: "tokens_left" in transcripts(project))
        (session,) = project.sessions()

        os.kill(session["pid"], signal.SIGKILL)
        project.wait_for(lambda: project.events("session_resumed"))
        project.let_go("report_progress")

        project.wait_for_state(task, "merged")
        assert len(project.events("progress")) == 1
        assert [one["id"] for one in project.sessions()] == [session["id"]]
        resumed = next(r.body or b"" for r in api.requests if recorded.encode() in (r.body or b""))
        # The brief that it had claimed is still in its conversation.
        assert b"tokens_left" in resumed
        assert not api.misses


def test_a_conversation_that_is_gone_is_followed_by_a_fresh_session_and_costs_no_failure(
    tmp_path: Path,
) -> None:
    works = [
        say(call("claim_task")),
        say(call("Bash", command="touch begun; sleep 300", description="work")),
    ]
    with running(tmp_path, worker("", works, lands("done.txt"))) as (project, _):
        (task,) = project.plan({"title": "One"})
        fleet = project.start_fleet("--attached")
        begun = project.layout.worktrees / task / "begun"
        project.wait_for(begun.exists)
        fleet.send_signal(signal.SIGINT)
        assert fleet.wait(WAIT_SECONDS) == 0, project.story()
        (session,) = project.sessions()
        assert session["state"] == "backoff"

        shutil.rmtree(project.home / ".claude" / "projects")
        project.start_fleet("--attached")

        project.wait_for_state(task, "merged")
        project.wait_for(
            lambda: project.ends() == ["stopped", "conversation_lost", "merge_requested"]
        )
        lost, fresh = project.sessions()
        assert lost["id"] == session["id"] != fresh["id"]
        assert "No conversation found" in lost["end_detail"]
        # What the first one had left in the worktree was there for the second.
        project.wait_for(lambda: (project.root / "begun").exists())


def test_sessions_outlast_a_restart_of_the_server(tmp_path: Path) -> None:
    steps = [say(call("claim_task"), wait_for="server is back"), *lands("a.txt")[1:]]
    with running(tmp_path, worker("", steps)) as (project, api):
        (task,) = project.plan({"title": "One"})
        project.start_fleet("--attached")
        assert api.wait_until(lambda api: bool(api.waiting_at("server is back")), WAIT_SECONDS)

        project.stop_server()
        project.wait_for(lambda: "server_lost" in project.output())
        project.start_server()
        api.open_barrier("server is back")

        project.wait_for_state(task, "merged")
        assert "server_back" in project.output()
        assert len(project.sessions()) == 1


def test_a_second_launcher_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    with running(tmp_path) as (project, _):
        first = project.start_fleet()
        project.wait_for(lambda: "fleet_started" in project.output())

        second = project.start_fleet()

        assert second.wait(WAIT_SECONDS) == 1
        assert "already_running" in project.output()
        assert f"process {first.pid}" in project.output()


@pytest.mark.parametrize("binary", ["missing", "too old"])
def test_a_fleet_without_a_usable_claude_code_says_what_to_install(
    tmp_path: Path, binary: str
) -> None:
    old = tmp_path / "claude"
    if binary == "too old":
        old.write_text("#!/bin/sh\necho '1.0.2 (Claude Code)'\n")
        old.chmod(0o755)
    with running(tmp_path, orchestrator={"claudePath": str(old)}) as (project, _):
        fleet = project.start_fleet("--attached")

        assert fleet.wait(WAIT_SECONDS) == 78
        assert "client_unusable" in project.output()
        assert str(old) in project.output()
