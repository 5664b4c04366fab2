"""A project with a real server and a real fleet, each in a process of its own, in a test's folder.

Run as a program it is the server: what `sf serve --no-fleet` does, without the command line.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

import anyio
import anyio.to_thread
import yaml

from launcher.rehearsal.script import Script, Step, ToolCall
from launcher.rehearsal.scripted_api import ScriptedApi
from sf_mcp import process
from sf_mcp.client import Client, address_of, connect
from sf_mcp.clock import utc_now
from sf_mcp.core.identity import SERVER
from sf_mcp.core.layout import Layout
from sf_mcp.core.models import Role
from tests.launcher.client_harness import client_binary

WAIT_SECONDS = 40.0
LOOK_SECONDS = 0.03
REPOSITORY = Path(__file__).parents[2]


def git(folder: Path, *arguments: str) -> str:
    """Run git in `folder` as nobody in particular and return what it says."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


class Project:
    """A repository with a fleet: start what is needed, look at what came of it."""

    def __init__(self, folder: Path, api_url: str, **config: Any) -> None:
        self.folder = folder
        self.root = folder / "project"
        self.home = folder / "home"
        self.api_url = api_url
        self.layout = Layout(self.root)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.home.mkdir(parents=True)
        self.root.mkdir()
        git(self.root, "init", "--quiet", "--initial-branch=main")
        git(self.root, "config", "user.name", "A Person")
        git(self.root, "config", "user.email", "person@example.test")
        (self.root / "README").write_text("A project of a test.\n")
        git(self.root, "add", "--all")
        git(self.root, "commit", "--quiet", "--message", "Start")
        self._set_up(config)

    def _set_up(self, config: Mapping[str, Any]) -> None:
        # What `sf init` does, without the command line.
        from sf_mcp.git.checkout import open_checkout
        from sf_mcp.git.forge import make_forge
        from sf_mcp.service import Services
        from sf_mcp.service.workspace import Workspace

        self.layout.folder.mkdir()
        (self.layout.folder / ".gitignore").write_text("*\n!.gitignore\n!config.yaml\n!prompts/\n")
        self.configure(**config)
        make_forge(open_checkout(self.root), self.layout.folder, "main")
        services = Services(Workspace(self.root, utc_now))
        with services.workspace.write(SERVER) as tx:
            token = services.sessions.mint(tx, Role.PERSON, None)
        self.layout.person_token.write_text(token)
        services.close()

    def configure(self, **config: Any) -> None:
        """Write the configuration; sections are merged with what a test usually wants."""
        usual: dict[str, Any] = {
            "agents": {"steward": {"review": False}, "director": {"headless": False}},
            "checks": [],
            "orchestrator": {"claudePath": client_binary()},
        }
        self.layout.config.write_text(yaml.safe_dump({**usual, **config}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The server last: a fleet without one waits a while for it.
        for child in sorted(self._processes, key=lambda one: "tests.launcher" in str(one.args)):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(20)
            process.end_child(child, grace_seconds=1)
        for pid in self.claude_pids():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    @property
    def environment(self) -> dict[str, str]:
        """An environment with nothing of this machine's but PATH."""
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(REPOSITORY),
            "ANTHROPIC_BASE_URL": self.api_url,
            "ANTHROPIC_API_KEY": "sk-dummy",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",
            "DISABLE_AUTOUPDATER": "1",
        }

    def start_server(self, *, answer_wait_seconds: float = 50.0) -> "subprocess.Popen[bytes]":
        """Start the server and wait until it answers."""
        command = [sys.executable, "-m", "tests.launcher.builders_project"]
        child = self._spawn([*command, str(answer_wait_seconds)], "server.out")
        wait_until(lambda: connect(self.root) is not None, lambda: self.output("server.out"))
        return child

    def stop_server(self) -> None:
        """End the server by force, as a crash would."""
        server = next(one for one in self._processes if "tests.launcher" in str(one.args))
        self._processes.remove(server)
        server.kill()
        server.wait(10)

    def hold(self, tool: str) -> None:
        """Keep the answers to calls of a tool back, once they have had their effect."""
        _hold(self.layout, tool).touch()

    def let_go(self, tool: str) -> None:
        """Answer calls of the tool again."""
        _hold(self.layout, tool).unlink()

    def start_fleet(self, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Start `sf-launch`; its lines are in `fleet.out`."""
        command = [sys.executable, "-m", "launcher", "--json", *arguments]
        return self._spawn(command, "fleet.out", **environment)

    def _spawn(
        self, command: Sequence[str], output: str, **environment: str
    ) -> "subprocess.Popen[bytes]":
        with (self.folder / output).open("ab") as file:
            child = process.spawn(
                command,
                cwd=self.root,
                env={**self.environment, **environment},
                stdout=file,
                stderr=file,
            )
        self._processes.append(child)
        return child

    def output(self, name: str = "fleet.out") -> str:
        """Return what a process has printed."""
        path = self.folder / name
        return path.read_text("utf-8", "replace")[-6000:] if path.exists() else ""

    @property
    def client(self) -> Client:
        """The person's way to the server."""
        found = connect(self.root)
        assert found is not None, self.output("server.out")
        return found

    def call(self, name: str, **arguments: Any) -> Any:
        """Carry out an operation as the person."""
        return self.client.call(name, **arguments)

    def plan(self, *tasks: Mapping[str, Any]) -> list[str]:
        """Create an active plan of these tasks and return their ids."""
        view = self.call("create_plan", title="The plan", tasks=list(tasks))
        return [task["id"] for task in view["tasks"]]

    def call_tool(self, role: Role, token: str, tool: str, **arguments: Any) -> tuple[int, str]:
        """Call a tool of a role's endpoint without any client; return status and body."""
        address = address_of(self.layout)
        assert address is not None
        connection = http.client.HTTPConnection(address.host, address.port, timeout=WAIT_SECONDS)
        request = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        }
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2025-11-25",
        }
        with contextlib.closing(connection):
            connection.request("POST", f"/{role.value}/mcp", json.dumps(request), headers)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def state(self, task: str) -> str:
        """Return the state of a task."""
        return self.call("get_task", task=task)["task"]["state"]

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Return the newest events, those of one kind if one is named."""
        found = self.call("read_log", limit=500)
        return [event for event in found if kind in ("", event["kind"])]

    def ends(self) -> list[str]:
        """Return how sessions have ended, in order."""
        return [event["data"]["end"] for event in self.events("session_ended")]

    def wait_for(self, what: Callable[[], object]) -> None:
        """Wait until `what` is so, or fail with what happened instead."""
        wait_until(what, self.story)

    def wait_for_state(self, task: str, state: str) -> None:
        """Wait until a task has this state."""
        self.wait_for(lambda: self.state(task) == state)

    def story(self) -> str:
        """Return what happened, for a failed test."""
        lines = [f"{e['kind']} {e['subject'][:8]} {e['data']}" for e in self.events()[-25:]]
        return "\n".join([*lines, self.output(), self.output("server.out")[-2000:]])

    def sessions(self) -> list[dict[str, Any]]:
        """Return every session there ever was."""
        return self.call("list_sessions", all=True)

    def claude_pids(self) -> list[int]:
        """Return the processes of this project's Claude Code sessions that are alive now."""
        return [int(pid) for pid, _ in _processes_with(f"{self.layout.logs}/prompts/")]

    def processes_of(self, session_id: str) -> list[int]:
        """Return every living process that a session was or has started."""
        return _carrying(f"SF_SESSION={session_id}")

    def all_processes(self) -> list[int]:
        """Return every living process of any session of this project."""
        return _carrying(f"SF_ROOT={self.root}")


