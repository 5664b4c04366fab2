"""Merges that do not go through by themselves: the places in conflict, and a worktree to mend them.

Each side is shown with their common base (`diff3`), so that one can see what either of them did.
"""

import re
from collections.abc import Sequence

from sf_mcp.core.models import Oid
from sf_mcp.git.command import readable
from sf_mcp.git.repository import Repository

WITH_BASE = ("-c", "merge.conflictStyle=diff3")
MARKED = re.compile(r"^<{7}[ \r\n].*?^>{7}(?: [^\n]*)?$", re.DOTALL | re.MULTILINE)
"""A place in conflict, from its first marker to its last."""


def hunks_of(
    repository: Repository, ours: Oid, theirs: Oid, paths: Sequence[str], *, limit: int
) -> str:
    """Return the places in conflict between two commits, by path and line, cut at `limit`.

    Raises:
        GitFailed: one of the commits does not exist.
    """
    merged = repository.run(
        *WITH_BASE, "merge-tree", "--write-tree", "-z", "--name-only", ours, theirs, accept=(0, 1)
    )
    tree = readable(merged.stdout.split(b"\0", 1)[0])
    found: list[str] = []
    length = 0
    for path in paths:
        shown = repository.run("cat-file", "blob", f"{tree}:{path}", accept=(0, 128))
        for hunk in hunks_in(path, readable(shown.stdout)) if shown.exit_code == 0 else ():
            if length + len(hunk) > limit:
                return "\n\n".join([*found, "… and more"])
            found.append(hunk)
            length += len(hunk)
    return "\n\n".join(found)


def hunks_in(path: str, text: str) -> list[str]:
    """Return the places of a merged file that are in conflict, each with its path and line."""
    return [
        f"{path}:{text.count(chr(10), 0, place.start()) + 1}\n{place.group()}"
        for place in MARKED.finditer(text)
    ]
