"""Who is calling. It comes from the connection's token, or from sitting at the terminal."""

import re
from dataclasses import dataclass

from sf_mcp.core.errors import NotAllowed
from sf_mcp.core.models import Role, SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One authenticated caller."""

    role: Role
    name: str
    """What events call it: `worker-2`, `person`, `server`."""
    session_id: SessionId | None = None

    def require(self, *roles: Role, to: str) -> None:
        """Refuse unless the caller has one of the roles.

        Raises:
            NotAllowed: it has another; `to` finishes the sentence "only … may".
        """
        if self.role not in roles:
            allowed = " or ".join(f"a {role.value}" for role in roles)
            raise NotAllowed(
                f"{self.name} is a {self.role.value}; only {allowed} may {to}.",
                remedy="Use the tools of your own role.",
            )


PERSON = Caller(role=Role.PERSON, name="person")
SERVER = Caller(role=Role.PERSON, name="server")
"""The server's own loops."""
LAUNCHER = Caller(role=Role.PERSON, name="launcher")
"""The launcher, which speaks with the token of the person who started it."""

SESSION_VARIABLE = re.compile(r"(GIT|SF|ANTHROPIC|CLAUDE_CODE)_|CLAUDECODE$")
"""Variables of git's and of a session's own. No check is given them: it must say the same whoever
started it."""
