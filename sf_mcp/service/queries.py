"""Looking at tasks: one, many, and why one is not running or not merged."""

from bisect import bisect
from dataclasses import dataclass

from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Handoff, LateWork, Oid, Question, RepairNote, Task, TaskId
from sf_mcp.core.radar import MOST_HELD, starting_order
from sf_mcp.core.states import PlanState, SessionState, TaskState
from sf_mcp.core.why import Why
from sf_mcp.service.conflict_state import STEWARD_RESOLVES
from sf_mcp.service.holding import Hold, Touched, held_back, nothing_touched
from sf_mcp.service.limits import held_reason
from sf_mcp.service.merge_status import WAITING_FOR_REVIEW, merge_status
from sf_mcp.service.pauses import parked, parked_sentence, paused_reason
from sf_mcp.service.resume_status import resume_status
from sf_mcp.service.spending import is_spent, of_fleet, of_task
from sf_mcp.service.starting import (
    MOST_STARTS,
    backoff_until,
    has_started_too_often,
    session_to_resume,
)
from sf_mcp.service.taking_over import since
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

PAGE = 50
COMPUTED_STATES = ("ready", "blocked")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task with its neighbours in the graph and its attempts."""

    task: Task
    depends_on: list[TaskId]
    blocks: list[TaskId]
    effective_priority: int
    attempts: list[tuple[str, str]]
    """Session name and kind of end of each ended lease, oldest first."""
    landed_commit: Oid | None
    summary: str
    """Of its newest merge request."""
    merge_status: str
    """What the merge request under way waits for, with its id; empty when there is none."""
    handoffs: list[Handoff]
    late_work: list[LateWork]
    repair_notes: list[RepairNote]
    answers: list[tuple[str, str]]
    """Questions that were answered, each with its answer, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskListing:
    """One page of tasks, each with what it depends on."""

    tasks: list[tuple[Task, list[TaskId]]]
    total: int
    next_after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeLine:
    """One line of a dependency tree."""

    depth: int
    id: TaskId
    title: str
    state: TaskState
    is_repeated: bool
    """Shown above already, so its own dependencies are left out here."""


