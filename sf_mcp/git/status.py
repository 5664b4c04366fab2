"""What a worktree looks like at this moment: its branch, and what is not committed."""

import os
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.git.checkout import operation_in_progress
from sf_mcp.git.command import GitFailed, readable, run_git


@dataclass(frozen=True, slots=True, kw_only=True)
class WorktreeStatus:
    head: Oid | None
    """None on a branch that has no commit yet."""
    branch: str | None
    """None on a detached HEAD: a commit made there is on no branch."""
    changed: tuple[str, ...]
    """Tracked paths that differ from HEAD, staged or not."""
    untracked: tuple[str, ...]
    conflicted: tuple[str, ...]
    operation: str
    """`rebase`, `merge` … when one is under way, else empty."""

    @property
    def is_clean(self) -> bool:
        """Tell whether everything is committed."""
        return not (self.changed or self.untracked or self.conflicted)


def status(worktree: Path) -> WorktreeStatus:
    """Read the state of a worktree; nothing is written, not even its index.

    Raises:
        GitFailed: it is not a worktree.
    """
    git_dir = admin_dir(worktree)
    listed = run_git(
        [
            "status",
            "--porcelain=v2",
            "--branch",
            "--no-ahead-behind",
            "-z",
            "--no-renames",
            "--untracked-files=normal",
        ],
        cwd=worktree,
    )
    head: Oid | None = None
    branch: str | None = None
    changed: list[str] = []
    untracked: list[str] = []
    conflicted: list[str] = []
    for line in filter(None, readable(listed.stdout).split("\0")):
        kind, _, rest = line.partition(" ")
        match kind:
            case "#":
                name, _, value = rest.partition(" ")
                if name == "branch.oid" and value != "(initial)":
                    head = Oid(value)
                elif name == "branch.head" and value != "(detached)":
                    branch = value
            case "1":
                changed.append(rest.split(" ", 7)[7])
            case "u":
                conflicted.append(rest.split(" ", 9)[9])
            case _:
                untracked.append(rest)
    return WorktreeStatus(
        head=head,
        branch=branch,
        changed=tuple(changed),
        untracked=tuple(untracked),
        conflicted=tuple(conflicted),
        operation=operation_in_progress(git_dir),
    )


def head(worktree: Path) -> Oid | None:
    """Return the commit that a worktree is on, or None if there is none yet.

    Raises:
        GitFailed: it is not a worktree.
    """
    admin_dir(worktree)
    found = run_git(
        ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], cwd=worktree, accept=(0, 1)
    )
    return Oid(found.text) if found.exit_code == 0 else None


def admin_dir(worktree: Path) -> Path:
    """Return the git directory of a worktree, as its `.git` file says.

    Raises:
        GitFailed: there is none; what is there is not a worktree.
    """
    link = worktree / ".git"
    try:
        if link.is_dir():
            return link
        text = link.read_text("utf-8", "surrogateescape").strip()
    except OSError as error:
        raise GitFailed(
            f"{worktree} is not a worktree: it has no readable .git file.",
            remedy="Let the server prepare it again; its files are kept.",
        ) from error
    return (worktree / text.removeprefix("gitdir: ")).resolve()


def inner_repository(path: Path, admin: Path) -> str:
    """Return a repository that lies inside a worktree, or nothing."""
    if (admin / "modules").is_dir():
        return "a submodule"
    for folder, folders, files in os.walk(path):
        if Path(folder) != path and (".git" in folders or ".git" in files):
            return os.path.relpath(folder, path)
    return ""
