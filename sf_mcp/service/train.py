"""The merge train: what may land is merged, checked and lands, the most promising first.

At every event the planner (`core.merge_queue`) plans anew from stored facts: which sets of merge
requests are worth checking, which one lands, which request has proved to be bad. Here that is
carried out. A request that waits for somebody's word never holds up those behind it. The target
moves only to a commit whose exact tree passed every check that the present target's tree passes:
that is looked at here once more, whatever the planner says.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sf_mcp.core import merge_queue
from sf_mcp.core.errors import GitRefused
from sf_mcp.core.identity import SERVER
from sf_mcp.core.merge_queue import Outcome, Plan
from sf_mcp.core.models import (
    Landing,
    LandingKind,
    MergeRequest,
    Oid,
    TrialRecord,
)
from sf_mcp.core.states import MergeEvent, MergeState, TaskEvent
from sf_mcp.core.text import one_line
from sf_mcp.git.command import GitFailed
from sf_mcp.git.repository import Repository
from sf_mcp.service.candidates import Candidates, Chain, Clash, Interrupted
from sf_mcp.service.check_words import repair_detail
from sf_mcp.service.checking import Checking
from sf_mcp.service.conflicts import ConflictService
from sf_mcp.service.endings import complete_if_over, end_review
from sf_mcp.service.merge_status import is_released
from sf_mcp.service.pauses import paused_reason
from sf_mcp.service.publishing import PublishingService
from sf_mcp.service.radar import RadarService
from sf_mcp.service.requests import RequestService
from sf_mcp.service.resolving import Resolving
from sf_mcp.service.target import TargetService
from sf_mcp.service.train_facts import TrainFacts, in_line
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.trials import Stand, Trials
from sf_mcp.service.workspace import Workspace
from sf_mcp.settings import Check
from sf_mcp.store import landings, merge_requests, tasks, trials

logger = logging.getLogger(__name__)

HELD_RETRY_SECONDS = 60.0
"""How often a check that could not start is tried again: installing it tells nobody."""

LONGEST_WAIT_SECONDS = 3600.0

UNRELATED = "unrelated histories"
"""What git says of two commits that have no ancestor in common."""

THE_TARGET = ""
"""Stands for the target where a merge request's id may stand."""


@dataclass(frozen=True, slots=True)
class _Rest:
    """Until when checks that could not start on a base are not tried again."""

    base: int
    checks: Sequence[Check]
    over: datetime


