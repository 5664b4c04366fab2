"""Submodules, LFS pointers and merge drivers: told, and neither merged by lines nor by rule."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from sf_mcp.core.models import Oid
from sf_mcp.git.repository import Repository
from sf_mcp.git.resolving import Generate, Resolved, Unresolved, resolve
from sf_mcp.settings import ResolveRule
from tests.git.builders_repositories import a_repository, commit, git

TEN = "".join(f"line {n}\n" for n in range(10))
LOG = "# Changes\n\n- old\n"
EVERY = (
    ResolveRule(rule="union", paths=("**",)),
    ResolveRule(rule="identical"),
    ResolveRule(rule="generated", paths=("**",), run="true"),
)


def never(rule: ResolveRule, tree: Oid) -> Oid:
    raise AssertionError("no command may run for such a path")


class World:
    """A bare forge with a target and a branch: its merges read no committed attributes."""

    def __init__(self, path: Path, files: Mapping[str, str]) -> None:
        self.root = a_repository(path, files)

    def branch(self, name: str, files: Mapping[str, str | None]) -> Oid:
        git(self.root, "checkout", "-q", "-B", name, "main")
        made = commit(self.root, files, name)
        git(self.root, "checkout", "-q", "main")
        return made

    def resolve(
        self, ours: Oid, theirs: Oid, *rules: ResolveRule, generate: Generate = never
    ) -> Resolved | Unresolved:
        bare = self.root.with_name("forge.git")
        if not bare.exists():
            git(self.root, "clone", "--quiet", "--bare", str(self.root), str(bare))
        git(bare, "fetch", "--quiet", str(self.root), "+refs/heads/*:refs/heads/*")
        return resolve(Repository(bare), ours=ours, theirs=theirs, rules=rules, generate=generate)


def far_apart(world: World, path: str) -> tuple[Oid, Oid]:
    """Have both sides change the file in places that do not meet."""
    ours = world.branch("ours", {path: "first\n" + TEN})
    return ours, world.branch("theirs", {path: TEN + "last\n"})


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("merge=ours", "name the merge driver `ours`, which the forge does not run"),
        ("-merge", "say that it is never to be merged"),
        ("binary", "say that it is never to be merged"),
    ],
)
def test_a_clean_merge_by_lines_is_told_where_a_persons_git_would_not_merge_lines(
    tmp_path: Path, attribute: str, words: str
) -> None:
    world = World(tmp_path / "r", {"a/x.dat": TEN, ".gitattributes": f"*.dat {attribute}\n"})
    found = world.resolve(*far_apart(world, "a/x.dat"), *EVERY)
    assert isinstance(found, Unresolved)
    assert (found.paths, found.messages) == (("a/x.dat",), ())
    assert words in found.reason


@pytest.mark.parametrize("attribute", ["merge", "merge=text", "merge=union", "text eol=lf"])
def test_attributes_that_leave_a_clean_merge_as_it_is_are_no_reason(
    tmp_path: Path, attribute: str
) -> None:
    world = World(tmp_path / "r", {"x.dat": TEN, ".gitattributes": f"*.dat {attribute}\n"})
    assert isinstance(world.resolve(*far_apart(world, "x.dat")), Resolved)


def test_a_file_that_one_side_alone_changed_is_merged_whatever_its_driver(tmp_path: Path) -> None:
    world = World(tmp_path / "r", {"x.dat": TEN, "y": "y\n", ".gitattributes": "*.dat merge=x\n"})
    ours, theirs = world.branch("ours", {"x.dat": "x\n"}), world.branch("theirs", {"y": "z\n"})
    assert isinstance(world.resolve(ours, theirs), Resolved)


def test_a_driver_that_only_one_of_the_sides_names_counts_in_a_folder_too(tmp_path: Path) -> None:
    world = World(tmp_path / "r", {"a/x.dat": TEN})
    ours = world.branch("ours", {"a/x.dat": "first\n" + TEN})
    theirs = world.branch(
        "theirs", {"a/x.dat": TEN + "last\n", "a/.gitattributes": "x.dat merge=sum\n"}
    )
    for one, other in ((ours, theirs), (theirs, ours)):
        found = world.resolve(one, other)
        assert isinstance(found, Unresolved)
        assert "`sum`" in found.reason


def test_a_renamed_file_keeps_its_driver(tmp_path: Path) -> None:
    world = World(tmp_path / "r", {"old.dat": TEN, ".gitattributes": "*.dat merge=sum\n"})
    ours = world.branch("ours", {"old.dat": None, "new.dat": TEN + "last\n"})
    found = world.resolve(ours, world.branch("theirs", {"old.dat": "first\n" + TEN}))
    assert isinstance(found, Unresolved)
    assert found.paths == ("new.dat",)


def test_no_rule_resolves_what_has_a_driver_but_union_what_is_to_be_united(tmp_path: Path) -> None:
    for attribute, is_resolved in (("union", True), ("sum", False)):
        files = {"CHANGES.md": LOG, ".gitattributes": f"CHANGES.md merge={attribute}\n"}
        world = World(tmp_path / attribute / "r", files)
        ours = world.branch("ours", {"CHANGES.md": LOG + "- a\n"})
        theirs = world.branch("theirs", {"CHANGES.md": LOG + "- b\n"})
        assert isinstance(world.resolve(ours, theirs, *EVERY), Resolved) is is_resolved
        found = world.resolve(ours, theirs)
        assert isinstance(found, Unresolved)
        assert f"CHANGES.md: its attributes {'say' if is_resolved else 'name'}" in found.reason


def pointer(content: str) -> str:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{content * 64}\nsize 12345\n"


def test_two_versions_of_a_file_in_lfs_are_for_somebody_to_judge(tmp_path: Path) -> None:
    """Without the attributes, which a branch may have removed or never had."""
    world = World(tmp_path / "r", {"film.mp4": pointer("a")})
    ours = world.branch("ours", {"film.mp4": pointer("b")})
    found = world.resolve(ours, world.branch("theirs", {"film.mp4": pointer("c")}), *EVERY)
    assert isinstance(found, Unresolved)
    assert "film.mp4: it is kept in Git LFS" in found.reason


def a_submodule(world: World, name: str, digit: str) -> Oid:
    git(world.root, "checkout", "-q", "-B", name, "main")
    entry = f"160000,{digit * 40},vendor/lib"
    git(world.root, "update-index", "--add", "--cacheinfo", entry)
    git(world.root, "commit", "--quiet", "--allow-empty", "-m", name)
    made = Oid(git(world.root, "rev-parse", "HEAD"))
    git(world.root, "checkout", "-q", "main")
    return made


def test_two_commits_of_a_submodule_are_for_somebody_to_judge(tmp_path: Path) -> None:
    world = World(tmp_path / "r", {"a": "a\n"})
    git(world.root, "merge", "-q", a_submodule(world, "base", "1"))
    ours, theirs = a_submodule(world, "ours", "2"), a_submodule(world, "theirs", "3")
    found = world.resolve(ours, theirs, *EVERY)
    assert isinstance(found, Unresolved)
    assert found.paths == ("vendor/lib",)
    assert "vendor/lib: it is a submodule" in found.reason
    # One that only one side moved is merged like any file.
    assert isinstance(world.resolve(world.branch("x", {"a": "b\n"}), theirs), Resolved)
