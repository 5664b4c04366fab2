"""Straightforward conflicts, resolved by the rules that the person has declared; no ref moves.

A conflict is resolved only when every conflicting path is, and nothing of either side is dropped:
see `core.straightforward`. What no rule resolves is for somebody to judge, with the reasons. The
same commits and rules give the same trees, as long as `generate` does.
"""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.core.path_patterns import matches
from sf_mcp.core.straightforward import NotStraightforward, same_edit, union
from sf_mcp.git.command import GitFailed, readable
from sf_mcp.git.repository import NO_OBJECT, Repository
from sf_mcp.settings import ResolveRule

Generate = Callable[[ResolveRule, Oid], Oid]
"""Runs the rule's command on a checkout of a tree; returns the tree of what is there afterwards.

It raises `NotStraightforward` with the reason when the command fails."""

FILE, EXECUTABLE = "100644", "100755"
BASE, OURS, THEIRS = 1, 2, 3

CONTENTS = "CONFLICT (contents)"
BINARY = "CONFLICT (binary)"
SUGGESTED = "CONFLICT (directory rename suggested)"
"""Kinds of conflict by git's own stable words. Of all others no rule knows a plain reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one rule came to; a commit of its own."""

    rule: ResolveRule
    paths: tuple[str, ...]
    tree: Oid


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    without: Oid
    """The tree of the merge with the conflicting paths as `ours` has them."""
    steps: tuple[Step, ...]
    """One for each rule that resolved something; the last one's tree is the whole merge."""

    @property
    def tree(self) -> Oid:
        """The merged tree."""
        return self.steps[-1].tree if self.steps else self.without


@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved:
    paths: tuple[str, ...]
    """The conflicting paths that no rule resolves."""
    reason: str
    """Why the rules that were declared for them do not; empty when none was."""


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: str
    oid: Oid


_Stages = Mapping[int, _Entry]


@dataclass(frozen=True, slots=True)
class _Conflict:
    path: bytes
    stages: _Stages
    kinds: frozenset[str]
    """What git says of the path; more than one thing when it is in the way of another."""

    @property
    def name(self) -> str:
        return readable(self.path)

    @property
    def ours(self) -> _Entry | None:
        return self.stages.get(OURS)


@dataclass(frozen=True, slots=True)
class _Merge:
    tree: Oid
    """With conflict markers."""
    conflicts: tuple[_Conflict, ...]
    others: tuple[str, ...]
    """What git says of conflicts that stand at no path."""


def resolve(
    repository: Repository,
    *,
    ours: Oid,
    theirs: Oid,
    rules: Sequence[ResolveRule],
    generate: Generate,
) -> Resolved | Unresolved:
    """Merge `theirs` into `ours` and resolve what conflicts; each path by the first rule that can.

    What is generated comes last, since its command needs all else as it will be.

    Raises:
        GitFailed: one of the commits does not exist, or git cannot write.
    """
    merge = _merge(repository, ours, theirs)
    if merge.others:
        return Unresolved(paths=(), reason=" ".join(merge.others))
    chosen: dict[ResolveRule, dict[bytes, _Entry | None]] = {}
    reasons: dict[str, str] = {}
    unresolved: list[str] = []
    for conflict in merge.conflicts:
        for rule in _in_order(rules):
            if not _is_for(rule, conflict):
                continue
            try:
                entry = _settled(repository, rule, conflict)
            except NotStraightforward as refusal:
                reasons.setdefault(f"{conflict.name}: by the rule {rule.rule}: {refusal}.", "")
                continue
            chosen.setdefault(rule, {})[conflict.path] = entry
            break
        else:
            unresolved.append(conflict.name)
    if unresolved:
        return Unresolved(paths=tuple(unresolved), reason="\n".join(reasons))
    as_ours = {conflict.path: conflict.ours for conflict in merge.conflicts}
    tree = without = _with(repository, merge.tree, as_ours)
    steps: list[Step] = []
    for rule in sorted(chosen, key=_in_order(rules).index):
        entries = chosen[rule]
        if rule.rule == "generated":
            mine = [conflict for conflict in merge.conflicts if conflict.path in entries]
            try:
                tree = _generated(repository, rule, tree, mine, generate)
            except NotStraightforward as refusal:
                names = tuple(conflict.name for conflict in mine)
                return Unresolved(
                    paths=names, reason=f"{', '.join(names)}: by the rule generated: {refusal}."
                )
        else:
            tree = _with(repository, tree, entries)
        steps.append(Step(rule=rule, paths=tuple(map(readable, entries)), tree=tree))
    return Resolved(without=without, steps=tuple(steps))


