"""Where the work on a task stands, by git alone: for a brief, and for a handoff nobody wrote."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sf_mcp.core.models import Oid, TaskId
from sf_mcp.core.text import one_line
from sf_mcp.git.repository import LogEntry, Repository
from sf_mcp.git.snapshots import Snapshot, list_snapshots
from sf_mcp.git.status import status
from sf_mcp.git.worktrees import Worktree, advice

MOST_COMMITS = 200
"""Counted and listed; a branch with more says so."""

COMMITS_TOLD = FILES_TOLD = 15
"""Named to a session that goes on; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchState:
    """A task's branch and worktree at this moment."""

    base: Oid
    commits: tuple[LogEntry, ...]
    """Ahead of the base, newest first; at most `MOST_COMMITS`."""
    uncommitted: tuple[str, ...]
    """Paths that differ from the newest commit; they lie in the worktree."""
    snapshot: Snapshot | None
    """The newest; its files may have changed since."""
    note: str
    """What is in the way, such as a merge that was begun; empty when nothing is."""

    @property
    def kept(self) -> Oid | None:
        """The newest snapshot's commit, when there is anything uncommitted that it is for."""
        return self.snapshot.commit if self.snapshot and self.uncommitted else None


def branch_state(
    forge: Repository, worktree: Worktree, task_id: TaskId, late: Collection[Oid]
) -> BranchState:
    """Return the state of a task's branch and worktree; `late` commits are numbered beside it.

    Raises:
        GitFailed: the worktree cannot be read.
    """
    seen = status(worktree.path)
    head = forge.head_of(f"refs/heads/{worktree.branch}")
    snapshots = [one for one in list_snapshots(forge, task_id) if one.commit not in late]
    return BranchState(
        base=worktree.base,
        commits=forge.log_between(worktree.base, head, limit=MOST_COMMITS) if head else (),
        uncommitted=tuple(sorted({*seen.conflicted, *seen.changed, *seen.untracked})),
        snapshot=snapshots[-1] if snapshots else None,
        note=advice(worktree.branch, seen.branch, seen.operation),
    )


def standing_of(state: BranchState, branch: str) -> str:
    """Return where the work stands, for a session that goes on with it."""
    since = f"since its base {state.base[:12]}"
    told = [f"{branch} has no commit {since}."]
    if state.commits:
        lines = [f"- {one.commit[:12]} {one_line(one.subject)}" for one in state.commits]
        told = [
            f"{branch} is at {state.commits[0].commit[:12]}; its commits {since}, newest first:",
            *_some(lines, COMMITS_TOLD),
        ]
    files = ", ".join(_some(state.uncommitted, FILES_TOLD))
    return "\n".join(filter(None, [*told, f"Not committed: {files or 'nothing'}.", state.note]))


def _some(lines: Sequence[str], most: int) -> list[str]:
    return [*lines[:most], *([f"and {len(lines) - most} more"] if len(lines) > most else [])]
