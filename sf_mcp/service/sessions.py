"""Sessions as the launcher reports them: started, heard, at a turn's end, ended."""

import secrets
from collections.abc import Sequence
from math import isfinite

from sf_mcp.core.errors import Unauthorized
from sf_mcp.core.identity import Caller
from sf_mcp.core.interrupted import Trace
from sf_mcp.core.models import (
    EndKind,
    Role,
    Session,
    SessionId,
)
from sf_mcp.core.states import (
    LIVE_SESSIONS,
    OF_THE_LAUNCHER,
    WAITING_SESSIONS,
    SessionEvent,
    SessionState,
    TaskEvent,
    TaskState,
)
from sf_mcp.core.text import one_line
from sf_mcp.service import answers, limits, taking_over
from sf_mcp.service.browsers import sign_out_all
from sf_mcp.service.budgets import keep_within
from sf_mcp.service.claims import ClaimService
from sf_mcp.service.filling import with_room
from sf_mcp.service.pauses import pause
from sf_mcp.service.settling import Settling
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.turns import NextStep, TurnVerdict, verdict_on
from sf_mcp.service.used import UsageReport, record_usage
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import calls, leases, questions, sessions, tasks
from sf_mcp.store.secret_files import read_secret, write_secret

NO_TRACE = Trace()
"""Of a session of which no process was ever seen."""


