"""Rules on real conflicts: what is resolved drops nothing, and what is refused says why."""

import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sf_mcp.core.models import Oid
from sf_mcp.core.straightforward import NotStraightforward, union
from sf_mcp.git.command import GitFailed
from sf_mcp.git.repository import Repository
from sf_mcp.git.resolving import Resolved, Unresolved, resolve
from sf_mcp.settings import ResolveRule
from tests.git.builders_repositories import a_repository, commit, git

LOG = "# Changes\n\n- old\n"
TEN = "".join(f"line {n}\n" for n in range(10))
UNION = ResolveRule(rule="union", paths=("CHANGES.md", "docs/*.md"))
IDENTICAL = ResolveRule(rule="identical")
LOCK = ResolveRule(rule="generated", paths=("app.lock",), run="make lock")
EVERY = (UNION, IDENTICAL, LOCK)


@dataclass
class World:
    """A repository with a target and a task's branch, and a generator that tests bring along."""

    root: Path
    generator: Callable[[Path], None] | None = None
    generated_on: list[Oid] = field(default_factory=list[Oid])

    @property
    def repository(self) -> Repository:
        return Repository(self.root / ".git")

    def branch(self, name: str, *changes: Callable[[Path], None] | dict[str, str | None]) -> Oid:
        git(self.root, "checkout", "-q", "-B", name, "main")
        for change in changes:
            if callable(change):
                change(self.root)
            else:
                commit(self.root, change, name)
        made = commit(self.root, {}, name)
        git(self.root, "checkout", "-q", "main")
        return made

    def generate(self, rule: ResolveRule, tree: Oid) -> Oid:
        assert self.generator is not None
        self.generated_on.append(tree)
        place = self.root / ".git" / f"generate-{len(self.generated_on)}"
        place.mkdir()
        env = {"GIT_DIR": str(self.root / ".git"), "GIT_WORK_TREE": str(place)}
        env["GIT_INDEX_FILE"] = str(place) + ".index"
        git(place, "read-tree", tree, env=env)
        git(place, "checkout-index", "--all", env=env)
        self.generator(place)
        git(place, "add", "--all", ".", env=env)
        return Oid(git(place, "write-tree", env=env))

    def resolve(self, ours: Oid, theirs: Oid, *rules: ResolveRule) -> Resolved | Unresolved:
        return resolve(
            self.repository, ours=ours, theirs=theirs, rules=rules, generate=self.generate
        )

    def resolved(self, ours: Oid, theirs: Oid, *rules: ResolveRule) -> Resolved:
        found = self.resolve(ours, theirs, *rules)
        assert isinstance(found, Resolved), found
        return found

    def refused(self, ours: Oid, theirs: Oid, *rules: ResolveRule) -> str:
        found = self.resolve(ours, theirs, *rules)
        assert isinstance(found, Unresolved), found
        return found.reason

    def show(self, tree: Oid, path: str) -> str:
        done = subprocess.run(
            ["git", "show", f"{tree}:{path}"], cwd=self.root, capture_output=True, check=True
        )
        return done.stdout.decode()

    def files(self, tree: Oid) -> dict[str, str]:
        """Return the mode of every file of a tree."""
        lines = git(self.root, "ls-tree", "-r", tree).splitlines()
        return {line.split("\t")[1]: line.split(" ")[0] for line in lines}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(
        a_repository(
            tmp_path / "r",
            {"CHANGES.md": LOG, "code.py": TEN, "needs": "a\n", "app.lock": "a=1\n"},
        )
    )


def put(path: str, text: str | bytes, *, mode: int = 0o644) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text if isinstance(text, bytes) else text.encode())
        (root / path).chmod(mode)

    return change


def move(old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / old).rename(root / new)

    return change


def link(path: str, to: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / path).unlink(missing_ok=True)
        (root / path).symlink_to(to)

    return change


# -- union -----------------------------------------------------------------------------------------


