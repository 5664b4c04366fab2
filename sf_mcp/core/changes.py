"""What a merge request changes, file by file, and the lines of a patch.

A patch is git's own text (`git diff`), which is data here: nothing in it is run or trusted.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One file that differs."""

    path: str
    was: str
    """Its path before a rename; else empty."""
    how: str
    """`added`, `changed`, `deleted` or `renamed`."""
    added: int | None
    """Lines; None for a binary file."""
    removed: int | None
    size: int
    """Bytes that it has now; 0 when it is deleted."""

    @property
    def is_binary(self) -> bool:
        """Whether git takes it for a binary file."""
        return self.added is None


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a patch adds or removes, without its line end."""

    path: str
    number: int
    """From 1, in the file as it is after (added) or before (removed)."""
    text: str
    is_added: bool


def lines_of(patch: Iterable[str]) -> Iterator[Line]:
    """Return the added and removed lines of a patch, in its order.

    Paths are read from the headers of a patch made with `a/` and `b/` before them, and without
    quoting (`core.quotePath=false`); one with a quote or a control character in it stays quoted.
    """
    old = new = ""
    before = after = left_old = left_new = 0
    for text in patch:
        if left_old or left_new:
            # Inside a hunk: a line that looks like a header is content.
            if text.startswith("+"):
                yield Line(new, after, text[1:], True)
                after, left_new = after + 1, left_new - 1
            elif text.startswith("-"):
                yield Line(old, before, text[1:], False)
                before, left_old = before + 1, left_old - 1
            elif not text.startswith("\\"):
                before, after = before + 1, after + 1
                left_old, left_new = left_old - 1, left_new - 1
        elif text.startswith("--- "):
            old = _path(text[4:])
        elif text.startswith("+++ "):
            new = _path(text[4:])
        elif found := _HUNK.match(text):
            before, after = int(found[1]), int(found[3])
            left_old, left_new = int(found[2] or 1), int(found[4] or 1)


def _path(name: str) -> str:
    name = name.rstrip("\t").strip('"')
    return "" if name == "/dev/null" else name[2:]
