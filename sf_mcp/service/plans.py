"""Plans, tasks and dependencies: what is to be done, in which order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sf_mcp.core.errors import IllegalTransition, InvalidInput, NotFound
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import (
    DEFAULT_PRIORITY,
    HIGHEST_PRIORITY,
    LOWEST_PRIORITY,
    EndKind,
    Plan,
    Role,
    Task,
    TaskId,
)
from sf_mcp.core.states import (
    SATISFIED,
    TASK_ENDS,
    MergeEvent,
    MergeState,
    PlanEvent,
    PlanState,
    QuestionEvent,
    TaskEvent,
    TaskState,
)
from sf_mcp.core.text import checked_text, checked_title
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import leases, merge_requests, plans, questions, sessions, tasks

PLANNERS = (Role.PERSON, Role.DIRECTOR)
MOST_TASKS_AT_ONCE = 1000
MOST_ESTIMATE_MINUTES = 60 * 24 * 30


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDraft:
    """A task to be created. `depends_on` names tasks by id, or others of the call by `key`."""

    title: str
    key: str = ""
    description: str = ""
    acceptance: Sequence[str] = ()
    priority: int = DEFAULT_PRIORITY
    estimate_minutes: float | None = None
    paths: Sequence[str] = ()
    depends_on: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """A plan with its tasks."""

    plan: Plan
    tasks: list[Task] = field(default_factory=list[Task])
    critical_path: list[TaskId] = field(default_factory=list[TaskId])


class PlanService:
    """Use cases of plans, tasks and dependencies."""

    def __init__(self, workspace: Workspace) -> None:
        """Work on this project."""
        self._workspace = workspace

    # -- plans ---------------------------------------------------------------------------------

    def create_plan(
        self,
        caller: Caller,
        *,
        title: str,
        description: str = "",
        draft: bool = False,
        tasks: Sequence[TaskDraft] = (),
    ) -> PlanView:
        """Create a plan with a whole graph of tasks, all or nothing.

        Raises:
            InvalidInput: a title, text or number cannot be accepted.
            NotFound: a task depends on one that does not exist.
            CyclicDependencies: the tasks could never start.
        """
        caller.require(*PLANNERS, to="create plans")
        with self._workspace.write(caller) as tx:
            plan = Plan(
                id=plans.new_id(tx.db),
                title=checked_title(title),
                description=checked_text(description, "description"),
                state=PlanState.DRAFT if draft else PlanState.ACTIVE,
                created_at=tx.now,
                updated_at=tx.now,
            )
            plans.PLANS.insert(tx.db, plan)
            tx.event("plan_created", plan.id, title=plan.title, state=plan.state.value)
            self._add(tx, caller, plan, tasks)
            return self._view(tx, plan)

    def list_plans(self, caller: Caller) -> list[PlanView]:
        """Return every plan with its tasks."""
        with self._workspace.read() as tx:
            return [self._view(tx, plan) for plan in plans.all_of(tx.db)]

    def get_plan(self, caller: Caller, plan: str) -> PlanView:
        """Return one plan, by id or title."""
        with self._workspace.read() as tx:
            return self._view(tx, plans.find(tx.db, plan))

    def activate_plan(self, caller: Caller, plan: str) -> PlanView:
        """Let a draft plan's tasks be worked on."""
        return self._move(caller, plan, PlanEvent.ACTIVATE, "plan_activated")

    def complete_plan(self, caller: Caller, plan: str) -> PlanView:
        """Mark a plan as completed; it completes by itself when its last task ends.

        Raises:
            IllegalTransition: tasks of it have not ended.
        """
        caller.require(*PLANNERS, to="complete plans")
        with self._workspace.write(caller) as tx:
            found = plans.find(tx.db, plan)
            unfinished = [
                task.id for task in tasks.of_plan(tx.db, found.id) if task.state not in TASK_ENDS
            ]
            if unfinished:
                raise IllegalTransition(
                    f"Plan {found.id} has unfinished tasks: {', '.join(unfinished[:10])}.",
                    remedy="Finish or cancel them first, or cancel the plan.",
                )
            found = tx.move_plan(found, PlanEvent.COMPLETE)
            tx.event("plan_completed", found.id)
            return self._view(tx, found)

    def cancel_plan(self, caller: Caller, plan: str) -> PlanView:
        """Cancel a plan and every task of it that has not ended; work done so far is kept."""
        caller.require(*PLANNERS, to="cancel plans")
        with self._workspace.write(caller) as tx:
            found = plans.find(tx.db, plan)
            for task in tasks.of_plan(tx.db, found.id):
                if task.state not in TASK_ENDS:
                    cancel(tx, task, f"plan {found.id} was cancelled")
            found = plans.get(tx.db, found.id)
            if found.state is not PlanState.CANCELLED:
                found = tx.move_plan(found, PlanEvent.CANCEL)
            tx.event("plan_cancelled", found.id)
            return self._view(tx, found)

    def _move(self, caller: Caller, plan: str, event: PlanEvent, kind: str) -> PlanView:
        caller.require(*PLANNERS, to="change plans")
        with self._workspace.write(caller) as tx:
            found = tx.move_plan(plans.find(tx.db, plan), event)
            tx.event(kind, found.id)
            return self._view(tx, found)

    def _view(self, tx: Transaction, plan: Plan) -> PlanView:
        of_plan = tasks.of_plan(tx.db, plan.id)
        path = tx.graph.critical_path([task.id for task in of_plan])
        return PlanView(plan=plan, tasks=of_plan, critical_path=list(path))

    # -- tasks ---------------------------------------------------------------------------------

    def add_tasks(self, caller: Caller, *, plan: str, tasks: Sequence[TaskDraft]) -> list[Task]:
        """Add tasks to a plan, all or nothing; a completed plan is open again then.

        Raises:
            IllegalTransition: the plan was cancelled.
        """
        caller.require(*PLANNERS, to="add tasks")
        with self._workspace.write(caller) as tx:
            return self._add(tx, caller, plans.find(tx.db, plan), tasks)

    def propose_task(
        self, caller: Caller, *, title: str, description: str = "", depends_on: Sequence[str] = ()
    ) -> Task:
        """Propose follow-up work from inside a task; a planner accepts or refuses it."""
        caller.require(Role.WORKER, to="propose tasks")
        with self._workspace.write(caller) as tx:
            if caller.session_id is None or (
                (lease := leases.newest_of(tx.db, caller.session_id)) is None
            ):
                raise InvalidInput("A proposal belongs to a task, and you hold none.")
            plan = plans.get(tx.db, tasks.get(tx.db, lease.subject).plan_id)
            draft = TaskDraft(title=title, description=description, depends_on=depends_on)
            return self._add(tx, caller, plan, [draft], state=TaskState.PROPOSED)[0]

    def _add(
        self,
        tx: Transaction,
        caller: Caller,
        plan: Plan,
        drafts: Sequence[TaskDraft],
        state: TaskState = TaskState.OPEN,
    ) -> list[Task]:
        if plan.state is PlanState.CANCELLED:
            raise IllegalTransition(
                f"Plan {plan.id} was cancelled and takes no new tasks.",
                remedy="Create a new plan for them.",
            )
        if len(drafts) > MOST_TASKS_AT_ONCE:
            raise InvalidInput(
                f"{len(drafts)} tasks in one call; at most {MOST_TASKS_AT_ONCE} are accepted.",
                remedy="Split the call.",
            )
        if not drafts:
            return []
        if plan.state is PlanState.COMPLETED:
            plan = tx.move_plan(plan, PlanEvent.REOPEN)
            tx.event("plan_reopened", plan.id)
        first = int(tasks.new_id(tx.db)[1:])
        ids = [TaskId(f"T{first + offset}") for offset in range(len(drafts))]
        by_key = _keys(drafts, ids)
        new = [
            (
                self._task(tx, plan, task_id, draft, state, caller),
                _resolved(tx, draft, by_key),
            )
            for task_id, draft in zip(ids, drafts, strict=True)
        ]
        tx.add_tasks(plan, new)
        for task, depends_on in new:
            tx.event(
                "task_proposed" if state is TaskState.PROPOSED else "task_created",
                task.id,
                title=task.title,
                plan=plan.id,
                depends_on=depends_on,
            )
        return [task for task, _ in new]

    def _task(
        self,
        tx: Transaction,
        plan: Plan,
        task_id: TaskId,
        draft: TaskDraft,
        state: TaskState,
        caller: Caller,
    ) -> Task:
        return Task(
            id=task_id,
            plan_id=plan.id,
            title=checked_title(draft.title),
            description=checked_text(draft.description, "description"),
            acceptance=tuple(checked_title(text) for text in draft.acceptance),
            priority=_checked_priority(draft.priority),
            estimate_minutes=_checked_estimate(draft.estimate_minutes),
            paths=tuple(_checked_path(path) for path in draft.paths),
            state=state,
            branch=None,
            base=None,
            reserved_for=None,
            reserved_until=None,
            ahead=False,
            proposed_by=caller.session_id if state is TaskState.PROPOSED else None,
            retried_at=None,
            created_at=tx.now,
            updated_at=tx.now,
        )

    def update_task(
        self,
        caller: Caller,
        task: str,
        *,
        title: str | None = None,
        description: str | None = None,
        acceptance: Sequence[str] | None = None,
        priority: int | None = None,
        estimate_minutes: float | None = None,
        paths: Sequence[str] | None = None,
        accept: bool | None = None,
    ) -> Task:
        """Change a task; `accept` answers a proposal (True opens it, False cancels it).

        Raises:
            IllegalTransition: the task has ended, or is not a proposal.
        """
        caller.require(*PLANNERS, to="change tasks")
        with self._workspace.write(caller) as tx:
            found = tasks.get(tx.db, task)
            changes: dict[str, object] = {}
            if title is not None:
                changes["title"] = checked_title(title)
            if description is not None:
                changes["description"] = checked_text(description, "description")
            if acceptance is not None:
                changes["acceptance"] = tuple(checked_title(text) for text in acceptance)
            if priority is not None:
                changes["priority"] = _checked_priority(priority)
            if estimate_minutes is not None:
                changes["estimate_minutes"] = _checked_estimate(estimate_minutes)
            if paths is not None:
                changes["paths"] = tuple(_checked_path(path) for path in paths)
            if not changes and accept is None:
                raise InvalidInput(
                    f"Nothing was given to change on {found.id}.",
                    remedy="Name at least one field, such as a priority.",
                )
            if found.state in TASK_ENDS:
                raise IllegalTransition(
                    f"Task {found.id} is {found.state.value} and can no longer be changed.",
                    remedy="Create a new task for what is missing.",
                )
            if accept is not None:
                event = TaskEvent.ACCEPT if accept else TaskEvent.REFUSE
                found = tx.move_task(found, event)
                tx.event("task_accepted" if accept else "task_refused", found.id)
            if changes:
                found = tx.edit_task(found, **changes)
                tx.event("task_updated", found.id, fields=sorted(changes))
            return found

    def cancel_task(self, caller: Caller, task: str) -> Task:
        """Cancel a task; its commits and snapshots are kept, its dependents stay blocked."""
        caller.require(*PLANNERS, to="cancel tasks")
        with self._workspace.write(caller) as tx:
            return cancel(tx, tasks.get(tx.db, task), f"cancelled by {caller.name}")

    def retry_task(self, caller: Caller, task: str) -> Task:
        """Open a stuck task again, its failures forgotten."""
        caller.require(*PLANNERS, to="retry tasks")
        with self._workspace.write(caller) as tx:
            found = tx.move_task(tasks.get(tx.db, task), TaskEvent.RETRY, retried_at=tx.now)
            tx.event("task_retried", found.id)
            return found

    # -- dependencies --------------------------------------------------------------------------

    def set_dependencies(
        self,
        caller: Caller,
        task: str,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
    ) -> list[TaskId]:
        """Add and remove what a task depends on, all or nothing; return what it depends on now.

        Raises:
            CyclicDependencies: no task of the cycle could ever start.
            IllegalTransition: the task has ended or is being worked on already.
        """
        caller.require(*PLANNERS, to="change dependencies")
        with self._workspace.write(caller) as tx:
            found = tasks.get(tx.db, task)
            if found.state in TASK_ENDS or found.state is TaskState.IN_REVIEW:
                raise IllegalTransition(
                    f"Task {found.id} is {found.state.value}; its dependencies are settled.",
                    remedy="Create a follow-up task that depends on it instead.",
                )
            for on in remove:
                other = tasks.get(tx.db, on)
                if not tasks.remove_dependency(tx.db, found.id, other.id):
                    raise NotFound(
                        f"{found.id} does not depend on {other.id}.",
                        remedy=f"Look at `sf dep tree {found.id}`.",
                    )
                tx.graph.remove_dependency(found.id, other.id)
            for on in add:
                other = tasks.get(tx.db, on)
                tx.graph.add_dependency(found.id, other.id)
                tasks.add_dependency(tx.db, found.id, other.id)
            tx.event("dependencies_changed", found.id, added=list(add), removed=list(remove))
            return list(tx.graph.dependencies(found.id))


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
    task = tx.move_task(task, TaskEvent.CANCEL, reserved_for=None, reserved_until=None)
    if question := questions.open_of_task(tx.db, task.id):
        tx.move_question(question, QuestionEvent.WITHDRAW)
    if lease := leases.live_on(tx.db, task.id):
        tx.end_lease(lease, EndKind.CANCELLED, reason)
        session = sessions.get(tx.db, lease.session_id)
        tx.edit_session(session, stop_requested=f"{task.id} was cancelled")
    tx.event("task_cancelled", task.id, reason=reason)
    blocked = [other.id for other in tasks.dependents_of(tx.db, task.id)]
    if blocked:
        tx.event("dependents_blocked", task.id, tasks=blocked, reason=f"{task.id} was cancelled")
    complete_if_over(tx, task)
    return task


