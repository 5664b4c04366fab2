"""Claims, ends, questions, reviews and landings in any order: no task is lost, none has two leases.

Everything but git's files is real; a landing is settled by what the forge says, as after a crash.
Whatever is refused must have changed nothing.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.graph import TaskGraph
from sf_mcp.core.identity import PERSON, SERVER, Caller
from sf_mcp.core.models import EndKind, LandingKind, MergeRequest, Oid, Role, Session, Task
from sf_mcp.core.states import (
    LIVE_SESSIONS,
    TASK_ENDS,
    MergeEvent,
    MergeState,
    PlanState,
    QuestionState,
    SessionState,
    TaskState,
)
from sf_mcp.git.identity import SERVER as SERVER_IDENTITY
from sf_mcp.service.dispatch import DispatchService, Place
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import landings, leases, merge_requests, questions, sessions, tasks
from tests.builders import Project, a_project

PICK = st.integers(0, 999)
"""Stands for one of whatever there is at that moment."""
BUSY = (TaskState.CLAIMED, TaskState.WAITING, TaskState.IN_REVIEW, TaskState.STUCK)
TABLES = ("plans", "tasks", "dependencies", "sessions", "leases", "questions", "merge_requests")
CONFIG = """
checks: []
orchestrator: {maxConcurrent: 3, maxFailures: 2, maxSendBacks: 2, reservationSeconds: 200}
agents: {director: {headlessAfterSeconds: 60}}
"""


class Fleet(RuleBasedStateMachine):
    """A fleet whose sessions, people and clock do whatever comes to their mind."""

    project: Project

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sf-stateful-"))
        self.project = a_project(self.folder, config=CONFIG)
        services = self.project.services
        # No worktrees are made: what is at stake here are the rows and the graph.
        self.dispatch = DispatchService(
            services.workspace,
            services.claims,
            services.sessions,
            services.requests,
            lambda session: Place(cwd=session.name, environment={}),
        )
        target = self.project.target
        self.elsewhere = self.project.forge.commit_tree(
            self.project.forge.tree_of(target), [target], "not landed", SERVER_IDENTITY
        )
        services.plans.create_plan(PERSON, title="one")
        services.plans.create_plan(PERSON, title="two")
        chain = [
            TaskDraft(title="first", key="a"),
            TaskDraft(title="second", key="b", depends_on=["a"]),
            TaskDraft(title="beside"),
            TaskDraft(title="another", priority=1),
        ]
        services.plans.add_tasks(PERSON, plan="P1", tasks=chain)
        self.created = len(chain)
        self.ended: dict[str, TaskState] = {}
        self.fences: dict[str, int] = {}

    def teardown(self) -> None:
        if hasattr(self, "project"):
            self.project.services.close()
            shutil.rmtree(self.folder)

    # -- what the rules are made of --------------------------------------------------------------

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        with self.project.services.workspace.read() as tx:
            return {
                table: [tuple(row) for row in tx.db.execute(f"SELECT * FROM {table}")]
                for table in TABLES
            }

    def attempt(self, action: Callable[[], Any]) -> Any:
        """Do it, or be refused with nothing changed."""
        before = self.rows()
        try:
            return action()
        except StoneforgeError:
            assert self.rows() == before
            return None

    def caller(self, session_id: str) -> Caller:
        session = self.project.session(session_id)
        return Caller(role=session.role, name=session.name, session_id=session.id)

    def task_of(self, pick: int) -> str:
        """Return a task; mostly one with which something is going on."""
        with self.project.services.workspace.read() as tx:
            busy = tasks.in_state(tx.db, *BUSY)
        return busy[pick % len(busy)].id if busy and pick % 3 else f"T{pick % self.created + 1}"

    def live_session(self, pick: int, role: Role | None = None) -> str | None:
        """Return a session, started if there is none; sometimes one that has ended long ago."""
        with self.project.services.workspace.read() as tx:
            alive = [one for one in sessions.alive(tx.db) if role in (None, one.role)]
            known = sessions.in_state(tx.db, *SessionState)
        if not alive and self.attempt(lambda: self.dispatch.next_order(PERSON)) is not None:
            return self.live_session(pick, role)
        found = known if pick % 10 == 9 or not alive else alive
        return found[pick % len(found)].id if found else None

    def open_request(self) -> MergeRequest | None:
        """Return the oldest open merge request; one is asked for if there is none."""
        with self.project.services.workspace.read() as tx:
            found = merge_requests.in_state(tx.db, MergeState.OPEN)
        if not found:
            self.request_merge_of(0)
            with self.project.services.workspace.read() as tx:
                found = merge_requests.in_state(tx.db, MergeState.OPEN)
        return found[0] if found else None

    def request_merge_of(self, pick: int) -> None:
        session = self.live_session(pick, Role.WORKER)
        if session is not None:
            target = self.project.target
            self.attempt(
                lambda: self.project.services.requests.open_request(
                    self.caller(session), commit=target, base=target, branch="b", summary="done"
                )
            )

    # -- planning ----------------------------------------------------------------------------------

    @rule(
        plan=st.sampled_from(["P1", "P2"]),
        priority=st.integers(1, 5),
        waits_for=st.lists(st.integers(1, 8), max_size=2),
    )
    def create(self, plan: str, priority: int, waits_for: list[int]) -> None:
        draft = TaskDraft(
            title="t", priority=priority, depends_on=[f"T{number}" for number in waits_for]
        )
        made = self.attempt(
            lambda: self.project.services.plans.add_tasks(PERSON, plan=plan, tasks=[draft])
        )
        self.created += len(made or [])

    @rule(pick=PICK, other=PICK, removes=st.booleans())
    def depend(self, pick: int, other: int, removes: bool) -> None:
        task = self.task_of(pick)
        change = {"remove": [self.task_of(other)]} if removes else {"add": [self.task_of(other)]}
        self.attempt(lambda: self.project.services.plans.set_dependencies(PERSON, task, **change))

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        task = self.task_of(pick)
        self.attempt(lambda: self.project.services.plans.cancel_task(PERSON, task))

    @rule(pick=PICK)
    def retry(self, pick: int) -> None:
        task = self.task_of(pick)
        self.attempt(lambda: self.project.services.plans.retry_task(PERSON, task))

    @rule(plan=st.sampled_from(["P2"]), sure=st.integers(0, 29))
    def cancel_plan(self, plan: str, sure: int) -> None:
        if sure == 0:
            self.attempt(lambda: self.project.services.plans.cancel_plan(PERSON, plan))

    @rule(accept=st.booleans())
    def decide_proposal(self, accept: bool) -> None:
        with self.project.services.workspace.read() as tx:
            proposed = tasks.in_state(tx.db, TaskState.PROPOSED)
        if proposed:
            self.attempt(
                lambda: self.project.services.plans.update_task(
                    PERSON, proposed[0].id, accept=accept
                )
            )

    # -- sessions ----------------------------------------------------------------------------------

    @rule(times=st.integers(1, 3))
    def start(self, times: int) -> None:
        for _ in range(times):
            self.attempt(lambda: self.dispatch.next_order(PERSON))

    @rule(pick=PICK, is_connected=st.booleans())
    def report(self, pick: int, is_connected: bool) -> None:
        session = self.live_session(pick)
        if session is None:
            return
        if is_connected:
            self.project.services.sessions.connected(PERSON, session, model="m")
        self.project.services.sessions.heard(
            PERSON,
            session,
            is_turn_active=True,
            last_line="x",
            context_tokens=1,
            context_window=1,
            cost_usd=1,
        )

    @rule(pick=PICK)
    def claim(self, pick: int) -> None:
        session = self.live_session(pick, Role.WORKER)
        if session is None:
            return
        self.attempt(lambda: self.project.services.claims.claim_task(self.caller(session)))

    @rule(pick=PICK)
    def propose(self, pick: int) -> None:
        session = self.live_session(pick, Role.WORKER)
        if session is None:
            return
        made = self.attempt(
            lambda: self.project.services.plans.propose_task(self.caller(session), title="more")
        )
        self.created += made is not None

    @rule(pick=PICK, gives_up=st.booleans())
    def hand_off(self, pick: int, gives_up: bool) -> None:
        session = self.live_session(pick, Role.WORKER)
        if session is None:
            return
        if gives_up:
            self.attempt(
                lambda: self.project.services.claims.release_task(self.caller(session), reason="no")
            )
            return
        self.attempt(
            lambda: self.project.services.claims.record_handoff(
                self.caller(session),
                progress="p",
                remaining="r",
                decisions="",
                pitfalls="",
                next_step="n",
                commit=None,
                snapshot=None,
            )
        )

    @rule(pick=PICK, by_hook=st.booleans())
    def end_turn(self, pick: int, by_hook: bool) -> None:
        session = self.live_session(pick)
        if session is None:
            return
        if by_hook:
            self.project.services.sessions.stop_hook(self.caller(session))
        else:
            self.project.services.sessions.turn_ended(PERSON, session)

    @rule(pick=PICK, kind=st.sampled_from(list(EndKind)))
    def end(self, pick: int, kind: EndKind) -> None:
        session = self.live_session(pick)
        if session is None:
            return
        self.project.services.sessions.ended(PERSON, session, kind=kind, detail="")
        self.project.services.fleet.resume_fleet(PERSON)

    @rule(pick=PICK)
    def stop(self, pick: int) -> None:
        session = self.live_session(pick)
        if session is None:
            return
        self.attempt(lambda: self.project.services.sessions.stop_session(PERSON, session))

    # -- questions ---------------------------------------------------------------------------------

    @rule(pick=PICK, then_parks=st.booleans())
    def ask(self, pick: int, then_parks: bool) -> None:
        session = self.ask_about_something(pick)
        if session is not None and then_parks:
            self.project.services.sessions.ended(PERSON, session, kind=EndKind.PARKED, detail="")

    def ask_about_something(self, pick: int) -> str | None:
        session = self.live_session(pick, Role.WORKER)
        if session is not None:
            self.attempt(
                lambda: self.project.services.questions.ask_director(
                    self.caller(session), question="which?"
                )
            )
        return session

    @rule(text=st.sampled_from(["yes", "retry", "cancel"]), newest=st.booleans())
    def answer(self, text: str, newest: bool) -> None:
        if not self.project.services.questions.list_questions(PERSON):
            self.ask_about_something(0)
        found = self.project.services.questions.list_questions(PERSON)
        if found:
            question = found[-1 if newest else 0]
            self.attempt(
                lambda: self.project.services.questions.answer_question(
                    PERSON, question.id, answer=text
                )
            )

    @rule(pick=PICK)
    def answer_as_director(self, pick: int) -> None:
        session = self.live_session(pick, Role.DIRECTOR)
        if session is None:
            return
        director = self.caller(session)
        if director.role is Role.DIRECTOR:
            self.attempt(
                lambda: self.project.services.questions.answer_question(
                    director, self.project.session(session).subject, answer="retry"
                )
            )

    # -- merging -----------------------------------------------------------------------------------

    @rule(pick=PICK)
    def request_merge(self, pick: int) -> None:
        self.request_merge_of(pick)

    @rule()
    def pass_checks(self) -> None:
        self.pass_checks_of_one()

    def pass_checks_of_one(self) -> None:
        request = self.open_request()
        if request is not None:
            with self.project.services.workspace.write(SERVER) as tx:
                tx.edit_merge_request(request, checked_tree=Oid("t"))

    @rule(pick=PICK, approves=st.booleans())
    def review(self, pick: int, approves: bool) -> None:
        self.pass_checks_of_one()
        session = self.live_session(pick, Role.STEWARD)
        if session is None:
            return
        requests = self.project.services.requests
        if approves:
            self.attempt(lambda: requests.approve_merge(self.caller(session)))
        else:
            self.attempt(lambda: requests.send_back(self.caller(session), reason="no"))

    @rule(approves=st.booleans())
    def decide_as_person(self, approves: bool) -> None:
        request = self.open_request()
        requests = self.project.services.requests
        if request is not None and approves:
            self.attempt(lambda: requests.approve_merge(PERSON, request.id))
        elif request is not None:
            self.attempt(lambda: requests.send_back(PERSON, request.id, reason="no"))

    @rule(lands=st.booleans())
    def land(self, lands: bool) -> None:
        """Crash in the middle of a landing, before or after the target moved, and recover."""
        request = self.open_request()
        if request is None:
            return
        target = self.project.target
        with self.project.services.workspace.write(SERVER) as tx:
            tx.move_merge_request(request, MergeEvent.START_LANDING)
            landings.intend(
                tx.db,
                kind=LandingKind.MERGE,
                merge_request_id=request.id,
                old=target,
                new=target if lands else self.elsewhere,
                tree=Oid("t"),
                is_green=None,
                at=tx.now,
            )
        self.attempt(lambda: self.project.services.plans.cancel_task(PERSON, request.task_id))
        self.project.services.target.recover()
        assert self.project.request(request.id).state is (
            MergeState.LANDED if lands else MergeState.OPEN
        )

    # -- time --------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 60, 130, 400]))
    def wait(self, seconds: int) -> None:
        self.project.clock.advance(seconds=seconds)
        self.project.services.lease_watch.expire(SERVER)
        self.project.services.lease_watch.release_reservations(SERVER)

    @rule()
    def restart(self) -> None:
        self.project.reopen()
        services = self.project.services
        self.dispatch = DispatchService(
            services.workspace,
            services.claims,
            services.sessions,
            services.requests,
            lambda session: Place(cwd=session.name, environment={}),
        )

    # -- what must always hold ---------------------------------------------------------------------

    @invariant()
    def every_task_is_in_one_state_with_all_that_this_state_requires(self) -> None:
        if not hasattr(self, "created"):
            return
        with self.project.services.workspace.read() as tx:
            all_tasks = tasks.TASKS.select(tx.db)
            assert len(all_tasks) == self.created
            for task in all_tasks:
                self.check_task(tx, task)
            for session in sessions.in_state(tx.db, *SessionState):
                check_session(tx, session)
            for lease in leases.LEASES.select(tx.db, "1 ORDER BY number"):
                assert lease.fence <= self.fences.get(lease.subject, 0) + 1
                self.fences[lease.subject] = max(lease.fence, self.fences.get(lease.subject, 0))
            check_live_leases(tx)
            check_plans(tx)
            check_graph(tx)

    def check_task(self, tx: Transaction, task: Task) -> None:
        lease = leases.live_on(tx.db, task.id)
        request = merge_requests.live_of_task(tx.db, task.id)
        question = questions.open_of_task(tx.db, task.id)
        assert (task.state is TaskState.CLAIMED) == (lease is not None)
        assert (task.state is TaskState.IN_REVIEW) == (request is not None)
        if lease is not None:
            assert sessions.get(tx.db, lease.session_id).state in LIVE_SESSIONS
        if task.state is TaskState.WAITING:
            assert question is not None
            assert question.session_id is not None
            assert sessions.get(tx.db, question.session_id).state is SessionState.PARKED
        if task.state is TaskState.STUCK:
            assert question is not None
            assert question.session_id is None
        if task.reserved_for is not None:
            assert task.state is TaskState.OPEN
        if task.state in (TaskState.MERGED, TaskState.CLOSED):
            newest = merge_requests.newest_of_task(tx.db, task.id)
            assert newest is not None
            assert newest.state is MergeState.LANDED
        if task.id in self.ended:
            assert task.state is self.ended[task.id]
        if task.state in TASK_ENDS:
            self.ended[task.id] = task.state


def check_session(tx: Transaction, session: Session) -> None:
    if session.state is SessionState.PARKED:
        task = tasks.get(tx.db, session.subject)
        assert task.state is TaskState.WAITING or task.reserved_for == session.id
    if session.state not in LIVE_SESSIONS:
        assert leases.live_of(tx.db, session.id) is None
        tokens = tx.db.execute("SELECT 1 FROM tokens WHERE session_id = ?", (session.id,))
        assert tokens.fetchall() == []


def check_live_leases(tx: Transaction) -> None:
    live = leases.live(tx.db)
    assert len({lease.subject for lease in live}) == len(live)
    assert len({lease.session_id for lease in live}) == len(live)
    for lease in live:
        if lease.subject.startswith("M"):
            assert merge_requests.get(tx.db, lease.subject).state is MergeState.OPEN
        if lease.subject.startswith("Q"):
            question = questions.get(tx.db, lease.subject)
            assert question.state is not QuestionState.WITHDRAWN


def check_plans(tx: Transaction) -> None:
    unfinished = tx.db.execute(
        "SELECT p.state, count(*) FROM plans p JOIN tasks t ON t.plan_id = p.id"
        " WHERE t.state NOT IN ('merged', 'closed', 'cancelled') GROUP BY p.id"
    ).fetchall()
    assert all(row[0] == PlanState.ACTIVE for row in unfinished)


def check_graph(tx: Transaction) -> None:
    fresh = TaskGraph()
    fresh.load(tasks.graph_rows(tx.db), tasks.dependency_rows(tx.db))
    assert tx.graph.ready() == fresh.ready()
    assert len(tx.graph) == len(fresh)
    for task in tasks.TASKS.select(tx.db):
        assert tx.graph.node(task.id) == fresh.node(task.id)
        assert tx.graph.dependencies(task.id) == fresh.dependencies(task.id)
        assert tx.graph.unmet(task.id) == fresh.unmet(task.id)
        assert tx.graph.effective_priority(task.id) == fresh.effective_priority(task.id)


Fleet.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestFleet = Fleet.TestCase
