"""How tasks end, and what their end means for all that hangs on them."""

from typing import Any

from sf_mcp.core.errors import IllegalTransition
from sf_mcp.core.models import EndKind, MergeRequest, Question, Task, TaskId
from sf_mcp.core.states import (
    TASK_ENDS,
    WAITING_SESSIONS,
    MergeEvent,
    MergeState,
    PlanEvent,
    PlanState,
    QuestionEvent,
    SessionEvent,
    TaskEvent,
    TaskState,
)
from sf_mcp.service import conflict_state
from sf_mcp.service.claims import ask
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import leases, merge_requests, plans, questions, sessions, tasks

SHOWN = 10
"""Ids that one sentence names; the rest is counted."""


def cancel(tx: Transaction, task: Task, reason: str) -> Task:
    """Cancel a task with all that hangs on it: its lease, its question, its merge request.

    Raises:
        IllegalTransition: it has ended, or it is landing at this moment.
    """
    if request := merge_requests.live_of_task(tx.db, task.id):
        if request.state is MergeState.LANDING:
            raise IllegalTransition(
                f"Task {task.id} is landing at this moment.",
                remedy="Wait a moment; if it should not have landed, revert it with a new task.",
            )
        tx.move_merge_request(request, MergeEvent.WITHDRAW)
        end_review(tx, request, f"{task.id} was cancelled")
    event = TaskEvent.REFUSE if task.state is TaskState.PROPOSED else TaskEvent.CANCEL
    task = tx.move_task(task, event, reserved_for=None, reserved_until=None)
    if question := questions.open_of_task(tx.db, task.id):
        withdraw(tx, question, f"{task.id} was cancelled")
    _end_lease_on(tx, task.id, EndKind.CANCELLED, reason, stop=f"{task.id} was cancelled")
    for session in sessions.newest_on(tx.db, task.id):
        if session.state in WAITING_SESSIONS:
            tx.move_session(session, SessionEvent.EXIT, ended_at=tx.now, end=EndKind.CANCELLED)
    tx.event("task_refused" if event is TaskEvent.REFUSE else "task_cancelled", task.id, why=reason)
    for on in tasks.dependencies_of(tx.db, task.id):
        forget_if_unblocked(tx, on)
    complete_if_over(tx, task)
    return task


def ask_about_blocked(tx: Transaction, task: Task) -> None:
    """Ask the director, once, what becomes of the tasks that wait for a cancelled one."""
    blocked = _unfinished_dependents(tx, task.id)
    if not blocked:
        return
    more = f" and {len(blocked) - SHOWN} more" if len(blocked) > SHOWN else ""
    names = ", ".join(blocked[:SHOWN]) + more
    tx.event("dependents_blocked", task.id, tasks=blocked, reason=f"{task.id} was cancelled")
    ask(
        tx,
        task_id=task.id,
        session=None,
        text=f"{task.id} ({task.title}) was cancelled, and {names} can never start while they "
        "depend on it. Take the dependency away from each, or cancel it too; then say which.",
        options=(),
        context="",
    )


def forget_if_unblocked(tx: Transaction, task: Task) -> None:
    """Withdraw the question about a cancelled task's dependents when none is left."""
    question = questions.open_of_task(tx.db, task.id)
    if (
        task.state is TaskState.CANCELLED
        and question is not None
        and not _unfinished_dependents(tx, task.id)
    ):
        withdraw(tx, question, f"nothing waits for {task.id} any more")


def retry(tx: Transaction, task: Task) -> Task:
    """Open a stuck task again, its failures forgotten and the question about it settled.

    Raises:
        IllegalTransition: it is not stuck.
    """
    task = reopen(tx, task, retried_at=tx.now)
    tx.event("task_retried", task.id)
    return task


def reopen(tx: Transaction, task: Task, **changes: Any) -> Task:
    """Open a stuck task again; the question about it is settled by that."""
    task = tx.move_task(task, TaskEvent.RETRY, is_over_budget=False, **changes)
    if question := questions.open_of_task(tx.db, task.id):
        withdraw(tx, question, f"{task.id} goes on")
    return task


def withdraw(tx: Transaction, question: Question, reason: str) -> None:
    """Withdraw an open question; a director that works on it is told to stop."""
    tx.move_question(question, QuestionEvent.WITHDRAW)
    tx.event("question_withdrawn", question.id, reason=reason)
    _end_lease_on(tx, question.id, EndKind.DONE, reason, stop=f"{question.id}: {reason}")


def end_review(tx: Transaction, request: MergeRequest, reason: str) -> None:
    """End the review, or the conflict, of a merge request that has ended; its steward stops."""
    conflict_state.drop(tx, request.id, reason)
    _end_lease_on(tx, request.id, EndKind.DONE, reason, stop=f"{request.id}: {reason}")


def complete_if_over(tx: Transaction, task: Task) -> None:
    """Complete the task's plan when this was its last unfinished task and anything was done."""
    plan = plans.get(tx.db, task.plan_id)
    if plan.state is PlanState.ACTIVE and tasks.is_plan_over(tx.db, plan.id):
        tx.move_plan(plan, PlanEvent.COMPLETE)
        tx.event("plan_completed", plan.id)


def _unfinished_dependents(tx: Transaction, task_id: TaskId) -> list[TaskId]:
    return [
        other.id for other in tasks.dependents_of(tx.db, task_id) if other.state not in TASK_ENDS
    ]


def _end_lease_on(tx: Transaction, subject: str, kind: EndKind, detail: str, *, stop: str) -> None:
    if lease := leases.live_on(tx.db, subject):
        tx.end_lease(lease, kind, detail)
        holder = sessions.get(tx.db, lease.session_id)
        if holder.name != tx.actor:
            tx.edit_session(holder, stop_requested=stop)
