"""Looking: pages, trees, why something does not run, and the overview."""

from datetime import timedelta
from pathlib import Path

import pytest

from sf_mcp.core.errors import ConfigInvalid, InvalidInput, NotFound
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind
from sf_mcp.core.states import PlanState, TaskState
from sf_mcp.service import Services
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.service.workspace import Workspace
from tests.builders import (
    Project,
    a_merge_request,
    a_plan,
    a_project,
    a_proposal,
    a_task,
    a_worker,
    bring,
    dispatched,
    some_tasks,
)


def why(project: Project, task_id: str) -> str:
    return project.services.queries.why(PERSON, task_id).sentence


def listed(project: Project, **filters: object) -> list[str]:
    listing = project.services.queries.list_tasks(PERSON, **filters)  # pyright: ignore[reportArgumentType]
    return [task.id for task, _ in listing.tasks]


# -- lists -------------------------------------------------------------------------------------


def test_pages_follow_one_another_and_miss_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    ids = some_tasks(project, *[TaskDraft(title="t")] * 130)
    seen: list[str] = []
    after = ""
    for _ in range(10):
        listing = project.services.queries.list_tasks(PERSON, after=after)
        assert listing.total == 130
        seen += [task.id for task, _ in listing.tasks]
        after = listing.next_after
        if not after:
            break
    assert seen == ids


def test_a_page_goes_on_behind_a_task_that_has_left_the_list(tmp_path: Path) -> None:
    """Else a client that asks page by page begins anew for ever."""
    project = a_project(tmp_path)
    first, second, third = some_tasks(project, *[TaskDraft(title="t")] * 3)
    project.services.plans.cancel_task(PERSON, second)
    assert listed(project, state="open", after=second) == [third]
    with pytest.raises(InvalidInput, match="T2 is not in this list any more"):
        listed(project, state="ready", after=second)
    with pytest.raises(InvalidInput):
        listed(project, after="nonsense")
    assert listed(project, state="ready", after=first) == [third]


def test_tasks_are_listed_by_plan_and_state(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project, "Sprint")
    first = a_task(project, plan=plan, priority=4)
    urgent = a_task(project, plan=plan, priority=1)
    blocked = a_task(project, plan=plan, depends_on=[first])
    a_task(project)
    a_worker(project, urgent)
    assert listed(project, plan="Sprint") == [first, urgent, blocked]
    assert listed(project, plan="Sprint", state="ready") == [first]
    assert listed(project, state="blocked") == [blocked]
    assert listed(project, state="claimed") == [urgent]
    with pytest.raises(InvalidInput, match="no task state 'doing'"):
        listed(project, state="doing")
    with pytest.raises(NotFound):
        listed(project, plan="Nothing")


