"""`sf hook` and `sf statusline`: what Claude Code runs in an attached session.

Rule 1: neither ever holds a session up or shows it an error: without a server, with an input that
is none, outside a project, the answer is nothing, in bounded time and with exit code 0.
Rule 2: both are run at every tool use or so: nothing is imported that they do not need.
"""

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from sf_mcp.core.errors import StoneforgeError

if TYPE_CHECKING:
    import typer

    from sf_mcp.core.layout import Layout

MOST_SECONDS = 2.0
"""For the server's answer; the client waits a little longer."""

DECISION_SECONDS = 1.0
"""Before a decision, after which the person is asked without being told what it is about."""

PASSED_ON = (
    "hook_event_name",
    "session_id",
    "agent_id",
    "source",
    "tool_name",
    "stop_hook_active",
)
"""Fields of an event that the server needs; what a tool was given and returned is seldom its."""


def hook() -> None:
    """Answer a hook of Claude Code: JSON in, JSON out."""
    event = _input()
    told = {name: event[name] for name in PASSED_ON if name in event}
    tool = str(event.get("tool_name", ""))
    asks = event.get("hook_event_name") == "PreToolUse"
    if asks:
        told["tool_input"] = event.get("tool_input")
    elif tool.endswith("wait_for_events"):
        told["tool_response"] = event.get("tool_response")
    layout = _layout()
    answer = _ask(layout, "/hooks", told, seconds=DECISION_SECONDS if asks else MOST_SECONDS)
    if layout is not None and answer and event.get("hook_event_name") == "SessionStart":
        _add_moved(layout, answer)
    if asks and not answer:
        answer = _asked_anyway(tool)
    if answer:
        print(json.dumps(answer))


def statusline() -> None:
    """Print the status line of a session that Claude Code describes on stdin."""
    event = _input()
    window = event.get("context_window")
    context = cast(dict[str, Any], window) if isinstance(window, dict) else {}
    tokens = _whole(context.get("total_input_tokens")) + _whole(context.get("total_output_tokens"))
    room = _whole(context.get("context_window_size"))
    told = {
        "client_session": str(event.get("session_id") or "")[:100],
        "context_tokens": tokens,
        "context_window": room,
    }
    layout = _layout()
    answer = _ask(layout, "/api/report_seat", told, seconds=MOST_SECONDS)
    if answer is None:
        line = "Stoneforge: no server (sf serve)" if layout is not None else ""
    else:
        line = _line(answer)
    fill = f"context {100 * tokens // room}%" if room else ""
    print(" · ".join(filter(None, [line, fill])))


def _line(seen: dict[str, Any]) -> str:
    waiting = cast(list[str], seen["waiting"])
    named = ", ".join(waiting[:3]) + (" …" if len(waiting) > 3 else "")
    parts = [
        "Stoneforge: paused" if seen["stopped"] else "",
        f"{seen['running']} running",
        f"{len(waiting)} waiting for you ({named})" if waiting else "nothing waits for you",
        f"{seen['in_train']} in the train",
        f"${seen['cost_usd']:.2f}",
    ]
    shown = " · ".join(filter(None, parts))
    return shown if seen["stopped"] else f"Stoneforge: {shown}"


def _add_moved(layout: "Layout", answer: dict[str, Any]) -> None:
    """Say it when the server is no longer where the client was told to look for it."""
    from sf_mcp.client import address_of
    from sf_mcp.core.attachment import MCP_FILE, url_in

    address = address_of(layout)
    with suppress(OSError, UnicodeDecodeError):
        url = url_in((layout.root / MCP_FILE).read_text())
        if url and address is not None and not url.startswith(f"{address.url}/"):
            output = answer["hookSpecificOutput"]
            output["additionalContext"] += (
                f"\nThe server is at {address.url} now, and {MCP_FILE} names {url}: its tools are "
                "missing until the person runs `sf attach` and starts this session again."
            )


def _asked_anyway(tool: str) -> dict[str, Any] | None:
    from sf_mcp.core.wiring import DECISIONS, ask_first

    return ask_first() if tool.rpartition("__")[2] in DECISIONS else None


def register(app: "typer.Typer") -> None:
    """Add the commands, for their help; the plain forms are run without a parser (`frequent`)."""
    from sf_mcp.cli.options import example

    app.command(epilog=example("sf hook < event.json"))(hook)
    app.command(epilog=example("sf statusline < session.json"))(statusline)


def _input() -> dict[str, Any]:
    try:
        found: Any = json.loads(sys.stdin.buffer.read())
    except (ValueError, RecursionError):
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def _whole(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value < 1e12 else 0


def _layout() -> "Layout | None":
    """Return the paths of the person's project; None outside one, and for the fleet's sessions."""
    from sf_mcp.cli.project import project

    # From a folder that the session went to, the project is still that in which it began.
    for folder in ("", os.environ.get("CLAUDE_PROJECT_DIR", "")):
        with suppress(StoneforgeError, OSError):
            if folder:
                os.chdir(folder)
            where = project()
            return None if where.is_session else where.layout
    return None


def _ask(
    layout: "Layout | None", path: str, body: dict[str, Any], *, seconds: float
) -> dict[str, Any] | None:
    """Return the server's answer; None when there is none."""
    from sf_mcp.client import Client, address_of, person_token

    if layout is None or (address := address_of(layout)) is None:
        return None
    with suppress(StoneforgeError):
        client = Client(address.host, address.port, person_token(layout))
        answer = client.post(path, body, timeout_seconds=seconds)
        return cast(dict[str, Any], answer) if isinstance(answer, dict) else None
    return None
