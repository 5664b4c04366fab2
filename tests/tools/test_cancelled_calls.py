"""A client that gives up on a call, or dies in it, holds nobody up."""

import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import Role
from sf_mcp.core.states import QuestionState
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.tools import director as director_tools
from tests.builders import a_project, a_task, a_worker, some_tasks
from tests.web.builders_server import (
    ERAS,
    SECONDS,
    Served,
    Tools,
    answer,
    in_memory,
    over_http,
    served,
    the_question,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


def _slow(gate: Path) -> str:
    """Checks that run until the file is there, and say so when they have begun."""
    run = f"touch {gate}.begun; until test -e {gate}; do sleep 0.02; done"
    return f'checks: [{{name: slow, run: "{run}"}}]\n'


async def _until_there(path: Path) -> None:
    with anyio.fail_after(SECONDS):
        while not path.exists():  # noqa: ASYNC110 - made by a process of its own
            await anyio.sleep(0.01)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_wait_that_is_given_up_leaves_the_question_open(tmp_path: Path, mode: str) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    question = "Q1"
    async with in_memory(project, worker.caller, mode) as client:
        tools = Tools(client)
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                await tools("ask_director", question="Which?")

            group.start_soon(ask)
            await the_question(project)
            group.cancel_scope.cancel()
        assert project.question(question).state is QuestionState.OPEN
        assert (await tools("report_progress", message="going on"))["outcome"] == "Noted."
        answer(project, question, "The left one.")
        again = await tools("ask_director", question="Which?")
        assert (again["question"], again["answer"]) == (question, "The left one.")


@pytest.mark.parametrize("mode", ERAS)
async def test_checks_that_nobody_waits_for_any_more_are_waited_for_again(
    tmp_path: Path, mode: str
) -> None:
    gate = tmp_path / "gate"
    project = a_project(tmp_path, config=_slow(gate))
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "1\n"})
    async with in_memory(project, worker.caller, mode) as client:
        tools = Tools(client)
        async with anyio.create_task_group() as group:

            async def check() -> None:
                await tools("run_checks")

            group.start_soon(check)
            await _until_there(Path(f"{gate}.begun"))
            group.cancel_scope.cancel()
        Path(f"{gate}.begun").unlink()
        assert (await tools("report_progress", message="going on"))["outcome"] == "Noted."
        gate.touch()
        assert (await tools("run_checks"))["status"] == "passed"
    # The first run was the only one.
    assert not Path(f"{gate}.begun").exists()


@pytest.mark.parametrize("mode", ERAS)
async def test_clients_that_die_while_they_wait_leave_room_for_others(
    server: Served, mode: str
) -> None:
    """More of them than there are threads."""
    project = server.project
    newest = project.services.fleet.newest_event()
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            async with over_http(server, Role.PERSON, server.person, mode) as client:
                await Tools(client)("wait_for_events", after=newest)

        for _ in range(12):
            group.start_soon(wait)
        await anyio.sleep(0.2)  # not for any of them in particular
        group.cancel_scope.cancel()
    worker = a_worker(project, a_task(project, f"Task {mode}"))
    async with over_http(server, Role.WORKER, worker.token, mode) as client:
        tools = Tools(client)
        assert (await tools("claim_task"))["task"] == worker.task_id
        assert (await tools("report_progress", message="going on"))["outcome"] == "Noted."
    assert server.ask("fleet_status").status == 200


async def test_a_change_whose_caller_is_gone_is_made_wholly_or_not_at_all(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    some_tasks(project, TaskDraft(title="First"))
    tasks: list[dict[str, Any]] = [{"title": f"Task {number}"} for number in range(200)]
    async with in_memory(project, PERSON) as client:
        tools = Tools(client)
        for number in range(4):
            title = f"Plan of {number}"
            with anyio.move_on_after(0.005 * number):
                await tools("create_plan", use_id=f"u{number}", title=title, tasks=tasks)
            # The same call again: it has its effect once, whatever became of the first.
            made = await tools("create_plan", use_id=f"u{number}", title=title, tasks=tasks)
            assert made["total"] == 200
        listed = await tools("list_tasks")
    assert listed["total"] == 1 + 4 * 200
    assert len(project.services.plans.list_plans(PERSON)) == 1 + 4


@pytest.mark.parametrize("mode", ERAS)
async def test_a_wait_shows_that_it_goes_on_and_ends_with_its_caller(
    server: Served, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(director_tools, "PROGRESS_SECONDS", 0.02)
    project = server.project
    heard, is_over = anyio.Event(), threading.Event()
    wait_for = project.services.notices.wait_for

    async def noting(*arguments: Any, **more: Any) -> Any:
        try:
            return await wait_for(*arguments, **more)
        finally:
            is_over.set()

    monkeypatch.setattr(project.services.notices, "wait_for", noting)

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.set()

    async with (
        over_http(server, Role.PERSON, server.person, mode) as client,
        anyio.create_task_group() as group,
    ):

        async def wait() -> None:
            await client.call_tool("wait_for_events", {}, progress_callback=hear)

        group.start_soon(wait)
        with anyio.fail_after(SECONDS):
            await heard.wait()
        assert not is_over.is_set()
        group.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(is_over.wait, SECONDS)
