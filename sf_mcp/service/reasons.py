"""Why a task is not worked on: for each state what may be the reason, the first that holds.

Each reason is a function that looks and returns nothing when it is not so. What is said follows
from the present rows alone, so that no answer outlives what it was true of.
"""

from collections.abc import Mapping

from sf_mcp.core.models import Role, Session, TaskId
from sf_mcp.core.radar import MOST_HELD, starting_order
from sf_mcp.core.states import PlanState, SessionState, TaskState
from sf_mcp.core.text import one_line
from sf_mcp.service.holding import Hold, held_back
from sf_mcp.service.look import (
    Finder,
    Look,
    Reason,
    asked,
    but_held,
    clock,
    few,
    fleet_hold,
    how_to_answer,
    sign_of,
    who_answers,
)
from sf_mcp.service.resume_status import resume_status, taken_over_status
from sf_mcp.service.spending import of_task
from sf_mcp.service.starting import (
    MOST_STARTS,
    backoff_until,
    has_started_too_often,
    session_to_resume,
)
from sf_mcp.store import events, leases, merge_requests, plans, sessions, tasks

# -- proposed, stuck, cancelled --------------------------------------------------------------------


def _is_proposed(look: Look) -> Reason:
    task = look.task
    by = sessions.SESSIONS.get(look.tx.db, task.proposed_by) if task.proposed_by else None
    return Reason(
        sentence=f"{task.id} is a proposal that nobody has accepted.",
        step=f"sf task update {task.id} --accept (or --refuse)",
        facts=(f"proposed by {by.name} at {clock(task.created_at)}",) if by else (),
    )


def _was_cancelled(look: Look) -> Reason:
    told = events.newest_of(look.tx.db, "task_cancelled", look.task.id)
    told = told or events.newest_of(look.tx.db, "task_refused", look.task.id)
    fact = (f"at {clock(told.at)}: {told.data.get('why', '')}",) if told else ()
    return Reason(
        sentence=f"{look.task.id} was cancelled.",
        step="Create a new task if it is needed.",
        facts=fact,
    )


def _stuck(look: Look, why: str, step: str = "") -> Reason:
    task = look.task
    told = events.newest_of(look.tx.db, "task_stuck", task.id)
    retry = f"sf task retry {task.id}"
    return Reason(
        sentence=f"{task.id} is {why}.",
        step=step or retry,
        changes=(
            f"Change it first: sf task update {task.id}",
            f"Give it up: sf task cancel {task.id}",
        ),
        facts=(f"stuck since {clock(told.at)}",) if told else (),
    )


def _is_over_budget(look: Look) -> Reason | None:
    spending = of_task(look.tx, look.task, look.settings.budget)
    if not look.task.is_over_budget or spending is None:
        return None
    step = f"Raise {spending.key}, or sf task retry {look.task.id}"
    return _stuck(look, f"set aside: {spending}", step)


def _had_too_many_sessions(look: Look) -> Reason | None:
    if not has_started_too_often(look.tx, look.task.id, look.task.retried_at):
        return None
    return _stuck(look, f"stuck: {MOST_STARTS} sessions have not ended it")


def _failed_too_often(look: Look) -> Reason:
    task = look.task
    failures = leases.count_failures(look.tx.db, task.id, task.retried_at)
    returns = merge_requests.count_send_backs(look.tx.db, task.id, task.retried_at)
    if returns >= look.settings.orchestrator.max_send_backs or not failures:
        return _stuck(look, f"stuck: its work was sent back {returns} times")
    return _stuck(look, f"stuck after {failures} failed attempts")


# -- claimed, waiting ------------------------------------------------------------------------------


def _waits_for_an_answer(look: Look) -> Reason:
    if look.question is None:
        return Reason(sentence=f"{look.task.id} waits for the answer to a question")
    return Reason(
        sentence=f"{look.task.id} waits for the answer to {asked(look.question)}",
        step=how_to_answer(look.question),
        facts=(who_answers(look.tx, look.settings, look.question),),
    )


def _its_session_asks(look: Look) -> Reason | None:
    if look.question is None or look.worker is None:
        return None
    return Reason(
        sentence=f"{look.task.id} is being worked on by {look.worker.name}, who waits for the "
        f"answer to {asked(look.question)}",
        step=how_to_answer(look.question),
        facts=(
            who_answers(look.tx, look.settings, look.question),
            sign_of(look.worker, look.tx.now),
        ),
    )


def _is_worked_on(look: Look) -> Reason:
    worker = look.worker
    if worker is None:
        return Reason(sentence=f"{look.task.id} is being worked on by a session.")
    lease = leases.live_on(look.tx.db, look.task.id)
    since = f" since {clock(lease.granted_at)}" if lease else ""
    theirs = worker.taken_over_at
    person = f", {taken_over_status(theirs)}" if theirs else ""
    ends = f"; it is being stopped: {worker.stop_requested}" if worker.stop_requested else ""
    spending = of_task(look.tx, look.task, look.settings.budget)
    facts = [f"it last said: {one_line(worker.last_line, 200)}"] if worker.last_line else []
    facts += [str(spending)] if spending is not None else []
    return Reason(
        sentence=f"{look.task.id} is being worked on by {worker.name}{since}{person}, "
        f"{sign_of(worker, look.tx.now)}{ends}.",
        step=f"sf logs {worker.name}",
        changes=(f"Stop it; its work is kept: sf session stop {worker.name}",),
        facts=tuple(facts),
    )


