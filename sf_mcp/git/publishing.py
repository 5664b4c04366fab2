"""Between the forge and the person's repository: fast-forward, or not at all.

Rule 1: the person's branch is only moved to a commit that contains it.
Rule 2: their files are only touched in the checkout itself, on the target branch, with nothing
staged or modified, no operation under way, and nothing untracked (ignored or not) in the way.
Rule 3: otherwise everything is left alone, with the reason and the command to catch up.
"""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sf_mcp.core.errors import GitRefused, StoneforgeError, TargetMoved
from sf_mcp.core.models import Oid
from sf_mcp.git.checkout import (
    Checkout,
    branch_in_operation,
    open_checkout,
    operation_in_progress,
)
from sf_mcp.git.command import GitFailed, readable, run_git
from sf_mcp.git.interrupted import announced, take_back
from sf_mcp.git.repository import Repository
from sf_mcp.git.status import admin_dir

REMOTE = "stoneforge"
UPSTREAM = "refs/stoneforge/upstream"
PERSON = "person"
UPDATE_TIMEOUT_SECONDS = 300.0


class Obstacle(StrEnum):
    """Why the person's branch was left alone."""

    DIVERGED = "diverged"
    """It has commits of the person's own: the server takes them in, then it can move again."""
    DIRTY = "dirty"
    IN_THE_WAY = "in_the_way"
    OPERATION = "operation"
    ELSEWHERE = "elsewhere"
    MISSING = "missing"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The person's branch contains the commit."""

    moved: bool
    """False when it did so already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftAlone:
    obstacle: Obstacle
    reason: str
    command_to_catch_up: str
    behind: int
    """How many commits the person's branch lacks."""


@dataclass(frozen=True, slots=True)
class _Problem:
    obstacle: Obstacle
    reason: str
    command: str


def publish_to_checkout(
    checkout_path: Path, forge: Repository, target: str, commit: Oid
) -> Published | LeftAlone:
    """Bring `commit` to the person's repository, and fast-forward their branch if that is safe.

    Raises:
        GitRefused: the commit could not be brought there.
    """
    checkout = open_checkout(checkout_path)
    remote = _deliver(checkout, forge, target, commit)
    present = checkout.repository.head_of(f"refs/heads/{target}")
    done = _Publication(checkout, target, f"{remote}/{target}").move(present, commit)
    if isinstance(done, Published):
        return done
    return LeftAlone(
        obstacle=done.obstacle,
        reason=done.reason,
        command_to_catch_up=done.command,
        behind=checkout.repository.count_between(present, commit) if present is not None else 0,
    )


def deliver(checkout_path: Path, forge: Repository, target: str, commit: Oid) -> str:
    """Bring `commit` to the person's repository and touch none of their branches.

    Returns what they call it: `stoneforge/main`.
    """
    return f"{_deliver(open_checkout(checkout_path), forge, target, commit)}/{target}"


def take_in(checkout_path: Path, forge: Repository, target: str) -> Oid | None:
    """Bring the person's branch into the forge and return its commit; None when they have none.

    A commit that the forge lacks comes in under `refs/stoneforge/upstream/person/<target>`.

    Raises:
        GitFailed: it cannot be fetched.
    """
    checkout = open_checkout(checkout_path)
    theirs = checkout.repository.head_of(f"refs/heads/{target}")
    if theirs is None or forge.head_of(theirs) is not None:
        # Mostly it is what was published to them. A fetch would also trip over a worktree that is
        # being added at this moment ("bad object worktrees/T1/HEAD").
        return theirs
    ref = f"{UPSTREAM}/{PERSON}/{target}"
    forge.fetch_from(checkout.common_dir, f"+refs/heads/{target}:{ref}")
    return forge.head_of(ref)


def _deliver(checkout: Checkout, forge: Repository, target: str, commit: Oid) -> str:
    """Give the person's repository the commit, under the remote's tracking ref; name the remote."""
    forge_path = os.fspath(forge.git_dir)
    ask = checkout.repository.run
    remote = REMOTE
    while True:
        url = ask("config", "--get", f"remote.{remote}.url", accept=(0, 1)).text
        if not url or url == forge_path or url.endswith("/.stoneforge/forge.git"):
            break
        remote += "-fleet"  # the person has a remote of that name for something else
    if url != forge_path:
        ask("config", f"remote.{remote}.url", forge_path)
        ask("config", f"remote.{remote}.tagOpt", "--no-tags")
        ask(
            "config",
            f"remote.{remote}.fetch",
            f"+refs/heads/{target}:refs/remotes/{remote}/{target}",
        )
    tracking = f"refs/remotes/{remote}/{target}"
    if checkout.repository.head_of(tracking) != commit:
        checkout.repository.fetch_from(forge_path, f"+{commit}:{tracking}")
    return remote


