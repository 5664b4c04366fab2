"""Trials under way: candidates being checked, each in a thread of its own, its outcome stored.

A trial says whether its set may land on the target as it was when the trial began: whether every
check that passes there passes on the candidate too. A check that fails on both in the same way is
nobody's fault who left it so. Which trials are worth running is the planner's word.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.identity import SERVER
from sf_mcp.core.merge_queue import Outcome
from sf_mcp.core.models import Landing, MergeRequest, Oid, TrialRecord, Verdict
from sf_mcp.core.states import MergeState
from sf_mcp.core.text import one_line
from sf_mcp.core.verdicts import Judgement, condemning, did_not_start, is_not_set_up
from sf_mcp.service.candidates import Chain
from sf_mcp.service.check_notes import note_preexisting
from sf_mcp.service.checking import Checking
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import landings, merge_requests, trials

logger = logging.getLogger(__name__)

FAILURES_THAT_COUNT = 2
"""How often a check must fail on one tree to have failed: one that fails once may be flaky."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where the target was when a trial began: what its candidate is held against."""

    base: int
    """The landing that brought it there."""
    commit: Oid
    tree: Oid

    @staticmethod
    def of(move: Landing) -> "Stand":
        """Return where a move of the target brought it."""
        return Stand(base=move.number, commit=move.new, tree=move.tree)


def _nothing(_requests: Sequence[MergeRequest], _stand: Stand) -> None:
    pass


def _in_a_thread(work: Callable[[], None], name: str) -> None:
    threading.Thread(target=work, name=name, daemon=True).start()


@dataclass(slots=True)
class _Job:
    cancel: threading.Event = field(default_factory=threading.Event)


