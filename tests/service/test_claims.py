"""Claims and leases: one at a time, fenced, and let go with the right consequence."""

import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sf_mcp import process
from sf_mcp.core.errors import (
    AlreadyClaimed,
    InvalidInput,
    NotAllowed,
    StaleLease,
    StoneforgeError,
    TaskNotReady,
)
from sf_mcp.core.identity import PERSON, SERVER, Caller
from sf_mcp.core.models import FAILURES, EndKind, Lease, Role, SessionId
from sf_mcp.core.states import QuestionState, SessionState, TaskState
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.store import handoffs, leases, tasks
from tests.builders import (
    NOON,
    Project,
    Worker,
    a_merge_request,
    a_plan,
    a_project,
    a_session,
    a_task,
    a_worker,
    dispatched,
    some_tasks,
)

TERM = 120
"""The lease's term in seconds, by default."""


def caller_of(project: Project, subject: str) -> Caller:
    """Return a session that is about to start and holds nothing."""
    session = a_session(project, Role.WORKER, subject)
    return Caller(role=Role.WORKER, name=session.name, session_id=session.id)


def attempts(project: Project, task_id: str) -> list[Lease]:
    with project.services.workspace.read() as tx:
        return leases.attempts(tx.db, task_id)


# -- claiming ----------------------------------------------------------------------------------


