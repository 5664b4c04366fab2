"""Plans, tasks and dependencies: what is to be done, in which order."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sf_mcp.core.errors import IllegalTransition, InvalidInput, NotFound
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Plan, Role, Task, TaskId
from sf_mcp.core.states import TASK_ENDS, PlanEvent, PlanState, TaskEvent, TaskState
from sf_mcp.core.text import checked_text, checked_title
from sf_mcp.service.claims import require_lease
from sf_mcp.service.drafts import (
    TaskDraft,
    checked_acceptance,
    checked_estimate,
    checked_paths,
    checked_priority,
    ids_by_key,
    require_dependable,
    resolved_dependencies,
)
from sf_mcp.service.endings import ask_about_blocked, cancel, forget_if_unblocked, retry
from sf_mcp.service.handing_off import renumber
from sf_mcp.service.planning_rights import planning
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import leases, plans, tasks

__all__ = ["PlanService", "PlanView", "TaskDraft"]

MOST_TASKS_AT_ONCE = 1000


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
        with planning(self._workspace, caller, to="create plans") as tx:
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

    def list_plans(self, _caller: Caller) -> list[PlanView]:
        """Return every plan with its tasks."""
        with self._workspace.read() as tx:
            return [self._view(tx, plan) for plan in plans.all_of(tx.db)]

    def get_plan(self, _caller: Caller, plan: str) -> PlanView:
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
        with planning(self._workspace, caller, to="complete plans") as tx:
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
        with planning(self._workspace, caller, to="cancel plans") as tx:
            found = plans.find(tx.db, plan)
            if found.state is PlanState.CANCELLED:
                return self._view(tx, found)
            # The plan first: the end of its last task must not complete it.
            found = tx.move_plan(found, PlanEvent.CANCEL)
            tx.event("plan_cancelled", found.id)
            ended = [
                cancel(tx, task, f"plan {found.id} was cancelled")
                for task in tasks.of_plan(tx.db, found.id)
                if task.state not in TASK_ENDS
            ]
            for task in ended:
                ask_about_blocked(tx, task)
            return self._view(tx, found)

    def _move(self, caller: Caller, plan: str, event: PlanEvent, kind: str) -> PlanView:
        with planning(self._workspace, caller, to="change plans") as tx:
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
        with planning(self._workspace, caller, to="add tasks") as tx:
            return self._add(tx, caller, plans.find(tx.db, plan), tasks)

    def propose_task(
        self, caller: Caller, *, title: str, description: str = "", depends_on: Sequence[str] = ()
    ) -> Task:
        """Propose follow-up work from inside a task; a planner accepts or refuses it."""
        caller.require(Role.WORKER, to="propose tasks")
        with self._workspace.write(caller) as tx:
            if caller.session_id is None or leases.newest_of(tx.db, caller.session_id) is None:
                raise InvalidInput(
                    "A proposal belongs to a task, and you hold none.",
                    remedy="Call claim_task first.",
                )
            lease = require_lease(tx, caller)
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
        by_key = ids_by_key(drafts, ids)
        new = [
            (
                self._task(tx, plan, task_id, draft, state, caller),
                resolved_dependencies(tx, draft, by_key),
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
            acceptance=checked_acceptance(draft.acceptance),
            priority=checked_priority(draft.priority),
            estimate_minutes=checked_estimate(draft.estimate_minutes),
            paths=checked_paths(draft.paths),
            state=state,
            branch=None,
            base=None,
            reserved_for=None,
            reserved_until=None,
            ahead=False,
            proposed_by=caller.session_id if state is TaskState.PROPOSED else None,
            retried_at=None,
            is_over_budget=False,
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
        with planning(self._workspace, caller, to="change tasks") as tx:
            found = tasks.get(tx.db, task)
            changes: dict[str, object] = {}
            if title is not None:
                changes["title"] = checked_title(title)
            if description is not None:
                changes["description"] = checked_text(description, "description")
            if acceptance is not None:
                changes["acceptance"] = criteria = checked_acceptance(acceptance)
                renumber(tx, found, criteria)
            if priority is not None:
                changes["priority"] = checked_priority(priority)
            if estimate_minutes is not None:
                changes["estimate_minutes"] = checked_estimate(estimate_minutes)
            if paths is not None:
                changes["paths"] = checked_paths(paths)
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
            if changes:
                found = tx.edit_task(found, **changes)
                tx.event("task_updated", found.id, fields=sorted(changes))
            return found if accept is None else self._decide(tx, found, accept=accept)

    def _decide(self, tx: Transaction, task: Task, *, accept: bool) -> Task:
        if accept:
            task = tx.move_task(task, TaskEvent.ACCEPT)
            tx.event("task_accepted", task.id)
            return task
        if task.state is not TaskState.PROPOSED:
            raise IllegalTransition(
                f"Task {task.id} is {task.state.value}; only a proposed task can be refused.",
                remedy=f"Cancel it instead: sf task cancel {task.id}",
            )
        task = cancel(tx, task, f"refused by {tx.actor}")
        ask_about_blocked(tx, task)
        return task

    def cancel_task(self, caller: Caller, task: str) -> Task:
        """Cancel a task; its commits and snapshots are kept, its dependents stay blocked."""
        with planning(self._workspace, caller, to="cancel tasks") as tx:
            found = cancel(tx, tasks.get(tx.db, task), f"cancelled by {caller.name}")
            ask_about_blocked(tx, found)
            return found

    def retry_task(self, caller: Caller, task: str) -> Task:
        """Open a stuck task again, its failures forgotten."""
        with planning(self._workspace, caller, to="retry tasks") as tx:
            return retry(tx, tasks.get(tx.db, task))

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

        A task that is being worked on goes on; its merge waits for what it depends on now.

        Raises:
            CyclicDependencies: no task of the cycle could ever start.
            IllegalTransition: the task has ended or is in review.
            InvalidInput: nothing was named, or it would wait for a cancelled task.
        """
        with planning(self._workspace, caller, to="change dependencies") as tx:
            found = tasks.get(tx.db, task)
            if not add and not remove:
                raise InvalidInput(
                    f"Nothing was given to change on {found.id}.",
                    remedy="Name the tasks to add or remove.",
                )
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
                forget_if_unblocked(tx, other)
            for on in add:
                other = require_dependable(tasks.get(tx.db, on))
                tx.graph.add_dependency(found.id, other.id)
                tasks.add_dependency(tx.db, found.id, other.id)
            tx.event("dependencies_changed", found.id, added=list(add), removed=list(remove))
            return list(tx.graph.dependencies(found.id))
