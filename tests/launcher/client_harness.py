"""The real Claude Code binary under test: where it is, how to start it, how to wait for it.

Beside it a small real MCP server with a hook endpoint. Nothing here reads the person's login: HOME
is the test's own and the API is on loopback.
"""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self, TypeVar

import pytest
import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from launcher.core.command_line import HeadlessSession, headless_command, session_environment
from launcher.core.stream import Event, TurnResult, parse_line
from launcher.rehearsal.messages import RequestKind
from launcher.rehearsal.recording import RequestRecord
from launcher.rehearsal.scripted_api import ScriptedApi
from sf_mcp.core.models import Role, SessionId

E = TypeVar("E")

TOKEN = "token-of-the-test"
WAIT_SECONDS = 30.0
"""The bound of every wait; what is waited for takes well under a second."""


def client_binary() -> str:
    """Return the path of Claude Code: `SF_CLAUDE`, else the one in claude-agent-sdk."""
    named = os.environ.get("SF_CLAUDE")
    if named and Path(named).is_file():
        return named
    spec = importlib.util.find_spec("claude_agent_sdk")
    if not named and spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "_bundled" / "claude"
        if bundled.exists():
            return str(bundled)
    pytest.fail(
        f"There is no Claude Code {named or 'to test against'}: pip install "
        "'stoneforge-mcp[claude]', or set SF_CLAUDE to the path of a claude binary.",
        pytrace=False,
    )


def client_environment(home: Path, api_url: str, **extra: str) -> dict[str, str]:
    """Return an environment with nothing of this machine's but PATH."""
    home.mkdir(parents=True, exist_ok=True)
    return session_environment(
        {"PATH": os.environ["PATH"]},
        token=TOKEN,
        author_name="A Person",
        author_email="person@example.test",
        extra={
            "HOME": str(home),
            "ANTHROPIC_BASE_URL": api_url,
            "ANTHROPIC_API_KEY": "sk-dummy",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            **extra,
        },
    )


