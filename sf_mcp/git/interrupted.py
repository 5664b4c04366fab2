"""An update of the person's files that was killed half-way, and how it is taken back.

`git merge --ff-only` writes files first, then the index, then the ref. A kill in between leaves
changed files that nobody made and often an `index.lock`; git would refuse every later update for
them. So the update is announced in a file in the checkout's git directory and the announcement
is taken back after it. One that is found later says which two commits it was between. Each path
that differs between them is then put back if it is as git left it: as in one of the two, missing,
or the beginning of its new contents. If one is none of these, the person has been at work, and
everything stays as it is.
"""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.git.checkout import Checkout
from sf_mcp.git.command import GitFailed, run_git
from sf_mcp.git.guard import replace_text
from sf_mcp.git.locks import clear_stale_locks

ANNOUNCEMENT = "stoneforge-update.json"
CLEAN_REFUSAL = 1
"""What `git merge` exits with when it would overwrite something: it has touched nothing."""
REGULAR, EXECUTABLE, SYMLINK, GITLINK, ABSENT = "100644", "100755", "120000", "160000", "000000"


@dataclass(frozen=True, slots=True)
class _Change:
    path: str
    old_mode: str
    new_mode: str
    old: Oid
    new: Oid


@contextmanager
def announced(checkout: Checkout, old: Oid, new: Oid) -> Generator[None]:
    """Hold the announcement of an update from `old` to `new` while it is done."""
    note = checkout.git_dir / ANNOUNCEMENT
    replace_text(note, json.dumps({"old": old, "new": new}) + "\n")
    try:
        yield
    except GitFailed as error:
        if error.exit_code == CLEAN_REFUSAL:
            note.unlink(missing_ok=True)
        # Else it may have stopped in the middle, and the announcement stands.
        raise
    note.unlink(missing_ok=True)


def take_back(checkout: Checkout, head: Oid | None) -> str:
    """Undo what an interrupted update left; return why it cannot be undone, or nothing.

    Raises:
        GitFailed: git cannot restore the files (a full disk, a lock in use).
    """
    note = checkout.git_dir / ANNOUNCEMENT
    try:
        fields = json.loads(note.read_text("utf-8"))
        old, new = Oid(str(fields["old"])), Oid(str(fields["new"]))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError):
        note.unlink(missing_ok=True)
        return ""
    for place in {checkout.git_dir, checkout.common_dir}:
        clear_stale_locks(place, (checkout.root,))
    if (checkout.git_dir / "index.lock").exists():
        return "an update of it was interrupted and another git process holds its index.lock"
    if head == old:
        changes = _changes(checkout, old, new)
        finished = _finished(checkout, changes)
        theirs = [
            each.path
            for each in changes
            if each.path not in finished and not _is_as_git_left_it(checkout, each)
        ]
        if theirs:
            return f"an update of it was interrupted, and {theirs[0]} has been changed since"
        _restore(checkout, old, changes)
    note.unlink(missing_ok=True)
    return ""


def _changes(checkout: Checkout, old: Oid, new: Oid) -> list[_Change]:
    listed = run_git(
        ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", old, new],
        cwd=checkout.root,
    )
    words = listed.stdout.split(b"\0")
    changes: list[_Change] = []
    for facts, path in zip(words[0::2], words[1::2], strict=False):
        old_mode, new_mode, old_blob, new_blob, _ = facts.decode().removeprefix(":").split(" ")
        changes.append(_Change(os.fsdecode(path), old_mode, new_mode, Oid(old_blob), Oid(new_blob)))
    return changes


def _finished(checkout: Checkout, changes: list[_Change]) -> set[str]:
    """Return the files that are whole and as in one of the two commits, in one git process."""
    files = [
        each
        for each in changes
        if (path := checkout.root / each.path).is_file()
        and not path.is_symlink()
        and "\n" not in each.path
    ]
    if not files:
        return set()
    hashed = run_git(
        ["hash-object", "--stdin-paths"],
        cwd=checkout.root,
        stdin=b"".join(os.fsencode(each.path) + b"\n" for each in files),
    )
    names = zip(files, hashed.text.splitlines(), strict=True)
    return {each.path for each, name in names if name in (each.old, each.new)}


def _is_as_git_left_it(checkout: Checkout, change: _Change) -> bool:
    path = checkout.root / change.path
    if GITLINK in (change.old_mode, change.new_mode):
        return True  # git does not write into a submodule here
    if path.is_symlink():
        target = os.fsencode(path.readlink())
        return any(
            mode == SYMLINK and _blob(checkout, blob) == target
            for mode, blob in ((change.old_mode, change.old), (change.new_mode, change.new))
        )
    if not path.exists():
        return True
    if path.is_dir():
        return not any(entry.is_file() or entry.is_symlink() for entry in path.rglob("*"))
    found = path.read_bytes()
    for mode, blob in ((change.old_mode, change.old), (change.new_mode, change.new)):
        if mode in (REGULAR, EXECUTABLE):
            meant = _blob(checkout, blob, for_path=change.path)
            if found == meant or (blob == change.new and meant.startswith(found)):
                return True
    return False


def _blob(checkout: Checkout, blob: Oid, for_path: str | None = None) -> bytes:
    """Return the contents of a blob, as they are checked out at `for_path`."""
    how = ["--filters", f"--path={for_path}"] if for_path is not None else ["blob"]
    return run_git(["cat-file", *how, blob], cwd=checkout.root).stdout


def _restore(checkout: Checkout, old: Oid, changes: list[_Change]) -> None:
    added = [each.path for each in changes if each.old_mode == ABSENT]
    others = [each.path for each in changes if each.old_mode not in (ABSENT, GITLINK)]
    links = [each.path for each in changes if each.old_mode == GITLINK]
    if added:
        run_git(
            ["update-index", "--force-remove", "-z", "--stdin"],
            cwd=checkout.root,
            stdin=_listed(added),
        )
        for path in added:
            _unlink(checkout.root, checkout.root / path)
    for paths, places in ((others, ["--staged", "--worktree"]), (links, ["--staged"])):
        if paths:
            run_git(
                [
                    "restore",
                    *places,
                    f"--source={old}",
                    "--pathspec-from-file=-",
                    "--pathspec-file-nul",
                ],
                cwd=checkout.root,
                stdin=_listed(paths),
            )


def _unlink(root: Path, path: Path) -> None:
    """Remove a file that the update had added, and the folders that it leaves empty."""
    if path.is_dir() and not path.is_symlink():
        return
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == root or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


def _listed(paths: list[str]) -> bytes:
    return b"".join(os.fsencode(path) + b"\0" for path in paths)
