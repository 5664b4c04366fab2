"""A worktree that is checked out before anybody needs it, for the next new task.

To write a thousand files takes longer than all else between a landing and the start of the session
that waited for it. A spare becomes a task's worktree by two renames and a checkout of what has
changed since it was made. Nobody's work is ever in it: what a crash leaves of it is made anew.
"""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.git.command import GitFailed, run_git
from sf_mcp.git.guard import replace_text

SPARE = "spare"
CHECKOUT_TIMEOUT_SECONDS = 600.0


class Spare:
    """The one spare worktree of a forge. Safe to share between threads."""

    def __init__(self, path: Path, admin: Path, check_out: Callable[[str, Oid], object]) -> None:
        """Take its folder, its git directory, and what makes a detached worktree by its name."""
        self._path = path
        self._admin = admin
        self._check_out = check_out
        self._mark = admin / "stoneforge-whole"
        self._lock = threading.Lock()

    @property
    def is_there(self) -> bool:
        """Whether there is one, with all its files."""
        return self._mark.exists()

    def make(self, commit: Oid) -> None:
        """Check one out at `commit`, unless there is one already.

        Raises:
            GitRefused: there is no such commit, or git cannot write the files.
        """
        with self._lock:
            if not self.is_there:
                self._check_out(SPARE, commit)
                self._mark.touch()

    def become(self, path: Path, admin: Path, branch: str, base: Oid) -> bool:
        """Turn the spare into a worktree at `path` on a new branch; False when there is none.

        A crash leaves what `Worktrees.prepare` takes for half a checkout, as it would be.
        """
        with self._lock:
            if not self.is_there:
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
                    run_git(command, cwd=path, timeout_seconds=CHECKOUT_TIMEOUT_SECONDS)
            except GitFailed:
                shutil.rmtree(path, ignore_errors=True)
                shutil.rmtree(admin, ignore_errors=True)
                return False
            return True
