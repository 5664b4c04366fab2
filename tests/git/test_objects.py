"""What is read within the process is what git says; where that is not sure, git is asked."""

from pathlib import Path

import pytest

from sf_mcp.core.errors import NotFound
from sf_mcp.core.models import Oid
from sf_mcp.git.command import GitFailed
from sf_mcp.git.objects import Objects, Unanswered
from sf_mcp.git.repository import Repository
from tests.git.builders_repositories import a_repository, commit, git

MAIN = "refs/heads/main"


def test_commits_trees_and_ancestors_are_those_that_git_names(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "r")
    first = Oid(git(root, "rev-parse", "HEAD"))
    second = commit(root, {"new.txt": "new\n"})
    git(root, "tag", "--annotate", "v1", "--message", "one", first)
    objects = Objects(root / ".git")
    assert objects.commit(MAIN) == objects.commit(second) == second
    assert objects.commit("refs/tags/v1") == first
    assert objects.tree(MAIN) == git(root, "rev-parse", "HEAD^{tree}")
    assert objects.is_ancestor(first, second)
    assert objects.is_ancestor(second, second)
    assert not objects.is_ancestor(second, first)


def test_what_git_moves_packs_and_deletes_meanwhile_is_seen_at_once(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "r")
    objects = Objects(root / ".git")
    first = objects.commit(MAIN)
    second = commit(root, {"new.txt": "new\n"})
    assert objects.commit(MAIN) == second
    git(root, "gc", "--quiet")
    assert objects.commit(MAIN) == second
    git(root, "update-ref", MAIN, first)
    assert objects.commit(MAIN) == first
    third = commit(root, {"third.txt": "third\n"})
    git(root, "pack-refs", "--all")
    assert objects.commit(MAIN) == third
    git(root, "branch", "gone")
    assert objects.commit("refs/heads/gone") == third
    git(root, "branch", "--delete", "--force", "gone")
    with pytest.raises(Unanswered):
        objects.commit("refs/heads/gone")


@pytest.mark.parametrize("name", ["main", "HEAD", "HEAD~0", f"{MAIN}^{{commit}}", "refs/heads/no"])
def test_any_other_name_is_left_to_git(tmp_path: Path, name: str) -> None:
    root = a_repository(tmp_path / "r")
    with pytest.raises(Unanswered):
        Objects(root / ".git").commit(name)
    expected = None if name == "refs/heads/no" else git(root, "rev-parse", "HEAD")
    assert Repository(root / ".git").head_of(name) == expected


def test_what_is_no_commit_is_refused_in_git_s_words(tmp_path: Path) -> None:
    repository = Repository(a_repository(tmp_path / "r") / ".git")
    head = repository.require_commit(MAIN)
    assert repository.head_of(repository.tree_of(head)) is None
    assert repository.head_of("0" * 40) is None
    with pytest.raises(NotFound, match="0000"):
        repository.tree_of("0" * 40)
    with pytest.raises(GitFailed, match="0000"):
        repository.is_ancestor("0" * 40, head)


def test_a_repository_that_only_git_can_read_is_read_by_git(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "-b", "main", "--object-format=sha256", "r")
    first = commit(tmp_path / "r", {"a.txt": "a\n"})
    second = commit(tmp_path / "r", {"a.txt": "b\n"})
    repository = Repository(tmp_path / "r" / ".git")
    assert len(first) == 64
    assert repository.head_of(MAIN) == second
    assert repository.tree_of(first) == git(tmp_path / "r", "rev-parse", f"{first}^{{tree}}")
    assert repository.is_ancestor(first, second)
    assert not repository.is_ancestor(second, first)
