"""Sessions as the launcher reports them: started, heard, at a turn's end, ended."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sf_mcp.core.errors import Unauthorized
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import EndKind, Lease, Role, Session, SessionId, TaskId
from sf_mcp.core.states import (
    LIVE_SESSIONS,
    QuestionState,
    SessionEvent,
    SessionState,
    TaskEvent,
    TaskState,
)
from sf_mcp.core.text import one_line
from sf_mcp.service.claims import ClaimService
from sf_mcp.service.secret_files import read_secret, write_secret
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import facts, leases, questions, sessions, tasks

MOST_NUDGES = 2
"""How often a session that ends its turn without an outcome is told what is missing."""

PARK_WITHOUT_RESET = timedelta(minutes=5)
"""How long the fleet waits at a limit whose reset time is not known."""


class NextStep(StrEnum):
    """What the launcher does with a session whose turn has ended."""

    CONTINUE = "continue"
    FINISH = "finish"
    PARK = "park"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnVerdict:
    """The server's word on a session at rest; `message` is the next user message to send."""

    step: NextStep
    message: str = ""
    end: EndKind = EndKind.DONE


class SessionService:
    """Use cases of the launcher's side of sessions."""

    def __init__(self, workspace: Workspace, claims: ClaimService) -> None:
        """Work on this project."""
        self._workspace = workspace
        self._claims = claims

    # -- identity ------------------------------------------------------------------------------

    def authenticate(self, token: str) -> Caller:
        """Return who the token speaks for.

        Raises:
            Unauthorized: it is unknown, or its session has ended.
        """
        with self._workspace.peek() as tx:
            found = sessions.find_token(tx.db, token, tx.now)
            if found is None:
                raise Unauthorized(
                    "This token is unknown, or its session has ended.",
                    remedy="A session that has ended is started anew by the launcher; a person "
                    "uses `sf` in the project's folder.",
                )
            if found.session_id is None:
                return Caller(role=found.role, name=found.role.value)
            session = sessions.get(tx.db, found.session_id)
            return Caller(role=found.role, name=session.name, session_id=session.id)

    def mint(self, tx: Transaction, role: Role, session_id: SessionId | None) -> str:
        """Return a new token; only its hash is kept."""
        token = secrets.token_urlsafe(32)
        sessions.add_token(tx.db, token, role=role, session_id=session_id, at=tx.now)
        return token

    def ensure_person_token(self, caller: Caller, *, renew: bool = False) -> bool:
        """See that the person's token file holds a token that works; return whether it is a new one.

        May be done beside a running server: tokens are read from the database at each request.

        Raises:
            StorageFailed: the file cannot be written.
        """
        caller.require(Role.PERSON, to="renew the person's token")
        path = self._workspace.layout.person_token
        if not renew and self._is_token(read_secret(path)):
            path.chmod(0o600)
            return False
        # New one valid, file, old ones ended: after a crash anywhere the file's token works.
        with self._workspace.write(caller) as tx:
            token = self.mint(tx, Role.PERSON, None)
        write_secret(path, token)
        with self._workspace.write(caller) as tx:
            sessions.revoke_person_tokens(tx.db, but=token)
            tx.event("person_token_renewed")
        return True

    def _is_token(self, token: str) -> bool:
        with self._workspace.read() as tx:
            found = sessions.find_token(tx.db, token, tx.now)
        return found is not None and found.role is Role.PERSON

    # -- what the launcher reports ----------------------------------------------------------------

    def started(
        self, caller: Caller, session_id: str, *, pid: int, process_started: str, log_path: str
    ) -> Session:
        """Record the process of a session, so that any later launcher can find and end it."""
        caller.require(Role.PERSON, to="report processes")
        with self._workspace.write(caller) as tx:
            session = sessions.get(tx.db, session_id)
            tx.event("session_started", session.id, name=session.name, pid=pid)
            return tx.edit_session(
                session, pid=pid, process_started=process_started, log_path=log_path
            )

    def connected(self, caller: Caller, session_id: str, *, model: str) -> Session:
        """Record that the client reached our server: the session is running."""
        caller.require(Role.PERSON, to="report sessions")
        with self._workspace.write(caller) as tx:
            session = sessions.get(tx.db, session_id)
            if session.state is not SessionState.STARTING:
                return session
            return tx.move_session(
                session, SessionEvent.CONNECT, model=model or session.model, heard_at=tx.now
            )

    def heard(
        self,
        caller: Caller,
        session_id: str,
        *,
        is_turn_active: bool,
        last_line: str,
        context_tokens: int,
        context_window: int,
        cost_usd: float,
    ) -> Session:
        """Record what the stream says, and renew the lease: the process is alive."""
        caller.require(Role.PERSON, to="report sessions")
        seconds = self._workspace.settings.orchestrator.lease_seconds
        with self._workspace.write(caller) as tx:
            session = sessions.get(tx.db, session_id)
            if lease := leases.live_of(tx.db, session.id):
                leases.renew(tx.db, lease.number, tx.now + timedelta(seconds=seconds))
            return tx.edit_session(
                session,
                is_turn_active=is_turn_active,
                last_line=one_line(last_line, 200),
                context_tokens=context_tokens,
                context_window=context_window or session.context_window,
                cost_usd=max(cost_usd, session.cost_usd),
                heard_at=tx.now,
            )

    def turn_ended(self, caller: Caller, session_id: str) -> TurnVerdict:
        """Decide what becomes of a session whose turn has ended."""
        caller.require(Role.PERSON, to="report sessions")
        with self._workspace.write(caller) as tx:
            session = sessions.get(tx.db, session_id)
            verdict = self._verdict(tx, session)
            if verdict.step is NextStep.CONTINUE:
                tx.edit_session(session, nudges=session.nudges + 1)
            return verdict

    def stop_hook(self, caller: Caller) -> str:
        """Return what is missing before the calling session may end its turn; "" when nothing."""
        if caller.session_id is None:
            return ""
        with self._workspace.write(caller) as tx:
            session = sessions.get(tx.db, caller.session_id)
            verdict = self._verdict(tx, session)
            if verdict.step is not NextStep.CONTINUE:
                return ""
            tx.edit_session(session, nudges=session.nudges + 1)
            return verdict.message

    def _verdict(self, tx: Transaction, session: Session) -> TurnVerdict:
        lease = leases.live_of(tx.db, session.id)
        if lease is None or session.stop_requested:
            ended = leases.newest_of(tx.db, session.id)
            end = ended.end if ended and ended.end else EndKind.STOPPED
            return TurnVerdict(step=NextStep.FINISH, end=end)
        for question in questions.undelivered(tx.db, session.id):
            tx.edit_question(question, delivered_at=tx.now)
            return TurnVerdict(
                step=NextStep.CONTINUE,
                message=f"{question.id} was answered by {question.answered_by}: {question.answer}",
            )
        if session.role is Role.WORKER and questions.open_of_task(tx.db, TaskId(lease.subject)):
            return TurnVerdict(step=NextStep.PARK, end=EndKind.PARKED)
        if session.role is Role.DIRECTOR:
            question = questions.QUESTIONS.get(tx.db, lease.subject)
            if question is None or question.escalated or question.state is not QuestionState.OPEN:
                return TurnVerdict(step=NextStep.FINISH)
        if session.nudges >= MOST_NUDGES:
            return TurnVerdict(step=NextStep.FAIL, end=EndKind.NO_OUTCOME)
        return TurnVerdict(step=NextStep.CONTINUE, message=_missing(session, lease))

    def ended(
        self, caller: Caller, session_id: str, *, kind: EndKind, detail: str, resets_at: str = ""
    ) -> Session:
        """Record a session's end and settle what it held; repeated, it changes nothing.

        The caller has taken a snapshot of the worktree before.
        """
        caller.require(Role.PERSON, to="report sessions")
        with self._workspace.write(caller) as tx:
            session = sessions.get(tx.db, session_id)
            if session.state not in LIVE_SESSIONS:
                return session
            sessions.revoke_tokens(tx.db, session.id)
            lease = leases.live_of(tx.db, session.id)
            if lease is not None:
                kind = self._settle(tx, session, lease, kind, detail)
            if kind in (EndKind.USAGE_LIMIT, EndKind.OVERLOADED):
                self._park_fleet(tx, kind, detail, resets_at)
            if kind in (EndKind.AUTHENTICATION, EndKind.BAD_CONFIGURATION):
                facts.put(tx.db, "paused", f"{kind.value}: {detail}")
                tx.event("fleet_paused", reason=f"{kind.value}: {detail}")
            event = SessionEvent.PARK if kind is EndKind.PARKED else SessionEvent.EXIT
            tx.event("session_ended", session.id, name=session.name, end=kind.value, detail=detail)
            return tx.move_session(
                session,
                event,
                is_turn_active=False,
                ended_at=None if kind is EndKind.PARKED else tx.now,
                end=kind,
                end_detail=one_line(detail, 500),
            )

    def _settle(
        self, tx: Transaction, session: Session, lease: Lease, kind: EndKind, detail: str
    ) -> EndKind:
        """End the lease that a session still held at its end; return the kind that counts."""
        if session.role is not Role.WORKER:
            tx.end_lease(lease, kind, detail)
            return kind
        task = tasks.get(tx.db, lease.subject)
        if kind is EndKind.PARKED and task.state is TaskState.CLAIMED:
            question = questions.open_of_task(tx.db, task.id)
            if question is not None:
                tx.end_lease(lease, EndKind.PARKED, question.id)
                tx.move_task(task, TaskEvent.PARK)
                return EndKind.PARKED
            # Answered between the turn's end and now: the next dispatch resumes it.
            tx.end_lease(lease, EndKind.PARKED, "answered meanwhile")
            until = self._workspace.settings.orchestrator.reservation_seconds
            tx.move_task(
                task,
                TaskEvent.LET_GO,
                reserved_for=session.id,
                reserved_until=tx.now + timedelta(seconds=until),
            )
            return EndKind.PARKED
        self._claims.let_go(tx, lease, kind, detail)
        return kind

    def _park_fleet(self, tx: Transaction, kind: EndKind, detail: str, resets_at: str) -> None:
        until = resets_at or (tx.now + PARK_WITHOUT_RESET).isoformat()
        facts.put(tx.db, "parked_until", until)
        facts.put(tx.db, "parked_reason", f"{kind.value}: {one_line(detail, 200)}")
        tx.event("fleet_parked", reason=kind.value, until=until)

    # -- leases ----------------------------------------------------------------------------------

    def expire_leases(self, caller: Caller) -> list[Lease]:
        """End the leases whose time has passed; their sessions are fenced and told to stop."""
        with self._workspace.read() as tx:
            if not leases.expired(tx.db, tx.now):
                return []
        with self._workspace.write(caller) as tx:
            expired = leases.expired(tx.db, tx.now)
            for lease in expired:
                session = sessions.get(tx.db, lease.session_id)
                tx.edit_session(session, stop_requested="its lease expired")
                sessions.revoke_tokens(tx.db, session.id)
                if session.role is Role.WORKER:
                    self._claims.let_go(tx, lease, EndKind.LEASE_EXPIRED, "not heard of in time")
                else:
                    tx.end_lease(lease, EndKind.LEASE_EXPIRED, "not heard of in time")
            return expired

    def release_reservations(self, caller: Caller) -> None:
        """Open tasks whose reservation for an answered session has run out to anyone."""
        with self._workspace.read() as tx:
            over = _overdue_reservations(tx)
        if not over:
            return
        with self._workspace.write(caller) as tx:
            for task_id in _overdue_reservations(tx):
                task = tasks.get(tx.db, task_id)
                if task.reserved_for:
                    session = sessions.get(tx.db, task.reserved_for)
                    if session.state is SessionState.PARKED:
                        tx.move_session(session, SessionEvent.EXIT, ended_at=tx.now)
                tx.edit_task(task, reserved_for=None, reserved_until=None, ahead=True)
                tx.event("reservation_over", task.id)

    # -- for people ------------------------------------------------------------------------------

    def list_sessions(self, caller: Caller, *, all: bool = False) -> list[Session]:
        """Return the sessions that are alive or parked, or all, oldest first."""
        living = (*sorted(LIVE_SESSIONS), SessionState.PARKED)
        with self._workspace.read() as tx:
            return sessions.in_state(tx.db, *(tuple(SessionState) if all else living))

    def get_session(self, caller: Caller, session: str) -> Session:
        """Return one session, by id or name."""
        with self._workspace.read() as tx:
            return sessions.get(tx.db, session)

    def stop_session(self, caller: Caller, session: str, *, reason: str = "") -> Session:
        """Ask the launcher to end a session; its work is snapshotted and its task opens again."""
        caller.require(Role.PERSON, to="stop sessions")
        with self._workspace.write(caller) as tx:
            found = sessions.get(tx.db, session)
            if found.state not in LIVE_SESSIONS:
                return found
            tx.event("stop_requested", found.id, name=found.name, reason=reason)
            return tx.edit_session(found, stop_requested=reason or f"stopped by {caller.name}")


def _overdue_reservations(tx: Transaction) -> list[TaskId]:
    return [
        task.id
        for task in tasks.TASKS.select(tx.db, "reserved_until IS NOT NULL AND state = 'open'")
        if task.reserved_until is not None and task.reserved_until <= tx.now
    ]


def _missing(session: Session, lease: Lease) -> str:
    if session.role is Role.STEWARD:
        return (
            f"The review of {lease.subject} has no outcome yet. Call approve_merge or send_back "
            "with your reasons, or escalate."
        )
    if session.role is Role.DIRECTOR:
        return (
            f"{lease.subject} has no outcome yet. Answer it with answer_question, or pass it on "
            "with escalate."
        )
    return (
        f"Your task {lease.subject} has no outcome yet. Commit your work, then call request_merge "
        "if it is complete, write_handoff if a fresh session should go on, ask_director if you "
        "need a decision, or release_task if you cannot do it."
    )
