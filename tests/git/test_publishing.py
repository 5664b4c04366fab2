"""The person's checkout: fast-forwarded when that is safe, else left alone with a reason."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sf_mcp.core.models import Oid
from sf_mcp.git.interrupted import ANNOUNCEMENT
from sf_mcp.git.publishing import LeftAlone, Obstacle, Published, publish_to_checkout, take_in
from tests.git.builders_repositories import (
    Project,
    a_project,
    a_repository,
    commit,
    git,
    is_clean,
    try_git,
    write,
)

FILES = {"a": "a\n", "b": "b\n", "dir/c": "c\n", ".gitignore": "*.log\nbuild/\n"}
LANDING: dict[str, str | None] = {"a": "landed\n", "b": None, "new": "n\n", "deep/er/new": "d\n"}


def publish(project: Project, commit_name: Oid | None = None) -> Published | LeftAlone:
    return publish_to_checkout(project.root, project.forge, "main", commit_name or project.target)


def main_of(project: Project) -> str:
    return git(project.root, "rev-parse", "main")


def left_alone(project: Project, obstacle: Obstacle) -> LeftAlone:
    """Publish; it must be refused for `obstacle` and change nothing that is the person's."""
    before = (
        main_of(project),
        git(project.root, "status", "--porcelain=v2", "--branch", "--ignored"),
        {path: path.read_bytes() for path in project.root.rglob("*") if is_theirs(project, path)},
    )
    done = publish(project)
    assert isinstance(done, LeftAlone)
    assert done.obstacle is obstacle
    after = (
        main_of(project),
        git(project.root, "status", "--porcelain=v2", "--branch", "--ignored"),
        {path: path.read_bytes() for path in project.root.rglob("*") if is_theirs(project, path)},
    )
    assert after == before
    assert git(project.root, "rev-parse", "stoneforge/main") == project.target
    return done


def is_theirs(project: Project, path: Path) -> bool:
    inside = path.relative_to(project.root).parts[0]
    return path.is_file() and inside not in {".git", ".stoneforge"}


def catch_up(done: LeftAlone) -> None:
    subprocess.run(["/bin/sh", "-c", done.command_to_catch_up], check=True, timeout=30)


@pytest.mark.parametrize("name", ["p", "with space ü 'x'"])
def test_a_clean_checkout_on_the_target_follows(tmp_path: Path, name: str) -> None:
    project = a_project(tmp_path / name, FILES)
    landed = project.land(LANDING)
    write(project.root, {"notes.log": "ignored", "mine.txt": "untracked"})
    assert publish(project) == Published(moved=True)
    assert main_of(project) == landed
    assert (project.root / "a").read_text() == "landed\n"
    assert not (project.root / "b").exists()
    assert git(project.root, "status", "--porcelain") == "?? mine.txt"
    assert publish(project) == Published(moved=False)


def test_a_repository_without_origin_is_published_to(tmp_path: Path) -> None:
    """Known defect 8: merging could not work without an `origin`."""
    project = a_project(tmp_path / "p", FILES)
    assert git(project.root, "remote") == ""
    project.land(LANDING)
    assert publish(project) == Published(moved=True)
    assert git(project.root, "remote") == "stoneforge"
    git(project.root, "fetch", "stoneforge")
    assert set(git(project.root, "for-each-ref", "--format=%(refname)").split()) == {
        "refs/heads/main",
        "refs/remotes/stoneforge/main",
    }


