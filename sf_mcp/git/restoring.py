"""Files of a commit written into a folder of their own, as git would check them out.

Rule 1: nothing that is there is ever written over: the folder is new or empty.
Rule 2: all or nothing: the files are written beside the folder first, and moved when all are there.
Rule 3: nothing is written outside the folder. Git refuses paths that lead out (`..`, `.git`) and
writes through no symbolic link; what git itself would not make is refused here before it begins.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.errors import InvalidInput, StorageFailed
from sf_mcp.core.models import Oid
from sf_mcp.git.command import GitFailed, readable, run_git
from sf_mcp.git.repository import Repository

RESTORE_TIMEOUT_SECONDS = 1800.0
SUBMODULE = b"160000"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a commit holds."""

    files: tuple[str, ...]
    """Paths, readable: bytes outside UTF-8 are escaped."""
    submodules: tuple[str, ...]
    """Repositories inside whose files are not part of it; they become empty folders."""


def contents_of(forge: Repository, commit: Oid) -> Contents:
    """Return the paths that a commit holds.

    Raises:
        InvalidInput: one of them leads out of any folder, so that it is not git's own work.
    """
    listed = forge.run("ls-tree", "-r", "-z", "--full-tree", commit).stdout
    files: list[str] = []
    submodules: list[str] = []
    for entry in filter(None, listed.split(b"\0")):
        about, _, path = entry.partition(b"\t")
        if not all(map(_is_harmless, path.split(b"/"))):
            raise InvalidInput(
                f"{commit[:12]} holds the path {readable(path)!r}, which leads elsewhere.",
                remedy="Git makes no such commit. Look at it with `git ls-tree`; nothing was "
                "written.",
            )
        (submodules if about.startswith(SUBMODULE) else files).append(readable(path))
    return Contents(files=tuple(files), submodules=tuple(submodules))


def _is_harmless(part: bytes) -> bool:
    return part.lower() not in (b"", b".", b"..", b".git")


def require_free(folder: Path, *, state: Path) -> None:
    """Refuse a folder that files should not be restored to.

    Raises:
        InvalidInput: it exists and is not an empty folder, or lies within `state` (`.stoneforge`).
    """
    real = Path(os.path.realpath(folder))
    if real.is_relative_to(os.path.realpath(state)):
        raise InvalidInput(
            f"{folder} lies in {state}, which is Stoneforge's own.",
            remedy="Name a folder somewhere else.",
        )
    if folder.is_symlink() and not folder.exists():
        raise InvalidInput(f"{folder} is a link to nowhere.", remedy="Name another folder.")
    if real.exists() and not (real.is_dir() and not any(real.iterdir())):
        what = "is not empty" if real.is_dir() else "is a file"
        raise InvalidInput(
            f"{folder} {what}; nothing that is there is ever written over.",
            remedy="Name a folder that does not exist yet, or an empty one.",
        )


def restore(forge: Repository, commit: Oid, folder: Path) -> None:
    """Write the files of a commit into `folder`, which `require_free` has let pass.

    Raises:
        GitFailed: git cannot write them.
        StorageFailed: the folder cannot be made, or got files meanwhile.
    """
    real = Path(os.path.realpath(folder))
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{real.name}.restoring-", dir=real.parent
        ) as beside:
            files = Path(beside) / "files"
            files.mkdir()
            _check_out(forge, commit, files, Path(beside) / "index")
            _move(files, real)
    except OSError as error:
        raise StorageFailed(
            f"The files could not be written to {folder}: {error.strerror}.",
            remedy="Free some disk space, or name another folder; nothing was left there.",
        ) from error


def _check_out(forge: Repository, commit: Oid, files: Path, index: Path) -> None:
    extra = {
        "GIT_DIR": str(forge.git_dir),
        "GIT_WORK_TREE": str(files),
        "GIT_INDEX_FILE": str(index),
    }
    run_git(["read-tree", commit], cwd=files, extra=extra)
    done = run_git(
        ["checkout-index", "--all"],
        cwd=files,
        extra=extra,
        accept=(0, 128, 1),
        timeout_seconds=RESTORE_TIMEOUT_SECONDS,
    )
    if done.exit_code != 0:
        raise GitFailed(
            f"Not all files of {commit[:12]} can be written: {done.stderr}.",
            remedy="Free some disk space, or name another folder; nothing was left there.",
            exit_code=done.exit_code,
            stderr=done.stderr,
        )


def _move(files: Path, folder: Path) -> None:
    if not folder.exists():
        files.rename(folder)
        return
    moved: list[Path] = []
    try:
        for entry in sorted(files.iterdir()):
            goal = folder / entry.name
            if goal.exists() or goal.is_symlink():
                raise FileExistsError(17, f"{goal} has appeared meanwhile")
            entry.rename(goal)
            moved.append(goal)
    except OSError:
        for goal in moved:
            if goal.is_dir() and not goal.is_symlink():
                shutil.rmtree(goal)
            else:
                goal.unlink()
        raise
