"""A fleet for a state machine: its project, and what rules need to pick from and to look at."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, initialize

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.identity import PERSON, SERVER, Caller
from sf_mcp.core.models import MergeRequest, Oid, Role, SessionId, TaskId
from sf_mcp.core.states import TASK_ENDS, MergeState, SessionState, TaskState
from sf_mcp.git.identity import SERVER as SERVER_IDENTITY
from sf_mcp.service import Services
from sf_mcp.service.dispatch import DispatchService, Place, WorkOrder
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.store import merge_requests, sessions, tasks
from tests.builders import Project, a_project

BUSY = (TaskState.CLAIMED, TaskState.WAITING, TaskState.IN_REVIEW, TaskState.STUCK)
TABLES = ("plans", "tasks", "dependencies", "sessions", "leases", "questions", "merge_requests")
EVERY_TABLE = (*TABLES, "handoffs", "repair_notes", "reviews", "events", "facts")


def configuration(
    *, review: bool = True, auto_merge: bool = True, slots: int = 3, task_usd: float | None = None
) -> str:
    budget = "" if task_usd is None else f"budget: {{taskUsd: {task_usd}}}\n"
    return (
        "checks: []\n"
        f"orchestrator: {{maxConcurrent: {slots}, maxFailures: 2, maxSendBacks: 2,"
        " reservationSeconds: 200}\n"
        f"agents: {{steward: {{review: {str(review).lower()},"
        f" autoMerge: {str(auto_merge).lower()}}}, director: {{headlessAfterSeconds: 60}}}}\n"
        f"{budget}"
    )


class OutOfSpace(Exception):
    """Something that ends a transaction, and that no service expects."""


class Fleet(RuleBasedStateMachine):
    """Everything but git's files is real; a landing is settled by what the forge says."""

    project: Project
    dispatch: DispatchService
    created: int
    """Tasks so far."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sf-stateful-"))
        # The gate of the account is this fleet's alone.
        os.environ["XDG_STATE_HOME"] = str(self.folder / "state")
        self.project = a_project(self.folder, config=configuration())
        self._use(self.services)
        target = self.project.target
        self.elsewhere = self.project.forge.commit_tree(
            self.project.forge.tree_of(target), [target], "not landed", SERVER_IDENTITY
        )
        self.services.plans.create_plan(PERSON, title="one")
        self.services.plans.create_plan(PERSON, title="two")
        chain = [
            TaskDraft(title="first", key="a"),
            TaskDraft(title="second", key="b", depends_on=["a"]),
            TaskDraft(title="beside"),
            TaskDraft(title="another", priority=1),
        ]
        self.services.plans.add_tasks(PERSON, plan="P1", tasks=chain)
        self.created = len(chain)
        self.ended: dict[str, TaskState] = {}
        self.fences: dict[str, int] = {}
        self.events_seen: list[tuple[Any, ...]] = []
        self.rolls_back = False

    def teardown(self) -> None:
        if hasattr(self, "created"):
            self.project.services.close()
            shutil.rmtree(self.folder)

    @property
    def services(self) -> Services:
        return self.project.services

    def _use(self, services: Services) -> None:
        # No worktrees are made: what is at stake here are the rows and the graph.
        self.dispatch = DispatchService(
            services.workspace,
            services.claims,
            services.sessions,
            services.requests,
            lambda session: Place(cwd=session.name, environment={}),
        )

    def reopen(self) -> None:
        """Start the server anew on the same files."""
        self.project.reopen()
        self._use(self.services)

    # -- doing and being refused -------------------------------------------------------------------

    def rows(self, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
        with self.services.workspace.read() as tx:
            return {
                table: [tuple(row) for row in tx.db.execute(f"SELECT * FROM {table}")]
                for table in tables or TABLES
            }

    def attempt(self, action: Callable[[], Any]) -> Any:
        """Do it, or be refused with nothing changed; or see it rolled back, if that is due."""
        before = self.rows()
        if self.rolls_back:
            self.rolls_back = False
            self._roll_back(action)
            assert self.rows() == before
            return None
        try:
            return action()
        except StoneforgeError:
            assert self.rows() == before
            return None

    def _roll_back(self, action: Callable[[], Any]) -> None:
        try:
            with self.services.workspace.write(SERVER):
                action()
                raise OutOfSpace
        except (OutOfSpace, StoneforgeError):
            pass

    # -- picking -----------------------------------------------------------------------------------

    def caller(self, session_id: str) -> Caller:
        session = self.project.session(session_id)
        return Caller(role=session.role, name=session.name, session_id=session.id)

    def task_of(self, pick: int) -> str:
        """Return a task; mostly one with which something is going on."""
        with self.services.workspace.read() as tx:
            busy = tasks.in_state(tx.db, *BUSY)
        return busy[pick % len(busy)].id if busy and pick % 3 else f"T{pick % self.created + 1}"

    def order(self) -> WorkOrder | None:
        """Start the next session, as far as the server is concerned."""
        return self.attempt(lambda: self.dispatch.next_order(PERSON))

    def live_session(self, pick: int, role: Role | None = None) -> str | None:
        """Return a session, started if there is none; sometimes one that has ended long ago."""
        with self.services.workspace.read() as tx:
            alive = [one for one in sessions.alive(tx.db) if role in (None, one.role)]
            known = sessions.in_state(tx.db, *SessionState)
        if not alive and self.order() is not None:
            return self.live_session(pick, role)
        found = known if pick % 10 == 9 or not alive else alive
        return found[pick % len(found)].id if found else None

    def alive(self) -> list[SessionId]:
        with self.services.workspace.read() as tx:
            return [session.id for session in sessions.alive(tx.db)]

    def open_requests(self) -> list[MergeRequest]:
        with self.services.workspace.read() as tx:
            return merge_requests.in_state(tx.db, MergeState.OPEN)

    def open_request(self) -> MergeRequest | None:
        """Return the oldest open merge request; one is asked for if there is none."""
        if not self.open_requests():
            self.request_merge_of(self.live_session(0, Role.WORKER))
        found = self.open_requests()
        return found[0] if found else None

    def request_merge_of(self, session: str | None) -> MergeRequest | None:
        """Have a worker ask for the merge of a commit that is in the target already."""
        if session is None:
            return None
        target = self.project.target
        return self.attempt(
            lambda: self.services.requests.open_request(
                self.caller(session), commit=target, base=target, branch="b", summary="done"
            )
        )

    def pass_checks(self, request: MergeRequest) -> None:
        """Record that the merged tree has passed, as the train does."""
        with self.services.workspace.write(SERVER) as tx:
            tx.edit_merge_request(request, checked_tree=Oid("t"))

    def unfinished(self) -> list[TaskId]:
        with self.services.workspace.read() as tx:
            return [one.id for one in tasks.TASKS.select(tx.db) if one.state not in TASK_ENDS]
