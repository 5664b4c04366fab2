"""Publishing: what has landed comes to the person's branch and to `origin`, or says why not."""

import json
import os
import subprocess
import time
from pathlib import Path

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import LandingKind
from sf_mcp.core.states import TaskState
from sf_mcp.git.interrupted import ANNOUNCEMENT
from sf_mcp.service.publishing import INTERRUPTED_SECONDS, LEFT_ALONE_SECONDS
from sf_mcp.service.train import LONGEST_WAIT_SECONDS
from tests.builders import a_commit, a_project, git
from tests.service.builders_landing import (
    a_clone,
    an_origin,
    config,
    content,
    files_on_target,
    landed,
    landings_done,
    one_request,
    told,
)

PUSHED = config(merge={"push": True})


# -- the person's branch ---------------------------------------------------------------------------


def test_a_dirty_checkout_is_left_alone_while_the_task_is_truly_merged(tmp_path: Path) -> None:
    """Known defect 1: success was reported, and the branch lacked the work."""
    project = a_project(tmp_path)
    mine = project.root / "src/app.py"
    mine.write_text("in the middle of it\n")
    request = one_request(project, {"src/app.py": "ONE\ntwo\nthree\n"})
    one_request(project, {"b": "b\n"})
    project.run_train()
    assert project.task(request.task_id).state is TaskState.MERGED
    assert content(project, "src/app.py") == "ONE\ntwo\nthree"
    assert mine.read_text() == "in the middle of it\n"
    assert git(project.root, "status", "--porcelain") == "M src/app.py"
    line = project.services.fleet.fleet_status(PERSON).target
    assert line.commit == project.target
    assert line.checkout.startswith("2 commits behind: ")
    assert "has uncommitted changes in src/app.py; commit or stash them" in line.checkout
    # Cleaned up, and caught up with the command that was given.
    git(project.root, "checkout", "--quiet", "--", "src/app.py")
    subprocess.run(["/bin/sh", "-c", line.remedy], check=True, timeout=30, capture_output=True)
    assert mine.read_text() == "ONE\ntwo\nthree\n"
    project.run_train()
    assert project.services.fleet.fleet_status(PERSON).target.checkout == "up to date"


