"""A disk that is full for git's objects: a small file system of its own, or a limit on files."""

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

SMALL = 1 << 20
"""Bytes of the small file system, and of the largest file where there is none."""
ROOM = 1 << 17
"""Bytes that are left of it."""


@contextmanager
def no_room_for_objects(git_dir: Path, scratch: Path) -> Generator[None]:
    """Let no object of a megabyte be written to the repository during the block.

    Small ones find room, so that git may think that it was only one file which it could not take.
    """
    disk = scratch / "small disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    with _file_system(git_dir, disk) if mounted else _limit():
        yield


@contextmanager
def _file_system(git_dir: Path, disk: Path) -> Generator[None]:
    objects, filler = git_dir / "objects", disk / "filler"
    shutil.copytree(objects, disk / "objects")
    kept = objects.rename(git_dir / "objects.before")
    objects.symlink_to(disk / "objects")
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        os.truncate(filler, filler.stat().st_size - ROOM)
        yield
    finally:
        objects.unlink()
        shutil.copytree(disk / "objects", kept, dirs_exist_ok=True)
        kept.rename(objects)
        subprocess.run(["umount", str(disk)], check=True)


@contextmanager
def _limit() -> Generator[None]:
    """Git is ended by SIGXFSZ when it writes an object as large as the tests' big file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
