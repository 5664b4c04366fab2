"""A person works in a worker's session: the lease and the task are the session's all the while."""

from collections.abc import Generator
from typing import Any

import pytest

from sf_mcp.core.errors import (
    IllegalTransition,
    NotAllowed,
    StaleLease,
    TakenOver,
    Unauthorized,
)
from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.interrupted import OpenCall, Trace
from sf_mcp.core.models import EndKind, Lease, Session
from sf_mcp.core.states import SessionState, TaskState
from sf_mcp.service.launcher import HandOver
from sf_mcp.service.takeovers import TakeoverView
from sf_mcp.service.turns import NextStep
from sf_mcp.store import leases
from tests.builders import (
    Project,
    Worker,
    a_merge_request,
    a_project,
    a_steward,
    a_task,
    a_worker,
    dispatched,
    next_worker,
    write,
)
from tests.service.terminals import Terminal, a_terminal

TINY_FLEET = "checks: []\nagents: {steward: {review: false}}\norchestrator: {maxConcurrent: 1}\n"
BASH = OpenCall(id="c1", tool="Bash", what="Bash: pytest -q", is_ours=False)


@pytest.fixture
def terminal() -> Generator[Terminal]:
    with a_terminal() as one:
        yield one


@pytest.fixture
def project(tmp_path: Any) -> Project:
    return a_project(tmp_path)


def ask(worker: Worker, terminal: Terminal, **more: Any) -> TakeoverView:
    """Ask for the session, as the person's command does again and again."""
    return worker.project.services.takeovers.take_over_session(
        PERSON,
        worker.session.id,
        pid=terminal.pid,
        process_started=terminal.started,
        by="eva at pts/3",
        **more,
    )


def a_taken_over_worker(project: Project, terminal: Terminal, task: str = "") -> Worker:
    """Have a person in a worker's session; the seat's token is the person's."""
    worker = a_worker(project, a_task(project, task or "Add a thing"), with_worktree=True)
    ask(worker, terminal)
    worker.end(EndKind.TAKEN_OVER, trace=Trace(is_resumable=True))
    seat = ask(worker, terminal).seat
    assert seat is not None
    worker.token = seat.token
    return worker


def give_back(worker: Worker, terminal: Terminal) -> str:
    given = worker.project.services.takeovers.give_back_session(
        PERSON, worker.session.id, pid=terminal.pid, transcript="/home/eva/one.jsonl"
    )
    return given.sentence


def hook(worker: Worker, name: str, **event: object) -> dict[str, Any]:
    return worker.project.services.hooks.answer(worker.caller, {"hook_event_name": name, **event})


def denied(worker: Worker) -> str:
    """Return why the next tool call is denied."""
    said = hook(worker, "PreToolUse", tool_name="Bash")
    return said.get("hookSpecificOutput", {}).get("permissionDecisionReason", "")


def look(project: Project) -> None:
    """Do what the server's loop does several times in a lease's term."""
    project.services.takeovers.look()
    project.services.lease_watch.look(SERVER)
    project.services.lease_watch.release_reservations(SERVER)
    project.services.work.end_lost_sessions(SERVER)


def now(worker: Worker) -> Session:
    return worker.project.session(worker.session.id)


def every_lease(worker: Worker) -> list[Lease]:
    with worker.project.services.workspace.read() as tx:
        return leases.LEASES.select(tx.db, "subject = ? ORDER BY number", worker.task_id)


# -- taking ----------------------------------------------------------------------------------------


