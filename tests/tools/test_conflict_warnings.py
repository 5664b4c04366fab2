"""Both sides of a conflict are told of it, once, beside the result of their next tool call."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import Project, Worker, a_project, a_task, a_worker, git, write
from tests.web.builders_server import Served, Tools, in_memory, served

pytestmark = pytest.mark.anyio

APP = "src/app.py"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def two_at_work(project: Project) -> tuple[Worker, Worker]:
    one = a_worker(project, a_task(project, "Sort the list"), with_worktree=True)
    other = a_worker(project, a_task(project, "Count the list"), with_worktree=True)
    return one, other


async def told(worker: Worker, tool: str = "list_tasks") -> str:
    async with in_memory(worker.project, worker.caller) as client:
        return (await Tools(client)(tool)).get("context", "")


async def test_both_sides_are_told_once_with_the_others_lines(project: Project) -> None:
    one, other = two_at_work(project)
    one.commit({APP: "one\nsorted\nthree\n"})
    assert await told(one) == ""
    other.commit({APP: "one\ncounted\nthree\n"})
    hint = await told(other)
    assert f"conflicts with {one.task_id} (Sort the list)" in hint
    assert f"{APP}, theirs:\nsorted\n{APP}, yours:\ncounted\n" in hint
    assert await told(other) == ""
    hint = await told(one)
    assert f"conflicts with {other.task_id} (Count the list)" in hint
    assert f"{APP}, theirs:\ncounted\n{APP}, yours:\nsorted\n" in hint
    assert await told(one) == ""
    assert project.event_kinds(one.task_id).count("conflict_warned") == 1


async def test_a_commit_that_leaves_the_conflict_as_it_is_is_no_news(project: Project) -> None:
    one, other = two_at_work(project)
    one.commit({APP: "one\nsorted\nthree\n"})
    other.commit({APP: "one\ncounted\nthree\n"})
    assert await told(one)
    one.commit({"else.txt": "1\n"})
    assert await told(one) == ""
    one.commit({APP: "one\nsorted well\nthree\n"})
    assert "yours:\nsorted well" in await told(one)
    one.commit({APP: "one\ntwo\nthree\n"})
    assert await told(one) == ""


async def test_a_restart_tells_nobody_again_and_a_fresh_session_is_told(project: Project) -> None:
    one, other = two_at_work(project)
    one.commit({APP: "sorted\n"})
    other.commit({APP: "counted\n"})
    assert await told(one)
    project.reopen()
    assert await told(one) == ""
    one.hand_off()
    one.end()
    fresh = a_worker(project, one.task_id, with_worktree=True)
    assert "Count the list" in await told(fresh, "claim_task")


async def test_a_landing_that_comes_in_the_way_is_told(project: Project) -> None:
    one, other = two_at_work(project)
    one.commit({APP: "sorted\n"})
    other.commit({APP: "counted\n"})
    one.request_merge()
    one.end()
    hint = await told(other)
    assert f"{one.task_id} (Sort the list), finished and about to land" in hint
    project.run_train()
    project.services.radar.look()  # as the loop does at the event of a landing
    hint = await told(other)
    assert "conflicts with the target main" in hint
    assert "git merge origin/main" in hint


async def test_check_conflicts_tells_it_itself_and_counts_as_told(project: Project) -> None:
    one, other = two_at_work(project)
    one.commit({APP: "sorted\n"})
    other.commit({APP: "counted\n", "b": "\0binary"})
    async with in_memory(project, one.caller) as client:
        seen = await Tools(client)("check_conflicts")
    assert seen["hunks"] == [
        {
            "branch": f"{other.task_id} (Count the list)",
            "path": APP,
            "yours": "sorted",
            "theirs": "counted",
        }
    ]
    assert "context" not in seen
    assert await told(one) == ""
    one.commit({"b": "\0other"})
    async with in_memory(project, one.caller) as client:
        seen = await Tools(client)("check_conflicts")
    assert any("b" in sentence.split() for sentence in seen["said"])


def _hook(worker: Worker, server: Served, tool: str) -> str:
    body = {"hook_event_name": "PostToolUse", "tool_name": tool}
    answer: Any = server.post("/hooks", body, token=worker.token).json
    return answer.get("hookSpecificOutput", {}).get("additionalContext", "")


def test_the_commit_itself_is_answered_with_the_conflict(server: Served) -> None:
    one, other = two_at_work(server.project)
    one.commit({APP: "one\nsorted\nthree\n"})
    assert _hook(one, server, "Bash") == ""
    other.commit({APP: "one\ncounted\nthree\n"})
    assert "Sort the list" in _hook(other, server, "Bash")
    assert "Count the list" in _hook(one, server, "Read")
    assert _hook(other, server, "Bash") == _hook(one, server, "Bash") == ""


async def test_one_that_only_has_files_lying_about_is_told_of_them_once_they_are_kept(
    project: Project,
) -> None:
    one, other = two_at_work(project)
    write(one.cwd, {APP: "sorted\n"})
    other.commit({APP: "counted\n"})
    assert await told(other) == ""
    project.services.snapshots.take(one.task_id, "turn's end")
    project.services.radar.look()
    assert "Sort the list" in await told(other)
    assert git(one.cwd, "status", "--porcelain") == f"M {APP}"
