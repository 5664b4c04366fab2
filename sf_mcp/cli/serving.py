"""One run of `sf serve`: the lock, the log, the server, the launcher beside it, and the stop."""

import logging
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

import anyio

from sf_mcp.app import bind, serve
from sf_mcp.cli.launching import Fleet, launcher_command
from sf_mcp.cli.lock import server_lock
from sf_mcp.cli.output import say
from sf_mcp.cli.server_log import configure_logging
from sf_mcp.client import address_of, is_answering
from sf_mcp.clock import utc_now
from sf_mcp.core.errors import AlreadyRunning, StoneforgeError
from sf_mcp.core.layout import Layout
from sf_mcp.service import Services, open_services

logger = logging.getLogger(__name__)

LOCK_WAIT_SECONDS = 10.0
"""For a short command, or a server that is stopping, to let go of the state."""
LOCK_RETRY_SECONDS = 0.05
START_SECONDS = 120.0
"""Tidying up after a crash comes before the first answer and may run git on a large repository."""


def run_server(layout: Layout, *, with_fleet: bool, port: int) -> None:
    """Serve until a signal says otherwise.

    Raises:
        AlreadyRunning: another server has the project.
        StoneforgeError: the port is in use, the configuration or the forge cannot be used.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Also into a file or a pipe: who waits for a line should not wait for a full buffer.
            stream.reconfigure(line_buffering=True)
    with _exclusive(layout):
        log = configure_logging(layout.logs)
        services = open_services(layout.root, utc_now)
        try:
            with bind(services, port) as listener:
                anyio.run(_run, services, listener, with_fleet, log)
            say("Stopped.")
            logger.info("stopped")
        except BaseExceptionGroup as group:
            if (refusal := _refusal_in(group)) is None:
                raise
            raise refusal from group
        finally:
            services.close()


@contextmanager
def _exclusive(layout: Layout) -> Generator[None]:
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        with server_lock(layout) as is_ours:
            if is_ours:
                yield
                return
        address = address_of(layout)
        if address is not None and is_answering(address):
            raise AlreadyRunning(
                f"A server for {layout.root} already runs at {address.url} "
                f"(process {address.pid}).",
                remedy=f"Use that one, or end it with Ctrl-C in its terminal (kill {address.pid}).",
            )
        if time.monotonic() >= deadline:
            raise AlreadyRunning(
                f"Another process holds {layout.server_lock}, and no server answers there.",
                remedy="End the `sf` that holds it, then try again: nothing is lost by that.",
            )
        time.sleep(LOCK_RETRY_SECONDS)


async def _run(services: Services, listener: socket.socket, with_fleet: bool, log: Path) -> None:
    fleet = Fleet(launcher_command(), cwd=services.workspace.layout.root)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    with anyio.open_signal_receiver(*numbers) as signals:
        async with anyio.create_task_group() as group:
            listening = anyio.Event()
            group.start_soon(_stop_on_signals, signals, fleet, group.cancel_scope)
            group.start_soon(serve, services, listener, listening)
            with anyio.fail_after(START_SECONDS):
                await listening.wait()
            _announce(services, listener, log)
            if with_fleet:
                await fleet.run()


def _announce(services: Services, listener: socket.socket, log: Path) -> None:
    host, port = listener.getsockname()
    say(f"Serving {services.workspace.layout.root} at http://{host}:{port}")
    logger.info("serving at port %s", port)
    if note := services.workspace.settings.vacuous_sentence:
        say(note)
    say(f"Log: {log}")


async def _stop_on_signals(
    signals: AsyncIterator[signal.Signals], fleet: Fleet, everything: anyio.CancelScope
) -> None:
    """First signal: the sessions end in good order, then the server. Second: now."""
    async with anyio.create_task_group() as group:

        async def stop() -> None:
            await fleet.stop()
            everything.cancel()

        is_first = True
        async for _ in signals:
            if is_first:
                say("Stopping; once more: at once." if fleet.is_running else "Stopping.")
                group.start_soon(stop)
            else:
                fleet.hurry()
            is_first = False


def _refusal_in(group: BaseExceptionGroup[BaseException]) -> StoneforgeError | None:
    """Return why a task group has failed, when it is something that can be told."""
    refusals = group.subgroup(StoneforgeError)
    while refusals is not None:
        first = refusals.exceptions[0]
        if isinstance(first, StoneforgeError):
            return first
        refusals = first
    return None
