"""Merges in memory: clean or conflicted by git's own rules, previews without a trace."""

from pathlib import Path

import pytest

from sf_mcp.core.models import Oid
from sf_mcp.git import merging
from sf_mcp.git.command import GitFailed
from sf_mcp.git.merging import (
    Candidate,
    Conflicted,
    Merged,
    Strategy,
    build_candidate,
    conflicts_with,
    merge_trees,
)
from sf_mcp.git.repository import Repository
from tests.git.builders_repositories import ADA, a_repository, commit, git

TEN = "".join(f"{n}\n" for n in range(10))
FILES = {"a": TEN, "b": TEN, "old/one": "1\n" * 9, "old/two": "2\n" * 9, "c d/é": TEN}


class Branches:
    """A repository with branches that each make one change to the same base."""

    def __init__(self, path: Path) -> None:
        self.root = a_repository(path, FILES)
        self.repository = Repository(self.root / ".git")
        self.base = self.repository.require_commit("main")

    def branch(self, name: str, files: dict[str, str | None]) -> Oid:
        git(self.root, "checkout", "-q", "-b", name, self.base)
        made = commit(self.root, files, name)
        git(self.root, "checkout", "-q", "main")
        return made

    def objects(self) -> set[Path]:
        return {path for path in (self.root / ".git" / "objects").rglob("*") if path.is_file()}


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


def previews(branches: Branches, mine: Oid, others: dict[str, Oid]) -> dict[str, Conflicted]:
    return conflicts_with(branches.repository, mine, others, target=branches.base)


def test_a_preview_finds_exactly_the_conflicts_and_writes_nothing(branches: Branches) -> None:
    """Known defect 4: the early check never matched anything."""
    mine = branches.branch("mine", {"a": "mine\n", "b": "first\n" + TEN})
    others = {
        "same line": branches.branch("one", {"a": "theirs\n"}),
        "same file, far away": branches.branch("two", {"b": TEN + "last\n"}),
        "another file": branches.branch("three", {"c d/é": "x\n"}),
        "the same change": branches.branch("four", {"a": "mine\n"}),
        "deletes it": branches.branch("five", {"a": None}),
        "nothing at all": branches.base,
    }
    before = branches.objects()
    found = previews(branches, mine, others)
    assert set(found) == {"same line", "deletes it"}
    assert found["same line"].paths == ("a",)
    assert "modify/delete" in found["deletes it"].messages[0]
    assert branches.objects() == before


def test_one_process_per_pair_says_the_same_as_a_batch(
    branches: Branches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git 2.38 has no `merge-tree --stdin`."""
    mine = branches.branch("mine", {"a": "mine\n", "b": "first\n" + TEN})
    others = {
        "x": branches.branch("one", {"a": "theirs\n", "b": "other\n"}),
        "y": branches.branch("two", {"b": TEN + "last\n"}),
        "z": branches.branch("three", {"a": None}),
    }
    batch = previews(branches, mine, others)
    monkeypatch.setattr(merging, "BATCH_VERSION", (99, 0))
    before = branches.objects()
    assert previews(branches, mine, others) == batch
    assert set(batch) == {"x", "z"}
    assert branches.objects() == before


def test_a_renamed_file_meets_changes_under_its_old_name(branches: Branches) -> None:
    mine = branches.branch("mine", {"a": None, "renamed": "mine\n" + TEN})
    other = branches.branch("other", {"a": "other\n" + TEN})
    assert set(previews(branches, mine, {"other": other})) == {"other"}
    assert set(previews(branches, other, {"mine": mine})) == {"mine"}


def test_a_renamed_folder_meets_files_added_under_its_old_name(branches: Branches) -> None:
    """Git takes the whole folder as renamed; plain path sets would not overlap."""
    mine = branches.branch(
        "mine",
        {"old/one": None, "old/two": None, "new/one": "1\n" * 9, "new/two": "2\n" * 9},
    )
    other = branches.branch("other", {"old/three": "3\n"})
    assert isinstance(merge_trees(branches.repository, mine, other), Conflicted)
    assert set(previews(branches, mine, {"other": other})) == {"other"}
    assert set(previews(branches, other, {"mine": mine})) == {"mine"}


def test_branches_with_older_bases_are_compared_from_where_they_left(branches: Branches) -> None:
    old = branches.branch("old", {"b": "old\n"})
    branches.base = commit(branches.root, {"a": "landed\n"})
    mine = branches.branch("mine", {"a": "mine\n"})
    assert previews(branches, mine, {"old": old}) == {}


def test_no_others_is_no_conflict(branches: Branches) -> None:
    assert previews(branches, branches.base, {}) == {}