def test_a_person_has_the_session_once_its_process_has_ended_and_the_lease_is_the_same(
    project: Project, terminal: Terminal
) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    a_task(project, "for somebody else")
    before = project.live_lease(worker.task_id)
    write(worker.cwd, {"half.txt": "not committed\n"})

    assert ask(worker, terminal).seat is None
    assert now(worker).state is SessionState.RUNNING
    verdict = project.services.work.turn_ended(PERSON, worker.session.id, turn=1)
    assert (verdict.step, verdict.end) == (NextStep.HAND_OVER, EndKind.TAKEN_OVER)
    worker.end(EndKind.TAKEN_OVER, trace=Trace(is_resumable=True))
    seat = ask(worker, terminal).seat

    assert seat is not None
    assert seat.cwd == str(worker.cwd)
    assert (worker.cwd / "half.txt").exists()
    session = now(worker)
    assert session.state is SessionState.TAKEN_OVER
    assert (session.pid, session.process_started) == (terminal.pid, terminal.started)
    lease = project.live_lease(worker.task_id)
    assert before is not None
    assert lease is not None
    assert (lease.number, lease.fence) == (before.number, before.fence)
    with pytest.raises(Unauthorized):
        project.services.sessions.authenticate(worker.token)
    assert project.services.sessions.authenticate(seat.token) == worker.caller
    assert project.services.snapshots.list_snapshots(PERSON, worker.task_id)
    other = next_worker(project)
    assert other is not None
    assert other.task_id != worker.task_id
    assert next_worker(project) is None


def test_the_launcher_is_told_once_how_much_the_person_hurries_and_that_they_have_gone(
    project: Project, terminal: Terminal
) -> None:
    worker = a_worker(project, a_task(project))

    def wishes(told: str) -> list[str]:
        found = project.services.launcher.directives(
            PERSON, [worker.session.id], False, {worker.session.id: told}
        )
        assert found.has_news is bool(found.hand_over)
        return [wish.how.value for wish in found.hand_over]

    assert wishes("no") == []
    ask(worker, terminal)
    assert wishes("no") == [HandOver.AT_A_STEP]
    assert wishes("at_a_step") == []
    ask(worker, terminal, is_urgent=True)
    assert wishes("at_a_step") == [HandOver.NOW]
    give_back(worker, terminal)
    assert wishes("now") == [HandOver.NO]
    assert project.event_kinds(worker.session.id)[-1] == "takeover_withdrawn"
    verdict = project.services.sessions.turn_ended(PERSON, worker.session.id)
    assert verdict.step is NextStep.CONTINUE


def test_a_person_who_thinks_for_an_hour_keeps_the_lease(
    project: Project, terminal: Terminal
) -> None:
    worker = a_taken_over_worker(project, terminal)
    look(project)
    for _ in range(72):
        project.clock.advance(seconds=50)
        look(project)
    assert denied(worker) == ""
    assert [lease.ended_at for lease in every_lease(worker)] == [None]
    assert next_worker(project) is None


def test_a_second_person_is_refused_and_told_who_has_it(
    project: Project, terminal: Terminal
) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    ask(worker, terminal)
    with a_terminal() as another:
        with pytest.raises(TakenOver, match=r"about to be taken over by eva at pts/3 \(process"):
            ask(worker, another)
        worker.end(EndKind.TAKEN_OVER, trace=Trace(is_resumable=True))
        with pytest.raises(TakenOver, match=r"is taken over by eva .* since 2026-03-01 12:00 UTC"):
            ask(worker, another)

        terminal.kill()
        assert ask(worker, another).seat is not None
        assert now(worker).pid == another.pid
        # The first one's word, should it still come, gives nothing back.
        assert "already" in give_back(worker, terminal)
        assert now(worker).state is SessionState.TAKEN_OVER
    assert len(every_lease(worker)) == 1


def test_who_cannot_be_taken_over_is_refused_with_what_to_do_instead(
    tmp_path: Any, terminal: Terminal
) -> None:
    project = a_project(tmp_path, config="checks: []\n")
    request = a_merge_request(project, a_task(project))
    project.run_train()
    steward = a_steward(project, request)
    with pytest.raises(NotAllowed, match="is a steward: it only reads and decides"):
        ask(steward, terminal)

    ended = a_worker(project, a_task(project))
    ended.end(EndKind.RELEASED)
    with pytest.raises(IllegalTransition, match=r"has ended .*sf logs worker-1"):
        ask(ended, terminal)

    done = a_worker(project, a_task(project), with_worktree=True)
    done.commit({"done.txt": "done\n"})
    done.request_merge()
    with pytest.raises(IllegalTransition, match=r"has ended \(merge_requested\)"):
        ask(done, terminal)

    stopped = a_worker(project, a_task(project))
    project.services.sessions.stop_session(PERSON, stopped.session.id, reason="wrong")
    with pytest.raises(IllegalTransition, match="is being stopped: wrong"):
        ask(stopped, terminal)
    with pytest.raises(NotAllowed):
        project.services.takeovers.take_over_session(
            ended.caller, ended.session.id, pid=1, process_started="", by="a worker"
        )