def test_additions_to_an_append_only_file_are_united_in_a_step_of_their_own(world: World) -> None:
    ours = world.branch("ours", {"CHANGES.md": LOG + "- ours\n", "code.py": "first\n" + TEN})
    theirs = world.branch("theirs", {"CHANGES.md": LOG + "- theirs\n", "new.py": "x\n"})
    found = world.resolved(ours, theirs, UNION)
    assert [(step.rule, step.paths) for step in found.steps] == [(UNION, ("CHANGES.md",))]
    # First the task's change without the conflict, then the rule's result and nothing else.
    assert world.show(found.without, "CHANGES.md") == LOG + "- ours\n"
    assert world.show(found.without, "new.py") == "x\n"
    assert world.show(found.without, "code.py") == "first\n" + TEN
    assert world.show(found.tree, "CHANGES.md") == LOG + "- ours\n- theirs\n"
    assert git(world.root, "diff-tree", "-r", "--name-only", found.without, found.tree) == (
        "CHANGES.md"
    )


def test_the_same_merge_comes_to_the_same_trees(world: World) -> None:
    ours = world.branch("ours", {"CHANGES.md": LOG + "- ours\n"})
    theirs = world.branch("theirs", {"CHANGES.md": LOG + "- theirs\n"})
    assert world.resolve(ours, theirs, *EVERY) == world.resolve(ours, theirs, *EVERY)


def test_what_is_not_declared_is_not_resolved(world: World) -> None:
    ours = world.branch("ours", {"CHANGES.md": LOG + "- ours\n", "code.py": TEN + "ours\n"})
    theirs = world.branch("theirs", {"CHANGES.md": LOG + "- theirs\n", "code.py": TEN + "x\n"})
    everything = Unresolved(
        paths=("CHANGES.md", "code.py"),
        reason="",
        messages=(
            "CONFLICT (content): Merge conflict in CHANGES.md",
            "CONFLICT (content): Merge conflict in code.py",
        ),
    )
    assert world.resolve(ours, theirs, UNION) == everything
    assert world.resolve(ours, theirs) == everything


def test_a_merge_without_a_conflict_needs_no_step(world: World) -> None:
    ours = world.branch("ours", {"code.py": "first\n" + TEN})
    found = world.resolved(ours, world.branch("theirs", {"new.py": "x\n"}), *EVERY)
    assert found.steps == ()
    assert found.tree == found.without
    assert world.show(found.tree, "new.py") == "x\n"


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        pytest.param(
            {"CHANGES.md": LOG.replace("old", "older")},
            {"CHANGES.md": LOG.replace("old", "old, and more")},
            "the target changed or removed lines (such as `- old`)",
            id="an edit",
        ),
        pytest.param(
            {"CHANGES.md": LOG + "- ours\n"},
            {"CHANGES.md": "# Changes\n\n- theirs\n"},
            "the task changed or removed lines",
            id="a removal",
        ),
        pytest.param(
            {"CHANGES.md": LOG + "- ours\n"},
            {"CHANGES.md": None},
            "another kind (modify/delete)",
            id="modified here, deleted there",
        ),
        pytest.param(
            put("CHANGES.md", LOG + "\0 1\n"),
            put("CHANGES.md", LOG + "\0 2\n"),
            "another kind (binary)",
            id="binary",
        ),
        pytest.param(
            put("docs/new.md", "ours\n", mode=0o755),
            put("docs/new.md", "theirs\n"),
            "one side made it executable and the other did not",
            id="modes",
        ),
        pytest.param(
            link("docs.md", "CHANGES.md"), link("docs.md", "code.py"), "no ordinary file", id="link"
        ),
        pytest.param(
            put("docs/x", "ours\n"), put("docs", "theirs\n"), "(file/directory)", id="a folder"
        ),
        pytest.param(
            move("CHANGES.md", "docs/a.md"),
            move("CHANGES.md", "docs/b.md"),
            "(rename/rename)",
            id="two new names",
        ),
        pytest.param(
            move("CHANGES.md", "docs/a.md"), {"CHANGES.md": None}, "(rename/delete)", id="gone"
        ),
    ],
)
def test_union_refuses_all_that_is_no_pure_addition(
    world: World,
    ours: dict[str, str | None] | Callable[[Path], None],
    theirs: dict[str, str | None] | Callable[[Path], None],
    words: str,
) -> None:
    everywhere = ResolveRule(rule="union", paths=("**",))
    reason = world.refused(world.branch("ours", ours), world.branch("theirs", theirs), everywhere)
    assert words in reason


