"""Snapshots: what a worktree holds that is not committed, as a commit that nobody has to know of.

Made with an index of its own: HEAD, the branch and the index of the worktree stay as they are, so
that it may be done at any moment, in the middle of a merge or a rebase too. Ignored files are not
part of it. A repository nested in the worktree is taken as plain files (its own history is not).

Old ones are thinned (`core.thinning` says which): such a snapshot loses its ref and its number, and
stays reachable for good as an ancestor of `refs/stoneforge/snapshots/<task>/thinned`. So nothing is
ever deleted that no kept ref leads to; what becomes fewer is the refs that each look has to read.
"""

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sf_mcp.core.errors import StorageFailed, TargetMoved
from sf_mcp.core.models import Oid, TaskId
from sf_mcp.git.command import GitFailed, readable, run_git
from sf_mcp.git.identity import SERVER
from sf_mcp.git.repository import Repository
from sf_mcp.git.status import admin_dir

logger = logging.getLogger(__name__)

SNAPSHOTS = "refs/stoneforge/snapshots"
ADD_TIMEOUT_SECONDS = 600.0
SESSION_TRAILER = "Session"
MOST_PARENTS = 100
"""Of one commit that holds thinned snapshots."""
LISTED = (
    "refname",
    "objectname",
    "tree",
    "parent",
    "committerdate:unix",
    "contents:subject",
    f"trailers:key={SESSION_TRAILER},valueonly,separator=%2C",
)
UNWRITTEN = "failed to insert into database"
"""What git says when it is the object that it cannot write, not the file that it cannot read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One ref below `refs/stoneforge/snapshots/<task>/`."""

    number: int
    ref: str
    commit: Oid
    tree: Oid
    parent: Oid | None
    """The commit that was checked out: what differs from it was not committed."""
    at: datetime
    reason: str
    """Why it was taken; for a late commit, the subject of its message."""
    session: str
    """The id of the session whose files they are; empty when nobody's in particular."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where files are read from: a worktree, or any folder seen through some git directory."""

    files: Path
    git_dir: Path

    def environment(self, index: Path) -> dict[str, str]:
        return {
            "GIT_DIR": str(self.git_dir),
            "GIT_WORK_TREE": str(self.files),
            "GIT_INDEX_FILE": str(index),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    task_id: TaskId
    reason: str
    session: str
    now: datetime
    parent: Oid | None

    @property
    def message(self) -> str:
        trailer = f"\n\n{SESSION_TRAILER}: {self.session}" if self.session else ""
        return f"{self.task_id}: snapshot ({self.reason}){trailer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """How files differ from an index, and that from HEAD."""

    head: Oid | None
    is_clean: bool
    """Nothing differs from HEAD."""
    is_only_missing: bool
    differing: tuple[bytes, ...]
    """Files that are not as in the index: changed, gone, new."""
    nested: tuple[str, ...]
    """Untracked repositories inside."""


def snapshot(
    forge: Repository,
    worktree: Path,
    task_id: TaskId,
    reason: str,
    now: datetime,
    *,
    session: str = "",
) -> Oid | None:
    """Keep what is not committed in `worktree` as `refs/stoneforge/snapshots/<task>/<n>`.

    None when there is nothing: no difference from HEAD, or none from the newest snapshot of the
    same HEAD.

    Raises:
        GitFailed: the files cannot be read or written (a full disk); nothing was changed.
    """
    git_dir = admin_dir(worktree)
    place = _Place(files=worktree, git_dir=git_dir)
    index = git_dir / "index"
    seen = _look(place, index)
    if seen is not None and seen.is_clean:
        return None
    parent = seen.head if seen is not None else Repository(git_dir).head_of("HEAD")
    made = _Made(task_id=task_id, reason=reason, session=session, now=now, parent=parent)
    return _store(forge, place, index, seen, made)


def snapshot_files(
    forge: Repository, files: Path, task_id: TaskId, reason: str, now: datetime, *, parent: Oid
) -> Oid | None:
    """Keep the files of a folder that is no working worktree (any more), as changes to `parent`.

    None when nothing differs but files that are missing: half a checkout is nobody's work.

    Raises:
        GitFailed: the files cannot be read or written; nothing was changed.
    """
    place = _Place(files=files, git_dir=forge.git_dir)
    with tempfile.TemporaryDirectory(prefix="sf-snapshot-") as folder:
        index = Path(folder) / "index"
        run_git(["read-tree", parent], cwd=files, extra=place.environment(index))
        seen = _look(place, index)
        if seen is not None and seen.is_only_missing:
            return None
        made = _Made(task_id=task_id, reason=reason, session="", now=now, parent=parent)
        return _store(forge, place, index, seen, made)


def list_snapshots(forge: Repository, task_id: TaskId) -> tuple[Snapshot, ...]:
    """Return the snapshots of a task, oldest first."""
    prefix = f"{SNAPSHOTS}/{task_id}/"
    form = "%1f".join(f"%({field})" for field in LISTED) + "%1e"
    listed = readable(forge.run("for-each-ref", f"--format={form}", prefix).stdout)
    found: list[Snapshot] = []
    for record in listed.split("\x1e\n"):
        ref, *rest = record.split("\x1f")
        number = ref.removeprefix(prefix)
        if not number.isdigit() or len(rest) != len(LISTED) - 1:
            continue
        commit, tree, parents, seconds, subject, session = rest
        reason = re.fullmatch(rf"{task_id}: snapshot \((.*)\)", subject)
        found.append(
            Snapshot(
                number=int(number),
                ref=ref,
                commit=Oid(commit),
                tree=Oid(tree),
                parent=Oid(parents.split(" ")[0]) if parents else None,
                at=datetime.fromtimestamp(int(seconds), UTC),
                reason=reason[1] if reason else subject,
                session=session,
            )
        )
    return tuple(sorted(found, key=lambda each: each.number))


def thin(forge: Repository, task_id: TaskId, drop: Sequence[Snapshot], now: datetime) -> None:
    """Take the refs of these snapshots away, their commits becoming ancestors of one kept ref.

    May be killed at any point: the kept ref leads to them before the first of theirs goes.

    Raises:
        TargetMoved: the kept ref was moved by something else; nothing was taken away.
        GitFailed: git cannot write or delete a ref; what is left is thinned the next time.
    """
    ref = f"{SNAPSHOTS}/{task_id}/thinned"
    for start in range(0, len(drop), MOST_PARENTS):
        some = drop[start : start + MOST_PARENTS]
        earlier = forge.head_of(ref)
        new = [
            each.commit
            for each in some
            if earlier is None or not forge.is_ancestor(each.commit, earlier)
        ]
        if new:
            holding = forge.commit_tree(
                some[-1].tree,
                [*([earlier] if earlier else []), *new],
                f"{task_id}: thinned snapshots {some[0].number} to {some[-1].number}",
                SERVER,
                now,
            )
            forge.compare_and_swap(ref, new=holding, old=earlier, message="stoneforge: thinned")
        for each in some:
            forge.delete_ref(each.ref, old=each.commit)


def _look(place: _Place, index: Path) -> _Seen | None:
    """Compare files, index and HEAD; None when the index is damaged."""
    how = ["--porcelain=v2", "--branch", "--no-ahead-behind", "-z", "--no-renames"]
    status = run_git(
        ["status", *how, "--untracked-files=all"],
        cwd=place.files,
        extra=place.environment(index),
        accept=(0, 128),
    )
    if status.exit_code != 0:
        return None
    head: Oid | None = None
    differing: list[bytes] = []
    nested: list[str] = []
    is_clean, is_only_missing = True, True
    for entry in filter(None, status.stdout.split(b"\0")):
        kind, _, rest = entry.partition(b" ")
        if kind == b"#":
            name, _, value = rest.partition(b" ")
            if name == b"branch.oid" and value != b"(initial)":
                head = Oid(value.decode())
            continue
        is_clean = False
        # With all files listed, only a repository of its own is shown as a directory.
        if kind == b"?" and rest.endswith(b"/"):
            nested.append(os.fsdecode(rest[:-1]))
        elif kind == b"?":
            differing.append(rest)
        # The second letter: the files against the index, whatever HEAD is.
        elif (letter := rest[1:2]) != b"." or kind == b"u":
            differing.append(rest.split(b" ", 9 if kind == b"u" else 7)[-1])
            is_only_missing = is_only_missing and letter == b"D"
        is_only_missing = is_only_missing and kind != b"?"
    return _Seen(
        head=head,
        is_clean=is_clean,
        is_only_missing=is_only_missing,
        differing=tuple(differing),
        nested=tuple(nested),
    )


def _store(
    forge: Repository, place: _Place, index: Path, seen: _Seen | None, made: _Made
) -> Oid | None:
    try:
        with tempfile.TemporaryDirectory(prefix="sf-snapshot-") as folder:
            tree = _stage(place, index, Path(folder), seen)
    except OSError as error:
        raise StorageFailed(
            f"The snapshot of {place.files} could not be made: {error.strerror}.",
            remedy="Free some disk space; the files are where they were.",
        ) from error
    if made.parent is not None and tree == forge.tree_of(made.parent):
        return None
    while True:
        earlier = list_snapshots(forge, made.task_id)
        if earlier and (earlier[-1].tree, earlier[-1].parent) == (tree, made.parent):
            return None
        commit = forge.commit_tree(
            tree,
            [made.parent] if made.parent is not None else [],
            made.message,
            SERVER,
            made.now,
        )
        ref = f"{SNAPSHOTS}/{made.task_id}/{earlier[-1].number + 1 if earlier else 1}"
        try:
            forge.compare_and_swap(ref, new=commit, old=None, message="stoneforge: snapshot")
        except TargetMoved:
            continue  # another snapshot of this task took the number
        return commit


def _stage(place: _Place, index: Path, folder: Path, seen: _Seen | None) -> Oid:
    """Return the tree of all files of `place`, written through a copy of `index`."""
    mine = folder / "index"
    extra = place.environment(mine)
    nested = seen.nested if seen is not None else ()
    is_staged = False
    if seen is not None:
        with suppress(FileNotFoundError, GitFailed):
            # The copy knows which files are unchanged, so that only the others are read. Its time
            # is the original's: git rereads what changed in the instant in which that was written.
            shutil.copy2(index, mine)
            _add(place, extra, seen.differing)
            is_staged = True
    if not is_staged:
        mine.unlink(missing_ok=True)
        (folder / "index.lock").unlink(missing_ok=True)
        run_git(["read-tree", "HEAD"], cwd=place.files, extra=extra, accept=(0, 128))
        _add_all(place, extra, nested)
    for number, name in enumerate(nested):
        inner = _Place(files=place.files / name, git_dir=place.git_dir)
        inner_index = folder / f"nested-{number}"
        inner_index.mkdir()
        tree = _stage(inner, inner_index / "none", inner_index, _look(inner, inner_index / "index"))
        run_git(["read-tree", f"--prefix={name}/", tree], cwd=place.files, extra=extra)
    return Oid(run_git(["write-tree"], cwd=place.files, extra=extra).text)


def _add(place: _Place, extra: dict[str, str], paths: Sequence[bytes]) -> None:
    """Stage these files, be they changed, gone or new.

    Raises:
        GitFailed: one of them cannot be read, or the disk is full.
    """
    how = ["--add", "--remove", "--replace", "-z", "--stdin"]
    run_git(
        ["-c", "core.safecrlf=false", "update-index", *how],
        cwd=place.files,
        extra=extra,
        stdin=b"".join(path + b"\0" for path in paths),
        timeout_seconds=ADD_TIMEOUT_SECONDS,
    )


def _add_all(place: _Place, extra: dict[str, str], nested: tuple[str, ...]) -> None:
    """Stage all but nested repositories; a file that cannot be read is left out, and logged."""
    left_out = [f":(top,exclude,literal){name}" for name in nested]
    added = run_git(
        ["-c", "core.safecrlf=false", "add", "--all", "--ignore-errors", "--", ":(top)", *left_out],
        cwd=place.files,
        extra={**extra, "GIT_LITERAL_PATHSPECS": "0"},
        accept=(0, 1),
        timeout_seconds=ADD_TIMEOUT_SECONDS,
    )
    if added.exit_code != 0:
        if UNWRITTEN in added.stderr:
            raise GitFailed(
                f"The files of {place.files} could not be kept: {added.stderr}.",
                remedy="Free some disk space; the files are where they were.",
                exit_code=added.exit_code,
                stderr=added.stderr,
            )
        logger.warning("snapshot of %s is not complete: %s", place.files, added.stderr)
