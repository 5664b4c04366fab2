"""The person's own repository, as far as it is read: where it is, its branches, what is going on.

Reading only. `sf_mcp.git.publishing` is the one place that writes to it.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.errors import GitRefused
from sf_mcp.git.command import GitFailed, run_git
from sf_mcp.git.repository import Repository

USUAL_TARGETS = ("main", "master", "trunk", "develop")

OPERATIONS = {
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "sequencer": "cherry-pick or revert",
    "BISECT_START": "bisect",
}
"""A file in the git directory of a worktree -> the operation that is under way there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A working tree of the person's: the main one or a linked one."""

    root: Path
    git_dir: Path
    """Of this working tree: its HEAD and index."""
    common_dir: Path
    """Of the repository: its refs and objects."""
    branch: str | None
    """The branch that is checked out; None on a detached HEAD."""

    @property
    def repository(self) -> Repository:
        """Return the repository behind it."""
        return Repository(self.common_dir)


def open_checkout(path: Path) -> Checkout:
    """Find the working tree that `path` lies in.

    Raises:
        GitRefused: there is none: no repository, or a bare one.
    """
    anywhere = {"GIT_CEILING_DIRECTORIES": ""}
    asked = ("--is-bare-repository", "--absolute-git-dir", "--git-common-dir")
    try:
        facts = run_git(
            ["rev-parse", "--path-format=absolute", *asked], cwd=path, extra=anywhere
        ).text
    except GitFailed as error:
        if "not a git repository" not in error.stderr:
            raise
        raise GitRefused(
            f"{path} is not in a git repository.",
            remedy="Run `git init` and make a first commit, or go to the repository.",
        ) from error
    is_bare, git_dir, common_dir = facts.split("\n")
    top = run_git(["rev-parse", "--show-toplevel"], cwd=path, extra=anywhere, accept=(0, 128))
    if is_bare == "true" or top.exit_code != 0:
        raise GitRefused(
            f"{git_dir} is a bare repository or its inside: it has no files to work from, and "
            "nowhere to publish to.",
            remedy="Clone it (`git clone`) and start in the clone.",
        )
    branch = run_git(["symbolic-ref", "--quiet", "HEAD"], cwd=path, extra=anywhere, accept=(0, 1))
    name = branch.text.removeprefix("refs/heads/") if branch.exit_code == 0 else None
    return Checkout(
        root=Path(top.text), git_dir=Path(git_dir), common_dir=Path(common_dir), branch=name
    )


def branches(checkout: Checkout) -> tuple[str, ...]:
    """Return the person's branches, by name."""
    found = checkout.repository.refs_below("refs/heads")
    return tuple(sorted(ref.removeprefix("refs/heads/") for ref in found))


def default_target(checkout: Checkout) -> str:
    """Return the branch that work most likely should land on.

    The branch that `origin` has as its own default, else a usual name, else the one checked out,
    else the only one there is.

    Raises:
        GitRefused: no commit yet, or several branches and no way to tell.
    """
    present = branches(checkout)
    if not present:
        raise no_commits(checkout)
    head = run_git(
        ["symbolic-ref", "--quiet", "refs/remotes/origin/HEAD"], cwd=checkout.root, accept=(0, 1)
    )
    usual = (head.text.removeprefix("refs/remotes/origin/"), *USUAL_TARGETS, checkout.branch or "")
    for name in usual:
        if name in present:
            return name
    if len(present) == 1:
        return present[0]
    raise GitRefused(
        f"HEAD is detached, and none of the branches is an obvious target: {_listed(present)}.",
        remedy="Name one as merge.targetBranch in .stoneforge/config.yaml.",
    )


def require_usable(checkout: Checkout, target: str) -> None:
    """Check that a forge can be made from this repository.

    Only what would make the fleet's work wrong or impossible is refused. A detached HEAD, a dirty
    tree, a rebase or merge under way, submodules: none of it matters, since the tip of the target
    branch is all that comes in; publishing leaves such a checkout alone until it is over.

    Raises:
        GitRefused: no commits, no such branch, history or objects missing, SHA-256 names.
    """
    present = branches(checkout)
    if not present:
        raise no_commits(checkout)
    if target not in present:
        raise GitRefused(
            f"There is no branch {target}. There is: {_listed(present)}.",
            remedy=f"Set merge.targetBranch to one of them, or make it: git branch -- {target}",
        )
    ask = checkout.repository.run
    if ask("rev-parse", "--is-shallow-repository").text == "true":
        raise GitRefused(
            "This is a shallow clone: without the history, merges cannot find their common base.",
            remedy="Run `git fetch --unshallow` and try again.",
        )
    partial = ask(
        "config", "--get-regexp", r"^remote\..*\.(promisor|partialclonefilter)$", accept=(0, 1)
    )
    if partial.exit_code == 0:
        raise GitRefused(
            "This is a partial clone: some of its files are only on the remote.",
            remedy="Make a full clone (`git clone` without --filter) and start there.",
        )
    if ask("rev-parse", "--show-object-format").text != "sha1":
        raise GitRefused(
            "This repository names its objects by SHA-256, which is not supported.",
            remedy="Use a repository in git's usual format (SHA-1).",
        )


def no_commits(checkout: Checkout) -> GitRefused:
    """Return the refusal of a repository without a single commit."""
    return GitRefused(
        f"{checkout.root} has no commits yet: there is nothing to branch from.",
        remedy='Make a first one: git commit --allow-empty -m "first commit"',
    )


def operation_in_progress(git_dir: Path) -> str:
    """Return what is under way in the worktree of `git_dir` (`rebase`, `merge` …), or nothing."""
    for name, operation in OPERATIONS.items():
        if (git_dir / name).exists():
            return operation
    return ""


def branch_in_operation(git_dir: Path) -> str | None:
    """Return the branch that a rebase or bisect in this worktree will come back to."""
    for name in ("rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START"):
        with contextlib.suppress(OSError):
            return (git_dir / name).read_text().strip().removeprefix("refs/heads/")
    return None


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
