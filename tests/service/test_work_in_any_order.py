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
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

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

TABLES = ("plans", "tasks", "dependencies", "sessions", "leases", "questions", "merge_requests")
CONFIG = """
checks: []
orchestrator: {maxConcurrent: 3, maxFailures: 2, maxSendBacks: 2, reservationSeconds: 200}
agents: {director: {headlessAfterSeconds: 60}}
"""


class Fleet(RuleBasedStateMachine):
    """A fleet whose sessions, people and clock do whatever comes to their mind."""

    task_ids = Bundle("task_ids")
    session_ids = Bundle("session_ids")

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
        self.created = 0
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

    def any_live_request(self) -> MergeRequest | None:
        with self.project.services.workspace.read() as tx:
            found = merge_requests.in_state(tx.db, MergeState.OPEN)
        return found[0] if found else None

    # -- planning ----------------------------------------------------------------------------------

    @rule(
        target=task_ids,
        plan=st.sampled_from(["P1", "P2"]),
        priority=st.integers(1, 5),
        waits_for=st.lists(st.integers(1, 8), max_size=2),
    )
    def create(self, plan: str, priority: int, waits_for: list[int]) -> Any:
        draft = TaskDraft(
            title="t", priority=priority, depends_on=[f"T{number}" for number in waits_for]
        )
        made = self.attempt(
            lambda: self.project.services.plans.add_tasks(PERSON, plan=plan, tasks=[draft])
        )
        self.created += len(made or [])
        return multiple(*[task.id for task in made or []])

    @rule(task=task_ids, other=task_ids, removes=st.booleans())
    def depend(self, task: str, other: str, removes: bool) -> None:
        change = {"remove": [other]} if removes else {"add": [other]}
        self.attempt(lambda: self.project.services.plans.set_dependencies(PERSON, task, **change))

    @rule(task=task_ids, priority=st.integers(1, 5))
    def prioritise(self, task: str, priority: int) -> None:
        self.attempt(
            lambda: self.project.services.plans.update_task(PERSON, task, priority=priority)
        )

    @rule(task=task_ids)
    def cancel(self, task: str) -> None:
        self.attempt(lambda: self.project.services.plans.cancel_task(PERSON, task))

    @rule(task=task_ids)
    def retry(self, task: str) -> None:
        self.attempt(lambda: self.project.services.plans.retry_task(PERSON, task))

    @rule(plan=st.sampled_from(["P2"]), sure=st.integers(0, 9))
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

    @rule(target=session_ids, times=st.integers(1, 3))
    def start(self, times: int) -> Any:
        started: list[str] = []
        for _ in range(times):
            order = self.attempt(lambda: self.dispatch.next_order(PERSON))
            if order is not None:
                started.append(order.session.id)
        return multiple(*started)

    @rule(session=session_ids)
    def connect(self, session: str) -> None:
        self.project.services.sessions.connected(PERSON, session, model="m")

    @rule(session=session_ids)
    def hear(self, session: str) -> None:
        self.project.services.sessions.heard(
            PERSON,
            session,
            is_turn_active=True,
            last_line="x",
            context_tokens=1,
            context_window=1,
            cost_usd=1,
        )

    @rule(session=session_ids)
    def claim(self, session: str) -> None:
        self.attempt(lambda: self.project.services.claims.claim_task(self.caller(session)))

    @rule(session=session_ids)
    def propose(self, session: str) -> None:
        made = self.attempt(
            lambda: self.project.services.plans.propose_task(self.caller(session), title="more")
        )
        self.created += made is not None

    @rule(session=session_ids)
    def hand_off(self, session: str) -> None:
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

    @rule(session=session_ids)
    def release(self, session: str) -> None:
        self.attempt(
            lambda: self.project.services.claims.release_task(self.caller(session), reason="no")
        )

    @rule(session=session_ids, by_hook=st.booleans())
    def end_turn(self, session: str, by_hook: bool) -> None:
        if by_hook:
            self.project.services.sessions.stop_hook(self.caller(session))
        else:
            self.project.services.sessions.turn_ended(PERSON, session)

    @rule(session=session_ids, kind=st.sampled_from(list(EndKind)))
    def end(self, session: str, kind: EndKind) -> None:
        self.project.services.sessions.ended(PERSON, session, kind=kind, detail="")
        self.project.services.fleet.resume_fleet(PERSON)

    @rule(session=consumes(session_ids))
    def stop(self, session: str) -> None:
        self.attempt(lambda: self.project.services.sessions.stop_session(PERSON, session))

    # -- questions ---------------------------------------------------------------------------------

    @rule(session=session_ids, then_parks=st.booleans())
    def ask(self, session: str, then_parks: bool) -> None:
        self.attempt(
            lambda: self.project.services.questions.ask_director(
                self.caller(session), question="which?"
            )
        )
        if then_parks:
            self.project.services.sessions.ended(PERSON, session, kind=EndKind.PARKED, detail="")

    @rule(text=st.sampled_from(["yes", "retry", "cancel"]), newest=st.booleans())
    def answer(self, text: str, newest: bool) -> None:
        found = self.project.services.questions.list_questions(PERSON)
        if found:
            question = found[-1 if newest else 0]
            self.attempt(
                lambda: self.project.services.questions.answer_question(
                    PERSON, question.id, answer=text
                )
            )

    @rule(session=session_ids)
    def answer_as_director(self, session: str) -> None:
        director = self.caller(session)
        if director.role is Role.DIRECTOR:
            self.attempt(
                lambda: self.project.services.questions.answer_question(
                    director, self.project.session(session).subject, answer="retry"
                )
            )

    # -- merging -----------------------------------------------------------------------------------

    @rule(session=session_ids)
    def request_merge(self, session: str) -> None:
        target = self.project.target
        self.attempt(
            lambda: self.project.services.requests.open_request(
                self.caller(session), commit=target, base=target, branch="b", summary="done"
            )
        )

    @rule()
    def pass_checks(self) -> None:
        request = self.any_live_request()
        if request is not None:
            with self.project.services.workspace.write(SERVER) as tx:
                tx.edit_merge_request(request, checked_tree=Oid("t"))

    @rule(session=session_ids, approves=st.booleans())
    def review(self, session: str, approves: bool) -> None:
        requests = self.project.services.requests
        if approves:
            self.attempt(lambda: requests.approve_merge(self.caller(session)))
        else:
            self.attempt(lambda: requests.send_back(self.caller(session), reason="no"))

    @rule(approves=st.booleans())
    def decide_as_person(self, approves: bool) -> None:
        request = self.any_live_request()
        requests = self.project.services.requests
        if request is not None and approves:
            self.attempt(lambda: requests.approve_merge(PERSON, request.id))
        elif request is not None:
            self.attempt(lambda: requests.send_back(PERSON, request.id, reason="no"))

    @rule(lands=st.booleans())
    def land(self, lands: bool) -> None:
        """Crash in the middle of a landing, before or after the target moved, and recover."""
        request = self.any_live_request()
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
        assert (
            tx.db.execute(
                "SELECT count(*) FROM tokens WHERE session_id = ?", (session.id,)
            ).fetchone()
            == (0,)
            or session.state is SessionState.PARKED
        )


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
    max_examples=20,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestFleet = Fleet.TestCase
