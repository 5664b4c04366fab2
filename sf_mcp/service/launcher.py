"""What the launcher has to do: start a session, or end one that the server wants ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Role, Session, SessionId
from sf_mcp.core.states import OF_THE_LAUNCHER
from sf_mcp.service.dispatch import DispatchService, WorkOrder
from sf_mcp.service.taking_over import wanted
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import sessions

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A session to end, and why."""

    session_id: SessionId
    reason: str


class HandOver(StrEnum):
    """Whether a person waits for a session."""

    NO = "no"
    AT_A_STEP = "at_a_step"
    """When its turn ends, or between two of its steps."""
    NOW = "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A session whose process is to end for a person, or need not any more."""

    session_id: SessionId
    how: HandOver


@dataclass(frozen=True, slots=True, kw_only=True)
class Directives:
    """The difference between what runs and what should."""

    order: WorkOrder | None = None
    stop: list[Stop] = field(default_factory=list[Stop])
    hand_over: list[Wish] = field(default_factory=list[Wish])

    @property
    def has_news(self) -> bool:
        """Return whether there is anything to do."""
        return self.order is not None or bool(self.stop) or bool(self.hand_over)


class LauncherService:
    """Use cases of the launcher's loop."""

    def __init__(self, workspace: Workspace, dispatch: DispatchService) -> None:
        """Work on this project."""
        self._workspace = workspace
        self._dispatch = dispatch

    def directives(
        self,
        caller: Caller,
        running: Sequence[str],
        may_start: bool,
        handing_over: Mapping[str, str] = NOTHING,
    ) -> Directives:
        """Compare what the launcher runs with what should run.

        `handing_over` is what it was told before of sessions that a person waits for.
        """
        caller.require(Role.PERSON, to="run the fleet")
        stop: list[Stop] = []
        hand_over: list[Wish] = []
        with self._workspace.read() as tx:
            for session_id in running:
                session = sessions.SESSIONS.get(tx.db, session_id)
                if session is None or session.state not in OF_THE_LAUNCHER:
                    stop.append(Stop(session_id=SessionId(session_id), reason="it has ended"))
                elif session.stop_requested:
                    stop.append(Stop(session_id=session.id, reason=session.stop_requested))
                elif (how := _wish_for(tx, session)) != handing_over.get(session_id, HandOver.NO):
                    hand_over.append(Wish(session_id=session.id, how=how))
        order = self._dispatch.next_order(caller) if may_start and not stop else None
        return Directives(order=order, stop=stop, hand_over=hand_over)


def _wish_for(tx: Transaction, session: Session) -> HandOver:
    takeover = wanted(tx, session)
    if takeover is None:
        return HandOver.NO
    return HandOver.NOW if takeover.is_urgent else HandOver.AT_A_STEP
