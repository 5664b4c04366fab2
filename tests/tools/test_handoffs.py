"""Handing off through the tools: what the next session is shown, what a full one may still do."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from sf_mcp.core.models import Role, TaskId
from sf_mcp.core.states import TaskState
from sf_mcp.service.drafts import TaskDraft
from tests.builders import Project, a_project, a_task, a_worker, some_tasks, write
from tests.web.builders_server import Served, Tools, in_memory, over_http, served, text_of

pytestmark = pytest.mark.anyio

ASK, RESTRICT = 140_000, 160_000
MOST_CHARACTERS = 4_000 * 3.5
TEXTS = {"progress": "p", "remaining": "r", "next_step": "n"}
CRITERIA = ("It reads", "It writes")
OTHERS = ("claim_task", "list_tasks", "why", "check_conflicts", "run_checks")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def a_task_with_criteria(project: Project, **more: Any) -> TaskId:
    (task,) = some_tasks(project, TaskDraft(title="A parser", acceptance=CRITERIA, **more))
    return task


async def handed_off(project: Project, task: TaskId, **texts: Any) -> None:
    worker = a_worker(project, task, with_worktree=True)
    async with in_memory(project, worker.caller) as client:
        await Tools(client)("write_handoff", **{**TEXTS, **texts})
    worker.end()


async def brief_of(project: Project, task: TaskId) -> dict[str, Any]:
    worker = a_worker(project, task, with_worktree=True)
    async with in_memory(project, worker.caller) as client:
        brief = await Tools(client)("claim_task")
    worker.end()
    assert len(json.dumps(brief, ensure_ascii=False)) < MOST_CHARACTERS
    return brief


# -- what the next session is shown ----------------------------------------------------------------


async def test_the_brief_says_which_criteria_are_met_and_where_the_branch_stands(
    project: Project,
) -> None:
    task = a_task_with_criteria(project)
    first = a_worker(project, task, with_worktree=True)
    commit = first.commit({"src/parser.py": "x\n"}, "Read numbers")
    write(first.cwd, {"draft.txt": "half\n"})
    async with in_memory(project, first.caller) as client:
        brief = await Tools(client)("claim_task")
        assert (brief["met"], brief["found"], brief["handoffs"]) == ([], None, [])
        await Tools(client)("write_handoff", **TEXTS, criteria_met=[2])
    first.end()

    brief = await brief_of(project, task)

    assert brief["acceptance"] == list(CRITERIA)
    assert brief["met"] == ["2, says worker-1"]
    assert "Criteria it says are met: 2" in brief["handoffs"][0]
    assert brief["found"]["commits"] == [f"{commit[:12]} Read numbers"]
    assert brief["found"]["uncommitted"] == ["draft.txt"]
    assert brief["found"]["snapshot"].startswith("number 1: git show ")
    assert brief["found"]["in_the_way"] == ""


async def test_after_twelve_sessions_the_newest_words_are_whole_and_the_oldest_are_counted(
    project: Project,
) -> None:
    task = a_task_with_criteria(project)
    for number in range(1, 13):
        await handed_off(project, task, progress=f"Session {number}. " + "word " * 500)

    brief = await brief_of(project, task)

    newest, *older = brief["handoffs"]
    assert newest.startswith("Progress: Session 12. " + "word " * 499)
    assert "Next step: n" in newest
    assert [line[:20] for line in older[:8]] == [
        f"Progress: Session {number}."[:20] for number in range(11, 3, -1)
    ]
    assert all(len(line) <= 800 for line in older)
    assert older[8:] == [f"… and 3 older ones: get_task('{task}') has them."]
    assert brief["note"] == ""
    worker = a_worker(project, task)
    async with in_memory(project, worker.caller) as client:
        pages: list[str] = []
        while True:
            page = await Tools(client)("get_task", task=task, page=len(pages) + 1)
            pages.append(page["text"])
            if len(pages) == page["pages"]:
                break
    assert all(f"Session {number}. word" in "".join(pages) for number in range(1, 13))


async def test_older_handoffs_give_way_before_the_newest_is_cut(project: Project) -> None:
    task = a_task_with_criteria(project, description="d" * 3_000)
    for _ in range(9):
        await handed_off(project, task, progress="old " * 500)
    await handed_off(project, task, progress="new " * 1_200)

    brief = await brief_of(project, task)

    assert "new " * 1_199 in brief["handoffs"][0]
    assert all(len(line) <= 400 for line in brief["handoffs"][1:])
    assert len(brief["handoffs"]) == 10
    assert brief["note"] == ""


@pytest.mark.parametrize("numbers", [[0], [3], [-1, 1]])
async def test_a_criterion_that_there_is_not_is_named_and_nothing_is_handed_off(
    project: Project, numbers: list[int]
) -> None:
    task = a_task_with_criteria(project)
    worker = a_worker(project, task)
    async with in_memory(project, worker.caller) as client:
        told = await Tools(client).refused("write_handoff", **TEXTS, criteria_met=numbers)

    assert f"but {task} has criteria 1 to 2" in told
    assert project.task(task).state is TaskState.CLAIMED


async def test_of_two_handoffs_at_once_one_is_taken_and_the_other_is_told(server: Served) -> None:
    for _ in range(3):
        worker = a_worker(server.project, a_task(server.project), with_worktree=True)
        write(worker.cwd, {"half.txt": "half\n"})
        results: list[str] = []

        async with (
            over_http(server, Role.WORKER, worker.token) as client,
            anyio.create_task_group() as group,
        ):
            for use_id in ("u1", "u2"):
                group.start_soon(_hand_off, client, use_id, results)

        taken, told = sorted(results, key=lambda text: "[stale_lease]" in text)
        assert f"{worker.task_id} is handed off." in taken
        assert "[stale_lease]" in told
        assert "handed off" in told
        (kept,) = server.project.services.queries.get_task(worker.caller, worker.task_id).handoffs
        assert kept.snapshot is not None


async def _hand_off(client: Client, use_id: str, results: list[str]) -> None:
    meta: Any = {"claudecode/toolUseId": use_id}
    results.append(text_of(await client.call_tool("write_handoff", dict(TEXTS), meta=meta)))


# -- what a full session may do --------------------------------------------------------------------


async def test_a_tools_result_asks_for_the_handoff_as_the_hook_does(server: Served) -> None:
    worker = a_worker(server.project, a_task(server.project), with_worktree=True)
    async with over_http(server, Role.WORKER, worker.token) as client:
        tools = Tools(client)
        worker.hear(tokens=ASK - 1)
        assert "context" not in await tools("report_progress", message="half")

        worker.hear(tokens=ASK)
        told = await tools("report_progress", message="half")

        assert told["outcome"] == "Noted."
        assert "140,000 tokens" in told["context"]
        assert "write_handoff" in told["context"]
        assert told["context"] in text_of(tools.seen[-1])
        assert "context" not in await tools("write_handoff", **TEXTS)


async def test_past_the_second_threshold_a_tool_that_goes_on_is_not_carried_out(
    server: Served,
) -> None:
    worker = a_worker(server.project, a_task(server.project), with_worktree=True)
    async with over_http(server, Role.WORKER, worker.token) as client:
        tools = Tools(client)
        worker.hear(tokens=RESTRICT)
        told = await tools.refused("report_progress", message="half")
        assert "[context_full]" in told
        assert "160,000 tokens" in told
        assert "Call write_handoff now" in told
        for tool in OTHERS:
            arguments = {"task": worker.task_id} if tool == "why" else {}
            assert "[context_full]" in await tools.refused(tool, **arguments)
        for tool, text in (("ask_director", "question"), ("release_task", "reason")):
            assert "[context_full]" in await tools.refused(tool, **{text: "x"})
        assert "[context_full]" in await tools.refused("propose_task", title="x")
        assert server.project.task(worker.task_id).state is TaskState.CLAIMED

        shown = await tools("get_task", task=worker.task_id)
        assert "Call write_handoff now" in shown["context"]
        await tools("write_handoff", **TEXTS)
    assert server.project.task(worker.task_id).state is TaskState.OPEN


async def test_finished_work_is_handed_in_however_full_the_context_is(server: Served) -> None:
    worker = a_worker(server.project, a_task(server.project), with_worktree=True)
    worker.commit({f"src/{worker.task_id}.py": "x\n"})
    worker.hear(tokens=199_000)
    async with over_http(server, Role.WORKER, worker.token) as client:
        done = await Tools(client)("request_merge", summary="It is done.")

    assert "context" not in done
    assert server.project.task(worker.task_id).state is TaskState.IN_REVIEW
