"""The radar over a project's live work: who conflicts with whom, known from rows and git alone."""

from pathlib import Path

import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, TaskId
from sf_mcp.core.radar import Hunk
from sf_mcp.core.states import TaskState
from tests.builders import Project, Worker, a_merge_request, a_project, a_task, a_worker, write

APP = "src/app.py"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def two_in_conflict(project: Project) -> tuple[Worker, Worker]:
    mine = a_worker(project, a_task(project, "Mine"), with_worktree=True)
    theirs = a_worker(project, a_task(project, "Theirs"), with_worktree=True)
    mine.commit({APP: "one\nmine\nthree\n"})
    theirs.commit({APP: "one\ntheirs\nthree\n"})
    return mine, theirs


def test_a_commit_is_seen_at_the_next_look(project: Project) -> None:
    mine, theirs = two_in_conflict(project)
    (found,) = project.services.radar.look().of(theirs.task_id)
    assert found.other == mine.task_id
    assert found.clash.paths == (APP,)
    assert found.clash.hunks == (Hunk(APP, "theirs", "mine"),)
    theirs.git("reset", "-q", "--hard", "HEAD~1")
    theirs.commit({"else.txt": "1\n"})
    assert project.services.radar.look().of(theirs.task_id) == []


def test_files_that_are_not_committed_are_seen_once_they_are_kept(project: Project) -> None:
    mine = a_worker(project, a_task(project, "Mine"), with_worktree=True)
    theirs = a_worker(project, a_task(project, "Theirs"), with_worktree=True)
    radar = project.services.radar
    write(mine.cwd, {APP: "mine\n"})
    theirs.commit({APP: "theirs\n"})
    assert radar.look().between == {}
    project.services.work.turn_ended(PERSON, mine.session.id)
    assert set(radar.look().between) == {(mine.task_id, theirs.task_id)}
    mine.git("checkout", "-q", "--", APP)
    mine.commit({"else.txt": "1\n"})
    assert radar.look().between == {}, "a commit after the snapshot is the newest work"


def test_every_live_task_is_in_it_and_no_ended_one(project: Project) -> None:
    request = a_merge_request(project, a_task(project, "In review"), {APP: "1\n"})
    handed_off = a_worker(project, a_task(project, "Open with a branch"), with_worktree=True)
    handed_off.commit({APP: "2\n"})
    handed_off.hand_off()
    handed_off.end()
    waiting = a_worker(project, a_task(project, "Waiting"), with_worktree=True)
    waiting.commit({APP: "3\n"})
    waiting.ask()
    waiting.end(EndKind.PARKED)
    assert project.task(waiting.task_id).state is TaskState.WAITING
    between = project.services.radar.look().between
    assert len(between) == 3
    project.run_train()
    assert project.task(request.task_id).state is TaskState.MERGED
    survey = project.services.radar.look()
    assert set(survey.between) == {(handed_off.task_id, waiting.task_id)}
    assert set(survey.with_target) == {handed_off.task_id, waiting.task_id}


def test_a_restart_finds_the_same(project: Project) -> None:
    mine, theirs = two_in_conflict(project)
    write(mine.cwd, {"new.txt": "mine\n"})
    theirs.commit({"new.txt": "theirs\n"})
    mine.hand_off()
    before = project.services.radar.look()
    assert before.between[mine.task_id, theirs.task_id].paths == ("new.txt", APP)
    project.reopen()
    assert project.services.radar.look() == before


def test_looking_writes_nothing_into_the_forge(project: Project) -> None:
    two_in_conflict(project)
    objects = project.forge.git_dir / "objects"
    before = {path for path in objects.rglob("*") if path.is_file()}
    assert project.services.radar.look().between
    assert {path for path in objects.rglob("*") if path.is_file()} == before


def test_a_branch_that_its_worker_deleted_or_moved_by_force_is_seen_as_it_is(
    project: Project,
) -> None:
    mine, theirs = two_in_conflict(project)
    branch = project.task(theirs.task_id).branch
    assert branch is not None
    project.forge.run("update-ref", f"refs/heads/{branch}", project.target)
    assert project.services.radar.look().between == {}
    project.forge.run("update-ref", "-d", f"refs/heads/{branch}")
    survey = project.services.radar.look()
    assert set(survey.commits) == {mine.task_id}


def test_which_requests_conflict_is_known_by_what_they_are_pinned_to(project: Project) -> None:
    requests = [
        a_merge_request(project, a_task(project, title), files)
        for title, files in (("a", {APP: "a\n"}), ("b", {APP: "b\n"}), ("c", {"c.txt": "c\n"}))
    ]
    pinned = {request.id: request.commit for request in requests}
    a, b, _ = pinned
    found = project.services.radar.conflicting(pinned)
    assert found == {a: frozenset({b}), b: frozenset({a})}
    assert project.services.radar.conflicting({}) == {}


def test_who_touches_a_path_is_known(project: Project) -> None:
    mine, theirs = two_in_conflict(project)
    radar = project.services.radar
    radar.look()
    assert radar.touching([APP, "src", "src/", "readme.md"]) == {
        path: [mine.task_id, theirs.task_id] for path in (APP, "src", "src/")
    }
    assert radar.touching([APP], but=mine.task_id) == {APP: [theirs.task_id]}
    assert radar.touched()[TaskId(mine.task_id)] == {APP}
