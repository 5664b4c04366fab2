"""The claim over HTTP against the SDK's bare echo tool: ratio of the medians, 1 and 32 clients.

Both servers run in processes of their own under the same uvicorn options; each call is one POST of
a `tools/call` on a kept connection. Each claim is a new session claiming a new task; its worktree
is not made. All take turns in short rounds, so that what else the machine does falls on each alike.

Bare is bare: the echo tool has no token to check, and answers as the SDK does unless it is told
otherwise, in a stream of events. For information beside the ratio: the same echo told to answer in
plain JSON, as our server does, and one small commit of SQLite alone, which is in every claim and in
no echo. Where that takes as long as half an echo, the ratio says more of the disk than of us.
"""

import http.client
import json
import logging
import multiprocessing
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import repeat
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from sf_mcp.clock import utc_now
from sf_mcp.core.identity import PERSON, SERVER, Caller
from sf_mcp.core.layout import Layout
from sf_mcp.core.models import Role, Session, SessionId
from sf_mcp.core.states import SessionState
from sf_mcp.service import Services
from sf_mcp.service.claims import Brief
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.work import WorkService
from sf_mcp.service.workspace import Workspace
from sf_mcp.store.sessions import SESSIONS
from tests.benchmarks.figures import Figure, report

CLIENTS = (1, 32)
ROUNDS = 15
CALLS = 128
"""Per round, server and number of clients."""
MOST_RATIO = 1.5
TASKS = CALLS * (ROUNDS + 1) * len(CLIENTS)
"""One round more than is counted, to warm up."""
COMMIT = "one commit of SQLite alone"
COMMITS = 20
"""Per round."""

HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-11-25",
}


class WithoutWorktrees(WorkService):
    """Claims whose place is known already."""

    def claim(self, caller: Caller) -> tuple[Brief, Path]:
        """Claim, and name a folder that is there."""
        return self._claims.claim_task(caller), self._workspace.layout.root


class ServicesWithoutWorktrees(Services):
    """The server's own services but for the worktree that a claim makes."""

    @cached_property
    def work(self) -> WorkService:
        """Claims without worktrees."""
        return WithoutWorktrees(
            self.workspace,
            self.worktrees,
            self.target,
            self.claims,
            self.sessions,
            self.conflicts,
            self.snapshots,
        )


def serve_echo(pipe: Connection) -> None:
    """Serve the SDK's smallest tool, as it comes."""
    _serve_echo(pipe, as_json=False)


def serve_json_echo(pipe: Connection) -> None:
    """Serve the same with answers in plain JSON."""
    _serve_echo(pipe, as_json=True)


def _serve_echo(pipe: Connection, *, as_json: bool) -> None:
    import anyio
    from mcp.server.mcpserver import MCPServer

    from sf_mcp.app import run_app

    server: MCPServer[None] = MCPServer("echo", log_level="WARNING")

    @server.tool()
    async def echo(text: str) -> str:
        return text

    logging.getLogger("mcp").setLevel(logging.WARNING)
    # With the protocol named, asyncio switches Nagle off.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    pipe.send((listener.getsockname()[1], []))
    app = server.streamable_http_app(stateless_http=True, json_response=as_json)
    anyio.run(run_app, app, listener)


def serve_claims(pipe: Connection) -> None:
    """Serve `claim_task` as a worker has it, with as many sessions as there are calls."""
    import anyio

    from sf_mcp.app import bind, make_app, run_app

    with tempfile.TemporaryDirectory() as folder:
        services = a_project(Path(folder))
        tasks = [TaskDraft(title=f"Task {number}") for number in range(TASKS)]
        for start in range(0, TASKS, 1000):
            some = tasks[start : start + 1000]
            services.plans.create_plan(PERSON, title=f"Plan {start}", tasks=some)
        with services.workspace.write(SERVER) as tx:
            tokens = [a_waiting_worker(services, tx, number) for number in range(TASKS)]
        listener = bind(services)
        port = listener.getsockname()[1]
        pipe.send((port, tokens))
        anyio.run(run_app, make_app(services, port, with_loops=False), listener)


def a_project(root: Path) -> Services:
    """Set a project up around one empty commit."""
    from sf_mcp.git.checkout import open_checkout
    from sf_mcp.git.forge import make_forge

    identity = ["-c", "user.name=Bench", "-c", "user.email=bench@example.org"]
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        [*identity, "commit", "--quiet", "--allow-empty", "--message=start"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)
    layout = Layout(root)
    layout.folder.mkdir()
    layout.config.write_text("checks: []\n")
    make_forge(open_checkout(root), layout.folder, "main")
    return ServicesWithoutWorktrees(Workspace(root, utc_now))


