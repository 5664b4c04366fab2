"""Merges of trees in memory: no worktree, no index. Trial merges of many pairs: `git/radar`."""

from collections.abc import Sequence
from dataclasses import dataclass

from sf_mcp.core.models import Oid
from sf_mcp.git.command import GitFailed, Result, readable
from sf_mcp.git.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    tree: Oid


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflicted:
    paths: tuple[str, ...]
    messages: tuple[str, ...]
    """What git says of each conflict, one sentence each."""


def merge_tree(repository: Repository, option: str, ours: Oid, theirs: Oid) -> Result:
    """Run `git merge-tree` on two commits and return what it says, NUL-ended.

    Raises:
        GitFailed: one of them does not exist, or their histories are unrelated.
    """
    # Exit code 0 is clean and 1 is conflicted; anything else is a failure, not an answer. Git
    # (2.39) exits with 1 for a commit that is not there too, but then it prints no tree.
    done = repository.run("merge-tree", "--write-tree", "-z", option, ours, theirs, accept=(0, 1))
    if not done.stdout:
        raise GitFailed(
            f"{ours} and {theirs} cannot be merged: {done.stderr}.",
            remedy="Name two commits that the forge has.",
            exit_code=done.exit_code,
            stderr=done.stderr,
        )
    return done


def merge_trees(repository: Repository, ours: Oid, theirs: Oid) -> Merged | Conflicted:
    """Merge two commits by git's own rules and return the tree, or where they conflict.

    Raises:
        GitFailed: one of them does not exist, or their histories are unrelated.
    """
    done = merge_tree(repository, "--name-only", ours, theirs)
    tree, *rest = words_of(done.stdout)
    if done.exit_code == 0:
        return Merged(tree=Oid(tree))
    record = read_conflict(rest)
    return Conflicted(
        paths=record.paths, messages=tuple(sentence for sentence, _ in record.messages)
    )


@dataclass(frozen=True, slots=True)
class ConflictRecord:
    """What `git merge-tree -z --name-only` says of one merge that stops."""

    paths: tuple[str, ...]
    messages: tuple[tuple[str, tuple[str, ...]], ...]
    """Each sentence of git's, with the paths that it is about."""
    rest: list[str]
    """The words after it."""


def read_conflict(words: Sequence[str]) -> ConflictRecord:
    """Read paths, an empty word, then messages: a count, that many paths, a kind, a sentence."""
    rest = list(words)
    split = rest.index("")
    paths, rest = rest[:split], rest[split + 1 :]
    messages: list[tuple[str, tuple[str, ...]]] = []
    while rest and rest[0].isdigit():
        count = int(rest[0])
        about, kind, sentence = rest[1 : 1 + count], rest[1 + count], rest[2 + count]
        if kind.startswith("CONFLICT"):
            messages.append((sentence.strip(), tuple(dict.fromkeys(about))))
        rest = rest[3 + count :]
        # In a batch the next record begins with a digit too, but behind an empty word.
    return ConflictRecord(tuple(dict.fromkeys(paths)), tuple(messages), rest)


def words_of(output: bytes) -> list[str]:
    """Return the NUL-ended words of git's output."""
    return [readable(word) for word in output.split(b"\0")[:-1]]
