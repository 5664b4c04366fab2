"""Snapshots hold what is not committed, and the worktree does not notice."""

import os
import subprocess
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


def fingerprint(project: Project, path: Path) -> dict[str, object]:
    """Every byte and time that a snapshot must leave as it was, in the worktree and its own git."""
    admin = project.forge.git_dir / "worktrees" / "T1"
    mine = [each for each in admin.rglob("*") if each.is_file()]
    files = [each for each in path.rglob("*") if not each.is_dir()]
    return {
        **{str(each): (each.read_bytes(), each.stat().st_mtime_ns) for each in mine},
        **{str(each): (each.lstat().st_mtime_ns, each.lstat().st_ctime_ns) for each in files},
    }


def test_index_head_and_files_are_the_very_same_afterwards(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    commit(path, {"a": "1", "b": "b", "staged": "1"})
    write(path, {"a": "2", "b": None, "staged": "2", "new": "n"})
    git(path, "add", "staged")
    before = fingerprint(project, path)
    assert take(project, path) is not None
    assert fingerprint(project, path) == before


def test_kinds_of_files_may_change_into_one_another(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    commit(path, {"file": "f", "folder/inside": "i", "plain": "p", "run.sh": "#!/bin/sh\n"})
    write(path, {"file": None, "folder/inside": None, "plain": None})
    (path / "folder").rmdir()
    write(path, {"file/now/deeper": "d", "folder": "a file now"})
    (path / "plain").symlink_to("nowhere")
    (path / "run.sh").chmod(0o755)
    made = take(project, path)
    assert made is not None
    listed = git(path, "ls-tree", "-r", "--format=%(objectmode) %(path)", made).splitlines()
    assert listed == [
        "100644 file/now/deeper",
        "100644 folder",
        "120000 plain",
        "100644 readme.md",
        "100755 run.sh",
        "100644 src/app.py",
    ]


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    names = [b"latin-\xe9", b'quote"back\\slash', b"tab\tnew\nline", b"-dash", b":(top)x", b"*?["]
    for name in names:
        (path / os.fsdecode(name)).write_text("x")
    made = take(project, path)
    assert made is not None
    raw = subprocess.run(
        ["git", "ls-tree", "-z", "--name-only", made], cwd=path, capture_output=True, check=True
    )
    assert {*names, b"readme.md", b"src"} == {*raw.stdout.split(b"\0")[:-1]}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_left_out_and_the_others_are_kept(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    write(path, {"secret": "s", "a": "1", "src/app.py": "changed\n"})
    (path / "secret").chmod(0)
    made = take(project, path)
    assert made is not None
    assert files_of(path, made) == ["a", "readme.md", "src/app.py"]
    assert git(path, "show", f"{made}:src/app.py") == "changed"


def test_it_says_when_why_and_for_which_session_it_was_taken(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    write(path, {"a": "1"})
    snapshot(project.forge, path, T1, "turn's end", NOON, session="d9a5-11")
    write(path, {"a": "2"})
    snapshot(project.forge, path, T1, "found (as it was)", NOON + timedelta(hours=1))
    found = list_snapshots(project.forge, T1)
    assert [(each.number, each.at, each.reason, each.session) for each in found] == [
        (1, NOON, "turn's end", "d9a5-11"),
        (2, NOON + timedelta(hours=1), "found (as it was)", ""),
    ]
