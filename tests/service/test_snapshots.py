"""Snapshots as people see them, when they are taken, and which of them stay."""

import os
from pathlib import Path

import pytest

from sf_mcp.core.errors import NotFound
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, TaskId
from sf_mcp.core.states import SessionState, TaskState
from sf_mcp.core.thinning import NEWEST
from sf_mcp.git.snapshots import list_snapshots
from sf_mcp.service.snapshots import SnapshotView
from tests.builders import NOON, Project, Worker, a_project, a_task, a_worker, git, write
from tests.git.full_disk import no_room_for_objects
from tests.service.test_late_work import late_commit


def a_draft(worker: Worker, text: str, name: str = "draft.txt") -> None:
    write(worker.cwd, {name: text})


def turn_ends(worker: Worker) -> None:
    worker.project.services.work.turn_ended(PERSON, worker.session.id)


def listed(project: Project, task_id: str) -> list[SnapshotView]:
    return project.services.snapshots.list_snapshots(PERSON, task_id)


def numbers(project: Project, task_id: str) -> list[int]:
    return [each.number for each in list_snapshots(project.forge, TaskId(task_id))]


def test_each_end_of_a_turn_at_which_something_is_new_takes_one(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    turn_ends(worker)
    a_draft(worker, "one\n")
    turn_ends(worker)
    turn_ends(worker)
    a_draft(worker, "two\n")
    project.clock.advance(minutes=5)
    worker.end(EndKind.STOPPED)
    head = worker.git("rev-parse", "HEAD")
    assert [
        (each.number, each.at, each.reason, each.session, each.files, each.parent)
        for each in listed(project, worker.task_id)
    ] == [
        (2, project.clock.now, "session ended: stopped", "worker-1", 1, head),
        (1, NOON, "turn's end", "worker-1", 1, head),
    ]


def test_a_late_commit_is_listed_with_the_session_that_made_it(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.hand_off()
    late = late_commit(worker, subject="Add the parser")
    worker.end()
    (found,) = listed(project, worker.task_id)
    assert (found.reason, found.session) == ("late commit: Add the parser", "worker-1")
    assert (found.commit, found.files) == (late, 1)


def test_snapshots_of_a_task_that_has_ended_are_there_when_its_worktree_is_not(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"work.txt": "w\n"})
    worker.request_merge()
    a_draft(worker, "left behind\n")
    worker.end()
    project.run_train()
    assert not worker.cwd.exists()
    found = project.services.snapshots.get_snapshot(PERSON, worker.task_id)
    assert git(project.forge.git_dir, "show", f"{found.commit}:draft.txt") == "left behind"


def test_what_is_not_there_is_named_with_what_is(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    get = project.services.snapshots.get_snapshot
    with pytest.raises(NotFound, match="T1 has no snapshot: nothing was ever left uncommitted"):
        get(PERSON, worker.task_id)
    for text in "ab":
        a_draft(worker, text)
        turn_ends(worker)
    assert get(PERSON, worker.task_id).number == 2
    assert get(PERSON, worker.task_id, number=1).number == 1
    with pytest.raises(NotFound, match="no snapshot 7; there are 1, 2"):
        get(PERSON, worker.task_id, number=7)
    with pytest.raises(NotFound):
        project.services.snapshots.list_snapshots(PERSON, "T99")


def test_a_disk_that_is_full_at_a_sessions_end_costs_neither_the_end_nor_the_files(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    (worker.cwd / "big.bin").write_bytes(os.urandom(3 << 20))
    a_draft(worker, "half\n")
    before = {path.name: path.read_bytes() for path in worker.cwd.iterdir() if path.is_file()}
    with no_room_for_objects(project.forge.git_dir, tmp_path):
        worker.end(EndKind.KILLED)
    assert project.session(worker.session.id).state is SessionState.EXITED
    assert project.task(worker.task_id).state is TaskState.OPEN
    assert project.event_kinds(worker.task_id).count("snapshot_failed") == 1
    assert before == {
        path.name: path.read_bytes() for path in worker.cwd.iterdir() if path.is_file()
    }
    assert listed(project, worker.task_id) == []
    # Tried again before anything else happens to the files.
    a_worker(project, worker.task_id, with_worktree=True)
    (kept,) = listed(project, worker.task_id)
    assert (kept.reason, kept.files) == ("before it is used again", 2)


def test_old_ones_are_thinned_but_never_what_a_handoff_or_late_work_names(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    first = a_worker(project, a_task(project), with_worktree=True)
    a_draft(first, "for the handoff\n")
    first.hand_off()
    late_commit(first)
    first.end()
    assert numbers(project, first.task_id) == [1, 2]
    worker = a_worker(project, first.task_id, with_worktree=True)
    more = NEWEST + 10
    for n in range(more):
        project.clock.advance(seconds=1)
        a_draft(worker, f"{n}\n")
        turn_ends(worker)
    commits = [each.commit for each in list_snapshots(project.forge, worker.task_id)]
    project.services.snapshots.thin()
    # All of one hour: what is named, and the newest ones.
    assert numbers(project, worker.task_id) == [1, 2, *range(13, more + 3)]
    project.services.snapshots.thin()
    assert numbers(project, worker.task_id) == [1, 2, *range(13, more + 3)]
    holders = git(project.forge.git_dir, "rev-list", "--all").split()
    assert set(commits) <= set(holders)
    with pytest.raises(NotFound, match="no snapshot 3"):
        project.services.snapshots.get_snapshot(PERSON, worker.task_id, number=3)
