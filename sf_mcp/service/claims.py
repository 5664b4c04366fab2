"""Claiming a task, working under its lease, and letting it go with or without an outcome."""

from collections.abc import Sequence
from dataclasses import dataclass

from sf_mcp.core.errors import AlreadyClaimed, InvalidInput, StaleLease, TaskNotReady
from sf_mcp.core.identity import Caller
from sf_mcp.core.leases import check_token
from sf_mcp.core.models import (
    FAILURES,
    EndKind,
    Handoff,
    LateWork,
    Lease,
    Oid,
    Question,
    QuestionId,
    RepairNote,
    Role,
    Session,
    SessionId,
    Task,
    TaskId,
)
from sf_mcp.core.radar import Ground
from sf_mcp.core.states import QuestionEvent, QuestionState, TaskEvent, TaskState
from sf_mcp.core.text import checked_text
from sf_mcp.service import answers
from sf_mcp.service.evidence import evidence_of
from sf_mcp.service.handing_off import Met, checked_criteria, checked_texts, criteria_met
from sf_mcp.service.spending import is_spent, of_fleet, of_task
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import handoffs, late_work, leases, merge_requests, questions, sessions, tasks

STUCK_OPTIONS = ("retry", "cancel")
"""What the question about a stuck task may be answered with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What a dependency brought in."""

    task_id: TaskId
    title: str
    commit: Oid | None
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """Everything a session needs to begin, or go on with, its task."""

    task: Task
    fence: int
    attempt: int
    dependencies: list[Delivered]
    handoffs: list[Handoff]
    """Newest first."""
    met: list[Met]
    """Acceptance criteria that earlier sessions say are met."""
    late_work: list[LateWork]
    """Newest first."""
    repair_notes: list[RepairNote]
    answers: list[tuple[str, str]]
    open_question: str
    """What an earlier session asked and nobody has answered yet; empty when nothing."""
    neighbours: list[tuple[TaskId, str]]
    """Other live tasks that declare an overlapping path, with their titles."""
    tokens_left: int
    """Context left before a handoff is asked for, in tokens."""


