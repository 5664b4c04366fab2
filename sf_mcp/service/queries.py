"""Looking at tasks: one, many, and why one is not running or not merged."""

from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass

from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Handoff, LateWork, Oid, RepairNote, Task, TaskId
from sf_mcp.core.radar import starting_order
from sf_mcp.core.states import TaskState
from sf_mcp.core.why import Why
from sf_mcp.service.holding import Touched, held_back, nothing_touched
from sf_mcp.service.merge_status import merge_status
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

    def __init__(
        self,
        workspace: Workspace,
        touched: Touched = nothing_touched,
        running: Callable[[], frozenset[int] | None] = lambda: None,
    ) -> None:
        """Look at this project; `touched` is what the radar has seen.

        `running` names the trials that run in this process; None: it lands nothing.
        """
        self._workspace = workspace
        self._touched = touched
        self._running = running

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
        """Say why a task is not running, or not merged; also of an M7, a P3, a Q4 or a worker-2.

        Raises:
            NotFound: there is nothing of that name.
        """
        # Here, since it knows all nouns: `sf task ready` must answer in a tenth of a second.
        from sf_mcp.service.why import Answers

        with self._workspace.read() as tx:
            answers = Answers(
                tx=tx,
                workspace=self._workspace,
                touched=self._touched,
                running=self._running(),
            )
            return answers.of(task)


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
