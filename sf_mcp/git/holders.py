"""Who may move a task's branch: a file beside the guard of its worktree, which the guard reads.

The file names the session that holds the task. It is derived from the leases and never the other
way round: written after the lease is granted, removed before its end is committed, so that git lets
nothing through that the server would refuse. Without the file no session moves anything; a person's
own git, which carries no session's name, may.
"""

import re
from pathlib import Path

from sf_mcp.core.models import SessionId, TaskId
from sf_mcp.git.guard import HOLDER, replace_text

TASK_ID = re.compile(r"T[0-9]+")


class Holders:
    """The holders of the tasks of one forge."""

    def __init__(self, git_dir: Path) -> None:
        """Keep them inside the forge."""
        self._hooks = git_dir / "stoneforge" / "hooks"

    def name(self, task_id: TaskId, session_id: SessionId) -> None:
        """Let the session move the task's branch, and no other session.

        Raises:
            OSError: the file cannot be written; then no session may.
        """
        folder = self._hooks / task_id
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / HOLDER, f"{session_id}\n")

    def name_nobody(self, task_id: TaskId) -> None:
        """Let no session move the task's branch; needs no space on the disk."""
        (self._hooks / task_id / HOLDER).unlink(missing_ok=True)

    def is_asked(self, task_id: TaskId) -> bool:
        """Return whether the task has a guard that would read the file."""
        return (self._hooks / task_id).is_dir()

    def of(self, task_id: TaskId) -> str:
        """Return the session that may move the task's branch; empty when none may."""
        try:
            return (self._hooks / task_id / HOLDER).read_text("utf-8").strip()
        except OSError:
            return ""

    def named(self) -> list[TaskId]:
        """Return the tasks of which some session is named as the holder."""
        found = (path.parent.name for path in self._hooks.glob(f"T*/{HOLDER}"))
        return [TaskId(name) for name in found if TASK_ID.fullmatch(name)]
