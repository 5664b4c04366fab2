"""The guard lets a session move a task's branch only while it holds the task; what it refuses, it
keeps. Names of sessions are as Claude Code gives them: UUIDs."""

import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from sf_mcp.core.models import Oid, SessionId, TaskId
from sf_mcp.git.holders import Holders
from sf_mcp.git.late import late_commits, late_tasks, number_late, settle_late
from sf_mcp.git.snapshots import list_snapshots, snapshot
from tests.git.builders_repositories import (
    NOON,
    Project,
    a_project,
    commit,
    git,
    try_git,
    write,
)

T1 = TaskId("T1")
ME = SessionId("5f1d6c7e-0000-4000-8000-000000000001")
OTHER = SessionId("5f1d6c7e-0000-4000-8000-000000000002")


class Fenced:
    """A task's worktree with one commit, and git as two sessions and the person run it there."""

    def __init__(self, folder: Path) -> None:
        self.project: Project = a_project(folder / "p p")
        made = self.project.prepare()
        self.path, self.branch = made.path, f"refs/heads/{made.branch}"
        self.holders = Holders(self.project.forge.git_dir)
        self.person = self.project.session(made)
        self.mine = {**self.person, "SF_SESSION": ME}
        self.holders.name(T1, ME)
        self.early = commit(self.path, {"work": "early"}, env=self.mine)

    @property
    def tip(self) -> Oid | None:
        return self.project.forge.head_of(self.branch)

    def late_commit(self, env: Mapping[str, str] | None = None, **files: str) -> str:
        """Try to commit; return what git said, and fail the test if it did not refuse."""
        write(self.path, files or {"work": "late"})
        git(self.path, "add", "--all", env=env or self.mine)
        done = try_git(self.path, "commit", "-m", "Too late", env=env or self.mine)
        assert done.returncode != 0
        return done.stderr


@pytest.fixture
def fenced(tmp_path: Path) -> Fenced:
    return Fenced(tmp_path)


def test_the_session_that_holds_the_task_commits_and_so_does_the_person(fenced: Fenced) -> None:
    assert fenced.tip == fenced.early
    later = commit(fenced.path, {"work": "mine"}, env=fenced.mine)
    assert commit(fenced.path, {"work": "by hand"}, env=fenced.person) == fenced.tip != later
    fenced.holders.name_nobody(T1)
    assert commit(fenced.path, {"work": "by hand, later"}, env=fenced.person) == fenced.tip


@pytest.mark.parametrize("holder", [None, OTHER])
def test_a_late_commit_is_refused_with_words_and_kept(
    fenced: Fenced, holder: SessionId | None
) -> None:
    """Known defect: a session that was declared dead comes back and writes."""
    fenced.holders.name_nobody(T1)
    if holder is not None:
        fenced.holders.name(T1, holder)
    words = fenced.late_commit()
    assert "T1 is not held by this session (any more)" in words
    assert "is kept and offered to the session that goes on" in words
    assert "End your turn." in words
    assert fenced.tip == git(fenced.path, "rev-parse", "HEAD") == fenced.early
    (late,) = late_commits(fenced.project.forge, T1)
    assert late.session == ME
    assert git(fenced.path, "log", "-1", "--format=%s %P", late.commit) == (
        f"Too late {fenced.early}"
    )
    assert git(fenced.path, "show", f"{late.commit}:work") == "late"


LATE = (
    "commit --allow-empty -m x",
    "commit --amend -m x",
    "reset --hard HEAD~1",
    "merge --no-edit -s ours main~0 --allow-unrelated-histories --no-ff",
    "cherry-pick --allow-empty main",
    "rebase --force-rebase main",
    "branch new",
    "branch -f sf/T1-add-a-thing main",
    "update-ref refs/heads/sf/T1-add-a-thing main",
    "checkout --detach main",
    "checkout -B sf/T1-add-a-thing main",
    "push . HEAD:refs/heads/new",
    "push . main:sf/T1-add-a-thing",
    "tag mine",
)


@pytest.mark.parametrize("command", LATE)
def test_no_git_command_of_a_fenced_session_moves_anything(fenced: Fenced, command: str) -> None:
    fenced.project.land({"landed": "l"})
    fenced.holders.name(T1, OTHER)
    before = fenced.project.forge.refs_below("refs")
    done = try_git(fenced.path, *command.split(), env=fenced.mine)
    assert done.returncode != 0, command
    after = fenced.project.forge.refs_below("refs")
    assert {ref: oid for ref, oid in after.items() if "/late/" not in ref} == before
    head = git(fenced.path, "rev-parse", "--symbolic-full-name", "HEAD", env=fenced.person)
    assert (head, git(fenced.path, "rev-parse", "HEAD")) == (fenced.branch, fenced.early)


