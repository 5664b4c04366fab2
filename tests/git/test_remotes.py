"""Pushing to the person's remotes and fetching from them: never forced, errors told apart."""

from pathlib import Path

import pytest

from sf_mcp.core.models import Oid
from sf_mcp.git.command import GitFailed
from sf_mcp.git.publishing import Published, publish_to_checkout
from sf_mcp.git.remotes import (
    Pushed,
    Rejected,
    RejectedBecause,
    fetch_remote,
    has_remote,
    push_to_remote,
)
from tests.git.builders_repositories import Project, a_project, commit, git, write


def with_origin(tmp_path: Path) -> tuple[Project, Path]:
    project = a_project(tmp_path / "p")
    origin = tmp_path / "origin.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(origin))
    git(project.root, "remote", "add", "origin", str(origin))
    git(project.root, "push", "-q", "origin", "main")
    return project, origin


def landed(project: Project) -> Oid:
    new = project.land({"x": "x"})
    assert publish_to_checkout(project.root, project.forge, "main", new) == Published(moved=True)
    return new


def a_colleague_pushes(tmp_path: Path, origin: Path) -> Oid:
    git(tmp_path, "clone", "-q", str(origin), "colleague")
    new = commit(tmp_path / "colleague", {"theirs": "t"})
    git(tmp_path / "colleague", "push", "-q", "origin", "main")
    return new


def test_a_landing_is_pushed_without_running_the_person_s_hooks(tmp_path: Path) -> None:
    project, origin = with_origin(tmp_path)
    write(project.root, {".git/hooks/pre-push": "#!/bin/sh\nexit 1\n"})
    (project.root / ".git/hooks/pre-push").chmod(0o755)
    new = landed(project)
    assert push_to_remote(project.root, "origin", new, "main") == Pushed()
    assert git(origin, "rev-parse", "main") == new
    assert push_to_remote(project.root, "origin", new, "main") == Pushed()


def test_nothing_of_a_colleague_is_overwritten_and_it_comes_in(tmp_path: Path) -> None:
    project, origin = with_origin(tmp_path)
    theirs = a_colleague_pushes(tmp_path, origin)
    # Even a configuration that forces every push does not force this one.
    git(project.root, "config", "remote.origin.push", "+refs/heads/*:refs/heads/*")
    rejected = push_to_remote(project.root, "origin", landed(project), "main")
    assert isinstance(rejected, Rejected)
    assert rejected.because is RejectedBecause.BEHIND
    assert git(origin, "rev-parse", "main") == theirs
    assert fetch_remote(project.root, project.forge, "origin", "main") == theirs
    assert project.forge.head_of("refs/stoneforge/upstream/origin/main") == theirs
    assert git(project.forge.git_dir, "remote") == ""


def test_the_words_of_a_refusing_remote_are_passed_on(tmp_path: Path) -> None:
    project, origin = with_origin(tmp_path)
    write(origin, {"hooks/pre-receive": "#!/bin/sh\necho main is protected >&2\nexit 1\n"})
    (origin / "hooks/pre-receive").chmod(0o755)
    rejected = push_to_remote(project.root, "origin", landed(project), "main")
    assert isinstance(rejected, Rejected)
    assert rejected.because is RejectedBecause.REFUSED
    assert "main is protected" in rejected.reason


def test_an_unreachable_remote_is_told_apart(tmp_path: Path) -> None:
    project, origin = with_origin(tmp_path)
    origin.rename(tmp_path / "gone")
    rejected = push_to_remote(project.root, "origin", landed(project), "main")
    assert isinstance(rejected, Rejected)
    assert rejected.because is RejectedBecause.UNREACHABLE
    with pytest.raises(GitFailed):
        fetch_remote(project.root, project.forge, "origin", "main")


def test_no_remote_at_all_is_a_normal_case(tmp_path: Path) -> None:
    """Known defect 8."""
    project = a_project(tmp_path / "p")
    assert not has_remote(project.root, "origin")
    rejected = push_to_remote(project.root, "origin", landed(project), "main")
    assert isinstance(rejected, Rejected)
    assert rejected.because is RejectedBecause.NO_REMOTE
    assert fetch_remote(project.root, project.forge, "origin", "main") is None


def test_a_branch_that_the_remote_lacks_is_none(tmp_path: Path) -> None:
    project, _ = with_origin(tmp_path)
    assert fetch_remote(project.root, project.forge, "origin", "other") is None
    assert push_to_remote(project.root, "origin", landed(project), "other") == Pushed()
    assert fetch_remote(project.root, project.forge, "origin", "other") == project.target