def _hold(layout: Layout, tool: str) -> Path:
    return layout.folder / f"hold-{tool}"


def _carrying(variable: str) -> list[int]:
    if sys.platform == "darwin":
        # There `ps` shows the environment behind the command, and there is no /proc.
        return [int(pid) for pid, _ in _processes_with(variable, "-E")]
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        # Gone meanwhile; a zombie's environment is empty.
        with contextlib.suppress(OSError):
            variables = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
            if variable.encode() in variables.split(b"\0"):
                found.append(int(entry.name))
    return found


def _processes_with(text: str, *options: str) -> list[tuple[str, str]]:
    listed = subprocess.run(
        ["ps", "-axww", *options, "-o", "pid=,stat=,command="],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    rows = (line.split(None, 2) for line in listed.stdout.splitlines())
    return [
        (pid, command) for pid, state, command in rows if text in command and state[0] not in "ZX"
    ]


def wait_until(what: Callable[[], object], story: Callable[[], str]) -> None:
    """Look again and again until `what` is so; fail with the story after a bounded time."""
    ends = monotonic() + WAIT_SECONDS
    while not what():
        assert monotonic() < ends, story()
        sleep(LOOK_SECONDS)


# -- scripts ---------------------------------------------------------------------------------------


def call(name: str, /, **arguments: Any) -> ToolCall:
    """Return a tool call of the scripted model."""
    return ToolCall(name=name, input=arguments)


def say(*tools: ToolCall, text: str = "", **fields: Any) -> Step:
    """Return one answer of the scripted model."""
    return Step(text=text or ("Done." if not tools else ""), tools=tools, **fields)


def commit(path: str, text: str) -> ToolCall:
    """Return a call that writes a file and commits it."""
    command = f"printf %s '{text}' > {path} && git add --all && git commit --quiet -m 'Add {path}'"
    return call("Bash", command=command, description="write and commit")


def worker(match: str, *attempts: Sequence[Step]) -> Script:
    """Return the script of the workers on one task."""
    return Script(role=Role.WORKER, match=match, attempts=tuple(tuple(one) for one in attempts))


@contextlib.contextmanager
def running(
    folder: Path, *scripts: Script, answer_wait_seconds: float = 50.0, **config: Any
) -> Generator[tuple[Project, ScriptedApi]]:
    """Have a project with its server, and a model that says what is written."""
    with (
        ScriptedApi(scripts, keep_bodies=True) as api,
        Project(folder.resolve(), api.url, **config) as project,
    ):
        project.start_server(answer_wait_seconds=answer_wait_seconds)
        yield project, api


def lands(path: str, text: str = "done") -> list[Step]:
    """Return the steps of a worker that adds one file and requests the merge."""
    return [
        say(call("claim_task")),
        say(commit(path, text)),
        say(call("request_merge", summary=f"Added {path}.")),
        say(),
    ]


def serve_until_terminated() -> None:
    """Be the server of the project in the working directory."""
    from sf_mcp.app import bind, serve
    from sf_mcp.cli.lock import server_lock
    from sf_mcp.service import open_services
    from sf_mcp.tools import worker as worker_tools
    from sf_mcp.tools.boundary import Boundary

    layout = Layout(Path.cwd())
    # How long ask_director waits before it says "pending": 50 s are too long for a test.
    worker_tools.ANSWER_WAIT_SECONDS = float(sys.argv[1])
    change = Boundary.change

    async def change_and_hold(
        self: Boundary, context: Any, tool: str, *rest: Any, **more: Any
    ) -> Any:
        result = await change(self, context, tool, *rest, **more)
        held = _hold(layout, tool)
        await anyio.to_thread.run_sync(lambda: wait_until(lambda: not held.exists(), lambda: tool))
        return result

    Boundary.change = change_and_hold
    lock = contextlib.ExitStack()
    # So that `sf` in a process of its own goes through this server.
    assert lock.enter_context(server_lock(layout))
    services = open_services(Path.cwd(), utc_now)
    listener = bind(services)

    async def run() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(serve, services, listener, anyio.Event())
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
                async for _ in received:
                    group.cancel_scope.cancel()
                    return

    anyio.run(run)
    services.close()
    lock.close()


if __name__ == "__main__":
    serve_until_terminated()
