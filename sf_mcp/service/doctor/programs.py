"""The programs that everything stands on: found where, in which version, and logged in or not."""

import platform
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.git.command import MINIMUM_VERSION as MINIMUM_GIT
from sf_mcp.git.command import git_version
from sf_mcp.service.doctor.found import Found, fine, problem, warning
from sf_mcp.service.doctor.look import Look
from sf_mcp.store.inspection import MINIMUM_SQLITE, SQLITE_VERSION

MINIMUM_PYTHON = (3, 11)
MINIMUM_SDK = (2, 3)
"""And below the next major version, whose protocol code may differ."""


def python(_: Look) -> Iterator[Found]:
    """See which Python runs this."""
    yield judge_python(sys.version_info[:3], sys.executable)


def judge_python(version: tuple[int, ...], path: str) -> Found:
    """Judge a version of Python."""
    if version[:2] < MINIMUM_PYTHON:
        return problem(
            f"Python {_dotted(version)} at {path} is too old.",
            why=f"Stoneforge is written for Python {_dotted(MINIMUM_PYTHON)} or newer.",
            remedy="Install it with a newer one: pipx install --python python3.12 stoneforge-mcp",
        )
    return fine(f"Python {_dotted(version)} ({platform.system()}), {path}")


def git(_: Look) -> Iterator[Found]:
    """See which git is on PATH."""
    path = shutil.which("git")
    try:
        version = git_version()
    except StoneforgeError as error:
        yield problem(error.message, why="All work is kept in git.", remedy=error.remedy)
        return
    yield judge_git(version, path or "git")


def judge_git(version: tuple[int, int], path: str) -> Found:
    """Judge a version of git."""
    if version < MINIMUM_GIT:
        return problem(
            f"git {_dotted(version)} at {path} is too old.",
            why=f"Merging in memory needs git {_dotted(MINIMUM_GIT)} or newer.",
            remedy="Install a newer one (https://git-scm.com/downloads) and put it first on PATH.",
        )
    return fine(f"git {_dotted(version)}, {path}")


def sqlite(_: Look) -> Iterator[Found]:
    """See which SQLite Python was built with."""
    yield judge_sqlite(SQLITE_VERSION)


def judge_sqlite(version: tuple[int, ...]) -> Found:
    """Judge a version of SQLite."""
    if version < MINIMUM_SQLITE:
        return problem(
            f"SQLite {_dotted(version)} is too old.",
            why=f"The state needs SQLite {_dotted(MINIMUM_SQLITE)} or newer; it is part of Python.",
            remedy="Install Stoneforge with a Python that brings a newer one, such as python.org's "
            "or uv's: uv tool install stoneforge-mcp",
        )
    return fine(f"SQLite {_dotted(version)}")


def sdk(_: Look) -> Iterator[Found]:
    """See which MCP SDK is installed."""
    try:
        found = metadata.version("mcp")
    except metadata.PackageNotFoundError:
        found = ""
    yield judge_sdk(found)


def judge_sdk(found: str) -> Found:
    """Judge a version of the MCP SDK; empty when there is none."""
    numbers = tuple(int(part) for part in found.split(".")[:3] if part.isdigit())
    if not MINIMUM_SDK <= numbers < (MINIMUM_SDK[0] + 1,):
        return problem(
            f"The MCP SDK is {found or 'not installed'}.",
            why=f"The server is written for mcp {_dotted(MINIMUM_SDK)} and what is compatible "
            "with it.",
            remedy="Install Stoneforge again: pipx install --force stoneforge-mcp",
        )
    return fine(f"MCP SDK {found}")


def claude(look: Look) -> Iterator[Found]:
    """See which Claude Code the fleet would run."""
    client = look.client
    if client.fault:
        yield problem(
            client.fault, why="Without it no session can be started.", remedy=client.remedy
        )
    else:
        yield fine(f"Claude Code {client.version} (at least {client.minimum}), {client.path}")


def login(look: Look) -> Iterator[Found]:
    """See whether Claude Code says that it is logged in."""
    client = look.client
    if client.fault:
        return
    if client.is_logged_in is None:
        yield warning(
            f"Claude Code does not say whether it is logged in: {client.login}",
            why="The fleet's sessions use its login.",
            remedy=f"See for yourself: {shlex.join([client.path, 'auth', 'status'])}",
        )
    elif not client.is_logged_in:
        yield problem(
            "Claude Code says that it is not logged in.",
            why="Each session would fail at its first request, and the fleet stop.",
            remedy=f"Log in: {shlex.join([client.path, 'auth', 'login'])}",
        )
    else:
        yield fine(f"Claude Code is logged in ({client.login})")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
