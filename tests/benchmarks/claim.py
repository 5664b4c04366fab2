"""The claim over HTTP against the SDK's bare echo tool: ratio of the medians, 1 and 32 clients.

    python tests/benchmarks/claim.py [--json]

Both servers run in processes of their own; each call is one POST of a `tools/call` on a kept
connection. Each claim is a new session claiming a new task; its worktree is not made.
"""

import argparse
import http.client
import json
import logging
import multiprocessing
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

CALLS = 400
WARM_UP = 50
ROUNDS = 3
MOST_RATIO = 1.5


def serve_echo(pipe: Connection) -> None:
    """Serve the SDK's smallest tool."""
    import uvicorn
    from mcp.server.mcpserver import MCPServer

    server: MCPServer[None] = MCPServer("echo")

    @server.tool()
    async def echo(text: str) -> str:
        return text

    logging.getLogger("mcp").setLevel(logging.WARNING)
    listener = _listen()
    pipe.send((listener.getsockname()[1], []))
    config = uvicorn.Config(server.streamable_http_app(stateless_http=True), log_level="error")
    uvicorn.Server(config).run([listener])


def serve_claims(pipe: Connection) -> None:
    """Serve `claim_task` as a worker has it, with as many sessions as there are calls."""
    import anyio

    from sf_mcp.app import bind, make_app, run_app
    from sf_mcp.clock import utc_now
    from sf_mcp.core.identity import PERSON, SERVER
    from sf_mcp.core.layout import Layout
    from sf_mcp.core.models import Role
    from sf_mcp.git.checkout import open_checkout
    from sf_mcp.git.forge import make_forge
    from sf_mcp.service import Services
    from sf_mcp.service.plans import TaskDraft
    from sf_mcp.service.workspace import Workspace

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for command in (
            ["git", "init", "-q", "-b", "main"],
            [
                "git",
                "-c",
                "user.name=b",
                "-c",
                "user.email=b@b",
                "commit",
                "-q",
                "--allow-empty",
                "-m",
                "start",
            ],
        ):
            subprocess.run(command, cwd=root, check=True)
        layout = Layout(root)
        layout.folder.mkdir()
        layout.config.write_text("checks: []\n")
        make_forge(open_checkout(root), layout.folder, "main")
        services = Services(Workspace(root, utc_now))
        wanted = (CALLS + WARM_UP) * (1 + 1) * ROUNDS + 32 * ROUNDS
        for start in range(0, wanted, 1000):
            drafts = [TaskDraft(title=f"Task {n}") for n in range(start, min(start + 1000, wanted))]
            services.plans.create_plan(PERSON, title=f"Plan {start}", tasks=drafts)
        tokens: list[str] = []
        with services.workspace.write(SERVER) as tx:
            for number in range(wanted):
                session = services.dispatch.new_session(tx, Role.WORKER, f"bench-{number}")
                tokens.append(services.sessions.mint(tx, Role.WORKER, session.id))
        # The claim without its worktree: the same tool, with the place of every task known.
        services.work.claim = lambda caller: (services.claims.claim_task(caller), root)  # type: ignore[method-assign]
        listener = bind(services)
        port = listener.getsockname()[1]
        pipe.send((port, tokens))
        anyio.run(run_app, make_app(services, port, with_loops=False), listener)


def _listen() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


class Caller:
    """One client with a kept connection."""

    def __init__(self, port: int, path: str, tool: str, arguments: dict[str, Any]) -> None:
        """Prepare the request."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.connect()
        # Head and body are two writes; without this each call waits for a delayed ACK.
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._path = path
        self._body = json.dumps(
            {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "tools/call",
                "params": {"name": tool, "arguments": arguments},
            }
        )

    def call(self, token: str) -> float:
        """Make one call; return its seconds."""
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2025-11-25",
        }
        if token:
            headers["Authorization"] = f"Bearer {token}"
        started = time.perf_counter()
        self._connection.request("POST", self._path, body=self._body, headers=headers)
        response = self._connection.getresponse()
        answer = response.read()
        seconds = time.perf_counter() - started
        if response.status != 200 or b'"isError":true' in answer:
            raise RuntimeError(f"{response.status}: {answer[:300]!r}")
        return seconds


def measure(make: Any, tokens: list[str], clients: int) -> list[float]:
    """Make the calls, spread over the clients; return each one's seconds."""
    times: list[float] = []
    lock = threading.Lock()
    work = iter(tokens)

    def run() -> None:
        caller = make()
        while True:
            with lock:
                token = next(work, None)
            if token is None:
                return
            seconds = caller.call(token)
            with lock:
                times.append(seconds)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def main() -> int:
    """Print the figures; 1 when the ratio is over its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    processes: list[Any] = []
    ports: list[tuple[int, list[str]]] = []
    for target in (serve_echo, serve_claims):
        ours, theirs = context.Pipe()
        process = context.Process(target=target, args=(theirs,), daemon=True)
        process.start()
        processes.append(process)
        ports.append(ours.recv())
    time.sleep(1)
    echo_port, claim_port, tokens = ports[0][0], ports[1][0], ports[1][1]

    def echo() -> Caller:
        return Caller(echo_port, "/mcp", "echo", {"text": "hi"})

    def claim() -> Caller:
        return Caller(claim_port, "/worker/mcp", "claim_task", {})

    rows: list[dict[str, Any]] = []
    left = iter(tokens)
    for clients in (1, 32):
        echoes: list[float] = []
        claims: list[float] = []
        for _ in range(ROUNDS):
            count = CALLS // ROUNDS
            measure(echo, [""] * 20, clients)
            echoes += measure(echo, [""] * count, clients)
            measure(claim, [next(left) for _ in range(20)], clients)
            claims += measure(claim, [next(left) for _ in range(count)], clients)
        ratio = statistics.median(claims) / statistics.median(echoes)
        rows.append(
            {
                "clients": clients,
                "echo_ms": round(statistics.median(echoes) * 1000, 2),
                "claim_ms": round(statistics.median(claims) * 1000, 2),
                "ratio": round(ratio, 2),
                "target": MOST_RATIO,
                "held": ratio <= MOST_RATIO,
            }
        )
    for process in processes:
        process.terminate()
        process.join(10)
    if arguments.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print(
                f"{row['clients']:>2} clients: claim {row['claim_ms']} ms, echo {row['echo_ms']} "
                f"ms, ratio {row['ratio']} (at most {MOST_RATIO}) "
                f"{'PASS' if row['held'] else 'OVER'}"
            )
    return 0 if all(row["held"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
