"""Paths that no merge of lines and no rule may decide: submodules, LFS pointers, merge drivers.

The forge is bare, so that its merges read no `.gitattributes`: where a person's git would run a
driver, unite, or refuse to merge at all, the forge's merges lines. That is found here and told.
"""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.git.repository import Repository

SUBMODULE = "160000"
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LINES = frozenset({"unspecified", "set", "text"})
"""What the attribute `merge` is where git merges lines."""
NEVER = frozenset({"unset", "binary"})
UNION = "union"


@dataclass(frozen=True, slots=True)
class Special:
    """Why a path is for somebody to judge."""

    reason: str
    driver: str = ""
    """What the attribute `merge` names: in a worktree git itself may merge the path by it."""


def needs_judgement(
    repository: Repository,
    sides: Sequence[Oid],
    *,
    merged: Iterable[bytes],
    conflicted: Mapping[bytes, Sequence[tuple[str, Oid]]],
) -> dict[bytes, Special]:
    """Return which of the paths that both sides changed are special, and why.

    `merged` are those that were merged line by line; `conflicted` come with the mode and object of
    each version. Attributes count as either of `sides` has them.
    """
    drivers = _drivers(repository, sides, {*merged, *conflicted})
    found: dict[bytes, Special] = {}
    for path, driver in drivers.items():
        # United or not makes no difference to what does not conflict.
        if path in conflicted or driver != UNION:
            found[path] = Special(_of_driver(driver), driver)
    for path, versions in conflicted.items():
        if any(mode == SUBMODULE for mode, _ in versions):
            found[path] = Special("it is a submodule: which of its commits is right, no merge says")
        elif any(_is_pointer(repository, oid) for _, oid in versions):
            found[path] = Special("it is kept in Git LFS: there are no lines to merge")
    return found


def _of_driver(driver: str) -> str:
    if driver in NEVER:
        return "its attributes say that it is never to be merged"
    if driver == UNION:
        return "its attributes say that git unites it, which the forge does not"
    return f"its attributes name the merge driver `{driver}`, which the forge does not run"


def _drivers(
    repository: Repository, sides: Sequence[Oid], paths: Iterable[bytes]
) -> dict[bytes, str]:
    wanted = b"".join(path + b"\0" for path in sorted(paths))
    if not wanted:
        return {}
    found: dict[bytes, str] = {}
    with tempfile.TemporaryDirectory(prefix="sf-attributes-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        for side in sides:
            repository.run("read-tree", side, extra=index)
            words = repository.run(
                "check-attr", "--cached", "-z", "--stdin", "merge", stdin=wanted, extra=index
            ).stdout.split(b"\0")[:-1]
            for path, _, value in zip(words[::3], words[1::3], words[2::3], strict=True):
                if (driver := os.fsdecode(value)) not in LINES:
                    found.setdefault(path, driver)
    return found


def _is_pointer(repository: Repository, oid: Oid) -> bool:
    # A pointer is some 130 bytes long; what is longer need not be read.
    asked = repository.run("cat-file", "--batch-check", stdin=f"{oid}\n".encode()).text.split(" ")
    if asked[1:2] != ["blob"] or int(asked[2]) > 1024:
        return False
    return repository.run("cat-file", "blob", oid).stdout.startswith(LFS_POINTER)
