"""Dispatch: which session is started next, for what. The lease is granted before any process is.

Order: an answered session goes on before anything new; then conflicts, and then reviews, since
finished work waits for them; then questions; then the ready set. A task whose worktree cannot be
made, or whose last attempt failed a moment ago, never holds up the tasks behind it.
"""

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sf_mcp.core.account import gap_after_rest
from sf_mcp.core.errors import ConfigInvalid, StoneforgeError, StorageFailed
from sf_mcp.core.identity import Caller
from sf_mcp.core.interrupted import Trace
from sf_mcp.core.leases import is_over
from sf_mcp.core.models import (
    EndKind,
    Question,
    Role,
    Session,
    SessionId,
    Task,
    TaskId,
)
from sf_mcp.core.radar import first_to_start
from sf_mcp.core.states import QuestionState, SessionState
from sf_mcp.service import answers, opening
from sf_mcp.service.budgets import may_go_on
from sf_mcp.service.claims import ClaimService, grant_lease
from sf_mcp.service.conflict_state import for_stewards
from sf_mcp.service.holding import Touched, held_back, note_passed, nothing_touched
from sf_mcp.service.limits import held_reason
from sf_mcp.service.pauses import goes_on, paused_reason
from sf_mcp.service.requests import RequestService
from sf_mcp.service.resuming import Resuming
from sf_mcp.service.sessions import SessionService
from sf_mcp.service.spending import is_spent, of_fleet
from sf_mcp.service.starting import may_start, next_backoff_end
from sf_mcp.service.taking_over import given_back
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import leases, questions, sessions, tasks
from sf_mcp.store.sessions import SESSIONS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """One session to start: the claim is made, the place prepared, the token minted."""

    session: Session
    token: str
    is_resume: bool
    cwd: str
    message: str
    """The first user message."""
    environment: dict[str, str]
    """Git's identity and restrictions for the session's process."""
    may_edit: bool
    """It is to change files where it works, whatever its role does elsewhere."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session works."""

    cwd: str
    environment: dict[str, str]
    standing: str = ""
    """How far its work is, for a session that has been there before."""
    may_edit: bool = False
    """A steward resolves a conflict here."""


PlaceMaker = Callable[[Session], Place]
"""Makes the worktree of a session: the task's own, or a read-only one of the commit."""


