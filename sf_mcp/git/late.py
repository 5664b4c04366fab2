"""Late commits: what the guard refused to a session that did not hold the task, and kept.

The guard names such a commit by a ref of its own, `…/snapshots/T12/late/<session>/<commit>`, before
git hears of the refusal; where that cannot be written, by a line in a file beside the guard. Here
the commit gets the next number among the task's snapshots. Each step may be repeated after a crash
at any point: the ref and the line go last.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.errors import TargetMoved
from sf_mcp.core.models import Oid, TaskId
from sf_mcp.git.command import readable
from sf_mcp.git.guard import LATE
from sf_mcp.git.repository import Repository
from sf_mcp.git.snapshots import SNAPSHOTS, list_snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class LateCommit:
    """A commit that waits for its number."""

    task_id: TaskId
    session: str
    """The id that the session gave; `unknown` when what it gave is none."""
    commit: Oid


def may_be_late(forge: Repository, task_id: TaskId) -> bool:
    """Return whether anything waits for a number, at the price of two looks at the disk."""
    return (forge.git_dir / SNAPSHOTS / task_id / "late").exists() or any(
        path.exists() for path in _files(forge, task_id)
    )


def late_tasks(forge: Repository) -> list[TaskId]:
    """Return the tasks of which anything may wait for a number."""
    names = {
        ref.removeprefix(f"{SNAPSHOTS}/").split("/", 1)[0]
        for ref in forge.refs_below(SNAPSHOTS)
        if "/late/" in ref
    }
    names |= {path.parent.name for path in _hooks(forge).glob(f"T*/{LATE}*")}
    return [TaskId(name) for name in sorted(names)]


def late_commits(forge: Repository, task_id: TaskId) -> tuple[LateCommit, ...]:
    """Return the task's commits that wait for a number."""
    prefix = f"{SNAPSHOTS}/{task_id}/late/"
    named = [
        (ref.removeprefix(prefix).rpartition("/")[0], oid)
        for ref, oid in forge.refs_below(prefix.rstrip("/")).items()
    ]
    written, taken = _files(forge, task_id)
    if not taken.exists():
        with suppress(FileNotFoundError):
            # What the guard writes from now on goes into a new file.
            written.rename(taken)
    if taken.exists():
        lines = (line.partition(" ") for line in taken.read_text("utf-8", "replace").splitlines())
        named += [(session, Oid(oid)) for session, _, oid in lines]
    return tuple(
        LateCommit(task_id=task_id, session=session, commit=oid)
        for session, oid in dict.fromkeys(named)
        if forge.head_of(oid) is not None
    )


def number_late(forge: Repository, late: LateCommit) -> int:
    """Give a late commit the next number among the task's snapshots; the same one each time.

    Raises:
        GitFailed: the ref cannot be written.
    """
    while True:
        earlier = list_snapshots(forge, late.task_id)
        for each in earlier:
            if each.commit == late.commit:
                return each.number
        number = earlier[-1].number + 1 if earlier else 1
        with suppress(TargetMoved):
            forge.compare_and_swap(
                f"{SNAPSHOTS}/{late.task_id}/{number}",
                new=late.commit,
                old=None,
                message="stoneforge: late commit",
            )
            return number


def changes_of(forge: Repository, commit: Oid) -> tuple[str, tuple[str, ...]]:
    """Return the subject of a commit and the paths that it changes against its first parent."""
    (entry,) = forge.log_between(None, commit, limit=1)
    how = ["--root", "-r", "-z", "--no-renames", "--no-commit-id", "--diff-merges=first-parent"]
    listed = forge.run("diff-tree", *how, "--name-only", commit).stdout
    return entry.subject, tuple(readable(path) for path in listed.split(b"\0") if path)


def settle_late(forge: Repository, task_id: TaskId, found: tuple[LateCommit, ...]) -> None:
    """Drop the marks of late commits that are numbered, or on a branch already."""
    for late in found:
        ref = f"{SNAPSHOTS}/{task_id}/late/{late.session}/{late.commit}"
        if forge.head_of(ref) is not None:
            forge.delete_ref(ref, old=late.commit)
    _files(forge, task_id)[1].unlink(missing_ok=True)


def _files(forge: Repository, task_id: TaskId) -> tuple[Path, Path]:
    """Return the file that the guard writes to, and the one that is being read."""
    folder = _hooks(forge) / task_id
    return folder / LATE, folder / f"{LATE}.taken"


def _hooks(forge: Repository) -> Path:
    return forge.git_dir / "stoneforge" / "hooks"
