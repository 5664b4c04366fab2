"""Commits that arrive on the person's branch or on `origin`, and histories that were rewritten."""

import subprocess
from pathlib import Path

import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import LandingKind
from sf_mcp.git.remotes import push_to_remote
from sf_mcp.service import publishing
from tests.builders import Project, a_commit, a_project, git
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


def notes(project: Project) -> list[str]:
    found = project.services.fleet.fleet_status(PERSON).notes
    return [note for note in found if "was rewritten" in note]


def way(note: str, which: str) -> str:
    """Return the commands that the note gives for one of the two ways out."""
    theirs, ours = note.split("To take the rewritten one: ", 1)[1].split(" — To put back what ")
    return theirs if which == "theirs" else ours.split(": ", 1)[1]


def follow(commands: str, cwd: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-ec", commands], cwd=cwd, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def later(project: Project) -> None:
    """Let the pause between two looks at the remote pass, and what follows happen."""
    project.clock.advance(minutes=11)
    project.run_train()


def is_in_target(project: Project, commit: str) -> bool:
    return project.forge.is_ancestor(commit, project.target)


# -- the person's branch ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "rebased"])
def test_a_rewritten_branch_of_the_persons_is_left_alone_and_told_and_landing_goes_on(
    tmp_path: Path, how: str
) -> None:
    project = a_project(tmp_path)
    base = git(project.root, "rev-parse", "main")
    first = one_request(project, {"a": "a\n"})
    project.run_train()
    was = git(project.root, "rev-parse", "main")
    git(project.root, "reset", "--quiet", "--hard", base)
    if how == "rebased":
        a_commit(project.root, {"mine": "m\n"}, "mine instead")
    now = git(project.root, "rev-parse", "main")
    second = one_request(project, {"b": "b\n"})
    project.run_train()
    project.run_train()
    assert landed(project) == [first.id, second.id]
    assert git(project.root, "rev-parse", "main") == now
    (note,) = notes(project)
    assert note.startswith(f"Your main was rewritten from {was[:12]} to {now[:12]}: 2 commits that")
    assert project.services.fleet.fleet_status(PERSON).target.checkout.startswith("left alone: its")
    (event,) = told(project, "upstream_rewritten")
    assert (event["place"], event["was"], event["now"]) == ("person", was, now)
    assert files_on_target(project)[:2] == ["a", "b"]


@pytest.mark.parametrize("how", ["reset", "rebased"])
@pytest.mark.parametrize("which", ["theirs", "ours"])
def test_both_ways_out_of_a_rewritten_branch_work_as_they_are_printed(
    tmp_path: Path, how: str, which: str
) -> None:
    project = a_project(tmp_path)
    base = git(project.root, "rev-parse", "main")
    one_request(project, {"a": "a\n"})
    project.run_train()
    was = project.target
    git(project.root, "reset", "--quiet", "--hard", base)
    if how == "rebased":
        a_commit(project.root, {"mine": "m\n"}, "mine instead")
    now = git(project.root, "rev-parse", "main")
    project.run_train()
    follow(way(notes(project)[0], which), tmp_path)
    project.run_train()
    assert (notes(project), len(told(project, "upstream_followed"))) == ([], 1)
    assert git(project.root, "rev-parse", "main") == project.target
    assert git(project.root, "status", "--porcelain") == ""
    assert is_in_target(project, was)
    assert ("a" in files_on_target(project)) == (which == "ours")
    if which == "theirs":
        assert is_in_target(project, now)
    # What they had made instead is kept, whatever they chose.
    assert now in project.forge.refs_below("refs/stoneforge/kept").values()
    request = one_request(project, {"c": "c\n"})
    project.run_train()
    assert landed(project)[-1] == request.id
    assert (project.root / "c").exists()


def test_a_rewrite_while_no_server_ran_is_seen_at_the_next_start(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    base = git(project.root, "rev-parse", "main")
    one_request(project, {"a": "a\n"})
    project.run_train()
    project.services.close()
    git(project.root, "reset", "--quiet", "--hard", base)
    project.reopen()
    project.run_train()
    assert len(notes(project)) == 1
    assert git(project.root, "rev-parse", "main") == base


def test_a_checkout_that_could_not_follow_is_not_taken_for_a_rewritten_one(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    one_request(project, {"src/app.py": "ONE\n"})
    (project.root / "src/app.py").write_text("in the middle of it\n")
    project.run_train()
    git(project.root, "checkout", "--quiet", "--", "src/app.py")
    a_commit(project.root, {"mine": "m\n"}, "mine")
    project.run_train()
    assert notes(project) == []
    assert git(project.root, "rev-parse", "main") == project.target
    assert content(project, "mine") == "m"


# -- origin ----------------------------------------------------------------------------------------


def a_force_push(origin: Path, folder: Path, base: str) -> str:
    """Have somebody replace what origin's branch has by a commit of their own on `base`."""
    other = a_clone(origin, folder)
    git(other, "reset", "--quiet", "--hard", base)
    theirs = a_commit(other, {"theirs": "t\n"}, "theirs instead")
    git(other, "push", "--quiet", "--force", "origin", "main")
    return theirs


@pytest.mark.parametrize("which", ["theirs", "ours"])
def test_a_force_pushed_origin_stops_the_pushing_until_one_of_two_commands_was_run(
    tmp_path: Path, which: str
) -> None:
    project = a_project(tmp_path, config=PUSHED)
    origin = an_origin(project, tmp_path / "origin.git")
    base = git(project.root, "rev-parse", "main")
    one_request(project, {"a": "a\n"})
    project.run_train()
    was = project.target
    theirs = a_force_push(origin, tmp_path / "other", base)
    second = one_request(project, {"b": "b\n"})
    later(project)
    later(project)
    assert landed(project)[-1] == second.id
    assert git(origin, "rev-parse", "main") == theirs
    # The person's own branch still has everything.
    assert git(project.root, "rev-parse", "main") == project.target
    (note,) = notes(project)
    assert note.startswith(f"origin/main was rewritten from {was[:12]} to {theirs[:12]}: 2 commits")
    assert len(told(project, "upstream_rewritten")) == 1

    follow(way(note, which), tmp_path)
    later(project)
    assert notes(project) == []
    assert git(origin, "rev-parse", "main") == project.target
    assert git(project.root, "rev-parse", "main") == project.target
    assert is_in_target(project, was)
    assert ("a" in files_on_target(project)) == (which == "ours")
    assert ("theirs" in files_on_target(project)) == (which == "theirs")
    third = one_request(project, {"c": "c\n"})
    later(project)
    assert landed(project)[-1] == third.id
    assert git(origin, "rev-parse", "main") == project.target


def test_a_force_push_that_only_the_refused_push_shows_is_never_overwritten(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config=PUSHED)
    origin = an_origin(project, tmp_path / "origin.git")
    base = git(project.root, "rev-parse", "main")
    one_request(project, {"a": "a\n"})
    project.run_train()
    theirs = a_force_push(origin, tmp_path / "other", base)
    one_request(project, {"b": "b\n"})
    project.run_train()  # within the pause: origin was not asked before the push
    assert git(origin, "rev-parse", "main") == theirs
    assert len(notes(project)) == 1


def test_who_pushes_between_our_look_and_our_push_is_taken_in_and_the_next_lands_on_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known defect 6, as a race: somebody is faster at the very moment of the push."""
    project = a_project(tmp_path, config=PUSHED)
    origin = an_origin(project, tmp_path / "origin.git")
    other = a_clone(origin, tmp_path / "other")
    races: list[str] = []

    def outrun(*arguments: object) -> object:
        if len(races) < 2:
            git(other, "pull", "--quiet", "--rebase", "origin", "main")
            races.append(a_commit(other, {f"race-{len(races)}": "x\n"}, "faster"))
            git(other, "push", "--quiet", "origin", "main")
        return push_to_remote(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(publishing, "push_to_remote", outrun)
    first, second = one_request(project, {"a": "a\n"}), one_request(project, {"b": "b\n"})
    project.run_train()
    assert landed(project) == [first.id, second.id]
    assert {"a", "b", "race-0", "race-1"} <= set(files_on_target(project))
    assert all(is_in_target(project, race) for race in races)
    assert git(origin, "rev-parse", "main") == project.target
    assert told(project, "push_failed") == []


# -- red -------------------------------------------------------------------------------------------


def test_red_commits_from_upstream_are_recorded_red_and_condemn_nobody_else(tmp_path: Path) -> None:
    checks = {"sound": "test ! -e broken", "words": "! grep -rq wrong src"}
    project = a_project(tmp_path, config=config(checks))
    project.run_train()
    a_commit(project.root, {"broken": "b\n"}, "breaks a check")
    project.run_train()
    (upstream,) = landings_done(project, LandingKind.UPSTREAM)
    assert upstream.is_green is False
    innocent = one_request(project, {"src/a.py": "fine\n"})
    guilty = one_request(project, {"src/b.py": "wrong\n"})
    project.run_train()
    assert landed(project) == [innocent.id]
    assert project.request(guilty.id).state.value == "sent_back"
    (landing,) = landings_done(project, LandingKind.MERGE)
    assert landing.is_green is False
    mending = one_request(project, {"broken": None})
    project.run_train()
    assert landed(project) == [innocent.id, mending.id]
    assert landings_done(project)[-1].is_green is True