class QueryService:
    """Use cases that only look."""

    def __init__(self, workspace: Workspace, touched: Touched = nothing_touched) -> None:
        """Look at this project; `touched` is what the radar has seen."""
        self._workspace = workspace
        self._touched = touched

    def get_task(self, _caller: Caller, task: str) -> TaskView:
        """Return one task."""
        with self._workspace.read() as tx:
            found = tasks.get(tx.db, task)
            request = merge_requests.newest_of_task(tx.db, found.id)
            return TaskView(
                task=found,
                depends_on=list(tx.graph.dependencies(found.id)),
                blocks=list(tx.graph.dependents(found.id)),
                effective_priority=tx.graph.effective_priority(found.id),
                attempts=[
                    (
                        sessions.get(tx.db, lease.session_id).name,
                        f"{lease.end} {lease.end_detail}".strip(),
                    )
                    for lease in leases.attempts(tx.db, found.id)
                ],
                landed_commit=request.landed_commit if request else None,
                summary=request.summary if request else "",
                merge_status=self._merge_status(tx, found),
                handoffs=handoffs.of_task(tx.db, found.id),
                late_work=late_work.of_task(tx.db, found.id),
                repair_notes=merge_requests.repair_notes(tx.db, found.id),
                answers=questions.answers_of_task(tx.db, found.id),
            )

    def _merge_status(self, tx: Transaction, task: Task) -> str:
        request = merge_requests.live_of_task(tx.db, task.id)
        if request is None:
            return ""
        return f"{request.id} is {merge_status(tx, request, self._workspace.settings)}"

    def list_tasks(
        self,
        _caller: Caller,
        *,
        plan: str = "",
        state: str = "",
        after: str = "",
        limit: int = PAGE,
    ) -> TaskListing:
        """Return tasks, those of one plan or one state; `ready` ones in the order they start.

        Raises:
            InvalidInput: there is no such state, or the page before is not there any more.
        """
        known = [*COMPUTED_STATES, *(known.value for known in TaskState)]
        if state and state not in known:
            raise InvalidInput(
                f"There is no task state {state!r}.", remedy=f"Use one of {', '.join(known)}."
            )
        with self._workspace.read() as tx:
            ids = self._ids(tx, plans.find(tx.db, plan).id if plan else "", state)
            start = _start_after(ids, after, is_ordered_by_age=state != "ready")
            page = ids[start : start + max(1, limit)]
            return TaskListing(
                tasks=[
                    (tasks.get(tx.db, task_id), list(tx.graph.dependencies(task_id)))
                    for task_id in page
                ],
                total=len(ids),
                next_after=page[-1] if page and start + len(page) < len(ids) else "",
            )

    def _ids(self, tx: Transaction, plan_id: str, state: str) -> list[TaskId]:
        if state == "ready":
            ready = list(tx.graph.ready())
            ready = starting_order(ready, held_back(tx, self._touched).__contains__)
            if plan_id:
                of_plan = {task.id for task in tasks.of_plan(tx.db, plans.get(tx.db, plan_id).id)}
                ready = [task_id for task_id in ready if task_id in of_plan]
            return ready
        where, parameters = ["1"], list[str]()
        if plan_id:
            where, parameters = [*where, "plan_id = ?"], [*parameters, plan_id]
        if state:
            wanted = TaskState.OPEN.value if state == "blocked" else state
            where, parameters = [*where, "state = ?"], [*parameters, wanted]
        rows = tx.db.execute(
            f"SELECT id FROM tasks WHERE {' AND '.join(where)} ORDER BY number", parameters
        )
        ids = [TaskId(row[0]) for row in rows]
        return [one for one in ids if not tx.graph.is_ready(one)] if state == "blocked" else ids

    def dependency_tree(self, _caller: Caller, task: str) -> list[TreeLine]:
        """Return what a task depends on, indented, each subtree once."""
        with self._workspace.read() as tx:
            lines: list[TreeLine] = []
            seen: set[TaskId] = set()
            pending = [(tasks.get(tx.db, task).id, 0)]
            while pending:
                task_id, depth = pending.pop()
                found = tasks.get(tx.db, task_id)
                lines.append(
                    TreeLine(
                        depth=depth,
                        id=found.id,
                        title=found.title,
                        state=found.state,
                        is_repeated=task_id in seen,
                    )
                )
                if task_id not in seen:
                    seen.add(task_id)
                    pending += [(on, depth + 1) for on in reversed(tx.graph.dependencies(task_id))]
            return lines

    def why(self, _caller: Caller, task: str) -> Why:
        """Say in one sentence why a task is not running, or not merged."""
        with self._workspace.read() as tx:
            if request := merge_requests.MERGE_REQUESTS.get(tx.db, task):
                task = request.task_id
            return self._why(tx, tasks.get(tx.db, task))

    def _why(self, tx: Transaction, task: Task) -> Why:
        facts = [
            f"attempt {number}: {sessions.get(tx.db, lease.session_id).name} ended as {lease.end} "
            f"{lease.end_detail}".strip()
            for number, lease in enumerate(leases.attempts(tx.db, task.id), start=1)
        ][-5:]
        facts += [
            f"sent back: {note.reason}" for note in merge_requests.repair_notes(tx.db, task.id)
        ][-3:]
        match task.state:
            case TaskState.MERGED | TaskState.CLOSED:
                sentence, step = f"{task.id} is {task.state.value}; nothing is missing.", ""
            case TaskState.CANCELLED:
                sentence, step = f"{task.id} was cancelled.", "Create a new task if it is needed."
            case TaskState.PROPOSED:
                sentence = f"{task.id} is a proposal that nobody has accepted."
                step = f"sf task update {task.id} --accept (or --refuse)"
            case TaskState.CLAIMED:
                lease = leases.live_on(tx.db, task.id)
                session = sessions.get(tx.db, lease.session_id) if lease else None
                name = session.name if session else "a session"
                theirs = session.taken_over_at if session else None
                person = f", {since(theirs)}" if theirs else ""
                sentence = f"{task.id} is being worked on by {name}{person}."
                step = f"sf logs {name}"
                if asked := questions.open_of_task(tx.db, task.id):
                    sentence = f"{sentence[:-1]}, who waits for the answer to {_asked(asked)}"
                    step = _how_to_answer(asked)
            case TaskState.WAITING:
                question = questions.open_of_task(tx.db, task.id)
                asked = _asked(question) if question else "a question"
                sentence = f"{task.id} waits for the answer to {asked}"
                step = _how_to_answer(question) if question else ""
            case TaskState.STUCK:
                sentence, step = self._why_stuck(tx, task)
            case TaskState.IN_REVIEW:
                request = merge_requests.live_of_task(tx.db, task.id)
                status = merge_status(tx, request, self._workspace.settings) if request else "?"
                sentence = f"{task.id} is not merged: {request.id if request else ''} is {status}."
                step = f"sf mr show {request.id}" if request else ""
                waits_for_steward = status.endswith((WAITING_FOR_REVIEW, STEWARD_RESOLVES))
                if waits_for_steward and (hold := self._hold(tx)) is not None:
                    sentence, step = f"{sentence[:-1]}, but {hold[0]}.", hold[1]
            case TaskState.OPEN:
                sentence, step = self._why_open(tx, task)
        return Why(
            subject=task.id,
            sentence=sentence,
            facts=facts,
            next_step=step,
            changes=[step] if step else [],
            expected_at=None,
            expected="unknown: nothing has been measured yet",
        )

    def _why_stuck(self, tx: Transaction, task: Task) -> tuple[str, str]:
        retry = f"sf task retry {task.id}"
        spending = of_task(tx, task, self._workspace.settings.budget)
        if task.is_over_budget and spending is not None:
            return f"{task.id} is set aside: {spending}.", f"Raise {spending.key}, or {retry}"
        if has_started_too_often(tx, task.id, task.retried_at):
            return f"{task.id} is stuck: {MOST_STARTS} sessions have not ended it.", retry
        failures = leases.count_failures(tx.db, task.id, task.retried_at)
        returns = merge_requests.count_send_backs(tx.db, task.id, task.retried_at)
        if returns >= self._workspace.settings.orchestrator.max_send_backs or not failures:
            return f"{task.id} is stuck: its work was sent back {returns} times.", retry
        return f"{task.id} is stuck after {failures} failed attempts.", retry

    def _hold(self, tx: Transaction) -> tuple[str, str] | None:
        """Return why no session at all is started, and what to do; None when they are."""
        if reason := paused_reason(tx):
            return f"the fleet is paused: {reason}", "sf resume"
        if reason := held_reason(tx):
            return f"you have not said what to do: {reason}", ""
        if park := parked(self._workspace):
            sentence = parked_sentence(park, tx.now).rstrip(".")
            step = "nothing; the fleet goes on by itself (sf resume: at once)"
            return f"the account is {sentence}", step
        fleet = of_fleet(tx, self._workspace.settings.budget)
        if fleet is not None and is_spent(fleet):
            return str(fleet), f"Raise {fleet.key}."
        return None

    def _why_open(self, tx: Transaction, task: Task) -> tuple[str, str]:
        plan = plans.get(tx.db, task.plan_id)
        if plan.state is not PlanState.ACTIVE:
            return (
                f"{task.id} does not start: plan {plan.id} is {plan.state.value}.",
                f"sf plan activate {plan.id}",
            )
        if unmet := tx.graph.unmet(task.id):
            waits = ", ".join(f"{on} ({tasks.get(tx.db, on).state.value})" for on in unmet)
            return f"{task.id} waits for {waits}.", f"sf why {unmet[0]}"
        if (hold := self._hold(tx)) is not None:
            return f"{task.id} is ready, but {hold[0]}.", hold[1]
        session = session_to_resume(tx, task.id)
        if session is not None and session.state is SessionState.BACKOFF:
            most = self._workspace.settings.orchestrator.max_failures
            status = resume_status(tx, task, session, most)
            return (
                f"{task.id} waits: {session.name} {status}.",
                f"sf logs {session.name}",
            )
        if task.reserved_for:
            return f"{task.id} is reserved for the session that asked about it.", ""
        if until := backoff_until(tx, task.id):
            return (
                f"{task.id} waits until {until.strftime('%H:%M:%S UTC')}, after the last attempts "
                "at it failed.",
                "",
            )
        alive = [one for one in sessions.alive(tx.db) if one.role.value == "worker"]
        if lingering := [one.name for one in alive if one.subject == task.id]:
            return f"{task.id} waits until {lingering[0]} of its last attempt has ended.", ""
        slots = self._workspace.settings.orchestrator.max_concurrent
        held = held_back(tx, self._touched)
        ready = starting_order(tx.graph.ready(), held.__contains__)
        position = ready.index(task.id) + 1
        if (hold := held.get(task.id)) is not None and ready[0] not in held:
            other = tasks.get(tx.db, hold.other)
            return (
                f"{task.id} is held back while other tasks are ready: {hold.path}, which it "
                f"declares, is where {other.id} ({other.title}) is at work. {_at_the_latest(hold)}",
                f"Nothing; or change what it declares: sf task update {task.id} --path …",
            )
        if len(alive) >= slots:
            return (
                f"{task.id} is ready and number {position} in line; all {slots} slots are taken.",
                "Raise orchestrator.maxConcurrent, or wait.",
            )
        starting = any(one.state is SessionState.STARTING for one in alive)
        if starting or alive:
            return f"{task.id} is ready and number {position} in line; it starts in a moment.", ""
        return (
            f"{task.id} is ready and number {position} in line, but nothing starts it: no fleet "
            "is running.",
            "sf serve",
        )


def _at_the_latest(hold: Hold) -> str:
    """Return until when a task lets others go first."""
    if hold.until is None:
        minutes = int(MOST_HELD.total_seconds() // 60)
        return f"It lets others go first for {minutes} minutes at most."
    return f"At {hold.until:%H:%M:%S} UTC at the latest it is in line again."


def _asked(question: Question) -> str:
    since = f"{question.asked_at:%Y-%m-%d %H:%M} UTC"
    return f"{question.id}, asked at {since}: {question.text}"


def _how_to_answer(question: Question) -> str:
    return f'sf question answer {question.id} "…"'


def _start_after(ids: list[TaskId], after: str, *, is_ordered_by_age: bool) -> int:
    """Return where the page after the task `after` begins, although the list may have changed."""
    if not after:
        return 0
    if after in ids:
        return ids.index(TaskId(after)) + 1
    if is_ordered_by_age and after[1:].isdigit():
        return bisect([int(one[1:]) for one in ids], int(after[1:]))
    raise InvalidInput(
        f"{after} is not in this list any more.", remedy="List again from the start."
    )
