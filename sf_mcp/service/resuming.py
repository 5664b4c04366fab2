"""Going on with a session that has no process: the same conversation, under a new lease."""

from collections.abc import Callable

from sf_mcp.core.models import Role, Session, Task
from sf_mcp.core.states import SessionEvent, SessionState, TaskState
from sf_mcp.service import answers
from sf_mcp.service.claims import ClaimService
from sf_mcp.service.sessions import SessionService
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import tasks
from sf_mcp.store.sessions import SESSIONS


class Resuming:
    """The part of dispatch that goes before anything new."""

    def __init__(self, claims: ClaimService, session_service: SessionService) -> None:
        """Claim and mint with these."""
        self._claims = claims
        self._sessions = session_service

    def next(
        self, tx: Transaction, may_go_on: Callable[[Transaction, Task], bool]
    ) -> tuple[Session, str, str, bool] | None:
        for task in tasks.TASKS.select(
            tx.db, "state = ? AND reserved_for IS NOT NULL ORDER BY number", TaskState.OPEN
        ):
            session = SESSIONS.get(tx.db, str(task.reserved_for))
            if session is None or session.state is not SessionState.PARKED:
                continue
            if not tx.graph.is_ready(task.id) or not may_go_on(tx, task):
                continue
            session = tx.move_session(
                session,
                SessionEvent.RESUME,
                pid=None,
                process_started="",
                stop_requested="",
                nudges=0,
                heard_at=tx.now,
                end=None,
            )
            self._claims.grant(tx, task, session.id)
            told = answers.text_of(answers.give_all_owed(tx, session.id))
            token = self._sessions.mint(tx, Role.WORKER, session.id)
            message = f"{told}\nYou hold {task.id} again. Go on with it.".strip()
            return session, token, message, True
        return None
