"""Who a commit is by: the person's identity as git would use it, and the server's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from os import environ
from pathlib import Path

from sf_mcp.git.command import GitFailed, run_git


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    name: str
    email: str

    def environment(self, when: datetime | None = None) -> dict[str, str]:
        """Return the variables that make git commit as this identity, at `when` if given."""
        variables = {
            "GIT_AUTHOR_NAME": self.name,
            "GIT_AUTHOR_EMAIL": self.email,
            "GIT_COMMITTER_NAME": self.name,
            "GIT_COMMITTER_EMAIL": self.email,
        }
        if when is not None:
            date = f"{int(when.timestamp())} +0000"
            variables |= {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        return variables


SERVER = Identity(name="Stoneforge", email="stoneforge@localhost")
"""Snapshots are the server's own commits; they land nowhere."""


def identity(checkout: Path, variables: Mapping[str, str] = environ) -> Identity | None:
    """Return the person's effective identity in `checkout`, or None if nobody ever gave one.

    An address that git would make up from the user and host name does not count.
    """
    theirs = {
        name: variables[name]
        for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "EMAIL")
        if variables.get(name)
    }
    try:
        line = run_git(
            ["-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT"],
            cwd=checkout,
            extra={**theirs, "GIT_CEILING_DIRECTORIES": ""},
        ).text
    except GitFailed:
        return None
    name, _, rest = line.partition(" <")
    email = rest.partition(">")[0]
    return Identity(name=name, email=email) if name and email else None
