"""Stands in for Claude Code where only the time until a process starts is measured.

Changes one file, commits it, asks for the merge and ends its turn: as little as a worker can do,
in a second, where a model takes minutes. With `--until-killed` as its first argument it only
begins. The shell script that starts it, written by the benchmark, has noted the time before.
"""

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

WORK_SECONDS = 1.0


def say(**event: Any) -> None:
    """Print one line of stream-json."""
    print(json.dumps(event), flush=True)


def call(url: str, tool: str, **arguments: Any) -> None:
    """Call a tool of the server."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=60)
    body = {"name": tool, "arguments": arguments}
    connection.request(
        "POST",
        address.path,
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": body}),
        {
            "Authorization": f"Bearer {os.environ['SF_TOKEN']}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2025-11-25",
        },
    )
    answer = connection.getresponse().read().decode()
    if '"isError":false' not in answer:
        raise RuntimeError(f"{tool}: {answer}")


def wait_to_be_killed() -> None:
    """Change some files and run a command that outlives us with our output in its hands."""
    for number in range(10):
        Path("part1", f"file{number}.txt").write_text("begun\n")
    command = ["sleep", "300"]
    subprocess.Popen(command, start_new_session=True)
    content = [{"type": "text", "text": "At work."}]
    say(type="assistant", message={"id": "m1", "model": "stand-in", "content": content})
    sys.stdin.read()


def main() -> None:
    """Work on the task of this worktree."""
    arguments = sys.argv[1:]
    is_to_be_killed = arguments[0] == "--until-killed"
    option = "--resume" if "--resume" in arguments else "--session-id"
    session = arguments[arguments.index(option) + 1]
    config = json.loads(arguments[arguments.index("--mcp-config") + 1])
    ((name, server),) = config["mcpServers"].items()
    sys.stdin.readline()
    say(
        type="system",
        subtype="init",
        session_id=session,
        model="stand-in",
        mcp_servers=[{"name": name, "status": "connected"}],
        tools=[],
        claude_code_version="0",
    )
    if is_to_be_killed:
        wait_to_be_killed()
    time.sleep(WORK_SECONDS)
    Path("part0", "file0.txt").write_text(f"{Path.cwd().name}\n")
    commit = ["git", "commit", "--quiet", "--all", "--message", f"Work of {Path.cwd().name}"]
    subprocess.run(commit, check=True, stdout=subprocess.DEVNULL)
    call(server["url"], "request_merge", summary="Done.")
    say(
        type="result",
        subtype="success",
        is_error=False,
        result="",
        session_id=session,
        num_turns=1,
        total_cost_usd=0.0,
    )
    sys.stdin.read()


if __name__ == "__main__":
    main()
