"""A plan as a graph to be drawn or listed: its tasks as they stand, and what waits for what.

Everything comes of a few questions over whole tables and of the graph in memory: a plan of
thousands of tasks is looked at again after each change.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sf_mcp.core.identity import Caller
from sf_mcp.core.models import MergeRequestId, Plan, PlanId, TaskId
from sf_mcp.core.states import MergeState, PlanState, TaskState
from sf_mcp.service.merge_status import merge_status
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import leases, merge_requests, plans, sessions, tasks

UNFINISHED_PLANS = (PlanState.DRAFT, PlanState.ACTIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanNode:
    """One task of the graph."""

    id: TaskId
    plan_id: PlanId
    title: str
    state: TaskState
    standing: str
    """Its state, with `ready` or `blocked` in the place of `open`."""
    priority: int
    effective_priority: int
    estimate_minutes: float | None
    is_critical: bool
    """On the critical path."""
    is_outside: bool
    """Of another plan: here since a task of this one depends on it."""
    session: str
    """The name of the session at work on it, or on its merge request; empty when none is."""
    merge_request: MergeRequestId | None
    """The one under way."""
    merge_status: str
    """What that waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanGraph:
    """The tasks of one plan, or of all that are not finished, and their dependencies."""

    plans: list[Plan]
    tasks: list[PlanNode]
    """Oldest first."""
    edges: list[tuple[TaskId, TaskId]]
    """A task, and one that depends on it."""
    critical_path: list[TaskId]
    """The longest chain, by estimates, of tasks that have not ended, first task first."""
    counts: dict[str, int]
    """How many tasks have each standing; those of other plans are not counted."""


class PlanViewService:
    """Use cases of looking at a plan as a whole."""

    def __init__(self, workspace: Workspace) -> None:
        """Look at the plans of this project."""
        self._workspace = workspace

    def show_plan(self, _caller: Caller, *, plan: str = "") -> PlanGraph:
        """Return a plan's graph, by its id or title; that of all unfinished plans if none is named.

        Raises:
            NotFound: there is no such plan.
        """
        with self._workspace.read() as tx:
            chosen = [plans.find(tx.db, plan)] if plan else plans.in_state(tx.db, *UNFINISHED_PLANS)
            rows = tasks.rows_of_plans(tx.db, [one.id for one in chosen])
            own = {row.id for row in rows}
            needed = {task_id: tx.graph.dependencies(task_id) for task_id in own}
            outside = {on for found in needed.values() for on in found} - own
            critical = tx.graph.critical_path(own)
            nodes = self._nodes(tx, [*rows, *tasks.rows(tx.db, outside)], own, set(critical))
            nodes.sort(key=lambda node: int(node.id[1:]))
            return PlanGraph(
                plans=chosen,
                tasks=nodes,
                edges=[(on, node.id) for node in nodes for on in needed.get(node.id, ())],
                critical_path=list(critical),
                counts=Counter(node.standing for node in nodes if not node.is_outside),
            )

    def _nodes(
        self,
        tx: Transaction,
        rows: Iterable[tasks.TaskRow],
        own: set[TaskId],
        critical: set[TaskId],
    ) -> list[PlanNode]:
        under_way = merge_requests.in_state(tx.db, MergeState.OPEN, MergeState.LANDING)
        requests = {one.task_id: one for one in under_way}
        # Those that are kept to go on, and on top of them those that hold something now.
        at_work = sessions.waiting_names(tx.db) | leases.holder_names(tx.db)
        nodes: list[PlanNode] = []
        for row in rows:
            request = requests.get(row.id)
            name = at_work.get(row.id) or (at_work.get(request.id) if request else None)
            is_own = row.id in own
            nodes.append(
                PlanNode(
                    id=row.id,
                    plan_id=row.plan_id,
                    title=row.title,
                    state=row.state,
                    standing=standing(tx, row.id, row.state),
                    priority=row.priority,
                    effective_priority=tx.graph.effective_priority(row.id),
                    estimate_minutes=row.estimate_minutes,
                    is_critical=row.id in critical,
                    is_outside=not is_own,
                    session=name or "",
                    merge_request=request.id if request else None,
                    merge_status=merge_status(tx, request, self._workspace.settings)
                    if request
                    else "",
                )
            )
        return nodes


def standing(tx: Transaction, task_id: TaskId, state: TaskState) -> str:
    """Return a task's state in words of people: `open` is either `ready` or `blocked`."""
    if state is not TaskState.OPEN:
        return state.value
    return "ready" if tx.graph.is_ready(task_id) else "blocked"
