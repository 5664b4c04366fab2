"""A project behind its real server on loopback, and what speaks to it: HTTP, the MCP client."""

import contextlib
import http.client
import itertools
import json
import os
import socket
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp_types import CallToolResult, TextContent
from starlette.types import ASGIApp

from sf_mcp.app import App, bind, make_app, run_app
from sf_mcp.core.identity import PERSON, SERVER, Caller
from sf_mcp.core.layout import Layout
from sf_mcp.core.models import MergeRequest, Question, QuestionId, Role, SessionId, TaskId
from sf_mcp.service.claims import grant_lease
from sf_mcp.service.transaction import Transaction
from sf_mcp.tools.boundary import Boundary
from sf_mcp.tools.servers import make_server
from tests.builders import (
    TINY,
    Project,
    Worker,
    a_person_token,
    a_project,
    a_task,
    a_worker,
)

SECONDS = 20.0
"""How long a test waits for an answer before it has failed."""

ERAS = ("auto", "legacy")
"""The protocol revisions 2026-07-28 and 2025-11-25, as the client calls the way to each."""

MCP_PATHS = tuple(f"/{role.value}/mcp" for role in Role)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Browser:
    """What a browser has that a link has let in."""

    cookie: str
    """As it is sent: name and secret."""
    key: str


@dataclass
class Served:
    """A project and the server in front of it, which runs in a thread of the test's process."""

    project: Project
    portal: BlockingPortal
    """Into the server's event loop."""
    person: str
    """The person's token."""
    port: int = 0
    app: App | None = None
    _running: Future[None] | None = None
    _stop: anyio.Event | None = None

    def start(self) -> None:
        """Listen; at a second start on the same port, as `sf serve` does."""
        listener = bind(self.project.services)
        self.port = listener.getsockname()[1]
        self.app = app = make_app(self.project.services, self.port, with_loops=False)
        listening, self._stop = self.portal.call(anyio.Event), self.portal.call(anyio.Event)
        self._running = self.portal.start_task_soon(_serve, app, listener, listening, self._stop)
        self.portal.call(listening.wait)

    def stop(self) -> None:
        """End the server as Ctrl-C does."""
        if self._running is not None and self._stop is not None:
            self.portal.call(self._stop.set)
            self._running.result(SECONDS)
            self._running = None

    def restart(self) -> None:
        """Stop, open the state anew, start."""
        self.stop()
        self.project.reopen()
        self.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        *,
        token: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request as it is told to; a body that is no bytes goes in chunks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        sent = {
            "Host": self.host,
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **({"Authorization": f"Bearer {token}"} if token else {}),
            **(headers or {}),
        }
        with contextlib.closing(connection):
            in_chunks = not isinstance(body, bytes | None)
            connection.request(method, path, body=body, headers=sent, encode_chunked=in_chunks)
            response = connection.getresponse()
            given = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, given, response.read())

    def send(self, head: str, body: bytes = b"") -> int:
        """Send these very bytes, the end of the head apart; return the status of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS) as connection:
            connection.sendall(head.encode() + b"\r\n\r\n" + body)
            return int(connection.recv(65_536).split(b" ", 2)[1])

    def post(self, path: str, arguments: object = None, *, token: str | None = None) -> Answer:
        """Send a JSON body, as the person unless another token is given."""
        body = json.dumps({} if arguments is None else arguments).encode()
        return self.request("POST", path, body, token=self.person if token is None else token)

    def ask(self, name: str, *, token: str | None = None, **arguments: Any) -> Answer:
        """Ask for an operation of the API."""
        return self.post(f"/api/{name}", arguments, token=token)

    def link(self) -> str:
        """Return the path of a link to the page, as `sf open` asks for one."""
        return str(self.ask("open_page").json["path"])

    def let_in(self) -> Browser:
        """Let a browser in, as following a link does."""
        answer = self.request("GET", self.link())
        assert answer.status == 303, answer.body
        cookie, _, _ = answer.headers["set-cookie"].partition(";")
        return Browser(cookie, answer.headers["location"].removeprefix("/#key="))

    def ask_as(
        self,
        browser: Browser,
        name: str,
        arguments: object = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask for an operation as the page in this browser does."""
        own = {
            "Cookie": browser.cookie,
            "X-Stoneforge-Key": browser.key,
            "Origin": f"http://{self.host}",
            "Sec-Fetch-Site": "same-origin",
        }
        body = json.dumps({} if arguments is None else arguments).encode()
        return self.request("POST", f"/api/{name}", body, headers={**own, **(headers or {})})

    def poll(self, *, token: str | None = None, seconds: float = 0, **more: Any) -> Answer:
        """Ask for something to do, as the launcher does."""
        return self.post("/api/poll", {"running": [], "seconds": seconds, **more}, token=token)

    def token_of(self, role: Role) -> str:
        """Return a token of a session of the role, of a new one each time."""
        return self.person if role is Role.PERSON else a_session_of(self.project, role).token


