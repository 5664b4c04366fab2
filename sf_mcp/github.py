"""GitHub's own `gh`, run as a person would: their login, argument lists, no shell.

What fails says why and what to do; nothing here decides whether that matters.
"""

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sf_mcp import process
from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.text import one_line

TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.1
SESSION_VARIABLE = re.compile(r"(GIT|SF|ANTHROPIC|CLAUDE_CODE)_|CLAUDECODE$")
"""What a session or git set for itself and the person did not set for `gh`."""
AUTHENTICATION = 4
"""`gh`'s exit code for a missing login."""

_HOSTED = re.compile(
    r"^(?:[a-z+]+://(?:[^@/]*@)?|[^@/:]+@)(?P<host>[\w.-]+\.\w+)(?::\d+)?[/:]"
    r"(?P<name>[\w.-]+/[\w.-]+?)(?:\.git)?/?$"
)


class GithubFailed(StoneforgeError):
    """`gh` is missing, refuses, or cannot reach GitHub."""

    code = "github_failed"

    def __init__(self, message: str, *, remedy: str = "", is_general: bool = False) -> None:
        """`is_general`: any other call would fail as well."""
        super().__init__(message, remedy=remedy)
        self.is_general = is_general


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A pull request as GitHub has it."""

    number: int
    url: str
    state: str
    """`OPEN`, `CLOSED` or `MERGED`."""


class Github:
    """The pull requests of one repository."""

    def __init__(self, root: Path, url: str, cancel: threading.Event) -> None:
        """Run `gh` in `root`; `url` is that of the remote, `cancel` ends what runs."""
        self._root = root
        self._cancel = cancel
        found = _HOSTED.match(url)
        self._where = ["--repo", f"{found['host']}/{found['name']}"] if found else []

    def find_open(self, branch: str) -> Found | None:
        """Return the open pull request of the branch."""
        listed = self._json(
            "list",
            "--head",
            branch,
            "--state",
            "open",
            "--json",
            "number,url,state",
            "--limit",
            "1",
        )
        return _found(listed[0]) if listed else None

    def open(self, *, branch: str, onto: str, title: str, body: str) -> Found:
        """Open a pull request."""
        said = self._run(
            ["create", "--head", branch, "--base", onto, "--title", title, "--body-file", "-"],
            stdin=body,
        )
        urls = re.findall(r"https?://\S+/pull/(\d+)", said)
        if not urls:
            raise GithubFailed(f"gh has opened a pull request and said only: {one_line(said, 200)}")
        url = said.split()[-1]
        return Found(number=int(urls[-1]), url=url, state="OPEN")

    def edit(self, number: int, *, title: str, body: str) -> None:
        """Set its title and text."""
        self._run(["edit", str(number), "--title", title, "--body-file", "-"], stdin=body)

    def comment(self, number: int, text: str, *, mark: str) -> None:
        """Say something below it, unless that was said before: `mark` is a hidden part of it."""
        hidden = f"<!-- {mark} -->"
        seen = self._json("view", str(number), "--json", "comments")
        if any(hidden in str(one.get("body", "")) for one in seen.get("comments", ())):
            return
        self._run(["comment", str(number), "--body-file", "-"], stdin=f"{text}\n\n{hidden}\n")

    def close(self, number: int) -> None:
        """Close it; one that is closed or merged stays so."""
        if self._json("view", str(number), "--json", "state").get("state") == "OPEN":
            self._run(["close", str(number)])

    def _json(self, *arguments: str) -> Any:
        said = self._run(arguments)
        try:
            return json.loads(said)
        except ValueError as error:
            raise GithubFailed(f"gh answered something else: {one_line(said, 200)}") from error

    def _run(self, arguments: Sequence[str], *, stdin: str = "") -> str:
        own = {name: text for name, text in os.environ.items() if not SESSION_VARIABLE.match(name)}
        quiet = {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"}
        try:
            child = process.spawn(
                ["gh", "pr", arguments[0], *self._where, *arguments[1:]],
                cwd=self._root,
                env={**own, **quiet},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise GithubFailed(
                f"gh could not be started: {error.strerror}.",
                remedy="Install it (https://cli.github.com) and run `gh auth login`, or set "
                "merge.requests: none.",
                is_general=True,
            ) from error
        with child:
            try:
                said, complaint = self._talk(child, stdin.encode())
            except BaseException:
                process.end_child(child, grace_seconds=1.0)
                raise
        words = one_line(complaint.decode("utf-8", "replace"), 300)
        if child.returncode == 0:
            return said.decode("utf-8", "replace")
        if child.returncode == AUTHENTICATION or "gh auth login" in words:
            raise GithubFailed(
                f"gh is not logged in: {words}", remedy="Run `gh auth login`.", is_general=True
            )
        raise GithubFailed(
            f"gh pr {arguments[0]} failed (exit {child.returncode}): {words or 'without a word'}",
            remedy=f"See what it says yourself, in {self._root}: gh pr list",
        )

    def _talk(self, child: "subprocess.Popen[bytes]", stdin: bytes) -> tuple[bytes, bytes]:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        given: bytes | None = stdin
        while True:
            try:
                return child.communicate(given, timeout=POLL_SECONDS)
            except subprocess.TimeoutExpired:
                given = None  # communicate goes on where it was
            if self._cancel.is_set():
                raise GithubFailed("The server stops.", is_general=True)
            if time.monotonic() >= deadline:
                raise GithubFailed(
                    f"gh did not end within {TIMEOUT_SECONDS:g} s and was stopped.",
                    remedy="See whether GitHub can be reached: gh auth status",
                    is_general=True,
                )


def _found(value: Any) -> Found:
    facts = cast(dict[str, Any], value)
    return Found(number=int(facts["number"]), url=str(facts["url"]), state=str(facts["state"]))
