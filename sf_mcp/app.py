"""The server: services, MCP endpoints, API, hooks and loops in one process on loopback."""

import contextlib
import json
import logging
import os
import socket
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.identity import SERVER
from sf_mcp.core.models import Role
from sf_mcp.loops import run_loops
from sf_mcp.service import Services
from sf_mcp.store import facts
from sf_mcp.tools.boundary import Boundary
from sf_mcp.tools.endpoints import Endpoint
from sf_mcp.tools.servers import make_server
from sf_mcp.web.api import Api
from sf_mcp.web.connections import Connection
from sf_mcp.web.entry import Entry
from sf_mcp.web.gate import Gate
from sf_mcp.web.headers import StrictHeaders
from sf_mcp.web.pages import Pages
from sf_mcp.web.stream import Streams

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
STOP_SECONDS = 3
"""How long open requests (long polls) may take to end at a stop."""


class App:
    """The whole server as an ASGI application for one port of loopback."""

    def __init__(self, services: Services, port: int, *, with_loops: bool = True) -> None:
        """Put everything together that answers there."""
        self._services = services
        self._with_loops = with_loops
        boundary = Boundary(services)
        self._endpoints = {
            f"/{role.value}/mcp": Endpoint(role, make_server(role, boundary), services)
            for role in Role
        }
        self._streams = Streams(services)
        entry = Entry(services, port)
        self._rest = Starlette(
            routes=[*Api(services, entry, self._streams).routes(), *Pages(entry).routes()],
            lifespan=self._lifespan,
        )
        self._guarded = StrictHeaders(Gate(self._route, port=port))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, behind the gate."""
        await self._guarded(scope, receive, send)

    @property
    def paths(self) -> list[tuple[str, frozenset[str]]]:
        """Every path that is answered, as a pattern, with its methods; none: all of them."""
        mounted = [(path, frozenset[str]()) for path in self._endpoints]
        return [*mounted, *map(_path_of, self._rest.routes)]

    @property
    def listeners(self) -> int:
        """How many have the event stream open."""
        return self._streams.feed.listeners

    def end_streams(self) -> None:
        """End what would never end by itself, since the server stops."""
        self._streams.end()

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A tool call goes straight to its endpoint, past the list of all other routes.
        await self._endpoints.get(scope.get("path", ""), self._rest)(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        services = self._services
        services.notices.attach()
        async with contextlib.AsyncExitStack() as stack:
            for endpoint in self._endpoints.values():
                await stack.enter_async_context(endpoint.sessions.run())
            group = await stack.enter_async_context(anyio.create_task_group())
            group.start_soon(self._streams.feed.run)
            if self._with_loops:
                group.start_soon(run_loops, services)
            yield
            services.train.stop()
            services.check_runs.cancel.set()
            services.pull_requests.cancel.set()
            services.notifications.cancel.set()
            group.cancel_scope.cancel()


def _path_of(route: BaseRoute) -> tuple[str, frozenset[str]]:
    if not isinstance(route, Route):
        raise TypeError(f"{route!r} is no plain route, so no test would know of what is below it")
    return route.path, frozenset(route.methods or ())


def make_app(services: Services, port: int, *, with_loops: bool = True) -> App:
    """Return the whole server as an ASGI application for this port of loopback."""
    return App(services, port, with_loops=with_loops)


class Server(uvicorn.Server):
    """Uvicorn that says when it listens, and leaves signals to the one who started it."""

    def __init__(self, config: uvicorn.Config, listening: anyio.Event) -> None:
        """Set `listening` once requests are answered."""
        super().__init__(config)
        self._listening = listening
        self._asked_to_stop = anyio.Event()

    def stop(self) -> None:
        """Answer what is under way, then end."""
        self.should_exit = True
        self._asked_to_stop.set()

    async def main_loop(self) -> None:
        """Wait for `stop`. Uvicorn's own loop looks ten times a second, which is not rest."""
        await self._asked_to_stop.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self._listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone: `sf serve` decides what a Ctrl-C means."""
        yield


def bind(services: Services, port: int = 0) -> socket.socket:
    """Return the listening socket: `port`, else the configured one, the last one, a free one.

    Raises:
        StoneforgeError: the port that was asked for is in use.
    """
    configured = port or services.workspace.settings.orchestrator.port
    with services.workspace.read() as tx:
        stored = facts.get(tx.db, "port")
    for port in dict.fromkeys([configured or int(stored or 0), configured]):
        # With the protocol named, asyncio switches Nagle off: without it each answer waits 40 ms.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            listener.close()
            if configured:
                raise StoneforgeError(
                    f"Port {port} of {HOST} cannot be used: {error.strerror}.",
                    remedy="Set orchestrator.port to another one, or to 0 for any free one.",
                ) from error
            continue
        listener.listen(128)
        with services.workspace.write(SERVER) as tx:
            facts.put(tx.db, "port", str(listener.getsockname()[1]))
        return listener
    raise StoneforgeError(f"No port of {HOST} can be used.", remedy="Set orchestrator.port.")


async def serve(services: Services, listener: socket.socket, listening: anyio.Event) -> None:
    """Serve until cancelled; the address stands in `.stoneforge/server.json` meanwhile."""
    port = listener.getsockname()[1]
    address = services.workspace.layout.server
    # At once: the port is often that of the server before, whose process nobody should be told to
    # end. Who connects already waits for its answer.
    _write_address(address, port)
    try:
        prepare(services)
        await run_app(make_app(services, port), listener, listening)
    finally:
        address.unlink(missing_ok=True)


async def run_app(
    app: ASGIApp, listener: socket.socket, listening: anyio.Event | None = None
) -> None:
    """Answer requests on the socket until cancelled; requests under way are ended, not dropped."""
    config = uvicorn.Config(
        app,
        http=Connection,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=STOP_SECONDS,
        server_header=False,
        # Kept up to date by the loop that is replaced.
        date_header=False,
    )
    server = Server(config, listening or anyio.Event())

    is_asked_to_stop = False

    async def run() -> None:
        # Cancelled from outside, uvicorn would drop requests mid-way; told to exit, it ends them.
        with anyio.CancelScope(shield=True):
            await server.serve([listener])
        if not is_asked_to_stop:
            raise StoneforgeError(
                "The server could not start, or ended by itself.", remedy="Its log says why."
            )

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        try:
            await anyio.sleep_forever()
        finally:
            is_asked_to_stop = True
            if isinstance(app, App):
                app.end_streams()
            server.stop()


def prepare(services: Services) -> None:
    """Bring everything that a crash may have left half done to an end."""
    from sf_mcp.git.checks import end_interrupted_checks

    services.workspace.database.keep_copy()
    end_interrupted_checks(services.workspace.layout.logs)
    services.worktrees.forge.clear_stale_locks(older_than_seconds=0)
    services.worktrees.forge.drop_half_added()
    services.target.recover()
    services.workspace.name_holders()
    services.snapshots.keep_all_late_work()


def _write_address(path: Path, port: int) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(json.dumps({"host": HOST, "port": port, "pid": os.getpid()}))
    beside.replace(path)
