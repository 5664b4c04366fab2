"""How full a worker's context is, and what follows: the handoff is asked for, then insisted on.

Hooks say it first, but a client lets a tool run when its hook cannot be reached; so the tools say
it too, and there it is a rule.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Role, Session
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import sessions

HANDOFF_TOOL = "write_handoff"
LAST_TOOLS = frozenset({HANDOFF_TOOL, "request_merge", "get_task"})
"""Of our own, what a session may still use when its context is nearly full."""

ENDING_TOOLS = frozenset({HANDOFF_TOOL, "request_merge", "release_task"})
"""After these nothing more is wanted of a session."""


class Fullness(StrEnum):
    """What is wanted of a session at its present fill."""

    FREE = "free"
    ASKED = "asked"
    RESTRICTED = "restricted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """A session's fill, as it was last reported."""

    tokens: int
    stage: Fullness

    @property
    def request(self) -> str:
        """What to tell the session after a tool call; empty while nothing is asked."""
        match self.stage:
            case Fullness.FREE:
                return ""
            case Fullness.ASKED:
                return (
                    f"Your context holds {self.tokens:,} tokens. Finish the step in hand, commit, "
                    "and call write_handoff; a fresh session goes on with the task."
                )
            case Fullness.RESTRICTED:
                return self.demand

    @property
    def demand(self) -> str:
        """What to tell a session that may do nothing else any more."""
        return (
            f"Your context is nearly full ({self.tokens:,} tokens). Call write_handoff now: "
            "uncommitted files are kept, and a fresh session goes on from there."
        )


def with_room(session: Session, most_tokens: Callable[[], int]) -> Session:
    """Return the session with the room of its context for its window.

    A worker uses no more of its model's window than `maxSessionTokens`, which `most_tokens` gives:
    to read the configuration costs as much as all the rest of a short command.
    """
    if session.role is not Role.WORKER or not session.context_window:
        return session
    return replace(session, context_window=min(session.context_window, most_tokens()))


def fill_of(workspace: Workspace, caller: Caller) -> Fill:
    """Return the fill of the calling session; only workers are ever asked for anything."""
    if caller.role is not Role.WORKER or caller.session_id is None:
        return Fill(tokens=0, stage=Fullness.FREE)
    with workspace.peek() as tx:
        session = sessions.get(tx.db, caller.session_id)
    worker = workspace.settings.agents.worker
    marks = worker.handoff_thresholds(session.context_window or worker.max_session_tokens)
    tokens = session.context_tokens
    if tokens >= marks.restrict:
        return Fill(tokens=tokens, stage=Fullness.RESTRICTED)
    return Fill(tokens=tokens, stage=Fullness.ASKED if tokens >= marks.ask else Fullness.FREE)
