"""What the launcher needs of the project and the machine: the root, and the Claude Code binary."""

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.core.command_line import MINIMUM_CLIENT_VERSION, clean_environment, parse_version
from sf_mcp.core.errors import GitRefused, NotAllowed, NotSetUp, StoneforgeError
from sf_mcp.core.layout import Layout
from sf_mcp.git.checkout import open_checkout

ROOT_VARIABLE = "SF_ROOT"
"""Names the project for `sf` and for this command, wherever they are started."""

VERSION_TIMEOUT_SECONDS = 60.0
"""The binary is hundreds of megabytes: the first start from a cold disk takes a while."""

LOGIN_SECONDS = 20.0
"""It answers in a fifth of a second."""

INSTALL_REMEDY = (
    'Run `pip install "stoneforge-mcp[claude]"` or `npm install -g @anthropic-ai/claude-code`, or '
    "set orchestrator.claudePath to where it is."
)


class ClientUnusable(StoneforgeError):
    """Claude Code is missing, does not run, or is too old."""

    code = "client_unusable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What Claude Code says of its login."""

    is_logged_in: bool | None = None
    """None when it did not say."""
    words: str
    """How, or why it did not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeCode:
    """A Claude Code binary that can be used."""

    path: str
    version: tuple[int, int, int]


def find_root(start: Path, environ: Mapping[str, str]) -> Path:
    """Return the root of the project that `start` lies in; `SF_ROOT` wins.

    Raises:
        NotSetUp: `sf init` has not been run there.
        NotAllowed: it lies in a session's worktree.
    """
    named = environ.get(ROOT_VARIABLE)
    here = Path(named).resolve() if named else start.resolve()
    for folder in (here, *here.parents):
        if Layout(folder).database.exists():
            if here.is_relative_to(Layout(folder).worktrees):
                raise NotAllowed(
                    f"{here} is a session's worktree; the fleet is run from the project's folder.",
                    remedy=f"Go to {folder}.",
                )
            return folder
    try:
        # A worktree that the person has linked elsewhere: the project is in the main one.
        main = open_checkout(here).common_dir.parent
    except GitRefused:
        main = here
    if Layout(main).database.exists():
        return main
    raise NotSetUp(f"{here} is not set up for Stoneforge.", remedy="Run `sf init` there first.")


def find_claude(configured: str | None, environ: Mapping[str, str]) -> str:
    """Return the path of Claude Code: configured, else from PATH, else the one in the SDK's wheel.

    Raises:
        ClientUnusable: there is none, or nothing is at the configured path.
    """
    if configured is not None:
        found = shutil.which(str(Path(configured).expanduser()), path=environ.get("PATH"))
        if found is None:
            raise ClientUnusable(
                f"orchestrator.claudePath is {configured}, and no program is there.",
                remedy="Correct it in .stoneforge/config.yaml, or remove it to search PATH.",
            )
        return found
    found = shutil.which("claude", path=environ.get("PATH")) or _bundled()
    if found is None:
        raise ClientUnusable(
            "Claude Code is not installed: there is no `claude` in PATH and none in "
            "claude-agent-sdk.",
            remedy=INSTALL_REMEDY,
        )
    return found


def require_claude(configured: str | None, environ: Mapping[str, str]) -> ClaudeCode:
    """Return a Claude Code that runs and is new enough.

    Raises:
        ClientUnusable: it is missing, does not run, or is too old.
    """
    path = find_claude(configured, environ)
    try:
        done = subprocess.run(
            [path, "--version"],
            env=clean_environment(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClientUnusable(
            f"Claude Code at {path} does not run: {error}.", remedy=INSTALL_REMEDY
        ) from error
    version = parse_version(done.stdout)
    if version is None:
        raise ClientUnusable(
            f"`{path} --version` printed no version: {(done.stdout + done.stderr).strip()[:200]}",
            remedy=INSTALL_REMEDY,
        )
    if version < MINIMUM_CLIENT_VERSION:
        raise ClientUnusable(
            f"Claude Code at {path} is {dotted(version)}; at least "
            f"{dotted(MINIMUM_CLIENT_VERSION)} is needed.",
            remedy="Run `claude update`. " + INSTALL_REMEDY,
        )
    return ClaudeCode(path=path, version=version)


def _bundled() -> str | None:
    # `find_spec` of a top-level name does not import the package.
    spec = importlib.util.find_spec("claude_agent_sdk")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "_bundled" / "claude"
    return str(binary) if binary.is_file() else None


def dotted(version: tuple[int, int, int]) -> str:
    """Return the version as people write it."""
    return ".".join(str(part) for part in version)


def login_of(
    client: ClaudeCode, environ: Mapping[str, str], *, timeout_seconds: float = LOGIN_SECONDS
) -> Login:
    """Return what Claude Code itself says of its login; it asks no model, and nothing else.

    `claude auth status` answers from the environment and its own files alone, with exit code 1 when
    it is not logged in [2.1.330].
    """
    try:
        done = subprocess.run(
            [client.path, "auth", "status", "--json"],
            env=clean_environment(environ)
            | {"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
        answer = json.loads(done.stdout)
        is_logged_in = bool(answer["loggedIn"])
        method, provider = str(answer["authMethod"]), str(answer.get("apiProvider", ""))
    except subprocess.TimeoutExpired:
        return Login(words=f"`claude auth status` did not answer within {timeout_seconds:g} s")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Login(words="`claude auth status` gave no answer that is understood")
    words = f"{method}, {provider}" if provider else method
    if expires := answer.get("loginExpiresAt"):
        words += f", until {str(expires)[:40]}"
    return Login(is_logged_in=is_logged_in, words=words)
