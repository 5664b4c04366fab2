"""Refs by compare-and-swap, undoing foreign moves, ranges and diffs."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sf_mcp.core.errors import NotFound, TargetMoved
from sf_mcp.core.models import Oid
from sf_mcp.git.command import GitFailed
from sf_mcp.git.repository import Repository
from tests.git.builders_repositories import ADA, NOON, a_project, a_repository, commit, git, write


def repository_at(path: Path) -> Repository:
    return Repository(a_repository(path) / ".git")


def test_of_two_swaps_at_once_exactly_one_wins(tmp_path: Path) -> None:
    """Known defect 2: both of two merges reported success, one was lost."""
    forge = a_project(tmp_path / "p").forge
    old = forge.head_of("refs/heads/main")
    assert old is not None
    candidates = [
        forge.commit_tree(forge.tree_of(old), [old], f"candidate {n}", ADA) for n in range(8)
    ]
    start = threading.Barrier(len(candidates))

    def land(candidate: Oid) -> bool:
        start.wait(10)
        try:
            forge.compare_and_swap("refs/heads/main", new=candidate, old=old)
        except TargetMoved:
            return False
        return True

    with ThreadPoolExecutor(len(candidates)) as pool:
        won = list(pool.map(land, candidates))
    assert won.count(True) == 1
    assert forge.head_of("refs/heads/main") == candidates[won.index(True)]


def test_the_loser_of_two_swaps_can_build_on_the_winner(tmp_path: Path) -> None:
    """Known defect 6: the loser failed for good."""
    forge = a_project(tmp_path / "p").forge
    old = forge.require_commit("refs/heads/main")
    winner = forge.commit_tree(forge.tree_of(old), [old], "winner", ADA)
    forge.compare_and_swap("refs/heads/main", new=winner, old=old)
    late = forge.commit_tree(forge.tree_of(old), [old], "late", ADA)
    with pytest.raises(TargetMoved, match=winner):
        forge.compare_and_swap("refs/heads/main", new=late, old=old)
    again = forge.commit_tree(forge.tree_of(winner), [winner], "late", ADA)
    forge.compare_and_swap("refs/heads/main", new=again, old=winner)
    assert forge.is_ancestor(winner, again)


def test_a_ref_is_created_only_if_it_is_not_there(tmp_path: Path) -> None:
    repository = repository_at(tmp_path / "r")
    head = repository.require_commit("HEAD")
    repository.compare_and_swap("refs/heads/new", new=head, old=None)
    with pytest.raises(TargetMoved):
        repository.compare_and_swap("refs/heads/new", new=head, old=None)


def test_a_swap_to_something_that_is_no_commit_is_refused(tmp_path: Path) -> None:
    repository = repository_at(tmp_path / "r")
    head = repository.require_commit("HEAD")
    with pytest.raises(GitFailed):
        repository.compare_and_swap("refs/heads/main", new=Oid("1" * 40), old=head)
    assert repository.head_of("refs/heads/main") == head


@pytest.mark.parametrize("lock", ["HEAD.lock", "refs/heads/main.lock"])
def test_a_lock_that_a_killed_git_left_does_not_stop_a_swap(tmp_path: Path, lock: str) -> None:
    """Known defect 41."""
    forge = a_project(tmp_path / "p").forge
    old = forge.require_commit("refs/heads/main")
    new = forge.commit_tree(forge.tree_of(old), [old], "next", ADA)
    left = forge.git_dir / lock
    left.parent.mkdir(parents=True, exist_ok=True)
    left.touch()
    long_ago = time.time() - 60
    os.utime(left, (long_ago, long_ago))
    forge.compare_and_swap("refs/heads/main", new=new, old=old)
    assert forge.head_of("refs/heads/main") == new


def test_a_foreign_move_is_undone_and_its_commit_kept(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    expected = project.target
    worktree = project.prepare()
    foreign = commit(worktree.path, {"x": "x"})
    git(worktree.path, "-c", "core.hooksPath=/dev/null", "branch", "-f", "main", "HEAD")
    assert project.target == foreign
    assert project.forge.restore("refs/heads/main", expected=expected, name="M1") == foreign
    assert project.target == expected
    assert foreign in project.forge.refs_below("refs/stoneforge/kept").values()
    assert project.forge.restore("refs/heads/main", expected=expected, name="M1") is None


def test_a_deleted_target_is_put_back(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    expected = project.target
    git(
        project.forge.git_dir,
        "-c",
        "core.hooksPath=/dev/null",
        "update-ref",
        "-d",
        "refs/heads/main",
    )
    assert project.forge.restore("refs/heads/main", expected=expected, name="M1") == expected
    assert project.target == expected


def test_two_commits_kept_under_one_name_are_both_kept(tmp_path: Path) -> None:
    repository = repository_at(tmp_path / "r")
    one = repository.require_commit("HEAD")
    two = repository.commit_tree(repository.tree_of(one), [one], "two", ADA)
    refs = [repository.keep(one, "x"), repository.keep(two, "x"), repository.keep(one, "x")]
    assert refs == [
        "refs/stoneforge/kept/x",
        "refs/stoneforge/kept/x-2",
        "refs/stoneforge/kept/x",
    ]


TITLES = [
    "use `touch hacked` and $(touch hacked) and $HOME",
    "--amend",
    "-m",
    'it\'s "quoted"; rm -rf ~',
    "🎉 ünï ✓",
    "two\nlines",
    "\\n %s %H",
]


@pytest.mark.parametrize("title", TITLES)
def test_a_message_is_kept_to_the_letter_and_runs_nothing(tmp_path: Path, title: str) -> None:
    """Known defect 3: a title reached a shell."""
    repository = repository_at(tmp_path / "r")
    head = repository.require_commit("HEAD")
    made = repository.commit_tree(repository.tree_of(head), [head], title, ADA, NOON)
    assert git(tmp_path / "r", "log", "-1", "--format=%B", made) == title
    assert not list(tmp_path.rglob("hacked"))


def test_a_commit_has_the_identity_and_the_time_it_is_given(tmp_path: Path) -> None:
    repository = repository_at(tmp_path / "r")
    head = repository.require_commit("HEAD")
    made = repository.commit_tree(repository.tree_of(head), [head], "x", ADA, NOON)
    entry = repository.log_between(head, made)
    assert [(e.commit, e.subject, e.author, e.at) for e in entry] == [
        (made, "x", "Ada Lovelace <ada@example.org>", NOON)
    ]


def test_both_sides_of_a_rename_are_changed_paths(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "r")
    git(root, "mv", "src/app.py", "src/ä b.py")
    new = commit(root, {"new\nline": "x"})
    assert Repository(root / ".git").changed_paths(f"{new}^", new) == (
        "new\nline",
        "src/app.py",
        "src/ä b.py",
    )


def test_the_pages_of_a_diff_make_up_the_whole(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "r")
    new = commit(root, {"long": "".join(f"line {n} ü\n" for n in range(500))})
    repository = Repository(root / ".git")
    whole = repository.diff(f"{new}^", new, max_bytes=1_000_000)
    assert whole.next_start is None
    pages: list[str] = []
    start: int | None = 0
    while start is not None:
        page = repository.diff(f"{new}^", new, start=start, max_bytes=1000)
        assert len(page.text.encode()) <= 1000
        pages.append(page.text)
        start = page.next_start
    assert len(pages) > 5
    assert "".join(pages) == whole.text


def test_a_diff_can_be_limited_to_literal_paths(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "r")
    new = commit(root, {"a*": "star\n", "ab": "plain\n"})
    page = Repository(root / ".git").diff(f"{new}^", new, paths=["a*"])
    assert "star" in page.text
    assert "plain" not in page.text


def test_a_commit_that_is_not_there_is_named(tmp_path: Path) -> None:
    repository = repository_at(tmp_path / "r")
    assert repository.head_of("refs/heads/none") is None
    assert repository.head_of("--all") is None
    with pytest.raises(NotFound, match="nosuch"):
        repository.tree_of("nosuch")
    with pytest.raises(GitFailed):
        repository.diff("nosuch", "HEAD")


def test_the_caller_s_git_variables_do_not_lead_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server started from a hook or a rebase inherits GIT_DIR and GIT_INDEX_FILE."""
    one, other = a_repository(tmp_path / "one"), a_repository(tmp_path / "other")
    head = commit(one, {"x": "x"})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "nowhere"))
    assert Repository(one / ".git").head_of("HEAD") == head


def test_a_replaced_object_does_not_fool_the_server(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "r")
    real = Repository(root / ".git").tree_of("HEAD")
    write(root, {"evil": "x"})
    evil = commit(root, {"evil": "x"})
    git(root, "replace", f"{evil}^", git(root, "commit-tree", f"{evil}^{{tree}}", "-m", "x"))
    assert Repository(root / ".git").tree_of(f"{evil}^") == real
