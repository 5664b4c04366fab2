"""Limits of the account: one gate for all fleets of a person, and what each of them makes of it."""

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sf_mcp.core.account import MOST_SPREAD, account_key
from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.identity import LAUNCHER, PERSON, SERVER, Caller
from sf_mcp.core.models import EndKind, Event, Role
from sf_mcp.core.states import QuestionState, TaskState
from tests.builders import (
    NOON,
    TINY,
    Project,
    a_merge_request,
    a_project,
    a_session,
    a_task,
    a_worker,
)

ASKS = f"{TINY}limits: {{onUsageLimit: ask}}\n"
STOPS = f"{TINY}limits: {{onUsageLimit: stop}}\n"
IN_TWO_HOURS = NOON + timedelta(hours=2)


def meet_limit(
    project: Project, until: datetime = IN_TWO_HOURS, kind: EndKind = EndKind.USAGE_LIMIT
) -> None:
    a_worker(project, a_task(project)).end(kind, "limit reached", resets_at=until.isoformat())


def starts(project: Project) -> bool:
    return project.services.dispatch.next_order(PERSON) is not None


def until_it_goes_on(project: Project, until: datetime = IN_TWO_HOURS) -> None:
    project.clock.now = until + MOST_SPREAD


def two_fleets(folder: Path, config: str = TINY) -> tuple[Project, Project]:
    """Two repositories of one person, each with a task that is ready."""
    one, other = (a_project(folder / name, config=config) for name in ("one", "other"))
    a_task(other)
    return one, other


# -- one gate for all fleets -----------------------------------------------------------------------


def test_a_limit_that_one_fleet_meets_parks_every_fleet_of_the_account(tmp_path: Path) -> None:
    one, other = two_fleets(tmp_path)
    meet_limit(one)
    for project in (one, other):
        assert not starts(project)
        status = project.services.fleet.fleet_status(PERSON)
        assert status.parked_until == IN_TWO_HOURS
        assert status.parked_reason == "a usage limit: limit reached"
        until_it_goes_on(project)
        assert starts(project)
        assert project.services.fleet.fleet_status(PERSON).parked_until is None


def test_the_fleets_do_not_all_go_on_in_the_same_second(tmp_path: Path) -> None:
    one, other = two_fleets(tmp_path)
    meet_limit(one)
    times = {project.services.dispatch.retry_at() for project in (one, other)}
    assert len(times) == 2
    assert all(time and IN_TWO_HOURS <= time < IN_TWO_HOURS + MOST_SPREAD for time in times)


