"""Conflicting texts of which there is one plain reading: nothing that either side did is dropped.

Rule 1: what is not plain is refused with the reason; nothing here chooses between two readings.
Rule 2: what a side added is in the result, and what it removed is not.

Texts are bytes, for a repository's files are in whatever encoding they are.
"""

from collections import Counter
from collections.abc import Sequence

from sf_mcp.core.text import one_line


class NotStraightforward(Exception):
    """There is more than one way to read the conflict; the text says why."""


def union(base: bytes, ours: bytes, theirs: bytes) -> bytes:
    """Return `base` with the lines that both sides added to it, ours before theirs.

    What both added in the same words at the same place is there once, as is what both begin their
    additions with (the heading of a new section). Not by `git merge-file --union`, which joins
    conflicts that lie close together and then repeats the lines between them.

    Raises:
        NotStraightforward: a side changed or removed a line, it is no text, or both added the same
            line in different places.
    """
    if b"\0" in base + ours + theirs:
        raise NotStraightforward("it is no text")
    lines, ours_lines, theirs_lines = _lines(base), _lines(ours), _lines(theirs)
    merged: list[bytes] = []
    by_us, by_them = _added(lines, ours_lines, "target"), _added(lines, theirs_lines, "task")
    for number, (one, other) in enumerate(zip(by_us, by_them, strict=True)):
        merged += _both(one, other)
        merged += lines[number : number + 1]
    _verify(merged, lines, ours_lines, theirs_lines)
    return b"\n".join(merged) + (b"\n" if merged and _is_ended(base, ours, theirs) else b"")


def same_edit(base: Sequence[bytes], ours: Sequence[bytes], theirs: Sequence[bytes]) -> list[bytes]:
    """Return the side that made the other side's edit and went on to the lines beside it.

    The three are what stands at one place, line by line. Both replaced lines by as many others;
    where both replaced one, it is by the same.

    Raises:
        NotStraightforward: they did different things.
    """
    if len(base) == len(ours) == len(theirs):
        changed = [one != line for line, one in zip(base, ours, strict=True)]
        changed_too = [other != line for line, other in zip(base, theirs, strict=True)]
        differs = [one != other for one, other in zip(ours, theirs, strict=True)]
        if not any(one and apart for one, apart in zip(changed, differs, strict=True)):
            return list(theirs)
        if not any(other and apart for other, apart in zip(changed_too, differs, strict=True)):
            return list(ours)
    raise NotStraightforward("both sides changed the same lines, in different ways")


def _added(base: Sequence[bytes], side: Sequence[bytes], who: str) -> list[list[bytes]]:
    """Return what a side added before each line of `base`, and behind the last.

    Each line of `base` is found where it first comes: an addition that could be read as standing
    further up or further down is taken as the latter, on both sides alike.
    """
    gaps: list[list[bytes]] = [[]]
    for line in side:
        if len(gaps) <= len(base) and line == base[len(gaps) - 1]:
            gaps.append([])
        else:
            gaps[-1].append(line)
    if len(gaps) <= len(base):
        missing = _shown(base[len(gaps) - 1])
        raise NotStraightforward(f"the {who} changed or removed lines (such as {missing})")
    return gaps


def _both(ours: list[bytes], theirs: list[bytes]) -> list[bytes]:
    if not ours or not theirs or ours == theirs:
        return ours or theirs
    head = 0
    while head < min(len(ours), len(theirs)) and ours[head] == theirs[head]:
        head += 1
    if not any(map(bytes.strip, ours[:head])):
        head = 0  # blank lines begin nothing that the two have in common
    start, one, other = ours[:head], ours[head:], theirs[head:]
    twice = {line for line in one if line.strip()}.intersection(other)
    if twice:
        line = _shown(min(twice))
        raise NotStraightforward(f"both sides added a line in different places ({line})")
    end: list[bytes] = []
    if head:
        # Within a section that both began, what parts it from the next one is needed once.
        while one and other and one[-1] == other[-1]:
            end.insert(0, one.pop())
            other.pop()
    return [*start, *one, *other, *end]


def _verify(
    merged: Sequence[bytes],
    base: Sequence[bytes],
    ours: Sequence[bytes],
    theirs: Sequence[bytes],
) -> None:
    """See for certain that no line is dropped and none is there more often than both have it."""
    for side in (ours, theirs):
        rest = iter(merged)
        if not all(line in rest for line in side):
            raise NotStraightforward("a line would be dropped")
    there, before, one, other = Counter(merged), Counter(base), Counter(ours), Counter(theirs)
    if any(count > one[line] + other[line] - before[line] for line, count in there.items()):
        raise NotStraightforward("a line would be there twice")


def _lines(text: bytes) -> list[bytes]:
    if not text:
        return []
    return text.removesuffix(b"\n").split(b"\n")


def _is_ended(base: bytes, ours: bytes, theirs: bytes) -> bool:
    """Return whether the last line has its end: as the side says that changed it."""
    before, one, other = (text.endswith(b"\n") for text in (base, ours, theirs))
    return other if one == before else one


def _shown(line: bytes) -> str:
    return f"`{one_line(line.decode('utf-8', 'replace'), 60)}`"
