"""Waiting for a change: what happens before or while one begins to wait is seen all the same.

Row 30 of the known defects: an end that came before anybody listened for it was lost.
"""

from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from sf_mcp.core.models import Session
from sf_mcp.core.states import SessionState
from tests.builders import Project, Worker, a_project, a_task, a_worker

BOUND_SECONDS = 5.0
FOR_EVER = 3600.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def ended(worker: Worker) -> Session | None:
    session = worker.project.session(worker.session.id)
    return session if session.state is SessionState.EXITED else None


def a_worker_waited_for(project: Project) -> Worker:
    project.services.notices.attach()
    return a_worker(project, a_task(project))


async def test_an_end_before_anyone_waits_is_seen_at_once(tmp_path: Path) -> None:
    worker = a_worker_waited_for(a_project(tmp_path))
    worker.end()

    async def look() -> Session | None:
        return ended(worker)

    with anyio.fail_after(BOUND_SECONDS):
        seen = await worker.project.services.notices.wait_for(look, seconds=FOR_EVER)
    assert seen == ended(worker)


async def test_an_end_between_the_look_and_the_wait_is_seen(tmp_path: Path) -> None:
    worker = a_worker_waited_for(a_project(tmp_path))

    async def look() -> Session | None:
        seen = ended(worker)
        if seen is None:
            # It ends just after it was looked at, and all that this wakes has run.
            await anyio.to_thread.run_sync(worker.end)
            await anyio.lowlevel.checkpoint()
        return seen

    with anyio.fail_after(BOUND_SECONDS):
        seen = await worker.project.services.notices.wait_for(look, seconds=FOR_EVER)
    assert seen == ended(worker)


async def test_what_others_do_meanwhile_does_not_end_the_wait(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker_waited_for(project)
    looks = 0

    async def look() -> Session | None:
        nonlocal looks
        looks += 1
        if looks < 4:
            await anyio.to_thread.run_sync(a_task, project)
        elif looks == 4:
            await anyio.to_thread.run_sync(worker.end)
        return ended(worker) if looks > 4 else None

    with anyio.fail_after(BOUND_SECONDS):
        seen = await project.services.notices.wait_for(look, seconds=FOR_EVER)
    assert (seen, looks) == (ended(worker), 5)


async def test_a_wait_in_which_nothing_happens_ends(tmp_path: Path) -> None:
    worker = a_worker_waited_for(a_project(tmp_path))

    async def look() -> Session | None:
        return ended(worker)

    with anyio.fail_after(BOUND_SECONDS):
        assert await worker.project.services.notices.wait_for(look, seconds=0.01) is None


async def test_what_falls_due_while_one_waits_is_looked_for_without_another_change(
    tmp_path: Path,
) -> None:
    """A back-off begins with a commit and ends with none."""
    worker = a_worker_waited_for(a_project(tmp_path))
    looks = 0

    async def look() -> str | None:
        nonlocal looks
        looks += 1
        if looks == 1:
            await anyio.to_thread.run_sync(worker.end)
        return "resumed" if looks == 3 else None

    async def due() -> float | None:
        return 0.01 if looks == 2 else None

    with anyio.fail_after(BOUND_SECONDS):
        notices = worker.project.services.notices
        seen = await notices.wait_for(look, seconds=FOR_EVER, due=due)
    assert seen == "resumed"
