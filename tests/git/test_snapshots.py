"""Snapshots hold what is not committed, and the worktree does not notice."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from sf_mcp.core.models import Oid, TaskId
from sf_mcp.git.snapshots import list_snapshots, snapshot
from tests.git.builders_repositories import (
    NOON,
    Project,
    a_project,
    a_repository,
    commit,
    files_of,
    git,
    project_of,
    try_git,
    write,
)

T1 = TaskId("T1")


def take(project: Project, path: Path) -> Oid | None:
    return snapshot(project.forge, path, T1, "a test", NOON)


def state(path: Path) -> tuple[str, ...]:
    """What a snapshot must not change."""
    return (
        git(path, "status", "--porcelain=v2", "--branch", "--untracked-files=all"),
        git(path, "ls-files", "--stage"),
        git(path, "reflog", "show", "HEAD"),
    )


def test_it_holds_changed_staged_deleted_and_new_files_but_not_ignored_ones(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path / "p p")
    path = project.prepare().path
    commit(path, {".gitignore": "*.log\n", "gone": "g", "staged": "1", "kept": "k"})
    write(
        path,
        {
            "src/app.py": "changed\n",
            "gone": None,
            "staged": "2",
            "new ü\nfile": "n",
            "deep/er/new": "d",
            "x.log": "ignored",
        },
    )
    git(path, "add", "staged")
    write(path, {"staged": "3"})
    before = state(path)
    made = take(project, path)
    assert made is not None
    assert state(path) == before
    assert files_of(path, made) == [
        ".gitignore",
        "deep/er/new",
        "kept",
        "new ü\nfile",
        "readme.md",
        "src/app.py",
        "staged",
    ]
    assert git(path, "show", f"{made}:staged") == "3"
    assert git(path, "rev-parse", f"{made}^") == git(path, "rev-parse", "HEAD")
    assert git(path, "log", "-1", "--format=%s %cI", made) == (
        "T1: snapshot (a test) 2026-03-01T12:00:00+00:00"
    )


def test_a_clean_worktree_needs_none(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    assert take(project, project.prepare().path) is None
    assert list_snapshots(project.forge, T1) == ()


def test_only_what_is_new_since_the_last_one_makes_another(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    write(path, {"a": "1"})
    first = take(project, path)
    assert take(project, path) is None
    write(path, {"a": "2"})
    second = take(project, path)
    third_parent = commit(path, {"b": "b"})
    write(path, {"c": "c"})
    third = snapshot(project.forge, path, T1, "later", NOON + timedelta(minutes=1))
    found = list_snapshots(project.forge, T1)
    assert [each.commit for each in found] == [first, second, third]
    assert [each.number for each in found] == [1, 2, 3]
    assert found[2].parent == third_parent


def test_numbers_go_on_after_ten(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    made: list[Oid | None] = []
    for n in range(12):
        write(path, {"a": str(n)})
        made.append(take(project, path))
    assert [each.commit for each in list_snapshots(project.forge, T1)] == made


def test_tasks_whose_ids_start_alike_do_not_share_snapshots(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare("T12").path
    write(path, {"a": "1"})
    snapshot(project.forge, path, TaskId("T12"), "x", NOON)
    assert list_snapshots(project.forge, T1) == ()
    assert len(list_snapshots(project.forge, TaskId("T12"))) == 1


@pytest.mark.parametrize("operation", ["merge", "rebase", "cherry-pick"])
def test_it_works_in_the_middle_of_a_conflict(tmp_path: Path, operation: str) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    commit(path, {"src/app.py": "mine\n"})
    project.land({"src/app.py": "theirs\n"})
    assert try_git(path, operation, "main").returncode != 0
    before = state(path)
    made = take(project, path)
    assert made is not None
    assert state(path) == before
    assert "<<<<<<<" in git(path, "show", f"{made}:src/app.py")


def test_it_works_on_a_detached_and_on_an_unborn_head(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    write(path, {"a": "1"})
    git(path, "checkout", "-q", "--detach")
    assert take(project, path) is not None
    git(path, "checkout", "-q", "--orphan", "unborn")
    write(path, {"a": "2"})
    made = take(project, path)
    assert made is not None
    assert git(path, "log", "--format=%P", "-1", made) == ""
    assert git(path, "show", f"{made}:a") == "2"


def test_repositories_inside_are_taken_as_plain_files(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    git(path, "init", "-q", "empty")
    write(path, {"empty/file": "e"})
    a_repository(path / "vendor" / "lib", {"a": "a", ".gitignore": "*.o\n"})
    write(path, {"vendor/lib/uncommitted": "u", "vendor/lib/x.o": "ignored", "plain": "p"})
    a_repository(path / "vendor" / "lib" / "deeper", {"d": "d"})
    made = take(project, path)
    assert made is not None
    assert files_of(path, made) == [
        "empty/file",
        "plain",
        "readme.md",
        "src/app.py",
        "vendor/lib/.gitignore",
        "vendor/lib/a",
        "vendor/lib/deeper/d",
        "vendor/lib/uncommitted",
    ]
    assert take(project, path) is None


def test_a_populated_submodule_does_not_stop_it(tmp_path: Path) -> None:
    inner = a_repository(tmp_path / "inner")
    root = a_repository(tmp_path / "p")
    allow = ("-c", "protocol.file.allow=always")
    git(root, *allow, "submodule", "add", "-q", str(inner), "lib")
    commit(root, {})
    project = project_of(root)
    path = project.prepare().path
    git(path, *allow, "submodule", "update", "--init", "-q")
    write(path, {"lib/readme.md": "dirty\n", "a": "1"})
    made = take(project, path)
    assert made is not None
    assert git(path, "show", f"{made}:a") == "1"


def test_no_hook_and_no_editor_runs(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    hooks = tmp_path / "hooks"
    for name in ("pre-commit", "post-commit", "reference-transaction", "post-index-change"):
        write(hooks, {name: f"#!/bin/sh\ntouch '{tmp_path}/ran'\nexit 1\n"})
        (hooks / name).chmod(0o755)
    git(path, "config", "--worktree", "core.hooksPath", str(hooks))
    write(path, {"a": "1"})
    assert take(project, path) is not None
    assert not (tmp_path / "ran").exists()


def test_a_change_in_the_instant_of_the_last_index_write_is_seen(tmp_path: Path) -> None:
    """Git rereads files as young as its index ("racy git"): the copy must be as old as it is."""
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    git(path, "config", "core.trustctime", "false")
    instant = (1_700_000_000, 1_700_000_000)
    write(path, {"src/app.py": "before\n"})
    os.utime(path / "src/app.py", instant)
    git(path, "add", "src/app.py")
    write(path, {"src/app.py": "after!\n"})
    os.utime(path / "src/app.py", instant)
    os.utime(project.forge.git_dir / "worktrees/T1/index", instant)
    made = take(project, path)
    assert made is not None
    assert git(path, "show", f"{made}:src/app.py") == "after!"


def test_a_lock_on_the_index_does_not_stop_it(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    (project.forge.git_dir / "worktrees/T1/index.lock").touch()
    write(path, {"a": "1"})
    assert take(project, path) is not None