def test_a_launcher_that_crashes_while_a_person_waits_leaves_them_the_session(
    project: Project, terminal: Terminal
) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    ask(worker, terminal)
    worker.crash(EndKind.STOPPED)
    assert ask(worker, terminal).seat is not None
    assert [lease.ended_at for lease in every_lease(worker)] == [None]


def test_a_person_who_went_away_while_the_process_ended_costs_no_lease(
    project: Project, terminal: Terminal
) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    ask(worker, terminal)
    terminal.kill()
    worker.end(EndKind.TAKEN_OVER, trace=Trace(is_resumable=True))
    again = dispatched(project)
    assert again.session.id == worker.session.id
    assert [lease.ended_at for lease in every_lease(worker)] == [None]


def test_a_process_whose_conversation_never_began_is_not_handed_over(
    project: Project, terminal: Terminal
) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    ask(worker, terminal)
    worker.end(EndKind.TAKEN_OVER)
    with pytest.raises(IllegalTransition, match=r"has ended \(stopped\)"):
        ask(worker, terminal)
    assert dispatched(project).session.id != worker.session.id


# -- giving back -----------------------------------------------------------------------------------


def test_the_fleet_goes_on_in_the_same_conversation_and_knows_what_the_person_did(
    tmp_path: Any, terminal: Terminal
) -> None:
    project = a_project(tmp_path, config=TINY_FLEET)
    worker = a_taken_over_worker(project, terminal)
    a_task(project, "for the next slot")
    # A session that is taken over keeps its slot.
    assert next_worker(project) is None
    commit = worker.commit({"theirs.txt": "theirs\n"}, "by the person")
    write(worker.cwd, {"left.txt": "left\n"})

    assert "goes back to the fleet" in give_back(worker, terminal)
    with pytest.raises(Unauthorized):
        project.services.sessions.authenticate(worker.token)
    order = project.services.dispatch.next_order(PERSON)

    assert order is not None
    assert order.is_resume
    assert order.session.id == worker.session.id
    assert order.message.startswith("A person has worked in this session at a terminal")
    assert f"- {commit[:12]} by the person" in order.message
    assert "Files of these commits: theirs.txt." in order.message
    assert "Not committed: left.txt." in order.message
    assert [(lease.fence, lease.ended_at) for lease in every_lease(worker)] == [(1, None)]
    (event,) = [
        event
        for event in project.services.fleet.read_log(PERSON, subject=worker.session.id)
        if event.kind == "given_back"
    ]
    assert event.data["transcript"] == "/home/eva/one.jsonl"
    assert event.data["files"] == ["theirs.txt"]


def test_a_terminal_that_was_killed_gives_the_session_back(
    project: Project, terminal: Terminal
) -> None:
    worker = a_taken_over_worker(project, terminal)
    look(project)
    assert now(worker).state is SessionState.TAKEN_OVER
    terminal.kill()
    look(project)
    with pytest.raises(Unauthorized):
        project.services.sessions.authenticate(worker.token)
    assert dispatched(project).session.id == worker.session.id
    assert len(every_lease(worker)) == 1


