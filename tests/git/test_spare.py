"""The spare worktree: the next new task's, checked out ahead of it, with nothing of anybody's."""

from pathlib import Path

import pytest

from sf_mcp.core.errors import GitRefused
from sf_mcp.core.models import Oid
from sf_mcp.git.status import head, status
from tests.git.builders_repositories import Project, a_project, commit, git, is_clean, write


def a_stocked_project(path: Path) -> Project:
    project = a_project(path)
    project.worktrees.spare.make(project.target)
    assert project.worktrees.spare.is_there
    return project


def spare_of(project: Project) -> Path:
    return project.root / ".stoneforge" / "worktrees" / "spare"


def test_a_new_task_takes_the_spare(tmp_path: Path) -> None:
    project = a_stocked_project(tmp_path / "p")
    file = (spare_of(project) / "readme.md").stat().st_ino
    made = project.prepare("T12", "Add a thing")
    assert (made.path / "readme.md").stat().st_ino == file
    assert (made.branch, made.base) == ("sf/T12-add-a-thing", project.target)
    assert status(made.path).branch == made.branch
    assert is_clean(made.path)
    assert not project.worktrees.spare.is_there
    assert not spare_of(project).exists()


def test_it_is_a_worktree_like_any_other_from_then_on(tmp_path: Path) -> None:
    project = a_stocked_project(tmp_path / "p")
    made = project.prepare("T12")
    project.worktrees.spare.make(project.target)
    done = commit(made.path, {"new.txt": "new\n"}, env=project.session(made))
    assert project.forge.head_of(f"refs/heads/{made.branch}") == done
    with pytest.raises(AssertionError, match="stoneforge: refused"):
        git(made.path, "update-ref", "refs/heads/main", done, env=project.session(made))
    assert project.prepare("T12").path == made.path
    listed = git(made.path, "worktree", "list", "--porcelain")
    assert f"worktree {made.path}\nHEAD {done}\nbranch refs/heads/{made.branch}" in listed


def test_it_is_brought_to_where_the_target_has_moved_meanwhile(tmp_path: Path) -> None:
    project = a_stocked_project(tmp_path / "p")
    landed = project.land({"readme.md": None, "src/app.py": "four\n", "more/new.txt": "new\n"})
    made = project.prepare("T12")
    assert head(made.path) == made.base == landed
    assert is_clean(made.path)
    assert (made.path / "src/app.py").read_text() == "four\n"


def test_what_somebody_left_in_it_does_not_come_along(tmp_path: Path) -> None:
    project = a_stocked_project(tmp_path / "p")
    write(spare_of(project), {"readme.md": "changed\n", "left.txt": "left\n"})
    made = project.prepare("T12")
    assert (made.path / "readme.md").read_text() == "hello\n"
    assert is_clean(made.path)


def test_tasks_that_start_at_once_get_one_worktree_each(tmp_path: Path) -> None:
    project = a_stocked_project(tmp_path / "p")
    paths = [project.prepare(f"T{number}").path for number in (1, 2, 3)]
    assert len({path.resolve() for path in paths}) == 3
    assert all(is_clean(path) for path in paths)


def test_a_spare_that_a_crash_left_half_made_is_made_anew(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    spare = spare_of(project)
    spare.mkdir(parents=True)
    write(spare, {"half": "a checkout\n"})
    assert not project.worktrees.spare.is_there
    assert is_clean(project.prepare("T1").path)
    project.worktrees.spare.make(project.target)
    assert not (spare / "half").exists()
    assert is_clean(project.prepare("T2").path)


def test_a_crash_while_it_is_taken_is_repaired_by_the_next_call(tmp_path: Path) -> None:
    """After each of the steps that `become` takes before git runs."""
    project = a_stocked_project(tmp_path / "p")
    admins = project.forge.git_dir / "worktrees"
    (admins / "spare" / "stoneforge-whole").unlink()
    (admins / "spare").rename(admins / "T1")
    assert is_clean(project.prepare("T1").path)
    project.worktrees.spare.make(project.target)
    (admins / "spare" / "stoneforge-whole").unlink()
    (admins / "spare").rename(admins / "T2")
    spare_of(project).rename(spare_of(project).with_name("T2"))
    assert is_clean(project.prepare("T2").path)
    project.worktrees.spare.make(project.target)
    assert is_clean(project.prepare("T3").path)


def test_a_spare_that_git_cannot_use_is_replaced(tmp_path: Path) -> None:
    project = a_stocked_project(tmp_path / "p")
    (project.forge.git_dir / "worktrees" / "spare" / "index").write_text("not an index\n")
    made = project.prepare("T12")
    assert is_clean(made.path)
    assert status(made.path).branch == made.branch


def test_a_spare_of_an_unknown_commit_is_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    with pytest.raises(GitRefused, match="no commit"):
        project.worktrees.spare.make(Oid("1" * 40))
    assert not project.worktrees.spare.is_there
