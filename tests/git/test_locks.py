"""Stale lock files are removed, living ones never."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from sf_mcp import process
from tests.git.builders_repositories import a_project

LOCKS = [
    "HEAD.lock",
    "config.lock",
    "packed-refs.lock",
    "refs/heads/main.lock",
    "refs/heads/sf/T1-x.lock",
    "worktrees/T1/HEAD.lock",
    "worktrees/T1/index.lock",
]


def make_old(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - seconds, time.time() - seconds))
    return path


def test_every_kind_of_stale_lock_is_removed(tmp_path: Path) -> None:
    """Known defect 41: one stale HEAD.lock wedged every later update."""
    project = a_project(tmp_path / "p q")
    project.prepare()
    locks = {make_old(project.forge.git_dir / name, 60) for name in LOCKS}
    assert set(project.forge.clear_stale_locks()) == locks
    assert not any(lock.exists() for lock in locks)


def test_a_fresh_lock_is_left_alone(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    lock = make_old(project.forge.git_dir / "HEAD.lock", 0)
    assert project.forge.clear_stale_locks(older_than_seconds=60) == ()
    assert lock.exists()


@pytest.mark.parametrize("place", ["forge", "worktree"])
def test_a_lock_is_left_alone_while_a_git_process_works_there(tmp_path: Path, place: str) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    lock = make_old(project.forge.git_dir / "HEAD.lock", 60)
    living = process.spawn(
        ["git", "cat-file", "--batch-check"],
        cwd=project.forge.git_dir if place == "forge" else path,
        env=dict(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with living:
        assert living.stdin is not None
        assert living.stdout is not None
        living.stdin.write(b"main\n")
        living.stdin.flush()
        assert b"commit" in living.stdout.readline()  # it runs, and waits for more
        try:
            assert project.forge.clear_stale_locks() == ()
            assert lock.exists()
        finally:
            process.end_child(living)
    assert project.forge.clear_stale_locks() == (lock,)


def test_a_worktree_is_left_alone_while_a_git_process_is_adding_it(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    admin = project.forge.git_dir / "worktrees" / "T1"
    admin.mkdir(parents=True)
    (admin / "HEAD").write_text("0" * 40 + "\n")
    living = process.spawn(
        ["git", f"--git-dir={project.forge.git_dir}", "cat-file", "--batch-check"],
        cwd=admin,
        env=dict(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with living:
        assert living.stdin is not None
        assert living.stdout is not None
        living.stdin.write(b"main\n")
        living.stdin.flush()
        assert b"commit" in living.stdout.readline()  # it runs, and waits for more
        try:
            assert project.forge.drop_half_added() == ()
            assert admin.exists()
        finally:
            process.end_child(living)
    assert project.forge.drop_half_added() == (admin,)
    assert not admin.exists()