def _in_order(rules: Sequence[ResolveRule]) -> list[ResolveRule]:
    """Return the rules in the order in which they are tried, each once."""
    return sorted(dict.fromkeys(rules), key=lambda rule: rule.rule == "generated")


def _is_for(rule: ResolveRule, conflict: _Conflict) -> bool:
    return rule.rule == "identical" or matches(os.fsdecode(conflict.path), rule.paths)


def _settled(repository: Repository, rule: ResolveRule, conflict: _Conflict) -> _Entry | None:
    """Return what comes to stand at the path; of a generated one, what stands there for now."""
    match rule.rule:
        case "union":
            _require(conflict, {CONTENTS})
            base, ours, theirs = _contents(repository, conflict)
            return _Entry(_mode(conflict.stages), _store(repository, union(base, ours, theirs)))
        case "identical":
            return _identical(repository, conflict)
        case "generated":
            _require(conflict, {CONTENTS, BINARY})
            _mode(conflict.stages)
            return conflict.ours


def _identical(repository: Repository, conflict: _Conflict) -> _Entry:
    _require(conflict, {CONTENTS, SUGGESTED})
    ours, theirs = conflict.stages[OURS], conflict.stages[THEIRS]
    if ours.oid == theirs.oid:
        # Both added the same file, one of them as a program: so it can be run, and it can be read.
        return _Entry(max(ours.mode, theirs.mode), ours.oid)
    if BASE not in conflict.stages or SUGGESTED in conflict.kinds:
        raise NotStraightforward("the two files are not the same")
    base, one, other = _contents(repository, conflict)
    merged = _merge_same_edits(repository, base, one, other)
    return _Entry(_mode(conflict.stages), _store(repository, merged))


def _generated(
    repository: Repository,
    rule: ResolveRule,
    tree: Oid,
    conflicts: Sequence[_Conflict],
    generate: Generate,
) -> Oid:
    """Return the tree after the command, which must not depend on whose files it begins with.

    One that leaves the files as they are, or keeps what it finds in them, would drop what the
    other side has there.
    """
    begun_with_theirs = {conflict.path: conflict.stages[THEIRS] for conflict in conflicts}
    made = generate(rule, tree)
    _verify_generated(repository, rule, tree, made, conflicts)
    again = generate(rule, _with(repository, tree, begun_with_theirs))
    if differing := _differing(repository, made, again):
        raise NotStraightforward(
            f"`{rule.run}` comes to something else when it begins with the task's version instead "
            f"of the target's, so that something of one side would be dropped "
            f"({_listed(differing)})"
        )
    return made


def _verify_generated(
    repository: Repository,
    rule: ResolveRule,
    before: Oid,
    after: Oid,
    conflicts: Sequence[_Conflict],
) -> None:
    changed = _differing(repository, before, after)
    if undeclared := [path for path in changed if not matches(os.fsdecode(path), rule.paths)]:
        raise NotStraightforward(
            f"`{rule.run}` changed more than the declared paths: {_listed(undeclared)}"
        )
    for conflict in conflicts:
        there = _entry_at(repository, after, conflict.path)
        if there is None or there.mode != _mode(conflict.stages):
            raise NotStraightforward(f"`{rule.run}` left no such file behind")


def _require(conflict: _Conflict, kinds: set[str]) -> None:
    """Refuse what is no conflict between two files' contents."""
    if not conflict.kinds <= kinds:
        told = sorted(kind.partition("(")[2].rstrip(")") for kind in conflict.kinds - kinds)
        raise NotStraightforward(f"it is a conflict of another kind ({', '.join(told)})")
    if not {OURS, THEIRS} <= conflict.stages.keys():
        raise NotStraightforward("one side has no such file")
    if any(entry.mode not in (FILE, EXECUTABLE) for entry in conflict.stages.values()):
        raise NotStraightforward("it is no ordinary file")


def _mode(stages: _Stages) -> str:
    """Return the mode that the merged file has.

    Raises:
        NotStraightforward: one side made it a program and the other did not.
    """
    ours, theirs = stages[OURS].mode, stages[THEIRS].mode
    base = stages[BASE].mode if BASE in stages else None
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    raise NotStraightforward("one side made it executable and the other did not")