def test_a_file_with_a_new_name_is_united_under_that_name(world: World) -> None:
    ours = world.branch("ours", {"CHANGES.md": LOG * 3 + "- ours\n"})
    git(world.root, "merge", "-q", "ours")
    theirs = world.branch(
        "theirs", move("CHANGES.md", "docs/log.md"), {"docs/log.md": LOG * 3 + "- ours\n- b\n"}
    )
    ours = world.branch("ours", {"CHANGES.md": LOG * 3 + "- ours\n- a\n"})
    found = world.resolved(ours, theirs, UNION)
    assert world.show(found.without, "docs/log.md") == LOG * 3 + "- ours\n- a\n"
    assert world.show(found.tree, "docs/log.md") == LOG * 3 + "- ours\n- a\n- b\n"
    assert "CHANGES.md" not in world.files(found.tree)


def test_a_name_that_is_no_text_is_resolved_like_any_other(world: World) -> None:
    name = os.fsdecode(b"docs/caf\xe9.md")
    ours = world.branch("ours", {name: "- ours\n"})
    theirs = world.branch("theirs", {name: "- theirs\n"})
    found = world.resolved(ours, theirs, UNION)
    assert found.steps[0].paths == ("docs/caf\\xe9.md",)
    assert world.show(found.tree, name) == "- ours\n- theirs\n"


@settings(max_examples=25)
@given(st.data())
def test_union_has_the_lines_of_gits_own_and_each_of_them_once(
    data: st.DataObject,
) -> None:
    """Git joins conflicts that lie close together and so repeats what stands between them."""
    entries = data.draw(st.lists(st.integers(0, 99), unique=True, min_size=1, max_size=12))
    kinds = [data.draw(st.sampled_from("bot")) for _ in entries]
    base, ours, theirs = (
        "".join(
            f"- {entry}\n{'' if entry % 3 else chr(10)}"
            for entry, kind in zip(entries, kinds, strict=True)
            if kind in ("b", side)
        )
        for side in ("b", "o", "t")
    )
    names = ("ours", "base", "theirs")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in zip(names, (ours, base, theirs), strict=True):
            (Path(folder) / name).write_text(text)
        gits = git(Path(folder), "merge-file", "--stdout", "--union", *names).split("\n")
    mine = union(base.encode(), ours.encode(), theirs.encode()).decode().split("\n")
    mine = [line for line in mine if line]
    assert set(mine) == {line for line in gits if line}
    assert len(mine) == len(entries)


# -- identical -------------------------------------------------------------------------------------


def test_one_file_added_by_both_once_as_a_program_is_a_program(world: World) -> None:
    for mine, other in ((0o755, 0o644), (0o644, 0o755)):
        ours = world.branch("ours", put("run.sh", "#!/bin/sh\n", mode=mine))
        theirs = world.branch("theirs", put("run.sh", "#!/bin/sh\n", mode=other))
        found = world.resolved(ours, theirs, IDENTICAL)
        assert world.files(found.tree)["run.sh"] == "100755"
        assert world.files(found.without)["run.sh"] == f"100{mine:o}"


def test_a_file_that_both_have_where_its_folder_went_is_there(world: World) -> None:
    git(world.root, "checkout", "-q", "main")
    commit(world.root, {"old/a": "1\n" * 9, "old/b": "2\n" * 9})
    ours = world.branch("ours", move("old", "new"), {"new/c": "same\n"})
    theirs = world.branch("theirs", {"old/c": "same\n"})
    found = world.resolved(ours, theirs, IDENTICAL)
    assert world.show(found.tree, "new/c") == "same\n"
    theirs = world.branch("theirs", {"old/c": "other\n"})
    assert "not the same" in world.refused(ours, theirs, IDENTICAL)


