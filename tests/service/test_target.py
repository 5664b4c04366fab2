"""The target branch: every move of it is ours or undone, and a crash loses and repeats nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sf_mcp.app import prepare
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import LandingKind, LandingState, MergeRequest
from sf_mcp.core.states import MergeState, TaskState
from sf_mcp.store import landings
from tests.builders import Project, a_commit, a_project, a_task, a_worker, git, write
from tests.service.builders_landing import (
    BOUND_SECONDS,
    a_candidate,
    content,
    files_on_target,
    is_open,
    joined,
    landed,
    landings_done,
    one_request,
    told,
)

ROOT = Path(__file__).resolve().parents[2]


# -- crashes ---------------------------------------------------------------------------------------


def crash(project: Project, when: str) -> None:
    """Have a server of its own step the train and die by SIGKILL in the middle of a landing."""
    project.services.close()
    died = subprocess.run(
        [sys.executable, "-m", "tests.service.landing_that_dies", str(project.root), when],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=BOUND_SECONDS,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()


def landing_commits(project: Project, request: MergeRequest) -> list[str]:
    """Return the commits of the target that say they land the request."""
    grep = f"--grep=^Merge-Request: {request.id}$"
    return git(project.forge.git_dir, "log", "--format=%H", grep, "main").split()


def test_a_crash_before_the_target_moved_leaves_the_request_open_and_it_lands_once(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    before = project.target
    request = one_request(project)
    crash(project, "before")
    project.reopen()
    assert project.target == before
    assert is_open(project, request)
    assert landed(project) == []
    project.run_train()
    assert landed(project) == [request.id]
    assert landing_commits(project, request) == [project.target]
    assert project.task(request.task_id).state is TaskState.MERGED


def test_a_crash_after_the_target_moved_is_recorded_as_the_one_landing_it_was(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    request = one_request(project)
    crash(project, "after")
    moved = project.target
    project.reopen()
    assert project.request(request.id).state is MergeState.LANDED
    assert project.request(request.id).landed_commit == moved
    assert project.task(request.task_id).state is TaskState.MERGED
    assert landed(project) == [request.id]
    behind = one_request(project)
    project.run_train()
    assert landed(project) == [request.id, behind.id]
    assert landing_commits(project, request) == [moved]
    assert git(project.root, "rev-parse", "main") == project.target


def test_a_crash_before_publishing_brings_the_landing_to_the_person_after_the_restart(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    request = one_request(project, {"a": "a\n"})
    crash(project, "published")
    assert not (project.root / "a").exists()
    project.reopen()
    project.run_train()
    assert landed(project) == [request.id]
    assert (project.root / "a").read_text() == "a\n"


def test_a_second_restart_after_a_crash_changes_nothing_more(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    one_request(project)
    crash(project, "after")
    project.reopen()
    settled, newest = landings_done(project), project.services.fleet.newest_event()
    project.reopen()
    assert landings_done(project) == settled
    assert project.services.fleet.newest_event() == newest


@pytest.mark.parametrize("lock", ["HEAD.lock", "refs/heads/main.lock", "packed-refs.lock"])
def test_a_lock_that_a_killed_git_left_in_the_forge_does_not_stop_a_landing(
    tmp_path: Path, lock: str
) -> None:
    """Known defect 41: one stale lock file wedged every later update of the branch."""
    project = a_project(tmp_path)
    request = one_request(project)
    stale = project.forge.git_dir / lock
    stale.touch()
    a_minute_ago = time.time() - 60
    os.utime(stale, (a_minute_ago, a_minute_ago))
    project.run_train()
    assert landed(project) == [request.id]


@pytest.mark.parametrize("is_restarted", [True, False])
def test_a_worktree_that_a_killed_git_was_adding_does_not_stop_the_train(
    tmp_path: Path, is_restarted: bool
) -> None:
    """Git fetches nothing into a repository one of whose worktrees has no HEAD yet."""
    project = a_project(tmp_path)
    request = one_request(project)
    half = a_half_added_worktree(project, "T9")
    theirs = a_commit(project.root, {"theirs": "by hand"})
    if is_restarted:
        project.reopen()
        prepare(project.services)
        assert not half.exists()
    project.run_train()
    assert landed(project) == [request.id]
    assert project.forge.is_ancestor(theirs, project.target)


def a_half_added_worktree(project: Project, name: str) -> Path:
    """Leave what `git worktree add` has made when it is killed before it has set HEAD."""
    admin, path = project.forge.git_dir / "worktrees" / name, project.layout.worktrees / name
    write(admin, {"HEAD": "0" * 40 + "\n", "commondir": "../..\n", "gitdir": f"{path}/.git\n"})
    write(path, {".git": f"gitdir: {admin}\n"})
    return admin


def test_the_first_start_records_where_the_target_is_and_moves_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    with project.services.workspace.read() as tx:
        (first,) = landings.done(tx.db)
    assert (first.kind, first.old, first.new) == (LandingKind.INITIAL, None, project.target)
    assert first.tree == project.forge.tree_of(project.target)
    assert first.is_green is None
    project.reopen()
    with project.services.workspace.read() as tx:
        assert landings.done(tx.db) == [first]


# -- two at once -----------------------------------------------------------------------------------


def test_of_two_landings_at_once_one_lands_and_the_other_is_told_and_lands_after_it(
    tmp_path: Path,
) -> None:
    """Known defect 2: both reported success, and one of them was gone from the branch."""
    project = a_project(tmp_path)
    requests = [one_request(project, {"a": "a\n"}), one_request(project, {"b": "b\n"})]
    old = project.target
    candidates = [a_candidate(project, request) for request in requests]
    together = threading.Barrier(2)
    done: dict[int, bool] = {}

    def land(number: int) -> None:
        together.wait(BOUND_SECONDS)
        done[number] = project.services.target.land(
            [(requests[number], candidates[number])],
            kind=LandingKind.MERGE,
            old=old,
            new=candidates[number],
            green=None,
        )

    threads = [threading.Thread(target=land, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    joined(threads)
    assert sorted(done.values()) == [False, True]
    (winner,) = (number for number, has_landed in done.items() if has_landed)
    assert project.target == candidates[winner]
    assert project.request(requests[winner].id).state is MergeState.LANDED
    assert is_open(project, requests[1 - winner])
    project.run_train()
    assert (content(project, "a"), content(project, "b")) == ("a", "b")
    assert landed(project) == [requests[winner].id, requests[1 - winner].id]


def test_a_landing_on_a_target_of_the_past_changes_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    first, late = one_request(project, {"a": "a\n"}), one_request(project, {"b": "b\n"})
    old, stale = project.target, a_candidate(project, late)
    of_first = a_candidate(project, first)
    project.services.target.land(
        [(first, of_first)], kind=LandingKind.MERGE, old=old, new=of_first, green=None
    )
    present = project.target
    assert not project.services.target.land(
        [(late, stale)], kind=LandingKind.MERGE, old=old, new=stale, green=None
    )
    assert project.target == present
    assert is_open(project, late)
    with project.services.workspace.read() as tx:
        states = [one.state for one in landings.LANDINGS.select(tx.db, "1 ORDER BY number")]
    assert states == [LandingState.DONE, LandingState.DONE, LandingState.ABORTED]


# -- foreign hands ---------------------------------------------------------------------------------


def by_a_foreign_hand(project: Project, *arguments: str) -> None:
    """Move a ref of the forge past the guard, as a hostile process could."""
    git(project.forge.git_dir, "-c", "core.hooksPath=/dev/null", "update-ref", *arguments)


def test_a_foreign_move_of_the_target_is_undone_and_its_commit_kept(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    before = project.target
    worker = a_worker(project, a_task(project), with_worktree=True)
    foreign = worker.commit({"sneaked in": "s\n"})
    by_a_foreign_hand(project, "refs/heads/main", foreign)
    project.run_train()
    assert project.target == before
    (event,) = told(project, "target_move_undone")
    assert (event["branch"], event["commit"]) == ("main", foreign)
    assert project.forge.head_of(event["kept"]) == foreign
    assert event["kept"].startswith("refs/stoneforge/kept/")
    assert landings_done(project) == []
    assert not (project.root / "sneaked in").exists()


def test_what_lands_after_a_foreign_move_lands_on_the_rightful_target(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    request = one_request(project, {"a": "a\n"})
    worker = a_worker(project, a_task(project), with_worktree=True)
    by_a_foreign_hand(project, "refs/heads/main", worker.commit({"sneaked in": "s\n"}))
    project.run_train()
    assert landed(project) == [request.id]
    assert "a" in files_on_target(project)
    assert "sneaked in" not in files_on_target(project)


def test_each_of_several_foreign_moves_is_kept_under_the_name_that_its_event_says(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    foreign = [worker.commit({"sneaked in": text}) for text in ("1\n", "2\n")]
    for commit in foreign:
        by_a_foreign_hand(project, "refs/heads/main", commit)
        project.run_train()
    events = told(project, "target_move_undone")
    assert [project.forge.head_of(event["kept"]) for event in events] == foreign


def test_a_target_branch_that_a_foreign_hand_deleted_is_put_back(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    before = project.target
    by_a_foreign_hand(project, "-d", "refs/heads/main")
    project.run_train()
    assert project.target == before
    (event,) = told(project, "target_move_undone")
    assert (event["was"], event["kept"]) == ("deleted", "")
    assert git(project.root, "rev-parse", "main") == before


def test_a_target_that_was_reset_to_the_past_goes_forward_again(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    first = project.target
    request = one_request(project)
    project.run_train()
    present = project.target
    by_a_foreign_hand(project, "refs/heads/main", first)
    project.run_train()
    assert project.target == present
    assert landed(project) == [request.id]


# -- the person's commits --------------------------------------------------------------------------


def test_the_persons_new_commits_are_taken_in_as_they_are(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_commit(project.root, {"mine": "m\n"})
    theirs = a_commit(project.root, {"mine": "m\nm\n"})
    request = one_request(project, {"a": "a\n"})
    project.run_train()
    upstream, merge = landings_done(project)
    assert (upstream.kind, upstream.new) == (LandingKind.UPSTREAM, theirs)
    assert (landed(project), merge.old) == ([request.id], theirs)
    assert git(project.root, "rev-parse", "main") == project.target
    assert git(project.root, "log", "--format=%s", "main").split("\n") == [
        "Add a thing",
        "a change",
        "a change",
        "first",
    ]


def test_the_persons_commits_are_taken_in_while_the_fleet_is_paused(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    project.services.fleet.pause_fleet(PERSON)
    theirs = a_commit(project.root, {"mine": "m\n"})
    project.run_train()
    assert project.target == theirs


def diverge(project: Project, theirs: dict[str, str], ours: dict[str, str]) -> None:
    """Have the fleet land something while the person commits something else on the old target."""
    (project.root / "readme.md").write_text("in the middle of it\n")
    one_request(project, ours)
    project.run_train()
    (project.root / "readme.md").write_text("hello\n")
    a_commit(project.root, theirs, "mine")


def test_the_persons_commits_beside_a_landing_are_merged_in_and_their_branch_follows(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    diverge(project, {"mine": "m\n"}, {"a": "a\n"})
    landing, theirs = project.target, git(project.root, "rev-parse", "main")
    project.run_train()
    parents = git(project.forge.git_dir, "log", "-1", "--format=%P", "main").split()
    assert parents == [landing, theirs]
    assert git(project.root, "rev-parse", "main") == project.target
    assert (project.root / "mine").read_text() == "m\n"
    assert (project.root / "a").read_text() == "a\n"
    assert git(project.root, "status", "--porcelain") == ""


def test_conflicting_commits_of_the_persons_leave_their_checkout_alone_and_the_fleet_lands_on(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    diverge(project, {"src/app.py": "MINE\ntwo\nthree\n"}, {"src/app.py": "OURS\ntwo\nthree\n"})
    theirs = git(project.root, "rev-parse", "main")
    request = one_request(project, {"b": "b\n"})
    project.run_train()
    assert landed(project)[-1] == request.id
    assert git(project.root, "rev-parse", "main") == theirs
    assert git(project.root, "status", "--porcelain") == ""
    line = project.services.fleet.fleet_status(PERSON).target
    assert "2 commits behind" in line.checkout
    assert "conflict with what the fleet landed in src/app.py" in line.checkout
    # As the remedy says.
    with pytest.raises(AssertionError, match="git merge"):
        git(project.root, *line.remedy.split()[1:])
    a_commit(project.root, {"src/app.py": "BOTH\ntwo\nthree\n"})
    project.run_train()
    assert git(project.root, "rev-parse", "main") == project.target
    assert content(project, "src/app.py") == "BOTH\ntwo\nthree"
    assert project.services.fleet.fleet_status(PERSON).target.checkout == "up to date"