class Client:
    """One Claude Code process in a group of its own, with everything it has said."""

    def __init__(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self.events: list[Event] = []
        self._changed = threading.Condition()
        self._is_over = False
        self.process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.errors = ""
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT_SECONDS)
        for reader in self._readers:
            reader.join(WAIT_SECONDS)
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def send(self, line: bytes) -> None:
        """Write one line to the client."""
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def close_input(self) -> None:
        """Say that nothing more will come."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait_for(self, kind: type[E], is_it: Callable[[E], bool] = lambda _: True) -> E:
        """Wait for an event of `kind` that `is_it`, or fail with what was said instead."""
        return self.wait_for_nth(1, kind, is_it)

    def wait_for_nth(
        self, count: int, kind: type[E], is_it: Callable[[E], bool] = lambda _: True
    ) -> E:
        """Wait for the event number `count` of `kind` that `is_it`."""
        ends = monotonic() + WAIT_SECONDS
        with self._changed:
            while True:
                found = [event for event in self.events if isinstance(event, kind) and is_it(event)]
                if len(found) >= count:
                    return found[count - 1]
                if self._is_over or monotonic() > ends:
                    said = "\n".join(line[:400] for line in self.lines[-15:])
                    pytest.fail(f"no {kind.__name__} came:\n{said}\n{self.errors[-800:]}")
                self._changed.wait(0.2)

    def result(self, count: int = 1) -> TurnResult:
        """Wait for the end of turn number `count`."""
        return self.wait_for_nth(count, TurnResult)

    def exit_code(self) -> int:
        """Wait for the process to end by itself."""
        code = self.process.wait(WAIT_SECONDS)
        for reader in self._readers:
            reader.join(WAIT_SECONDS)
        return code

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.decode())
                    self.events.append(parse_line(line))
                    self._changed.notify_all()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            self.errors = stream.read().decode("utf-8", "replace")


class SmallServer:
    """An MCP server at `/mcp` that wants the token, and hooks at `/hook`, on loopback."""

    def __init__(self) -> None:
        self.hooks: list[dict[str, Any]] = []
        self.hook_tokens: dict[str, set[str]] = {}
        """What each session sent as `Authorization`."""
        self.answers: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        """What a hook is answered, once each: by session, event and tool (empty for none)."""
        self.calls: list[str] = []
        self.stalled = threading.Event()
        self._let_go = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                self._app(),
                log_level="critical",
                lifespan="on",
                ws="none",
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(
            target=lambda: self._uvicorn.run(sockets=[self._socket]), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go.set()
        self._uvicorn.should_exit = True
        self._thread.join(WAIT_SECONDS)
        self._socket.close()

    @property
    def mcp_url(self) -> str:
        return f"{self.url}/mcp"

    @property
    def hook_url(self) -> str:
        return f"{self.url}/hook"

    def hooks_of(self, session: str, event: str) -> list[dict[str, Any]]:
        """Return what was posted for `event` of `session`."""
        return [
            hook
            for hook in self.hooks
            if hook["session_id"] == session and hook["hook_event_name"] == event
        ]

    def _app(self) -> Starlette:
        server = MCPServer("sf", instructions="A server of a test.", log_level="ERROR")

        def claim_task() -> str:
            """Return the task of this session."""
            self.calls.append("claim_task")
            return "You hold T1."

        def stall() -> str:
            """Take very long."""
            self.stalled.set()
            self._let_go.wait(WAIT_SECONDS)
            return "done"

        def approve_merge() -> str:
            """Approve a merge."""
            self.calls.append("approve_merge")
            return "approved"

        server.add_tool(claim_task)
        server.add_tool(stall)
        server.add_tool(approve_merge)
        mcp_app = server.streamable_http_app()

        async def hook(request: Request) -> Response:
            said = json.loads(await request.body())
            tokens = self.hook_tokens.setdefault(said["session_id"], set())
            tokens.add(request.headers.get("authorization", ""))
            self.hooks.append(said)
            key = (said["session_id"], said["hook_event_name"], said.get("tool_name", ""))
            waiting = self.answers.get(key, [])
            return JSONResponse(waiting.pop(0) if waiting else {})

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncGenerator[None]:
            async with server.session_manager.run():
                yield

        return Starlette(
            routes=[Route("/hook", hook, methods=["POST"]), Mount("/", _WithToken(mcp_app))],
            lifespan=lifespan,
        )


class _WithToken:
    """Lets only the bearer of the test's token through."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            if headers.get(b"authorization") != f"Bearer {TOKEN}".encode():
                await Response(status_code=401)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Bench:
    """Everything that a session needs, in one directory of the test's."""

    def __init__(self, root: Path, server: SmallServer, api: ScriptedApi) -> None:
        self.root = root
        self.server = server
        self.api = api
        self.home = root / "home"
        self.worktree = root / "work"
        self.worktree.mkdir(exist_ok=True)
        self.prompt_file = root / "prompt.md"
        self.prompt_file.write_text("You are a worker of a fleet.\n")

    def session(self, **changes: Any) -> HeadlessSession:
        """Return a worker's session with `changes`."""
        values: dict[str, Any] = {
            "claude": client_binary(),
            "role": Role.WORKER,
            "session_id": SessionId(str(uuid.uuid4())),
            "is_resumed": False,
            "model": "sonnet",
            "mcp_url": self.server.mcp_url,
            "hook_url": self.server.hook_url,
            "worktree": str(self.worktree),
            "prompt_file": str(self.prompt_file),
        }
        return HeadlessSession(**(values | changes))

    def start(self, session: HeadlessSession, **environment: str) -> Client:
        """Start `session` in its worktree."""
        return self.run(headless_command(session), cwd=Path(session.worktree), **environment)

    def run(self, command: Sequence[str], *, cwd: Path, **environment: str) -> Client:
        """Start any command line of Claude Code in the test's environment."""
        env = client_environment(self.home, self.api.url, **environment)
        return Client(command, cwd=cwd, env=env)

    def wait_until_written(self, session: HeadlessSession, text: str) -> None:
        """Wait until the client's own transcript of `session` has the text."""
        ends = monotonic() + WAIT_SECONDS
        while True:
            found = list(self.home.glob(f".claude/projects/*/{session.session_id}.jsonl"))
            if any(text in path.read_text("utf-8", "replace") for path in found):
                return
            assert monotonic() < ends, f"no {text!r} in the transcript: {found}"
            sleep(0.01)

    def asked_by(self, session: str) -> list[RequestRecord]:
        """Return what `session` asked the model, counts and titles aside."""
        return [
            record
            for record in self.api.requests
            if record.session == session and record.kind is RequestKind.MAIN
        ]
