"""The person's set-up command, which makes a fresh worktree one that the checks can run in.

It runs once for each content of the lock files: what it installs is ignored by git and stays in the
worktree, which is switched from tree to tree. A worktree is marked with what it was last set up
for; the mark goes with it when it is made anew or cleaned as a fresh checkout.
"""

import hashlib
import threading
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.core.path_patterns import matches
from sf_mcp.git.check_places import CheckPlaces
from sf_mcp.git.checks import Check as CheckCommand
from sf_mcp.git.checks import CheckOutcome, check_environment, run_checks
from sf_mcp.git.command import readable
from sf_mcp.git.fair_slots import FairSlots
from sf_mcp.git.repository import Repository
from sf_mcp.service.workspace import Workspace

NAME = "set-up"
LOG_FOLDER = "set-up"


class SettingUp:
    """Sets check worktrees up. Safe to share between threads."""

    def __init__(
        self, workspace: Workspace, forge: Repository, places: CheckPlaces, slots: FairSlots
    ) -> None:
        """Set the worktrees of this pool up, in these slots."""
        self._workspace = workspace
        self._forge = forge
        self._places = places
        self._slots = slots

    def key(self, tree: Oid) -> str:
        """Return what a worktree must be set up for to check the tree; empty without a command.

        Raises:
            GitFailed: there is no such tree.
        """
        setup = self._workspace.settings.setup
        if setup.run is None:
            return ""
        digest = hashlib.sha256(setup.run.encode())
        if setup.lock_files:
            listed = self._forge.run("ls-tree", "-r", "-z", tree).stdout
            for entry in listed.split(b"\0")[:-1]:
                about, _, path = entry.partition(b"\t")
                if matches(readable(path), setup.lock_files):
                    digest.update(b"\0" + about + b"\0" + path)
        return digest.hexdigest()

    def make_ready(self, path: Path, key: str, cancel: threading.Event) -> CheckOutcome | None:
        """Set a taken worktree up unless it is so already; return the outcome of what went wrong.

        Raises:
            StorageFailed: the log cannot be written.
        """
        setup = self._workspace.settings.setup
        if setup.run is None or not key or self._places.is_set_up(path.name, key):
            return None
        self._places.note_set_up(path.name, "")
        command = CheckCommand(
            name=NAME, command=setup.run, timeout_seconds=float(setup.timeout_seconds)
        )
        folder = self._workspace.layout.logs / LOG_FOLDER / path.name
        folder.mkdir(parents=True, exist_ok=True)
        (outcome,) = run_checks(
            [command], path, folder, slots=self._slots, env=check_environment(), cancel=cancel
        )
        if not outcome.passed:
            return outcome
        self._places.note_set_up(path.name, key)
        return None

    def works(self, commit: Oid, tree: Oid, cancel: threading.Event) -> bool:
        """Return whether the set-up passes now on a commit, in a worktree as fresh as a checkout.

        Raises:
            GitRefused: the tree cannot be checked out (a full disk).
        """
        key = self.key(tree)
        with self._places.taken(commit, cancel=cancel, clean_ignored=True, key=key) as path:
            return path is not None and self.make_ready(path, key, cancel) is None
