"""Running the project's checks on a tree, and remembering what they said of it.

A verdict belongs to a tree and a command, whoever asked for it: the train and a worker's own
`run_checks` share it, also while the check still runs.
"""

import shutil
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from sf_mcp.core.identity import SERVER
from sf_mcp.core.models import Oid, Verdict
from sf_mcp.core.path_patterns import matches
from sf_mcp.core.verdicts import NOT_SET_UP, did_not_start
from sf_mcp.git.check_places import CheckPlaces
from sf_mcp.git.checks import (
    TIMED_OUT,
    CheckOutcome,
    check_environment,
    run_checks,
    time_out_words,
)
from sf_mcp.git.checks import Check as CheckCommand
from sf_mcp.git.fair_slots import LOOK_SECONDS, FairSlots
from sf_mcp.git.worktrees import Worktrees
from sf_mcp.service.setting_up import SettingUp
from sf_mcp.service.workspace import Workspace
from sf_mcp.settings import Check
from sf_mcp.store import landings

KEPT_LOG_FOLDERS = 300
"""Trees whose check output is kept; that of older ones makes room."""


@dataclass(slots=True)
class _Flight:
    """A check that runs on a tree: whoever else wants it waits for what it says."""

    over: threading.Event = field(default_factory=threading.Event)
    verdict: Verdict | None = None
    """None when it was cancelled: it has said nothing."""


