"""A worktree that is checked out before anybody needs it, for the next new task.

To write a thousand files takes longer than all else between a landing and the start of the session
that waited for it. A spare becomes a task's worktree by two renames and a checkout of what has
changed since it was made. Nobody's work is ever in it: what a crash leaves of it is made anew.
"""

import shutil
import threading
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.git.command import GitFailed, run_git
from sf_mcp.git.guard import replace_text

SPARE = "spare"


class Spare:
    """The place of the one spare. Whoever makes or takes it holds the lock."""

    def __init__(self, path: Path, admin: Path, *, timeout_seconds: float) -> None:
        """Take its folder, the git directory that belongs to it, and git's time for a checkout."""
        self.lock = threading.Lock()
        self._path = path
        self._admin = admin
        self._mark = admin / "stoneforge-whole"
        self._timeout_seconds = timeout_seconds

    @property
    def is_whole(self) -> bool:
        """Whether it is there with all its files."""
        return self._mark.exists()

    def vouch(self) -> None:
        """Record that it is whole."""
        self._mark.touch()

    def become(self, path: Path, admin: Path, branch: str, base: Oid) -> bool:
        """Turn the spare into a worktree at `path` on a new branch; False when there is none.

        A crash leaves what `Worktrees.prepare` takes for half a checkout, as it would be.
        """
        with self.lock:
            if not self.is_whole:
                return False
            self._mark.unlink()
            self._admin.rename(admin)
            self._path.rename(path)
            replace_text(path / ".git", f"gitdir: {admin}\n")
            replace_text(admin / "gitdir", f"{path / '.git'}\n")
            checkout = ["checkout", "--quiet", "--force", "--no-track", "-b", branch, base, "--"]
            try:
                # The branch comes last: until then nothing stands in the way of another attempt.
                for command in (["clean", "-ffdxq"], checkout):
                    run_git(command, cwd=path, timeout_seconds=self._timeout_seconds)
            except GitFailed:
                shutil.rmtree(path, ignore_errors=True)
                shutil.rmtree(admin, ignore_errors=True)
                return False
            return True