@pytest.mark.parametrize("is_there", [True, False])
def test_a_restart_of_the_server_changes_nothing_for_the_person(
    project: Project, terminal: Terminal, is_there: bool
) -> None:
    worker = a_taken_over_worker(project, terminal)
    project.services.close()
    if not is_there:
        terminal.kill()
    project.clock.advance(minutes=90)
    project.reopen()
    look(project)
    assert now(worker).state is (SessionState.TAKEN_OVER if is_there else SessionState.BACKOFF)
    again = next_worker(project)
    assert (again is None) is is_there
    assert [(lease.fence, lease.ended_at) for lease in every_lease(worker)] == [(1, None)]


def test_a_session_that_nobody_starts_in_time_waits_and_goes_on_under_a_new_lease(
    project: Project, terminal: Terminal
) -> None:
    worker = a_taken_over_worker(project, terminal)
    give_back(worker, terminal)
    project.services.fleet.pause_fleet(PERSON, reason="lunch")
    look(project)
    for _ in range(4):
        project.clock.advance(seconds=50)
        look(project)
    assert project.task(worker.task_id).state is TaskState.OPEN
    assert now(worker).state is SessionState.BACKOFF
    project.services.fleet.resume_fleet(PERSON)

    order = project.services.dispatch.next_order(PERSON)

    assert order is not None
    assert order.session.id == worker.session.id
    assert "A person has worked in this session" in order.message
    kinds = [(lease.fence, lease.end) for lease in every_lease(worker)]
    assert kinds == [(1, EndKind.TAKEN_OVER), (2, None)]


def test_an_outcome_that_the_persons_session_reached_stands(
    project: Project, terminal: Terminal
) -> None:
    worker = a_taken_over_worker(project, terminal)
    worker.commit({"whole.txt": "whole\n"})
    worker.request_merge()
    project.run_train()
    assert project.task(worker.task_id).state is TaskState.MERGED
    # The worktree is the person's until they leave.
    assert (worker.cwd / "whole.txt").exists()

    assert give_back(worker, terminal) == "worker-1 has ended (merge requested)."
    assert now(worker).end is EndKind.MERGE_REQUESTED
    assert next_worker(project) is None
    project.run_train()
    assert not worker.cwd.exists()


def test_a_handoff_of_the_persons_session_waits_for_them_to_leave(
    project: Project, terminal: Terminal
) -> None:
    worker = a_taken_over_worker(project, terminal)
    worker.hand_off()
    assert next_worker(project) is None
    assert give_back(worker, terminal) == "worker-1 has ended (handed off)."
    fresh = dispatched(project)
    assert fresh.session.id != worker.session.id
    assert fresh.task_id == worker.task_id


# -- fenced ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancelled", "stopped"])
def test_a_person_is_told_at_the_next_tool_call_that_the_session_is_over(
    project: Project, terminal: Terminal, how: str
) -> None:
    worker = a_taken_over_worker(project, terminal)
    assert denied(worker) == ""
    if how == "cancelled":
        project.services.plans.cancel_task(PERSON, worker.task_id)
    else:
        project.services.sessions.stop_session(PERSON, worker.session.id, reason="wrong way")

    assert ("T1 was cancelled" if how == "cancelled" else "wrong way") in denied(worker)
    with pytest.raises(StaleLease):
        project.services.claims.report_progress(worker.caller, message="still here")
    assert project.live_lease(worker.task_id) is None
    assert next_worker(project) is None
    write(worker.cwd, {"left.txt": "left\n"})

    assert give_back(worker, terminal) == f"worker-1 has ended ({how})."
    assert now(worker).state is SessionState.EXITED
    assert project.services.snapshots.list_snapshots(PERSON, worker.task_id)
    assert (next_worker(project) is None) is (how == "cancelled")


def test_turns_of_a_person_end_when_they_end_and_the_first_prompt_says_who_speaks(
    project: Project, terminal: Terminal
) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    ask(worker, terminal)
    worker.end(EndKind.TAKEN_OVER, trace=Trace(is_resumable=True, open=(BASH,)))
    assert ask(worker, terminal).seat is not None

    told = hook(worker, "UserPromptSubmit")["hookSpecificOutput"]
    assert told["hookEventName"] == "UserPromptSubmit"
    assert told["additionalContext"].startswith("A person has taken over this session")
    assert "Your call Bash: pytest -q was interrupted" in told["additionalContext"]
    assert now(worker).is_turn_active
    assert hook(worker, "Stop", last_assistant_message="Yes.\nDone") == {}
    assert (now(worker).is_turn_active, now(worker).last_line) == (False, "Yes. Done")
    assert hook(worker, "UserPromptSubmit") == {}