class TrainService:
    """Use cases of landing. `step` is called by one loop, never by two at once."""

    def __init__(
        self,
        workspace: Workspace,
        forge: Repository,
        target: TargetService,
        publishing: PublishingService,
        requests: RequestService,
        conflicts: ConflictService,
        checking: Checking,
        resolving: Resolving,
        radar: RadarService,
    ) -> None:
        """Land what is asked for in this project."""
        self._workspace = workspace
        self._forge = forge
        self._target = target
        self._publishing = publishing
        self._requests = requests
        self._conflicts = conflicts
        self._checking = checking
        self._facts = TrainFacts(workspace, checking, radar)
        self._cancel = threading.Event()
        """Set at the server's stop."""
        self._candidates = Candidates(workspace, forge, resolving, self._cancel)
        self.trials = Trials(workspace, checking)
        """Those that run now."""
        self.trials.on_not_started = self._rest
        self._rests: dict[str, _Rest] = {}
        self._git_held: set[str] = set()
        """Requests that git could not work with when it was last tried."""
        self._seen = 0

    def step(self) -> bool:
        """Do what can be done for the train now; return whether anything was done.

        Checks go on in threads of their own; when one has ended, another step is worth taking.

        Raises:
            StoneforgeError: git or the disk refuses; nothing was lost, and a later step tries
                again.
        """
        self._seen = self.trials.count_ended
        # A ref that could not be written leaves its intent behind, as a crash does.
        self._target.recover()
        self._target.undo_foreign_moves()
        self._publishing.take_in_upstream()
        self._publishing.take_in_remote()
        self._conflicts.settle()
        if self._cancel.is_set():
            return False
        with self._workspace.read() as tx:
            newest = landings.newest_done(tx.db)
        if newest is None:
            return False
        stand = Stand.of(newest)
        queue = self._queue()
        did = False
        if queue is not None:
            try:
                settled, waiting = self._settle(queue, stand)
                did = self._ride(waiting, stand) or settled
            except Interrupted:
                return False
        self._publishing.publish()
        return did or self._look_at_target(newest, stand)

    def wait(self, seconds: float) -> bool:
        """Wait until a trial has ended that the last step did not know of; return whether so.

        False at once when none is under way.
        """
        return self.trials.wait_beyond(self._seen, seconds)

    def stop(self) -> None:
        """End the checks under way, which then say nothing, and begin no more."""
        self._cancel.set()
        self.trials.stop()

    def seconds_until_retry(self) -> float:
        """Return after how long a step is worth trying although nothing has happened."""
        with self._workspace.read() as tx:
            is_held = any(one.held for one in merge_requests.in_state(tx.db, MergeState.OPEN))
        may_rest = is_held or self._rests or self.trials.running
        wait = HELD_RETRY_SECONDS if may_rest else LONGEST_WAIT_SECONDS
        publishing = self._publishing.seconds_until_retry()
        return wait if publishing is None else min(wait, publishing)

    def _queue(self) -> list[MergeRequest] | None:
        """Return the open merge requests, first to land first; None while the fleet is paused."""
        with self._workspace.read() as tx:
            if paused_reason(tx):
                return None
            return in_line(tx)

    # -- what needs no trial -----------------------------------------------------------------------

    def _settle(
        self, queue: Sequence[MergeRequest], stand: Stand
    ) -> tuple[bool, list[MergeRequest]]:
        """Decide the requests that need no trial; return whether any was, and those that do."""
        did = False
        waiting: list[MergeRequest] = []
        for request in queue:
            try:
                is_settled, has_changed = self._settled(request, stand)
            except GitRefused as error:
                # One request that git cannot work with must not hold up those behind it.
                logger.warning("%s cannot go on: %s", request.id, error)
                self._git_held.add(request.id)
                self._hold(request, one_line(str(error), 300))
                continue
            did = did or has_changed
            if request.id in self._git_held:
                self._git_held.discard(request.id)
                self._hold(request, "")
            if not is_settled and not self._is_resting(request.id, stand):
                waiting.append(request)
        for gone in self._rests.keys() - {THE_TARGET, *(request.id for request in queue)}:
            del self._rests[gone]
        return did, waiting

    def _settled(self, request: MergeRequest, stand: Stand) -> tuple[bool, bool]:
        """Return whether a request needs no trial, and whether that has changed anything."""
        tip = self._forge.head_of(f"refs/heads/{request.branch}")
        if tip is not None and tip != request.commit:
            self._send_back(
                request,
                f"{request.branch} has moved on to {tip[:12]} since {request.commit[:12]} was "
                "pinned",
                "Approvals and checks hold for the pinned commit alone. See that the later commits "
                "belong to the task, and request the merge again.",
            )
            return True, True
        if request.no_changes_reason:
            return True, self._close(request)
        try:
            alone = self._candidates.build(stand.commit, [request])
        except GitFailed as error:
            if UNRELATED not in error.stderr:
                raise
            branch = self._target.branch
            self._send_back(
                request,
                f"its branch has no history in common with {branch}",
                "Commit on top of the history that the branch began with. If that is lost: "
                f"`git fetch origin && git merge --allow-unrelated-histories origin/{branch}`, "
                "resolve, and see that only your changes differ.",
            )
            return True, True
        if isinstance(alone, Chain):
            return False, False
        if not alone.is_contained:
            self._clash(alone, stand.commit)
            return True, True
        # Its whole content is in the target already: nothing would land.
        is_news = request.checked_tree is None and self._note_contained(request, stand.tree)
        return True, self._close(request) or is_news

    def _clash(self, clash: Clash, head: Oid) -> None:
        self._conflicts.open_conflict(
            clash.request,
            head=head,
            paths=clash.paths,
            messages=clash.messages,
            reason=clash.reason,
        )

    # -- carrying out the plan ---------------------------------------------------------------------

    def _ride(self, waiting: Sequence[MergeRequest], stand: Stand) -> bool:
        """Plan anew, and do what the plan says; return whether anything was done."""
        by_id = {str(request.id): request for request in waiting}
        slots = self._workspace.settings.merge.parallel_checks
        with self._workspace.write(SERVER) as tx:
            trials.end_lost(tx.db, self.trials.running, tx.now)
        facts, records = self._facts.of(by_id, stand)
        plan = merge_queue.plan(facts, slots)
        did = False
        for name in plan.evict:
            did = self._evict(by_id[name], facts, records) or did
        if plan.land and self._land([by_id[name] for name in plan.land], stand):
            return True
        self.trials.cancel(self.trials.running - set(plan.go_on) - {-stand.base})
        self._start(plan, records, by_id, stand)
        return did or bool(plan.start)

    def _start(
        self,
        plan: Plan,
        records: Sequence[TrialRecord],
        by_id: Mapping[str, MergeRequest],
        stand: Stand,
    ) -> None:
        by_number = {record.number: record for record in records}
        for wanted in plan.start:
            if wanted.again is not None:
                self._repeat(by_number[wanted.again], by_id)
                continue
            requests = [by_id[name] for name in wanted.requests]
            chain = self._candidates.build(stand.commit, requests)
            if isinstance(chain, Clash):
                self.trials.record_conflict(requests, stand)
                continue
            paths = () if wanted.is_full else self._forge.changed_paths(stand.commit, chain.commit)
            self.trials.start(chain, stand, is_full=wanted.is_full, paths=paths)

    def _repeat(self, record: TrialRecord, by_id: Mapping[str, MergeRequest]) -> None:
        """Have a trial run once more as it was, also when the target has moved on since."""
        with self._workspace.read() as tx:
            move = landings.LANDINGS.get(tx.db, record.base)
            requests = [
                by_id[name] if name in by_id else merge_requests.get(tx.db, name)
                for name in record.requests
            ]
        assert move is not None  # the row that the trial's refers to
        self.trials.repeat(record, requests, Stand.of(move))

    def _land(self, requests: Sequence[MergeRequest], stand: Stand) -> bool:
        chain = self._candidates.build(stand.commit, requests)
        if isinstance(chain, Clash) or not self._facts.is_verified(chain.tree, stand):
            # What passed was another tree: the rules that merge them have changed since.
            tree = chain.tree if isinstance(chain, Chain) else None
            names = [request.id for request in requests]
            logger.warning("%s passed as what would not land now: checked anew", ", ".join(names))
            with self._workspace.write(SERVER) as tx:
                return trials.disown(tx.db, names, tree) > 0
        return self._target.land(
            [(link.request, link.commit) for link in chain.links],
            kind=LandingKind.MERGE,
            old=stand.commit,
            new=chain.commit,
            green=self._facts.is_green(chain.tree),
        )

    # -- checks that cannot start ------------------------------------------------------------------

    def _hold(self, request: MergeRequest, reason: str) -> None:
        """Keep a request waiting for a reason, or no longer; say so once."""
        with self._workspace.write(SERVER) as tx:
            present = merge_requests.get(tx.db, request.id)
            if present.held != reason and present.state is MergeState.OPEN:
                tx.edit_merge_request(present, held=reason)
                tx.event("merge_held" if reason else "merge_released", request.id, reason=reason)

    def _rest(self, requests: Sequence[MergeRequest], stand: Stand) -> None:
        """Let checks that could not start rest: each step would run them anew."""
        over = self._workspace.now() + timedelta(seconds=HELD_RETRY_SECONDS)
        rest = _Rest(stand.base, self._checking.checks(), over)
        for name in [request.id for request in requests] or [THE_TARGET]:
            self._rests[name] = rest

    def _is_resting(self, subject: str, stand: Stand) -> bool:
        """Return whether nothing has changed yet that could let the checks start."""
        rest = self._rests.get(subject)
        if rest is None:
            return False
        if (rest.base, rest.checks) == (stand.base, self._checking.checks()) and (
            self._workspace.now() < rest.over
        ):
            return True
        del self._rests[subject]
        return False

    # -- the target itself -------------------------------------------------------------------------

    def _look_at_target(self, newest: Landing, stand: Stand) -> bool:
        """Learn whether the target itself is green, once per tree, when nothing else is to do."""
        if newest.is_green is not None or not self._checking.checks() or self.trials.running:
            return False
        if self._is_resting(THE_TARGET, stand):
            return False
        self.trials.look_at_target(stand)
        return True

    # -- outcomes ----------------------------------------------------------------------------------

    def _note_contained(self, request: MergeRequest, tree: Oid) -> bool:
        """Record that the target has all of it already; return whether that is news."""
        with self._workspace.write(SERVER) as tx:
            present = merge_requests.get(tx.db, request.id)
            if present.state is not MergeState.OPEN:
                return False
            tx.edit_merge_request(present, checked_tree=tree)
            tx.event("is_contained", request.id, tree=tree)
        return True

    def _evict(
        self, request: MergeRequest, facts: merge_queue.Facts, records: Sequence[TrialRecord]
    ) -> bool:
        """Send back what failed twice by itself, with the ends of the logs."""
        landed = {name for move in facts.landed for name in move.requests}
        failed = [one for one in records if one.outcome is Outcome.FAILED and one.condemned]
        alone = [
            one
            for one in failed
            if [name for name in one.requests if name not in landed] == [request.id]
        ]
        # What has landed with it may be too long ago to be among the facts.
        of_it = alone or [one for one in failed if request.id in one.requests]
        if not of_it:
            return False
        condemned = of_it[-1].condemned
        names = ", ".join(one["check"] for one in condemned)
        branch = self._target.branch
        reason = f"{names} failed on your work merged with {branch}"
        of_target = self._checking.known(self._forge.tree_of(self._target.head()))
        detail = repair_detail(condemned, of_target, branch)
        if not self._conflicts.rejected(request, reason, detail):
            self._send_back(request, reason, detail)
        return True

    def _send_back(self, request: MergeRequest, reason: str, detail: str) -> None:
        with self._workspace.write(SERVER) as tx:
            present = merge_requests.get(tx.db, request.id)
            if present.state is MergeState.OPEN and present.commit == request.commit:
                self._requests.return_to_worker(tx, present, reason, detail)

    def _close(self, request: MergeRequest) -> bool:
        """End a task that rightly has nothing to merge, once the review says so."""
        with self._workspace.write(SERVER) as tx:
            present = merge_requests.get(tx.db, request.id)
            if not self._may_end(tx, present):
                return False
            present = tx.move_merge_request(present, MergeEvent.START_LANDING)
            tx.move_merge_request(present, MergeEvent.LAND)
            end_review(tx, present, "it is closed")
            task = tx.move_task(tasks.get(tx.db, request.task_id), TaskEvent.CLOSE)
            tx.event("closed", task.id, reason=request.no_changes_reason or "already in the target")
            complete_if_over(tx, task)
        return True

    def _may_end(self, tx: Transaction, present: MergeRequest) -> bool:
        return present.state is MergeState.OPEN and is_released(
            tx, present, self._workspace.settings
        )
