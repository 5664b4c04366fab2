"""The server moves a task's branch: by compare-and-swap, with its worktree brought along."""

import logging

from sf_mcp.core.models import Oid
from sf_mcp.git.command import GitFailed, run_git
from sf_mcp.git.repository import Repository
from sf_mcp.git.spare import CHECKOUT_TIMEOUT_SECONDS
from sf_mcp.git.status import status
from sf_mcp.git.worktrees import Worktree

logger = logging.getLogger(__name__)


def move_branch(
    forge: Repository, worktree: Worktree | None, branch: str, *, old: Oid, new: Oid
) -> None:
    """Move a task's branch from `old` to `new`; what leads to `old` afterwards is the caller's.

    The worktree lets go of the branch first, so that at no instant its files look as if somebody
    had undone what is new. One with uncommitted files stays where it was: nothing is written over.

    Raises:
        TargetMoved: the branch has another value than `old`.
        GitFailed: git cannot write the ref; nothing was moved.
    """
    seen = status(worktree.path) if worktree is not None else None
    if worktree is not None and seen is not None and seen.branch == branch:
        run_git(["checkout", "--quiet", "--detach"], cwd=worktree.path)
    forge.compare_and_swap(f"refs/heads/{branch}", new=new, old=old, message="stoneforge: merged")
    if worktree is None or seen is None or not seen.is_clean or seen.operation:
        return
    try:
        run_git(
            ["checkout", "--quiet", branch, "--"],
            cwd=worktree.path,
            timeout_seconds=CHECKOUT_TIMEOUT_SECONDS,
        )
    except GitFailed as error:
        # It is checked out before anybody works there again.
        logger.warning("%s is not checked out in %s yet: %s", branch, worktree.path, error)