def complete_if_over(tx: Transaction, task: Task) -> None:
    """Complete the task's plan when this was its last unfinished task."""
    plan = plans.get(tx.db, task.plan_id)
    of_plan = tasks.of_plan(tx.db, plan.id)
    is_over = all(other.state in TASK_ENDS for other in of_plan)
    if plan.state is PlanState.ACTIVE and is_over:
        if any(other.state in SATISFIED for other in of_plan):
            tx.move_plan(plan, PlanEvent.COMPLETE)
            tx.event("plan_completed", plan.id)


def _keys(drafts: Sequence[TaskDraft], ids: Sequence[TaskId]) -> Mapping[str, TaskId]:
    by_key: dict[str, TaskId] = {}
    for draft, task_id in zip(drafts, ids, strict=True):
        if draft.key and draft.key in by_key:
            raise InvalidInput(
                f"Two tasks of the call have the key {draft.key!r}.",
                remedy="Give each its own key.",
            )
        if draft.key:
            by_key[draft.key] = task_id
    return by_key


def _resolved(tx: Transaction, draft: TaskDraft, by_key: Mapping[str, TaskId]) -> list[TaskId]:
    return [by_key[on] if on in by_key else tasks.get(tx.db, on).id for on in draft.depends_on]


def _checked_priority(priority: int) -> int:
    if not HIGHEST_PRIORITY <= priority <= LOWEST_PRIORITY:
        raise InvalidInput(
            f"Priority {priority} is outside {HIGHEST_PRIORITY} to {LOWEST_PRIORITY}.",
            remedy=f"{HIGHEST_PRIORITY} is the most urgent, {LOWEST_PRIORITY} the least.",
        )
    return priority


def _checked_estimate(minutes: float | None) -> float | None:
    if minutes is not None and not 0 < minutes <= MOST_ESTIMATE_MINUTES:
        raise InvalidInput(
            f"An estimate of {minutes:g} minutes cannot be accepted.",
            remedy=f"Give minutes above 0 and up to {MOST_ESTIMATE_MINUTES}.",
        )
    return minutes


def _checked_path(path: str) -> str:
    cleaned = checked_title(path)
    if cleaned.startswith("/") or ".." in cleaned.split("/"):
        raise InvalidInput(
            f"The path {cleaned!r} leads out of the repository.",
            remedy="Give paths relative to the top of the repository.",
        )
    return cleaned
