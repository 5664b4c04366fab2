"""Merges in memory: clean or conflicted by git's own rules, previews without a trace."""

from pathlib import Path

import pytest

from sf_mcp.core.models import Oid
from sf_mcp.git.command import GitFailed
from sf_mcp.git.merging import (
    Candidate,
    Conflicted,
    Merged,
    Strategy,
    build_candidate,
    merge_trees,
)
from tests.git.builders_branches import TEN, Branches
from tests.git.builders_repositories import ADA, git


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


@pytest.mark.parametrize(("strategy", "parents"), [(Strategy.SQUASH, 1), (Strategy.MERGE, 2)])
def test_a_candidate_has_the_merged_tree_and_moves_no_ref(
    branches: Branches, strategy: Strategy, parents: int
) -> None:
    target = branches.branch("target", {"a": "a\n"})
    theirs = branches.branch("theirs", {"b": "b\n"})
    before = branches.repository.refs_below("refs")
    made = build_candidate(
        branches.repository,
        target_head=target,
        commit=theirs,
        message="T1: use `x` and $(y)",
        strategy=strategy,
        identity=ADA,
    )
    assert isinstance(made, Candidate)
    assert branches.repository.tree_of(made.commit) == made.tree
    assert git(branches.root, "show", f"{made.tree}:a") == "a"
    assert git(branches.root, "show", f"{made.tree}:b") == "b"
    assert (
        git(branches.root, "log", "-1", "--format=%P", made.commit).split()
        == ([target, theirs][:parents])
    )
    assert git(branches.root, "log", "-1", "--format=%s|%an", made.commit) == (
        "T1: use `x` and $(y)|Ada Lovelace"
    )
    assert branches.repository.refs_below("refs") == before


def test_a_conflicting_candidate_is_not_made(branches: Branches) -> None:
    target = branches.branch("target", {"a": "a\n"})
    theirs = branches.branch("theirs", {"a": "b\n"})
    made = build_candidate(
        branches.repository,
        target_head=target,
        commit=theirs,
        message="x",
        strategy=Strategy.SQUASH,
        identity=ADA,
    )
    assert isinstance(made, Conflicted)
    assert made.paths == ("a",)
