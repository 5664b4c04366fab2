"""A merge in memory with every version of what conflicts, and trees made with entries of one's own.

Paths are bytes: they may be no text. `git.merging` is for those who need no versions.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.git.command import readable
from sf_mcp.git.merging import merge_tree
from sf_mcp.git.repository import NO_OBJECT, Repository

BASE, OURS, THEIRS = 1, 2, 3
AUTOMATIC = "Auto-merging"
"""What git says of a path that both sides changed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at a path."""

    mode: str
    oid: Oid


Stages = Mapping[int, Entry]
"""The versions of a path in conflict, by their number in git: `BASE`, `OURS`, `THEIRS`."""


@dataclass(frozen=True, slots=True)
class ConflictingPath:
    """A path that two sides disagree about."""

    path: bytes
    stages: Stages
    kinds: frozenset[str]
    """What git says of the path; more than one thing when it is in the way of another."""

    @property
    def name(self) -> str:
        return readable(self.path)

    @property
    def versions(self) -> list[tuple[str, Oid]]:
        return [(entry.mode, entry.oid) for entry in self.stages.values()]

    @property
    def ours(self) -> Entry | None:
        return self.stages.get(OURS)


@dataclass(frozen=True, slots=True)
class StagedMerge:
    """What git makes of two commits."""

    tree: Oid
    """With conflict markers."""
    conflicts: tuple[ConflictingPath, ...]
    merged: frozenset[bytes]
    """Both sides changed these, and their lines were merged."""
    messages: tuple[str, ...]
    """What git says of each conflict."""
    has_others: bool
    """Something conflicts that stands at no path."""


def merge_staged(repository: Repository, ours: Oid, theirs: Oid) -> StagedMerge:
    """Merge two commits by git's own rules.

    Raises:
        GitFailed: one of them does not exist, or their histories are unrelated.
    """
    # Told of every path that is merged, of clean ones too.
    done = merge_tree(repository, "--messages", ours, theirs)
    tree, *words = done.stdout.split(b"\0")[:-1]
    stages: dict[bytes, dict[int, Entry]] = {}
    while words and words[0]:
        facts, _, path = words.pop(0).partition(b"\t")
        mode, oid, stage = facts.decode().split(" ")
        stages.setdefault(path, {})[int(stage)] = Entry(mode, Oid(oid))
    kinds: dict[bytes, set[str]] = {path: set() for path in stages}
    merged: set[bytes] = set()
    messages: list[str] = []
    has_others = False
    # An empty word, then messages: a count, that many paths, a kind, a sentence.
    words = words[1:]
    while words:
        count = int(words[0])
        paths, kind, sentence = words[1 : 1 + count], readable(words[1 + count]), words[2 + count]
        words = words[3 + count :]
        if kind == AUTOMATIC:
            merged.update(paths)
        if not kind.startswith("CONFLICT"):
            continue
        messages.append(readable(sentence).strip())
        here = [path for path in paths if path in kinds]
        for path in here:
            kinds[path].add(kind)
        has_others = has_others or not here
    return StagedMerge(
        tree=Oid(tree.decode()),
        conflicts=tuple(
            ConflictingPath(path, found, frozenset(kinds[path])) for path, found in stages.items()
        ),
        merged=frozenset(merged),
        messages=tuple(messages),
        has_others=has_others,
    )


def tree_with(repository: Repository, tree: Oid, entries: Mapping[bytes, Entry | None]) -> Oid:
    """Return the tree with these entries in it; None: nothing is at the path."""
    lines = b"".join(
        f"{entry.mode if entry else 0} {entry.oid if entry else NO_OBJECT}\t".encode()
        + path
        + b"\0"
        for path, entry in entries.items()
    )
    with tempfile.TemporaryDirectory(prefix="sf-resolve-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        repository.run("read-tree", tree, extra=index)
        repository.run("update-index", "-z", "--index-info", stdin=lines, extra=index)
        return Oid(repository.run("write-tree", extra=index).text)
