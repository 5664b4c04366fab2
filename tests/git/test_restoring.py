"""The files of a commit, written as git would check them out, and nothing anywhere else."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from sf_mcp.core.errors import InvalidInput, StoneforgeError
from sf_mcp.core.models import Oid, TaskId
from sf_mcp.git.restoring import contents_of, require_free, restore
from sf_mcp.git.snapshots import snapshot
from tests.git.builders_repositories import NOON, Project, a_project, commit, git, write

T1 = TaskId("T1")


def a_snapshot(folder: Path) -> tuple[Project, Oid]:
    project = a_project(folder / "p")
    path = project.prepare().path
    commit(path, {".gitignore": "*.log\n", "gone": "g"})
    write(path, {"gone": None, "run.sh": "#!/bin/sh\n", "deep/er/new": "n", "x.log": "ignored"})
    (path / "run.sh").chmod(0o755)
    (path / "link").symlink_to("../../outside")
    (path / os.fsdecode(b"latin-\xe9")).write_bytes(b"\xff\0\xfe")
    made = snapshot(project.forge, path, T1, "turn's end", NOON)
    assert made is not None
    return project, made


def names_in(folder: Path) -> list[bytes]:
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(os.fsencode(path.relative_to(folder)) for path in found)


@pytest.mark.parametrize("folder", ["new", "new/er", "empty"])
def test_everything_is_as_it_was(tmp_path: Path, folder: str) -> None:
    project, made = a_snapshot(tmp_path)
    (tmp_path / "empty").mkdir()
    goal = tmp_path / folder
    require_free(goal, state=project.root / ".stoneforge")
    restore(project.forge, made, goal)
    assert names_in(goal) == [
        b".gitignore",
        b"deep/er/new",
        b"latin-\xe9",
        b"link",
        b"readme.md",
        b"run.sh",
        b"src/app.py",
    ]
    assert (goal / os.fsdecode(b"latin-\xe9")).read_bytes() == b"\xff\0\xfe"
    assert (goal / "link").readlink() == Path("../../outside")
    assert stat.S_IMODE((goal / "run.sh").stat().st_mode) & 0o111
    assert not stat.S_IMODE((goal / "readme.md").stat().st_mode) & 0o111
    assert len(contents_of(project.forge, made).files) == 7
    assert [path.name for path in goal.parent.glob(".*restoring*")] == []


def test_a_folder_that_is_not_free_is_refused_with_words(tmp_path: Path) -> None:
    project, _ = a_snapshot(tmp_path)
    state = project.root / ".stoneforge"
    write(tmp_path, {"full/of": "files", "file": "f"})
    (tmp_path / "link").symlink_to(state)
    (tmp_path / "nowhere").symlink_to(tmp_path / "not there")
    refused = {
        tmp_path / "full": "is not empty",
        tmp_path / "file": "is a file",
        state: "Stoneforge's own",
        state / "new": "Stoneforge's own",
        state / "worktrees" / "T1": "Stoneforge's own",
        project.root / "x" / ".." / ".stoneforge" / "new": "Stoneforge's own",
        tmp_path / "link" / "new": "Stoneforge's own",
        tmp_path / "nowhere": "link to nowhere",
        project.root: "is not empty",
    }
    for folder, words in refused.items():
        with pytest.raises(InvalidInput, match=words):
            require_free(folder, state=state)


def _object(project: Project, kind: str, content: bytes) -> str:
    done = subprocess.run(
        ["git", "hash-object", "-t", kind, "-w", "--stdin", "--literally"],
        cwd=project.forge.git_dir,
        input=content,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().strip()


def a_tree(project: Project, *entries: tuple[str, bytes, str]) -> str:
    """Write a tree that git itself would never write: mode, name, object."""
    raw = b"".join(
        mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries
    )
    return _object(project, "tree", raw)


EVIL = (
    "parent",
    "deep parent",
    "absolute",
    "git folder",
    "git folder in capitals",
    "slash",
    "through a link",
    "through a link to a folder",
)


@pytest.mark.parametrize("evil", EVIL)
def test_no_path_leads_out_of_the_folder(tmp_path: Path, evil: str) -> None:
    project = a_project(tmp_path / "p")
    outside = tmp_path / "outside"
    outside.mkdir()
    file = _object(project, "blob", b"got out\n")
    link = _object(project, "blob", os.fsencode(outside))
    inner = a_tree(project, ("100644", b"escaped", file))
    match evil:
        case "parent":
            tree = a_tree(project, ("40000", b"..", inner))
        case "deep parent":
            up = a_tree(project, ("40000", b"..", inner))
            tree = a_tree(project, ("40000", b"a", a_tree(project, ("40000", b"..", up))))
        case "absolute":
            tree = a_tree(project, ("100644", os.fsencode(outside / "escaped"), file))
        case "git folder":
            tree = a_tree(project, ("40000", b".git", a_tree(project, ("100644", b"config", file))))
        case "git folder in capitals":
            tree = a_tree(project, ("40000", b".GIT", a_tree(project, ("100644", b"config", file))))
        case "slash":
            tree = a_tree(project, ("100644", b"../outside/escaped", file))
        case "through a link":
            tree = a_tree(project, ("120000", b"a", link), ("40000", b"a", inner))
        case _:
            tree = a_tree(project, ("40000", b"a", inner), ("120000", b"a", link))
    made = Oid(git(project.forge.git_dir, "commit-tree", "-m", "evil", tree))
    goal = tmp_path / "goal"
    with_error = ""
    try:
        contents_of(project.forge, made)
        restore(project.forge, made, goal)
    except StoneforgeError as error:
        with_error = str(error)
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "escaped").exists()
    assert with_error or names_in(goal) in ([b"a"], [b"a/escaped"])
    if with_error:
        assert not goal.exists()


def test_a_disk_that_takes_no_more_leaves_nothing_behind(tmp_path: Path) -> None:
    project, made = a_snapshot(tmp_path)
    (tmp_path / "file").write_text("in the way of a folder")
    with pytest.raises(StoneforgeError, match="could not be written"):
        restore(project.forge, made, tmp_path / "file" / "goal")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "p"]


def test_files_that_appear_meanwhile_are_not_written_over(tmp_path: Path) -> None:
    project, made = a_snapshot(tmp_path)
    goal = tmp_path / "goal"
    require_free(goal, state=project.root / ".stoneforge")
    write(goal, {"readme.md": "mine\n"})
    with pytest.raises(StoneforgeError, match="appeared meanwhile"):
        restore(project.forge, made, goal)
    assert names_in(goal) == [b"readme.md"]
    assert (goal / "readme.md").read_text() == "mine\n"
