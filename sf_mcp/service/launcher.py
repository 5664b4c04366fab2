"""What the launcher has to do: start a session, or end one that the server wants ended."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Role, SessionId
from sf_mcp.core.states import LIVE_SESSIONS
from sf_mcp.service.dispatch import DispatchService, WorkOrder
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A session to end, and why."""

    session_id: SessionId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Directives:
    """The difference between what runs and what should."""

    order: WorkOrder | None = None
    stop: list[Stop] = field(default_factory=list[Stop])

    @property
    def has_news(self) -> bool:
        """Return whether there is anything to do."""
        return self.order is not None or bool(self.stop)


class LauncherService:
    """Use cases of the launcher's loop."""

    def __init__(self, workspace: Workspace, dispatch: DispatchService) -> None:
        """Work on this project."""
        self._workspace = workspace
        self._dispatch = dispatch

    def directives(self, caller: Caller, running: Sequence[str], may_start: bool) -> Directives:
        """Compare what the launcher runs with what should run."""
        caller.require(Role.PERSON, to="run the fleet")
        stop: list[Stop] = []
        with self._workspace.read() as tx:
            for session_id in running:
                session = sessions.SESSIONS.get(tx.db, session_id)
                if session is None or session.state not in LIVE_SESSIONS:
                    stop.append(Stop(session_id=SessionId(session_id), reason="it has ended"))
                elif session.stop_requested:
                    stop.append(Stop(session_id=session.id, reason=session.stop_requested))
        order = self._dispatch.next_order(caller) if may_start and not stop else None
        return Directives(order=order, stop=stop)