class ClaimService:
    """Use cases of the worker's side of a task."""

    def __init__(self, workspace: Workspace) -> None:
        """Work on this project."""
        self._workspace = workspace

    def claim_task(self, caller: Caller) -> Brief:
        """Claim the next task for this session; one that holds a task gets the same one again.

        Raises:
            TaskNotReady: nothing is ready, or this session's work is over.
        """
        caller.require(Role.WORKER, to="claim tasks")
        session_id = session_of(caller)
        with self._workspace.write(caller) as tx:
            if held := leases.newest_of(tx.db, session_id):
                if held.ended_at is None:
                    return self._brief(tx, tasks.get(tx.db, held.subject), held)
                raise TaskNotReady(
                    f"Your work on {held.subject} has ended ({held.end}).",
                    remedy="End your turn; a new session gets the next task.",
                )
            task_id = tx.graph.first_ready(
                lambda one: tasks.reservation_of(tx.db, one) not in (None, session_id)
            )
            if task_id is not None:
                task, lease = self.grant(tx, tasks.get(tx.db, task_id), session_id)
                return self._brief(tx, task, lease)
            raise TaskNotReady(
                "No task is ready: all are done, taken, or wait for another.",
                remedy="End your turn; you are started again when there is work.",
            )

    def grant(self, tx: Transaction, task: Task, session_id: SessionId) -> tuple[Task, Lease]:
        """Give the session the one live lease on a task of the ready set; return both.

        Raises:
            TaskNotReady: the task waits for others, is reserved, or its plan is not active.
            AlreadyClaimed: another session holds it.
        """
        if held := leases.live_on(tx.db, task.id):
            raise AlreadyClaimed(
                f"Task {task.id} is claimed by {sessions.get(tx.db, held.session_id).name}.",
                remedy="Claim another task.",
            )
        if not tx.graph.is_ready(task.id):
            unmet = tx.graph.unmet(task.id)
            waits = ", ".join(f"{on} ({tasks.get(tx.db, on).state.value})" for on in unmet)
            reason = f"it waits for {waits}" if waits else f"it is {task.state.value}"
            if task.state is TaskState.OPEN and not unmet:
                reason = "its plan is not active"
            raise TaskNotReady(
                f"Task {task.id} cannot be claimed: {reason}.",
                remedy="Claim a task of the ready set (`sf task ready`).",
            )
        if task.reserved_for not in (None, session_id):
            raise AlreadyClaimed(
                f"Task {task.id} is kept for a session that goes on with it.",
                remedy="Claim another task.",
            )
        task = tx.move_task(task, TaskEvent.CLAIM, reserved_for=None, reserved_until=None)
        answers.hand_on(tx, task.id, session_id)
        return task, grant_lease(tx, task.id, session_id)

    def _brief(self, tx: Transaction, task: Task, lease: Lease) -> Brief:
        session = sessions.get(tx.db, lease.session_id)
        worker = self._workspace.settings.agents.worker
        # Under the first lease ever there is nothing from before: no attempt, no word of one.
        is_first = lease.fence == 1
        asked = questions.open_of_task(tx.db, task.id)
        earlier = [] if is_first else handoffs.of_task(tx.db, task.id)[::-1]
        return Brief(
            task=task,
            fence=lease.fence,
            attempt=1 if is_first else len(leases.attempts(tx.db, task.id)) + 1,
            dependencies=[_delivered(tx, other) for other in tasks.dependencies_of(tx.db, task.id)],
            handoffs=earlier,
            met=criteria_met(tx, earlier),
            late_work=[] if is_first else late_work.of_task(tx.db, task.id)[::-1],
            repair_notes=[] if is_first else merge_requests.repair_notes(tx.db, task.id)[::-1],
            answers=questions.answers_of_task(tx.db, task.id),
            open_question=f"{asked.id}: {asked.text}" if asked else "",
            neighbours=_neighbours(tx, task),
            tokens_left=max(
                0,
                worker.handoff_thresholds(session.context_window or worker.max_session_tokens).ask
                - session.context_tokens,
            ),
        )

    def held_task(self, caller: Caller) -> Task:
        """Return the task that the caller holds; renews the lease.

        Raises:
            StaleLease: it holds none any more.
        """
        with self._workspace.write(caller) as tx:
            return tasks.get(tx.db, require_lease(tx, caller).subject)

    def report_progress(self, caller: Caller, *, message: str) -> TaskId:
        """Tell the fleet what has been done; renews the lease."""
        text = checked_text(message, "message", limit=2000)
        with self._workspace.write(caller) as tx:
            lease = require_lease(tx, caller)
            tx.event("progress", lease.subject, message=text)
            return TaskId(lease.subject)

    def release_task(self, caller: Caller, *, reason: str) -> TaskId:
        """Give the task back unfinished, for another session to take."""
        text = checked_text(reason, "reason", limit=2000)
        if not text.strip():
            raise InvalidInput("A release needs a reason.", remedy="Say why you cannot go on.")
        with self._workspace.write(caller) as tx:
            lease = require_lease(tx, caller)
            self.let_go(tx, lease, EndKind.RELEASED, text)
            return TaskId(lease.subject)

    def record_handoff(
        self,
        caller: Caller,
        *,
        progress: str,
        remaining: str,
        decisions: str,
        pitfalls: str,
        next_step: str,
        commit: Oid | None,
        snapshot: Oid | None,
        met: Sequence[int] = (),
        by_server: bool = False,
    ) -> TaskId:
        """Store the handoff, end the session's lease and open the task for a fresh session.

        `met` names acceptance criteria that are met, from 1.

        Raises:
            InvalidInput: a field that the successor cannot do without is empty, or too long; or
                there is no such criterion.
        """
        texts = checked_texts(
            {
                "progress": progress,
                "remaining": remaining,
                "decisions": decisions,
                "pitfalls": pitfalls,
                "next_step": next_step,
            }
        )
        with self._workspace.write(caller) as tx:
            lease = require_lease(tx, caller, is_own_call=not by_server)
            handoffs.HANDOFFS.insert_numbered(
                tx.db,
                {
                    "task_id": lease.subject,
                    "session_id": lease.session_id,
                    **texts,
                    "commit": commit,
                    "snapshot": snapshot,
                    "by_server": by_server,
                    "met": checked_criteria(met, tasks.get(tx.db, lease.subject)),
                    "created_at": tx.now,
                },
            )
            tx.event("handed_off", lease.subject, snapshot=snapshot, commit=commit)
            self.let_go(tx, lease, EndKind.HANDED_OFF, texts["next_step"])
            return TaskId(lease.subject)

    def let_go(self, tx: Transaction, lease: Lease, kind: EndKind, detail: str) -> None:
        """End a task's lease and open the task again, or set it aside after too many failures."""
        task = tasks.get(tx.db, lease.subject)
        if task.state is not TaskState.CLAIMED:
            tx.end_lease(lease, kind, detail)
            return
        budget = self._workspace.settings.budget
        of_its_own = of_task(tx, task, budget)
        is_beyond = is_spent(of_its_own) or is_spent(of_fleet(tx, budget))
        tx.end_lease(lease, EndKind.OVER_BUDGET if is_beyond else kind, detail)
        task = tx.move_task(task, TaskEvent.LET_GO)
        if is_spent(of_its_own):
            # Money is the person's to give; a retry starts counting anew.
            give_up(tx, task, str(of_its_own), is_for_person=True, is_over_budget=True)
            return
        if kind not in FAILURES:
            return
        limit = self._workspace.settings.orchestrator.max_failures
        if leases.count_failures(tx.db, task.id, task.retried_at) >= limit:
            give_up(tx, task, evidence_of(tx, task))