class Checking:
    """Runs checks on trees. Safe to share between threads."""

    def __init__(self, workspace: Workspace, worktrees: Worktrees) -> None:
        """Run in worktrees of their own beside the tasks'."""
        self._workspace = workspace
        self._places = CheckPlaces(worktrees, self._at_once)
        self._slots = FairSlots(self._at_once)
        self.setting_up = SettingUp(workspace, worktrees.forge, self._places, self._slots)
        self._lock = threading.Lock()
        self._flights: dict[tuple[Oid, str], _Flight] = {}

    def _at_once(self) -> int:
        return self._workspace.settings.merge.parallel_checks

    def checks(self) -> Sequence[Check]:
        """Return the checks that must pass before the target moves; none when switched off."""
        settings = self._workspace.settings
        return settings.checks if settings.agents.steward.run_checks else ()

    def identity(self, check: Check) -> str:
        """Return what a check's verdict hangs on: its command, and what sets the worktree up."""
        setup = self._workspace.settings.setup.run
        return f"{check.identity}  # after: {setup}" if setup else check.identity

    def known(self, tree: Oid) -> dict[str, Verdict]:
        """Return the newest verdict of each present check on the tree."""
        found: dict[str, Verdict] = {}
        with self._workspace.read() as tx:
            for check in self.checks():
                verdict = landings.newest_verdict(tx.db, tree, check.name, self.identity(check))
                # One that ran out of the time that it had then may pass in that of now.
                if verdict is not None and not _had_another_time(verdict, check):
                    found[check.name] = verdict
        return found

    def times_failed(self, tree: Oid) -> dict[str, int]:
        """Return how often each present check has failed on the tree; those that never did: 0."""
        with self._workspace.read() as tx:
            return {
                check.name: landings.count_failures(tx.db, tree, check.name, self.identity(check))
                for check in self.checks()
            }

    def needed(self, paths: Collection[str]) -> list[str]:
        """Return the checks that a change of these paths calls for; those without `paths` always.

        This only shortens screening: nothing lands on less than every check.
        """
        return [
            check.name
            for check in self.checks()
            if not check.paths or any(matches(path, check.paths) for path in paths)
        ]

    def run(
        self, commit: Oid, tree: Oid, names: Collection[str], *, cancel: threading.Event
    ) -> dict[str, Verdict]:
        """Run the named checks on the commit's tree, and store what each says as it says it.

        They run in a worktree of the pool, side by side, and over everybody at most
        `merge.parallelChecks` commands at once. A check that runs on the tree already is waited
        for and not run a second time. Once `cancel` is set, what runs is ended and {} returned.

        Raises:
            GitRefused: the tree cannot be checked out (a full disk).
            StorageFailed: a log cannot be written.
        """
        found: dict[str, Verdict] = {}
        while not cancel.is_set():
            missing = [one for one in self.checks() if one.name in names and one.name not in found]
            if not missing:
                return found
            mine, others = self._board(tree, missing)
            try:
                if mine:
                    wanted = [one for one in missing if one.name in mine]
                    self._run(commit, tree, wanted, mine, cancel)
            finally:
                for name, flight in mine.items():
                    self._end(tree, name, flight)
            for name, flight in [*mine.items(), *others.items()]:
                while not flight.over.is_set() and not cancel.is_set():
                    flight.over.wait(LOOK_SECONDS)
                # Else whoever ran it has cancelled it, and it is run here.
                if flight.verdict is not None:
                    found[name] = flight.verdict
        return {}

    def _board(
        self, tree: Oid, checks: Sequence[Check]
    ) -> tuple[dict[str, _Flight], dict[str, _Flight]]:
        """Return the checks that the caller has to run, and those that run on the tree already."""
        mine: dict[str, _Flight] = {}
        others: dict[str, _Flight] = {}
        with self._lock:
            for check in checks:
                flight = self._flights.get((tree, check.name))
                if flight is None:
                    mine[check.name] = self._flights[tree, check.name] = _Flight()
                else:
                    others[check.name] = flight
        return mine, others

    def _end(self, tree: Oid, name: str, flight: _Flight) -> None:
        """Let those go on who wait; who asks from now on has the check run anew."""
        with self._lock:
            if self._flights.get((tree, name)) is flight:
                del self._flights[tree, name]
            flight.over.set()

    def _run(
        self,
        commit: Oid,
        tree: Oid,
        checks: Sequence[Check],
        flights: Mapping[str, _Flight],
        cancel: threading.Event,
    ) -> None:
        """Run the checks in a worktree of the pool; each flight ends as its verdict is known."""

        def keep(outcome: CheckOutcome) -> None:
            if not outcome.cancelled:
                flight = flights[outcome.check.name]
                flight.verdict = self._store(tree, commands[outcome.check.name], outcome)
                self._end(tree, outcome.check.name, flight)

        commands = {check.name: self.identity(check) for check in checks}
        # What another run has left, such as a damaged cache, must not be what condemns: a failure
        # is repeated in a worktree as clean as a fresh checkout.
        is_repeat = any(self.times_failed(tree).get(check.name) for check in checks)
        wanted = [
            CheckCommand(
                name=check.name,
                command=check.run,
                timeout_seconds=float(check.timeout_seconds),
                env=check.env,
                junit=check.junit,
            )
            for check in checks
        ]
        key = self.setting_up.key(tree)
        with self._places.taken(commit, cancel=cancel, clean_ignored=is_repeat, key=key) as path:
            if path is None:
                return
            wrong = self.setting_up.make_ready(path, key, cancel)
            if wrong is not None:
                for command in wanted:
                    keep(as_not_set_up(command, wrong))
                return
            run_checks(
                wanted,
                path,
                _log_folder(self._workspace.layout.logs / "checks", tree),
                slots=self._slots,
                env=check_environment(),
                cancel=cancel,
                on_done=keep,
            )

    def _store(self, tree: Oid, command: str, outcome: CheckOutcome) -> Verdict:
        with self._workspace.write(SERVER) as tx:
            verdict = Verdict(
                tree=tree,
                check=outcome.check.name,
                command=command,
                passed=outcome.passed,
                outcome=outcome.outcome,
                failing=outcome.failing,
                log_path=str(outcome.log_path),
                seconds=outcome.seconds,
                created_at=tx.now,
            )
            # A check that could not start says nothing of the tree, so it is not remembered.
            if not did_not_start(verdict):
                is_news = landings.add_verdict(tx.db, verdict)
                tx.event(
                    "check_finished", "", check=verdict.check, tree=tree, outcome=verdict.outcome
                )
                if is_news:
                    tx.event("flaky_check", "", check=verdict.check, tree=tree)
            return verdict


def as_not_set_up(check: CheckCommand, wrong: CheckOutcome) -> CheckOutcome:
    """Return the outcome of a check whose worktree could not be set up."""
    return replace(
        wrong, check=check, outcome=f"{NOT_SET_UP} {wrong.outcome}", could_not_start=True
    )


def _had_another_time(verdict: Verdict, check: Check) -> bool:
    return verdict.outcome.startswith(TIMED_OUT) and verdict.outcome != time_out_words(
        check.timeout_seconds
    )


def _log_folder(folder: Path, tree: Oid) -> Path:
    """Return a new folder for the output of one run on the tree, and make room for it."""
    of_tree = folder / tree[:12]
    of_tree.mkdir(parents=True, exist_ok=True)
    _make_room(folder, keep=of_tree)
    number = 1
    while True:
        try:
            (of_tree / str(number)).mkdir()
        except FileExistsError:
            number += 1
        else:
            return of_tree / str(number)


def _make_room(folder: Path, *, keep: Path) -> None:
    """Remove the output of the checks that ran longest ago."""
    with suppress(OSError):
        found = [(path.stat().st_mtime, path) for path in folder.iterdir() if path != keep]
        for _, path in sorted(found)[: max(0, len(found) - KEPT_LOG_FOLDERS)]:
            shutil.rmtree(path, ignore_errors=True)
