"""Dispatch: what is started next, and that no broken task stands in the way of the others."""

import shutil
from pathlib import Path

from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.models import EndKind, Role
from sf_mcp.core.states import SessionState, TaskState
from sf_mcp.service.drafts import TaskDraft
from tests.builders import (
    NOON,
    Project,
    a_merge_request,
    a_plan,
    a_project,
    a_task,
    a_worker,
    dispatched,
    git,
    some_tasks,
)


def subjects(project: Project) -> list[str]:
    """Start everything that can be started; return for what, in order."""
    found: list[str] = []
    while order := project.services.dispatch.next_order(PERSON):
        found.append(order.session.subject)
    return found


def test_an_order_says_where_and_as_whom_the_session_works(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, "Add a thing")
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    assert (order.session.subject, order.session.state) == (task_id, SessionState.STARTING)
    assert order.cwd == str(project.layout.worktrees / "T1")
    assert order.environment["GIT_AUTHOR_NAME"] == "Ada Lovelace"
    assert order.message.startswith("Your task is T1: Add a thing")
    assert not order.is_resume
    assert order.token not in repr(order.session)


def test_urgent_tasks_go_first_and_then_the_oldest(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    some_tasks(
        project,
        TaskDraft(title="1", priority=4),
        TaskDraft(title="2", priority=3),
        TaskDraft(title="3", priority=3),
        TaskDraft(title="4", key="d", priority=5),
        TaskDraft(title="5", priority=1, depends_on=["d"]),
        plan=plan,
    )
    assert subjects(project) == ["T4", "T2", "T3", "T1"]


def test_no_more_than_the_configured_number_run_at_once(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\norchestrator: {maxConcurrent: 2}\n")
    for _ in range(3):
        a_task(project)
    assert subjects(project) == ["T1", "T2"]
    assert "all 2 slots are taken" in project.services.queries.why(PERSON, "T3").sentence
    project.configure("checks: []\norchestrator: {maxConcurrent: 3}\n")
    assert subjects(project) == ["T3"]


def test_a_finished_worker_frees_its_slot_when_its_process_has_ended(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\norchestrator: {maxConcurrent: 1}\n")
    a_task(project)
    a_task(project)
    worker = dispatched(project)
    worker.hand_off()
    assert subjects(project) == []
    worker.end()
    assert subjects(project) == ["T1"]


def test_no_session_is_started_for_a_task_while_the_last_one_lives(tmp_path: Path) -> None:
    """Row 22 of the known defects: two sessions on one branch."""
    project = a_project(tmp_path)
    a_task(project)
    worker = dispatched(project)
    worker.hand_off()
    assert project.task(worker.task_id).state is TaskState.OPEN
    assert subjects(project) == []
    worker.end()
    assert subjects(project) == [worker.task_id]


def test_reviews_come_before_new_work_and_have_slots_of_their_own(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\norchestrator: {maxConcurrent: 1}\n")
    a_merge_request(project, a_task(project))
    project.run_train()
    a_task(project, priority=1)
    assert subjects(project) == ["M1", "T2"]


def test_one_broken_task_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Row 18 of the known defects: it stopped all dispatch."""
    project = a_project(tmp_path)
    broken = a_task(project, priority=1)
    fine = a_task(project)
    # Something that is no folder lies where its worktree should be.
    project.layout.worktrees.mkdir()
    (project.layout.worktrees / broken).write_text("in the way")
    assert subjects(project) == [fine]
    assert project.task(broken).state is TaskState.OPEN
    (_, end), *_ = project.services.queries.get_task(PERSON, broken).attempts
    assert end.startswith("failed_to_start")
    assert (
        "after the last attempts at it failed"
        in project.services.queries.why(PERSON, broken).sentence
    )


def test_fifty_broken_tasks_do_not_hold_up_the_next(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    for task_id in some_tasks(project, *[TaskDraft(title="t", priority=1)] * 55):
        a_worker(project, task_id).end(EndKind.KILLED)
    fine = a_task(project, priority=5)
    assert subjects(project) == [fine]


def test_each_failure_in_a_row_doubles_the_wait(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    dispatch = project.services.dispatch
    for wait in (2, 4, 8):
        a_worker(project, task_id).end(EndKind.KILLED)
        assert dispatch.next_order(PERSON) is None
        waited = dispatch.seconds_until_retry()
        assert waited is not None
        assert 0.75 * wait <= waited <= 1.25 * wait
        project.clock.advance(seconds=waited)
    assert dispatched(project).task_id == task_id


def test_a_good_end_ends_the_waiting(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    for _ in range(3):
        a_worker(project, task_id).end(EndKind.KILLED)
    a_worker(project, task_id).hand_off()
    assert project.services.dispatch.seconds_until_retry() is None


def test_what_is_wrong_for_all_pauses_the_fleet_and_uses_up_no_attempts(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    git(project.root, "config", "--unset", "user.name")
    git(project.root, "config", "--unset", "user.email")
    tasks = [a_task(project) for _ in range(3)]
    assert subjects(project) == []
    paused = project.services.fleet.fleet_status(PERSON).paused
    assert "Git does not know who you are" in paused
    assert "git config --global user.name" in paused
    git(project.root, "config", "user.name", "Ada")
    git(project.root, "config", "user.email", "ada@example.org")
    project.services.fleet.resume_fleet(PERSON)
    assert subjects(project) == tasks


def test_a_task_reserved_for_a_session_that_is_gone_is_set_free(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    with project.services.workspace.write(SERVER) as tx:
        tx.edit_task(project.task(task_id), reserved_for="gone", reserved_until=NOON)
    assert subjects(project) == []
    project.services.lease_watch.release_reservations(SERVER)
    assert subjects(project) == [task_id]


def test_a_paused_fleet_starts_nothing_and_says_why(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    project.services.fleet.pause_fleet(PERSON, reason="lunch")
    assert subjects(project) == []
    assert "the fleet is paused: lunch" in project.services.queries.why(PERSON, "T1").sentence
    project.services.fleet.resume_fleet(PERSON)
    assert subjects(project) == ["T1"]


def test_a_fleet_that_has_cost_all_it_may_starts_no_worker_and_says_why(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\nbudget: {fleetUsd: 10}\n")
    a_task(project)
    a_task(project)
    dispatched(project).hear(cost_usd=10)
    assert subjects(project) == []
    assert "has cost $10.00 of $10.00" in project.services.queries.why(PERSON, "T2").sentence


def test_an_idle_fleet_has_nothing_to_start_and_nothing_to_wait_for(tmp_path: Path) -> None:
    """Row 36 of the known defects: an idle fleet spent tokens."""
    project = a_project(tmp_path)
    a_task(project, state=TaskState.MERGED)
    a_plan(project, "Empty")
    project.clock.advance(minutes=600)
    assert subjects(project) == []
    assert project.services.dispatch.seconds_until_retry() is None


def test_titles_that_start_alike_share_nothing(tmp_path: Path) -> None:
    """Row 5 of the known defects: starting the second deleted the first's uncommitted work."""
    project = a_project(tmp_path)
    title = "Add user invitation API with all of its routes and "
    a_task(project, title + "tests")
    a_task(project, title + "documents")
    first = dispatched(project)
    (first.cwd / "draft.txt").write_text("not committed yet")
    second = dispatched(project)
    assert first.cwd != second.cwd
    assert first.git("branch", "--show-current") != second.git("branch", "--show-current")
    assert (first.cwd / "draft.txt").read_text() == "not committed yet"


def test_a_worktree_starts_from_the_target_of_that_moment(tmp_path: Path) -> None:
    """Row 33 of the known defects: a worktree started from a stale base."""
    project = a_project(tmp_path)
    plan = a_plan(project)
    first = a_task(project, plan=plan)
    second = a_task(project, plan=plan, depends_on=[first])
    old = project.target
    a_merge_request(project, first)
    project.run_train()
    worker = dispatched(project)
    assert worker.task_id == second
    assert worker.git("rev-parse", "HEAD") == project.target != old
    assert (worker.cwd / "src/t1.py").exists()


def test_a_worktree_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    worker = dispatched(project)
    head = worker.commit({"a.txt": "a\n"})
    worker.end(EndKind.STOPPED)
    shutil.rmtree(worker.cwd)
    again = dispatched(project)
    assert again.git("rev-parse", "HEAD") == head
    assert (again.cwd / "a.txt").exists()


def test_a_headless_director_works_in_a_checkout_of_the_target(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    project.services.questions.set_goal(PERSON, goal="Make it so")
    director = dispatched(project)
    assert director.session.role is Role.DIRECTOR
    assert git(director.cwd, "rev-parse", "HEAD") == project.target
    assert director.cwd != project.root


def test_the_launcher_starts_nothing_when_it_may_not(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    directives = project.services.launcher.directives(PERSON, [], False)
    assert not directives.has_news
    directives = project.services.launcher.directives(PERSON, [], True)
    assert directives.order is not None


# -- files of sessions -----------------------------------------------------------------------------


def snapshots(project: Project, task_id: str) -> list[str]:
    found = project.forge.refs_below(f"refs/stoneforge/snapshots/{task_id}")
    return list(found.values())


def test_every_end_of_a_turn_and_of_a_session_keeps_what_is_not_committed(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    worker = dispatched(project)
    (worker.cwd / "draft.txt").write_text("one")
    project.services.work.turn_ended(PERSON, worker.session.id)
    (worker.cwd / "draft.txt").write_text("two")
    worker.end(EndKind.KILLED)
    kept = {
        git(project.forge.git_dir, "show", f"{snapshot}:draft.txt")
        for snapshot in snapshots(project, "T1")
    }
    assert "two" in kept


def test_an_end_is_recorded_even_when_no_snapshot_can_be_made(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    worker = dispatched(project)
    (worker.cwd / "draft.txt").write_text("one")
    # Nothing can be written to the forge any more.
    objects = project.forge.git_dir / "objects"
    objects.rename(objects.with_name("objects-away"))
    worker.end(EndKind.KILLED)
    objects.with_name("objects-away").rename(objects)
    assert project.session(worker.session.id).state is SessionState.EXITED
    assert project.task("T1").state is TaskState.OPEN
    assert "snapshot_failed" in project.event_kinds("T1")
    assert (worker.cwd / "draft.txt").read_text() == "one"


def test_a_handoff_of_a_full_context_is_written_by_the_server(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project)
    worker = dispatched(project)
    head = worker.commit({"a.txt": "a\n"}, "Half of it")
    (worker.cwd / "draft.txt").write_text("rest")
    project.services.work.take_over_context(PERSON, worker.session.id)
    project.services.work.take_over_context(PERSON, worker.session.id)  # again: nothing
    worker.end(EndKind.CONTEXT_FULL)
    successor = dispatched(project)
    (handoff,) = project.services.claims.claim_task(successor.caller).handoffs
    assert handoff.by_server
    assert handoff.commit == head
    assert handoff.snapshot is not None
    assert "Half of it" in handoff.progress
    assert "uncommitted files" in handoff.next_step  # the brief names their snapshot beside it
    assert (successor.cwd / "draft.txt").read_text() == "rest"