def test_what_the_person_never_asked_about_is_told_when_the_fleet_goes_on(
    project: Project, terminal: Terminal
) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    ask(worker, terminal)
    worker.end(EndKind.TAKEN_OVER, trace=Trace(is_resumable=True, open=(BASH,)))
    give_back(worker, terminal)
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    assert "Your call Bash: pytest -q was interrupted" in order.message
    assert "speaks to you directly" not in order.message


# -- sessions that have no process -----------------------------------------------------------------


def test_a_parked_worker_is_taken_over_and_parked_again_while_its_question_is_open(
    project: Project, terminal: Terminal
) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    question = worker.ask()
    worker.end(EndKind.PARKED)
    assert ask(worker, terminal).seat is not None
    assert project.task(worker.task_id).state is TaskState.CLAIMED

    assert "waits for the answer" in give_back(worker, terminal)
    assert now(worker).state is SessionState.PARKED
    assert project.task(worker.task_id).state is TaskState.WAITING
    assert next_worker(project) is None

    assert ask(worker, terminal).seat is not None
    project.services.questions.answer_question(PERSON, question.id, answer="the blue one")
    assert "the blue one" in str(hook(worker, "UserPromptSubmit"))
    assert "goes on with T1" in give_back(worker, terminal)
    assert dispatched(project).session.id == worker.session.id


def test_a_worker_that_waits_to_be_resumed_is_taken_over_without_a_launcher(
    project: Project, terminal: Terminal
) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.crash(EndKind.STOPPED)
    assert now(worker).state is SessionState.BACKOFF
    assert ask(worker, terminal).seat is not None
    assert next_worker(project) is None
    assert [lease.fence for lease in every_lease(worker)] == [1, 2]


def test_a_stop_ends_a_session_that_was_given_back_and_waits(
    project: Project, terminal: Terminal
) -> None:
    worker = a_taken_over_worker(project, terminal)
    give_back(worker, terminal)
    project.services.sessions.stop_session(PERSON, worker.session.id)
    assert now(worker).state is SessionState.EXITED
    assert dispatched(project).session.id != worker.session.id


# -- what is shown ---------------------------------------------------------------------------------


def test_who_works_there_and_since_when_is_shown(project: Project, terminal: Terminal) -> None:
    worker = a_taken_over_worker(project, terminal)
    (line,) = project.services.fleet.fleet_status(PERSON).sessions
    assert (line.state, line.note) == (
        SessionState.TAKEN_OVER,
        "taken over by you since 12:00 UTC",
    )
    assert "taken over by you since 12:00 UTC" in (
        project.services.queries.why(PERSON, worker.task_id).sentence
    )
    (session,) = project.services.sessions.list_sessions(PERSON)
    assert session.taken_over_at == project.clock.now
    kinds = project.event_kinds(worker.session.id)
    assert [kind for kind in kinds if "take" in kind] == ["takeover_asked", "taken_over"]
    give_back(worker, terminal)
    (line,) = project.services.fleet.fleet_status(PERSON).sessions
    assert line.note == "given back, goes on in a moment"


def test_what_the_terminal_reports_is_kept_and_leaves_the_words_of_the_hooks(
    project: Project, terminal: Terminal
) -> None:
    worker = a_taken_over_worker(project, terminal)
    hook(worker, "UserPromptSubmit")
    project.services.sessions.heard(
        PERSON, worker.session.id, context_tokens=5000, context_window=200_000, cost_usd=0.5
    )
    session = now(worker)
    assert (session.context_tokens, session.cost_usd) == (5000, 0.5)
    assert session.is_turn_active