def test_a_commit_on_a_detached_head_is_kept_too(fenced: Fenced) -> None:
    git(fenced.path, "checkout", "-q", "--detach", env=fenced.mine)
    fenced.holders.name_nobody(T1)
    fenced.late_commit()
    assert git(fenced.path, "rev-parse", "HEAD") == fenced.early
    assert len(late_commits(fenced.project.forge, T1)) == 1


def test_another_tasks_worktree_is_fenced_as_well(fenced: Fenced) -> None:
    theirs = fenced.project.prepare("T2", "Another")
    fenced.holders.name(TaskId("T2"), OTHER)
    write(theirs.path, {"x": "x"})
    git(theirs.path, "add", "x")
    assert try_git(theirs.path, "commit", "-m", "x", env=fenced.mine).returncode != 0
    assert fenced.project.forge.head_of(f"refs/heads/{theirs.branch}") == theirs.base
    assert late_tasks(fenced.project.forge) == ["T2"]


def test_what_only_reads_still_works(fenced: Fenced) -> None:
    fenced.holders.name_nobody(T1)
    for command in ("status", "log -1", "diff HEAD", "show main:readme.md", "ls-files"):
        assert try_git(fenced.path, *command.split(), env=fenced.mine).returncode == 0


def test_a_late_commit_gets_the_next_number_once(fenced: Fenced) -> None:
    forge = fenced.project.forge
    write(fenced.path, {"uncommitted": "u"})
    snapshot(forge, fenced.path, T1, "turn's end", NOON)
    fenced.holders.name_nobody(T1)
    fenced.late_commit()
    (late,) = late_commits(forge, T1)
    # Killed after each step, it is done again from the beginning.
    assert number_late(forge, late) == number_late(forge, late) == 2
    assert late_commits(forge, T1) == (late,)
    settle_late(forge, T1, (late,))
    settle_late(forge, T1, (late,))
    assert late_commits(forge, T1) == ()
    newest = list_snapshots(forge, T1)[-1]
    assert (newest.number, newest.commit, newest.parent) == (2, late.commit, fenced.early)
    # The same files again, now as uncommitted ones: nothing new.
    assert snapshot(forge, fenced.path, T1, "session ended", NOON) is None


def test_a_late_commit_that_no_ref_can_name_is_written_down(fenced: Fenced) -> None:
    forge = fenced.project.forge
    fenced.holders.name_nobody(T1)
    # What stands in the way here is a lock; a full disk or a lack of rights would do the same.
    blocked = forge.git_dir / "refs/stoneforge/snapshots/T1"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")
    words = fenced.late_commit()
    assert "is kept and offered" in words
    blocked.unlink()
    (late,) = late_commits(forge, T1)
    assert git(fenced.path, "log", "-1", "--format=%s", late.commit) == "Too late"
    # Another one while the first is being settled is not dropped with it.
    fenced.late_commit(other="o")
    assert number_late(forge, late) == 1
    settle_late(forge, T1, (late,))
    (other,) = late_commits(forge, T1)
    assert other.commit != late.commit


@pytest.mark.parametrize("name", ["../../main", "a b", "x/y", "$(touch hacked)", "-d", "é"])
def test_a_name_that_is_none_keeps_the_commit_under_unknown(fenced: Fenced, name: str) -> None:
    fenced.late_commit({**fenced.person, "SF_SESSION": name})
    (late,) = late_commits(fenced.project.forge, T1)
    assert late.session in ("unknown", name)
    assert not list(fenced.project.root.rglob("hacked"))


def test_the_holder_is_put_in_one_step_and_nobody_is_the_default(fenced: Fenced) -> None:
    assert fenced.holders.of(T1) == ME
    assert fenced.holders.named() == [T1]
    file = fenced.project.forge.git_dir / "stoneforge/hooks/T1/holder"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    before = file.stat().st_ino
    fenced.holders.name(T1, OTHER)
    assert (fenced.holders.of(T1), file.stat().st_ino != before) == (OTHER, True)
    for _ in range(2):
        fenced.holders.name_nobody(T1)
    assert (fenced.holders.of(T1), fenced.holders.named()) == ("", [])
    fenced.project.prepare()
    assert fenced.holders.of(T1) == ""
