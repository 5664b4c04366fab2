"""One use case's view of the state, and the only way in which it changes.

Each change of a stored state goes through its state machine here, with the row, the graph and the
time in step. Not here: what a change means, which the services decide.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sf_mcp.core import leases as rules
from sf_mcp.core import states
from sf_mcp.core.graph import TaskGraph
from sf_mcp.core.models import (
    Conflict,
    EndKind,
    Lease,
    MergeRequest,
    Plan,
    Question,
    Session,
    SessionId,
    Task,
    TaskId,
)
from sf_mcp.core.states import (
    ConflictEvent,
    ConflictState,
    MergeEvent,
    PlanEvent,
    QuestionEvent,
    SessionEvent,
    TaskEvent,
)
from sf_mcp.store import events, leases, plans, tasks
from sf_mcp.store.conflicts import CONFLICTS
from sf_mcp.store.database import Connection
from sf_mcp.store.leases import LEASES
from sf_mcp.store.merge_requests import MERGE_REQUESTS
from sf_mcp.store.plans import PLANS
from sf_mcp.store.questions import QUESTIONS
from sf_mcp.store.sessions import SESSIONS
from sf_mcp.store.tasks import TASKS


class Transaction:
    """An open transaction: `db` to read from, and one method per kind of change."""

    def __init__(
        self,
        *,
        db: Connection,
        now: datetime,
        actor: str,
        may_write: bool,
        load_graph: Callable[["Transaction"], TaskGraph],
        lease_term: Callable[[], timedelta],
        on_new_holder: Callable[[str], None],
    ) -> None:
        """`load_graph` gives the graph of the present rows, when it is first asked for.

        `on_new_holder` is told of each subject that somebody begins or ceases to hold.
        """
        self.db = db
        self.now = now
        self.actor = actor
        self.may_write = may_write
        self._lease_term = lease_term
        self._load_graph = load_graph
        self._on_new_holder = on_new_holder

    @property
    def graph(self) -> TaskGraph:
        """The tasks and dependencies as they stand in this transaction."""
        return self._load_graph(self)

    def event(self, kind: str, subject: str = "", **data: Any) -> None:
        """Tell what happened, beside the change itself."""
        events.append(self.db, self.now, kind, self.actor, subject, data)

    def move_task(self, task: Task, event: TaskEvent, **changes: Any) -> Task:
        """Take a task one step through its state machine."""
        state = states.TASK.advance(task.state, event, f"Task {task.id}")
        return self.edit_task(task, state=state, **changes)

    def edit_task(self, task: Task, **changes: Any) -> Task:
        """Change a task's fields."""
        graph = self.graph
        changes["updated_at"] = self.now
        task = replace(task, **changes)
        TASKS.change(self.db, task.id, changes)
        node = tasks.node(task, plans.get(self.db, task.plan_id).state)
        graph.update(
            task.id,
            priority=node.priority,
            estimate_minutes=node.estimate_minutes,
            standing=node.standing,
            ahead=node.ahead,
        )
        return task

    def add_tasks(self, plan: Plan, new: list[tuple[Task, list[TaskId]]]) -> None:
        """Add tasks with what they depend on, all or none.

        Raises:
            CyclicDependencies: they would form a cycle.
            NotFound: a dependency does not exist.
        """
        graph = self.graph
        pairs = [(task.id, on) for task, depends_on in new for on in depends_on]
        graph.add_all([tasks.node(task, plan.state) for task, _ in new], pairs)
        for task, _ in new:
            TASKS.insert(self.db, task)
        for task_id, depends_on in pairs:
            tasks.add_dependency(self.db, task_id, depends_on)

    def move_plan(self, plan: Plan, event: PlanEvent) -> Plan:
        """Take a plan one step, and its tasks' standing in the graph with it."""
        graph = self.graph
        state = states.PLAN.advance(plan.state, event, f"Plan {plan.id}")
        plan = replace(plan, state=state, updated_at=self.now)
        PLANS.change(self.db, plan.id, {"state": state, "updated_at": self.now})
        for task in tasks.of_plan(self.db, plan.id):
            graph.update(task.id, standing=tasks.standing(task.state, state))
        return plan

    def move_session(self, session: Session, event: SessionEvent, **changes: Any) -> Session:
        """Take a session one step through its state machine."""
        state = states.SESSION.advance(session.state, event, f"Session {session.name}")
        return self.edit_session(session, state=state, **changes)

    def edit_session(self, session: Session, **changes: Any) -> Session:
        """Change a session's fields."""
        SESSIONS.change(self.db, session.id, changes)
        return replace(session, **changes)

    def move_question(self, question: Question, event: QuestionEvent, **changes: Any) -> Question:
        """Take a question one step through its state machine."""
        state = states.QUESTION.advance(question.state, event, f"Question {question.id}")
        return self.edit_question(question, state=state, **changes)

    def edit_question(self, question: Question, **changes: Any) -> Question:
        """Change a question's fields."""
        QUESTIONS.change(self.db, question.id, changes)
        return replace(question, **changes)

    def move_merge_request(
        self, request: MergeRequest, event: MergeEvent, **changes: Any
    ) -> MergeRequest:
        """Take a merge request one step through its state machine."""
        state = states.MERGE_REQUEST.advance(request.state, event, f"Merge request {request.id}")
        return self.edit_merge_request(request, state=state, **changes)

    def edit_merge_request(self, request: MergeRequest, **changes: Any) -> MergeRequest:
        """Change a merge request's fields."""
        changes["updated_at"] = self.now
        MERGE_REQUESTS.change(self.db, request.id, changes)
        return replace(request, **changes)

    def move_conflict(self, conflict: Conflict, event: ConflictEvent, **changes: Any) -> Conflict:
        """Take a conflict one step through its state machine."""
        whose = f"The conflict of {conflict.merge_request_id}"
        state = states.CONFLICT.advance(conflict.state, event, whose)
        if state is not ConflictState.RESOLVING and conflict.ended_at is None:
            changes["ended_at"] = self.now
        return self.edit_conflict(conflict, state=state, **changes)

    def edit_conflict(self, conflict: Conflict, **changes: Any) -> Conflict:
        """Change a conflict's fields."""
        CONFLICTS.change(self.db, conflict.number, changes)
        return replace(conflict, **changes)

    def grant_lease(self, subject: str, session_id: SessionId) -> Lease:
        """Give the session a lease with the subject's next fencing token.

        Raises:
            AlreadyClaimed: another session holds it.
        """
        newest = leases.newest_on(self.db, subject)
        lease = rules.grant(
            subject,
            session_id,
            number=leases.next_number(self.db),
            newest=newest,
            now=self.now,
            duration=self._lease_term(),
        )
        if newest is not None and lease.number == newest.number:
            self._keep_lease(lease)
        else:
            self._on_new_holder(subject)
            LEASES.insert(self.db, lease)
        return lease

    def renew_lease(self, lease: Lease) -> None:
        """Give a live lease a whole term from now; never less than it had."""
        self._keep_lease(rules.renew(lease, now=self.now, duration=self._lease_term()))

    def set_lease_anew(self, lease: Lease) -> None:
        """Give a live lease exactly a whole term from now."""
        self._keep_lease(rules.set_anew(lease, now=self.now, duration=self._lease_term()))

    def end_lease(self, lease: Lease, kind: EndKind, detail: str = "") -> None:
        """End a live lease: for a task, that is one attempt."""
        self._on_new_holder(lease.subject)
        self._keep_lease(rules.end(lease, kind, now=self.now, detail=detail))
        self.event(
            "lease_ended", lease.subject, session=lease.session_id, end=kind.value, detail=detail
        )

    def _keep_lease(self, lease: Lease) -> None:
        changing = ("expires_at", "ended_at", "end", "end_detail")
        columns = {name: getattr(lease, name) for name in changing}
        LEASES.change(self.db, lease.number, columns)