def test_the_tree_shows_each_subtree_once(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    base = a_task(project, plan=plan)
    left = a_task(project, plan=plan, depends_on=[base])
    right = a_task(project, plan=plan, depends_on=[base])
    top = a_task(project, plan=plan, depends_on=[left, right])
    lines = project.services.queries.dependency_tree(PERSON, top)
    assert [(line.depth, line.id, line.is_repeated) for line in lines] == [
        (0, top, False),
        (1, left, False),
        (2, base, False),
        (1, right, False),
        (2, base, True),
    ]


def test_a_task_is_shown_with_all_that_was_written_about_it(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    first = a_task(project, plan=plan)
    after = a_task(project, plan=plan, depends_on=[first])
    worker = a_worker(project, first)
    asked = worker.ask()
    project.services.questions.answer_question(PERSON, asked.id, answer="The first.")
    worker.hand_off()
    worker.end()
    request = a_merge_request(project, first)
    project.services.requests.send_back(PERSON, request.id, reason="no test")
    view = project.services.queries.get_task(PERSON, first)
    assert view.blocks == [after]
    assert [end for _, end in view.attempts] == ["handed_off go on", "merge_requested M1"]
    assert [handoff.remaining for handoff in view.handoffs] == ["the other half"]
    assert [note.detail for note in view.repair_notes] == ["no test"]
    assert view.answers == [("Which one?", "The first.")]
    assert view.summary == "done"


# -- why ---------------------------------------------------------------------------------------


def test_why_says_what_is_missing_in_every_state(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    states = [state for state in TaskState if state not in (TaskState.OPEN, TaskState.PROPOSED)]
    expected = {
        TaskState.CLAIMED: "is being worked on by worker-",
        TaskState.WAITING: "waits for the answer to Q",
        TaskState.IN_REVIEW: "is not merged: M",
        TaskState.MERGED: "nothing is missing",
        TaskState.CLOSED: "nothing is missing",
        TaskState.STUCK: "is stuck after 5 failed attempts",
        TaskState.CANCELLED: "was cancelled",
    }
    # Those that the train must leave alone come last.
    for state in sorted(states, key=lambda one: one is TaskState.IN_REVIEW):
        task_id = a_task(project, plan=plan, state=state)
        assert expected[state] in why(project, task_id)
    assert "nobody has accepted" in why(project, a_proposal(project))


def test_why_names_what_an_open_task_waits_for(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    first = a_task(project, plan=plan)
    second = a_task(project, plan=plan, depends_on=[first])
    answer = project.services.queries.why(PERSON, second)
    assert answer.sentence.startswith("T2 waits for T1 (open); T1 is ready and number 1 in line")
    assert answer.next_step == "sf serve"
    assert "nothing starts it: no fleet is running" in why(project, first)
    dispatched(project)
    third = a_task(project)
    assert "it starts in a moment" in why(project, third)


def test_why_tells_the_last_attempts_and_why_it_came_back(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    a_worker(project, task_id).end(EndKind.KILLED, "out of memory")
    project.clock.advance(minutes=1)
    request = a_merge_request(project, task_id)
    project.services.requests.send_back(PERSON, request.id, reason="no test")
    facts = project.services.queries.why(PERSON, task_id).facts
    assert facts[0] == "attempt 1: worker-1 ended as killed out of memory"
    assert facts[-1] == "sent back at 12:01 UTC (M1): person asks for changes: no test"


def test_why_says_of_work_that_came_back_too_often_that_it_did(tmp_path: Path) -> None:
    """Not that so and so many attempts failed: none has."""
    config = "checks: []\norchestrator: {maxSendBacks: 2}\nagents: {steward: {review: false}}\n"
    project = a_project(tmp_path, config=config)
    task_id = a_task(project)
    for number in range(2):
        request = a_merge_request(project, task_id, {"a.txt": f"{number}\n"})
        project.services.requests.send_back(PERSON, request.id, reason="no")
    assert project.task(task_id).state is TaskState.STUCK
    assert why(project, task_id) == "T1 is stuck: its work was sent back 2 times."


def test_why_of_something_unknown_is_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    for unknown in ("T9", "M9", "", "x" * 1000):
        with pytest.raises(NotFound):
            why(project, unknown)


# -- the overview ------------------------------------------------------------------------------


def test_the_overview_counts_and_lists(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\n")
    plan = a_plan(project, "Sprint 14")
    first = a_task(project, "claimed", plan=plan)
    a_worker(project, first).hear(cost_usd=1.5)
    a_task(project, "ready", plan=plan)
    a_task(project, "blocked", plan=plan, depends_on=[first])
    a_merge_request(project, a_task(project, "in review", plan=plan))
    bring(project, a_task(project, "stuck", plan=plan), TaskState.STUCK)
    status = project.services.fleet.fleet_status(PERSON)
    assert (status.ready, status.blocked) == (1, 1)
    assert status.counts == {"claimed": 1, "open": 2, "in_review": 1, "stuck": 1}
    assert [(line.title, line.done, line.total) for line in status.plans] == [("Sprint 14", 0, 5)]
    assert [line.title for line in status.next_ready] == ["ready"]
    assert [line.title for line in status.stuck] == ["stuck"]
    assert [(line.name, line.title) for line in status.sessions] == [("worker-1", "claimed")]
    assert [(line.id, line.status) for line in status.merges] == [("M1", "waiting for its checks")]
    assert [line.id for line in status.questions] == ["Q1"]
    assert status.cost_usd == 1.5
    assert status.newest_event == len(project.event_kinds())
    assert status.target.commit == project.target


def test_a_bad_edit_of_the_configuration_is_told_and_the_last_good_one_goes_on(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config="checks: []\norchestrator: {maxConcurrent: 1}\n")
    a_task(project)
    a_task(project)
    dispatched(project)
    project.configure("orchestrator: {maxConcurrent: many}\n")
    assert project.services.dispatch.next_order(PERSON) is None
    notes = project.services.fleet.fleet_status(PERSON).notes
    assert any("The last good configuration is in use" in note for note in notes)
    project.configure("checks: [\n")  # not even YAML
    assert project.services.dispatch.next_order(PERSON) is None
    assert len(project.services.fleet.fleet_status(PERSON).notes) == 2
    project.configure("checks: []\norchestrator: {maxConcurrent: 2}\n")
    assert len(project.services.fleet.fleet_status(PERSON).notes) == 1
    dispatched(project)


def test_a_configuration_that_was_never_good_is_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    project.services.close()
    project.configure("checks: [\n")
    project.services = Services(Workspace(project.root, project.clock))
    with pytest.raises(ConfigInvalid):
        project.services.fleet.fleet_status(PERSON)


# -- the log -----------------------------------------------------------------------------------


def test_the_log_is_read_forwards_or_from_its_end(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    for _ in range(5):
        a_plan(project)
    log = project.services.fleet.read_log
    everything = log(PERSON, after=0, limit=1000)
    assert [event.number for event in everything] == list(range(1, len(everything) + 1))
    assert log(PERSON, limit=2) == everything[-2:]
    assert log(PERSON, after=everything[-3].number) == everything[-2:]
    assert len(log(PERSON, limit=-1)) == 1
    assert [event.kind for event in log(PERSON, subject="P2")] == ["plan_created"]


def test_a_name_in_the_log_means_the_newest_session_of_that_name(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    first = a_worker(project, a_task(project))
    first.end()
    project.clock.advance(seconds=1)
    second = a_worker(project, a_task(project))
    assert first.session.name == second.session.name == "worker-1"
    log = project.services.fleet.read_log(PERSON, subject="worker-1")
    assert {event.subject for event in log} == {second.session.id}


def test_a_plan_shows_its_critical_path(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    view = project.services.plans.create_plan(
        PERSON,
        title="P",
        tasks=[
            TaskDraft(title="short", key="s", estimate_minutes=5),
            TaskDraft(title="long", key="l", estimate_minutes=50),
            TaskDraft(title="end", depends_on=["s", "l"]),
        ],
    )
    assert view.critical_path == ["T2", "T3"]
    assert view.plan.state is PlanState.ACTIVE
    assert view.plan.created_at == project.clock.now
    assert timedelta(0) == view.plan.updated_at - view.plan.created_at
