"""What a Claude Code process is started with: its arguments and its environment.

Rule 1: the token is only ever in the environment (`SF_TOKEN`); arguments name the variable, since
any process of the machine can read another one's arguments. A person's own session has none there
either: its client asks `sf token` for it (`sf_mcp.core.wiring`).
Rule 2: what a session may not use, it does not get to see (`--tools`): no tool that wakes the model
later, starts further sessions or reaches the network is offered to a session of the fleet.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from sf_mcp.core import wiring
from sf_mcp.core.models import Role, SessionId

MCP_SERVER_NAME = "sf"
"""Claude Code then calls the tools `mcp__sf__claim_task` and so on."""

TOKEN_VARIABLE = "SF_TOKEN"

MINIMUM_CLIENT_VERSION = (2, 1, 197)
"""The oldest Claude Code on which every flag used here was tried."""

MCP_CALL_TIMEOUT_SECONDS = 1800.0
"""The wall around one tool call; `run_checks` is the longest. Progress does not move it."""

HOOK_TIMEOUT_SECONDS = 5
"""Without one, a hook endpoint that hangs would stall the session for ten minutes."""

HEADLESS_HOOKS = ("Stop", "PreToolUse", "PostToolUse", "SessionEnd")
ATTACHED_HOOKS = ("UserPromptSubmit", "Stop", "PreToolUse", "PostToolUse", "SessionEnd")
"""Of a worker's session that a person has taken over: it is fenced and measured as before."""

WORKER_TOOLS = ("Bash", "Read", "Edit(./**)", "Write(./**)", "NotebookEdit(./**)", "Grep", "Glob")
READING_TOOLS = ("Read(./**)", "Grep(./**)", "Glob(./**)")
"""For a reviewing steward and a headless director: nothing that writes or runs, nothing outside."""

RESOLVING_TOOLS = (*READING_TOOLS, "Edit(./**)", "Write(./**)")
"""For a steward that resolves a conflict: it edits files where the merge is, and runs nothing."""

DEFAULT_TOOLS: Mapping[Role, tuple[str, ...]] = {
    Role.WORKER: WORKER_TOOLS,
    Role.STEWARD: READING_TOOLS,
    Role.DIRECTOR: READING_TOOLS,
}

# Set by Claude Code for the processes that it starts [seen in 2.1.330's `env`]: a session that
# inherits them takes itself for a child of that session. The flags below them change what a
# session is able to do, so they must come from us or not at all.
_LEFT_BY_A_SESSION = frozenset(
    {
        "AI_AGENT",
        "CLAUDECODE",
        "CLAUDE_AGENT_SDK_VERSION",
        "CLAUDE_CODE_CHILD_NOTES_DIR",
        "CLAUDE_CODE_CHILD_SESSION",
        "CLAUDE_CODE_ENTRYPOINT",
        "CLAUDE_CODE_EXECPATH",
        "CLAUDE_CODE_LAUNCHED_BY_SESSION_IDS",
        "CLAUDE_CODE_MESSAGING_SOCKET",
        "CLAUDE_CODE_MESSAGING_TOKEN",
        "CLAUDE_CODE_SESSION_ATTENDED",
        "CLAUDE_CODE_SESSION_ID",
        "CLAUDE_CODE_SESSION_KIND",
        "CLAUDE_CODE_SSE_PORT",
        "CLAUDE_CODE_TASK_LIST_ID",
        "CLAUDE_CODE_TMUX_PREFIX",
        "CLAUDE_CODE_TMUX_SESSION",
        "CLAUDE_EFFORT",
        "CLAUDE_ENV_FILE",
        "CLAUDE_JOB_DIR",
        "CLAUDE_PID",
        "CLAUDE_PLUGIN_DATA",
        "CLAUDE_PLUGIN_ROOT",
        "CLAUDE_PROJECT_DIR",
        # Flags.
        "CLAUDE_CODE_RESTRICTED",
        "CLAUDE_CODE_RESUME_INTERRUPTED_TURN",
        "CLAUDE_CODE_SAFE_MODE",
        "CLAUDE_CODE_SIMPLE",
        "CLAUDE_CODE_STOP_HOOK_BLOCK_CAP",
    }
)

# `git rev-parse --local-env-vars`, and the others by which a hook's or an alias's git points its
# children at one repository.
_MISDIRECTS_GIT = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_CEILING_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_PARAMETERS",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NAMESPACE",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)

REMOVED_VARIABLES = _LEFT_BY_A_SESSION | _MISDIRECTS_GIT | {TOKEN_VARIABLE}

