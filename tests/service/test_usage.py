"""What sessions use, as it is reported and kept: by process and day, and never less than before."""

from dataclasses import replace
from pathlib import Path

import pytest

from sf_mcp.core.errors import InvalidInput, NotAllowed
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, Usage
from sf_mcp.service.used import UsageReport
from sf_mcp.store import usage
from tests.builders import Project, Worker, a_project, a_task, a_worker

TODAY = UsageReport(
    day="2026-03-01",
    input_tokens=10,
    cache_write_tokens=1_000,
    cache_read_tokens=5_000,
    output_tokens=200,
    coordination_tokens=300,
    cost_usd=0.25,
)


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    project = a_project(tmp_path)
    return a_worker(project, a_task(project))


def report(worker: Worker, *usage: UsageReport) -> None:
    worker.project.services.sessions.heard(
        PERSON,
        worker.session.id,
        is_turn_active=True,
        last_line="",
        context_tokens=0,
        context_window=0,
        cost_usd=0,
        usage=usage,
    )


def kept(project: Project, worker: Worker) -> list[Usage]:
    with project.services.workspace.read() as tx:
        return usage.of_session(tx.db, worker.session.id)


def as_kept(worker: Worker, report: UsageReport, start: int = 1) -> Usage:
    return Usage(
        session_id=worker.session.id,
        start=start,
        day=report.day,
        input_tokens=report.input_tokens,
        cache_write_tokens=report.cache_write_tokens,
        cache_read_tokens=report.cache_read_tokens,
        output_tokens=report.output_tokens,
        coordination_tokens=report.coordination_tokens,
        cost_usd=report.cost_usd,
    )


def test_each_day_has_a_row_that_grows_with_what_is_reported(worker: Worker) -> None:
    tomorrow = replace(TODAY, day="2026-03-02")
    report(worker, TODAY)
    grown = replace(TODAY, output_tokens=250, cost_usd=0.5)
    report(worker, grown, tomorrow)

    assert kept(worker.project, worker) == [as_kept(worker, grown), as_kept(worker, tomorrow)]


def test_a_late_report_takes_nothing_back(worker: Worker) -> None:
    report(worker, TODAY)
    report(worker, replace(TODAY, output_tokens=1, cost_usd=0.1, input_tokens=11))

    assert kept(worker.project, worker) == [as_kept(worker, replace(TODAY, input_tokens=11))]


def test_what_comes_after_the_sessions_end_counts_too(worker: Worker) -> None:
    worker.end(EndKind.STOPPED)
    report(worker, TODAY)

    assert kept(worker.project, worker) == [as_kept(worker, TODAY)]


def test_a_resumed_session_begins_a_row_of_its_own(worker: Worker) -> None:
    services = worker.project.services
    report(worker, TODAY)
    question = worker.ask()
    worker.end(EndKind.PARKED)
    services.questions.answer_question(PERSON, question.id, answer="The left one.")
    order = services.dispatch.next_order(PERSON)
    assert order is not None
    assert order.is_resume
    services.sessions.started(PERSON, worker.session.id, pid=1, process_started="", log_path="")
    report(worker, replace(TODAY, output_tokens=1))

    assert [(row.start, row.output_tokens) for row in kept(worker.project, worker)] == [
        (1, 200),
        (2, 1),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        replace(TODAY, day="yesterday"),
        replace(TODAY, day="20260301"),
        replace(TODAY, output_tokens=-1),
        replace(TODAY, cost_usd=float("nan")),
        replace(TODAY, cost_usd=float("inf")),
        replace(TODAY, input_tokens=1 << 62),
    ],
)
def test_what_is_no_days_usage_is_refused_and_nothing_of_the_report_is_kept(
    worker: Worker, wrong: UsageReport
) -> None:
    with pytest.raises(InvalidInput, match="cannot be kept"):
        report(worker, TODAY, wrong)

    assert kept(worker.project, worker) == []


def test_only_the_launcher_reports(worker: Worker) -> None:
    with pytest.raises(NotAllowed):
        worker.project.services.sessions.heard(
            worker.caller,
            worker.session.id,
            is_turn_active=True,
            last_line="",
            context_tokens=0,
            context_window=0,
            cost_usd=0,
            usage=[TODAY],
        )


def test_the_fill_is_shown_against_the_room_that_a_worker_has(worker: Worker) -> None:
    """Of a model with a window of a million tokens, a session uses no more than it may."""
    services = worker.project.services
    services.sessions.heard(
        PERSON,
        worker.session.id,
        is_turn_active=True,
        last_line="",
        context_tokens=150_000,
        context_window=1_000_000,
        cost_usd=0,
    )

    (shown,) = services.fleet.fleet_status(PERSON).sessions
    (listed,) = services.sessions.list_sessions(PERSON)
    assert (shown.context_tokens, shown.context_window) == (150_000, 200_000)
    assert (listed.context_tokens, listed.context_window) == (150_000, 200_000)
    assert services.hooks.answer(worker.caller, {"hook_event_name": "PostToolUse"})