async def _serve(
    app: ASGIApp, listener: socket.socket, listening: anyio.Event, stop: anyio.Event
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(run_app, app, listener, listening)
        await stop.wait()
        group.cancel_scope.cancel()


@contextlib.contextmanager
def served(folder: Path, *, config: str = TINY) -> Generator[Served]:
    """Serve a project for the time of the block, without the loops: nothing happens by itself."""
    with own_environment(folder), start_blocking_portal("asyncio") as portal:
        project = a_project(folder, config=config)
        server = Served(project, portal, a_person_token(project))
        server.start()
        try:
            yield server
        finally:
            server.stop()
            project.services.close()


def say_where(layout: Layout, port: object) -> None:
    """Write the address as `serve` does."""
    layout.folder.mkdir(exist_ok=True)
    layout.server.write_text(json.dumps({"host": "127.0.0.1", "port": port, "pid": os.getpid()}))


@contextlib.contextmanager
def own_environment(folder: Path) -> Generator[None]:
    """Keep the machine's git configuration out, also before a test's own fixtures run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("GIT_", "SF_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("XDG_CONFIG_HOME", str(folder / ".config"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


# -- sessions -------------------------------------------------------------------------------------

_subjects = itertools.count(1)


def a_session_of(project: Project, role: Role, subject: str = "") -> Worker:
    """Start a session that holds what it is about, whatever else waits to be started."""
    services = project.services
    if role is Role.WORKER:
        return a_worker(project, TaskId(subject) if subject else a_task(project))
    about = subject or f"{role.value} test {next(_subjects)}"
    with services.workspace.write(SERVER) as tx:
        session = services.dispatch.new_session(tx, role, about)
        grant_lease(tx, about, session.id)
        token = services.sessions.mint(tx, role, session.id)
    services.sessions.connected(PERSON, session.id, model="sonnet")
    caller = Caller(role=role, name=session.name, session_id=SessionId(session.id))
    return Worker(project, project.session(session.id), token, caller, project.root, {})


def a_reviewer(project: Project, request: MergeRequest) -> Worker:
    """Start a steward on this merge request, with its read-only checkout."""
    steward = a_session_of(project, Role.STEWARD, request.id)
    place = project.services.work.make_place(steward.session)
    steward.cwd = Path(place.cwd)
    return steward


def answer(project: Project, question: str, text: str) -> None:
    """Answer a question as the person."""
    project.services.questions.answer_question(PERSON, QuestionId(question), answer=text)


async def the_question(project: Project) -> Question:
    """Wait for the one question to be asked."""
    with anyio.fail_after(SECONDS):
        while not (found := project.services.questions.list_questions(PERSON)):
            await project.services.notices.wait(1)
    return found[0]


def count(project: Project, table: str) -> int:
    """Return how many rows a table has."""

    def rows(tx: Transaction) -> int:
        return int(tx.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    with project.services.workspace.read() as tx:
        return rows(tx)


# -- MCP ------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def over_http(
    server: Served, role: Role, token: str, mode: str = "auto"
) -> AsyncGenerator[Client]:
    """Connect as Claude Code does: streamable HTTP, the token in a header."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"http://{server.host}/{role.value}/mcp"
    async with (
        httpx2.AsyncClient(headers=headers, timeout=SECONDS) as http_client,
        Client(
            streamable_http_client(url, http_client=http_client),
            mode=mode,
            read_timeout_seconds=SECONDS,
        ) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def in_memory(
    project: Project, caller: Caller | None, mode: str = "auto", role: Role | None = None
) -> AsyncGenerator[Client]:
    """Connect to a role's server without HTTP; `caller` is what the endpoint found in the token."""
    project.services.notices.attach()
    boundary = Boundary(project.services)
    entered = auth_context_var.set(_user(caller) if caller else None)
    shown = role or (caller.role if caller else Role.WORKER)
    try:
        async with Client(
            make_server(shown, boundary), mode=mode, read_timeout_seconds=SECONDS
        ) as client:
            yield client
    finally:
        auth_context_var.reset(entered)


def _user(caller: Caller) -> AuthenticatedUser:
    claims = {"session": caller.session_id}
    return AuthenticatedUser(
        AccessToken(token="-", client_id=caller.name, scopes=[caller.role.value], claims=claims)
    )


@dataclass
class Tools:
    """Calls tools of one connection."""

    client: Client
    seen: list[CallToolResult] = field(default_factory=list[CallToolResult])

    async def __call__(self, tool: str, *, use_id: str = "", **arguments: Any) -> dict[str, Any]:
        """Return the result; a refusal fails the test."""
        result = await self._result(tool, use_id, arguments)
        assert not result.is_error, text_of(result)
        assert result.structured_content is not None
        return result.structured_content

    async def refused(self, tool: str, *, use_id: str = "", **arguments: Any) -> str:
        """Return the words of the refusal; a result fails the test."""
        result = await self._result(tool, use_id, arguments)
        assert result.is_error, result.structured_content
        return text_of(result)

    async def _result(self, tool: str, use_id: str, arguments: dict[str, Any]) -> CallToolResult:
        meta: Any = {"claudecode/toolUseId": use_id} if use_id else None
        result = await self.client.call_tool(tool, arguments, meta=meta)
        self.seen.append(result)
        return result


def text_of(result: CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if isinstance(part, TextContent))