_REMOVED_FAMILIES = re.compile(r"GIT_CONFIG_(KEY|VALUE)_\d+|GIT_(AUTHOR|COMMITTER)_\w+")

_BASE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_GLOB_SPECIAL = re.compile(r"[*?\[\]{}()!+@|^$]")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlessSession:
    """One session of the fleet, as values; its working directory is the process's own."""

    claude: str
    """The path of the Claude Code binary."""
    role: Role
    session_id: SessionId
    is_resumed: bool
    model: str
    mcp_url: str
    """The endpoint of the role, such as `http://127.0.0.1:7420/worker/mcp`."""
    hook_url: str
    """Where Claude Code posts hook events; one address for all of them."""
    worktree: str
    """The absolute working directory; what lies above it stays out of the prompt."""
    prompt_file: str
    """The rendered prompt of the role, appended to Claude Code's own."""
    allowed_tools: tuple[str, ...] = ()
    """Claude Code's own tools with their rules; empty means the role's defaults."""
    call_timeout_seconds: float = MCP_CALL_TIMEOUT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractiveDirector:
    """A person's own session wired as director. It keeps the person's settings and servers."""

    claude: str
    mcp_url: str
    sf: tuple[str, ...]
    """The words that run `sf`, which gives the session its token, its hooks and its status line."""
    prompt_file: str
    model: str | None = None
    """None: the person's own choice."""


def headless_command(session: HeadlessSession) -> tuple[str, ...]:
    """Return the arguments of a session that speaks stream-json on its pipes.

    The list flags (`--mcp-config`, `--allowedTools`) swallow what follows them, so a flag comes
    after the first and nothing after the last.
    """
    allowed = session.allowed_tools or DEFAULT_TOOLS[session.role]
    identity = "--resume" if session.is_resumed else "--session-id"
    return (
        session.claude,
        "-p",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
        "--verbose",
        identity,
        session.session_id,
        "--model",
        session.model,
        "--mcp-config",
        _compact(mcp_config(session.mcp_url, session.call_timeout_seconds)),
        "--strict-mcp-config",
        "--setting-sources",
        "project",
        "--settings",
        _compact(
            {
                "autoCompactEnabled": False,
                "claudeMdExcludes": list(memory_excludes(session.worktree)),
                "hooks": http_hooks(session.hook_url, HEADLESS_HOOKS),
            }
        ),
        "--append-system-prompt-file",
        session.prompt_file,
        "--permission-mode",
        "dontAsk",
        "--tools",
        ",".join(offered_tools(allowed)),
        "--allowedTools",
        *allowed,
        f"mcp__{MCP_SERVER_NAME}",
    )


STATUS_VARIABLE = "SF_STATUS_FILE"
"""Where the client's status line leaves what it is told: context fill, cost, transcript."""
TITLE_VARIABLE = "SF_STATUS_TITLE"
"""What the status line shows."""
_STATUS_LINE = (
    f'cat > "${STATUS_VARIABLE}.new" && mv -f "${STATUS_VARIABLE}.new" "${STATUS_VARIABLE}"; '
    f'printf %s "${TITLE_VARIABLE}"'
)


def attached_command(session: HeadlessSession) -> tuple[str, ...]:
    """Return the arguments with which a person goes on, at a terminal, in a worker's session.

    The same conversation, server, model, prompt and rules. What the rules do not allow is asked of
    the person instead of being denied, and the person's own settings hold.
    """
    allowed = session.allowed_tools or DEFAULT_TOOLS[session.role]
    return (
        session.claude,
        "--resume",
        session.session_id,
        "--model",
        session.model,
        "--mcp-config",
        _compact(mcp_config(session.mcp_url, session.call_timeout_seconds)),
        "--strict-mcp-config",
        "--settings",
        _compact(
            {
                "autoCompactEnabled": False,
                "claudeMdExcludes": list(memory_excludes(session.worktree)),
                "hooks": http_hooks(session.hook_url, ATTACHED_HOOKS),
                # The shell is given no text of ours: names of variables alone.
                "statusLine": {"type": "command", "command": _STATUS_LINE},
            }
        ),
        "--append-system-prompt-file",
        session.prompt_file,
        "--permission-mode",
        "default",
        "--allowedTools",
        *allowed,
        f"mcp__{MCP_SERVER_NAME}",
    )


