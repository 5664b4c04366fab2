"""Straightforward conflicts, resolved by the rules that the person has declared; no ref moves.

A conflict is resolved only when every conflicting path is, and nothing of either side is dropped:
see `core.straightforward`. What no rule resolves is for somebody to judge, with the reasons. The
same commits and rules give the same trees, as long as `generate` does.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.core.path_patterns import matches
from sf_mcp.core.straightforward import NotStraightforward, same_edit, union
from sf_mcp.git.command import readable
from sf_mcp.git.repository import Repository
from sf_mcp.git.special_paths import Special, needs_judgement
from sf_mcp.git.staged_merge import (
    BASE,
    OURS,
    THEIRS,
    ConflictingPath,
    Entry,
    StagedMerge,
    Stages,
    merge_staged,
    tree_with,
)
from sf_mcp.settings import ResolveRule

Generate = Callable[[ResolveRule, Oid], Oid]
"""Runs the rule's command on a checkout of a tree; returns the tree of what is there afterwards.

It raises `NotStraightforward` with the reason when the command fails."""

FILE, EXECUTABLE = "100644", "100755"
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
    """Every path in conflict: whoever resolves one has all of them before them."""
    reason: str
    """Why the rules that were declared do not resolve it; empty when none was."""
    messages: tuple[str, ...] = ()
    """What git says of each conflict, one sentence each; none when it merges without one, but by
    lines where the attributes of a path ask for something else."""


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
    merge = merge_staged(repository, ours, theirs)
    special = needs_judgement(
        repository,
        [ours, theirs],
        merged=merge.merged,
        conflicted={one.path: one.versions for one in merge.conflicts},
    )
    chosen = _choose(repository, merge, special, rules)
    if isinstance(chosen, Unresolved):
        return chosen
    tree = without = merge.tree
    if merge.conflicts:
        tree = without = tree_with(
            repository, tree, {one.path: one.ours for one in merge.conflicts}
        )
    steps: list[Step] = []
    for rule in sorted(chosen, key=_in_order(rules).index):
        entries = chosen[rule]
        if rule.rule == "generated":
            mine = [conflict for conflict in merge.conflicts if conflict.path in entries]
            try:
                tree = _generated(repository, rule, tree, mine, generate)
            except NotStraightforward as refusal:
                names = ", ".join(conflict.name for conflict in mine)
                return _unresolved(merge, [f"{names}: by the rule generated: {refusal}."])
        else:
            tree = tree_with(repository, tree, entries)
        steps.append(Step(rule=rule, paths=tuple(map(readable, entries)), tree=tree))
    return Resolved(without=without, steps=tuple(steps))


def _choose(
    repository: Repository,
    merge: StagedMerge,
    special: Mapping[bytes, Special],
    rules: Sequence[ResolveRule],
) -> dict[ResolveRule, dict[bytes, Entry | None]] | Unresolved:
    """Return, by rule, what comes to stand at each path in conflict."""
    chosen: dict[ResolveRule, dict[bytes, Entry | None]] = {}
    reasons: list[str] = []
    left: set[bytes] = set(special) - {conflict.path for conflict in merge.conflicts}
    for conflict in merge.conflicts:
        for rule in _in_order(rules):
            if not _is_for(rule, conflict):
                continue
            try:
                entry = _settled(repository, rule, conflict, special.get(conflict.path))
            except NotStraightforward as refusal:
                reasons.append(f"{conflict.name}: by the rule {rule.rule}: {refusal}.")
                continue
            chosen.setdefault(rule, {})[conflict.path] = entry
            break
        else:
            left.add(conflict.path)
    if not left and not merge.has_others:
        return chosen
    reasons += [f"{readable(path)}: {special[path].reason}." for path in special if path in left]
    return _unresolved(merge, reasons, special)


def _unresolved(
    merge: StagedMerge, reasons: Sequence[str], special: Iterable[bytes] = ()
) -> Unresolved:
    paths = dict.fromkeys([*(conflict.path for conflict in merge.conflicts), *special])
    return Unresolved(
        paths=tuple(map(readable, paths)),
        reason="\n".join(dict.fromkeys(reasons)),
        messages=merge.messages,
    )


def _in_order(rules: Sequence[ResolveRule]) -> list[ResolveRule]:
    """Return the rules in the order in which they are tried, each once."""
    return sorted(dict.fromkeys(rules), key=lambda rule: rule.rule == "generated")


def _is_for(rule: ResolveRule, conflict: ConflictingPath) -> bool:
    return rule.rule == "identical" or matches(os.fsdecode(conflict.path), rule.paths)


def _settled(
    repository: Repository, rule: ResolveRule, conflict: ConflictingPath, special: Special | None
) -> Entry | None:
    """Return what comes to stand at the path; of a generated one, what stands there for now."""
    # That a file is to be united may be said in its attributes as well.
    if special is not None and not rule.rule == special.driver == "union":
        raise NotStraightforward(special.reason)
    match rule.rule:
        case "union":
            _require(conflict, {CONTENTS})
            base, ours, theirs = _contents(repository, conflict)
            return Entry(_mode(conflict.stages), _store(repository, union(base, ours, theirs)))
        case "identical":
            return _identical(repository, conflict)
        case "generated":
            _require(conflict, {CONTENTS, BINARY})
            _mode(conflict.stages)
            return conflict.ours


def _identical(repository: Repository, conflict: ConflictingPath) -> Entry:
    _require(conflict, {CONTENTS, SUGGESTED})
    ours, theirs = conflict.stages[OURS], conflict.stages[THEIRS]
    if ours.oid == theirs.oid:
        # Both added the same file, one of them as a program: so it can be run, and it can be read.
        return Entry(max(ours.mode, theirs.mode), ours.oid)
    if BASE not in conflict.stages or SUGGESTED in conflict.kinds:
        raise NotStraightforward("the two files are not the same")
    base, one, other = _contents(repository, conflict)
    merged = _merge_same_edits(repository, base, one, other)
    return Entry(_mode(conflict.stages), _store(repository, merged))


def _generated(
    repository: Repository,
    rule: ResolveRule,
    tree: Oid,
    conflicts: Sequence[ConflictingPath],
    generate: Generate,
) -> Oid:
    """Return the tree after the command, which must not depend on whose files it begins with.

    One that leaves the files as they are, or keeps what it finds in them, would drop what the
    other side has there.
    """
    begun_with_theirs = {conflict.path: conflict.stages[THEIRS] for conflict in conflicts}
    made = generate(rule, tree)
    _verify_generated(repository, rule, tree, made, conflicts)
    again = generate(rule, tree_with(repository, tree, begun_with_theirs))
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
    conflicts: Sequence[ConflictingPath],
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


def _require(conflict: ConflictingPath, kinds: set[str]) -> None:
    """Refuse what is no conflict between two files' contents."""
    if not conflict.kinds <= kinds:
        told = sorted(kind.partition("(")[2].rstrip(")") for kind in conflict.kinds - kinds)
        raise NotStraightforward(f"it is a conflict of another kind ({', '.join(told)})")
    if not {OURS, THEIRS} <= conflict.stages.keys():
        raise NotStraightforward("one side has no such file")
    if any(entry.mode not in (FILE, EXECUTABLE) for entry in conflict.stages.values()):
        raise NotStraightforward("it is no ordinary file")


def _mode(stages: Stages) -> str:
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


def _contents(repository: Repository, conflict: ConflictingPath) -> tuple[bytes, bytes, bytes]:
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


def _entry_at(repository: Repository, tree: Oid, path: bytes) -> Entry | None:
    found = repository.run("ls-tree", "-z", "--full-tree", tree, "--", os.fsdecode(path)).stdout
    if not found:
        return None
    mode, _, oid = found.partition(b"\t")[0].decode().split(" ")
    return Entry(mode, Oid(oid))


def _listed(paths: Sequence[bytes]) -> str:
    return ", ".join(map(readable, paths[:5])) + (" and more" if len(paths) > 5 else "")