class Trials:
    """The running ones. Safe to share between threads."""

    def __init__(self, workspace: Workspace, checking: Checking) -> None:
        """Check in this project."""
        self._workspace = workspace
        self._checking = checking
        self._jobs: dict[int, _Job] = {}
        self._ended = threading.Condition()
        self._is_stopped = False
        self.count_ended = 0
        """How many have ended so far in this process."""
        self.spawn: Callable[[Callable[[], None], str], None] = _in_a_thread
        """Runs a trial beside whoever starts it."""
        self.on_not_started: Callable[[Sequence[MergeRequest], Stand], None] = _nothing
        """Called when a check could not start: the same would happen again at once."""

    @property
    def running(self) -> frozenset[int]:
        """Return the numbers of the trials that run in this process."""
        with self._ended:
            return frozenset(self._jobs)

    def cancel(self, numbers: frozenset[int]) -> None:
        """End what can no longer matter; it says nothing of its set."""
        with self._ended:
            for number in numbers & self._jobs.keys():
                self._jobs[number].cancel.set()

    def stop(self) -> None:
        """End everything: the server stops."""
        with self._ended:
            self._is_stopped = True
            for job in self._jobs.values():
                job.cancel.set()

    def wait_beyond(self, count: int, seconds: float) -> bool:
        """Wait until more than `count` have ended; return whether so, False if none runs."""
        with self._ended:
            self._ended.wait_for(lambda: self.count_ended > count or not self._jobs, seconds)
            return self.count_ended > count

    # -- starting ----------------------------------------------------------------------------------

    def start(self, chain: Chain, stand: Stand, *, is_full: bool, paths: Sequence[str]) -> None:
        """Have a candidate checked: what is not known of its tree is run in a thread.

        A trial that is not `is_full` needs only the checks that changes of `paths` call for.
        """
        names = [one.name for one in self._checking.checks()]
        if not is_full:
            needed = self._checking.needed(paths)
            names = [name for name in names if name in needed]
        requests = [link.request for link in chain.links]
        self._begin(chain.commit, chain.tree, requests, stand, names, is_full=is_full, again=False)

    def repeat(self, record: TrialRecord, requests: Sequence[MergeRequest], stand: Stand) -> None:
        """Have what failed in a trial run once more, on the same tree."""
        assert record.commit is not None  # only what could be merged has failed its checks
        assert record.tree is not None
        names = [one.name for one in self._checking.checks()]
        full = record.is_full
        self._begin(record.commit, record.tree, requests, stand, names, is_full=full, again=True)

    def _begin(
        self,
        commit: Oid,
        tree: Oid,
        requests: Sequence[MergeRequest],
        stand: Stand,
        names: Sequence[str],
        *,
        is_full: bool,
        again: bool,
    ) -> None:
        with self._workspace.write(SERVER) as tx:
            number = _record(tx, requests, stand, commit, tree, is_full=is_full)

        def work(cancel: threading.Event) -> None:
            judged = self._judge(commit, tree, names, stand, cancel, again=again)
            self._end(number, requests, tree, stand, judged)

        def failed(error: Exception) -> None:
            held = one_line(str(error), 300)
            self._end(number, requests, tree, stand, Judgement(), held=held)

        self._run(number, work, failed)

    def record_conflict(self, requests: Sequence[MergeRequest], stand: Stand) -> None:
        """Record that a set cannot be merged, so that it is not planned again."""
        with self._workspace.write(SERVER) as tx:
            number = _record(tx, requests, stand, None, None, is_full=True)
            trials.end(tx.db, number, Outcome.CONFLICTED, tx.now)

    def look_at_target(self, stand: Stand) -> None:
        """Learn whether the target itself passes its checks, and record it."""

        def work(cancel: threading.Event) -> None:
            verdicts = self._of_target(stand, [one.name for one in self._checking.checks()], cancel)
            if verdicts is None:
                return
            if any(did_not_start(one) for one in verdicts.values()):
                self.on_not_started((), stand)
                return
            green = all(one.passed for one in verdicts.values())
            with self._workspace.write(SERVER) as tx:
                # A look that began before this one had ended finds the same.
                if landings.mark_green(tx.db, stand.tree, green):
                    tx.event("target_green" if green else "target_red", "", commit=stand.commit)

        self._run(-stand.base, work, lambda _: self.on_not_started((), stand))

    def _run(
        self,
        number: int,
        work: Callable[[threading.Event], None],
        failed: Callable[[Exception], None],
    ) -> None:
        def run() -> None:
            try:
                try:
                    work(job.cancel)
                except (StoneforgeError, OSError) as error:
                    logger.warning("Trial %s could not be carried out: %s", number, error)
                    failed(error)
                except Exception as error:  # the thread's root: else it would begin anew at once
                    logger.exception("trial %s failed", number)
                    failed(error)
            except StoneforgeError as error:
                # Its row stays `running` and is ended with the next look: nothing waits for it.
                logger.warning("What came of trial %s could not be stored: %s", number, error)
            finally:
                with self._ended:
                    self._jobs.pop(number, None)
                    self.count_ended += 1
                    self._ended.notify_all()

        job = _Job()
        with self._ended:
            if self._is_stopped or number in self._jobs:
                return
            self._jobs[number] = job
        self.spawn(run, f"trial {number}")

    # -- judging -----------------------------------------------------------------------------------

    def _judge(
        self,
        commit: Oid,
        tree: Oid,
        names: Sequence[str],
        stand: Stand,
        cancel: threading.Event,
        *,
        again: bool,
    ) -> Judgement | None:
        """Return what the checks say of the candidate; None when it was cancelled.

        `again`: a trial of the tree has failed before, so what failed is run once more, unless it
        has failed often enough.
        """
        verdicts = self._said(commit, tree, names, cancel, again=again)
        if verdicts is None:
            return None
        failed = [name for name, one in verdicts.items() if not one.passed]
        if not failed:
            return Judgement()
        of_target = self._of_target(stand, failed, cancel)
        if of_target is None:
            return None
        judged = self._excuse(condemning(verdicts, of_target), tree, stand, cancel)
        if judged.preexisting:
            with self._workspace.write(SERVER) as tx:
                note_preexisting(tx, [of_target[one.check] for one in judged.preexisting])
        return judged

    def _excuse(
        self, judged: Judgement, tree: Oid, stand: Stand, cancel: threading.Event
    ) -> Judgement:
        """Hold what only could not be set up, unless the candidate's own lock files are why.

        A registry that is out of reach fails the set-up of the target too.
        """
        failed = [one for one in judged.condemned if is_not_set_up(one)]
        if not failed:
            return judged
        setting_up = self._checking.setting_up
        is_own = setting_up.key(tree) != setting_up.key(stand.tree)
        if is_own and setting_up.works(stand.commit, stand.tree, cancel):
            return judged
        return replace(
            judged,
            condemned=tuple(one for one in judged.condemned if one not in failed),
            held=(*judged.held, *failed),
        )

    def _of_target(
        self, stand: Stand, names: Sequence[str], cancel: threading.Event
    ) -> Mapping[str, Verdict] | None:
        """Return what the checks say of the target; a flake there absolves nobody."""
        if self._said(stand.commit, stand.tree, names, cancel, again=False) is None:
            return None
        return self._said(stand.commit, stand.tree, names, cancel, again=True)

    def _said(
        self,
        commit: Oid,
        tree: Oid,
        names: Sequence[str],
        cancel: threading.Event,
        *,
        again: bool,
    ) -> dict[str, Verdict] | None:
        known = self._checking.known(tree)
        times = self._checking.times_failed(tree) if again else {}
        wanted = [
            name
            for name in names
            if name not in known
            or (again and not known[name].passed and times.get(name, 0) < FAILURES_THAT_COUNT)
        ]
        if wanted:
            known |= self._checking.run(commit, tree, wanted, cancel=cancel)
        if cancel.is_set():
            return None
        return {name: known[name] for name in names if name in known}

    # -- ending ------------------------------------------------------------------------------------

    def _end(
        self,
        number: int,
        requests: Sequence[MergeRequest],
        tree: Oid,
        stand: Stand,
        judged: Judgement | None,
        *,
        held: str = "",
    ) -> None:
        if judged is not None and judged.held:
            held = f"check {judged.held[0].check} {judged.held[0].outcome}"
        if judged is None:
            outcome = Outcome.CANCELLED
        elif judged.condemned:
            outcome = Outcome.FAILED
        elif held or judged.undecided:
            outcome = Outcome.NOT_STARTED
        else:
            outcome = Outcome.PASSED
        condemned = judged.condemned if judged is not None else ()
        if outcome is Outcome.NOT_STARTED:
            self.on_not_started(requests, stand)
        with self._workspace.write(SERVER) as tx:
            trials.end(tx.db, number, outcome, tx.now, condemned=condemned)
            if outcome is Outcome.CANCELLED:
                return
            for request in requests:
                present = merge_requests.get(tx.db, request.id)
                if present.state is not MergeState.OPEN or present.commit != request.commit:
                    continue
                if present.held != held:
                    present = tx.edit_merge_request(present, held=held)
                    kind = "merge_held" if held else "merge_released"
                    tx.event(kind, request.id, reason=held)
                if outcome is Outcome.PASSED and present.checked_tree != tree:
                    tx.edit_merge_request(present, checked_tree=tree)
                    tx.event("checks_passed", request.id, tree=tree)
            names = [one.id for one in requests]
            tx.event("trial_ended", names[0], requests=names, outcome=outcome.value, tree=tree)


def _record(
    tx: Transaction,
    requests: Sequence[MergeRequest],
    stand: Stand,
    commit: Oid | None,
    tree: Oid | None,
    *,
    is_full: bool,
) -> int:
    return trials.begin(
        tx.db,
        base=stand.base,
        requests=[one.id for one in requests],
        commits=[one.commit for one in requests],
        commit=commit,
        tree=tree,
        is_full=is_full,
        at=tx.now,
    )