def test_after_a_rest_the_sessions_of_a_fleet_start_one_after_another(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    meet_limit(project)
    for _ in range(3):
        a_task(project)
    until_it_goes_on(project)
    for _ in range(3):
        assert starts(project)
        assert not starts(project)
        wait = project.services.dispatch.seconds_until_retry()
        assert wait is not None
        assert 1 < wait < 6
        project.clock.advance(seconds=wait)
    project.clock.advance(minutes=10)
    a_task(project)
    assert starts(project)
    assert starts(project)


def test_a_usage_limit_is_nobodys_failure_and_outlasts_a_restart(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    for _ in range(20):
        meet_limit(project)
    assert {project.task(f"T{number}").state for number in range(1, 21)} == {TaskState.OPEN}
    project.reopen()
    assert not starts(project)
    assert project.services.fleet.fleet_status(PERSON).parked_until == IN_TWO_HOURS


def test_a_reset_a_month_away_is_waited_for_and_does_not_come_at_once(tmp_path: Path) -> None:
    """Row 28 of the known defects: beyond 24.8 days a timer overflowed and fired at once."""
    project = a_project(tmp_path)
    month = NOON + timedelta(days=31)
    meet_limit(project, month)
    assert not starts(project)
    wait = project.services.dispatch.seconds_until_retry()
    assert wait is not None
    assert wait >= timedelta(days=31).total_seconds()
    project.clock.advance(minutes=30 * 24 * 60)
    assert not starts(project)
    why = project.services.queries.why(PERSON, "T1")
    assert "until 2026-04-01 12:00 UTC (in 1 d 0 h)" in why.sentence
    until_it_goes_on(project, month)
    assert starts(project)


def test_an_overload_parks_all_fleets_for_its_time_whatever_is_configured(tmp_path: Path) -> None:
    one, other = two_fleets(tmp_path, ASKS)
    meet_limit(one, NOON + timedelta(seconds=30), EndKind.OVERLOADED)
    for project in (one, other):
        assert not starts(project)
        assert project.services.fleet.fleet_status(PERSON).paused == ""
        assert project.services.fleet.fleet_status(PERSON).parked_reason.startswith("an API")
        project.clock.advance(seconds=34)
        assert starts(project)


def test_running_sessions_go_on_while_no_other_is_started(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    running = a_worker(project, a_task(project))
    meet_limit(project)
    assert not running.hear().stop_requested
    directives = project.services.launcher.directives(PERSON, [running.session.id], True)
    assert not directives.has_news


def test_the_clock_jumps_around_the_reset(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    meet_limit(project)
    until_it_goes_on(project, NOON + timedelta(days=1))
    assert starts(project)  # too early, if the clock is wrong: the next limit parks it again
    project.clock.now = NOON + timedelta(minutes=5)
    assert not starts(project)
    # A day back: as long to go as there was, and not a day more.
    project.clock.now = NOON - timedelta(days=1)
    assert project.services.fleet.fleet_status(PERSON).parked_until == (
        NOON - timedelta(days=1) + timedelta(hours=2)
    )
    project.clock.advance(minutes=121)
    a_task(project)
    assert starts(project)


# -- which account ---------------------------------------------------------------------------------


def test_another_account_is_not_parked(tmp_path: Path) -> None:
    one, other = two_fleets(tmp_path)
    other.services.workspace.use_account(LAUNCHER, account_key({"ANTHROPIC_API_KEY": "sk-two"}))
    meet_limit(one)
    assert not starts(one)
    assert starts(other)


def test_the_account_is_that_of_the_launchers_sessions_also_after_a_restart(tmp_path: Path) -> None:
    one, other = two_fleets(tmp_path)
    for project in (one, other):
        project.services.workspace.use_account(LAUNCHER, "feedfeedfeedfeed")
    meet_limit(one)
    other.reopen()
    assert other.services.workspace.gate.path.name == "feedfeedfeedfeed.json"
    assert not starts(other)


def test_no_key_of_the_person_is_in_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-very-secret")
    project = a_project(tmp_path)
    meet_limit(project)
    project.services.close()
    state = Path(os.environ["XDG_STATE_HOME"])
    files = [path for folder in (tmp_path, state) for path in folder.rglob("*") if path.is_file()]
    assert project.services.workspace.gate.path in files
    assert not [path for path in files if b"very-secret" in path.read_bytes()]


# -- lifted by the person ----------------------------------------------------------------------


def test_sf_resume_opens_the_gate_for_all_fleets_of_the_person_and_is_recorded(
    tmp_path: Path,
) -> None:
    one, other = two_fleets(tmp_path)
    meet_limit(one)
    other.services.fleet.resume_fleet(PERSON)
    assert starts(one)
    assert starts(other)
    (event,) = [e for e in read_log(other) if e.kind == "limit_lifted"]
    assert (event.actor, event.data) == (
        "person",
        {"reason": "usage_limit", "until": "2026-03-01T14:00:00+00:00"},
    )


def read_log(project: Project) -> Sequence[Event]:
    return project.services.fleet.read_log(PERSON, after=0, limit=1000)


def test_a_headless_director_lifts_a_pause_and_not_the_accounts_limit(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    meet_limit(project)
    project.services.fleet.pause_fleet(PERSON, reason="lunch")
    session = a_session(project, Role.DIRECTOR, "goal")
    director = Caller(role=Role.DIRECTOR, name=session.name, session_id=session.id)
    project.services.fleet.resume_fleet(director)
    status = project.services.fleet.fleet_status(PERSON)
    assert (status.paused, status.parked_until) == ("", IN_TWO_HOURS)


# -- what is said of it --------------------------------------------------------------------------


def test_a_review_that_waits_for_the_reset_says_so(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\n")
    a_merge_request(project, a_task(project))
    project.run_train()
    meet_limit(project)
    why = project.services.queries.why(PERSON, "T1")
    assert why.sentence == (
        "T1 is not merged: M1 is waiting for review, but the account is at rest until 2026-03-01 "
        "14:00 UTC (in 2 h 0 min) because of a usage limit: limit reached."
    )
    assert why.next_step == "nothing; the fleet goes on by itself (sf resume: at once)"


# -- what the configuration says -------------------------------------------------------------------


def the_question(project: Project) -> str:
    (question,) = project.services.questions.list_questions(PERSON)
    assert question.options == ("wait", "go on now", "stop")
    assert question.escalated
    return question.id


def test_ask_opens_one_question_to_the_person_and_waits_for_the_answer(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=ASKS)
    running = a_worker(project, a_task(project))
    meet_limit(project)
    running.end(EndKind.USAGE_LIMIT, "limit reached", resets_at=IN_TWO_HOURS.isoformat())
    asked = the_question(project)
    status = project.services.fleet.fleet_status(PERSON)
    assert f'answer {asked}: sf question answer {asked} "wait"' in status.paused
    assert asked in project.services.queries.why(PERSON, "T1").sentence
    # No director is woken for it, and the reset alone starts nothing.
    project.clock.advance(minutes=600)
    assert not starts(project)
    project.reopen()
    assert not starts(project)


def test_to_wait_goes_on_at_the_reset(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=ASKS)
    meet_limit(project)
    project.services.questions.answer_question(PERSON, the_question(project), answer="wait")
    assert project.services.fleet.fleet_status(PERSON).paused == ""
    assert not starts(project)
    until_it_goes_on(project)
    assert starts(project)


@pytest.mark.parametrize("answer", ["go on now", "Go on now, I have bought more.", "`go on now`"])
def test_to_go_on_now_opens_the_gate(tmp_path: Path, answer: str) -> None:
    project = a_project(tmp_path, config=ASKS)
    meet_limit(project)
    project.services.questions.answer_question(PERSON, the_question(project), answer=answer)
    assert starts(project)
    assert "limit_lifted" in project.event_kinds()


def test_to_stop_pauses_the_fleet_until_it_is_resumed(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=ASKS)
    meet_limit(project)
    project.services.questions.answer_question(PERSON, the_question(project), answer="stop")
    project.clock.advance(minutes=600)
    assert not starts(project)
    assert "stopped at the usage limit by person" in (
        project.services.fleet.fleet_status(PERSON).paused
    )
    project.services.fleet.resume_fleet(PERSON)
    assert starts(project)


def test_another_answer_is_refused_and_the_question_stays_open(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=ASKS)
    meet_limit(project)
    asked = the_question(project)
    with pytest.raises(InvalidInput, match="must begin with wait, go on now or stop"):
        project.services.questions.answer_question(PERSON, asked, answer="hm")
    assert project.question(asked).state is QuestionState.OPEN


def test_resuming_settles_the_question(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=ASKS)
    meet_limit(project)
    asked = the_question(project)
    project.services.fleet.resume_fleet(PERSON)
    assert project.question(asked).state is QuestionState.WITHDRAWN
    assert starts(project)


def test_the_next_limit_is_asked_about_anew(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=ASKS)
    meet_limit(project)
    project.services.questions.answer_question(PERSON, the_question(project), answer="wait")
    until_it_goes_on(project)
    meet_limit(project, NOON + timedelta(hours=8))
    assert the_question(project) == "Q2"


def test_to_stop_is_this_fleets_choice_and_others_go_on_at_the_reset(tmp_path: Path) -> None:
    one, other = two_fleets(tmp_path, STOPS)
    meet_limit(one)
    for project in (one, other):
        until_it_goes_on(project)
    assert not starts(one)
    assert starts(other)


# -- a gate that is not as it should be ---------------------------------------------------------


def test_a_gate_of_garbage_is_said_once_and_holds_nothing_up(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    meet_limit(project)
    project.services.workspace.gate.path.write_text("garbage")
    for _ in range(5):
        project.services.limits.look(SERVER)
    assert project.event_kinds().count("account_gate_unusable") == 1
    (note,) = [n for n in project.services.fleet.fleet_status(PERSON).notes if "gate" in n]
    assert "cannot be read" in note
    assert starts(project)
    # Too early: the session meets the limit again, and all is as it was.
    meet_limit(project)
    assert not starts(project)
    project.services.limits.look(SERVER)
    assert not [n for n in project.services.fleet.fleet_status(PERSON).notes if "gate" in n]


def test_a_gate_that_is_removed_is_said_once_and_lets_the_fleet_go_on(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    meet_limit(project)
    project.services.workspace.gate.path.unlink()
    for _ in range(5):
        project.services.limits.look(SERVER)
    assert project.event_kinds().count("account_gate_unusable") == 1
    assert starts(project)


def test_where_no_gate_can_be_written_the_fleet_heeds_its_own_limits(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    folder = project.services.workspace.gate.path.parent
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be")
    meet_limit(project)
    assert not starts(project)
    for _ in range(5):
        project.services.limits.look(SERVER)
    assert project.event_kinds().count("account_gate_unusable") == 1
    until_it_goes_on(project)
    assert starts(project)