class SessionService:
    """Use cases of the launcher's side of sessions."""

    def __init__(self, workspace: Workspace, claims: ClaimService) -> None:
        """Work on this project."""
        self._workspace = workspace
        self._claims = claims
        self._settling = Settling(workspace, claims)
        self.settle = self._settling.settle

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
        """See that the person's token file holds one that works; return whether it is a new one.

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
            sign_out_all(tx, reason="the person's token was renewed")
            tx.event("person_token_made")
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
                session,
                pid=pid,
                process_started=process_started,
                log_path=log_path,
                starts=session.starts + (session.pid is None),
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
        is_turn_active: bool | None = None,
        last_line: str | None = None,
        context_tokens: int,
        context_window: int,
        cost_usd: float,
        usage: Sequence[UsageReport] = (),
    ) -> Session:
        """Record what the stream says, and renew the lease: the process is alive.

        What is not known (None) stays as it was, as do the words of one that a person has: hooks
        tell them.

        `usage` is what the present process has used so far, by day; also that of one whose session
        has ended meanwhile counts.
        """
        caller.require(Role.PERSON, to="report sessions")
        with self._workspace.write(caller) as tx:
            session = sessions.get(tx.db, session_id)
            record_usage(tx, session, usage)
            if session.state not in LIVE_SESSIONS:
                return session
            if lease := leases.live_of(tx.db, session.id):
                tx.renew_lease(lease)
            session = tx.edit_session(
                session,
                is_turn_active=session.is_turn_active if is_turn_active is None else is_turn_active,
                last_line=session.last_line if last_line is None else one_line(last_line, 200),
                context_tokens=context_tokens,
                context_window=context_window or session.context_window,
                cost_usd=max(cost_usd, session.cost_usd)
                if isfinite(cost_usd)
                else session.cost_usd,
                heard_at=tx.now,
            )
            return keep_within(self._workspace, tx, session)

    def turn_ended(self, caller: Caller, session_id: str, *, turn: int = 0) -> TurnVerdict:
        """Decide what becomes of a session whose turn has ended.

        `turn` counts the turns of the session's process, from 1. Told of the same turn again, since
        the reply was lost, this gives the same word; 0 is a turn of its own each time.
        """
        caller.require(Role.PERSON, to="report sessions")
        with self._workspace.write(caller) as tx:
            session = sessions.get(tx.db, session_id)
            key = f"{session.id}:{session.starts}:turn {turn}"
            if turn and (known := calls.find(tx.db, key, calls.TURN_ENDED, "")) is not None:
                return TurnVerdict.from_json(known)
            verdict = self._word_on(tx, session)
            if turn:
                calls.store(tx.db, key, calls.TURN_ENDED, "", verdict.as_json(), tx.now)
            return verdict

    def _word_on(self, tx: Transaction, session: Session) -> TurnVerdict:
        answers.acknowledge(tx, session.id)
        verdict = verdict_on(tx, session)
        if verdict.step is not NextStep.CONTINUE:
            return verdict
        if answered := questions.undelivered(tx.db, session.id):
            # The launcher writes it to the session's own stdin. If either of them dies before that,
            # the answer is owed still.
            answers.give(tx, answered)
            tx.edit_session(session, nudges=0)
        else:
            tx.edit_session(session, nudges=session.nudges + 1)
        return verdict

    def stop_hook(self, caller: Caller) -> str:
        """Return what is missing before the calling session may end its turn; "" when nothing.

        An answer that waits is no reason to hold it up: hooks fail open, so the reply may reach
        nobody. The launcher tells it once the turn has ended.
        """
        if caller.session_id is None:
            return ""
        with self._workspace.write(caller) as tx:
            session = sessions.get(tx.db, caller.session_id)
            verdict = verdict_on(tx, session)
            if verdict.step is not NextStep.CONTINUE or questions.undelivered(tx.db, session.id):
                return ""
            tx.edit_session(session, nudges=session.nudges + 1)
            return verdict.message

    def ended(
        self,
        caller: Caller,
        session_id: str,
        *,
        kind: EndKind,
        detail: str,
        resets_at: str = "",
        trace: Trace = NO_TRACE,
        pid: int = 0,
    ) -> Session:
        """Record the end of a session's process and settle what it held; again, nothing changes.

        One that a person waits for is theirs, with all that it holds.

        The caller has taken a snapshot of the worktree before.
        """
        caller.require(Role.PERSON, to="report sessions")
        detail = one_line(detail, 500)
        with self._workspace.write(caller) as tx:
            session = sessions.get(tx.db, session_id)
            if session.state not in OF_THE_LAUNCHER or (pid and session.pid != pid):
                return session
            sessions.revoke_tokens(tx.db, session.id)
            left_open = self._settling.interrupted(tx, session, trace)
            if kind in (EndKind.USAGE_LIMIT, EndKind.OVERLOADED):
                limits.meet(self._workspace, tx, kind, detail, resets_at)
            if kind in (EndKind.AUTHENTICATION, EndKind.BAD_CONFIGURATION):
                pause(tx, f"{kind.value}: {detail}")
            theirs = taking_over.after_the_process(tx, session, kind, trace, left_open)
            if theirs is not None:
                return theirs
            if kind is EndKind.TAKEN_OVER:
                kind = EndKind.STOPPED  # it cannot be gone on with
            step = self._settling.settle(tx, session, kind, detail, trace)
            if kind is EndKind.PARKED and step is not SessionEvent.PARK:
                kind = EndKind.STOPPED  # what it waited for is over already
            tx.event("session_ended", session.id, name=session.name, end=kind.value, detail=detail)
            if step is SessionEvent.PARK and session.state is SessionState.STARTING:
                # Its connection was never reported, but it has asked a question.
                session = tx.move_session(session, SessionEvent.CONNECT)
            return tx.move_session(
                session,
                step,
                is_turn_active=False,
                ended_at=tx.now if step is SessionEvent.EXIT else None,
                end=kind,
                end_detail=detail,
                interrupted=left_open if step is SessionEvent.BACK_OFF else (),
            )

    # -- for people ------------------------------------------------------------------------------

    def list_sessions(self, _caller: Caller, *, all: bool = False) -> list[Session]:
        """Return the sessions that are alive, parked or about to be resumed, or all; by age."""
        living = (*sorted(LIVE_SESSIONS), *WAITING_SESSIONS)
        with self._workspace.read() as tx:
            found = sessions.in_state(tx.db, *(tuple(SessionState) if all else living))
        return [with_room(session, self._most_tokens) for session in found]

    def _most_tokens(self) -> int:
        return self._workspace.settings.agents.worker.max_session_tokens

    def get_session(self, _caller: Caller, session: str) -> Session:
        """Return one session, by id or name."""
        with self._workspace.read() as tx:
            return sessions.get(tx.db, session)

    def stop_session(self, caller: Caller, session: str, *, reason: str = "") -> Session:
        """Ask the launcher to end a session; its work is snapshotted and its task opens again."""
        caller.require(Role.PERSON, to="stop sessions")
        with self._workspace.write(caller) as tx:
            found = sessions.get(tx.db, session)
            if found.state in WAITING_SESSIONS:
                return self._give_up_waiting(tx, found)
            if found.state not in LIVE_SESSIONS:
                return found
            tx.event("stop_requested", found.id, name=found.name, reason=reason)
            reason = reason or f"stopped by {caller.name}"
            if found.state is SessionState.TAKEN_OVER and (
                lease := leases.live_of(tx.db, found.id)
            ):
                # No launcher ends it: it is fenced now, and told at its next tool call.
                self._claims.let_go(tx, lease, EndKind.STOPPED, one_line(reason, 500))
            return tx.edit_session(found, stop_requested=reason)

    def _give_up_waiting(self, tx: Transaction, session: Session) -> Session:
        """End a session that has no process; its task goes to a fresh one, with its question."""
        if lease := leases.live_of(tx.db, session.id):
            self._claims.let_go(tx, lease, EndKind.STOPPED, "")
        task = tasks.get(tx.db, session.subject)
        if task.state is TaskState.WAITING:
            tx.move_task(task, TaskEvent.UNPARK, ahead=True)
        elif task.reserved_for == session.id:
            tx.edit_task(task, reserved_for=None, reserved_until=None, ahead=True)
        tx.event("session_ended", session.id, name=session.name, end=EndKind.STOPPED.value)
        return tx.move_session(session, SessionEvent.EXIT, ended_at=tx.now, end=EndKind.STOPPED)


def has_spoken(session: Session) -> bool:
    """Return whether a process of the session was seen to connect, so that it can be resumed."""
    before = session.starts - (session.pid is not None)
    return session.state is not SessionState.STARTING or before > 0
