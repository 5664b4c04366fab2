"""The machine: room on the disk, the kind of file system, who may read what."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from sf_mcp.service.doctor.found import Found, Mend, OpenServices, fine, named, problem, warning
from sf_mcp.service.doctor.look import Look

ENOUGH_BYTES = 5 * 10**9
LEAST_BYTES = 500 * 10**6
"""Below this git and SQLite may fail at any moment."""

NETWORK = ("nfs", "cifs", "smb", "sshfs", "9p", "afs", "glusterfs", "ceph", "fuse.s3", "virtiofs")
"""File systems on which the shared memory of SQLite's log cannot be relied on
(https://www.sqlite.org/wal.html)."""


def disk(look: Look) -> Iterator[Found]:
    """See how much room there is."""
    usage = shutil.disk_usage(look.layout.root)
    yield judge_room(usage.free, str(look.layout.root))


def judge_room(free: int, place: str) -> Found:
    """Judge how many bytes are free."""
    told = f"{free / 10**9:.1f} GB are free at {place}"
    if free < LEAST_BYTES:
        return problem(
            f"Only {told}.",
            why="Commits, snapshots and the state need room; a full disk stops the fleet.",
            remedy=f"Free some. What takes the most here: du -sh {place}/.stoneforge/*",
        )
    if free < ENOUGH_BYTES:
        return warning(
            f"Only {told}.",
            why="Each session has a checkout of its own, and each check a worktree.",
            remedy=f"Free some. What takes the most here: du -sh {place}/.stoneforge/*",
        )
    return fine(told)


def file_system(look: Look) -> Iterator[Found]:
    """See whether the state lies on this machine's own disk."""
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape")
    except OSError:
        return  # macOS: nothing cheap to read
    yield judge_mounts(mounts, look.layout.root)


def judge_mounts(mounts: str, root: Path) -> Found:
    """Judge the file system that `root` lies on, given the lines of /proc/self/mounts."""
    place, kind = "", "unknown"
    for entry in mounts.splitlines():
        fields = entry.split(" ")
        if len(fields) < 3:
            continue
        at = fields[1].replace("\\040", " ")
        if len(at) >= len(place) and (at == "/" or root == Path(at) or Path(at) in root.parents):
            place, kind = at, fields[2]
    if kind.startswith(NETWORK):
        return problem(
            f"{root} lies on a network file system ({kind} at {place}).",
            why="SQLite's log and git's locks need one machine's own disk; the state could be "
            "damaged.",
            remedy="Clone the repository to a local disk and run `sf init` there.",
        )
    return fine(f"{root} lies on {kind}")


def permissions(look: Look) -> Iterator[Found]:
    """See whether only their owner can read secrets and write the state."""
    if not look.is_set_up:
        return
    layout = look.layout
    token = layout.person_token
    if not token.exists():
        yield problem(
            f"Your token {token} is missing.",
            why="`sf` speaks with it to a running server.",
            remedy="Run: sf init",
        )
    others: list[str] = []
    for path, forbidden in (
        (token, 0o077),
        (layout.database, 0o022),
        (layout.folder, 0o022),
        (layout.config, 0o022),
    ):
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & forbidden:
            others.append(str(path))
    if others:

        def close(_: OpenServices) -> str:
            for name in others:
                path = Path(name)
                forbidden = 0o077 if path == token else 0o022
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~forbidden)
            return f"Closed to others: {named(others)}."

        yield problem(
            f"Others can read or write what is yours alone: {named(others)}.",
            why="Whoever reads your token acts as you; whoever writes the configuration decides "
            "what runs here.",
            remedy=f"Run: chmod go-rwx {token}; chmod go-w {layout.folder} {layout.database} "
            f"{layout.config}",
            mend=Mend(what=f"Close them to others: {named(others)}", carry_out=close),
        )
    unwritable = [
        str(path)
        for path in (layout.folder, layout.database, layout.forge)
        if path.exists() and not os.access(path, os.W_OK)
    ]
    if unwritable:
        yield problem(
            f"You cannot write {named(unwritable)}.",
            why="The state cannot be changed.",
            remedy=f"Run `sf` as the user who ran `sf init`, or: chown -R $USER {layout.folder}",
        )
    if token.exists() and not others and not unwritable:
        yield fine("Secrets are yours alone")
