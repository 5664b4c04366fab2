"""Sessions as the launcher reports them: turns, ends, limits, tokens, and what hooks are told."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from sf_mcp.core.errors import NotAllowed, NotFound, Unauthorized
from sf_mcp.core.identity import PERSON, Caller
from sf_mcp.core.models import EndKind, Role
from sf_mcp.core.states import SessionState, TaskState
from sf_mcp.service.turns import NextStep
from tests.builders import (
    NOON,
    Project,
    Worker,
    a_merge_request,
    a_person_token,
    a_project,
    a_steward,
    a_task,
    a_worker,
    dispatched,
)

REVIEWED = "checks: []\n"


def turn_ended(worker: Worker) -> tuple[NextStep, EndKind]:
    verdict = worker.project.services.sessions.turn_ended(PERSON, worker.session.id)
    return verdict.step, verdict.end


def hook(worker: Worker, name: str, **event: object) -> dict[str, object]:
    return worker.project.services.hooks.answer(worker.caller, {"hook_event_name": name, **event})


def parked_until(project: Project) -> object:
    return project.services.fleet.fleet_status(PERSON).parked_until


# -- tokens ------------------------------------------------------------------------------------


def test_a_token_stands_for_its_session_until_that_ends(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    authenticate = project.services.sessions.authenticate
    assert authenticate(worker.token) == Caller(
        role=Role.WORKER, name=worker.session.name, session_id=worker.session.id
    )
    worker.end()
    with pytest.raises(Unauthorized, match="its session has ended"):
        authenticate(worker.token)


@pytest.mark.parametrize("token", ["", "x", "' OR 1=1 --", "é", "a" * 100_000])
def test_what_is_no_token_stands_for_nobody(tmp_path: Path, token: str) -> None:
    project = a_project(tmp_path)
    with pytest.raises(Unauthorized):
        project.services.sessions.authenticate(token)


def test_no_token_is_ever_written_down(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    person = a_person_token(project)
    worker = dispatched_after_a_task(project)
    assert project.services.sessions.authenticate(person).role is Role.PERSON
    files = [project.layout.database, Path(f"{project.layout.database}-wal")]
    stored = b"".join(path.read_bytes() for path in files)
    assert worker.session.id.encode() in stored
    for token in (person, worker.token):
        assert token.encode() not in stored
    events = project.services.fleet.read_log(PERSON, after=0, limit=1000)
    assert worker.token not in json.dumps([event.data for event in events])


def dispatched_after_a_task(project: Project) -> Worker:
    a_task(project)
    return dispatched(project)


def test_renewing_the_persons_token_ends_the_old_one(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    sessions = project.services.sessions
    assert sessions.ensure_person_token(PERSON)
    old = project.layout.person_token.read_text().strip()
    assert not sessions.ensure_person_token(PERSON)
    assert sessions.ensure_person_token(PERSON, renew=True)
    new = project.layout.person_token.read_text().strip()
    assert sessions.authenticate(new).role is Role.PERSON
    with pytest.raises(Unauthorized):
        sessions.authenticate(old)
    assert project.layout.person_token.stat().st_mode & 0o777 == 0o600


# -- reports -----------------------------------------------------------------------------------


def test_only_the_persons_launcher_reports(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    sessions, caller, session_id = project.services.sessions, worker.caller, worker.session.id
    for attempt in (
        lambda: sessions.started(caller, session_id, pid=1, process_started="", log_path=""),
        lambda: sessions.connected(caller, session_id, model=""),
        lambda: sessions.turn_ended(caller, session_id),
        lambda: sessions.ended(caller, session_id, kind=EndKind.DONE, detail=""),
        lambda: sessions.stop_session(caller, session_id),
        lambda: project.services.work.take_over_context(caller, session_id),
        lambda: project.services.dispatch.next_order(caller),
        lambda: project.services.launcher.directives(caller, [], True),
    ):
        with pytest.raises(NotAllowed):
            attempt()


def test_an_unknown_session_is_named(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    with pytest.raises(NotFound, match="no session 'gone'"):
        project.services.sessions.get_session(PERSON, "gone")


def test_what_was_heard_is_kept_and_renews_the_lease(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    project.clock.advance(seconds=100)
    session = project.services.sessions.heard(
        PERSON,
        worker.session.id,
        is_turn_active=True,
        last_line="reading\nsrc/app.py \x1b[31m" + "x" * 300,
        context_tokens=50_000,
        context_window=200_000,
        cost_usd=0.5,
    )
    assert session.last_line.startswith("reading src/app.py")
    assert len(session.last_line) == 200
    assert "\x1b" not in session.last_line
    lease = project.live_lease(worker.task_id)
    assert lease is not None
    assert lease.expires_at == NOON + timedelta(seconds=220)
    assert worker.hear(cost_usd=0.3).cost_usd == 0.5
    assert worker.hear(cost_usd=float("nan")).cost_usd == 0.5


def test_a_late_report_does_not_bring_an_ended_session_back(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    worker.end()
    assert not worker.hear(is_turn_active=True).is_turn_active
    assert project.services.sessions.connected(PERSON, worker.session.id, model="x").state is (
        SessionState.EXITED
    )


def test_an_end_reported_twice_counts_once(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = a_worker(project, task_id)
    worker.end(EndKind.KILLED)
    a_worker(project, task_id)
    worker.end(EndKind.KILLED)
    assert project.task(task_id).state is TaskState.CLAIMED
    assert project.event_kinds(worker.session.id).count("session_ended") == 1


def test_names_are_used_again_only_when_their_session_has_ended(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    first = a_worker(project, a_task(project))
    second = a_worker(project, a_task(project))
    assert (first.session.name, second.session.name) == ("worker-1", "worker-2")
    first.end()
    third = a_worker(project, a_task(project))
    assert third.session.name == "worker-1"
    assert project.services.sessions.get_session(PERSON, "worker-1").id == third.session.id


# -- turns -------------------------------------------------------------------------------------


def test_a_turn_without_outcome_is_told_twice_and_then_is_a_failure(tmp_path: Path) -> None:
    """Row 38 of the known defects: "done" without a commit or a single tool call."""
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    for _ in range(2):
        verdict = project.services.sessions.turn_ended(PERSON, worker.session.id)
        assert verdict.step is NextStep.CONTINUE
        assert "T1 has no outcome yet" in verdict.message
        assert "request_merge" in verdict.message
    assert turn_ended(worker) == (NextStep.FAIL, EndKind.NO_OUTCOME)
    worker.end(EndKind.NO_OUTCOME)
    assert project.task(worker.task_id).state is TaskState.OPEN


def test_the_stop_hook_blocks_twice_and_then_lets_the_turn_end(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    for is_active in (False, True):
        answer = hook(worker, "Stop", stop_hook_active=is_active)
        assert answer["decision"] == "block"
        assert "no outcome yet" in str(answer["reason"])
    assert hook(worker, "Stop", stop_hook_active=True) == {}
    assert turn_ended(worker) == (NextStep.FAIL, EndKind.NO_OUTCOME)


def test_the_stop_hook_says_nothing_when_there_is_an_outcome(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    worker.hand_off()
    assert hook(worker, "Stop") == {}
    assert turn_ended(worker) == (NextStep.FINISH, EndKind.HANDED_OFF)


def test_the_end_of_a_turn_after_a_merge_request_is_its_end(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "a\n"})
    worker.request_merge()
    assert turn_ended(worker) == (NextStep.FINISH, EndKind.MERGE_REQUESTED)


def test_a_steward_without_decision_is_told_what_is_missing(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    a_merge_request(project, a_task(project))
    project.run_train()
    steward = dispatched(project)
    assert steward.session.role is Role.STEWARD
    answer = hook(steward, "Stop")
    assert "The review of M1 has no outcome yet" in str(answer["reason"])


def test_a_session_that_is_to_stop_finishes_with_its_turn(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    project.services.sessions.stop_session(PERSON, "worker-1", reason="lunch")
    (stop,) = project.services.launcher.directives(PERSON, [worker.session.id], True).stop
    assert (stop.session_id, stop.reason) == (worker.session.id, "lunch")
    assert turn_ended(worker) == (NextStep.FINISH, EndKind.STOPPED)
    worker.end(EndKind.STOPPED)
    assert project.task(worker.task_id).state is TaskState.OPEN


def test_a_launcher_is_told_of_sessions_that_have_ended_meanwhile(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    worker.end()
    directives = project.services.launcher.directives(PERSON, [worker.session.id, "gone"], True)
    assert [stop.reason for stop in directives.stop] == ["it has ended", "it has ended"]


# -- hooks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "is_asked", "is_denied"),
    [(139_999, False, False), (140_000, True, False), (165_000, True, True)],
)
def test_a_worker_is_asked_and_then_made_to_hand_off(
    tmp_path: Path, tokens: int, is_asked: bool, is_denied: bool
) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    worker.hear(tokens=tokens)
    after = hook(worker, "PostToolUse", tool_name="Read")
    before = hook(worker, "PreToolUse", tool_name="Bash")
    assert ("additionalContext" in json.dumps(after)) is is_asked
    assert ('"permissionDecision": "deny"' in json.dumps(before)) is is_denied
    assert hook(worker, "PreToolUse", tool_name="mcp__sf__write_handoff") == {}


def test_hooks_of_others_change_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    worker = a_worker(project, a_task(project))
    assert project.services.hooks.answer(PERSON, {"hook_event_name": "Stop"}) == {}
    assert hook(worker, "SessionStart") == {}
    assert hook(worker, "") == {}
    steward_of = a_merge_request(project, a_task(project))
    project.run_train()
    steward = a_steward(project, steward_of)
    steward.hear(tokens=199_000)
    assert hook(steward, "PreToolUse", tool_name="Read") == {}


def test_a_hook_is_about_the_session_of_its_token_whatever_it_says(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    first = a_worker(project, a_task(project))
    second = a_worker(project, a_task(project))
    first.hand_off()
    answer = hook(second, "Stop", session_id=first.session.id)
    assert "T2 has no outcome yet" in str(answer["reason"])
    assert project.session(first.session.id).nudges == 0


# -- limits ------------------------------------------------------------------------------------


def test_a_usage_limit_parks_the_fleet_until_its_reset(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    a_worker(project, task_id).end(
        EndKind.USAGE_LIMIT, "limit reached", resets_at=(NOON + timedelta(hours=2)).isoformat()
    )
    assert project.services.dispatch.next_order(PERSON) is None
    # A little apart from other fleets of the account.
    assert 7200 <= (project.services.dispatch.seconds_until_retry() or 0) < 7230
    assert (
        "at rest until 2026-03-01 14:00 UTC (in 2 h 0 min) because of a usage limit: limit reached"
        in project.services.queries.why(PERSON, "T1").sentence
    )
    project.clock.advance(minutes=120, seconds=30)
    assert dispatched(project).task_id == task_id
    assert (
        project.services.queries.get_task(PERSON, task_id).attempts[0][1].startswith("usage_limit")
    )


@pytest.mark.parametrize(
    "resets_at",
    ["", "tomorrow", "2026-13-45", "2020-01-01T00:00:00+00:00", "null", "1e999"],
)
def test_a_reset_time_that_is_no_use_is_five_minutes(tmp_path: Path, resets_at: str) -> None:
    """Row 28 of the known defects: reset times were misread."""
    project = a_project(tmp_path)
    a_worker(project, a_task(project)).end(EndKind.USAGE_LIMIT, resets_at=resets_at)
    assert parked_until(project) == NOON + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("resets_at", "until"),
    [
        ("2026-03-01T15:00:00", NOON + timedelta(hours=3)),
        ("2026-03-01T15:00:00+02:00", NOON + timedelta(hours=1)),
        ("2026-05-01T12:00:00+00:00", NOON + timedelta(days=61)),
    ],
)
def test_a_reset_time_is_read_in_its_zone(tmp_path: Path, resets_at: str, until: object) -> None:
    project = a_project(tmp_path)
    a_worker(project, a_task(project)).end(EndKind.USAGE_LIMIT, resets_at=resets_at)
    assert parked_until(project) == until
    assert project.services.dispatch.next_order(PERSON) is None


@pytest.mark.parametrize("choice", ["ask", "stop"])
def test_a_usage_limit_leaves_it_to_the_person_when_they_want_that(
    tmp_path: Path, choice: str
) -> None:
    project = a_project(tmp_path, config=f"checks: []\nlimits: {{onUsageLimit: {choice}}}\n")
    a_worker(project, a_task(project)).end(EndKind.USAGE_LIMIT, "limit reached")
    project.clock.advance(minutes=600)
    assert project.services.dispatch.next_order(PERSON) is None
    assert "usage_limit: limit reached" in project.services.fleet.fleet_status(PERSON).paused
    project.services.fleet.resume_fleet(PERSON)
    dispatched(project)


@pytest.mark.parametrize("kind", [EndKind.AUTHENTICATION, EndKind.BAD_CONFIGURATION])
def test_a_bad_login_or_configuration_stops_the_fleet_with_the_reason(
    tmp_path: Path, kind: EndKind
) -> None:
    """Row 20 of the known defects: a wrong login was taken for a usage limit."""
    project = a_project(tmp_path)
    a_worker(project, a_task(project)).end(kind, "Invalid API key\nrun /login")
    assert project.services.dispatch.next_order(PERSON) is None
    status = project.services.fleet.fleet_status(PERSON)
    assert status.paused == f"{kind.value}: Invalid API key run /login"
    assert status.parked_until is None


def test_resuming_forgets_pause_and_limit(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_worker(project, a_task(project)).end(EndKind.USAGE_LIMIT)
    project.services.fleet.pause_fleet(PERSON, reason="lunch")
    project.services.fleet.resume_fleet(PERSON)
    status = project.services.fleet.fleet_status(PERSON)
    assert (status.paused, status.parked_until, status.parked_reason) == ("", None, "")
    dispatched(project)


# -- parking that came too late --------------------------------------------------------------------


def test_a_session_whose_lease_expired_is_not_parked_for_ever(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    worker.ask()
    project.clock.advance(seconds=120)
    project.services.lease_watch.expire(PERSON)
    assert worker.end(EndKind.PARKED).state is SessionState.EXITED
    assert project.task(worker.task_id).state is TaskState.OPEN


def test_a_session_that_was_never_reported_as_connected_can_be_parked(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    caller = project.services.sessions.authenticate(order.token)
    project.services.questions.ask_director(caller, question="Which?")
    ended = project.services.work.session_ended(PERSON, order.session.id, kind=EndKind.PARKED)
    assert ended.state is SessionState.PARKED
