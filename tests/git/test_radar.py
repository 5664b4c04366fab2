"""Trial merges of many branches: exactly git's conflicts, with their lines, and without a trace."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from sf_mcp.core.models import Oid
from sf_mcp.core.radar import Clash, Hunk
from sf_mcp.git import radar
from sf_mcp.git import trial_merges as trials
from sf_mcp.git.merging import Conflicted, merge_trees
from sf_mcp.git.radar import Radar
from sf_mcp.git.repository import Repository
from tests.git.builders_branches import TEN, Branches
from tests.git.builders_repositories import commit, git


@pytest.fixture
def branches(tmp_path: Path) -> Branches:
    return Branches(tmp_path / "r ü")


def previews(branches: Branches, mine: Oid, others: dict[str, Oid]) -> dict[str, Clash]:
    """Return which of the others `mine` conflicts with, by their names here."""
    ids = {f"T{number}": name for number, name in enumerate(others, start=2)}
    commits = {"T1": mine, **{task_id: others[name] for task_id, name in ids.items()}}
    survey = Radar(branches.repository).survey(commits, branches.base)
    return {ids[one.other]: one.clash for one in survey.of("T1") if one.other is not None}


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
    assert found["same line"].hunks == (Hunk("a", "mine", "theirs"),)
    assert "modify/delete" in found["deletes it"].said[0].sentence
    assert found["deletes it"].hunks == ()
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
    monkeypatch.setattr(trials, "BATCH_VERSION", (99, 0))
    before = branches.objects()
    assert previews(branches, mine, others) == batch
    assert set(batch) == {"x", "z"}
    assert branches.objects() == before


def test_where_files_cannot_be_kept_in_memory_the_disk_takes_them(
    branches: Branches, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = branches.branch("mine", {"a": "mine\n"})
    other = branches.branch("other", {"a": "other\n"})
    found = previews(branches, mine, {"other": other})
    for place in (tmp_path / "nowhere", Path("/proc")):  # one that is not there, one for no files
        monkeypatch.setattr(trials, "IN_MEMORY", place)
        assert previews(branches, mine, {"other": other}) == found


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


def test_a_file_meets_a_folder_of_its_name(branches: Branches) -> None:
    mine = branches.branch("mine", {"thing": "a file\n"})
    other = branches.branch("other", {"thing/inside": "in a folder\n"})
    assert set(previews(branches, mine, {"other": other})) == {"other"}
    assert set(previews(branches, other, {"mine": mine})) == {"mine"}


def test_hunks_show_both_sides_and_are_cut(branches: Branches) -> None:
    mine = branches.branch("mine", {"b": "x" * 500 + "\n" + TEN[2:]})
    other = branches.branch("other", {"b": "".join(f"other {n}\n" for n in range(30))})
    (hunk,) = previews(branches, mine, {"other": other})["other"].hunks
    assert hunk.path == "b"
    assert hunk.ours.splitlines()[0] == "x" * trials.LINE_CHARACTERS
    assert hunk.theirs.splitlines()[-1] == f"… and {30 - trials.HUNK_LINES} more lines"


def test_a_line_that_looks_like_a_marker_is_a_line(branches: Branches) -> None:
    mine = branches.branch("mine", {"a": "<<<<<<< HEAD\nmine\n"})
    other = branches.branch("other", {"a": ">>>>>>> theirs\n"})
    found = previews(branches, mine, {"other": other})["other"]
    assert found.hunks == (Hunk("a", "<<<<<<< HEAD\nmine", ">>>>>>> theirs"),)


def test_a_binary_file_is_said_to_be_one(branches: Branches) -> None:
    mine = branches.branch("mine", {"c d/é": "\0mine"})
    other = branches.branch("other", {"c d/é": "\0other"})
    found = previews(branches, mine, {"other": other})["other"]
    assert (found.paths, found.hunks) == (("c d/é",), ())
    assert "c d/é" in found.said[0].sentence


def test_what_landed_before_the_other_left_is_no_conflict_with_the_other(
    branches: Branches,
) -> None:
    """A merge of two branches with different bases brings along what landed between them."""
    old = branches.branch("old", {"a": "old\n", "b": "old\n" + TEN})
    branches.base = commit(branches.root, {"a": "landed\n"})
    new = branches.branch("new", {"b": TEN + "new\n"})
    merged = merge_trees(branches.repository, old, new)
    assert isinstance(merged, Conflicted)
    assert merged.paths == ("a",)
    survey = Radar(branches.repository).survey({"T1": old, "T2": new}, branches.base)
    assert survey.between == {}
    assert set(survey.with_target) == {"T1"}
    assert survey.with_target["T1"].hunks == (Hunk("a", "old", "landed"),)


def test_a_branch_without_common_history_is_said_to_be_one_and_stops_no_other(
    branches: Branches,
) -> None:
    git(branches.root, "checkout", "-q", "--orphan", "alone")
    stranger = commit(branches.root, {"a": "alone\n"})
    git(branches.root, "checkout", "-q", "main")
    commits = {
        "T1": stranger,
        "T2": branches.branch("two", {"a": "two\n"}),
        "T3": branches.branch("three", {"a": "three\n"}),
    }
    survey = Radar(branches.repository).survey(commits, branches.base)
    assert set(survey.with_target) == {"T1"}
    assert set(survey.between) == {("T2", "T3")}


def test_a_branch_that_has_met_the_target_twice_is_compared_from_both(branches: Branches) -> None:
    """Where histories cross there are two best common ancestors."""
    one = branches.branch("one", {"a": "one\n"})
    two = branches.branch("two", {"b": "two\n"})
    for name, other in (("cross", one), ("crossed", two)):
        git(branches.root, "checkout", "-q", "-b", name, two if other is one else one)
        git(branches.root, "merge", "-q", "-m", name, other)
    target = branches.repository.require_commit("crossed")
    git(branches.root, "checkout", "-q", "cross")
    mine = commit(branches.root, {"c d/é": "mine\n"})
    assert set(radar.bases(branches.repository, target, mine)) == {one, two}
    other = branches.branch("other", {"c d/é": "other\n"})
    survey = Radar(branches.repository).survey({"T1": mine, "T2": other}, target)
    assert survey.between[("T1", "T2")].paths == ("c d/é",)


def test_only_what_is_new_is_merged(branches: Branches, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = {
        f"T{number}": branches.branch(f"b{number}", {"a": f"{number}\n"}) for number in range(1, 4)
    }
    looker = Radar(branches.repository)
    first = looker.survey(commits, branches.base)
    assert len(first.between) == 3
    asked: list[int] = []
    really = radar.trial_merges

    def counted(repository: Repository, pairs: Sequence[tuple[Oid, Oid]]) -> list[Clash | None]:
        asked.append(len(pairs))
        return really(repository, pairs)

    monkeypatch.setattr(radar, "trial_merges", counted)
    commits["T3"] = branches.branch("b4", {"b": "far\n"})
    second = looker.survey(commits, branches.base)
    assert sum(asked) == 0
    assert set(second.between) == {("T1", "T2")}
    commits["T3"] = branches.branch("b5", {"a": "again\n"})
    assert len(looker.survey(commits, branches.base).between) == 3
    assert sum(asked) == 2
    assert looker.survey(commits, branches.base) == Radar(branches.repository).survey(
        commits, branches.base
    )
