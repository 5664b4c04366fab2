"""Claims, ends, questions, reviews, landings, crashes and clocks in any order.

No task is lost and none has two leases; what a session does that was given up is refused; whatever
is refused or rolled back has changed nothing; and in the end, when all goes well, every task ends
or the person has been told why not. Everything but git's files is real.

CI runs a few hundred steps. To run it long: `SF_EXAMPLES=3000 python -m pytest
tests/service/test_work_in_any_order.py` (a thousand examples take about five minutes).
"""

import os
import sys
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.models import EndKind, Role
from sf_mcp.core.states import TASK_ENDS, MergeState, TaskState
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.store import leases, tasks
from tests.builders import a_project
from tests.service import stale_writes
from tests.service.fair_ending import answer_the_rest, bring_to_an_end, land
from tests.service.fleets import EVERY_TABLE, Fleet, configuration
from tests.service.rules import check_rows

PICK = st.integers(0, 999)
"""Stands for one of whatever there is at that moment."""
BY_NUMBER = "1 ORDER BY number"
DAY_SECONDS = 86_400
EXAMPLES = int(os.environ.get("SF_EXAMPLES", "60"))


class AnyOrder(Fleet):
    """A fleet whose sessions, people and clock do whatever comes to their mind."""

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
        made = self.attempt(lambda: self.services.plans.add_tasks(PERSON, plan=plan, tasks=[draft]))
        self.created += 0 if made is None else len(made)

    @rule(pick=PICK, other=PICK, removes=st.booleans())
    def depend(self, pick: int, other: int, removes: bool) -> None:
        task = self.task_of(pick)
        change = {"remove": [self.task_of(other)]} if removes else {"add": [self.task_of(other)]}
        self.attempt(lambda: self.services.plans.set_dependencies(PERSON, task, **change))

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        task = self.task_of(pick)
        self.attempt(lambda: self.services.plans.cancel_task(PERSON, task))

    @rule(pick=PICK)
    def retry(self, pick: int) -> None:
        task = self.task_of(pick)
        self.attempt(lambda: self.services.plans.retry_task(PERSON, task))

    @rule(plan=st.sampled_from(["P2"]), sure=st.integers(0, 29))
    def cancel_plan(self, plan: str, sure: int) -> None:
        if sure == 0:
            self.attempt(lambda: self.services.plans.cancel_plan(PERSON, plan))

    @rule(accept=st.booleans())
    def decide_proposal(self, accept: bool) -> None:
        with self.services.workspace.read() as tx:
            proposed = tasks.in_state(tx.db, TaskState.PROPOSED)
        if proposed:
            self.attempt(
                lambda: self.services.plans.update_task(PERSON, proposed[0].id, accept=accept)
            )

    # -- sessions ----------------------------------------------------------------------------------

    @rule(times=st.integers(1, 3))
    def start(self, times: int) -> None:
        for _ in range(times):
            self.order()

    @rule(pick=PICK, is_connected=st.booleans())
    def report(self, pick: int, is_connected: bool) -> None:
        session = self.live_session(pick)
        if session is None:
            return
        if is_connected:
            self.services.sessions.started(PERSON, session, pid=0, process_started="", log_path="")
            self.services.sessions.connected(PERSON, session, model="m")
        self.services.sessions.heard(
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
        self.attempt(lambda: self.services.claims.claim_task(self.caller(session)))

    @rule(pick=PICK)
    def propose(self, pick: int) -> None:
        session = self.live_session(pick, Role.WORKER)
        if session is None:
            return
        made = self.attempt(
            lambda: self.services.plans.propose_task(self.caller(session), title="more")
        )
        self.created += made is not None

    @rule(pick=PICK, gives_up=st.booleans())
    def hand_off(self, pick: int, gives_up: bool) -> None:
        session = self.live_session(pick, Role.WORKER)
        if session is None:
            return
        if gives_up:
            self.attempt(
                lambda: self.services.claims.release_task(self.caller(session), reason="no")
            )
            return
        self.attempt(
            lambda: self.services.claims.record_handoff(
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
            self.services.sessions.stop_hook(self.caller(session))
        else:
            self.services.sessions.turn_ended(PERSON, session)

    @rule(pick=PICK, kind=st.sampled_from(list(EndKind)), is_lifted=st.booleans())
    def end(self, pick: int, kind: EndKind, is_lifted: bool) -> None:
        session = self.live_session(pick)
        if session is None:
            return
        self.services.sessions.ended(PERSON, session, kind=kind, detail="")
        if is_lifted:
            self.services.fleet.resume_fleet(PERSON)

    @rule(pick=PICK)
    def stop(self, pick: int) -> None:
        session = self.live_session(pick)
        if session is None:
            return
        self.attempt(lambda: self.services.sessions.stop_session(PERSON, session))

    # -- questions ---------------------------------------------------------------------------------

    @rule(pick=PICK, then_parks=st.booleans())
    def ask(self, pick: int, then_parks: bool) -> None:
        session = self.ask_about_something(pick)
        if session is not None and then_parks:
            self.services.sessions.ended(PERSON, session, kind=EndKind.PARKED, detail="")

    def ask_about_something(self, pick: int) -> str | None:
        session = self.live_session(pick, Role.WORKER)
        if session is not None:
            self.attempt(
                lambda: self.services.questions.ask_director(
                    self.caller(session), question="which?"
                )
            )
        return session

    @rule(text=st.sampled_from(["yes", "retry", "cancel"]), newest=st.booleans())
    def answer(self, text: str, newest: bool) -> None:
        if not self.services.questions.list_questions(PERSON):
            self.ask_about_something(0)
        found = self.services.questions.list_questions(PERSON)
        if found:
            question = found[-1 if newest else 0]
            self.attempt(
                lambda: self.services.questions.answer_question(PERSON, question.id, answer=text)
            )

    @rule(pick=PICK)
    def answer_as_director(self, pick: int) -> None:
        session = self.live_session(pick, Role.DIRECTOR)
        if session is None:
            return
        director = self.caller(session)
        if director.role is Role.DIRECTOR:
            self.attempt(
                lambda: self.services.questions.answer_question(
                    director, self.project.session(session).subject, answer="retry"
                )
            )

    # -- merging -----------------------------------------------------------------------------------

    @rule(pick=PICK)
    def request_merge(self, pick: int) -> None:
        self.request_merge_of(self.live_session(pick, Role.WORKER))

    @rule()
    def pass_checks_of_one(self) -> None:
        if (request := self.open_request()) is not None:
            self.pass_checks(request)

    @rule(pick=PICK, approves=st.booleans())
    def review(self, pick: int, approves: bool) -> None:
        self.pass_checks_of_one()
        session = self.live_session(pick, Role.STEWARD)
        if session is None:
            return
        requests = self.services.requests
        if approves:
            self.attempt(lambda: requests.approve_merge(self.caller(session)))
        else:
            self.attempt(lambda: requests.send_back(self.caller(session), reason="no"))

    @rule(approves=st.booleans())
    def decide_as_person(self, approves: bool) -> None:
        request = self.open_request()
        requests = self.services.requests
        if request is not None and approves:
            self.attempt(lambda: requests.approve_merge(PERSON, request.id))
        elif request is not None:
            self.attempt(lambda: requests.send_back(PERSON, request.id, reason="no"))

    @rule(lands=st.booleans())
    def crash_while_landing(self, lands: bool) -> None:
        request = self.open_request()
        if request is None:
            return
        land(self, request, target=self.project.target if lands else self.elsewhere)
        assert self.project.request(request.id).state is (
            MergeState.LANDED if lands else MergeState.OPEN
        )

    # -- time --------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 50, 60, 130, 400]))
    def wait(self, seconds: int) -> None:
        self.project.clock.advance(seconds=seconds)
        self.services.lease_watch.expire(SERVER)
        self.look_around()

    @rule(days=st.sampled_from([-1, 1]))
    def jump(self, days: int) -> None:
        """Have the clock put forward or back by a day."""
        self.project.clock.advance(seconds=days * DAY_SECONDS)
        self.look_around()

    def look_around(self) -> None:
        self.services.lease_watch.look(SERVER)
        self.services.lease_watch.release_reservations(SERVER)
        self.services.work.end_lost_sessions(SERVER)
        self.services.budgets.look(SERVER)

    @rule()
    def restart(self) -> None:
        self.reopen()

    @rule()
    def fail_the_next_commit(self) -> None:
        """Have the next thing that is tried rolled back after it was done."""
        self.rolls_back = True

    # -- the person's configuration ----------------------------------------------------------------

    @rule(
        review=st.booleans(),
        auto_merge=st.booleans(),
        slots=st.sampled_from([1, 3]),
        task_usd=st.sampled_from([None, None, 2.0]),
    )
    def configure(self, review: bool, auto_merge: bool, slots: int, task_usd: float | None) -> None:
        self.project.configure(
            configuration(review=review, auto_merge=auto_merge, slots=slots, task_usd=task_usd)
        )

    @rule(is_paused=st.booleans())
    def pause(self, is_paused: bool) -> None:
        if is_paused:
            self.attempt(lambda: self.services.fleet.pause_fleet(PERSON))
        else:
            self.attempt(lambda: self.services.fleet.resume_fleet(PERSON))

    # -- those that were given up ------------------------------------------------------------------

    @rule(pick=PICK)
    def come_back(self, pick: int) -> None:
        """Have a session that lost what it held try everything that its role can ask for."""
        with self.services.workspace.read() as tx:
            newest = {lease.session_id: lease for lease in leases.LEASES.select(tx.db, BY_NUMBER)}
            gone = [
                session
                for session, lease in newest.items()
                if lease.ended_at is not None
                # A director whose question is settled may finish what it is at.
                and not (lease.end is EndKind.DONE and lease.subject.startswith("Q"))
            ]
        if gone:
            caller = self.caller(gone[pick % len(gone)])
            stale_writes.refused(self.services, caller, partial(self.rows, *EVERY_TABLE))

    # -- what must always hold ---------------------------------------------------------------------

    @invariant()
    def no_rule_is_broken(self) -> None:
        if not hasattr(self, "created"):
            return
        with self.services.workspace.read() as tx:
            check_rows(tx)
            for task in tasks.TASKS.select(tx.db):
                assert task.state is self.ended.get(task.id, task.state)
                if task.state in TASK_ENDS:
                    self.ended[task.id] = task.state
            assert len(tasks.TASKS.select(tx.db)) == self.created
            for lease in leases.live(tx.db):
                assert lease.fence >= self.fences.get(lease.subject, 0)
                self.fences[lease.subject] = lease.fence
        events = self.rows("events")["events"]
        assert events[: len(self.events_seen)] == self.events_seen
        self.events_seen = events

    def teardown(self) -> None:
        try:
            if hasattr(self, "created") and sys.exc_info()[0] is None:
                bring_to_an_end(self)
                self.no_rule_is_broken()
                answer_the_rest(self)
        finally:
            super().teardown()


AnyOrder.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestAnyOrder = AnyOrder.TestCase


def test_whatever_a_role_can_ask_for_is_tried_by_a_session_that_was_given_up(
    tmp_path: Path,
) -> None:
    """A method that tools may call is in the list of what is tried, or said why it is not."""
    tried = {name for calls in stale_writes.OF_ROLE.values() for name in calls}
    found = stale_writes.methods_with_a_caller(a_project(tmp_path).services)
    assert found == tried | set(stale_writes.UNCHECKED)