class DispatchService:
    """Use cases of starting sessions."""

    def __init__(
        self,
        workspace: Workspace,
        claims: ClaimService,
        session_service: SessionService,
        requests: RequestService,
        make_place: PlaceMaker,
        touched: Touched = nothing_touched,
    ) -> None:
        """`make_place` prepares where a session works; `touched` is what the radar has seen."""
        self._workspace = workspace
        self._claims = claims
        self._sessions = session_service
        self._resuming = Resuming(claims, session_service)
        self._reviewable = requests.reviewable
        self._make_place = make_place
        self._touched = touched
        self._newest_start: tuple[SessionId, datetime] | None = None

    def next_order(self, caller: Caller) -> WorkOrder | None:
        """Claim the next piece of work for a new session; None when there is none to start."""
        caller.require(Role.PERSON, to="start sessions")
        while True:
            chosen = self._choose(caller)
            if chosen is None:
                return None
            session, token, message, is_resume = chosen
            self._newest_start = session.id, self._workspace.now()
            try:
                place = self._make_place(session)
            except (StoneforgeError, OSError) as error:
                logger.warning("No place for %s: %s", session.subject, error)
                # What is wrong for all of them must not use up the attempts of each.
                kind = (
                    EndKind.BAD_CONFIGURATION if _is_everyones(error) else EndKind.FAILED_TO_START
                )
                trace = Trace(is_resumable=is_resume)
                self._sessions.ended(caller, session.id, kind=kind, detail=str(error), trace=trace)
                continue
            return WorkOrder(
                session=session,
                token=token,
                is_resume=is_resume,
                cwd=place.cwd,
                message=f"{message}\n{place.standing}\nGo on." if is_resume else message,
                environment=place.environment,
                may_edit=place.may_edit or session.role is Role.WORKER,
            )

    def _choose(self, caller: Caller) -> tuple[Session, str, str, bool] | None:
        with self._workspace.read() as tx:
            if not self._has_work(tx):
                return None
        with self._workspace.write(caller) as tx:
            if paused_reason(tx) or held_reason(tx) or self._rest_ends(tx.now):
                return None
            if is_spent(of_fleet(tx, self._workspace.settings.budget)):
                return None
            alive = sessions.alive(tx.db)
            settings = self._workspace.settings
            workers = sum(session.role is Role.WORKER for session in alive)
            has_slot = workers < settings.orchestrator.max_concurrent
            if has_slot and (resumed := self._resuming.next(tx, self._may_go_on)):
                return resumed
            stewards = sum(session.role is Role.STEWARD for session in alive)
            if stewards < settings.agents.steward.count:
                for conflict, request in for_stewards(tx):
                    if leases.live_on(tx.db, request.id) or not may_start(tx, request.id):
                        continue
                    message = opening.of_conflict(request, conflict)
                    return self._start(tx, Role.STEWARD, request.id, message)
                for request in self._reviewable(tx):
                    if leases.live_on(tx.db, request.id) or not may_start(tx, request.id):
                        continue
                    return self._start(tx, Role.STEWARD, request.id, opening.of_review(request))
            directors = sum(session.role is Role.DIRECTOR for session in alive)
            if settings.agents.director.headless and directors == 0:
                for question in self._askable(tx):
                    message = (
                        opening.of_goal(question)
                        if is_goal(question)
                        else opening.of_question(tx, question)
                    )
                    return self._start(tx, Role.DIRECTOR, question.id, message)
            if has_slot and (task := self._first_startable(tx)):
                session, token = self._new_session(tx, Role.WORKER, task.id)
                self._claims.grant(tx, task, session.id)
                owed = answers.give_all_owed(tx, session.id)
                return session, token, opening.of_task(task, owed), False
            return None

    def _has_work(self, tx: Transaction) -> bool:
        return bool(
            tx.graph.ready(limit=1)
            or given_back(tx)
            or for_stewards(tx)
            or self._reviewable(tx)
            or questions.in_state(tx.db, QuestionState.OPEN)
        )

    def _may_go_on(self, tx: Transaction, task: Task) -> bool:
        return may_go_on(self._workspace, tx, task)

    def _first_startable(self, tx: Transaction) -> Task | None:
        """Return the first ready task that nothing but a free slot was missing for.

        One that would meet live work lets the others go first.
        """

        def must_wait(task_id: TaskId) -> bool:
            task = tasks.get(tx.db, task_id)
            return (
                task.reserved_for is not None
                or not may_start(tx, task_id)
                or not self._may_go_on(tx, task)
            )

        held = held_back(tx, self._touched)
        task_id, passed = first_to_start(
            tx.graph.in_ready_order(must_wait), is_held=held.__contains__
        )
        if task_id is None:
            return None
        note_passed(tx, passed, held)
        return tasks.get(tx.db, task_id)

    def _askable(self, tx: Transaction) -> list[Question]:
        """Open questions that the headless director may take now."""
        wait = timedelta(seconds=self._workspace.settings.agents.director.headless_after_seconds)
        return [
            question
            for question in questions.in_state(tx.db, QuestionState.OPEN)
            if not question.escalated
            and leases.live_on(tx.db, question.id) is None
            and (is_goal(question) or is_over(question.asked_at, wait, tx.now))
            and may_start(tx, question.id)
        ]

    def _rest_ends(self, now: datetime) -> datetime | None:
        """Return when the account's rest lets the next session start; None when it may now.

        Soon after a rest they start a little apart: if the limit is not over, few run into it.
        """
        park = self._workspace.gate.current(now)
        if park is None:
            return None
        ends = goes_on(self._workspace, park)
        if self._newest_start is not None:
            session_id, at = self._newest_start
            if park.until <= at <= now:
                ends = max(ends, at + gap_after_rest(park, now, session_id))
        return ends if now < ends else None

    def seconds_until_retry(self) -> float | None:
        """Return in how many seconds work that waits for the clock alone can start."""
        at = self.retry_at()
        return None if at is None else max(0.05, (at - self._workspace.now()).total_seconds())

    def retry_at(self) -> datetime | None:
        """Return when work that must wait for the clock alone can start; None when none does."""
        wait = timedelta(seconds=self._workspace.settings.agents.director.headless_after_seconds)
        with self._workspace.read() as tx:
            times = [rest] if (rest := self._rest_ends(tx.now)) else []
            times += [
                question.asked_at + wait
                for question in questions.in_state(tx.db, QuestionState.OPEN)
                if not question.escalated and not is_over(question.asked_at, wait, tx.now)
            ]
            if (over := next_backoff_end(tx)) is not None:
                times.append(over)
            return min(times, default=None)

    def _start(
        self, tx: Transaction, role: Role, subject: str, message: str
    ) -> tuple[Session, str, str, bool]:
        session, token = self._new_session(tx, role, subject)
        grant_lease(tx, subject, session.id)
        return session, token, message, False

    def _new_session(self, tx: Transaction, role: Role, subject: str) -> tuple[Session, str]:
        session = self.new_session(tx, role, subject)
        return session, self._sessions.mint(tx, role, session.id)

    def new_session(self, tx: Transaction, role: Role, subject: str) -> Session:
        """Add a session that is about to start; it has no token and holds nothing yet."""
        agents = self._workspace.settings.agents
        agent = {Role.WORKER: agents.worker, Role.STEWARD: agents.steward}.get(
            role, agents.director
        )
        session = Session(
            id=SessionId(str(uuid.uuid4())),
            name=sessions.free_name(tx.db, role),
            role=role,
            subject=subject,
            state=SessionState.STARTING,
            model=agent.model,
            pid=None,
            process_started="",
            is_turn_active=False,
            last_line="",
            context_tokens=0,
            context_window=0,
            cost_usd=0.0,
            stop_requested="",
            nudges=0,
            log_path="",
            created_at=tx.now,
            heard_at=tx.now,
            ended_at=None,
            end=None,
            end_detail="",
            starts=0,
            interrupted=(),
            taken_over_at=None,
        )
        SESSIONS.insert(tx.db, session)
        return session


def is_goal(question: Question) -> bool:
    """Return whether the question is a goal that a person gave the director to plan."""
    return question.task_id is None and question.session_id is None


def _is_everyones(error: Exception) -> bool:
    """Return whether no session could be started: the disk, the configuration, the identity."""
    return isinstance(error, (OSError, ConfigInvalid, StorageFailed)) or "No space left" in str(
        error
    )
