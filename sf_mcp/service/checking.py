"""Running the project's checks on a tree, and remembering what they said of it.

A verdict belongs to a tree and a command, whoever asked for it: the train and a worker's own
`run_checks` share it.
"""

import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.identity import SERVER
from sf_mcp.core.models import Oid, Verdict
from sf_mcp.git.checks import Check as CheckCommand
from sf_mcp.git.checks import CheckOutcome, check_environment, run_checks
from sf_mcp.git.worktrees import Worktrees
from sf_mcp.service.workspace import Workspace
from sf_mcp.settings import Check
from sf_mcp.store import landings
from sf_mcp.store.landings import VERDICTS

COULD_NOT_START = "could not start"
KEPT_LOG_FOLDERS = 300
"""Trees whose check output is kept; that of older ones makes room."""


@dataclass(frozen=True, slots=True)
class CheckingPlace:
    """The worktree in which one caller's checks run, one run at a time."""

    name: str
    lock: threading.Lock


class Checking:
    """Runs checks on trees."""

    def __init__(self, workspace: Workspace, worktrees: Worktrees) -> None:
        """Run in worktrees of their own beside the tasks'."""
        self._workspace = workspace
        self._worktrees = worktrees

    def checks(self) -> Sequence[Check]:
        """Return the checks that must pass before the target moves; none when switched off."""
        settings = self._workspace.settings
        return settings.checks if settings.agents.steward.run_checks else ()

    def known(self, tree: Oid) -> dict[str, Verdict]:
        """Return the newest verdict of each present check on the tree."""
        found: dict[str, Verdict] = {}
        with self._workspace.read() as tx:
            for check in self.checks():
                if verdict := landings.newest_verdict(tx.db, tree, check.name, check.run):
                    found[check.name] = verdict
        return found

    def run(
        self,
        commit: Oid,
        tree: Oid,
        names: Sequence[str],
        place: CheckingPlace,
        cancel: threading.Event,
    ) -> dict[str, Verdict]:
        """Run the named checks on the commit's tree and store what they say.

        Raises:
            GitRefused: the tree cannot be checked out (a full disk).
        """
        wanted = [check for check in self.checks() if check.name in names]
        with place.lock:
            path = self._worktrees.detached(place.name, commit, clean_ignored=False)
            # A folder for each place: a worker and the train may check one tree at a time.
            log_folder = self._workspace.layout.logs / "checks" / tree[:12] / place.name
            log_folder.mkdir(parents=True, exist_ok=True)
            _make_room(log_folder.parent.parent, keep=log_folder.parent)
            outcomes = run_checks(
                [
                    CheckCommand(
                        name=check.name,
                        command=check.run,
                        timeout_seconds=float(check.timeout_seconds),
                    )
                    for check in wanted
                ],
                path,
                log_folder,
                parallel=self._workspace.settings.merge.parallel_checks,
                env=check_environment(),
                cancel=cancel,
            )
        if cancel.is_set():
            return {}
        return self._store(tree, wanted, outcomes)

    def _store(
        self, tree: Oid, checks: Sequence[Check], outcomes: Sequence[CheckOutcome]
    ) -> dict[str, Verdict]:
        commands = {check.name: check.run for check in checks}
        with self._workspace.write(SERVER) as tx:
            verdicts = {
                outcome.check.name: Verdict(
                    tree=tree,
                    check=outcome.check.name,
                    command=commands[outcome.check.name],
                    passed=outcome.passed,
                    outcome=outcome.outcome,
                    log_path=str(outcome.log_path),
                    seconds=outcome.seconds,
                    created_at=tx.now,
                )
                for outcome in outcomes
            }
            for verdict in verdicts.values():
                # A check that could not start says nothing of the tree, so it is not remembered.
                if did_not_start(verdict):
                    continue
                VERDICTS.insert(tx.db, verdict)
                tx.event(
                    "check_finished", "", check=verdict.check, tree=tree, outcome=verdict.outcome
                )
            return verdicts


def did_not_start(verdict: Verdict) -> bool:
    """Return whether the check says nothing of the tree, since its command could not be run."""
    return verdict.outcome.startswith(COULD_NOT_START)


def _make_room(folder: Path, *, keep: Path) -> None:
    """Remove the output of the checks that ran longest ago."""
    with suppress(OSError):
        found = [(path.stat().st_mtime, path) for path in folder.iterdir() if path != keep]
        for _, path in sorted(found)[: max(0, len(found) - KEPT_LOG_FOLDERS)]:
            shutil.rmtree(path, ignore_errors=True)
