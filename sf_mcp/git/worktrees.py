"""Worktrees: one per task, keyed by its id, and a few detached ones for reviews and checks.

Rule 1: the key is the task's id, never its title: titles that start alike share nothing.
Rule 2: a task's worktree is never emptied, reset or removed before a snapshot holds all that is
in it, and its branch is never deleted.
Rule 3: `prepare` may be called again at any time, after a crash at any point of an earlier call.

A record (`sf_mcp.git.records`) is written when a worktree is whole, before any
session may see it: with it the files are somebody's work, without it they are half a checkout.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sf_mcp.core.errors import GitRefused, InvalidInput
from sf_mcp.core.models import Oid, TaskId
from sf_mcp.git.command import GitFailed, run_git
from sf_mcp.git.guard import install_guard, replace_text, worktree_config
from sf_mcp.git.locks import wait_until_quiet
from sf_mcp.git.records import Record, Records, branch_name, existing_branch
from sf_mcp.git.repository import Repository
from sf_mcp.git.snapshots import admin_dir, snapshot, snapshot_files
from sf_mcp.git.spare import CHECKOUT_TIMEOUT_SECONDS, SPARE, Spare
from sf_mcp.git.status import head, inner_repository, status

TASK_NAME = re.compile(r"T[0-9]+")
MOVES = ("mending", "leaving")
"""Why the files of a task may lie beside their place for a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worktree:
    path: Path
    branch: str
    base: Oid
    """The target's commit that the branch started from."""
    note: str = ""
    """What the next session should know: the branch is not checked out, a rebase is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    snapshot: Oid | None
    """What was not committed; None when everything was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The worktree was left where it is."""

    reason: str
    snapshot: Oid | None


class Worktrees:
    """The worktrees of one forge. Calls for one task must not overlap; others may."""

    def __init__(self, forge: Repository, target: str, clock: Callable[[], datetime]) -> None:
        """Take the forge (which knows its folder of worktrees), the target branch and a clock."""
        if forge.worktrees is None:
            raise GitRefused("This repository has no folder for worktrees.")
        self.forge = forge
        self.root = forge.worktrees
        self.target = target
        self._now = clock
        self._records = Records(forge)
        self.spare = Spare(self.path(SPARE), self._admin(SPARE), self.detached)

    def path(self, name: str) -> Path:
        """Return where the worktree of a task, or the detached one called `name`, lies."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise InvalidInput(f"{name!r} cannot name a worktree.", remedy="Use an id such as T12.")
        return self.root / name

    def prepare(self, task_id: TaskId, title: str, base: Oid) -> Worktree:
        """Return the worktree of a task, made if need be, with everything in it as it was left.

        A branch without work of its own moves on to `base`, so that nothing starts on old code;
        one with work stays on the base that it was made with.

        Raises:
            GitRefused: `base` does not exist, or git cannot make the worktree (a full disk).
        """
        self.forge.require_commit(base)
        path = self.path(task_id)
        self._finish_moves(path)
        record = self._records.read(task_id)
        self._wait_until_quiet(path, record)
        is_new = False
        if record is not None and path.exists():
            self._mend(task_id, path, record)
            snapshot(self.forge, path, task_id, "before it is used again", self._now())
        else:
            # While the files are being written, there is no record that vouches for them.
            self._records.forget(task_id)
            pinned = record.base if record is not None else None
            record, is_new = self._make(task_id, title, base, path, pinned)
        self._guard(task_id, record.branch)
        self._records.write(task_id, record)
        if is_new:
            return Worktree(path=path, branch=record.branch, base=base)
        return self._settle(task_id, path, record, base)

    def find(self, task_id: TaskId) -> Worktree | None:
        """Return the worktree of a task if it has been prepared and not removed."""
        record = self._records.read(task_id)
        path = self.path(task_id)
        if record is None or not path.exists():
            return None
        return Worktree(path=path, branch=record.branch, base=record.base)

    def occupied(self) -> tuple[TaskId, ...]:
        """Return the tasks of which files lie here, also where a crash left them half moved."""
        folders = (path.name for path in self.root.glob("*") if path.is_dir())
        found = (re.fullmatch(rf"(T\d+)|\.(T\d+)\.({'|'.join(MOVES)})", name) for name in folders)
        return tuple(sorted({TaskId(match[1] or match[2]) for match in found if match}))

    def guard_anew(self, name: str) -> None:
        """Write the guard of a worktree that is there; `guard_faults` says where it is needed."""
        if not self._admin(name).is_dir():
            return
        record = self._records.read(TaskId(name)) if TASK_NAME.fullmatch(name) else None
        self._guard(name, record.branch if record is not None else None)

    def snapshot(self, task_id: TaskId, reason: str, session: str = "") -> Oid | None:
        """Snapshot what is not committed in a task's worktree; None when there is nothing.

        Raises:
            GitFailed: the files cannot be read or written.
        """
        worktree = self.find(task_id)
        if worktree is None:
            return None
        self._mend(task_id, worktree.path, Record(branch=worktree.branch, base=worktree.base))
        return snapshot(self.forge, worktree.path, task_id, reason, self._now(), session=session)

    def remove(self, task_id: TaskId) -> Removed | Kept:
        """Remove a task's worktree; branch, commits and a snapshot of the rest stay in the forge.

        One with a repository of its own inside (a submodule, a clone) is kept, since commits in
        there are nowhere else.

        Raises:
            GitFailed: the snapshot could not be made; nothing was removed.
        """
        path = self.path(task_id)
        self._finish_moves(path)
        found = self.find(task_id)
        if found is None:
            return Removed(snapshot=self._remove_remains(task_id, path))
        self._mend(task_id, path, Record(branch=found.branch, base=found.base))
        # Out of reach first, so that nothing is written there after the snapshot.
        leaving = self._beside(path, "leaving")
        path.rename(leaving)
        try:
            saved = snapshot(
                self.forge, leaving, task_id, "before its worktree is removed", self._now()
            )
            inner = inner_repository(leaving, admin_dir(leaving))
        except BaseException:
            leaving.rename(path)
            raise
        if inner:
            leaving.rename(path)
            return Kept(
                reason=f"{inner} is a repository of its own; its commits are not in the forge.",
                snapshot=saved,
            )
        self._forget_admin(task_id)
        self._records.forget(task_id)
        shutil.rmtree(leaving)
        return Removed(snapshot=saved)

    def detached(self, name: str, commit: Oid, *, clean_ignored: bool = True) -> Path:
        """Return a worktree of the server's own at `commit`, as clean as a fresh checkout.

        Reused from run to run, for a review or for checks. `clean_ignored=False` keeps ignored
        files, such as installed dependencies, from the run before.

        Raises:
            GitRefused: there is no such commit, or git cannot write the files.
        """
        if re.fullmatch(r"[A-Z]+[0-9]+", name):
            raise InvalidInput(
                f"{name} is a task's name.", remedy="Name it `review-…` or `check-…`."
            )
        self.forge.require_commit(commit)
        path = self.path(name)
        if not self._switch(path, commit):
            shutil.rmtree(path, ignore_errors=True)
            shutil.rmtree(self._admin(name), ignore_errors=True)
            self._add(path, None, base=commit)
        self._guard(name, None)
        run_git(
            ["clean", "-ffdxq" if clean_ignored else "-ffdq"],
            cwd=path,
            timeout_seconds=CHECKOUT_TIMEOUT_SECONDS,
        )
        return path

    def remove_detached(self, name: str) -> None:
        """Remove a worktree that `detached` made, with all that is in it."""
        if re.fullmatch(r"[A-Z]+[0-9]+", name):
            raise InvalidInput(f"{name} is a task's worktree.", remedy="Use `remove`.")
        shutil.rmtree(self.path(name), ignore_errors=True)
        shutil.rmtree(self._admin(name), ignore_errors=True)

    # Making and mending

    def _make(
        self, task_id: TaskId, title: str, base: Oid, path: Path, pinned: Oid | None
    ) -> tuple[Record, bool]:
        """Make a worktree that has no record; return one, and whether its branch is new.

        What half a checkout left there is saved first.
        """
        branch = existing_branch(self.forge, task_id)
        tip = self.forge.head_of(f"refs/heads/{branch}") if branch else None
        self._save_remains(task_id, path, tip or base)
        self._forget_admin(task_id)
        if branch is None or tip is None:
            branch = branch_name(task_id, title)
            if not self.spare.become(path, self._admin(task_id), branch, base):
                self._add(path, branch, base=base)
            return Record(branch=branch, base=base), True
        self._add(path, branch, base=None)
        pinned = pinned or self.forge.merge_base(tip, base) or base
        return Record(branch=branch, base=pinned), False

    def _save_remains(self, task_id: TaskId, path: Path, parent: Oid) -> Oid | None:
        """Clear what lies at `path` without a record, once a snapshot holds it."""
        if not path.exists():
            return None
        saved = snapshot_files(
            self.forge, path, task_id, "found without a record", self._now(), parent=parent
        )
        self._clear(path, task_id)
        return saved

    def _remove_remains(self, task_id: TaskId, path: Path) -> Oid | None:
        """Remove what a crash left of a worktree that was being made or removed."""
        branch = existing_branch(self.forge, task_id) or self.target
        parent = self.forge.require_commit(f"refs/heads/{branch}")
        saved = self._save_remains(task_id, path, parent)
        self._forget_admin(task_id)
        return saved

    def _mend(self, task_id: TaskId, path: Path, record: Record) -> None:
        """Bring back what ties the files to the forge, without touching any of them."""
        admin = self._admin(task_id)
        if not (admin / "HEAD").exists() or not (admin / "commondir").exists():
            snapshot_files(
                self.forge,
                path,
                task_id,
                "its git directory was gone",
                self._now(),
                parent=self.forge.require_commit(f"refs/heads/{record.branch}"),
            )
            self._tie_anew(task_id, path, record.branch)
        # Also after the whole project has been moved to another place.
        replace_text(path / ".git", f"gitdir: {admin}\n")
        replace_text(admin / "gitdir", f"{path / '.git'}\n")
        index = admin / "index"
        readable = run_git(["ls-files", "--", ".git"], cwd=path, accept=(0, 128)).exit_code == 0
        if not readable:
            index.unlink()
        if not index.exists() and head(path) is not None:
            run_git(["read-tree", "HEAD"], cwd=path)

    def _tie_anew(self, task_id: TaskId, path: Path, branch: str) -> None:
        """Give `path` a new git directory on `branch`; its files become uncommitted changes."""
        shutil.rmtree(self._admin(task_id), ignore_errors=True)
        aside = self._beside(path, "mending")
        path.rename(aside)
        self._add(path, branch, base=None, checkout=False)
        (aside / ".git").unlink(missing_ok=True)
        (path / ".git").rename(aside / ".git")
        path.rmdir()
        aside.rename(path)

    def _wait_until_quiet(self, path: Path, record: Record | None) -> None:
        """Let a git that still works here come to its end, and drop the locks of a killed one."""
        admin = self._admin(path.name)
        own = [self.forge.git_dir / f"refs/heads/{record.branch}.lock"] if record else []

        def locks() -> list[Path]:
            # Of the branch too: nobody moves it but a git that works here.
            return [*admin.glob("*.lock"), *(lock for lock in own if lock.exists())]

        if record is not None and not locks():
            return
        # Also where nothing is yet: such a git may be about to begin.
        wait_until_quiet(path, admin)
        for lock in locks():
            lock.unlink(missing_ok=True)

    def _finish_moves(self, path: Path) -> None:
        """Take back a mending or removal that a crash interrupted."""
        for why in MOVES:
            aside = self._beside(path, why)
            if not aside.exists():
                continue
            if path.exists():
                if any(entry.name != ".git" for entry in path.iterdir()):
                    self._set_aside(aside, TaskId(path.name))
                    continue
                # The empty worktree that `_tie_anew` makes: nothing was checked out there.
                (path / ".git").unlink(missing_ok=True)
                path.rmdir()
            aside.rename(path)

    def _settle(self, task_id: TaskId, path: Path, record: Record, base: Oid) -> Worktree:
        """Check out the task's branch and move it on to `base`, unless that could lose anything."""
        found = status(path)
        if found.is_clean and not found.operation:
            if found.branch != record.branch:
                self._keep_head(task_id, found.head)
                run_git(["checkout", "--quiet", record.branch, "--"], cwd=path)
                found = status(path)
            if found.head is not None and self.forge.is_ancestor(found.head, base):
                if found.head != base:
                    run_git(
                        ["merge", "--ff-only", "--quiet", "--no-verify-signatures", base],
                        cwd=path,
                        timeout_seconds=CHECKOUT_TIMEOUT_SECONDS,
                    )
                record = Record(branch=record.branch, base=base)
                self._records.write(task_id, record)
        note = advice(record.branch, found.branch, found.operation)
        return Worktree(path=path, branch=record.branch, base=record.base, note=note)

    def _add(
        self, path: Path, branch: str | None, *, base: Oid | None, checkout: bool = True
    ) -> None:
        """Add a worktree: on a new branch at `base`, on one there is, or detached at `base`."""
        self.root.mkdir(parents=True, exist_ok=True)
        arguments = ["worktree", "add", "--quiet"]
        if not checkout:
            arguments.append("--no-checkout")
        if branch is None:
            arguments += ["--detach", str(path), base or ""]
        elif base is None:
            # --force: the branch may count as checked out in a worktree that is gone.
            arguments += ["--force", str(path), branch]
        else:
            arguments += ["--no-track", "-b", branch, str(path), base]
        try:
            self.forge.run(*arguments, timeout_seconds=CHECKOUT_TIMEOUT_SECONDS)
        except GitFailed as error:
            if ".lock" not in error.stderr or not self.forge.clear_stale_locks():
                raise
            self.forge.run(*arguments, timeout_seconds=CHECKOUT_TIMEOUT_SECONDS)

    def _guard(self, name: str, branch: str | None) -> None:
        hooks = self.forge.git_dir / "stoneforge" / "hooks" / name
        install_guard(
            hooks,
            own_branch=branch,
            target=self.target,
            task=name if branch is not None else "",
        )
        replace_text(
            self._admin(name) / "config.worktree",
            worktree_config(hooks, own_branch=branch, target=self.target),
        )

    def _switch(self, path: Path, commit: Oid) -> bool:
        """Bring a detached worktree to `commit`; False when it must be made anew."""
        try:
            admin = admin_dir(path)
            if admin != self._admin(path.name).resolve():
                return False
            # Nobody else works here, and the group of an earlier run has ended.
            (admin / "index.lock").unlink(missing_ok=True)
            run_git(
                ["checkout", "--quiet", "--force", "--detach", commit],
                cwd=path,
                timeout_seconds=CHECKOUT_TIMEOUT_SECONDS,
            )
        except GitFailed:
            return False
        return True

    def _keep_head(self, task_id: TaskId, at: Oid | None) -> None:
        """Keep a commit that is named by nothing but the HEAD of a task's worktree."""
        if at is not None:
            holders = self.forge.run("for-each-ref", "--count=1", "--contains", at).text
            if not holders:
                self.forge.keep(at, f"{task_id}-head")

    def _clear(self, path: Path, task_id: TaskId) -> None:
        """Delete a folder that a snapshot holds; one with a repository inside moves aside."""
        if inner_repository(path, path / ".git"):
            self._set_aside(path, task_id)
        else:
            shutil.rmtree(path)

    def _set_aside(self, path: Path, task_id: TaskId) -> None:
        number = 1
        while (aside := self.root / f".{task_id}.aside-{number}").exists():
            number += 1
        path.rename(aside)

    def _forget_admin(self, task_id: TaskId) -> None:
        """Drop the git directory of a worktree that is gone, but not a commit only it names."""
        admin = self._admin(task_id)
        if admin.exists():
            if (admin / "commondir").exists():
                self._keep_head(task_id, Repository(admin).head_of("HEAD"))
            shutil.rmtree(admin)

    def _admin(self, name: str) -> Path:
        return self.forge.git_dir / "worktrees" / name

    def _beside(self, path: Path, why: str) -> Path:
        return path.with_name(f".{path.name}.{why}")


def advice(branch: str, present: str | None, operation: str) -> str:
    """Return what stands in the way in a worktree of `branch`; empty when nothing does."""
    if operation:
        return f"A {operation} is under way in the worktree: finish or abort it first."
    if present != branch:
        where = f"on the branch {present}" if present else "on a detached HEAD"
        return f"The worktree is {where}, not on {branch}: only what is on {branch} can be merged."
    return ""
