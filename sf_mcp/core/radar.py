"""The conflict radar's rules: whose work may meet whose, what to merge for trial, who is held back.

Two branches can only conflict where both have been. So each has a footprint, what it changed since
it left the target, and git merges only those pairs whose footprints meet. A footprint claims more
than git could ever need, never less: a pair too many costs a merge, a pair too few a surprise.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations
from typing import TypeVar

from sf_mcp.core.models import Oid, TaskId

T = TypeVar("T")

MOST_HELD = timedelta(minutes=10)
"""How long a task that would meet live work lets others go first, from when the first one did."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a branch changed since it left the target, whatever git makes of renames."""

    paths: frozenset[str] = frozenset()
    """Files that differ, both sides of a rename."""
    gone: frozenset[str] = frozenset()
    """Folders that are no more: git may take each of them as renamed, and move into the new one
    what others add to the old."""
    into: frozenset[str] = frozenset()
    """All folders above the files that it added."""

    def meets(self, other: "Footprint") -> bool:
        """Return whether a merge of the two could conflict."""
        return not (
            self.paths.isdisjoint(other.paths)
            # A file of one where the other made a folder.
            and self.paths.isdisjoint(other.into)
            and self.into.isdisjoint(other.paths)
            # A file of one in a folder that the other moved away.
            and self.gone.isdisjoint(other.into)
            and self.into.isdisjoint(other.gone)
        )

    def __or__(self, other: "Footprint") -> "Footprint":
        """Return the footprint of a branch that left the target at several places."""
        return Footprint(self.paths | other.paths, self.gone | other.gone, self.into | other.into)


@dataclass(frozen=True, slots=True)
class Hunk:
    """One place where a merge stops, with what each side has there; long ones are cut."""

    path: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Said:
    """What git says of one conflict, in a sentence, and the paths that it says it of."""

    sentence: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clash:
    """Two commits that cannot be merged."""

    paths: tuple[str, ...]
    said: tuple[Said, ...] = ()
    hunks: tuple[Hunk, ...] = ()
    """Of text, the first of them; a binary file or a deleted one has none."""

    @property
    def content(self) -> str:
        """A name of what is in conflict: the same for the same, whatever commits it comes from."""
        kinds = [(one.sentence.partition(":")[0], one.paths) for one in self.said]
        words = repr((self.paths, self.hunks, kinds))
        return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()[:16]

    def turned(self) -> "Clash":
        """Return it as the other side sees it."""
        hunks = tuple(Hunk(one.path, one.theirs, one.ours) for one in self.hunks)
        return Clash(self.paths, self.said, hunks)

    def without(self, paths: Collection[str]) -> "Clash | None":
        """Return what is left of it elsewhere; None when that is nothing."""
        kept = tuple(path for path in self.paths if path not in paths)
        if len(kept) == len(self.paths):
            return self
        if not kept:
            return None
        return Clash(
            kept,
            tuple(one for one in self.said if not set(one.paths) <= set(paths)),
            tuple(one for one in self.hunks if one.path not in paths),
        )


@dataclass(frozen=True, slots=True)
class Spot:
    """Where the work on a task stands: its branch's tip, or the snapshot on top of it."""

    commit: Oid
    footprint: Footprint
    left: tuple[Oid, ...]
    """The target's commit that it left from; several where histories cross."""


Pair = tuple[str, str]
"""Two tasks, or two merge requests, by id; the older first."""


def meeting(present: Mapping[str, Spot]) -> list[Pair]:
    """Return the pairs whose work could conflict, each with the older one first."""
    ordered = sorted(present, key=lambda one: int(one[1:]))
    return [
        (one, other)
        for one, other in combinations(ordered, 2)
        if present[one].footprint.meets(present[other].footprint)
    ]


def of_the_pair(
    clash: Clash | None, pair: tuple[Spot, Spot], with_target: Sequence[Clash | None]
) -> Clash | None:
    """Return what of a merge's conflicts lies between the two sides themselves.

    Of two that left the target at different times, one brings along what landed in between, and
    the other may conflict with that: it is told so by the target's own entry, and only there.
    """
    if clash is None or pair[0].left == pair[1].left:
        return clash
    others = {path for one in with_target if one is not None for path in one.paths}
    both = pair[0].footprint.paths & pair[1].footprint.paths
    return clash.without(others - both)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A conflict as one of its sides sees it."""

    other: str | None
    """The other side; None for the target."""
    clash: Clash
    """With the seeing side's lines as `ours`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What can be merged with what at one moment."""

    target: Oid | None = None
    commits: Mapping[str, Oid] = field(default_factory=dict[str, Oid])
    spots: Mapping[str, Spot] = field(default_factory=dict[str, Spot])
    """Without those that have no history in common with the target."""
    with_target: Mapping[str, Clash] = field(default_factory=dict[str, Clash])
    """With the target's lines as `theirs`."""
    between: Mapping[Pair, Clash] = field(default_factory=dict[Pair, Clash])

    def of(self, one: str) -> list[Conflict]:
        """Return what conflicts with this one, the target first."""
        found: list[Conflict] = []
        if (clash := self.with_target.get(one)) is not None:
            found.append(Conflict(other=None, clash=clash))
        for (older, newer), clash in self.between.items():
            if one == older:
                found.append(Conflict(other=newer, clash=clash))
            elif one == newer:
                found.append(Conflict(other=older, clash=clash.turned()))
        return found


# -- holding back ----------------------------------------------------------------------------------


class Ground:
    """What live work stands on: files that it has changed, and paths that it has declared."""

    def __init__(self, held: Mapping[TaskId, Iterable[str]]) -> None:
        """Take the paths of each live task."""
        self._on: dict[str, TaskId] = {}
        self._above: dict[str, TaskId] = {}
        for task_id, paths in held.items():
            for path in paths:
                clean = path.strip("/")
                self._on.setdefault(clean, task_id)
                for folder in folders_above(clean):
                    self._above.setdefault(folder, task_id)

    def __bool__(self) -> bool:
        return bool(self._on)

    def met_by(self, declared: Iterable[str]) -> tuple[str, TaskId] | None:
        """Return the first declared path that lies on live work, and whose that is."""
        for path in declared:
            clean = path.strip("/")
            if task_id := self._on.get(clean) or self._above.get(clean):
                return path, task_id
            for folder in folders_above(clean):
                if task_id := self._on.get(folder):
                    return path, task_id
        return None


def folders_above(path: str) -> list[str]:
    """Return the folders that a path lies in, the nearest first; not the top."""
    found: list[str] = []
    while (path := path.rpartition("/")[0]) != "":
        found.append(path)
    return found


def is_over(held_since: datetime | None, now: datetime) -> bool:
    """Return whether a task has been held back for as long as it may be."""
    return held_since is not None and now - held_since >= MOST_HELD


def first_to_start(ready: Iterable[T], is_held: Callable[[T], bool]) -> tuple[T | None, list[T]]:
    """Return which starts next, and those ahead of it that are held back for it.

    The first that nothing holds back; when all are held, the first of all: work is never left lying
    for what might come of it.
    """
    passed: list[T] = []
    for one in ready:
        if not is_held(one):
            return one, passed
        passed.append(one)
    return (passed[0], []) if passed else (None, [])


def starting_order(ready: Sequence[T], is_held: Callable[[T], bool]) -> list[T]:
    """Return ready tasks in the order in which they start as things stand."""
    return sorted(ready, key=is_held)  # stable: otherwise the order stays
