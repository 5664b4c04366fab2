"""Background work of the server: leases, the train, tidying up. Woken by commits, not by a clock.

What nobody tells us of is seen by one look at a few files every few seconds: a commit that the
person makes in their own checkout, a foreign hand on the target, an edit of the configuration.
"""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.identity import SERVER
from sf_mcp.git.checkout import open_checkout
from sf_mcp.service import Services

logger = logging.getLogger(__name__)

LEASE_LOOK_SECONDS = 5.0
FILE_LOOK_SECONDS = 3.0
RETRY_SECONDS = 10.0
FIRST_RETRY_SECONDS = 0.1
THIN_SECONDS = 1800.0
LONGEST_WAIT_SECONDS = 3600.0
"""For a commit, which wakes at once."""


async def run_loops(services: Services) -> None:
    """Run until cancelled."""
    news = _News(services)
    async with anyio.create_task_group() as group:
        group.start_soon(_leases, services)
        group.start_soon(_train, services, news)
        group.start_soon(_radar, services, news)
        group.start_soon(_pull_requests, services, news)
        group.start_soon(_notify, services, news)
        group.start_soon(_watch_files, services, news)
        group.start_soon(_stock, services)
        group.start_soon(_thin, services)


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


async def _leases(services: Services) -> None:
    """Look after leases, several times within each term."""
    seconds = LEASE_LOOK_SECONDS

    def look() -> None:
        nonlocal seconds
        services.takeovers.look()
        expired = services.lease_watch.look(SERVER)
        services.work.snapshot_expired(expired)
        services.workspace.name_holders()
        services.lease_watch.release_reservations(SERVER)
        services.work.end_lost_sessions(SERVER)
        services.limits.look(SERVER)
        services.budgets.look(SERVER)
        term = services.workspace.settings.orchestrator.lease_seconds
        seconds = min(LEASE_LOOK_SECONDS, term / 4)

    while True:
        await _guarded(look)
        await anyio.sleep(seconds)


async def _train(services: Services, news: "_News") -> None:
    """Step the train until nothing is left to do, then wait for news."""
    did_something = False
    seen: object = None
    seconds = RETRY_SECONDS

    def step() -> None:
        nonlocal did_something, seen, seconds
        seen = news.state()
        did_something = services.train.step()
        services.work.tidy_ended()
        seconds = services.train.seconds_until_retry()

    failures = 0
    while True:
        did_something = False
        if not await _guarded(step):
            # Soon at first: two gits that met in the forge have parted a moment later.
            await anyio.sleep(min(FIRST_RETRY_SECONDS * 2**failures, RETRY_SECONDS))
            failures = min(failures + 1, 10)
            continue
        failures = 0
        if not did_something:
            await news.wait_beyond(seen, seconds)


async def _radar(services: Services, news: "_News") -> None:
    """Look for conflicts whenever something has happened that may have moved live work.

    A worker's own commit is looked at before this, by the tool call that made it.
    """
    seen: object = None

    def state() -> object:
        return news.state(), services.radar.noted

    def look() -> None:
        nonlocal seen
        seen = state()
        services.radar.look()

    while True:
        if await _guarded(look):
            await news.wait_beyond(seen, LONGEST_WAIT_SECONDS, state)
        else:
            await anyio.sleep(RETRY_SECONDS)


async def _pull_requests(services: Services, news: "_News") -> None:
    """Mirror merge requests elsewhere when there is news of them; out of everybody's way."""
    seen: object = None
    seconds: float | None = None

    def mirror() -> None:
        nonlocal seen, seconds
        seen = news.state()
        seconds = services.pull_requests.mirror()

    while True:
        if await _guarded(mirror):
            await news.wait_beyond(seen, seconds or LONGEST_WAIT_SECONDS)
        else:
            await anyio.sleep(RETRY_SECONDS)


async def _notify(services: Services, news: "_News") -> None:
    """Run the person's own command when there is something that they want to hear of."""
    seen: object = None

    def send() -> None:
        nonlocal seen
        seen = news.state()
        services.notifications.send()

    while True:
        if await _guarded(send):
            await news.wait_beyond(seen, LONGEST_WAIT_SECONDS)
        else:
            await anyio.sleep(RETRY_SECONDS)


async def _stock(services: Services) -> None:
    """Keep the next new task's worktree checked out ahead of it."""
    while True:
        if await _guarded(services.work.stock):
            await services.notices.wait(LONGEST_WAIT_SECONDS)
        else:
            await anyio.sleep(RETRY_SECONDS)


async def _thin(services: Services) -> None:
    """Thin old snapshots every so often, the first time a while after the start."""
    while True:
        await anyio.sleep(THIN_SECONDS)
        await _guarded(services.snapshots.thin)


class _News:
    """What may give the train something to do: an event, or a change of a watched file.

    Not every commit: those that say that a session was heard of come several times a second.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._changes_of_files = 0

    def state(self) -> object:
        """Return a value that differs as soon as there is news."""
        return self._services.fleet.newest_event(), self._changes_of_files

    def note_file(self) -> None:
        """Record that a watched file has changed, and wake whoever waits."""
        self._changes_of_files += 1
        self._services.notices.wake()

    async def wait_beyond(
        self, seen: object, seconds: float, state: Callable[[], object] | None = None
    ) -> None:
        """Wait until there is news that `seen` does not know, at most for so long."""

        async def look() -> bool | None:
            try:
                return (await anyio.to_thread.run_sync(state or self.state)) != seen or None
            except StoneforgeError:
                return None  # the next step will say what is wrong

        await self._services.notices.wait_for(look, seconds=seconds)


async def _watch_files(services: Services, news: _News) -> None:
    """Notice what others do to the target, the person's branch, the configuration, the gate."""
    files: list[Path] = []

    def find() -> None:
        ref = services.target.ref
        theirs = open_checkout(services.workspace.layout.root).common_dir
        forge = services.worktrees.forge.git_dir
        files[:] = [
            *(place / name for place in (forge, theirs) for name in (ref, "packed-refs")),
            services.workspace.layout.config,
        ]

    await _guarded(find)
    seen = [_signature(path) for path in (*files, services.workspace.gate.path)]
    while True:
        await anyio.sleep(FILE_LOOK_SECONDS)
        if not files:
            await _guarded(find)
        # Another fleet of the account may have met a limit, or its person lifted one.
        now = [_signature(path) for path in (*files, services.workspace.gate.path)]
        if now != seen:
            seen = now
            news.note_file()


def _signature(path: Path) -> tuple[int, int, int] | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
    return None
