"""The worktrees in which checks run: a pool of `check-1`, `check-2`, … that are switched, not made.

Everybody shares it, the train and the workers' own `run_checks`. It grows only when none is free,
and no further than checks may run at once: who finds all of them taken waits, first come, first
served. What git ignores stays from run to run, such as installed dependencies and caches.
"""

import re
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.git.fair_slots import FairSlots
from sf_mcp.git.worktrees import Worktrees

NAME = re.compile(r"check-(\d+)")
EARLIER_NAME = re.compile(r"check-(train|t\d+)")
"""What an earlier release called them: each task had its own."""


class CheckPlaces:
    """The pool of one forge. Safe to share between threads."""

    def __init__(self, worktrees: Worktrees, most: Callable[[], int]) -> None:
        """Have at most `most()` of them."""
        self._worktrees = worktrees
        self._most = most
        self._slots = FairSlots(most)
        self._lock = threading.Lock()
        self._free: list[str] | None = None
        """The one that was used last comes last; None until they have been looked for."""
        self._used: set[str] = set()

    @contextmanager
    def taken(
        self,
        commit: Oid,
        *,
        cancel: threading.Event | None = None,
        clean_ignored: bool = False,
        key: str = "",
    ) -> Generator[Path | None]:
        """Have a worktree at `commit` for oneself; None when it was cancelled before one was free.

        `clean_ignored`: as a fresh checkout, with nothing of any run before. `key`: what it should
        be set up for; one that is, is taken first.

        Raises:
            GitRefused: there is no such commit, or git cannot write the files.
        """
        with self._slots.line_up() as turn:
            if not turn.wait(cancel):
                yield None
                return
            name = self._take(key)
            try:
                if clean_ignored:
                    self.note_set_up(name, "")
                yield self._worktrees.detached(name, commit, clean_ignored=clean_ignored)
            finally:
                self._give_back(name)

    def is_set_up(self, name: str, key: str) -> bool:
        """Return whether a worktree was last set up for `key`."""
        with suppress(OSError):
            return self._mark(name).read_text("utf-8") == key
        return False

    def note_set_up(self, name: str, key: str) -> None:
        """Mark a worktree as set up for `key`; empty: for nothing."""
        if key:
            self._mark(name).write_text(key, "utf-8")
        else:
            self._mark(name).unlink(missing_ok=True)

    def _mark(self, name: str) -> Path:
        # In git's own part of the worktree, which goes when it is made anew.
        return self._worktrees.forge.git_dir / "worktrees" / name / "stoneforge-set-up"

    def _take(self, key: str) -> str:
        with self._lock:
            if self._free is None:
                self._free = self._found()
            ready = [one for one in self._free if key and self.is_set_up(one, key)]
            if ready:
                self._free.remove(ready[-1])
            name = ready[-1] if ready else self._free.pop() if self._free else self._new_name()
            self._used.add(name)
            return name

    def _give_back(self, name: str) -> None:
        with self._lock:
            self._used.discard(name)
            free = self._free = [*(self._free or ()), name]
            # The configuration may allow fewer than it did.
            spare = max(0, len(free) + len(self._used) - max(1, self._most()))
            for surplus in free[:spare]:
                self._worktrees.remove_detached(surplus)
            del free[:spare]

    def _found(self) -> list[str]:
        """Return what earlier servers have left, the last used last; remove what nobody uses."""
        found: list[tuple[float, str]] = []
        for path in self._worktrees.root.glob("check-*"):
            if NAME.fullmatch(path.name):
                found.append((path.stat().st_mtime, path.name))
            elif EARLIER_NAME.fullmatch(path.name):
                self._worktrees.remove_detached(path.name)
        return [name for _, name in sorted(found)]

    def _new_name(self) -> str:
        taken = {*self._used, *(self._free or ())}
        number = 1
        while f"check-{number}" in taken:
            number += 1
        return f"check-{number}"
