"""Worktrees: keyed by id, never emptied without a snapshot, whole again after any crash."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from sf_mcp.core.errors import GitRefused, InvalidInput
from sf_mcp.core.models import Oid, TaskId
from sf_mcp.git.command import GitFailed, run_git
from sf_mcp.git.records import branch_name
from sf_mcp.git.snapshots import list_snapshots
from sf_mcp.git.status import head, status
from sf_mcp.git.worktrees import Kept, Removed
from tests.git.builders_repositories import (
    Project,
    a_project,
    a_repository,
    commit,
    files_of,
    git,
    is_clean,
    project_of,
    try_git,
    write,
)

T1 = TaskId("T1")


@pytest.mark.parametrize(
    ("title", "branch"),
    [
        ("Add user invitation API", "sf/T12-add-user-invitation-api"),
        ('Use `touch x` and $(id) in "quotes"', "sf/T12-use-touch-x-and-id-in-quotes"),
        ("🎉🎉", "sf/T12"),
        ("", "sf/T12"),
        ("日本語", "sf/T12"),
        ("--force /../..//.lock .git @{u}", "sf/T12-force-lock-git-u"),
        ("Größe ändern", "sf/T12-groe-andern"),
        ("two\nlines\x00", "sf/T12-two-lines"),
        ("x" * 10_000, "sf/T12-" + "x" * 40),
        ("a word " * 2_000, "sf/T12-a-word-a-word-a-word-a-word-a-word-a"),
    ],
)
def test_any_title_makes_a_branch_that_git_accepts(tmp_path: Path, title: str, branch: str) -> None:
    assert branch_name(TaskId("T12"), title) == branch
    assert len(branch) <= len("sf/T12-") + 40
    git(tmp_path, "check-ref-format", "--branch", branch)


def test_a_worktree_starts_on_the_target_with_a_branch_of_its_own(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    made = project.prepare("T12", "Add a thing")
    assert made.path == project.root / ".stoneforge" / "worktrees" / "T12"
    assert (made.branch, made.base, made.note) == ("sf/T12-add-a-thing", project.target, "")
    assert status(made.path).branch == made.branch
    assert head(made.path) == project.target
    assert is_clean(made.path)


def test_tasks_whose_titles_start_alike_share_nothing(tmp_path: Path) -> None:
    """Known defect 5: the second deleted the first's uncommitted work."""
    project = a_project(tmp_path / "p")
    title = "Add the very same long beginning to every one of the titles " * 3
    one = project.prepare("T1", title + "one")
    write(one.path, {"src/app.py": "uncommitted\n", "new.txt": "untracked\n"})
    other = project.prepare("T11", title + "two")
    assert one.path != other.path
    assert one.branch != other.branch
    assert (one.path / "src/app.py").read_text() == "uncommitted\n"
    assert (one.path / "new.txt").read_text() == "untracked\n"