def test_of_one_edit_that_went_further_on_one_side_nothing_is_lost(world: World) -> None:
    lines = TEN.splitlines(keepends=True)
    same = [*lines[:3], "three\n", *lines[4:]]
    further = [*lines[:3], "three\n", "four\n", *lines[5:9], "nine\n"]
    ours = world.branch("ours", {"code.py": "first\n" + "".join(same)})
    theirs = world.branch("theirs", {"code.py": "".join(further)})
    for one, other in ((ours, theirs), (theirs, ours)):
        found = world.resolved(one, other, IDENTICAL)
        assert world.show(found.tree, "code.py") == "first\n" + "".join(further)


def test_lines_that_look_like_conflict_markers_stay_what_they_are(world: World) -> None:
    text = "<<<<<<< a\n||||||| b\n=======\n>>>>>>> c\n" + TEN
    git(world.root, "checkout", "-q", "main")
    commit(world.root, {"code.py": text})
    ours = world.branch("ours", {"code.py": text.replace("line 3", "three")})
    both = text.replace("line 3", "three").replace("line 4", "four")
    found = world.resolved(ours, world.branch("theirs", {"code.py": both}), IDENTICAL)
    assert world.show(found.tree, "code.py") == both


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (TEN.replace("line 3", "ours"), TEN.replace("line 3", "theirs")),
        (TEN.replace("line 3", "three"), TEN.replace("line 4", "four")),
        (TEN + "}\n", TEN + "f {\n}\n"),
        (TEN.replace("line 3\n", ""), TEN.replace("line 3\nline 4\n", "")),
    ],
)
def test_edits_that_only_overlap_are_not_identical(world: World, ours: str, theirs: str) -> None:
    one, other = (
        world.branch("ours", {"code.py": ours}),
        world.branch("theirs", {"code.py": theirs}),
    )
    assert "in different ways" in world.refused(one, other, IDENTICAL)


# -- generated -------------------------------------------------------------------------------------


def make_lock(place: Path) -> None:
    """Write what the manifest calls for, as a tool does that keeps nothing of what it finds."""
    needs = (place / "needs").read_text().split()
    (place / "app.lock").write_text("".join(f"{need}=1\n" for need in sorted(needs)))


def keep_lock(place: Path) -> None:
    """Add what is missing and keep the versions that are there, as most tools do."""
    there = dict(line.split("=") for line in (place / "app.lock").read_text().split())
    needs = (place / "needs").read_text().split()
    text = "".join(f"{need}={there.get(need, '1')}\n" for need in sorted(needs))
    (place / "app.lock").write_text(text)


def two_needs(world: World, ours: str = "b=1\n", theirs: str = "c=1\n") -> tuple[Oid, Oid]:
    """Have each side need one thing more, with what it has locked; the manifest merges."""
    git(world.root, "checkout", "-q", "main")
    commit(world.root, {"needs": "a\n" + TEN.replace(" ", "")})
    return (
        world.branch(
            "ours", {"needs": "b\na\n" + TEN.replace(" ", ""), "app.lock": f"a=1\n{ours}"}
        ),
        world.branch(
            "theirs", {"needs": "a\n" + TEN.replace(" ", "") + "c\n", "app.lock": f"a=1\n{theirs}"}
        ),
    )


@pytest.mark.parametrize("generator", [make_lock, keep_lock])
def test_a_generated_file_is_made_anew_from_the_merged_manifest(
    world: World, generator: Callable[[Path], None]
) -> None:
    ours, theirs = two_needs(world)
    world.generator = generator
    found = world.resolved(ours, theirs, LOCK)
    assert found.steps[0].paths == ("app.lock",)
    assert world.show(found.without, "app.lock") == "a=1\nb=1\n"
    made = world.show(found.tree, "app.lock").split()
    assert {"a=1", "b=1", "c=1"} <= set(made)
    # It began with the target's version, and again with the task's.
    begun_with = [world.show(tree, "app.lock") for tree in world.generated_on]
    assert begun_with == ["a=1\nb=1\n", "a=1\nc=1\n"]


def test_a_command_that_would_drop_what_one_side_has_locked_is_refused(world: World) -> None:
    """The task pinned `a` to another version in the lock alone: no manifest says so."""
    ours, theirs = two_needs(world)
    theirs = world.branch(
        "theirs", {"needs": "a\n" + TEN.replace(" ", "") + "c\n", "app.lock": "a=2\nc=1\n"}
    )
    world.generator = keep_lock
    assert "something of one side would be dropped (app.lock)" in world.refused(ours, theirs, LOCK)