# -- open ------------------------------------------------------------------------------------------


def plan_is_not_active(look: Look) -> Reason | None:
    plan = plans.get(look.tx.db, look.task.plan_id)
    if plan.state is PlanState.ACTIVE:
        return None
    return Reason(
        sentence=f"{look.task.id} does not start: plan {plan.id} is {plan.state.value}.",
        step=f"sf plan activate {plan.id}",
        facts=(f"{plan.id} ({plan.title}) since {plan.updated_at:%Y-%m-%d %H:%M} UTC",),
    )


def _fleet_is_held(look: Look) -> Reason | None:
    hold = fleet_hold(look)
    return hold and but_held(Reason(sentence=f"{look.task.id} is ready."), hold)


def _waits_to_be_resumed(look: Look) -> Reason | None:
    session = session_to_resume(look.tx, look.task.id)
    if session is None or session.state is not SessionState.BACKOFF:
        return None
    most = look.settings.orchestrator.max_failures
    status = resume_status(look.tx, look.task, session, most)
    return Reason(
        sentence=f"{look.task.id} waits: {session.name} {status}.",
        step=f"sf logs {session.name}",
    )


def _is_reserved(look: Look) -> Reason | None:
    task = look.task
    if not task.reserved_for:
        return None
    session = sessions.SESSIONS.get(look.tx.db, task.reserved_for)
    fact = (
        [f"kept for {session.name}, which is resumed as soon as a slot is free"] if session else []
    )
    fact += [f"until {clock(task.reserved_until)}"] if task.reserved_until else []
    return Reason(
        sentence=f"{task.id} is reserved for the session that asked about it.",
        facts=(", ".join(fact),) if fact else (),
    )


def _backs_off(look: Look) -> Reason | None:
    if (until := backoff_until(look.tx, look.task.id)) is None:
        return None
    return Reason(
        sentence=f"{look.task.id} waits until {until:%H:%M:%S} UTC, after the last attempts at it "
        "failed."
    )


def _workers(look: Look) -> list[Session]:
    return [one for one in sessions.alive(look.tx.db) if one.role is Role.WORKER]


def _last_attempt_has_not_ended(look: Look) -> Reason | None:
    lingering = [one for one in _workers(look) if one.subject == look.task.id]
    if not lingering:
        return None
    return Reason(
        sentence=f"{look.task.id} waits until {lingering[0].name} of its last attempt has ended.",
        step=f"sf session stop {lingering[0].name}",
    )


def _in_line(look: Look) -> tuple[int, Mapping[TaskId, Hold], bool]:
    """Return its place, who lets others go first, and whether somebody is ready who does not."""
    held = held_back(look.tx, look.touched)
    ready = starting_order(look.tx.graph.ready(), held.__contains__)
    return ready.index(look.task.id) + 1, held, ready[0] not in held


def _lets_others_go_first(look: Look) -> Reason | None:
    _, held, others_are_ready = _in_line(look)
    hold = held.get(look.task.id)
    if hold is None or not others_are_ready:
        return None
    other = tasks.get(look.tx.db, hold.other)
    if hold.until is None:
        minutes = int(MOST_HELD.total_seconds() // 60)
        limit = f"It lets others go first for {minutes} minutes at most."
    else:
        limit = f"At {hold.until:%H:%M:%S} UTC at the latest it is in line again."
    return Reason(
        sentence=f"{look.task.id} is held back while other tasks are ready: {hold.path}, which it "
        f"declares, is where {other.id} ({other.title}) is at work. {limit}",
        step=f"Nothing; or change what it declares: sf task update {look.task.id} --path …",
    )


def _no_slot_is_free(look: Look) -> Reason | None:
    slots = look.settings.orchestrator.max_concurrent
    workers = _workers(look)
    if len(workers) < slots:
        return None
    position, _, _ = _in_line(look)
    return Reason(
        sentence=f"{look.task.id} is ready and number {position} in line; all {slots} slots are "
        "taken.",
        step="Raise orchestrator.maxConcurrent, or wait.",
        changes=(f"Let it go first: sf task update {look.task.id} --priority 1",),
        facts=(few([f"{one.name} on {one.subject}" for one in workers]),),
    )


def _is_about_to_start(look: Look) -> Reason:
    position, _, _ = _in_line(look)
    in_line = f"{look.task.id} is ready and number {position} in line"
    if _workers(look):
        return Reason(sentence=f"{in_line}; it starts in a moment.")
    return Reason(
        sentence=f"{in_line}, but nothing starts it: no fleet is running.", step="sf serve"
    )


READY: tuple[Finder, ...] = (
    _fleet_is_held,
    _waits_to_be_resumed,
    _is_reserved,
    _backs_off,
    _last_attempt_has_not_ended,
    _lets_others_go_first,
    _no_slot_is_free,
    _is_about_to_start,
)
"""Of an open task of an active plan whose dependencies have all landed."""

BEFORE_REVIEW: Mapping[TaskState, tuple[Finder, ...]] = {
    TaskState.PROPOSED: (_is_proposed,),
    TaskState.STUCK: (_is_over_budget, _had_too_many_sessions, _failed_too_often),
    TaskState.CANCELLED: (_was_cancelled,),
    TaskState.CLAIMED: (_its_session_asks, _is_worked_on),
    TaskState.WAITING: (_waits_for_an_answer,),
}
