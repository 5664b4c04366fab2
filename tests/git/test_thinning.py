"""Thinned snapshots lose their refs, and no kept ref ceases to lead to them."""

from pathlib import Path

import pytest

from sf_mcp.core.models import Oid, TaskId
from sf_mcp.git.command import GitFailed
from sf_mcp.git.snapshots import SNAPSHOTS, Snapshot, list_snapshots, snapshot, thin
from tests.git.builders_repositories import NOON, Project, a_project, git, write

T1 = TaskId("T1")
THINNED = f"{SNAPSHOTS}/T1/thinned"


def some_snapshots(folder: Path, number: int) -> tuple[Project, list[Snapshot]]:
    project = a_project(folder / "p")
    path = project.prepare().path
    for n in range(number):
        write(path, {"draft": f"{n}\n"})
        snapshot(project.forge, path, T1, "turn's end", NOON)
    return project, list(list_snapshots(project.forge, T1))


def reachable(project: Project) -> set[Oid]:
    """Every object that some ref of the forge leads to."""
    listed = git(project.forge.git_dir, "rev-list", "--objects", "--all")
    return {Oid(line.split(" ", 1)[0]) for line in listed.splitlines()}


def test_all_that_was_reachable_stays_so(tmp_path: Path) -> None:
    project, taken = some_snapshots(tmp_path, 9)
    before = reachable(project)
    thin(project.forge, T1, taken[:4], NOON)
    assert list_snapshots(project.forge, T1) == tuple(taken[4:])
    assert before <= reachable(project)
    thin(project.forge, T1, taken[4:8], NOON)
    assert list_snapshots(project.forge, T1) == (taken[8],)
    assert before <= reachable(project)
    prune = ("-c", "core.hooksPath=/dev/null", "gc", "--quiet", "--prune=now")
    git(project.forge.git_dir, *prune)
    for each in taken:
        assert git(project.forge.git_dir, "show", f"{each.commit}:draft") == f"{each.number - 1}"


def test_numbers_go_on_after_thinning(tmp_path: Path) -> None:
    project, taken = some_snapshots(tmp_path, 3)
    thin(project.forge, T1, taken[:2], NOON)
    path = project.root / ".stoneforge/worktrees/T1"
    write(path, {"draft": "more\n"})
    snapshot(project.forge, path, T1, "turn's end", NOON)
    assert [each.number for each in list_snapshots(project.forge, T1)] == [3, 4]


def test_more_than_one_commit_can_hold_is_thinned_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sf_mcp.git.snapshots.MOST_PARENTS", 3)
    project, taken = some_snapshots(tmp_path, 8)
    before = reachable(project)
    thin(project.forge, T1, taken[:7], NOON)
    assert before <= reachable(project)
    assert [each.number for each in list_snapshots(project.forge, T1)] == [8]


def test_a_kill_between_its_steps_is_made_good_by_the_next_time(tmp_path: Path) -> None:
    project, taken = some_snapshots(tmp_path, 5)
    lock = project.forge.git_dir / f"{taken[1].ref}.lock"
    lock.touch()
    with pytest.raises(GitFailed):  # as if killed: the first ref is gone, the second is not
        thin(project.forge, T1, taken[:3], NOON)
    lock.unlink()
    left = list_snapshots(project.forge, T1)
    assert [each.number for each in left] == [2, 3, 4, 5]
    held = project.forge.head_of(THINNED)
    thin(project.forge, T1, left[:2], NOON)
    assert project.forge.head_of(THINNED) == held
    assert [each.number for each in list_snapshots(project.forge, T1)] == [4, 5]


def test_a_ref_that_names_something_else_by_now_is_not_deleted(tmp_path: Path) -> None:
    project, taken = some_snapshots(tmp_path, 3)
    project.forge.compare_and_swap(taken[0].ref, new=project.target, old=taken[0].commit)
    with pytest.raises(GitFailed):
        thin(project.forge, T1, taken[:1], NOON)
    assert project.forge.head_of(taken[0].ref) == project.target
