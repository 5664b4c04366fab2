"""Small histories made at random: two branches that do to the same few files what people do.

All worlds of a seed lie in one repository, which one `git fast-import` makes. What `git merge`
itself makes of each is the truth that the radar is held to.
"""

import os
import random
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.models import Oid
from tests.git.builders_repositories import ADA, git

FILE, EXECUTABLE, LINK, MODULE = "100644", "100755", "120000", "160000"
FOLDERS = ("a", "a/deep", "b", "c d", "é")
NAMES = ("one", "two", "three", "Two", "b")
"""Few, so that branches meet; one differs by case alone, one is a folder elsewhere."""

Entry = tuple[str, bytes]
Tree = dict[str, Entry]

MERGE_ALL = """
while read -r ours theirs; do
    git checkout --quiet --force --detach "$ours" && git clean -ffdxq || exit 9
    git merge --quiet --no-commit --no-ff "$theirs" >/dev/null 2>&1
    echo $?
    rm -f .git/index.lock
    git reset --quiet --hard
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    number: int
    root: Oid
    target: Oid
    ours: Oid
    theirs: Oid


class Maker:
    """Makes trees, and changes to them."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def base(self) -> Tree:
        tree: Tree = {}
        for path in ("readme", "a/one", "a/two", "a/deep/one", "b/one", "b/three", "c d/two"):
            if self.chance.random() < 0.85:
                put(tree, path, self.some_content(path))
        put(tree, "é/one", (FILE, b"\0binary\1" + bytes(range(64))))
        put(tree, "link", (LINK, b"readme"))
        put(tree, "module", (MODULE, b"1" * 40))
        return tree

    def some_content(self, word: str) -> Entry:
        mode = EXECUTABLE if self.chance.random() < 0.1 else FILE
        end = b"\r\n" if self.chance.random() < 0.2 else b"\n"
        lines = [f"{word} {number} {self.chance.randrange(3)}".encode() for number in range(12)]
        return mode, b"".join(line + end for line in lines)

    def a_path(self) -> str:
        folder = self.chance.choice(("", *FOLDERS, "new", "new/deep"))
        return f"{folder}/{self.chance.choice(NAMES)}".lstrip("/")

    def change(self, tree: Tree, most: int) -> Tree:
        tree = dict(tree)
        for _ in range(self.chance.choice((0, *[n + 1 for n in range(most)] * 3))):
            if tree:
                self.chance.choice(self.steps())(tree)
        return tree

    def steps(self) -> list[Callable[[Tree], None]]:
        often = [self.edit, self.edit, self.edit, self.move_folder, self.move_file, self.add]
        return [
            *often,
            self.move_folder,
            self.add,
            self.delete,
            self.delete_folder,
            self.change_mode,
            self.change_kind,
            self.change_line_ends,
            self.change_case,
            self.scatter_folder,
        ]

    # What people do.

    def edit(self, tree: Tree) -> None:
        path = self.chance.choice(sorted(tree))
        mode, data = tree[path]
        if mode == MODULE:
            tree[path] = mode, str(self.chance.randrange(2, 4)).encode() * 40
        elif mode == LINK:
            tree[path] = mode, self.chance.choice((b"a/one", b"b/one"))
        elif b"\0" in data:
            tree[path] = mode, data + bytes([self.chance.randrange(2)])
        else:
            lines = data.splitlines(keepends=True) or [b"\n"]
            at = self.chance.randrange(len(lines))
            lines[at] = f"changed {self.chance.randrange(2)}\n".encode()
            tree[path] = mode, b"".join(lines)

    def add(self, tree: Tree) -> None:
        put(tree, self.a_path(), self.some_content(f"new {self.chance.randrange(2)}"))

    def delete(self, tree: Tree) -> None:
        del tree[self.chance.choice(sorted(tree))]

    def delete_folder(self, tree: Tree) -> None:
        folder = self.chance.choice(FOLDERS)
        for path in below(tree, folder):
            del tree[path]

    def move_file(self, tree: Tree) -> None:
        entry = tree.pop(self.chance.choice(sorted(tree)))
        to = self.a_path()
        put(tree, to, entry)
        if self.chance.random() < 0.3 and entry[0] == FILE:
            tree[to] = FILE, entry[1] + b"moved\n"

    def move_folder(self, tree: Tree) -> None:
        folder = self.chance.choice(FOLDERS)
        to = self.chance.choice(("moved", "new", "b", "a", "a/deep", "", "moved/deep"))
        if to == folder or to.startswith(f"{folder}/"):
            to = "moved"
        moving = {path: tree.pop(path) for path in below(tree, folder)}
        for path, entry in moving.items():
            put(tree, f"{to}/{path.removeprefix(f'{folder}/')}".lstrip("/"), entry)

    def scatter_folder(self, tree: Tree) -> None:
        for path in below(tree, self.chance.choice(FOLDERS)):
            put(tree, f"part{self.chance.randrange(2)}/{path.rpartition('/')[2]}", tree.pop(path))

    def change_mode(self, tree: Tree) -> None:
        path = self.chance.choice(sorted(tree))
        mode, data = tree[path]
        if mode in (FILE, EXECUTABLE):
            tree[path] = (FILE if mode == EXECUTABLE else EXECUTABLE), data

    def change_kind(self, tree: Tree) -> None:
        """Put a link, or a whole folder, where a file was; or a file where a folder was."""
        path = self.chance.choice(sorted(tree))
        match self.chance.randrange(3):
            case 0:
                put(tree, path, (LINK, b"readme"))
            case 1:
                put(tree, f"{path}/inside", tree.pop(path))
            case _:
                put(tree, path.partition("/")[0], self.some_content("flat"))

    def change_line_ends(self, tree: Tree) -> None:
        path = self.chance.choice(sorted(tree))
        mode, data = tree[path]
        if mode in (FILE, EXECUTABLE) and b"\0" not in data:
            plain = data.replace(b"\r\n", b"\n")
            tree[path] = mode, plain if plain != data else data.replace(b"\n", b"\r\n")

    def change_case(self, tree: Tree) -> None:
        path = self.chance.choice(sorted(tree))
        folder, _, name = path.rpartition("/")
        put(tree, f"{folder}/{name.swapcase()}".lstrip("/"), tree.pop(path))