@dataclass(frozen=True, slots=True)
class _Publication:
    """One attempt to move the person's branch."""

    checkout: Checkout
    target: str
    tracking: str
    """What the person calls the delivered commit: `stoneforge/main`."""

    def move(self, present: Oid | None, commit: Oid) -> Published | _Problem:
        theirs, root = self.checkout.repository, self.checkout.root
        if self.checkout.branch == self.target:
            stopped = take_back(self.checkout, present)
            if stopped:
                return _Problem(
                    Obstacle.INTERRUPTED, f"{root}: {stopped}.", _command(root, "status")
                )
        if present is None:
            return _Problem(
                Obstacle.MISSING,
                f"Your repository has no branch {self.target}.",
                _command(root, "branch", self.target, self.tracking),
            )
        if theirs.is_ancestor(commit, present):
            return Published(moved=False)
        if not theirs.is_ancestor(present, commit):
            return _Problem(
                Obstacle.DIVERGED,
                f"Your {self.target} has commits that the forge does not have.",
                _command(root, "rebase", self.tracking, self.target),
            )
        holders = _holders(theirs, self.target)
        if not holders:
            return self._move_ref(present, commit)
        return (
            self._held_elsewhere(holders)
            or self._changed_files()
            or self._files_in_the_way(present, commit)
            or self._fast_forward(present, commit)
        )

    def _catch_up(self, folder: Path) -> str:
        return _command(folder, "merge", "--ff-only", self.tracking)

    def _move_ref(self, present: Oid, commit: Oid) -> Published | _Problem:
        try:
            self.checkout.repository.compare_and_swap(
                f"refs/heads/{self.target}", new=commit, old=present, message="stoneforge: landed"
            )
        except (GitRefused, TargetMoved) as error:
            return self._failed(error)
        return Published(moved=True)

    def _held_elsewhere(self, holders: Mapping[Path, str]) -> _Problem | None:
        for folder, operation in holders.items():
            if operation:
                return _Problem(
                    Obstacle.OPERATION,
                    f"A {operation} of {self.target} is under way in {folder}: finish or abort it.",
                    self._catch_up(folder),
                )
        for folder in holders:
            if folder != self.checkout.root.resolve():
                return _Problem(
                    Obstacle.ELSEWHERE,
                    f"{self.target} is checked out in {folder}.",
                    self._catch_up(folder),
                )
        return None

    def _changed_files(self) -> _Problem | None:
        root = self.checkout.root
        # A submodule that the person has not updated yet is no change of theirs; a staged one is.
        ignored = "--ignore-submodules=all"
        shown = run_git(
            ["status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=no", ignored],
            cwd=root,
        )
        changed = [readable(entry[3:]) for entry in shown.stdout.split(b"\0") if entry]
        if not changed:
            staged = run_git(["diff-index", "--cached", "--name-only", "-z", "HEAD"], cwd=root)
            changed = [readable(entry) for entry in staged.stdout.split(b"\0") if entry]
        if not changed:
            return None
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        return _Problem(
            Obstacle.DIRTY,
            f"{root} has uncommitted changes in {changed[0]}{more}; commit or stash them.",
            self._catch_up(root),
        )

    def _files_in_the_way(self, present: Oid, commit: Oid) -> _Problem | None:
        root = self.checkout.root
        listed = run_git(
            ["diff-tree", "-r", "-z", "--no-renames", "--name-status", present, commit], cwd=root
        )
        words = [os.fsdecode(word) for word in listed.stdout.split(b"\0")]
        changes = list(zip(words[1::2], words[0::2], strict=False))
        leaving = {path.casefold() for path, how in changes if how == "D"}
        for path, how in changes:
            if how == "A" and (found := _in_the_way(root, path, leaving)):
                return _Problem(
                    Obstacle.IN_THE_WAY,
                    f"{found} in {root} is not tracked, and what has landed would write it: "
                    "move it away.",
                    self._catch_up(root),
                )
        return None

    def _fast_forward(self, present: Oid, commit: Oid) -> Published | _Problem:
        try:
            with announced(self.checkout, present, commit):
                run_git(
                    [
                        "merge",
                        "--ff-only",
                        "--quiet",
                        "--no-stat",
                        "--no-autostash",
                        "--no-overwrite-ignore",
                        "--no-verify-signatures",
                        commit,
                    ],
                    cwd=self.checkout.root,
                    timeout_seconds=UPDATE_TIMEOUT_SECONDS,
                )
        except GitFailed as error:
            take_back(self.checkout, present)
            return self._failed(error)
        return Published(moved=True)

    def _failed(self, error: StoneforgeError) -> _Problem:
        return _Problem(Obstacle.FAILED, error.message, self._catch_up(self.checkout.root))


def _holders(theirs: Repository, target: str) -> dict[Path, str]:
    """Return where the branch is checked out, or being rebased, with the operation under way."""
    listed = theirs.run("worktree", "list", "--porcelain", "-z").stdout
    holders: dict[Path, str] = {}
    for block in listed.split(b"\0\0"):
        lines = (os.fsdecode(line).partition(" ") for line in block.split(b"\0"))
        facts = {name: value for name, _, value in lines}
        folder = Path(facts.get("worktree", ""))
        if "bare" in facts or "prunable" in facts or not (folder / ".git").exists():
            continue
        git_dir = admin_dir(folder)
        if facts.get("branch") == f"refs/heads/{target}" or branch_in_operation(git_dir) == target:
            holders[folder.resolve()] = operation_in_progress(git_dir)
    return holders


def _in_the_way(root: Path, path: str, leaving: set[str]) -> str:
    """Return what already lies where `path` would be written, or nothing."""
    parts = path.split("/")
    for depth in range(1, len(parts)):
        above = "/".join(parts[:depth])
        folder = root / above
        if folder.is_dir() and not folder.is_symlink():
            continue
        if not os.path.lexists(folder):
            return ""
        return "" if above.casefold() in leaving else above
    if not os.path.lexists(root / path) or path.casefold() in leaving:
        return ""
    # A folder of tracked files that all leave makes room for a file of its name.
    folder = root / path
    if folder.is_dir() and not folder.is_symlink():
        inside = (os.path.relpath(each, root) for each in folder.rglob("*") if not each.is_dir())
        return next((each for each in inside if each.casefold() not in leaving), "")
    return path


def _command(folder: Path, *arguments: str) -> str:
    return shlex.join(["git", "-C", str(folder), *arguments])