def session_of(caller: Caller) -> SessionId:
    """Return the caller's session.

    Raises:
        StaleLease: the caller is not a session of the fleet.
    """
    if caller.session_id is None:
        raise StaleLease(
            f"{caller.name} is not a session of the fleet and holds no task.",
            remedy="Only sessions that the launcher started work on tasks.",
        )
    return caller.session_id


def require_lease(tx: Transaction, caller: Caller, *, is_own_call: bool = True) -> Lease:
    """Return the caller's live lease, renewed by being used.

    A call of the session's own is a sign of it besides: see `answers`.

    Raises:
        StaleLease: it has ended, or another session has a newer fencing token.
    """
    session_id = session_of(caller)
    mine = leases.newest_of(tx.db, session_id)
    if mine is None:
        raise StaleLease("You hold no task.", remedy="Call claim_task first.")
    newest = leases.live_on(tx.db, mine.subject) or mine
    holder = sessions.get(tx.db, newest.session_id).name
    check_token(newest, session_id, mine.fence, mine.subject, holder=holder)
    sessions.touch(tx.db, session_id, tx.now)
    tx.renew_lease(mine)
    if is_own_call:
        answers.acknowledge(tx, session_id)
    return mine


def grant_lease(tx: Transaction, subject: str, session_id: SessionId) -> Lease:
    """Add a lease with the next fencing token; the subject must have no live one."""
    lease = tx.grant_lease(subject, session_id)
    name = sessions.get(tx.db, session_id).name
    tx.event("claimed", subject, session=session_id, name=name, fence=lease.fence)
    return lease


def give_up(
    tx: Transaction,
    task: Task,
    evidence: str,
    *,
    is_for_person: bool = False,
    is_over_budget: bool = False,
) -> Task:
    """Set an open task aside as stuck and ask the director, or the person, what to do."""
    task = tx.move_task(
        task,
        TaskEvent.GIVE_UP,
        reserved_for=None,
        reserved_until=None,
        is_over_budget=is_over_budget,
    )
    tx.event("task_stuck", task.id, evidence=evidence)
    if asked := questions.open_of_task(tx.db, task.id):
        # Of a session that is gone. What becomes of the task is the question now.
        tx.move_question(asked, QuestionEvent.WITHDRAW)
        tx.event("question_withdrawn", asked.id, reason=f"{task.id} is stuck")
    ask(
        tx,
        task_id=task.id,
        session=None,
        text=f"{task.id} ({task.title}) is stuck. Answer retry or cancel; change it first with "
        "update_task (sf task update) if it needs changing.",
        options=STUCK_OPTIONS,
        context=evidence,
        escalated=is_for_person,
    )
    return task


def ask(
    tx: Transaction,
    *,
    task_id: TaskId | None,
    session: Session | None,
    text: str,
    options: tuple[str, ...],
    context: str,
    escalated: bool = False,
) -> QuestionId:
    """Add an open question to the inbox."""
    question = Question(
        id=questions.new_id(tx.db),
        task_id=task_id,
        session_id=session.id if session else None,
        text=text,
        options=options,
        context=context,
        state=QuestionState.OPEN,
        escalated=escalated,
        answer=None,
        answered_by="",
        asked_at=tx.now,
        answered_at=None,
        delivered_at=None,
        acknowledged_at=None,
    )
    questions.QUESTIONS.insert(tx.db, question)
    tx.event("question_asked", question.id, task=task_id, text=text)
    return question.id


def _delivered(tx: Transaction, task: Task) -> Delivered:
    request = merge_requests.newest_of_task(tx.db, task.id)
    return Delivered(
        task_id=task.id,
        title=task.title,
        commit=request.landed_commit if request else None,
        summary=request.summary if request else "",
    )


def _neighbours(tx: Transaction, task: Task) -> list[tuple[TaskId, str]]:
    if not task.paths:
        return []
    return [
        (other_id, title)
        for other_id, title, paths in tasks.declared_paths(tx.db)
        if other_id != task.id and Ground({other_id: paths}).met_by(task.paths)
    ]
