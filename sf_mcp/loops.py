"""Background work of the server: leases, the train, tidying up. Woken by commits, not by a clock.

The one thing that nobody tells us of is a commit that the person makes in their own checkout, or a
foreign hand on the target; one look at two refs every few seconds sees both.
"""

import logging
from collections.abc import Callable

import anyio
import anyio.to_thread

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.identity import SERVER
from sf_mcp.service import Services

logger = logging.getLogger(__name__)

LEASE_LOOK_SECONDS = 5.0
REF_LOOK_SECONDS = 3.0
RETRY_SECONDS = 10.0


async def run_loops(services: Services) -> None:
    """Run until cancelled."""
    async with anyio.create_task_group() as group:
        group.start_soon(_every, LEASE_LOOK_SECONDS, lambda: _look_after_leases(services))
        group.start_soon(_train, services)
        group.start_soon(_watch_refs, services)


async def _every(seconds: float, work: Callable[[], None]) -> None:
    while True:
        await _guarded(work)
        await anyio.sleep(seconds)


async def _guarded(work: Callable[[], object]) -> bool:
    """Run the work in a thread; log what it could not do, and go on. Return whether it worked."""
    try:
        await anyio.to_thread.run_sync(work)
    except StoneforgeError as error:
        logger.warning("%s", error)
        return False
    except Exception:  # a loop's root: one bad moment must not end the server's work
        logger.exception("a background step failed")
        return False
    return True


def _look_after_leases(services: Services) -> None:
    expired = services.sessions.expire_leases(SERVER)
    services.work.snapshot_expired([lease.subject for lease in expired])
    services.sessions.release_reservations(SERVER)


async def _train(services: Services) -> None:
    """Step the train until nothing is left to do, then wait for the next change."""
    did_something = False

    def step() -> None:
        nonlocal did_something
        did_something = services.train.step()
        services.work.tidy_ended()

    while True:
        before = services.fleet.newest_event()
        did_something = False
        worked = await _guarded(step)
        if not worked:
            await services.notices.wait(RETRY_SECONDS)
        elif not did_something and services.fleet.newest_event() == before:
            await services.notices.wait(3600.0)


async def _watch_refs(services: Services) -> None:
    """Wake the train when the target, or the person's branch, was moved by another hand."""
    refs = [
        services.worktrees.forge.git_dir / services.target.ref,
        services.workspace.layout.root / ".git" / services.target.ref,
    ]

    def look() -> list[str]:
        return [path.read_text() if path.exists() else "" for path in refs]

    seen = look()
    while True:
        await anyio.sleep(REF_LOOK_SECONDS)
        now = look()
        if now != seen:
            seen = now
            services.notices.wake()
