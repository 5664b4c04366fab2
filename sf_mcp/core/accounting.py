"""Accounts for a resolved merge: what either side did is so in the result, or listed with a reason.

Line by line and path by path, by counting: each line that a side added must be there, each that a
side removed must be gone, each that both kept must have stayed, as often as that takes. Where in
its file a line stands plays no role, and lines that neither side has may be there besides. Nothing
here judges whether the result is right; it only sees that nothing is dropped in silence.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

LONG_LINE = 80
"""From so many characters on, the beginning of a line is enough to list it."""

_MARKER = re.compile(r"(?:<{7,}|>{7,}|\|{7,})(?: .*)?\r?|={7}\r?")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One version of a path."""

    mode: str
    """As git has it: `100644`, `100755`, `120000` a link, `160000` a submodule."""
    oid: str
    text: str | None
    """None when it has no lines to account for: binary, a link, a submodule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """One path of a merge: what each side made of it, and what the result has."""

    path: str
    is_conflicting: bool
    base: File | None
    mine: File | None
    """The merge request's."""
    theirs: File | None
    """The target's."""
    merged: File | None
    """What git made of it, when that did not conflict."""
    result: File | None
    is_special: bool = False
    """Not in conflict by its lines, but its lines may not decide: its attributes say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Lines of a path that the result does not account for, and why."""

    path: str
    lines: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A path that had to be decided as a whole, and why it was decided so."""

    path: str
    reason: str


class What(StrEnum):
    """Why a line or a path is not accounted for."""

    ADDED_BY_MINE = "added by {mine}, missing from the result"
    ADDED_BY_THEIRS = "added by {theirs}, missing from the result"
    ADDED_BY_BOTH = "added by both sides, missing from the result"
    KEPT_BY_BOTH = "kept by both sides, missing from the result"
    REMOVED_BY_MINE = "removed by {mine}, still in the result"
    REMOVED_BY_THEIRS = "removed by {theirs}, still in the result"
    REMOVED_BY_BOTH = "removed by both sides, still in the result"
    MARKER = "a conflict marker is left in the result"
    ELSEWHERE = "changed, although it was not in conflict: say why in `decided`"
    ONE_DELETED = "changed by one side, deleted by the other: say in `decided` what becomes of it"
    NOT_THERE = "missing from the result: say why in `decided`"
    BACK_AGAIN = "gone on both sides, there in the result: say why in `decided`"
    SPECIAL = (
        "merged by lines, which its attributes do not allow: say in `decided` that it is right as "
        "it is, or whose it is"
    )
    WITHOUT_LINES = (
        "binary, a link or a submodule, changed by both sides: say in `decided` which one it is"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unaccounted:
    path: str
    what: What
    number: int = 0
    """The line's, where it was added or kept, or else in the result; 0: the path as a whole."""
    line: str = ""

    def sentence(self, mine: str, theirs: str) -> str:
        """Say what is missing; `mine` and `theirs` are the names of the two sides."""
        why = self.what.value.format(mine=mine, theirs=theirs)
        if not self.number:
            return f"{self.path}: {why}"
        return f"{self.path}:{self.number} {why}: {self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    unaccounted: tuple[Unaccounted, ...]
    """What must be mended or listed; empty: the resolution is accounted for."""
    dropped: tuple[Dropped, ...]
    """What was listed, as far as there was something to list it for."""
    decided: tuple[Decided, ...]


def account(
    files: Sequence[Versions], dropped: Sequence[Dropped], decided: Sequence[Decided]
) -> Account:
    """Return what is not accounted for in the result, given what was listed with a reason."""
    reasons = {one.path: one for one in decided if one.reason.strip()}
    listing = _Listing(dropped)
    found: list[Unaccounted] = []
    used: dict[str, Decided] = {}
    for versions in files:
        problem = _of_path(versions)
        if problem is not None and versions.path in reasons:
            used[versions.path] = reasons[versions.path]
        elif problem is not None:
            found.append(Unaccounted(path=versions.path, what=problem))
            continue
        found += [one for one in _of_lines(versions) if not listing.has(one)]
    return Account(unaccounted=tuple(found), dropped=listing.used(), decided=tuple(used.values()))


def _of_path(versions: Versions) -> What | None:
    """Return why the path must be decided as a whole; None when its lines say it all."""
    sides = (versions.base, versions.mine, versions.theirs)
    if versions.is_special:
        return What.SPECIAL
    if not versions.is_conflicting:
        is_as_merged = _same(versions.result, versions.merged)
        return None if is_as_merged else What.ELSEWHERE
    if any(side is not None and side.text is None for side in sides):
        return What.WITHOUT_LINES
    if versions.mine is None and versions.theirs is None:
        return What.BACK_AGAIN if versions.result is not None else None
    if versions.base is not None and (versions.mine is None or versions.theirs is None):
        return What.ONE_DELETED
    return What.NOT_THERE if versions.result is None else None


def _same(one: File | None, other: File | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.mode, one.oid) == (other.mode, other.oid)