def test_a_branch_that_is_not_checked_out_is_moved(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", FILES)
    git(project.root, "checkout", "-q", "-b", "feature/x")
    write(project.root, {"a": "in the middle of something\n"})
    landed = project.land(LANDING)
    assert publish(project) == Published(moved=True)
    assert main_of(project) == landed
    assert git(project.root, "status", "--porcelain") == "M a"
    assert (project.root / "a").read_text() == "in the middle of something\n"


def test_a_detached_head_does_not_hold_the_branch_back(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", FILES)
    git(project.root, "checkout", "-q", "--detach")
    landed = project.land(LANDING)
    assert publish(project) == Published(moved=True)
    assert main_of(project) == landed
    assert (project.root / "a").read_text() == "a\n"


@pytest.mark.parametrize(
    "dirt", ["modified", "modified elsewhere", "staged", "staged and undone", "deleted"]
)
def test_uncommitted_changes_are_never_touched(tmp_path: Path, dirt: str) -> None:
    """Known defect 1: success was reported, and the target lacked the work."""
    project = a_project(tmp_path / "p", FILES)
    landed = project.land(LANDING)
    match dirt:
        case "modified":
            write(project.root, {"a": "mine\n"})
        case "modified elsewhere":
            write(project.root, {"dir/c": "mine\n"})
        case "staged":
            write(project.root, {"dir/c": "mine\n"})
            git(project.root, "add", "dir/c")
        case "staged and undone":
            write(project.root, {"dir/c": "mine\n"})
            git(project.root, "add", "dir/c")
            write(project.root, {"dir/c": "c\n"})
        case _:
            write(project.root, {"dir/c": None})
    done = left_alone(project, Obstacle.DIRTY)
    assert done.behind == 1
    assert project.target == landed
    git(project.root, "reset", "-q", "--hard")
    catch_up(done)
    assert main_of(project) == landed


@pytest.mark.parametrize(
    ("in_the_way", "landing"),
    [
        ("new", "new"),
        ("ignored.log", "ignored.log"),
        ("file", "file/below"),
        ("build/folder", "build"),
        ("plain/folder", "plain"),
    ],
)
def test_untracked_files_in_the_way_are_never_overwritten(
    tmp_path: Path, in_the_way: str, landing: str
) -> None:
    project = a_project(tmp_path / "p", FILES)
    path = project.worktrees.detached("check-1", project.target)
    write(path, {landing: "landed\n"})
    git(path, "add", "--force", landing)
    git(path, "commit", "-q", "-m", "landed")
    new = Oid(git(path, "rev-parse", "HEAD"))
    project.forge.compare_and_swap("refs/heads/main", new=new, old=project.target)
    write(project.root, {in_the_way: "mine\n"})
    done = left_alone(project, Obstacle.IN_THE_WAY)
    assert in_the_way in done.reason
    (project.root / in_the_way).unlink()
    assert publish(project) == Published(moved=True)


def test_a_symbolic_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", FILES)
    project.land({"linked/x": "x"})
    (tmp_path / "outside").mkdir()
    (project.root / "linked").symlink_to(tmp_path / "outside")
    left_alone(project, Obstacle.IN_THE_WAY)
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("change", ["file becomes folder", "folder becomes file"])
def test_tracked_files_may_make_room_for_others(tmp_path: Path, change: str) -> None:
    project = a_project(tmp_path / "p", FILES)
    if change == "file becomes folder":
        path = project.worktrees.detached("check-1", project.target)
        write(path, {"a": None})
        landing: dict[str, str | None] = {"a/below": "x\n"}
    else:
        path = project.worktrees.detached("check-1", project.target)
        (path / "dir/c").unlink()
        (path / "dir").rmdir()
        landing = {"dir": "x\n"}
    new = commit(path, landing, "landed")
    project.forge.compare_and_swap("refs/heads/main", new=new, old=project.target)
    assert publish(project) == Published(moved=True)
    assert is_clean(project.root)


def stop_in(operation: str) -> Callable[[Project], None]:
    def start(project: Project) -> None:
        git(project.root, "checkout", "-q", "-b", "other")
        commit(project.root, {"dir/c": "other\n"})
        git(project.root, "checkout", "-q", "main")
        if operation == "bisect":
            git(project.root, "bisect", "start")
            return
        commit(project.root, {"dir/c": "mine\n"})
        # What the person has committed is taken in first, so that nothing has diverged.
        taken = take_in(project.root, project.forge, "main")
        assert taken is not None
        project.forge.compare_and_swap("refs/heads/main", new=taken, old=project.target)
        assert try_git(project.root, operation, "other").returncode != 0

    return start


@pytest.mark.parametrize("operation", ["merge", "rebase", "cherry-pick", "bisect"])
def test_an_operation_under_way_is_not_disturbed(tmp_path: Path, operation: str) -> None:
    project = a_project(tmp_path / "p", FILES)
    stop_in(operation)(project)
    project.land(LANDING)
    done = left_alone(project, Obstacle.OPERATION)
    assert operation in done.reason
    abort = ["bisect", "reset"] if operation == "bisect" else [operation, "--abort"]
    git(project.root, *abort)
    assert publish(project) == Published(moved=True)


def test_a_branch_that_is_checked_out_elsewhere_is_left_alone(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", FILES)
    git(project.root, "checkout", "-q", "-b", "feature/x")
    git(project.root, "worktree", "add", "-q", str(tmp_path / "else where"), "main")
    landed = project.land(LANDING)
    done = left_alone(project, Obstacle.ELSEWHERE)
    catch_up(done)
    assert main_of(project) == landed
    assert is_clean(tmp_path / "else where")


def test_commits_of_the_person_are_taken_in_and_never_thrown_away(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", FILES)
    project.land(LANDING)
    mine = commit(project.root, {"dir/c": "mine\n"}, "the person's own")
    done = left_alone(project, Obstacle.DIVERGED)
    assert done.behind == 1
    assert take_in(project.root, project.forge, "main") == mine
    assert project.forge.head_of("refs/stoneforge/upstream/person/main") == mine
    git(project.root, "commit", "-q", "--amend", "-m", "said otherwise")
    assert take_in(project.root, project.forge, "main") == main_of(project)


def test_a_branch_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", FILES)
    git(project.root, "checkout", "-q", "-b", "other")
    git(project.root, "branch", "-D", "main")
    landed = project.land(LANDING)
    done = publish(project)
    assert isinstance(done, LeftAlone)
    assert done.obstacle is Obstacle.MISSING
    assert take_in(project.root, project.forge, "main") is None
    catch_up(done)
    assert main_of(project) == landed


def test_hooks_of_the_person_do_not_run(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", FILES)
    for name in ("post-merge", "reference-transaction", "post-checkout"):
        write(project.root, {f".git/hooks/{name}": f"#!/bin/sh\ntouch '{tmp_path}/ran'\n"})
        (project.root / f".git/hooks/{name}").chmod(0o755)
    project.land(LANDING)
    assert publish(project) == Published(moved=True)
    assert not (tmp_path / "ran").exists()


def test_a_remote_of_the_person_s_own_with_that_name_is_not_touched(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", FILES)
    git(project.root, "remote", "add", "stoneforge", "https://example.org/x.git")
    project.land(LANDING)
    assert publish(project) == Published(moved=True)
    assert git(project.root, "remote", "get-url", "stoneforge") == "https://example.org/x.git"


def half_done(project: Project, new: Oid) -> None:
    """Leave the checkout as a kill in the middle of writing the files does."""
    old = main_of(project)
    write(project.root / ".git", {ANNOUNCEMENT: json.dumps({"old": old, "new": new})})
    lock = project.root / ".git" / "index.lock"
    lock.touch()
    os.utime(lock, (time.time() - 60, time.time() - 60))
    write(project.root, {"a": "lan", "b": None, "new": "n\n"})


def test_an_interrupted_update_is_taken_back_and_done_again(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", FILES)
    half_done(project, project.land(LANDING))
    assert publish(project) == Published(moved=True)
    assert main_of(project) == project.target
    assert is_clean(project.root)
    assert not (project.root / ".git" / ANNOUNCEMENT).exists()


def test_an_update_interrupted_before_the_ref_moved_is_taken_back(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", FILES)
    old, new = main_of(project), project.land(LANDING)
    assert publish(project) == Published(moved=True)
    git(project.root, "update-ref", "refs/heads/main", old)
    write(project.root / ".git", {ANNOUNCEMENT: json.dumps({"old": old, "new": new})})
    assert publish(project) == Published(moved=True)
    assert is_clean(project.root)


def test_an_interrupted_update_on_which_the_person_went_on_is_left_to_them(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path / "p", FILES)
    half_done(project, project.land(LANDING))
    write(project.root, {"a": "what the person typed meanwhile\n"})
    done = publish(project)
    assert isinstance(done, LeftAlone)
    assert done.obstacle is Obstacle.INTERRUPTED
    assert "a has been changed since" in done.reason
    assert (project.root / "a").read_text() == "what the person typed meanwhile\n"
    git(project.root, "checkout", "-q", "--", "a")
    assert publish(project) == Published(moved=True)
    assert is_clean(project.root)


def test_a_kill_at_any_moment_of_publishing_does_not_block_for_ever(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p", {f"d{n % 9}/f{n}": f"{n}\n" * 40 for n in range(200)})
    script = (
        "import sys; from pathlib import Path\n"
        "from sf_mcp.git.forge import forge_at\n"
        "from sf_mcp.git.publishing import publish_to_checkout\n"
        "root = Path(sys.argv[1]); forge = forge_at(root / '.stoneforge')\n"
        "target = forge.require_commit('refs/heads/main')\n"
        "print('go', flush=True)\n"
        "publish_to_checkout(root, forge, 'main', target)\n"
    )
    announced = project.root / ".git" / ANNOUNCEMENT
    for delay in (0, 0.005, 0.01, 0.015):
        project.land({f"d{n % 9}/f{n}": f"{n} {delay}\n" * 40 for n in range(200)})
        with subprocess.Popen(
            [sys.executable, "-c", script, str(project.root)],
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as publishing:
            assert publishing.stdout is not None
            assert publishing.stdout.readline() == b"go\n"
            deadline = time.monotonic() + 20
            while not announced.exists() and publishing.poll() is None:
                assert time.monotonic() < deadline
            time.sleep(delay)  # the instant of the kill, not a wait for anything
            kill_with_its_git(publishing.pid)
        until_published(project)
        assert main_of(project) == project.target
        assert is_clean(project.root)


def kill_with_its_git(pid: int) -> None:
    """End a process and the git that it started in the checkout, as a power cut would."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    started = children.read_text().split() if children.exists() else []
    os.kill(pid, signal.SIGKILL)
    for child in started:
        try:
            os.kill(int(child), signal.SIGKILL)
        except ProcessLookupError:
            continue


def until_published(project: Project) -> None:
    """A lock must be some seconds old before it counts as stale; until then it is reported."""
    deadline = time.monotonic() + 20
    while isinstance(done := publish(project), LeftAlone):
        assert done.obstacle in {Obstacle.INTERRUPTED, Obstacle.FAILED}, done
        assert time.monotonic() < deadline, done
        for lock in (project.root / ".git").rglob("*.lock"):
            os.utime(lock, (time.time() - 60, time.time() - 60))


def test_a_submodule_that_was_not_updated_does_not_count_as_dirt(tmp_path: Path) -> None:
    inner = a_repository(tmp_path / "inner")
    project = a_project(tmp_path / "p", FILES)
    allow = ("-c", "protocol.file.allow=always")
    git(project.root, *allow, "submodule", "add", "-q", str(inner), "lib")
    commit(project.root, {})
    taken = take_in(project.root, project.forge, "main")
    assert taken is not None
    project.forge.compare_and_swap("refs/heads/main", new=taken, old=project.target)
    newer = commit(inner, {"more": "m"})
    path = project.worktrees.detached("check-1", project.target)
    git(path, "update-index", "--cacheinfo", f"160000,{newer},lib")
    git(path, "commit", "-q", "-m", "newer lib")
    new = Oid(git(path, "rev-parse", "HEAD"))
    project.forge.compare_and_swap("refs/heads/main", new=new, old=project.target)
    assert publish(project) == Published(moved=True)
    project.land({"a": "again\n"})
    assert publish(project) == Published(moved=True)
