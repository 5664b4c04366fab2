"""Going on with a session that has no process: the same conversation, under a new lease.

What the session is told first is the state as the server has it: its conversation ends before the
last thing that it did, and others may have acted since.
"""

from collections.abc import Callable
from datetime import datetime

from sf_mcp.core import recovery
from sf_mcp.core.models import Lease, Role, Session, Task
from sf_mcp.core.states import SessionEvent, SessionState
from sf_mcp.service import answers, taking_over
from sf_mcp.service.claims import ClaimService
from sf_mcp.service.sessions import SessionService
from sf_mcp.service.starting import may_start, session_to_resume
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import leases, tasks


class Resuming:
    """The part of dispatch that goes before anything new."""

    def __init__(self, claims: ClaimService, session_service: SessionService) -> None:
        """Claim and mint with these."""
        self._claims = claims
        self._sessions = session_service

    def next(
        self, tx: Transaction, may_go_on: Callable[[Transaction, Task], bool]
    ) -> tuple[Session, str, str, bool] | None:
        """Give a task back to the session that it is kept for; None when none is due.

        One that was parked comes with the answers that it has not had yet, one whose process has
        ended with what became of the calls that this cut short. Both get what there is of either.
        """
        if (given_back := self._given_back(tx, may_go_on)) is not None:
            return given_back
        for task in tasks.reserved(tx.db):
            session = session_to_resume(tx, task.id)
            if session is None or not tx.graph.is_ready(task.id):
                continue
            if session.state is SessionState.BACKOFF and not may_start(tx, task.id):
                continue
            if not may_go_on(tx, task):
                continue
            lease_before = leases.newest_of(tx.db, session.id)
            before = session
            session = _resumed(tx, session)
            task, lease = self._claims.grant(tx, task, session.id)
            tx.event("session_resumed", session.id, name=session.name, task=task.id)
            parts = [
                _ending(before, lease_before, tx.now)
                if before.state is SessionState.BACKOFF
                else "",
                *session.interrupted,
                answers.text_of(answers.give_all_owed(tx, session.id)),
                _standing(task, lease),
            ]
            token = self._sessions.mint(tx, Role.WORKER, session.id)
            return session, token, "\n".join(filter(None, parts)), True
        return None

    def _given_back(
        self, tx: Transaction, may_go_on: Callable[[Transaction, Task], bool]
    ) -> tuple[Session, str, str, bool] | None:
        """Go on with a session that a person has left; its lease was never ended."""
        for session in taking_over.given_back(tx):
            lease = leases.live_of(tx.db, session.id)
            if lease is None or not may_go_on(tx, task := tasks.get(tx.db, lease.subject)):
                continue
            tx.renew_lease(lease)
            session = _resumed(tx, session)
            tx.event("session_resumed", session.id, name=session.name, task=task.id)
            parts = [
                *session.interrupted,
                answers.text_of(answers.give_all_owed(tx, session.id)),
                _standing(task, lease),
            ]
            token = self._sessions.mint(tx, Role.WORKER, session.id)
            return session, token, "\n".join(filter(None, parts)), True
        return None


def _resumed(tx: Transaction, session: Session) -> Session:
    return tx.move_session(
        session,
        SessionEvent.RESUME,
        pid=None,
        process_started="",
        stop_requested="",
        nudges=0,
        heard_at=tx.now,
        end=None,
    )


def _ending(session: Session, lease: Lease | None, now: datetime) -> str:
    """Return what ended the process before, and when."""
    ended_at = lease.ended_at if lease is not None else None
    kind = session.end
    how = recovery.RESUMED.get(kind, "has ended") if kind is not None else "has ended"
    when = ""
    if ended_at is not None:
        seconds = max(0, int((now - ended_at).total_seconds()))
        when = f" {seconds} s ago ({ended_at:%Y-%m-%d %H:%M:%S} UTC)"
    detail = f": {session.end_detail.rstrip('.')}" if session.end_detail else ""
    return (
        f"Your process {how}{when}{detail}. You are the same session in a new process, and your "
        "conversation may lack the last thing that you did."
    )


def _standing(task: Task, lease: Lease) -> str:
    return (
        f"You hold {task.id} again (fencing token {lease.fence}); claim_task gives you its brief "
        "if you need it."
    )