def _merge_same_edits(repository: Repository, base: bytes, ours: bytes, theirs: bytes) -> bytes:
    """Merge texts line by line as git does, and each conflict in it by `same_edit`."""
    if b"\0" in base + ours + theirs:
        raise NotStraightforward("it is no text")
    is_ended = {text.endswith(b"\n") for text in (base, ours, theirs)}
    if len(is_ended) > 1:
        raise NotStraightforward("both sides changed the same lines, in different ways")
    size = 7
    while any(mark * size in base + ours + theirs for mark in (b"<", b"|", b"=", b">")):
        size += 1
    with tempfile.TemporaryDirectory(prefix="sf-resolve-") as folder:
        paths = [Path(folder) / name for name in ("ours", "base", "theirs")]
        for path, text in zip(paths, (ours, base, theirs), strict=True):
            path.write_bytes(text if True in is_ended else text + b"\n")
        # Its exit code is the number of conflicts, 127 at most; above that it has failed.
        merged = repository.run(
            "merge-file",
            "--stdout",
            "--quiet",
            "--diff3",
            f"--marker-size={size}",
            *map(str, paths),
            accept=range(128),
        ).stdout
    text = b"\n".join(_without_markers(merged.removesuffix(b"\n").split(b"\n"), size))
    return text + b"\n" if True in is_ended else text


def _without_markers(lines: Sequence[bytes], size: int) -> list[bytes]:
    merged: list[bytes] = []
    parts: dict[bytes, list[bytes]] = {}
    part = merged
    for line in lines:
        match line[:size]:
            case mark if mark == b"<" * size:
                parts = {b"<": [], b"|": [], b"=": []}
                part = parts[b"<"]
            case mark if mark in (b"|" * size, b"=" * size):
                part = parts[mark[:1]]
            case mark if mark == b">" * size:
                merged += same_edit(parts[b"|"], parts[b"<"], parts[b"="])
                part = merged
            case _:
                part.append(line)
    return merged


# -- git -------------------------------------------------------------------------------------------


def _merge(repository: Repository, ours: Oid, theirs: Oid) -> _Merge:
    done = repository.run("merge-tree", "--write-tree", "-z", ours, theirs, accept=(0, 1))
    if not done.stdout:
        raise GitFailed(
            f"{ours} and {theirs} cannot be merged: {done.stderr}.",
            remedy="Name two commits that the forge has.",
            exit_code=done.exit_code,
            stderr=done.stderr,
        )
    tree, *words = done.stdout.split(b"\0")[:-1]
    stages: dict[bytes, dict[int, _Entry]] = {}
    while words and words[0]:
        facts, _, path = words.pop(0).partition(b"\t")
        mode, oid, stage = facts.decode().split(" ")
        stages.setdefault(path, {})[int(stage)] = _Entry(mode, Oid(oid))
    kinds: dict[bytes, set[str]] = {path: set() for path in stages}
    others: list[str] = []
    # An empty word, then messages: a count, that many paths, a kind, a sentence.
    words = words[1:]
    while words:
        count = int(words[0])
        paths, kind, sentence = words[1 : 1 + count], readable(words[1 + count]), words[2 + count]
        words = words[3 + count :]
        if not kind.startswith("CONFLICT"):
            continue
        here = [path for path in paths if path in kinds]
        for path in here:
            kinds[path].add(kind)
        if not here:
            others.append(readable(sentence).strip())
    conflicts = (_Conflict(path, found, frozenset(kinds[path])) for path, found in stages.items())
    return _Merge(Oid(tree.decode()), tuple(conflicts), tuple(others))


def _with(repository: Repository, tree: Oid, entries: Mapping[bytes, _Entry | None]) -> Oid:
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


def _contents(repository: Repository, conflict: _Conflict) -> tuple[bytes, bytes, bytes]:
    base, ours, theirs = (
        repository.run("cat-file", "blob", entry.oid).stdout if entry is not None else b""
        for entry in map(conflict.stages.get, (BASE, OURS, THEIRS))
    )
    return base, ours, theirs


def _store(repository: Repository, content: bytes) -> Oid:
    return Oid(repository.run("hash-object", "-w", "--no-filters", "--stdin", stdin=content).text)


def _differing(repository: Repository, one: Oid, other: Oid) -> list[bytes]:
    listed = repository.run("diff-tree", "-r", "-z", "--no-renames", "--name-only", one, other)
    return [path for path in listed.stdout.split(b"\0") if path]


def _entry_at(repository: Repository, tree: Oid, path: bytes) -> _Entry | None:
    found = repository.run("ls-tree", "-z", "--full-tree", tree, "--", os.fsdecode(path)).stdout
    if not found:
        return None
    mode, _, oid = found.partition(b"\t")[0].decode().split(" ")
    return _Entry(mode, Oid(oid))


def _listed(paths: Sequence[bytes]) -> str:
    return ", ".join(map(readable, paths[:5])) + (" and more" if len(paths) > 5 else "")