def test_the_same_task_gets_the_same_worktree_with_its_work(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    first = project.prepare("T1", "A title")
    mine = commit(first.path, {"x": "x"})
    write(first.path, {"y": "y", "src/app.py": "changed\n"})
    project.land({"landed": "later"})
    again = project.worktrees.prepare(T1, "Another title", project.target)
    assert again == first
    assert head(again.path) == mine
    assert status(again.path).changed == ("src/app.py",)
    assert status(again.path).untracked == ("y",)


def test_a_branch_without_work_moves_on_to_the_newest_target(tmp_path: Path) -> None:
    """Known defect 33: a worktree started from a stale base."""
    project = a_project(tmp_path / "p")
    project.prepare()
    landed = project.land({"new": "code"})
    again = project.prepare()
    assert again.base == landed
    assert head(again.path) == landed
    assert (again.path / "new").read_text() == "code"


def test_a_stale_lock_on_the_index_does_not_hold_a_task_back(tmp_path: Path) -> None:
    """Known defect 41, in a worktree."""
    project = a_project(tmp_path / "p")
    project.prepare()
    for lock in ("index.lock", "HEAD.lock"):
        (project.forge.git_dir / "worktrees" / "T1" / lock).touch()
    landed = project.land({"new": "code"})
    assert project.prepare().base == landed


def test_a_base_that_is_not_there_is_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    with pytest.raises(GitRefused, match="no commit"):
        project.worktrees.prepare(T1, "x", Oid("1" * 40))


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "-x"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    project = a_project(tmp_path / "p")
    with pytest.raises(InvalidInput):
        project.worktrees.prepare(TaskId(name), "x", project.target)


def test_another_branch_or_a_detached_head_is_left_but_not_lost(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    made = project.prepare()
    git(made.path, "checkout", "-q", "--detach")
    stray = commit(made.path, {"stray": "x"})
    assert status(made.path).branch is None
    again = project.prepare()
    assert status(again.path).branch == made.branch
    assert again.note == ""
    assert stray in project.forge.refs_below("refs/stoneforge/kept").values()


def test_a_rebase_under_way_is_left_and_reported(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    made = project.prepare()
    commit(made.path, {"src/app.py": "mine\n"})
    project.land({"src/app.py": "theirs\n"})
    assert try_git(made.path, "rebase", "main").returncode != 0
    again = project.prepare()
    assert "rebase is under way" in again.note
    found = status(made.path)
    assert (found.operation, found.conflicted) == ("rebase", ("src/app.py",))


def test_removing_keeps_branch_commits_and_uncommitted_files(tmp_path: Path) -> None:
    """Known defect 26: merging force-removed the worktree and deleted the branch."""
    project = a_project(tmp_path / "p")
    made = project.prepare()
    mine = commit(made.path, {"x": "x", ".gitignore": "*.log\n"})
    write(made.path, {"untracked": "u", "src/app.py": "changed\n", "ignored.log": "i"})
    removed = project.worktrees.remove(T1)
    assert isinstance(removed, Removed)
    assert removed.snapshot is not None
    assert not made.path.exists()
    assert project.forge.head_of(f"refs/heads/{made.branch}") == mine
    assert files_of(project.forge.git_dir, removed.snapshot) == [
        ".gitignore",
        "readme.md",
        "src/app.py",
        "untracked",
        "x",
    ]
    assert git(project.forge.git_dir, "show", f"{removed.snapshot}:src/app.py") == "changed"
    assert "worktrees/T1" not in git(project.forge.git_dir, "worktree", "list")


def test_removing_a_clean_or_missing_worktree_needs_no_snapshot(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    project.prepare()
    assert project.worktrees.remove(T1) == Removed(snapshot=None)
    assert project.worktrees.remove(T1) == Removed(snapshot=None)
    assert list_snapshots(project.forge, T1) == ()


def test_a_removed_worktree_comes_back_with_its_commits(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    made = project.prepare()
    mine = commit(made.path, {"x": "x"})
    project.worktrees.remove(T1)
    project.land({"later": "l"})
    again = project.prepare(title="Now called otherwise")
    assert (again.branch, again.base) == (made.branch, made.base)
    assert head(again.path) == mine


def test_a_detached_commit_survives_the_removal_of_its_worktree(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    made = project.prepare()
    git(made.path, "checkout", "-q", "--detach")
    stray = commit(made.path, {"stray": "x"})
    project.worktrees.remove(T1)
    assert stray in project.forge.refs_below("refs/stoneforge/kept").values()


def test_a_worktree_with_a_repository_inside_is_kept(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    made = project.prepare()
    a_repository(made.path / "vendor" / "lib")
    kept = project.worktrees.remove(T1)
    assert isinstance(kept, Kept)
    assert "vendor/lib" in kept.reason
    assert kept.snapshot is not None
    assert (made.path / "vendor/lib/.git").is_dir()
    assert project.prepare().path == made.path


def assert_whole(project: Project, mine: Oid) -> None:
    again = project.prepare()
    assert status(again.path).branch == again.branch
    assert head(again.path) == mine
    assert (again.path / "src/app.py").read_text() == "changed\n"
    assert (again.path / "untracked").read_text() == "u"
    commit(again.path, {"goes": "on"})


@pytest.mark.parametrize(
    "broken",
    ["no .git file", "no git directory", "no index", "damaged index", "moved away", "half removed"],
)
def test_a_worktree_with_work_is_mended_with_the_work_in_it(tmp_path: Path, broken: str) -> None:
    project = a_project(tmp_path / "p")
    made = project.prepare()
    mine = commit(made.path, {"x": "x"})
    write(made.path, {"untracked": "u", "src/app.py": "changed\n"})
    admin = project.forge.git_dir / "worktrees" / "T1"
    match broken:
        case "no .git file":
            (made.path / ".git").unlink()
        case "no git directory":
            shutil.rmtree(admin)
        case "no index":
            (admin / "index").unlink()
        case "damaged index":
            (admin / "index").write_bytes(b"DIRC\0\0\0\2 cut short")
        case "moved away":
            made.path.rename(made.path.with_name(".T1.mending"))
        case _:
            made.path.rename(made.path.with_name(".T1.leaving"))
    assert_whole(project, mine)


def test_a_moved_project_finds_its_worktrees(tmp_path: Path) -> None:
    project = a_project(tmp_path / "before")
    made = project.prepare()
    mine = commit(made.path, {"x": "x"})
    write(made.path, {"untracked": "u", "src/app.py": "changed\n"})
    (tmp_path / "before").rename(tmp_path / "after")
    assert_whole(project_of(tmp_path / "after"), mine)


def test_half_a_checkout_without_a_record_is_made_whole(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", {f"f{n}": f"{n}\n" for n in range(50)})
    made = project.prepare()
    # As if killed in the middle: no record, files missing, one cut short, one from who knows where.
    (project.forge.git_dir / "stoneforge" / "worktrees" / "T1").unlink()
    for n in range(20):
        (made.path / f"f{n}").unlink()
    write(made.path, {"f30": "", "surprise": "s"})
    again = project.prepare()
    assert is_clean(again.path)
    (saved,) = list_snapshots(project.forge, T1)
    assert "surprise" in files_of(project.forge.git_dir, saved.commit)


def test_half_a_checkout_that_only_lacks_files_needs_no_snapshot(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", {f"f{n}": f"{n}\n" for n in range(50)})
    made = project.prepare()
    (project.forge.git_dir / "stoneforge" / "worktrees" / "T1").unlink()
    for n in range(20):
        (made.path / f"f{n}").unlink()
    assert is_clean(project.prepare().path)
    assert list_snapshots(project.forge, T1) == ()


def until_every_git_has_begun(project: Project) -> None:
    """Wait for children of the killed process that are not git yet: between their fork and exec.

    A server takes longer to start than they do, and so never meets one; this process does.
    """
    ours = str(project.root)

    def is_about_to_begin(one: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            return one.name().startswith("python") and one.cwd().startswith(ours)
        return False

    deadline = time.monotonic() + 30
    while any(is_about_to_begin(one) for one in psutil.process_iter()):
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def test_a_kill_at_any_moment_of_preparing_is_repaired_by_the_next_call(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", {f"d{n % 7}/f{n}": f"{n}\n" * 50 for n in range(400)})
    script = (
        "import sys; from pathlib import Path; from datetime import UTC, datetime\n"
        "from sf_mcp.git.forge import forge_at; from sf_mcp.git.worktrees import Worktrees\n"
        "forge = forge_at(Path(sys.argv[1]))\n"
        "trees = Worktrees(forge, 'main', lambda: datetime(2026, 1, 1, tzinfo=UTC))\n"
        "base = forge.require_commit('refs/heads/main')\n"
        "print('go', flush=True)\n"
        "trees.prepare('T1', 'x', base)\n"
    )
    for delay in (0.005, 0.015, 0.03, 0.05):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(project.root / ".stoneforge")],
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as preparing:
            assert preparing.stdout is not None
            assert preparing.stdout.readline() == b"go\n"
            time.sleep(delay)  # the instant of the kill, not a wait for anything
            os.killpg(preparing.pid, signal.SIGKILL)
        until_every_git_has_begun(project)
        made = project.prepare()
        assert is_clean(made.path)
        assert status(made.path).branch == made.branch
        project.worktrees.remove(T1)


def test_git_never_climbs_out_of_a_worktree_that_lost_its_git_file(tmp_path: Path) -> None:
    """It lies inside the person's checkout: git would find theirs."""
    project = a_project(tmp_path / "p")
    made = project.prepare()
    (made.path / ".git").unlink()
    with pytest.raises(GitFailed):
        status(made.path)
    with pytest.raises(GitFailed):
        head(made.path)
    with pytest.raises(GitFailed, match="not a git repository"):
        run_git(["status"], cwd=made.path)
    added = try_git(made.path, "add", "--all", env=project.session(made))
    assert added.returncode != 0
    assert is_clean(project.root)


def test_a_detached_worktree_is_as_clean_as_a_fresh_one(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", {".gitignore": "build/\n", "a": "a\n"})
    first = project.target
    path = project.worktrees.detached("check-1", first)
    write(path, {"build/out": "o", "left": "over", "a": "changed\n"})
    a_repository(path / "nested")
    second = project.land({"b": "b\n"})
    project.worktrees.detached("check-1", second)
    write(path, {"build/out": "o", "left": "over", "a": "changed\n"})
    assert project.worktrees.detached("check-1", first) == path
    assert head(path) == first
    assert sorted(entry.name for entry in path.iterdir()) == [".git", ".gitignore", "a"]
    assert (path / "a").read_text() == "a\n"
    project.worktrees.remove_detached("check-1")
    assert not path.exists()


def test_a_detached_worktree_can_keep_what_is_ignored(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", {".gitignore": "build/\n", "a": "a\n"})
    path = project.worktrees.detached("check-1", project.target)
    write(path, {"build/out": "o", "left": "over"})
    project.worktrees.detached("check-1", project.target, clean_ignored=False)
    assert (path / "build/out").exists()
    assert not (path / "left").exists()


@pytest.mark.parametrize("broken", ["killed in a checkout", "no git directory", "no .git file"])
def test_a_broken_detached_worktree_is_made_anew(tmp_path: Path, broken: str) -> None:
    project = a_project(tmp_path / "p")
    path = project.worktrees.detached("review-M1", project.target)
    admin = project.forge.git_dir / "worktrees" / "review-M1"
    match broken:
        case "killed in a checkout":
            (admin / "index.lock").touch()
            (path / "src/app.py").write_text("")
        case "no git directory":
            shutil.rmtree(admin)
        case _:
            (path / ".git").unlink()
    project.worktrees.detached("review-M1", project.target)
    assert is_clean(path)
    assert head(path) == project.target


def test_a_task_s_worktree_is_never_taken_for_one_of_the_server_s_own(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    with pytest.raises(InvalidInput):
        project.worktrees.detached("T1", project.target)
    with pytest.raises(InvalidInput):
        project.worktrees.remove_detached("T1")
