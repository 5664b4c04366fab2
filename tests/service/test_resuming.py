"""A session whose process is gone goes on with its conversation, told the state as it is."""

from datetime import timedelta
from pathlib import Path

import pytest

from sf_mcp.core.errors import StaleLease, TaskNotReady, Unauthorized
from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.interrupted import OpenCall, Trace
from sf_mcp.core.models import EndKind, Role
from sf_mcp.core.states import SessionState, TaskState
from sf_mcp.service.dispatch import WorkOrder
from sf_mcp.service.workspace import Call
from tests.builders import (
    NOON,
    Project,
    Worker,
    a_merge_request,
    a_project,
    a_task,
    a_worker,
    dispatched,
)

PROGRESS = OpenCall(id="use-1", tool="report_progress", what="report_progress", is_ours=True)
SHELL = OpenCall(id="use-2", tool="Bash", what="Bash: make all", is_ours=False)
RESUMABLE = Trace(is_resumable=True)


def next_order(project: Project) -> WorkOrder:
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    return order


def resumed(project: Project) -> Worker:
    """Take the next order, which resumes a session, and report its process."""
    worker = dispatched(project)
    assert worker.session.starts > 1
    return worker


def record_progress(worker: Worker, tool_use: str) -> None:
    """Make the call as the tool does, its effect and its result in one transaction."""
    services = worker.project.services
    call = Call(key=f"{worker.session.id}:{tool_use}", tool="report_progress", request_hash="x")

    def report() -> dict[str, str]:
        services.claims.report_progress(worker.caller, message="half of it")
        return {"outcome": "Noted.", "next_step": "Go on."}

    services.workspace.once(worker.caller, call, report)


def test_a_killed_session_is_resumed_in_its_worktree_ahead_of_more_urgent_work(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, priority=5)
    worker = dispatched(project)
    old = project.live_lease(task_id)
    a_task(project, priority=1)

    session = worker.crash()

    assert session.state is SessionState.BACKOFF
    task = project.task(task_id)
    assert (task.state, task.reserved_for) == (TaskState.OPEN, session.id)
    assert task.reserved_until is None
    order = next_order(project)
    assert order.is_resume
    assert (order.session.id, order.cwd) == (session.id, str(worker.cwd))
    new = project.live_lease(task_id)
    assert old is not None
    assert new is not None
    assert (new.session_id, new.fence) == (session.id, old.fence + 1)
    assert order.token != worker.token
    with pytest.raises(Unauthorized):
        project.services.sessions.authenticate(worker.token)
    assert project.services.sessions.authenticate(order.token).session_id == session.id


