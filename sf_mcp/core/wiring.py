"""How a person's own Claude Code is wired to the fleet: our server, hooks and status line.

Rule 1: no secret is in it. The server's headers come from `sf token --headers`, which the client
runs itself, again after a 401; so a renewed token and a restarted server need no new wiring.
Rule 2: what we added is recognised by its shape, so that it can be brought up to date and taken
back whoever else writes to the same files, the client itself included.
Rule 3: the name of our server is a prefix that others may change (a plugin does), so what asks the
person before a decision goes by the end of a tool's name.
"""

import shlex
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, cast

Json = dict[str, Any]

SERVER_NAME = "sf"
"""What our server is called where we name it ourselves."""

DECISIONS = ("approve_merge", "send_back", "cancel_plan", "cancel_task")
"""Tools that decide in the person's name: the person is asked each time."""

CALL_TIMEOUT_SECONDS = 1800
"""The wall around one tool call; progress does not move it."""

HOOK_TIMEOUT_SECONDS = 5
"""Without one, a hook that hangs would stall the session for ten minutes."""

ASKING_TIMEOUT_SECONDS = 60
"""Before a decision: a hook that is given up lets the tool run, and nobody has been asked."""

REFRESH_SECONDS = 10
"""How often the status line is drawn anew while nothing happens in the session."""

NEWS_HOOKS = ("SessionStart", "UserPromptSubmit", "PostToolUse", "SessionEnd")

DECISION_MATCHER = f"^mcp__.+__({'|'.join(DECISIONS)})$"


def server_entry(url: str, sf: Sequence[str]) -> Json:
    """Return our server as Claude Code configures it; `sf` are the words that run the command.

    The client hands `headersHelper` to /bin/sh, in the folder of the session [2.1.330].
    """
    return {
        "type": "http",
        "url": url,
        "headersHelper": shlex.join([*sf, "token", "--headers"]),
        "alwaysLoad": True,
        "timeout": CALL_TIMEOUT_SECONDS * 1000,
    }


def hook_settings(sf: Sequence[str]) -> dict[str, list[Json]]:
    """Return the hooks of a person's session, each a command without a shell."""
    hook: Json = {
        "type": "command",
        "command": sf[0],
        "args": [*sf[1:], "hook"],
        "timeout": HOOK_TIMEOUT_SECONDS,
    }
    asking: Json = {
        "matcher": DECISION_MATCHER,
        "hooks": [{**hook, "timeout": ASKING_TIMEOUT_SECONDS}],
    }
    return {**{event: [{"hooks": [hook]}] for event in NEWS_HOOKS}, "PreToolUse": [asking]}


def status_line(sf: Sequence[str]) -> Json:
    """Return the status line."""
    return {
        "type": "command",
        "command": shlex.join([*sf, "statusline"]),
        "refreshInterval": REFRESH_SECONDS,
    }


def permission_rules() -> dict[str, list[str]]:
    """Return the rules for the server under our own name: it may be used.

    None asks before a decision: the client would show the rule in place of the hook's words, which
    say what is decided about [2.1.330].
    """
    return {"allow": [f"mcp__{SERVER_NAME}"]}


def ask_first(about: str = "") -> Json:
    """Return the answer to `PreToolUse` with which the client asks the person."""
    return {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "ask",
            "permissionDecisionReason": f"This decides in your name. {about}".strip(),
        }
    }


def is_our_server(entry: object) -> bool:
    """Return whether a server's entry is one of ours, of any port and any installation."""
    helper = cast(Json, entry).get("headersHelper") if isinstance(entry, dict) else None
    return isinstance(helper, str) and _runs(_words(helper), "token", "--headers")


def is_our_hook(handler: object) -> bool:
    """Return whether a hook's handler is one of ours."""
    if not isinstance(handler, dict):
        return False
    found = cast(Json, handler)
    arguments = found.get("args")
    if not isinstance(arguments, list):
        return False
    words = [str(found.get("command", "")), *map(str, cast(list[Any], arguments))]
    return _runs(words, "hook")


def is_our_status_line(line: object) -> bool:
    """Return whether a status line is ours."""
    command = cast(Json, line).get("command") if isinstance(line, dict) else None
    return isinstance(command, str) and _runs(_words(command), "statusline")


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _runs(words: Sequence[str], *command: str) -> bool:
    """Return whether the words run this command of `sf`, directly or as a module of Python's."""
    count = len(command)
    program = list(words[:-count])
    is_sf = len(program) == 1 and PurePath(program[0]).name == "sf"
    return (is_sf or program[1:] == ["-m", "sf_mcp.cli"]) and tuple(words[-count:]) == command
