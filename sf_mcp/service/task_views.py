"""A task with all that was done about it, as one page shows it.

Not here: its diffs (`diffs`), its snapshots, which git lists, and its transcripts: each of these is
asked for by itself, since it may be long.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sf_mcp.core.identity import Caller
from sf_mcp.core.models import (
    EndKind,
    Handoff,
    LateWork,
    MergeRequest,
    Plan,
    Question,
    RepairNote,
    Role,
    Session,
    SessionId,
    Task,
    TaskId,
)
from sf_mcp.core.states import SessionState, TaskState
from sf_mcp.core.why import Why
from sf_mcp.service.filling import with_room
from sf_mcp.service.handing_off import Criterion, criteria_of
from sf_mcp.service.merge_status import merge_status
from sf_mcp.service.plan_views import standing
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import (
    handoffs,
    late_work,
    leases,
    merge_requests,
    plans,
    questions,
    sessions,
    tasks,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A task at the other end of a dependency."""

    id: TaskId
    title: str
    state: TaskState
    standing: str
    """Its state, with `ready` or `blocked` in the place of `open`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A time for which a session had the task."""

    session_id: SessionId
    session: str
    started_at: datetime
    ended_at: datetime | None
    """None while it has it."""
    end: EndKind | None
    end_detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSeen:
    """A session that was started for the task or for one of its merge requests."""

    id: SessionId
    name: str
    role: Role
    subject: str
    """The task, or the merge request."""
    state: SessionState
    is_turn_active: bool
    model: str
    last_line: str
    context_tokens: int
    context_window: int
    cost_usd: float
    starts: int
    """How many processes it has had."""
    has_log: bool
    """There is a transcript to read."""
    created_at: datetime
    heard_at: datetime
    ended_at: datetime | None
    end: EndKind | None
    end_detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSeen:
    """A merge request of the task."""

    request: MergeRequest
    status: str
    """One phrase: what it waits for, or what became of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHistory:
    """A task with everything beside it, each list oldest first."""

    task: Task
    plan: Plan
    standing: str
    """Its state, with `ready` or `blocked` in the place of `open`."""
    effective_priority: int
    remaining_minutes: float
    """The longest path, by estimates, from it through what waits for it; 0 when it has ended."""
    is_critical: bool
    """It is on its plan's critical path."""
    why: Why
    criteria: list[Criterion]
    depends_on: list[Neighbour]
    blocks: list[Neighbour]
    attempts: list[Attempt]
    sessions: list[SessionSeen]
    cost_usd: float
    """Of all these sessions."""
    handoffs: list[Handoff]
    late_work: list[LateWork]
    repair_notes: list[RepairNote]
    questions: list[Question]
    merge_requests: list[RequestSeen]


class TaskViewService:
    """Use cases of looking at a task as a whole."""

    def __init__(self, workspace: Workspace, why: Callable[[Caller, str], Why]) -> None:
        """Look at the tasks of this project; `why` says why one is not running, or not merged."""
        self._workspace = workspace
        self._why = why

    def show_task(self, caller: Caller, task: str) -> TaskHistory:
        """Return one task, by its id, with all that was done about it.

        Raises:
            NotFound: there is no such task.
        """
        with self._workspace.read() as tx:
            found = tasks.get(tx.db, task)
            requests = merge_requests.of_task(tx.db, found.id)
            started = sessions.on_any(tx.db, [found.id, *(one.id for one in requests)])
            of_plan = (row.id for row in tasks.rows_of_plans(tx.db, [found.plan_id]))
            return TaskHistory(
                task=found,
                plan=plans.get(tx.db, found.plan_id),
                standing=standing(tx, found.id, found.state),
                effective_priority=tx.graph.effective_priority(found.id),
                remaining_minutes=tx.graph.remaining_minutes(found.id),
                is_critical=found.id in tx.graph.critical_path(of_plan),
                why=self._why(caller, found.id),
                criteria=criteria_of(tx, found),
                depends_on=_neighbours(tx, tasks.dependencies_of(tx.db, found.id)),
                blocks=_neighbours(tx, tasks.dependents_of(tx.db, found.id)),
                attempts=_attempts(tx, found),
                sessions=[self._seen(one) for one in started],
                cost_usd=sum(one.cost_usd for one in started),
                handoffs=handoffs.of_task(tx.db, found.id),
                late_work=late_work.of_task(tx.db, found.id),
                repair_notes=merge_requests.repair_notes(tx.db, found.id),
                questions=questions.of_task(tx.db, found.id),
                merge_requests=[
                    RequestSeen(request=one, status=merge_status(tx, one, self._workspace.settings))
                    for one in requests
                ],
            )

    def _seen(self, found: Session) -> SessionSeen:
        session = with_room(
            found, lambda: self._workspace.settings.agents.worker.max_session_tokens
        )
        return SessionSeen(
            id=session.id,
            name=session.name,
            role=session.role,
            subject=session.subject,
            state=session.state,
            is_turn_active=session.is_turn_active,
            model=session.model,
            last_line=session.last_line,
            context_tokens=session.context_tokens,
            context_window=session.context_window,
            cost_usd=session.cost_usd,
            starts=session.starts,
            has_log=bool(session.log_path),
            created_at=session.created_at,
            heard_at=session.heard_at,
            ended_at=session.ended_at,
            end=session.end,
            end_detail=session.end_detail,
        )


def _neighbours(tx: Transaction, found: list[Task]) -> list[Neighbour]:
    return [
        Neighbour(
            id=task.id,
            title=task.title,
            state=task.state,
            standing=standing(tx, task.id, task.state),
        )
        for task in found
    ]


def _attempts(tx: Transaction, task: Task) -> list[Attempt]:
    live = leases.live_on(tx.db, task.id)
    return [
        Attempt(
            session_id=lease.session_id,
            session=sessions.get(tx.db, lease.session_id).name,
            started_at=lease.granted_at,
            ended_at=lease.ended_at,
            end=lease.end,
            end_detail=lease.end_detail,
        )
        for lease in [*leases.attempts(tx.db, task.id), *([live] if live else [])]
    ]