def a_waiting_worker(services: Services, tx: Transaction, number: int) -> str:
    """Add a session that has claimed nothing yet; return its token."""
    session = Session(
        id=SessionId(f"session-{number}"),
        name=f"worker-{number}",
        role=Role.WORKER,
        subject="",
        state=SessionState.RUNNING,
        model="sonnet",
        pid=None,
        process_started="",
        is_turn_active=True,
        last_line="",
        context_tokens=0,
        context_window=0,
        cost_usd=0.0,
        stop_requested="",
        nudges=0,
        log_path="",
        created_at=tx.now,
        heard_at=tx.now,
        ended_at=None,
        end=None,
        end_detail="",
        starts=0,
        interrupted=(),
        taken_over_at=None,
    )
    SESSIONS.insert(tx.db, session)
    return services.sessions.mint(tx, Role.WORKER, session.id)


class Client:
    """One client with a kept connection."""

    def __init__(self, port: int, path: str, tool: str, arguments: dict[str, str]) -> None:
        """Connect and prepare the request."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.connect()
        # Head and body are two writes; without this each call waits for a delayed ACK.
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._path = path
        call = {"name": tool, "arguments": arguments}
        self._body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})

    def call(self, token: str) -> float:
        """Make one call; return its milliseconds."""
        headers = HEADERS | ({"Authorization": f"Bearer {token}"} if token else {})
        started = time.perf_counter()
        self._connection.request("POST", self._path, body=self._body, headers=headers)
        response = self._connection.getresponse()
        answer = response.read()
        took = time.perf_counter() - started
        if response.status != 200 or b'"isError":false' not in answer:
            raise RuntimeError(f"{response.status}: {answer[:300]!r}")
        return took * 1000

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def times_of(connect: Callable[[], Client], clients: int, tokens: Iterator[str]) -> list[float]:
    """Make `CALLS` calls spread over the clients; return the milliseconds of each."""
    times: list[float] = []
    failures: list[Exception] = []
    work = iter([next(tokens) for _ in range(CALLS)])
    lock = threading.Lock()

    def run() -> None:
        client = connect()
        try:
            while True:
                with lock:
                    token = next(work, None)
                if token is None:
                    return
                times.append(client.call(token))
        except Exception as error:  # shown by the thread that waits for all
            failures.append(error)
        finally:
            client.close()

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return times


def start(serve: Callable[[Connection], None]) -> tuple[BaseProcess, int, list[str]]:
    """Start a server in a process of its own; return it with its port and tokens."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    if not ours.poll(120):
        raise TimeoutError("a server of the benchmark does not start")
    port, tokens = ours.recv()
    return process, port, tokens


@contextmanager
def a_database() -> Generator[sqlite3.Connection]:
    """Open a database that keeps what is committed as ours does."""
    with tempfile.TemporaryDirectory() as folder:
        db = sqlite3.connect(Path(folder, "floor.db"), isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE floor (value TEXT)")
        yield db
        db.close()


def commit_ms(db: sqlite3.Connection) -> float:
    """Commit one row; return the milliseconds."""
    started = time.perf_counter()
    db.execute("INSERT INTO floor VALUES ('x')")
    return (time.perf_counter() - started) * 1000


def measure() -> list[Figure]:
    """Compare claim and echo, with each number of clients."""
    servers = [start(serve) for serve in (serve_echo, serve_json_echo, serve_claims)]
    (_, echo_port, _), (_, json_echo_port, _), (_, claim_port, tokens) = servers
    peers: dict[str, tuple[Callable[[], Client], Iterator[str]]] = {
        "the SDK's echo": (echo_of(echo_port), repeat("")),
        "the SDK's echo, as JSON": (echo_of(json_echo_port), repeat("")),
        "claim": (
            lambda: Client(claim_port, "/worker/mcp", "claim_task", {}),
            iter(tokens),
        ),
    }
    figures: list[Figure] = []
    for clients in CLIENTS:
        times: dict[str, list[float]] = {name: [] for name in (*peers, COMMIT)}
        with a_database() as db:
            for round_number in range(ROUNDS + 1):
                for name, (connect, some_tokens) in peers.items():
                    took = times_of(connect, clients, some_tokens)
                    if round_number > 0:
                        times[name] += took
                times[COMMIT] += [commit_ms(db) for _ in range(COMMITS)]
        medians = {name: statistics.median(some) for name, some in times.items()}
        with_clients = f"{clients} {'client' if clients == 1 else 'clients'}"
        figures += [
            Figure(
                name=f"{with_clients}: claim, times the SDK's echo",
                value=medians["claim"] / medians["the SDK's echo"],
                unit="x",
                most=MOST_RATIO,
            ),
            *(
                Figure(name=f"{with_clients}: {name}, median", value=medians[name], unit="ms")
                for name in times
            ),
        ]
    for process, _, _ in servers:
        process.terminate()
        process.join(10)
    return figures


def echo_of(port: int) -> Callable[[], Client]:
    """Return what connects to an echo server."""
    return lambda: Client(port, "/mcp", "echo", {"text": "hi"})


if __name__ == "__main__":
    sys.exit(report(measure))
