"""Which paths of a repository a person's patterns mean: as in `docs/changes/*.md`.

A pattern is a whole path from the repository's root. `*` and `?` stand for characters within a
name, `**` for any number of folders, none included. Nothing else is special.
"""

import re
from collections.abc import Iterable
from functools import cache


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Return whether one of the patterns means the path."""
    return any(_compiled(pattern).fullmatch(path) for pattern in patterns)


def pattern_problem(pattern: str) -> str | None:
    """Return what is wrong with a pattern that can never mean a path; None when nothing is."""
    if pattern.startswith("/"):
        return "a path begins at the repository's root, without a slash"
    if pattern.endswith("/"):
        return f"it names a folder; `{pattern}**` means all files in it"
    if "\\" in pattern:
        return "folders are divided by `/`"
    if any(part in ("", ".", "..") for part in pattern.split("/")):
        return "`.`, `..` and empty names are in no path of a repository"
    return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    expression = ""
    parts = pattern.split("/")
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        if part == "**":
            expression += ".*" if is_last else "(?:.*/)?"
            continue
        expression += "".join(
            "[^/]*" if char == "*" else "[^/]" if char == "?" else re.escape(char)
            for char in re.sub(r"\*+", "*", part)
        )
        expression += "" if is_last else "/"
    return re.compile(expression, re.DOTALL)
