"""A call that arrives twice has one effect: by the client's id of the tool use, and by nature."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import pytest

from sf_mcp.core.identity import PERSON, Caller
from sf_mcp.core.models import Role
from sf_mcp.core.states import TaskState
from tests.builders import (
    Project,
    a_merge_request,
    a_plan,
    a_project,
    a_proposal,
    a_steward,
    a_task,
    a_worker,
    write,
)
from tests.web.builders_server import (
    ERAS,
    Served,
    Tools,
    count,
    in_memory,
    over_http,
    served,
)

pytestmark = pytest.mark.anyio

DIRECTOR = Caller(role=Role.DIRECTOR, name="director-1")
HANDOFF = {"progress": "half", "remaining": "the rest", "next_step": "go on"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def _events(project: Project) -> int:
    return project.services.fleet.newest_event()


@pytest.mark.parametrize("mode", ERAS)
async def test_the_same_tool_use_has_one_effect_and_the_same_result(
    server: Served, mode: str
) -> None:
    project = server.project
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({f"{mode}.txt": "1\n"})
    async with over_http(server, Role.WORKER, worker.token, mode) as client:
        tools = Tools(client)
        for use_id, tool, arguments in (
            ("u1", "report_progress", {"message": "half"}),
            ("u2", "propose_task", {"title": "More"}),
            ("u3", "request_merge", {"summary": "done"}),
        ):
            first = await tools(tool, use_id=use_id, **arguments)
            seen = _events(project)
            assert await tools(tool, use_id=use_id, **arguments) == first
            assert _events(project) == seen


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("write_handoff", HANDOFF),
        ("release_task", {"reason": "no"}),
        ("request_merge", {"summary": "done"}),
    ],
)
async def test_a_repeated_end_of_the_work_is_answered_as_the_first_time(
    project: Project, tool: str, arguments: dict[str, str]
) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "1\n"})
    async with in_memory(project, worker.caller) as client:
        tools = Tools(client)
        first = await tools(tool, use_id="u", **arguments)
        # Not even looked at again: the files of the next session are not this one's.
        write(worker.cwd, {"b.txt": "2\n"})
        snapshots = project.forge.refs_below("refs/stoneforge/snapshots/")
        assert await tools(tool, use_id="u", **arguments) == first
        assert project.forge.refs_below("refs/stoneforge/snapshots/") == snapshots


async def test_calls_of_one_tool_use_that_arrive_together_have_one_effect(
    project: Project,
) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "1\n"})
    results: list[dict[str, Any]] = []
    async with in_memory(project, worker.caller) as client:

        async def ask() -> None:
            results.append(await Tools(client)("request_merge", use_id="u", summary="done"))

        async with anyio.create_task_group() as group:
            for _ in range(9):
                group.start_soon(ask)
    assert results == [results[0]] * 9
    assert count(project, "merge_requests") == 1


async def test_the_same_id_with_another_request_or_tool_is_refused(project: Project) -> None:
    worker = a_worker(project, a_task(project))
    async with in_memory(project, worker.caller) as client:
        tools = Tools(client)
        await tools("report_progress", use_id="u", message="half")
        words = await tools.refused("report_progress", use_id="u", message="all")
        assert words.startswith("Error executing tool report_progress: [idempotency_conflict] ")
        assert words.endswith("Make the call again as a new call.")
        seen = _events(project)
        assert "[idempotency_conflict]" in await tools.refused(
            "release_task", use_id="u", reason="no"
        )
        assert _events(project) == seen
    assert project.task(worker.task_id).state is TaskState.CLAIMED


async def test_two_sessions_may_use_the_same_id(project: Project) -> None:
    for title in ("One", "Two"):
        worker = a_worker(project, a_task(project, title))
        async with in_memory(project, worker.caller) as client:
            done = await Tools(client)("release_task", use_id="u", reason="no")
            assert done["outcome"] == f"{worker.task_id} is open again."


async def test_a_refused_call_may_be_made_again_with_its_id(project: Project) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    async with in_memory(project, worker.caller) as client:
        tools = Tools(client)
        assert "[invalid_input]" in await tools.refused("request_merge", use_id="u", summary="done")
        worker.commit({"a.txt": "1\n"})
        await tools("request_merge", use_id="u", summary="done")


async def test_without_an_id_what_ends_the_work_is_done_once(project: Project) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "1\n"})
    async with in_memory(project, worker.caller) as client:
        tools = Tools(client)
        assert await tools("claim_task") == await tools("claim_task")
        await tools("request_merge", summary="done")
        words = await tools.refused("request_merge", summary="done")
        assert words.startswith("Error executing tool request_merge: [stale_lease] ")
        assert "merge requested (M1)" in words
    assert count(project, "merge_requests") == 1


async def test_without_an_id_a_directors_repeated_calls_change_nothing_more(
    project: Project,
) -> None:
    plan = a_plan(project, "Draft", draft=True)
    first, second = a_task(project, "A"), a_task(project, "B")
    accepted, cancelled = a_proposal(project), a_task(project, "C")
    async with in_memory(project, DIRECTOR) as client:
        tools = Tools(client)
        calls: list[tuple[str, dict[str, Any]]] = [
            ("update_task", {"task": first, "priority": 2}),
            ("update_task", {"task": accepted, "accept": True}),
            ("set_dependencies", {"task": second, "add": [first]}),
            ("activate_plan", {"plan": plan}),
            ("cancel_plan", {"plan": plan}),
            ("cancel_task", {"task": cancelled}),
            ("pause_fleet", {"reason": "lunch"}),
            ("resume_fleet", {}),
        ]
        for tool, arguments in calls:
            await tools(tool, **arguments)
            before = _state(project)
            # Refused or carried out again: either way nothing is different afterwards.
            await client.call_tool(tool, arguments)
            assert _state(project) == before, tool


def _state(project: Project) -> list[Any]:
    with project.services.workspace.read() as tx:
        rows = [
            tuple(row)
            for table in ("plans", "tasks", "dependencies", "questions", "facts")
            for row in tx.db.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
        ]
    return rows


async def test_an_approval_that_arrives_again_is_the_same_approval(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\n")
    request = a_merge_request(project, a_task(project))
    project.run_train()
    steward = a_steward(project, request)
    async with in_memory(project, steward.caller) as client:
        tools = Tools(client)
        first = await tools("approve_merge", use_id="u", reason="It holds.")
        assert await tools("approve_merge", use_id="u", reason="It holds.") == first
    assert count(project, "reviews") == 1


async def test_the_persons_calls_are_told_apart_by_their_ids(project: Project) -> None:
    async with in_memory(project, PERSON) as client:
        tools = Tools(client)
        once = {"title": "Sprint", "tasks": [{"title": "A"}]}
        first = await tools("create_plan", use_id="u1", **once)
        assert await tools("create_plan", use_id="u1", **once) == first
        other = await tools("create_plan", use_id="u2", **{**once, "title": "Next"})
        assert other["plan"] != first["plan"]
    assert count(project, "plans") == 2
