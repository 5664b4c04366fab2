"""What a killed git left behind in the way of others, and how to tell it from what is in use.

A git that dies by SIGKILL leaves `HEAD.lock`, `refs/heads/main.lock`, `index.lock` or their like;
every later git then refuses to write. Such a file may be removed only if nobody can own it:

1. it is older than a moment (a git that starts while we look makes a fresh one), and
2. no living git process works in this repository: none has its working directory or an open file
   there, or names it on its command line. (A git that holds a lock runs in its repository or in
   one of its worktrees.) A process that may not be looked at belongs to another user, who does
   not work in this repository.

Without /proc (macOS) only command lines can be seen: there any living git process keeps a lock
that is younger than ten minutes.

A `git worktree add` that dies early leaves a worktree whose HEAD names no object. It stands in the
way of every fetch into the repository ("bad object worktrees/T1/HEAD") until it is gone.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sf_mcp.core.errors import GitRefused

FRESH_SECONDS = 2.0
QUIET_SECONDS = 30.0
BLIND_SECONDS = 600.0
"""How old a lock must be when a git process lives and its place cannot be seen."""

SPOTS = (
    "*.lock",
    "refs/**/*.lock",
    "logs/**/*.lock",
    "worktrees/*/*.lock",
    "worktrees/*/refs/**/*.lock",
    "objects/info/**/*.lock",
)


def clear_stale_locks(
    git_dir: Path, worktrees: Sequence[Path] = (), *, older_than_seconds: float = FRESH_SECONDS
) -> tuple[Path, ...]:
    """Remove the lock files of `git_dir` that no living git can own; return what was removed.

    `worktrees` are the places outside `git_dir` from which git is run on it.
    """
    removed: list[Path] = []
    for lock in stale_locks(git_dir, worktrees, older_than_seconds=older_than_seconds):
        # Gone meanwhile: its git has ended well after all.
        with contextlib.suppress(FileNotFoundError):
            lock.unlink()
            removed.append(lock)
    return tuple(removed)


def stale_locks(
    git_dir: Path, worktrees: Sequence[Path] = (), *, older_than_seconds: float = FRESH_SECONDS
) -> tuple[Path, ...]:
    """Return the lock files of `git_dir` that no living git can own."""
    locks = [lock for spot in SPOTS for lock in git_dir.glob(spot)]
    if not locks:
        return ()
    places = tuple(os.path.realpath(place) for place in (git_dir, *worktrees))
    busy = git_is_at_work(places)
    if busy is True:
        return ()
    limit = older_than_seconds if busy is False else max(older_than_seconds, BLIND_SECONDS)
    stale: list[Path] = []
    for lock in locks:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - lock.stat().st_mtime >= limit:
                stale.append(lock)
    return tuple(stale)


def drop_half_added(git_dir: Path, worktrees: Path) -> tuple[Path, ...]:
    """Remove the git directories of worktrees that no living git is adding; return them.

    Nothing is in them yet but that HEAD. The folder in `worktrees` stays as it is.
    """
    dropped = half_added(git_dir, worktrees)
    for admin in dropped:
        shutil.rmtree(admin)
    return dropped


def half_added(git_dir: Path, worktrees: Path) -> tuple[Path, ...]:
    """Return the git directories of worktrees that a killed git has begun to add."""
    found: list[Path] = []
    for admin in git_dir.glob("worktrees/*"):
        if not _is_half_added(admin):
            continue
        places = [os.path.realpath(place) for place in (admin, worktrees / admin.name)]
        # Again after the look: its git may have come to its end meanwhile.
        if git_is_at_work(places) is False and _is_half_added(admin):
            found.append(admin)
    return tuple(found)


def _is_half_added(admin: Path) -> bool:
    with contextlib.suppress(OSError):
        return (admin / "HEAD").read_bytes().strip() == b"0" * 40
    return False


def wait_until_quiet(*places: Path) -> None:
    """Wait until no git process works in any of `places`.

    Raises:
        GitRefused: one still does after `QUIET_SECONDS`.
    """
    deadline = time.monotonic() + QUIET_SECONDS
    while git_is_at_work([os.path.realpath(place) for place in places]):
        if time.monotonic() >= deadline:
            raise GitRefused(
                f"A git process still works in {places[0]}.",
                remedy="Wait for it or end it, then try again; nothing was changed.",
            )
        time.sleep(0.02)


def git_is_at_work(places: Sequence[str]) -> bool | None:
    """Tell whether a git process works in any of `places`; None: some do, where is not known."""
    if sys.platform == "linux":
        return any(_is_git(entry) and _touches(entry, places) for entry in _processes())
    lines = [line for line in _command_lines() if "git" in line.split(None, 1)[0]]
    if any(place in line for line in lines for place in places):
        return True
    return None if lines else False


def _processes() -> Iterator[Path]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            yield entry


def _is_git(entry: Path) -> bool:
    with contextlib.suppress(OSError):
        return (entry / "comm").read_text(errors="replace").startswith("git")
    return False


def _touches(entry: Path, places: Sequence[str]) -> bool:
    with contextlib.suppress(OSError):
        words = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
        # `--git-dir=<place>` too, but not the worktree T12 for T1.
        if any(word.endswith(place) or place + "/" in word for word in words for place in places):
            return True
    with contextlib.suppress(OSError):
        if _is_within(str((entry / "cwd").readlink()), places):
            return True
    with contextlib.suppress(OSError):
        for link in (entry / "fd").iterdir():
            with contextlib.suppress(OSError):
                if _is_within(str(link.readlink()), places):
                    return True
    return False


def _is_within(path: str, places: Sequence[str]) -> bool:
    return any(path == place or path.startswith(place + "/") for place in places)


def _command_lines() -> list[str]:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            ["/bin/ps", "-axo", "command="],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        return [line for line in done.stdout.splitlines() if line.strip()]
    return []
