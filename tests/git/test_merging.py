"""Merges in memory: clean or conflicted by git's own rules."""

from pathlib import Path

import pytest

from sf_mcp.core.models import Oid
from sf_mcp.git.command import GitFailed
from sf_mcp.git.merging import Conflicted, Merged, merge_trees
from tests.git.builders_branches import TEN, Branches
from tests.git.builders_repositories import git


@pytest.fixture
def branches(tmp_path: Path) -> Branches:
    return Branches(tmp_path / "r ü")


def test_changes_in_different_places_merge(branches: Branches) -> None:
    ours = branches.branch("ours", {"a": "first\n" + TEN})
    theirs = branches.branch("theirs", {"a": TEN + "last\n"})
    merged = merge_trees(branches.repository, ours, theirs)
    assert isinstance(merged, Merged)
    assert git(branches.root, "show", f"{merged.tree}:a") == f"first\n{TEN}last"


def test_a_conflict_names_its_paths_and_says_what_it_is(branches: Branches) -> None:
    ours = branches.branch("ours", {"c d/é": "ours\n", "b": "same\n"})
    theirs = branches.branch("theirs", {"c d/é": "theirs\n", "b": "same\n"})
    assert merge_trees(branches.repository, ours, theirs) == Conflicted(
        paths=("c d/é",), messages=("CONFLICT (content): Merge conflict in c d/é",)
    )


def test_something_that_is_no_commit_is_an_error_not_a_conflict(branches: Branches) -> None:
    with pytest.raises(GitFailed):
        merge_trees(branches.repository, branches.base, Oid("1" * 40))
