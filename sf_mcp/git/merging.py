"""Merges of trees in memory: no worktree, no index, and for previews no object in the forge."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.git.command import GitFailed, git_version, readable
from sf_mcp.git.identity import Identity
from sf_mcp.git.repository import Repository

BATCH_VERSION = (2, 39)
"""The first git whose `merge-tree` takes many pairs at once, on stdin."""


class Strategy(StrEnum):
    SQUASH = "squash"
    MERGE = "merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    tree: Oid


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflicted:
    paths: tuple[str, ...]
    messages: tuple[str, ...]
    """What git says of each conflict, one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A commit on top of the target's head, with the tree that the checks must pass."""

    commit: Oid
    tree: Oid


def merge_trees(
    repository: Repository, ours: Oid, theirs: Oid, *, extra: Mapping[str, str] | None = None
) -> Merged | Conflicted:
    """Merge two commits by git's own rules and return the tree, or where they conflict.

    Raises:
        GitFailed: one of them does not exist, or their histories are unrelated.
    """
    # Exit code 0 is clean and 1 is conflicted; anything else is a failure, not an answer. Git
    # (2.39) exits with 1 for a commit that is not there too, but then it prints no tree.
    done = repository.run(
        "merge-tree", "--write-tree", "-z", "--name-only", ours, theirs, accept=(0, 1), extra=extra
    )
    if not done.stdout:
        raise GitFailed(
            f"{ours} and {theirs} cannot be merged: {done.stderr}.",
            remedy="Name two commits that the forge has.",
            exit_code=done.exit_code,
            stderr=done.stderr,
        )
    tree, *rest = _words(done.stdout)
    if done.exit_code == 0:
        return Merged(tree=Oid(tree))
    return _conflicted(rest)[0]


def build_candidate(
    repository: Repository,
    *,
    target_head: Oid,
    commit: Oid,
    message: str,
    strategy: Strategy,
    identity: Identity,
) -> Candidate | Conflicted:
    """Make the commit that would land `commit` on `target_head`; no ref moves.

    Raises:
        GitFailed: one of the commits does not exist.
    """
    merged = merge_trees(repository, target_head, commit)
    if isinstance(merged, Conflicted):
        return merged
    parents = [target_head] if strategy is Strategy.SQUASH else [target_head, commit]
    made = repository.commit_tree(merged.tree, parents, message, identity)
    return Candidate(commit=made, tree=merged.tree)


def conflicts_with(
    repository: Repository, commit: Oid, others: Mapping[str, Oid], *, target: Oid
) -> dict[str, Conflicted]:
    """Return which of `others` (name -> commit) conflict with `commit`, by exact merges.

    A pair is merged only if both touch a path since they left `target` (both sides of a rename
    count), or one renames a file away from a folder in which the other adds or changes one.
    Nothing is written to the repository.

    Raises:
        GitFailed: one of the commits does not exist.
    """
    touched = _touched(repository, [commit, *others.values()], target)
    mine = touched[commit]
    pairs = [name for name, other in others.items() if mine.meets(touched[other])]
    with tempfile.TemporaryDirectory(prefix="sf-preview-") as scratch:
        merges = _merge_many(
            repository, commit, [others[name] for name in pairs], _scratch(repository, scratch)
        )
    return {
        name: merged
        for name, merged in zip(pairs, merges, strict=True)
        if isinstance(merged, Conflicted)
    }


@dataclass(frozen=True, slots=True)
class _Touched:
    paths: frozenset[str]
    left: frozenset[str]
    """Folders that a file was renamed out of: git may take the folder itself as renamed."""

    def meets(self, other: "_Touched") -> bool:
        return not self.paths.isdisjoint(other.paths) or self._moves(other) or other._moves(self)

    def _moves(self, other: "_Touched") -> bool:
        return bool(self.left) and any(
            path.startswith(folder + "/") for folder in self.left for path in other.paths
        )


def _touched(repository: Repository, commits: Sequence[Oid], target: Oid) -> dict[Oid, _Touched]:
    """Return what each commit changed since it left the target, all in one `git diff-tree`."""
    lines: list[str] = []
    for commit in dict.fromkeys(commits):
        base = repository.merge_base(target, commit) or target
        lines.append(f"{repository.tree_of(base)} {repository.tree_of(commit)}\n")
    listed = repository.run(
        "diff-tree",
        "--stdin",
        "-r",
        "-z",
        "-M",
        "--name-status",
        stdin="".join(lines).encode(),
    )
    # Each pair begins with its own line, as it was given; then NUL-ended words.
    touched: list[_Touched] = []
    output = listed.stdout
    for number, line in enumerate(lines):
        head = line.encode()
        start = output.index(head) + len(head)
        following = lines[number + 1].encode() if number + 1 < len(lines) else None
        end = output.index(following, start) if following is not None else len(output)
        touched.append(_parse_names(_words(output[start:end])))
        output = output[end:]
    return dict(zip(dict.fromkeys(commits), touched, strict=True))


def _parse_names(words: Sequence[str]) -> _Touched:
    paths: set[str] = set()
    left: set[str] = set()
    rest = iter(words)
    for status in rest:
        path = next(rest)
        paths.add(path)
        if status[:1] in "RC":
            to = next(rest)
            paths.add(to)
            old_folder, new_folder = path.rpartition("/")[0], to.rpartition("/")[0]
            if old_folder and old_folder != new_folder:
                left.add(old_folder)
    return _Touched(paths=frozenset(paths), left=frozenset(left))


def _merge_many(
    repository: Repository, ours: Oid, theirs: Sequence[Oid], extra: Mapping[str, str]
) -> list[Merged | Conflicted]:
    if not theirs:
        return []
    if git_version() < BATCH_VERSION:
        return [merge_trees(repository, ours, other, extra=extra) for other in theirs]
    done = repository.run(
        "merge-tree",
        "--stdin",
        "-z",
        "--name-only",
        stdin="".join(f"{ours} {other}\n" for other in theirs).encode(),
        extra=extra,
    )
    words = _words(done.stdout)
    merges: list[Merged | Conflicted] = []
    for _ in theirs:
        status, tree, *words = words
        if status == "1":  # clean: the tree, then an empty word
            merges.append(Merged(tree=Oid(tree)))
            words = words[1:]
        else:
            conflicted, words = _conflicted(words)
            merges.append(conflicted)
            words = words[1:]
    return merges


def _conflicted(words: Sequence[str]) -> tuple[Conflicted, list[str]]:
    """Read paths, an empty word, then messages: a count, that many paths, a kind, a sentence."""
    rest = list(words)
    split = rest.index("")
    paths, rest = rest[:split], rest[split + 1 :]
    messages: list[str] = []
    while rest and rest[0].isdigit():
        count = int(rest[0])
        kind, sentence = rest[1 + count], rest[2 + count]
        if kind.startswith("CONFLICT"):
            messages.append(sentence.strip())
        rest = rest[3 + count :]
        # In a batch the next record begins with a digit too, but behind an empty word.
    return Conflicted(paths=tuple(dict.fromkeys(paths)), messages=tuple(messages)), rest


def _words(output: bytes) -> list[str]:
    return [readable(word) for word in output.split(b"\0")[:-1]]


def _scratch(repository: Repository, folder: str) -> dict[str, str]:
    """Return the environment in which git writes objects to `folder` and reads the forge's too."""
    objects = str(repository.git_dir / "objects").replace("\\", "\\\\").replace('"', '\\"')
    return {
        "GIT_OBJECT_DIRECTORY": str(Path(folder)),
        # Quoted, since an unquoted list is split at colons.
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{objects}"',
    }
