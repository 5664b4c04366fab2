"""What a plan has come to: every fact of the report, from the work that it tells of."""

from pathlib import Path

import pytest

from sf_mcp.core.errors import NotFound
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind
from sf_mcp.core.states import TaskState
from sf_mcp.service.reporting import PlanReport
from tests.builders import Project, a_plan, a_project, a_task, a_worker
from tests.service.builders_conflicts import a_resolved_conflict
from tests.service.builders_landing import config, one_request

LOG = "# Changes\n\n- old\n"
UNION = {"rule": "union", "paths": ["CHANGELOG.md"]}


def report(project: Project, plan: str = "") -> PlanReport:
    return project.services.reporting.report(PERSON, plan=plan)


def test_a_plan_that_is_done_says_who_did_what_in_which_time_and_at_what_cost(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}))
    plan = a_plan(project)
    task = a_task(project, "Add a thing", plan=plan)
    began = project.clock.now
    first = a_worker(project, task, with_worktree=True)
    first.hear(cost_usd=0.25)
    question = first.ask("Which one?")
    project.services.questions.answer_question(PERSON, question.id, answer="This one")
    project.clock.advance(minutes=10)
    facts = project.services.work.handoff_facts(first.caller)
    project.services.claims.record_handoff(
        first.caller,
        progress="half",
        remaining="the rest",
        decisions="JSON, not YAML",
        pitfalls="",
        next_step="go on",
        commit=facts.commit,
        snapshot=facts.snapshot,
    )
    first.end()
    second = a_worker(project, task, with_worktree=True)
    second.commit({"a.py": "a\n"}, "Add a.py")
    project.clock.advance(minutes=5)
    request = second.request_merge("Adds a.py")
    second.end()
    project.run_train()

    found = report(project, plan)
    (line,) = found.tasks
    assert (line.state, line.worked_seconds, line.cost_usd) == (TaskState.MERGED, 900, 0.25)
    assert [(one.session, one.end) for one in line.attempts] == [
        ("worker-1", "handed_off"),
        ("worker-1", "merge_requested"),
    ]
    landed = project.request(request.id).landed_commit
    assert [(one.commit, one.has_landed) for one in line.commits] == [(landed, True)]
    assert [(one.question, one.decision, one.by) for one in found.decisions] == [
        ("Which one?", "This one", "person"),
        ("", "JSON, not YAML", "worker-1"),
    ]
    assert [(one.name, one.runs, one.failed) for one in found.checks] == [("tests", 1, 0)]
    assert (found.landings, found.cost_usd, found.left) == (1, 0.25, [])
    assert (found.began_at, found.ended_at) == (began, project.clock.now)


def test_a_plan_under_way_says_what_is_left_and_what_is_committed_so_far(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    done = a_task(project, "Done", plan=plan, state=TaskState.MERGED)
    going = a_task(project, "Going", plan=plan)
    worker = a_worker(project, going, with_worktree=True)
    worker.commit({"b.py": "b\n"}, "Begin b.py")
    project.clock.advance(minutes=3)
    found = report(project)
    assert (found.left, found.ended_at) == ([going], None)
    second = found.tasks[1]
    assert [(one.subject, one.has_landed) for one in second.commits] == [("Begin b.py", False)]
    assert (second.worked_seconds, second.attempts[0].end) == (180, "")
    assert found.tasks[0].id == done


def test_what_was_sent_back_is_told_with_the_reason(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "test ! -e bad.py"}))
    request = one_request(project, {"bad.py": "bad\n"})
    project.run_train()
    (note,) = report(project).sent_back
    assert (note.task_id, note.merge_request_id) == (request.task_id, request.id)
    assert "tests" in note.reason
    (check,) = report(project).checks
    assert (check.name, check.failed >= 1) == ("tests", True)


def test_a_conflict_says_which_steward_resolved_it(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    request = a_resolved_conflict(project)
    (conflict,) = report(project).conflicts
    assert (conflict.task_id, conflict.how) == (request.task_id, "by steward-1")
    assert (conflict.paths, conflict.note) == (["src/app.py"], "steward-1: Both lines stay.")


def test_a_conflict_says_which_rule_resolved_it(tmp_path: Path) -> None:
    project = a_project(
        tmp_path, files={"CHANGELOG.md": LOG}, config=config(merge={"autoResolve": [UNION]})
    )
    plan = a_plan(project)
    for name in "ab":
        worker = a_worker(project, a_task(project, f"Add {name}", plan=plan), with_worktree=True)
        worker.commit({"CHANGELOG.md": f"{LOG}- {name}\n"})
        worker.request_merge()
        worker.end(EndKind.DONE)
    project.run_train()
    found = report(project)
    assert [task.state for task in found.tasks] == [TaskState.MERGED] * 2
    (conflict,) = found.conflicts
    assert (conflict.task_id, conflict.how) == (found.tasks[1].id, "by the rule union")
    assert conflict.paths == ["CHANGELOG.md"]
    assert [one.subject.startswith("Resolve") for one in found.tasks[1].commits] == [True, False]


def test_the_newest_plan_is_meant_unless_one_is_named(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    with pytest.raises(NotFound, match="no plan to report on"):
        report(project)
    for title in ("One", "Two"):
        a_plan(project, title)
    assert report(project).plan.title == "Two"
    assert report(project, "One").plan.id == "P1"
    with pytest.raises(NotFound):
        report(project, "Three")