def put(tree: Tree, path: str, entry: Entry) -> None:
    """Add a file; what stands in its way, a folder of its name or a file above it, goes."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        tree.pop("/".join(parts[:count]), None)
    for inside in below(tree, path):
        del tree[inside]
    tree[path] = entry


def below(tree: Tree, folder: str) -> list[str]:
    return sorted(path for path in tree if path.startswith(f"{folder}/"))


def make_worlds(path: Path, *, seed: int, count: int) -> list[World]:
    """Make a repository of so many worlds; those of one seed are always the same."""
    path.mkdir()
    git(path, "init", "--quiet", "-b", "main")
    stream = bytearray()
    marks = 0

    def commit(tree: Tree, parent: int | None) -> int:
        nonlocal marks
        marks += 1
        stream.extend(f"commit refs/heads/c{marks}\nmark :{marks}\n".encode())
        stream.extend(b"committer A <a@example.org> 1700000000 +0000\ndata 0\n")
        if parent is not None:
            stream.extend(f"from :{parent}\n".encode())
        stream.extend(b"deleteall\n")
        for name, (mode, data) in sorted(tree.items()):
            if mode == MODULE:
                stream.extend(f"M {mode} {data.decode()} {name}\n".encode())
            else:
                stream.extend(f"M {mode} inline {name}\ndata {len(data)}\n".encode())
                stream.extend(data + b"\n")
        return marks

    made: list[tuple[int, ...]] = []
    for number in range(count):
        maker = Maker(random.Random(f"{seed} {number}"))
        base = maker.base()
        root = commit(base, None)
        target, moved = root, base
        if maker.chance.random() < 0.3:  # something landed meanwhile
            moved = maker.change(base, 2)
            target = commit(moved, root)
        ours = commit(maker.change(base, 5), root)
        from_target = maker.chance.random() < 0.5
        start, tree = (target, moved) if from_target else (root, base)
        theirs = commit(maker.change(tree, 5), start)
        made.append((root, target, ours, theirs))
    marks_file = path / ".git/marks"
    subprocess.run(
        ["git", "fast-import", "--quiet", f"--export-marks={marks_file}"],
        cwd=path,
        input=bytes(stream),
        check=True,
    )
    lines = (line.split() for line in marks_file.read_text().splitlines())
    oids = {int(mark[1:]): Oid(oid) for mark, oid in lines}
    worlds: list[World] = []
    for number, commits in enumerate(made):
        root, target, ours, theirs = (oids[mark] for mark in commits)
        worlds.append(World(number=number, root=root, target=target, ours=ours, theirs=theirs))
    return worlds


def conflicting(path: Path, pairs: Sequence[tuple[Oid, Oid]]) -> list[bool | None]:
    """Return of each pair whether plain `git merge`, in a work tree, stops at a conflict.

    None where git stops with a bug of its own: 2.39 has one where folders were moved both ways.
    """
    done = subprocess.run(
        ["sh", "-c", MERGE_ALL],
        cwd=path,
        env={**os.environ, **ADA.environment(), "LC_ALL": "C.UTF-8"},
        input="".join(f"{ours} {theirs}\n" for ours, theirs in pairs),
        capture_output=True,
        text=True,
        check=False,
    )
    codes = done.stdout.split()
    assert len(codes) == len(pairs), done.stderr
    assert set(codes) <= {"0", "1", "134"}, (codes, done.stderr)
    return [None if code == "134" else code == "1" for code in codes]
