"""What was spent: by task, session, role and day, and coordination's share of it."""

from pathlib import Path

import pytest

from sf_mcp.core.errors import InvalidInput, NotFound
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind
from sf_mcp.service.costs import CostLine, CostReport
from sf_mcp.service.used import UsageReport
from tests.builders import Project, Worker, a_plan, a_project, a_task, dispatched

REVIEWED = "checks: []\n"
DAY_1, DAY_2 = "2026-03-01", "2026-03-02"


def uses(worker: Worker, day: str, thousands: int, cost_usd: float) -> None:
    """Report so many thousand tokens of each kind, a fifth of all of them coordination."""
    tokens = 1000 * thousands
    worker.project.services.sessions.heard(
        PERSON,
        worker.session.id,
        is_turn_active=True,
        last_line="",
        context_tokens=0,
        context_window=0,
        cost_usd=cost_usd,
        usage=[
            UsageReport(
                day=day,
                input_tokens=tokens,
                cache_write_tokens=2 * tokens,
                cache_read_tokens=6 * tokens,
                output_tokens=tokens,
                coordination_tokens=2 * tokens,
                cost_usd=cost_usd,
            )
        ],
    )


def cost(project: Project, by: str = "task", plan: str = "") -> CostReport:
    return project.services.costs.cost(PERSON, by=by, plan=plan)


def shown(report: CostReport) -> list[tuple[str, int, int, float]]:
    return [(line.key, line.sessions, line.tokens, line.cost_usd) for line in report.lines]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two tasks: one with a handoff, a review and an answered question; and a goal of no task."""
    project = a_project(tmp_path, config=REVIEWED)
    a_task(project, "Dear", plan=a_plan(project, "One"))
    first = dispatched(project)
    uses(first, DAY_1, 10, 1.0)
    first.hand_off()
    first.end(EndKind.HANDED_OFF)
    second = dispatched(project)
    uses(second, DAY_2, 20, 2.0)
    second.commit({"a.txt": "a\n"})
    second.request_merge()
    second.end(EndKind.MERGE_REQUESTED)
    project.run_train()
    steward = dispatched(project)
    uses(steward, DAY_2, 5, 0.5)
    steward.end(EndKind.STOPPED)
    a_task(project, "Cheap", plan=a_plan(project, "Two"))
    project.services.questions.set_goal(PERSON, goal="More")
    steward = dispatched(project)  # again; it says nothing before it ends
    steward.end(EndKind.STOPPED)
    for _ in range(3):
        worker = dispatched(project)
        match worker.session.subject:
            case "T2":
                uses(worker, DAY_2, 1, 0.1)
                worker.end(EndKind.STOPPED)
            case "Q1":
                uses(worker, DAY_2, 4, 0.4)
                worker.end(EndKind.STOPPED)
                project.services.questions.answer_question(PERSON, "Q1", answer="Later.")
            case _:
                pass
    return project


def test_a_task_has_its_workers_its_reviews_and_its_handoffs(project: Project) -> None:
    report = cost(project)
    assert shown(report) == [
        ("T1", 5, 350_000, 3.5),
        ("", 1, 40_000, 0.4),
        ("T2", 1, 10_000, 0.1),
    ]
    first = report.lines[0]
    assert (first.title, first.is_running) == ("Dear", True)  # a review is under way
    assert (first.input_tokens, first.cache_read_tokens) == (35_000, 210_000)
    assert (first.cache_write_tokens, first.output_tokens) == (70_000, 35_000)
    assert report.lines[1].title == "planning, and what has no task"


def test_the_total_and_coordinations_share_are_those_of_all(project: Project) -> None:
    report = cost(project)
    assert (report.total.tokens, report.total.coordination_tokens) == (400_000, 80_000)
    assert report.total.cost_usd == pytest.approx(4.0)
    assert report.total.cost_usd == pytest.approx(
        project.services.fleet.fleet_status(PERSON).cost_usd
    )
    assert report.coordination_share == 0.2
    assert report.summary.startswith("About 20 % of all tokens (an estimate) is coordination")
    assert "coordination_tokens" in report.estimates
    for by in ("session", "role", "day"):
        assert cost(project, by).total == report.total


def test_by_role_reviews_and_plans_stand_beside_the_work(project: Project) -> None:
    assert shown(cost(project, "role")) == [
        ("worker", 3, 310_000, 3.1),
        ("steward", 3, 50_000, 0.5),
        ("director", 1, 40_000, 0.4),
    ]


def test_by_day_the_days_are_in_order(project: Project) -> None:
    lines = cost(project, "day").lines
    assert [(line.key, line.tokens) for line in lines] == [(DAY_1, 100_000), (DAY_2, 300_000)]


def test_by_session_each_is_named_with_what_it_was_for(project: Project) -> None:
    report = cost(project, "session")
    assert len(report.lines) == 7
    dearest: CostLine = report.lines[0]
    assert (dearest.title, dearest.cost_usd) == ("worker-1 on T1", 2.0)


def test_of_one_plan_only_its_tasks_count(project: Project) -> None:
    assert [line.key for line in cost(project, plan="P2").lines] == ["T2"]
    assert cost(project, plan="P2").total.tokens == 10_000
    assert cost(project, plan="One").lines[0].key == "T1"
    with pytest.raises(NotFound):
        cost(project, plan="P9")


def test_what_cannot_be_listed_by_is_refused(project: Project) -> None:
    with pytest.raises(InvalidInput, match="task, session, role, day"):
        cost(project, "colour")


def test_where_nothing_was_spent_there_is_no_share(tmp_path: Path) -> None:
    report = cost(a_project(tmp_path))
    assert (report.lines, report.total.tokens, report.coordination_share) == ([], 0, None)
    assert report.summary == "No tokens are known yet."


def test_a_session_of_which_only_the_cost_is_known_counts_with_it(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    dispatched(project).hear(cost_usd=0.7)
    assert shown(cost(project)) == [("T1", 1, 0, 0.7)]
    assert [line.key for line in cost(project, "day").lines] == [DAY_1]