def test_a_command_that_does_nothing_keeps_no_side_silently(world: World) -> None:
    ours, theirs = two_needs(world)
    world.generator = lambda place: None
    assert "something of one side would be dropped" in world.refused(ours, theirs, LOCK)


def remove_lock(place: Path) -> None:
    (place / "app.lock").unlink()


def link_lock(place: Path) -> None:
    remove_lock(place)
    (place / "app.lock").symlink_to("needs")


def write_more(place: Path) -> None:
    make_lock(place)
    (place / "code.py").write_text("")
    (place / "other").write_text("")


def fail(place: Path) -> None:
    raise NotStraightforward("`make lock` failed (exit 2): no such package")


@pytest.mark.parametrize(
    ("generator", "words"),
    [
        (remove_lock, "`make lock` left no such file behind"),
        (link_lock, "`make lock` left no such file behind"),
        (write_more, "`make lock` changed more than the declared paths: code.py, other"),
        (fail, "app.lock: by the rule generated: `make lock` failed (exit 2): no such package."),
    ],
)
def test_what_else_the_command_may_do_is_refused(
    world: World, generator: Callable[[Path], None], words: str
) -> None:
    ours, theirs = two_needs(world)
    world.generator = generator
    assert words in world.refused(ours, theirs, LOCK)


def test_a_generated_file_that_one_side_removed_is_not_made_again(world: World) -> None:
    ours = world.branch("ours", {"app.lock": None})
    theirs = world.branch("theirs", {"app.lock": "a=2\n"})
    assert "(modify/delete)" in world.refused(ours, theirs, LOCK)


def test_the_command_waits_for_the_manifest_to_be_merged(world: World) -> None:
    ours = world.branch("ours", {"needs": "b\n", "app.lock": "b=1\n"})
    theirs = world.branch("theirs", {"needs": "c\n", "app.lock": "c=1\n"})
    assert world.refused(ours, theirs, LOCK) == ""
    assert world.generated_on == []


def test_what_other_rules_resolve_is_there_when_the_command_runs(world: World) -> None:
    manifest = ResolveRule(rule="union", paths=("needs",))
    ours = world.branch("ours", {"needs": "a\nb\n", "app.lock": "a=1\nb=1\n"})
    theirs = world.branch("theirs", {"needs": "a\nc\n", "app.lock": "a=1\nc=1\n"})
    world.generator = make_lock
    found = world.resolved(ours, theirs, LOCK, manifest)
    assert [(step.rule, step.paths) for step in found.steps] == [
        (manifest, ("needs",)),
        (LOCK, ("app.lock",)),
    ]
    assert world.show(found.tree, "app.lock") == "a=1\nb=1\nc=1\n"


# -- what has no plain reading ---------------------------------------------------------------------


def test_a_rule_that_cannot_leaves_the_path_to_the_next_one(world: World) -> None:
    first = ResolveRule(rule="union", paths=("code.py",))
    ours = world.branch("ours", {"code.py": TEN.replace("line 3", "three")})
    both = TEN.replace("line 3", "three").replace("line 4", "four")
    found = world.resolved(ours, world.branch("theirs", {"code.py": both}), first, IDENTICAL)
    assert [step.rule for step in found.steps] == [IDENTICAL]


def test_one_conflict_that_is_left_leaves_them_all(world: World) -> None:
    ours = world.branch("ours", {"CHANGES.md": LOG + "- a\n", "code.py": None})
    theirs = world.branch("theirs", {"CHANGES.md": LOG + "- b\n", "code.py": TEN + "x\n"})
    assert world.refused(ours, theirs, *EVERY) == (
        "code.py: by the rule identical: it is a conflict of another kind (modify/delete)."
    )


def test_a_commit_that_is_not_there_is_an_error_and_no_conflict(world: World) -> None:
    with pytest.raises(GitFailed):
        world.resolve(Oid("1" * 40), Oid("2" * 40), UNION)