def test_it_is_told_what_ended_it_where_its_work_is_and_what_became_of_its_calls(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = dispatched(project)
    head = worker.commit({"a.txt": "a\n"}, "Half of it")
    (worker.cwd / "draft.txt").write_text("not committed")
    record_progress(worker, "use-1")
    other = OpenCall(id="use-9", tool="propose_task", what="propose_task: x", is_ours=True)
    worker.crash(EndKind.KILLED, PROGRESS, SHELL, other)
    project.clock.advance(seconds=40)

    message = next_order(project).message

    assert "was killed 40 s ago (2026-03-01 12:00:00 UTC): signal SIGKILL" in message
    assert f"is at {head[:12]}" in message
    assert f"- {head[:12]} Half of it" in message
    assert "Not committed: draft.txt." in message
    assert "report_progress was interrupted: the server has recorded it: Noted" in message
    assert "propose_task was interrupted: it had no effect" in message
    assert "Bash: make all was interrupted" in message
    assert f"You hold {task_id} again (fencing token 2)" in message


def test_a_call_that_the_stream_never_showed_is_told_too_and_an_answered_one_is_not(
    tmp_path: Path,
) -> None:
    """The launcher may have died before the client: nobody read its last lines."""
    project = a_project(tmp_path)
    a_task(project)
    worker = dispatched(project)
    record_progress(worker, "seen")
    record_progress(worker, "unseen")
    worker.end(EndKind.STOPPED, trace=Trace(is_resumable=True, answered=("seen",)))

    message = next_order(project).message

    assert message.count("report_progress was interrupted") == 1


def test_an_answer_that_it_has_not_had_comes_along(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    worker = dispatched(project)
    question = worker.ask("Which colour?")
    worker.crash()
    project.services.questions.answer_question(PERSON, question.id, answer="blue")

    order = next_order(project)

    assert order.is_resume
    assert f"{question.id} was answered by person: blue" in order.message


def test_an_open_question_stays_its_own_and_parks_it_again(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = dispatched(project)
    question = worker.ask("Which colour?")
    asks = OpenCall(id="use-3", tool="ask_director", what="ask_director", is_ours=True)
    worker.crash(EndKind.KILLED, asks)

    again = resumed(project)

    assert project.question(question.id).session_id == again.session.id
    again.end(EndKind.PARKED)
    assert project.task(task_id).state is TaskState.WAITING
    assert project.session(again.session.id).state is SessionState.PARKED


@pytest.mark.parametrize(
    "kind",
    [
        EndKind.STOPPED,
        EndKind.USAGE_LIMIT,
        EndKind.OVERLOADED,
        EndKind.AUTHENTICATION,
        EndKind.BAD_CONFIGURATION,
    ],
)
def test_a_stop_of_the_fleet_a_limit_and_a_bad_login_cost_no_failure_and_are_resumed(
    tmp_path: Path, kind: EndKind
) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = dispatched(project)
    worker.crash(kind)
    for _ in range(7):
        project.services.fleet.resume_fleet(PERSON)
        again = resumed(project)
        assert again.session.id == worker.session.id
        again.crash(kind)
    assert project.task(task_id).state is TaskState.OPEN


def test_a_session_that_waits_for_a_limit_to_end_takes_no_slot(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\norchestrator: {maxConcurrent: 1}\n")
    a_task(project)
    dispatched(project).crash(EndKind.KILLED)
    dispatched(project).crash(EndKind.STOPPED)
    other = a_task(project)
    with project.services.workspace.write(SERVER) as tx:
        # Its task waits for another now.
        project.services.plans.set_dependencies(PERSON, "T1", add=[other])
        assert not tx.graph.is_ready(project.task("T1").id)
    assert dispatched(project).task_id == other


def test_a_session_that_a_person_stopped_is_not_resumed(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = dispatched(project)
    project.services.sessions.stop_session(PERSON, worker.session.name, reason="wrong approach")
    assert worker.crash(EndKind.STOPPED).state is SessionState.EXITED
    assert project.task(task_id).reserved_for is None
    assert not next_order(project).is_resume


@pytest.mark.parametrize(
    "kind",
    [
        EndKind.NO_OUTCOME,
        EndKind.TIMED_OUT,
        EndKind.CONTEXT_FULL,
        EndKind.CONVERSATION_LOST,
        EndKind.OVER_BUDGET,
    ],
)
def test_a_conversation_that_is_itself_at_fault_is_not_resumed(
    tmp_path: Path, kind: EndKind
) -> None:
    project = a_project(tmp_path)
    a_task(project)
    worker = dispatched(project)
    assert worker.crash(kind).state is SessionState.EXITED
    project.clock.advance(minutes=6)
    order = next_order(project)
    assert not order.is_resume
    assert order.session.id != worker.session.id


def test_a_process_that_never_spoke_has_nothing_to_resume(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    worker = dispatched(project)
    assert worker.end(EndKind.KILLED).state is SessionState.EXITED


def test_a_conversation_that_is_gone_costs_no_failure_and_a_fresh_session_takes_over_at_once(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config="checks: []\norchestrator: {maxFailures: 2}\n")
    task_id = a_task(project)
    first = dispatched(project)
    first.crash()
    resumed(project).crash(EndKind.CONVERSATION_LOST)
    fresh = dispatched(project)
    assert fresh.session.id != first.session.id
    assert project.task(task_id).state is TaskState.CLAIMED


def test_a_recorded_outcome_stands_and_nothing_is_resumed(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    worker = dispatched(project)
    worker.commit({"a.txt": "a\n"})
    worker.request_merge()
    assert worker.crash().state is SessionState.EXITED
    a_task(project)
    other = dispatched(project)
    other.hand_off()
    assert other.crash().state is SessionState.EXITED
    assert project.task(other.task_id).reserved_for is None


def test_after_two_crashes_a_fresh_session_takes_over_and_the_failures_go_on_counting(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    names: list[str] = []
    for number in range(5):
        project.clock.advance(minutes=6)
        worker = dispatched(project)
        worker.hear()
        project.services.sessions.started(
            PERSON, worker.session.id, pid=0, process_started="", log_path=f"/logs/{number}.jsonl"
        )
        names.append(worker.session.id)
        worker.crash()
    first, second, third, fourth, fifth = names
    assert (first, third) == (second, fourth)
    assert len({first, third, fifth}) == 3
    assert project.task(task_id).state is TaskState.STUCK
    (question,) = project.services.questions.list_questions(PERSON)
    for fact in ("5 attempts failed", "killed; signal SIGKILL", "last line: working", "4.jsonl"):
        assert fact in question.context
    assert question.options == ("retry", "cancel")


def test_a_poisoned_task_neither_blocks_the_others_nor_takes_their_slots(tmp_path: Path) -> None:
    """Row 18 of the known defects: one broken task at the head stopped all dispatch."""
    project = a_project(tmp_path, config="checks: []\norchestrator: {maxConcurrent: 2}\n")
    poisoned = [a_task(project, priority=1) for _ in range(3)]
    fine = a_task(project, priority=5)
    for _ in range(40):
        order = project.services.dispatch.next_order(PERSON)
        if order is None:
            seconds = project.services.dispatch.seconds_until_retry()
            assert seconds is not None
            project.clock.advance(seconds=seconds)
            continue
        services, session_id = project.services, order.session.id
        if order.session.subject == fine:
            break
        services.sessions.started(PERSON, session_id, pid=1, process_started="", log_path="")
        services.work.session_ended(
            PERSON, session_id, kind=EndKind.KILLED, detail="", trace=RESUMABLE
        )
    assert project.task(fine).state is TaskState.CLAIMED
    assert TaskState.STUCK not in {project.task(one).state for one in poisoned}


def test_the_waits_grow_and_wake_the_dispatch(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    dispatch = project.services.dispatch
    dispatched(project).crash()
    assert dispatch.seconds_until_retry() is None
    resumed(project).crash()
    first = dispatch.seconds_until_retry()
    assert first is not None
    assert 3 <= first <= 5
    assert dispatch.next_order(PERSON) is None
    project.clock.advance(seconds=first)
    dispatched(project).crash()
    second = dispatch.seconds_until_retry()
    assert second is not None
    assert 6 <= second <= 10


def test_why_and_the_overview_name_the_session_and_the_time(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    services = project.services
    dispatched(project).end(EndKind.NO_OUTCOME)
    project.clock.advance(minutes=1)
    worker = dispatched(project)
    worker.crash()
    project.clock.advance(seconds=1)
    name = worker.session.name

    why = services.queries.why(PERSON, task_id)

    start = f"{task_id} waits: {name} was killed 1 s ago; it is resumed in "
    assert why.sentence.startswith(start)
    assert why.sentence.endswith(" s (attempt 3 of 5).")
    assert why.next_step == f"sf logs {name}"
    (line,) = services.fleet.fleet_status(PERSON).sessions
    assert (line.name, line.state) == (name, SessionState.BACKOFF)
    assert line.note.startswith("was killed 1 s ago; it is resumed in ")
    (listed,) = services.sessions.list_sessions(PERSON)
    assert listed.id == worker.session.id
    project.clock.advance(minutes=1)
    assert "it is resumed next" in services.queries.why(PERSON, task_id).sentence


def test_a_lost_order_is_given_again_with_all_that_it_told(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    dispatched(project).crash(EndKind.KILLED, SHELL)
    lost = next_order(project)
    # It never reached the launcher, which finds a session that it does not run.
    project.services.work.session_ended(
        PERSON, lost.session.id, kind=EndKind.STOPPED, detail="", trace=RESUMABLE
    )

    again = next_order(project)

    assert again.session.id == lost.session.id
    assert "Bash: make all was interrupted" in again.message


def test_a_place_that_cannot_be_made_is_tried_again_and_keeps_the_conversation(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = dispatched(project)
    worker.crash(EndKind.STOPPED)
    away = project.layout.worktrees.with_name("away")
    project.layout.worktrees.rename(away)
    project.layout.worktrees.write_text("in the way")
    assert project.services.dispatch.next_order(PERSON) is None
    project.layout.worktrees.unlink()
    away.rename(project.layout.worktrees)
    project.services.fleet.resume_fleet(PERSON)
    project.clock.advance(minutes=1)
    assert dispatched(project).task_id == task_id


def test_a_person_may_end_a_session_that_waits_to_be_resumed(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = dispatched(project)
    worker.crash()
    stopped = project.services.sessions.stop_session(PERSON, worker.session.name)
    assert stopped.state is SessionState.EXITED
    assert project.task(task_id).reserved_for is None
    project.clock.advance(seconds=3)
    assert not next_order(project).is_resume


def test_a_cancelled_task_ends_the_session_that_waits_for_it(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = dispatched(project)
    worker.crash()
    project.services.plans.cancel_task(PERSON, task_id)
    assert project.session(worker.session.id).state is SessionState.EXITED
    assert project.services.dispatch.next_order(PERSON) is None


def test_a_task_that_is_kept_for_a_session_is_not_given_to_another(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    dispatched(project).crash()
    project.clock.advance(minutes=600)
    project.services.lease_watch.release_reservations(SERVER)
    other = a_worker(project, a_task(project))
    other.hand_off()
    with pytest.raises(TaskNotReady):
        project.services.claims.claim_task(other.caller)
    assert next_order(project).is_resume


def test_stewards_and_directors_begin_anew(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\n")
    a_merge_request(project, a_task(project))
    project.run_train()
    steward = dispatched(project)
    assert steward.session.role is Role.STEWARD
    assert steward.crash().state is SessionState.EXITED


# -- leases and restarts ---------------------------------------------------------------------------


def expire(project: Project) -> None:
    """Let the lease of a silent session run out, as the server's loop sees it."""
    watch = project.services.lease_watch
    watch.look(SERVER)
    for _ in range(4):
        project.clock.advance(seconds=40)
        watch.look(SERVER)


def test_a_session_given_up_for_its_silence_goes_on_once_its_process_is_gone(
    tmp_path: Path,
) -> None:
    """A launcher that is stopped and started again finds its sessions' leases expired."""
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = dispatched(project)
    expire(project)
    assert project.live_lease(task_id) is None
    # Whatever lives still may not write any more, and nobody is started beside it.
    with pytest.raises(StaleLease):
        worker.request_merge()
    assert project.services.dispatch.next_order(PERSON) is None

    worker.crash(EndKind.STOPPED)

    order = next_order(project)
    assert order.is_resume
    assert "was stopped with the fleet" in order.message


def test_a_session_that_came_back_after_it_was_declared_dead_is_refused_everywhere(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    a_task(project)
    worker = dispatched(project)
    worker.commit({"a.txt": "a\n"})
    expire(project)
    services, caller = project.services, worker.caller
    for attempt in (
        lambda: services.claims.report_progress(caller, message="x"),
        lambda: services.claims.release_task(caller, reason="x"),
        lambda: services.plans.propose_task(caller, title="x"),
        lambda: services.work.handoff_facts(caller),
        lambda: services.questions.ask_director(caller, question="x"),
        lambda: services.branches.merge_facts(caller, ""),
        lambda: services.branches.check_conflicts(caller),
        worker.request_merge,
        worker.hand_off,
    ):
        with pytest.raises(StaleLease, match="lease expired"):
            attempt()
    with pytest.raises(TaskNotReady, match="has ended"):
        services.claims.claim_task(caller)


def test_a_restart_of_the_server_within_a_lease_neither_doubles_nor_loses_a_session(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    working, waiting = a_task(project), a_task(project)
    worker, other = dispatched(project), dispatched(project)
    other.crash()
    project.reopen()
    # Longer than a lease: nobody could renew while the server was down.
    project.clock.advance(minutes=10)
    project.services.lease_watch.look(SERVER)
    lease = project.live_lease(working)
    assert lease is not None
    assert lease.session_id == worker.session.id
    assert lease.expires_at == project.clock.now + timedelta(seconds=120)
    order = next_order(project)
    assert (order.session.id, order.session.subject) == (other.session.id, waiting)
    assert project.services.dispatch.next_order(PERSON) is None
    # Whoever does not come back in one term is given up after all.
    expire(project)
    assert project.live_lease(working) is None


def test_a_session_whose_launcher_never_came_back_waits_for_the_next_one(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = dispatched(project)
    record_progress(worker, "use-1")
    for _ in range(2):
        expire(project)
        project.services.work.end_lost_sessions(SERVER)
    assert project.session(worker.session.id).state is SessionState.BACKOFF
    assert "it is resumed next" in project.services.queries.why(PERSON, task_id).sentence
    order = next_order(project)
    assert order.is_resume
    assert "recorded of you: report_progress (Noted)" in order.message
    # And an order to resume it that nobody took costs no conversation either.
    for _ in range(2):
        expire(project)
        project.services.work.end_lost_sessions(SERVER)
    assert next_order(project).session.id == worker.session.id


# -- a clock that jumps ----------------------------------------------------------------------------


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_jumps_fences_nobody_who_is_alive(tmp_path: Path, days: int) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = dispatched(project)
    watch = project.services.lease_watch
    watch.look(SERVER)
    project.clock.advance(minutes=days * 24 * 60)
    assert watch.look(SERVER) == []
    worker.hear()
    project.services.claims.report_progress(worker.caller, message="still here")
    # And a silent one is given up after a term, not after a day.
    expire(project)
    assert project.live_lease(task_id) is None


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_jumps_keeps_reservations_and_lets_them_end(tmp_path: Path, days: int) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = dispatched(project)
    question = worker.ask()
    worker.end(EndKind.PARKED)
    watch = project.services.lease_watch
    watch.look(SERVER)
    project.services.questions.answer_question(PERSON, question.id, answer="this one")
    project.clock.advance(minutes=days * 24 * 60)
    watch.look(SERVER)
    watch.release_reservations(SERVER)
    assert project.task(task_id).reserved_for == worker.session.id
    project.clock.advance(minutes=15)
    watch.release_reservations(SERVER)
    assert project.task(task_id).reserved_for is None


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_jumps_makes_no_back_off_last_for_a_day(tmp_path: Path, days: int) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    for _ in range(3):
        project.clock.advance(minutes=1)
        dispatched(project).crash()
    assert project.services.dispatch.next_order(PERSON) is None
    project.clock.advance(minutes=days * 24 * 60)
    assert project.services.dispatch.seconds_until_retry() is None
    assert dispatched(project).task_id == task_id


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_jumps_holds_up_no_director_and_ends_no_token(
    tmp_path: Path, days: int
) -> None:
    project = a_project(tmp_path)
    a_task(project)
    worker = dispatched(project)
    worker.ask()
    project.clock.advance(minutes=days * 24 * 60)
    assert project.services.sessions.authenticate(worker.token).session_id == worker.session.id
    assert dispatched(project).session.role is Role.DIRECTOR


def test_an_end_reported_after_the_clock_was_put_back_is_recorded_in_order(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = dispatched(project)
    project.clock.advance(minutes=-24 * 60)
    worker.crash()
    with project.services.workspace.read() as tx:
        from sf_mcp.store import leases

        (attempt,) = leases.attempts(tx.db, task_id)
    assert attempt.ended_at == attempt.granted_at == NOON
    assert resumed(project).session.id == worker.session.id
