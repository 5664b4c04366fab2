"""A full disk and locks of other gits, killed or living: nothing is changed, nothing is lost."""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sf_mcp import process
from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.models import Oid, TaskId
from sf_mcp.git.snapshots import SNAPSHOTS, list_snapshots, snapshot
from sf_mcp.git.status import status
from tests.git.builders_repositories import NOON, Project, a_project, commit, git, write
from tests.git.full_disk import no_room_for_objects
from tests.git.test_locks import make_old
from tests.git.test_snapshots import fingerprint

T1 = TaskId("T1")


def take(project: Project, path: Path) -> Oid | None:
    return snapshot(project.forge, path, T1, "a test", NOON)


def test_a_full_disk_refuses_the_snapshot_and_leaves_the_worktree_as_it_is(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    commit(path, {"work": "w"})
    (path / "big").write_bytes(os.urandom(3 << 20))
    write(path, {"src/app.py": "changed\n", "small": "s"})
    before = fingerprint(project, path)
    with no_room_for_objects(project.forge.git_dir, tmp_path):
        for _ in range(2):
            with pytest.raises(StoneforgeError):
                take(project, path)
            assert fingerprint(project, path) == before
            assert list_snapshots(project.forge, T1) == ()
    made = take(project, path)
    assert made is not None
    assert git(path, "cat-file", "-s", f"{made}:big") == str(3 << 20)
    assert git(path, "show", f"{made}:small") == "s"
    git(project.forge.git_dir, "fsck", "--no-dangling", "--connectivity-only")


LOCKS = (
    "HEAD.lock",
    "packed-refs.lock",
    "config.lock",
    "worktrees/T1/HEAD.lock",
    "worktrees/T1/index.lock",
    "refs/heads/sf/T1-add-a-thing.lock",
    f"{SNAPSHOTS}/T1/1.lock",
)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_of_a_killed_git_holds_neither_snapshot_nor_successor_up(
    tmp_path: Path, lock: str
) -> None:
    """Known defect 41: one stale HEAD.lock wedged every later update."""
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    commit(path, {"work": "w"})
    write(path, {"draft": "d"})
    make_old(project.forge.git_dir / lock, 60)
    made = take(project, path)
    assert made is not None
    again = project.prepare()
    assert (again.path / "draft").read_text() == "d"
    assert status(again.path).branch == again.branch
    later = commit(again.path, {"more": "m"})
    assert project.forge.head_of(f"refs/heads/{again.branch}") == later


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def is_tried(ref: str) -> bool:
    """Whether a git of ours tries to write the ref at this moment."""

    def words(one: psutil.Process) -> list[str]:
        with contextlib.suppress(psutil.Error):
            return one.cmdline()
        return []

    return any({"update-ref", ref} <= {*words(one)} for one in psutil.process_iter())


def test_a_lock_of_a_living_git_is_waited_for_and_not_taken_away(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    write(path, {"draft": "d"})
    ref = f"{SNAPSHOTS}/T1/1"
    living = process.spawn(
        ["git", "-c", "core.hooksPath=/dev/null", "update-ref", "--stdin"],
        cwd=project.forge.git_dir,
        env=dict(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with living:
        assert living.stdin is not None
        assert living.stdout is not None
        living.stdin.write(f"start\ncreate {ref} {project.target}\nprepare\n".encode())
        living.stdin.flush()
        assert [living.stdout.readline() for _ in "sp"] == [b"start: ok\n", b"prepare: ok\n"]
        lock = make_old(project.forge.git_dir / f"{ref}.lock", 3600)
        made: list[Oid | None] = []
        taking = threading.Thread(target=lambda: made.append(take(project, path)))
        taking.start()
        try:
            for _ in range(2):
                until(lambda: is_tried(ref))
                until(lambda: not is_tried(ref))
            assert lock.exists()
            assert taking.is_alive()
            living.stdin.write(b"abort\n")
            living.stdin.flush()
            assert living.stdout.readline() == b"abort: ok\n"
        finally:
            process.end_child(living)
            taking.join(30)
    (found,) = list_snapshots(project.forge, T1)
    assert made == [found.commit]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_object_that_cannot_be_written_is_not_taken_for_a_file_that_cannot_be_read(
    tmp_path: Path,
) -> None:
    """Without the one new file the tree would be that of HEAD, and nothing would seem new."""
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    write(path, {"new.py": "new\n"})
    objects = project.forge.git_dir / "objects"
    folders = [objects, *(each for each in objects.iterdir() if each.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    try:
        with pytest.raises(StoneforgeError, match="could not be kept"):
            take(project, path)
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert take(project, path) is not None


def test_an_object_that_is_not_there_after_all_is_noticed(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    path = project.prepare().path
    write(path, {"new.py": "new\n"})
    blob = git(path, "hash-object", "new.py")
    in_the_way = project.forge.git_dir / "objects" / blob[:2]
    in_the_way.write_text("where the object's folder would be")
    with pytest.raises(StoneforgeError):
        take(project, path)
    in_the_way.unlink()
    made = take(project, path)
    assert made is not None
    assert git(path, "show", f"{made}:new.py") == "new"