def test_of_two_claims_of_one_task_at_once_one_wins(tmp_path: Path) -> None:
    """Row 9 of the known defects: two dispatches of one task at once both succeeded."""
    project = a_project(tmp_path)
    task_id = a_task(project)
    callers = [caller_of(project, task_id) for _ in range(4)]
    barrier = threading.Barrier(4)
    won: list[str] = []
    refused: list[StoneforgeError] = []

    def claim(caller: Caller) -> None:
        barrier.wait(30)
        try:
            won.append(project.services.claims.claim_task(caller).task.id)
        except TaskNotReady as error:
            refused.append(error)

    threads = [threading.Thread(target=claim, args=[caller]) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert won == [task_id]
    assert len(refused) == 3
    with project.services.workspace.read() as tx:
        assert len(leases.live(tx.db)) == 1


def test_of_two_polls_at_once_one_gets_the_task(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    barrier = threading.Barrier(2)
    orders: list[str | None] = []

    def poll() -> None:
        barrier.wait(30)
        order = project.services.dispatch.next_order(PERSON)
        orders.append(order.session.subject if order else None)

    threads = [threading.Thread(target=poll) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(orders, key=str) == [None, task_id]


def test_the_same_session_gets_the_same_claim_again(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    a_task(project)
    caller = caller_of(project, "T1")
    first = project.services.claims.claim_task(caller)
    again = project.services.claims.claim_task(caller)
    assert (again.task.id, again.fence) == (first.task.id, first.fence) == ("T1", 1)
    assert project.event_kinds("T1").count("claimed") == 1


def test_a_session_that_was_dispatched_claims_what_it_holds(tmp_path: Path) -> None:
    """Row 23 of the known defects: spawn before claim left sessions without a task."""
    project = a_project(tmp_path)
    a_task(project, priority=2)
    worker = dispatched(project)
    a_task(project, priority=1)
    brief, path = project.services.work.claim(worker.caller)
    assert brief.task.id == "T1"
    assert path == worker.cwd == project.layout.worktrees / "T1"
    assert brief.task.branch == "sf/T1-add-a-thing"
    assert brief.task.base == project.target


def test_only_workers_claim_tasks(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    with pytest.raises(NotAllowed):
        project.services.claims.claim_task(PERSON)


@pytest.mark.parametrize("state", [TaskState.CLAIMED, TaskState.IN_REVIEW, TaskState.STUCK])
def test_a_task_that_is_not_in_the_ready_set_is_not_granted(
    tmp_path: Path, state: TaskState
) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, state=state)
    session = a_session(project, Role.WORKER, task_id)
    with (
        pytest.raises((TaskNotReady, AlreadyClaimed)) as refused,
        project.services.workspace.write(SERVER) as tx,
    ):
        project.services.claims.grant(tx, tasks.get(tx.db, task_id), session.id)
    assert "T1" in refused.value.message
    assert refused.value.remedy


def test_a_blocked_task_is_neither_granted_nor_dispatched(tmp_path: Path) -> None:
    """Row 10 of the known defects: a blocked task could be dispatched."""
    project = a_project(tmp_path)
    plan = a_plan(project)
    first = a_task(project, plan=plan)
    second = a_task(project, plan=plan, depends_on=[first])
    assert dispatched(project).task_id == first
    assert project.services.dispatch.next_order(PERSON) is None
    session = a_session(project, Role.WORKER, second)
    with (
        pytest.raises(TaskNotReady, match=r"it waits for T1 \(claimed\)"),
        project.services.workspace.write(SERVER) as tx,
    ):
        project.services.claims.grant(tx, tasks.get(tx.db, second), session.id)
    assert project.task(second).state is TaskState.OPEN


def test_fencing_tokens_rise_with_every_grant(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    for fence in (1, 2, 3):
        worker = a_worker(project, task_id)
        lease = project.live_lease(task_id)
        assert lease is not None
        assert lease.fence == fence
        worker.hand_off()
        worker.end()


# -- stale leases ------------------------------------------------------------------------------


def every_write(worker: Worker) -> list[StoneforgeError]:
    """Try everything that needs a lease; return the refusals."""
    claims, services = worker.project.services.claims, worker.project.services
    oid = worker.project.target
    refused: list[StoneforgeError] = []
    for attempt in (
        lambda: claims.report_progress(worker.caller, message="still here"),
        lambda: claims.release_task(worker.caller, reason="no"),
        worker.hand_off,
        worker.ask,
        lambda: services.requests.open_request(
            worker.caller, commit=oid, base=oid, branch="b", summary="s"
        ),
        lambda: services.branches.merge_facts(worker.caller, ""),
        lambda: services.branches.check_conflicts(worker.caller),
    ):
        with pytest.raises(StaleLease) as error:
            attempt()
        refused.append(error.value)
    return refused


def test_after_an_expiry_every_write_is_refused_and_says_so(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    project.clock.advance(seconds=TERM)
    project.services.lease_watch.expire(SERVER)
    for refused in every_write(worker):
        assert "lease expired (not heard of in time)" in refused.message
        assert "Your work is kept on the branch" in refused.remedy
    with pytest.raises(TaskNotReady, match="Your work on T1 has ended"):
        project.services.claims.claim_task(worker.caller)


def test_when_another_session_has_it_the_refusal_names_that_one(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = a_worker(project, task_id)
    project.clock.advance(seconds=TERM)
    project.services.lease_watch.expire(SERVER)
    other = a_worker(project, task_id)
    for refused in every_write(worker):
        assert f"session {other.session.name} holds it now, with token 2" in refused.message


def test_after_a_handoff_every_write_is_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    worker.hand_off()
    for refused in every_write(worker):
        assert "handed off" in refused.message


def test_after_a_cancellation_every_write_is_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    project.services.plans.cancel_task(PERSON, worker.task_id)
    for refused in every_write(worker):
        assert "cancelled by person" in refused.message


def test_one_who_is_no_session_holds_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    with pytest.raises(StaleLease, match="not a session of the fleet"):
        project.services.claims.report_progress(PERSON, message="hello")
    nobody = Caller(role=Role.WORKER, name="worker-9", session_id=SessionId("none"))
    with pytest.raises(StaleLease, match="You hold no task"):
        project.services.claims.report_progress(nobody, message="hello")


# -- renewing ----------------------------------------------------------------------------------


def test_each_tool_call_renews_the_lease_by_one_term_and_no_more(tmp_path: Path) -> None:
    """A lease that grew with each call would hide a dead session for hours."""
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    for _ in range(20):
        project.clock.advance(seconds=60)
        project.services.claims.report_progress(worker.caller, message="going on")
        lease = project.live_lease(worker.task_id)
        assert lease is not None
        assert lease.expires_at == project.clock.now + timedelta(seconds=TERM)
    assert project.session(worker.session.id).heard_at == project.clock.now


def test_a_renewal_never_shortens_a_lease_when_the_clock_is_set_back(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    project.clock.advance(seconds=-3600)
    worker.hear()
    lease = project.live_lease(worker.task_id)
    assert lease is not None
    assert lease.expires_at == NOON + timedelta(seconds=TERM)


# -- letting go --------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["progress", "remaining", "next_step"])
@pytest.mark.parametrize("text", ["", " \n\t"])
def test_a_handoff_without_what_its_reader_needs_is_refused(
    tmp_path: Path, field: str, text: str
) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    with pytest.raises(InvalidInput, match=f"The handoff's {field} is empty"):
        hand_off(worker, **{field: text})
    assert project.task(worker.task_id).state is TaskState.CLAIMED


@pytest.mark.parametrize("field", ["progress", "decisions", "pitfalls", "next_step", "remaining"])
def test_a_handoff_of_200_kb_is_refused(tmp_path: Path, field: str) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    with pytest.raises(InvalidInput, match="200,000 characters; at most 20,000"):
        hand_off(worker, **{field: "x" * 200_000})
    assert project.task(worker.task_id).state is TaskState.CLAIMED


def hand_off(worker: Worker, **texts: str) -> None:
    given: dict[str, Any] = {
        "progress": "p",
        "remaining": "r",
        "decisions": "d",
        "pitfalls": "f",
        "next_step": "n",
    } | texts
    worker.project.services.claims.record_handoff(
        worker.caller, **given, commit=None, snapshot=None
    )


def test_a_handoff_reaches_the_next_session_whole(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = a_worker(project, task_id)
    hand_off(worker, progress="`half` done")
    worker.end()
    brief = project.services.claims.claim_task(a_worker(project, task_id).caller)
    assert brief.attempt == 2
    assert [handoff.progress for handoff in brief.handoffs] == ["`half` done"]
    with project.services.workspace.read() as tx:
        (kept,) = handoffs.of_task(tx.db, task_id)
    assert (kept.session_id, kept.by_server) == (worker.session.id, False)


def test_a_release_needs_a_reason(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    with pytest.raises(InvalidInput, match="needs a reason"):
        project.services.claims.release_task(worker.caller, reason="  ")
    project.services.claims.release_task(worker.caller, reason="the API is not there yet")
    assert project.task(worker.task_id).state is TaskState.OPEN
    (attempt,) = attempts(project, worker.task_id)
    assert (attempt.end, attempt.end_detail) == (EndKind.RELEASED, "the API is not there yet")


@pytest.mark.parametrize("kind", sorted(FAILURES))
def test_five_failures_set_a_task_aside_and_the_director_is_asked_once(
    tmp_path: Path, kind: EndKind
) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    for number in range(5):
        assert project.task(task_id).state is TaskState.OPEN
        a_worker(project, task_id).end(kind, f"attempt {number}")
    assert project.task(task_id).state is TaskState.STUCK
    (question,) = project.services.questions.list_questions(PERSON)
    assert question.task_id == task_id
    assert question.options == ("retry", "cancel")
    assert "5 attempts failed" in question.context
    assert "attempt 4" in question.context
    assert project.services.queries.why(PERSON, task_id).sentence.startswith("T1 is stuck")


@pytest.mark.parametrize("kind", sorted(set(EndKind) - FAILURES - {EndKind.PARKED}))
def test_what_is_no_failure_never_sets_a_task_aside(tmp_path: Path, kind: EndKind) -> None:
    """Handoffs, limits, restarts and stops do not count."""
    project = a_project(tmp_path)
    task_id = a_task(project)
    for _ in range(8):
        a_worker(project, task_id).end(kind)
    assert project.task(task_id).state is TaskState.OPEN
    assert len(attempts(project, task_id)) == 8


def test_failures_before_a_retry_no_longer_count(tmp_path: Path) -> None:
    """Row 21 of the known defects is its reverse: caps that never fire."""
    project = a_project(tmp_path)
    task_id = a_task(project, state=TaskState.STUCK)
    project.clock.advance(minutes=10)
    project.services.plans.retry_task(PERSON, task_id)
    for _ in range(4):
        project.clock.advance(minutes=10)
        a_worker(project, task_id).end(EndKind.KILLED)
    assert project.task(task_id).state is TaskState.OPEN
    project.clock.advance(minutes=10)
    a_worker(project, task_id).end(EndKind.KILLED)
    assert project.task(task_id).state is TaskState.STUCK


def test_a_task_that_has_cost_all_it_may_is_left_to_the_person(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\nbudget: {taskUsd: 5}\n")
    task_id = a_task(project)
    worker = a_worker(project, task_id)
    assert worker.hear(cost_usd=4.9).stop_requested == ""
    assert "budget of T1 is used up" in worker.hear(cost_usd=5.1).stop_requested
    worker.end(EndKind.STOPPED)
    assert project.task(task_id).state is TaskState.STUCK
    (question,) = project.services.questions.list_questions(PERSON)
    assert question.escalated
    assert "$5.10" in question.context


# -- the brief ---------------------------------------------------------------------------------


def test_the_brief_tells_what_dependencies_delivered_and_who_is_near(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    first = a_task(project, "Base", plan=plan)
    request = a_merge_request(project, first)
    project.run_train()
    near, mine, far = some_tasks(
        project,
        TaskDraft(title="near", paths=["src/api/routes.py"]),
        TaskDraft(title="mine", paths=["src/api/"], depends_on=[first]),
        TaskDraft(title="far", paths=["src/apiary"]),
        plan=plan,
    )
    a_worker(project, near)
    a_worker(project, far)
    brief = project.services.claims.claim_task(a_worker(project, mine).caller)
    (delivered,) = brief.dependencies
    assert (delivered.task_id, delivered.summary) == (first, "done")
    assert delivered.commit == project.request(request.id).landed_commit
    assert brief.neighbours == [(near, "near")]
    assert brief.tokens_left == 140_000


# -- time --------------------------------------------------------------------------------------


def test_a_dead_session_loses_its_claim(tmp_path: Path) -> None:
    """Row 32 of the known defects: a claim of a dead session was never released."""
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    watch = project.services.lease_watch
    watch.look(SERVER)
    for _ in range(TERM // 5 - 1):
        project.clock.advance(seconds=5)
        assert watch.look(SERVER) == []
    project.clock.advance(seconds=5)
    (expired,) = watch.look(SERVER)
    assert expired.subject == worker.task_id
    assert project.task(worker.task_id).state is TaskState.OPEN
    assert project.session(worker.session.id).stop_requested == "its lease expired"
    (attempt,) = attempts(project, worker.task_id)
    assert attempt.end is EndKind.LEASE_EXPIRED


def test_a_server_that_was_away_gives_everyone_one_term_of_grace(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    watch = project.services.lease_watch
    watch.look(SERVER)
    project.clock.advance(minutes=60)  # the laptop slept
    assert watch.look(SERVER) == []
    lease = project.live_lease(worker.task_id)
    assert lease is not None
    assert lease.expires_at == project.clock.now + timedelta(seconds=TERM)
    expired: list[Lease] = []
    for _ in range(TERM // 5):
        project.clock.advance(seconds=5)
        expired += watch.look(SERVER)
    assert [lease.subject for lease in expired] == [worker.task_id]


def test_a_server_that_starts_gives_everyone_one_term_of_grace(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    project.clock.advance(minutes=60)
    project.reopen()
    assert project.services.lease_watch.look(SERVER) == []
    assert project.live_lease(worker.task_id) is not None


def test_a_session_that_no_launcher_knows_and_that_has_no_process_is_given_up(
    tmp_path: Path,
) -> None:
    """The server was killed after the claim and before the order reached the launcher."""
    project = a_project(tmp_path)
    task_id = a_task(project)
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    project.reopen()
    for _ in range(3):
        project.clock.advance(seconds=TERM)
        project.services.lease_watch.expire(SERVER)
        project.services.work.end_lost_sessions(SERVER)
    assert project.session(order.session.id).state is SessionState.EXITED
    assert dispatched(project).task_id == task_id


def test_a_session_whose_process_lives_is_never_given_up_for_its_silence(tmp_path: Path) -> None:
    """Row 31 of the known defects: live workers were killed since liveness was guessed."""
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    project.services.sessions.started(
        PERSON,
        worker.session.id,
        pid=os.getpid(),
        process_started=process.start_time(os.getpid()),
        log_path="",
    )
    for _ in range(3):
        project.clock.advance(seconds=TERM)
        project.services.lease_watch.expire(SERVER)
        project.services.work.end_lost_sessions(SERVER)
    assert project.session(worker.session.id).state is SessionState.RUNNING
    # And so nobody else is started on its branch meanwhile.
    assert project.services.dispatch.next_order(PERSON) is None
    assert "of its last attempt has ended" in project.services.queries.why(PERSON, "T1").sentence


def test_an_open_question_of_a_lost_session_waits_with_its_successor(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = a_worker(project, task_id)
    question = worker.ask()
    worker.end(EndKind.KILLED)
    assert project.question(question.id).state is QuestionState.OPEN
    successor = a_worker(project, task_id)
    assert project.question(question.id).session_id == successor.session.id
    successor.end(EndKind.PARKED)
    assert project.task(task_id).state is TaskState.WAITING
    project.services.questions.answer_question(PERSON, question.id, answer="the first")
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    assert (order.session.id, order.is_resume) == (successor.session.id, True)
    assert "the first" in order.message