def _of_lines(versions: Versions) -> list[Unaccounted]:
    """Return the lines of the path that are not accounted for, once the path itself is."""
    sides = [versions.base, versions.mine, versions.theirs]
    if any(side is not None and side.text is None for side in (*sides, versions.result)):
        return []
    if not versions.is_conflicting and _same(versions.result, versions.merged):
        return []
    base, mine, theirs, result = (
        _lines(side) for side in (versions.base, versions.mine, versions.theirs, versions.result)
    )
    if versions.is_conflicting and versions.base is not None:
        if versions.result is None and None in sides:
            return []  # one side deleted it, and that it is deleted was decided
        # That the other side deleted it was overruled: its lines are as they were.
        mine = base if versions.mine is None else mine
        theirs = base if versions.theirs is None else theirs
    found = _markers(versions.path, mine, theirs, result)
    found += unaccounted_lines(versions.path, base, mine, theirs, result)
    return found


def _lines(file: File | None) -> list[str]:
    lines = (file.text or "").split("\n") if file is not None else [""]
    return lines[:-1] if lines[-1] == "" else lines


def _markers(
    path: str, mine: Sequence[str], theirs: Sequence[str], result: Sequence[str]
) -> list[Unaccounted]:
    """Return the conflict markers left, but for lines of that form that a side has itself."""
    own = Counter(line for line in (*mine, *theirs) if _MARKER.fullmatch(line))
    found: list[Unaccounted] = []
    for number, line in enumerate(result, 1):
        if _MARKER.fullmatch(line):
            own[line] -= 1
            if own[line] < 0:
                found.append(Unaccounted(path=path, what=What.MARKER, number=number, line=line))
    return found


def unaccounted_lines(
    path: str,
    base: Sequence[str],
    mine: Sequence[str],
    theirs: Sequence[str],
    result: Sequence[str],
) -> list[Unaccounted]:
    """Return the lines of which the result has too few or too many, in the order of the files."""
    b, m, t, r = Counter(base), Counter(mine), Counter(theirs), Counter(result)
    found: list[Unaccounted] = []
    for line in dict.fromkeys((*mine, *theirs, *base)):
        by_mine, by_theirs = m[line] - b[line], t[line] - b[line]
        fewest = most = max(0, b[line] + by_mine + by_theirs)
        if by_mine > 0 and by_theirs > 0:
            # The same line added by both may be one change that both made.
            fewest = b[line] + max(by_mine, by_theirs)
        if by_mine < 0 and by_theirs < 0:
            most = b[line] + min(by_mine, by_theirs)
        if r[line] < fewest:
            what, where = _why_missing(by_mine, by_theirs, mine, theirs)
            found += _places(path, what, line, where, fewest - r[line])
        if r[line] > most and (by_mine < 0 or by_theirs < 0):
            what = _why_still_there(by_mine, by_theirs)
            found += _places(path, what, line, result, r[line] - most)
    return found


def _why_missing(
    by_mine: int, by_theirs: int, mine: Sequence[str], theirs: Sequence[str]
) -> tuple[What, Sequence[str]]:
    if by_mine > 0 and by_theirs > 0:
        return What.ADDED_BY_BOTH, mine if by_mine >= by_theirs else theirs
    if by_mine > 0:
        return What.ADDED_BY_MINE, mine
    if by_theirs > 0:
        return What.ADDED_BY_THEIRS, theirs
    return What.KEPT_BY_BOTH, theirs if by_mine < 0 else mine


def _why_still_there(by_mine: int, by_theirs: int) -> What:
    if by_mine < 0 and by_theirs < 0:
        return What.REMOVED_BY_BOTH
    return What.REMOVED_BY_MINE if by_mine < 0 else What.REMOVED_BY_THEIRS


def _places(
    path: str, what: What, line: str, where: Sequence[str], count: int
) -> list[Unaccounted]:
    numbers = [number for number, text in enumerate(where, 1) if text == line]
    # Counted, not tracked: of equal lines the last ones are named.
    return [
        Unaccounted(path=path, what=what, number=number, line=line) for number in numbers[-count:]
    ]


class _Listing:
    """What was listed: each line stands for one that is not accounted for, and only once."""

    def __init__(self, dropped: Sequence[Dropped]) -> None:
        self._dropped = [one for one in dropped if one.reason.strip()]
        self._left = [list(one.lines) for one in self._dropped]
        self._used: list[list[str]] = [[] for _ in self._dropped]

    def has(self, one: Unaccounted) -> bool:
        """Return whether the line is listed, and take it off the list."""
        if one.what is What.MARKER:
            return False
        for is_it in (_is_exactly, _is_but_for_its_margins, _is_the_beginning_of):
            for dropped, left, used in zip(self._dropped, self._left, self._used, strict=True):
                if dropped.path != one.path:
                    continue
                for place, listed in enumerate(left):
                    if is_it(listed, one.line):
                        del left[place]
                        used.append(one.line)
                        return True
        return False

    def used(self) -> tuple[Dropped, ...]:
        return tuple(
            replace(dropped, lines=tuple(used))
            for dropped, used in zip(self._dropped, self._used, strict=True)
            if used
        )


def _is_exactly(listed: str, line: str) -> bool:
    return listed == line


def _is_but_for_its_margins(listed: str, line: str) -> bool:
    return listed.strip() == line.strip()


def _is_the_beginning_of(listed: str, line: str) -> bool:
    return len(listed.strip()) >= LONG_LINE and line.strip().startswith(listed.strip())