def interactive_command(director: InteractiveDirector) -> tuple[str, ...]:
    """Return the arguments that make a person's session a director; it asks before it acts."""
    model = ("--model", director.model) if director.model is not None else ()
    return (
        director.claude,
        *model,
        "--mcp-config",
        _compact(
            {"mcpServers": {wiring.SERVER_NAME: wiring.server_entry(director.mcp_url, director.sf)}}
        ),
        "--settings",
        _compact(
            {
                "hooks": wiring.hook_settings(director.sf),
                "permissions": wiring.permission_rules(),
                "statusLine": wiring.status_line(director.sf),
            }
        ),
        "--append-system-prompt-file",
        director.prompt_file,
        "--permission-mode",
        "default",
    )


def mcp_config(url: str, call_timeout_seconds: float) -> dict[str, object]:
    """Return the configuration of our server. `alwaysLoad` waits for it at the start."""
    return {
        "mcpServers": {
            MCP_SERVER_NAME: {
                "type": "http",
                "url": url,
                "headers": {"Authorization": f"Bearer ${{{TOKEN_VARIABLE}}}"},
                "alwaysLoad": True,
                "timeout": max(1000, round(call_timeout_seconds * 1000)),
            }
        }
    }


def http_hooks(url: str, events: Sequence[str]) -> dict[str, object]:
    """Return the hook settings that post each of `events` to `url` with the session's token."""
    handler = {
        "type": "http",
        "url": url,
        "headers": {"Authorization": f"Bearer ${TOKEN_VARIABLE}"},
        "allowedEnvVars": [TOKEN_VARIABLE],
        "timeout": HOOK_TIMEOUT_SECONDS,
    }
    return {event: [{"hooks": [handler]}] for event in events}


def memory_excludes(worktree: str) -> tuple[str, ...]:
    """Return patterns for the instruction files of every directory above `worktree`.

    A worktree lies inside the person's checkout, and Claude Code walks up: without these the
    session would read the checkout's `CLAUDE.md` besides the one of its own branch.
    """
    patterns: list[str] = []
    for ancestor in PurePath(worktree).parents:
        # As it is: the client compares literally too, and takes a backslash for a separator, so
        # an escaped `[` would match nothing [2.1.330]. Only the open pattern hides its specials.
        above = str(ancestor).rstrip("/")
        as_pattern = _GLOB_SPECIAL.sub("?", above)
        patterns += [
            f"{above}/CLAUDE.md",
            f"{above}/CLAUDE.local.md",
            f"{above}/AGENTS.md",
            f"{above}/.claude/CLAUDE.md",
            f"{as_pattern}/.claude/rules/**",
        ]
    return tuple(patterns)


def offered_tools(allowed: Sequence[str]) -> tuple[str, ...]:
    """Return the names of Claude Code's own tools behind the rules in `allowed`, once each.

    What is not allowed would only be denied, so it is not offered either.
    """
    names: dict[str, None] = {}
    for rule in allowed:
        name = _BASE_NAME.match(rule)
        if name is not None and not rule.startswith("mcp__"):
            names[name.group()] = None
    return tuple(names)


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` without what another session, a git hook or another token left in it.

    Logins (`CLAUDE_CODE_OAUTH_TOKEN`, `CLAUDE_CONFIG_DIR`, `CLAUDE_CODE_USE_*`, `ANTHROPIC_*`)
    stay: a list names what goes.
    """
    return {
        name: value
        for name, value in environ.items()
        if name not in REMOVED_VARIABLES and not _REMOVED_FAMILIES.fullmatch(name)
    }


def session_environment(
    environ: Mapping[str, str],
    *,
    token: str,
    author_name: str,
    author_email: str,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the environment of a session: the person's, cleaned, with its token and git identity.

    `extra` comes last and wins: the project's root, or a rehearsal's own HOME and API address.
    """
    return {
        **clean_environment(environ),
        # One client must not replace itself under five others that run it.
        "DISABLE_AUTOUPDATER": "1",
        "GIT_AUTHOR_NAME": author_name,
        "GIT_AUTHOR_EMAIL": author_email,
        "GIT_COMMITTER_NAME": author_name,
        "GIT_COMMITTER_EMAIL": author_email,
        "GIT_TERMINAL_PROMPT": "0",
        TOKEN_VARIABLE: token,
        **(extra or {}),
    }


def parse_version(text: str) -> tuple[int, int, int] | None:
    """Return the version in what `claude --version` prints, or None if there is none."""
    found = _VERSION.search(text)
    if found is None:
        return None
    major, minor, patch = found.groups()
    return int(major), int(minor), int(patch)


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