def test_a_checkout_that_was_cleaned_follows_by_itself(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    mine = project.root / "src/app.py"
    mine.write_text("in the middle of it\n")
    one_request(project, {"src/app.py": "ONE\ntwo\nthree\n"})
    project.run_train()
    assert project.services.fleet.fleet_status(PERSON).target.checkout.startswith("1 commit behind")
    # Nothing tells the server of it, so it looks again after a while.
    assert project.services.train.seconds_until_retry() == LEFT_ALONE_SECONDS
    git(project.root, "checkout", "--quiet", "--", "src/app.py")
    project.run_train()
    assert mine.read_text() == "ONE\ntwo\nthree\n"
    assert git(project.root, "rev-parse", "main") == project.target
    line = project.services.fleet.fleet_status(PERSON).target
    assert (line.checkout, line.remedy) == ("up to date", "")
    assert project.services.train.seconds_until_retry() == LONGEST_WAIT_SECONDS


def test_a_checkout_whose_update_was_killed_a_moment_ago_follows_a_moment_later(
    tmp_path: Path,
) -> None:
    """A lock as fresh as this may be that of a git which has just begun."""
    project = a_project(tmp_path)
    one_request(project, {"a": "a\n"})
    old = git(project.root, "rev-parse", "HEAD")
    note, lock = project.root / ".git" / ANNOUNCEMENT, project.root / ".git/index.lock"
    note.write_text(json.dumps({"old": old, "new": old}))
    lock.touch()
    project.run_train()
    assert not (project.root / "a").exists()
    assert project.services.train.seconds_until_retry() == INTERRUPTED_SECONDS
    a_moment_ago = time.time() - INTERRUPTED_SECONDS
    os.utime(lock, (a_moment_ago, a_moment_ago))
    project.run_train()
    assert (project.root / "a").read_text() == "a\n"
    assert not lock.exists()


def test_a_checkout_that_stays_dirty_is_spoken_of_once(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    (project.root / "src/app.py").write_text("in the middle of it\n")
    one_request(project, {"src/app.py": "ONE\ntwo\nthree\n"})
    project.run_train()
    events = told(project, "checkout")
    assert [one["state"].split(":")[0] for one in events] == ["up to date", "1 commit behind"]
    project.run_train()
    assert told(project, "checkout") == events


def test_a_person_on_another_branch_keeps_their_files_and_their_main_moves(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    git(project.root, "checkout", "--quiet", "-b", "feature/x")
    (project.root / "src/app.py").write_text("in the middle of it\n")
    request = one_request(project, {"src/app.py": "ONE\ntwo\nthree\n"})
    project.run_train()
    assert landed(project) == [request.id]
    assert git(project.root, "rev-parse", "main") == project.target
    assert git(project.root, "symbolic-ref", "--short", "HEAD") == "feature/x"
    assert (project.root / "src/app.py").read_text() == "in the middle of it\n"
    assert git(project.root, "status", "--porcelain") == "M src/app.py"
    assert project.services.fleet.fleet_status(PERSON).target.checkout == "up to date"


# -- origin ----------------------------------------------------------------------------------------


def test_each_landing_is_pushed_when_that_is_switched_on(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=PUSHED)
    origin = an_origin(project, tmp_path / "origin.git")
    one_request(project)
    project.run_train()
    assert git(origin, "rev-parse", "main") == project.target
    one_request(project)
    project.run_train()
    assert git(origin, "rev-parse", "main") == project.target
    assert len(landed(project)) == 2
    assert project.forge.run("remote").text == ""


def test_nothing_is_pushed_when_that_is_not_switched_on(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    origin = an_origin(project, tmp_path / "origin.git")
    before = git(origin, "rev-parse", "main")
    one_request(project)
    project.run_train()
    assert project.target != before
    assert git(origin, "rev-parse", "main") == before


def test_an_origin_that_somebody_else_moved_is_taken_in_and_the_push_tried_again(
    tmp_path: Path,
) -> None:
    """Known defect 6: the loser of two merges with a remote failed for good."""
    project = a_project(tmp_path, config=PUSHED)
    origin = an_origin(project, tmp_path / "origin.git")
    project.run_train()
    other = a_clone(origin, tmp_path / "other")
    theirs = a_commit(other, {"theirs": "t\n"}, "theirs")
    git(other, "push", "--quiet", "origin", "main")
    request = one_request(project, {"a": "a\n"})
    project.run_train()
    assert landed(project) == [request.id]
    assert {"a", "theirs"} <= set(files_on_target(project))
    assert project.forge.is_ancestor(theirs, project.target)
    assert git(origin, "rev-parse", "main") == project.target
    assert git(project.root, "rev-parse", "main") == project.target
    assert told(project, "push_failed") == []


def test_what_arrived_at_origin_is_taken_in_before_the_next_landing(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=PUSHED)
    origin = an_origin(project, tmp_path / "origin.git")
    other = a_clone(origin, tmp_path / "other")
    theirs = a_commit(other, {"theirs": "t\n"}, "theirs")
    git(other, "push", "--quiet", "origin", "main")
    request = one_request(project)
    project.run_train()
    upstream, merge = landings_done(project)
    assert (upstream.kind, upstream.new) == (LandingKind.UPSTREAM, theirs)
    assert (landed(project), merge.old) == ([request.id], theirs)


def test_conflicting_commits_at_origin_are_told_once_and_the_fleet_lands_on(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=PUSHED)
    origin = an_origin(project, tmp_path / "origin.git")
    project.run_train()
    other = a_clone(origin, tmp_path / "other")
    theirs = a_commit(other, {"src/app.py": "THEIRS\ntwo\nthree\n"}, "theirs")
    git(other, "push", "--quiet", "origin", "main")
    first = one_request(project, {"src/app.py": "OURS\ntwo\nthree\n"})
    second = one_request(project, {"b": "b\n"})
    project.run_train()
    assert landed(project) == [first.id, second.id]
    assert git(origin, "rev-parse", "main") == theirs
    (conflict,) = told(project, "upstream_conflict")
    assert f"commits on origin/main (up to {theirs[:12]}) conflict" in conflict["detail"]
    assert len(told(project, "push_failed")) == 1


def test_an_origin_out_of_reach_holds_up_nothing_and_is_told_once_until_it_is_back(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config=PUSHED)
    origin = tmp_path / "origin.git"
    git(project.root, "remote", "add", "origin", str(origin))
    for _ in range(2):
        one_request(project)
        project.run_train()
        project.clock.advance(minutes=11)
        project.run_train()
    assert len(landed(project)) == 2
    assert git(project.root, "rev-parse", "main") == project.target
    assert len(told(project, "fetch_failed")) == 1
    assert len(told(project, "push_failed")) == 1
    assert project.services.train.seconds_until_retry() < LONGEST_WAIT_SECONDS
    git(tmp_path, "init", "--quiet", "--bare", "-b", "main", str(origin))
    project.clock.advance(minutes=11)
    project.run_train()
    assert git(origin, "rev-parse", "main") == project.target
    # Gone once more: that is news again.
    origin.rename(tmp_path / "gone.git")
    project.clock.advance(minutes=11)
    one_request(project)
    project.run_train()
    assert len(told(project, "fetch_failed")) == 2
    assert len(told(project, "push_failed")) == 2


def test_a_remote_that_failed_is_not_asked_again_at_every_step(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=PUSHED)
    origin = tmp_path / "origin.git"
    git(project.root, "remote", "add", "origin", str(origin))
    one_request(project)
    project.run_train()
    git(tmp_path, "init", "--quiet", "--bare", "-b", "main", str(origin))
    project.run_train()
    assert git(origin, "for-each-ref") == ""
    project.clock.advance(seconds=project.services.train.seconds_until_retry())
    project.run_train()
    assert git(origin, "rev-parse", "main") == project.target


def test_pushing_without_an_origin_is_told_once_and_holds_up_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=PUSHED)
    requests = [one_request(project), one_request(project)]
    project.run_train()
    assert landed(project) == [request.id for request in requests]
    (event,) = told(project, "push_failed")
    assert "There is no remote origin." in event["detail"]
