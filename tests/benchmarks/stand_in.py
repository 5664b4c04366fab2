"""Stands in for Claude Code where only the time until a process starts is measured.

Changes one file, commits it, asks for the merge and ends its turn: as little as a worker can do,
in a second, where a model takes minutes. The shell script that starts it, written by `dispatch`,
has noted the time before.
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


def main() -> None:
    """Work on the task of this worktree."""
    arguments = sys.argv[1:]
    session = arguments[arguments.index("--session-id") + 1]
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
