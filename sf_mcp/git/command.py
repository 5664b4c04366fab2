"""One git command: an argument list, a clean environment, a time limit, and an error that explains.

Nothing here knows what a ref or a worktree means. Hooks are off: what the server does with git is
never up to a hook in somebody's repository.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sf_mcp import process
from sf_mcp.core.errors import GitRefused

MINIMUM_VERSION = (2, 38)
"""The first with `git merge-tree --write-tree`."""
DEFAULT_TIMEOUT_SECONDS = 120.0

KEPT_VARIABLES = frozenset(
    {
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_SYSTEM",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_EXEC_PATH",
        # How the person reaches their remotes.
        "GIT_ASKPASS",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_SSH_VARIANT",
        "GIT_SSL_CAINFO",
        "GIT_SSL_CAPATH",
        "GIT_PROXY_COMMAND",
    }
)
"""Of the caller's GIT_* only these stay: GIT_DIR and its like would lead us elsewhere."""

ALWAYS = (
    "-c",
    f"core.hooksPath={os.devnull}",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.quotePath=false",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
    "-c",
    "submodule.recurse=false",
    "-c",
    "log.showSignature=false",
    "-c",
    "protocol.version=2",
)


class GitFailed(GitRefused):
    """A git command ended with an exit code that its caller does not take for an answer."""

    code = "git_failed"

    def __init__(
        self, message: str, *, remedy: str = "", exit_code: int = -1, stderr: str = ""
    ) -> None:
        """Keep git's own words in `stderr` and its `exit_code` (-1: it did not end by itself)."""
        super().__init__(message, remedy=remedy)
        self.exit_code = exit_code
        self.stderr = stderr


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    exit_code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """The output as text, without its last newline; bytes outside UTF-8 are escaped."""
        return readable(self.stdout).rstrip("\n")


def readable(raw: bytes) -> str:
    """Return git's bytes as text that can always be stored and shown."""
    return raw.decode("utf-8", "backslashreplace")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment in which the server runs git, with `extra` on top."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name in KEPT_VARIABLES
    }
    environment |= {
        "LC_ALL": "C",
        "LANGUAGE": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_EDITOR": "true",
        "GIT_PAGER": "cat",
    }
    return environment | dict(extra or {})


def run_git(
    arguments: Sequence[str],
    *,
    cwd: Path,
    extra: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    accept: Sequence[int] = (0,),
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> Result:
    """Run git in `cwd` and return its output.

    `.git` is not looked for above `cwd`: a task's worktree lies inside the person's checkout, and
    one that has lost its `.git` file must not have its commands act on theirs. (A caller that
    starts from a subdirectory passes GIT_CEILING_DIRECTORIES itself, empty.)

    Raises:
        GitFailed: the exit code is not among `accept`, the time ran out, or git is missing.
    """
    environment = clean_environment({"GIT_CEILING_DIRECTORIES": str(cwd.parent), **(extra or {})})
    try:
        child = process.spawn(
            ["git", *ALWAYS, *arguments],
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise _not_started(cwd, error) from error
    with child:
        try:
            stdout, stderr = child.communicate(stdin or None, timeout=timeout_seconds)
        except subprocess.TimeoutExpired as error:
            process.end_child(child, grace_seconds=1.0)
            raise GitFailed(
                f"git {arguments[0]} did not end within {timeout_seconds:g} s and was stopped.",
                remedy="See whether the disk or the network hangs, then try again.",
            ) from error
        except BaseException:
            process.end_child(child, grace_seconds=1.0)
            raise
    words = readable(stderr).strip()
    if child.returncode not in accept:
        raise GitFailed(
            f"git {arguments[0]} failed (exit {child.returncode}): {words or 'without a word'}.",
            remedy=_remedy(words),
            exit_code=child.returncode,
            stderr=words,
        )
    return Result(exit_code=child.returncode, stdout=stdout, stderr=words)


@cache
def git_version() -> tuple[int, int]:
    """Return git's major and minor version.

    Raises:
        GitFailed: git is missing.
    """
    words = run_git(["--version"], cwd=Path("/")).text.split()
    parts = words[2].split(".") if len(words) > 2 else []
    numbers = [int(part) for part in parts[:2] if part.isdigit()]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)


def require_git() -> None:
    """Check that git is there and new enough.

    Raises:
        GitRefused: it is not; the remedy says what to install.
    """
    found = git_version()
    if found < MINIMUM_VERSION:
        raise GitRefused(
            f"git {found[0]}.{found[1]} is too old: merging in memory needs "
            f"{MINIMUM_VERSION[0]}.{MINIMUM_VERSION[1]} or newer.",
            remedy="Install a newer git (https://git-scm.com/downloads) and try again.",
        )


def _not_started(cwd: Path, error: OSError) -> GitFailed:
    if not cwd.is_dir():
        return GitFailed(
            f"The directory {cwd} does not exist.", remedy="Check the path and try again."
        )
    return GitFailed(
        f"git could not be started: {error.strerror}.",
        remedy="Install git 2.38 or newer and make sure that it is on PATH.",
    )


def _remedy(words: str) -> str:
    if "dubious ownership" in words:
        return "Run the server as the owner of the repository, or add it to safe.directory."
    if "No space left" in words:
        return "Free some disk space and try again; nothing was changed."
    if ".lock': File exists" in words:
        return "Another git process holds the lock; try again when it has ended."
    return "Git's own words above say what it needs."
