"""What a command made of a tree: read from a worktree, and remembered as a ref of the forge.

A command may say something else the next time (a registry has moved on), but a candidate that was
checked must stay what it is: so the first answer for a tree is the answer.
"""

import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from sf_mcp.core.errors import TargetMoved
from sf_mcp.core.models import Oid
from sf_mcp.git.command import run_git
from sf_mcp.git.identity import SERVER
from sf_mcp.git.repository import Repository
from sf_mcp.git.spare import CHECKOUT_TIMEOUT_SECONDS

GENERATED = "refs/stoneforge/generated"


def key_of(tree: Oid, command: str, paths: Sequence[str]) -> str:
    """Return the name under which the answer of a command for a tree is remembered."""
    return sha256("\0".join([tree, command, *paths]).encode("utf-8", "replace")).hexdigest()[:40]


def remembered(forge: Repository, key: str) -> Oid | None:
    """Return the tree that is remembered, or None."""
    ref = f"{GENERATED}/{key}"
    return forge.tree_of(ref) if forge.head_of(ref) is not None else None


def remember(forge: Repository, key: str, tree: Oid, message: str) -> Oid:
    """Remember a tree, and return the one that is remembered: an earlier one, if there is one."""
    commit = forge.commit_tree(tree, [], message, SERVER)
    try:
        forge.compare_and_swap(f"{GENERATED}/{key}", new=commit, old=None)
    except TargetMoved:
        return remembered(forge, key) or tree
    return tree


def tree_in(worktree: Path) -> Oid:
    """Return the tree of what is in a worktree, ignored files left out; its index stays as it is.

    Raises:
        GitFailed: a file cannot be read, or the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="sf-generated-") as folder:
        extra = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        for arguments in (
            ["read-tree", "HEAD"],
            ["-c", "core.safecrlf=false", "add", "--all", "--", "."],
            ["write-tree"],
        ):
            done = run_git(
                arguments, cwd=worktree, extra=extra, timeout_seconds=CHECKOUT_TIMEOUT_SECONDS
            )
        return Oid(done.text)
