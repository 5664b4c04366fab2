"""The merge train: one merge request at a time becomes a candidate, is checked and lands.

Order: dependencies (a dependent cannot ask before its dependencies have landed), then effective
priority, then age. A request that waits for somebody's word never holds up those behind it.
The target moves only to a commit whose exact tree passed every check that the present target's tree
passes.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sf_mcp.core.errors import GitRefused
from sf_mcp.core.identity import SERVER
from sf_mcp.core.models import LandingKind, MergeRequest, Oid, Task, Verdict
from sf_mcp.core.states import MergeEvent, MergeState, TaskEvent
from sf_mcp.core.text import one_line
from sf_mcp.core.verdicts import did_not_start
from sf_mcp.git.checks import tail
from sf_mcp.git.command import GitFailed
from sf_mcp.git.identity import SERVER as SERVER_IDENTITY
from sf_mcp.git.identity import identity
from sf_mcp.git.repository import Repository
from sf_mcp.git.resolving import Resolved, Unresolved
from sf_mcp.service.checking import Checking
from sf_mcp.service.conflicts import ConflictService
from sf_mcp.service.endings import complete_if_over, end_review
from sf_mcp.service.merge_status import is_released
from sf_mcp.service.pauses import paused_reason
from sf_mcp.service.publishing import PublishingService
from sf_mcp.service.requests import RequestService
from sf_mcp.service.resolving import Resolving
from sf_mcp.service.target import TargetService
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.settings import Check
from sf_mcp.store import landings, merge_requests, tasks

logger = logging.getLogger(__name__)

LOG_TAIL_LINES = 60
HELD_RETRY_SECONDS = 60.0
"""How often a check that could not start is tried again: installing it tells nobody."""

LONGEST_WAIT_SECONDS = 3600.0

UNRELATED = "unrelated histories"
"""What git says of two commits that have no ancestor in common."""

THE_TARGET = ""
"""Stands for the target where a merge request's id may stand."""


@dataclass(frozen=True, slots=True)
class _Rest:
    """Until when checks that could not start on a tree are not tried again."""

    tree: Oid
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
    ) -> None:
        """Land what is asked for in this project."""
        self._workspace = workspace
        self._forge = forge
        self._target = target
        self._publishing = publishing
        self._requests = requests
        self._conflicts = conflicts
        self._checking = checking
        self._resolving = resolving
        self._rests: dict[str, _Rest] = {}
        self.cancel = threading.Event()
        """Set at the server's stop: checks under way are ended and say nothing."""

    def step(self) -> bool:
        """Do the next thing that can be done for the train; return whether anything was done.

        Raises:
            StoneforgeError: git or the disk refuses; nothing was lost, and a later step tries
                again.
        """
        # A ref that could not be written leaves its intent behind, as a crash does.
        self._target.recover()
        self._target.undo_foreign_moves()
        self._publishing.take_in_upstream()
        self._publishing.take_in_remote()
        self._conflicts.settle()
        queue = self._queue()
        for gone in self._rests.keys() - {THE_TARGET, *(request.id for request in queue)}:
            del self._rests[gone]
        for request in queue:
            if self.cancel.is_set():
                return False
            try:
                was_something = self._advance(request)
            except GitRefused as error:
                # One request that git cannot work with must not hold up those behind it.
                logger.warning("%s cannot go on: %s", request.id, error)
                self._hold(request, one_line(str(error), 300))
                continue
            if was_something:
                self._publishing.publish()
                return True
        self._publishing.publish()
        return self._look_at_target()

    def seconds_until_retry(self) -> float:
        """Return after how long a step is worth trying although nothing has happened."""
        with self._workspace.read() as tx:
            is_held = any(one.held for one in merge_requests.in_state(tx.db, MergeState.OPEN))
        wait = HELD_RETRY_SECONDS if is_held or self._rests else LONGEST_WAIT_SECONDS
        publishing = self._publishing.seconds_until_retry()
        return wait if publishing is None else min(wait, publishing)

    def _queue(self) -> list[MergeRequest]:
        """Return the open merge requests, first to land first."""
        with self._workspace.read() as tx:
            if paused_reason(tx):
                return []
            waiting = [
                one
                for one in merge_requests.in_state(tx.db, MergeState.OPEN)
                if not self._conflicts.is_open(tx, one)
            ]
            return sorted(
                waiting,
                key=lambda one: (tx.graph.effective_priority(one.task_id), int(one.id[1:])),
            )

    def _advance(self, request: MergeRequest) -> bool:
        """Take one merge request a step further; return whether there was a step to take."""
        tip = self._forge.head_of(f"refs/heads/{request.branch}")
        if tip is not None and tip != request.commit:
            self._send_back(
                request,
                f"{request.branch} has moved on to {tip[:12]} since {request.commit[:12]} was "
                "pinned",
                "Approvals and checks hold for the pinned commit alone. See that the later commits "
                "belong to the task, and request the merge again.",
            )
            return True
        if request.no_changes_reason:
            return self._close(request)
        target = self._target.head()
        try:
            found = self._resolving.merge(ours=target, theirs=request.commit, cancel=self.cancel)
        except GitFailed as error:
            if UNRELATED not in error.stderr:
                raise
            self._send_back(
                request,
                f"its branch has no history in common with {self._target.branch}",
                "Commit on top of the history that the branch began with. If that is lost: "
                f"`git fetch origin && git merge --allow-unrelated-histories "
                f"origin/{self._target.branch}`, resolve, and see that only your changes differ.",
            )
            return True
        if found is None:
            return False
        if isinstance(found, Unresolved):
            return self._conflicts.open_conflict(
                request,
                head=target,
                paths=found.paths,
                messages=found.messages,
                reason=found.reason,
            )
        tree = found.tree
        if tree == self._forge.tree_of(target):
            # Its whole content is in the target already: nothing would land.
            is_news = request.checked_tree is None and self._note_tree(
                request, tree, "is_contained"
            )
            return self._close(request) or is_news
        if request.checked_tree is not None and not self._may_land(request):
            # It waits for somebody's word; checked again when it has that, on the target of then.
            self._hold(request, "")
            return False
        candidate = self._candidate(request, target, found)
        failed = self._failed_checks(candidate, tree, target, request)
        if failed is None:
            return False
        if failed:
            if not self._conflicts.rejected(request, *self._told(failed)):
                self._send_back(request, *self._told(failed))
            return True
        changed = self._note_tree(request, tree, "checks_passed")
        if not self._may_land(request):
            return changed
        green = self._is_green(tree)
        self._target.land(
            [(request, candidate)], kind=LandingKind.MERGE, old=target, new=candidate, green=green
        )
        return True

    # -- candidates --------------------------------------------------------------------------------

    def _candidate(self, request: MergeRequest, target: Oid, resolved: Resolved) -> Oid:
        with self._workspace.read() as tx:
            task = tasks.get(tx.db, request.task_id)
        is_squash = self._workspace.settings.merge.strategy == "squash"
        parents = [target] if is_squash else [target, request.commit]
        # The same inputs give the same commit: its time is the request's.
        by = identity(self._workspace.layout.root) or SERVER_IDENTITY
        first = self._forge.commit_tree(
            resolved.without, parents, message_of(task, request), by, request.created_at
        )
        return self._resolving.commit(first, resolved.steps, request, by)

    # -- checks ------------------------------------------------------------------------------------

    def _failed_checks(
        self, candidate: Oid, tree: Oid, target: Oid, request: MergeRequest
    ) -> list[Verdict] | None:
        """Return the checks that condemn the tree, running what is not known; None: not yet.

        One that the present target fails as well is not this request's fault. One that can start
        neither here nor there is nobody's: the request is held until it can.
        """
        if self._is_resting(request.id, tree):
            return None
        verdicts = self._confirmed(candidate, tree)
        if verdicts is None:
            return None
        failed = [verdict for verdict in verdicts.values() if not verdict.passed]
        held = ""
        if failed:
            of_target = self._confirmed(target, self._forge.tree_of(target))
            if of_target is None:
                return None
            passes_there = {name for name, verdict in of_target.items() if verdict.passed}
            broken = [one for one in failed if did_not_start(one) and one.check not in passes_there]
            held = f"check {broken[0].check} {broken[0].outcome}" if broken else ""
            failed = [one for one in failed if one.check in passes_there]
        self._hold(request, held)
        if held:
            self._rest(request.id, tree)
        return None if held else failed

    def _confirmed(self, commit: Oid, tree: Oid) -> dict[str, Verdict] | None:
        """Return a verdict of every check on the tree; a failure counts when it has repeated."""
        verdicts = self._complete(commit, tree)
        if verdicts is None:
            return None
        failed = [name for name, verdict in verdicts.items() if not verdict.passed]
        again = self._repeat(commit, tree, failed) if failed else {}
        return None if again is None else verdicts | again

    def _complete(self, commit: Oid, tree: Oid) -> dict[str, Verdict] | None:
        """Return a verdict of every check on the tree, running those that are missing."""
        known = self._checking.known(tree)
        missing = [check.name for check in self._checking.checks() if check.name not in known]
        if missing:
            known |= self._checking.run(commit, tree, missing, cancel=self.cancel)
        return None if self.cancel.is_set() else known

    def _repeat(self, commit: Oid, tree: Oid, failed: Sequence[str]) -> dict[str, Verdict] | None:
        """Run failed checks once more, unless they have failed twice on this tree already."""
        times = self._checking.times_failed(tree)
        once = [name for name in failed if times.get(name, 0) < 2]
        if not once:
            return {}
        again = self._checking.run(commit, tree, once, cancel=self.cancel)
        return None if self.cancel.is_set() else again

    def _hold(self, request: MergeRequest, reason: str) -> None:
        """Keep a request waiting for a reason, or no longer; say so once."""
        if request.held == reason:
            return
        with self._workspace.write(SERVER) as tx:
            present = merge_requests.get(tx.db, request.id)
            if present.held != reason and present.state is MergeState.OPEN:
                tx.edit_merge_request(present, held=reason)
                tx.event("merge_held" if reason else "merge_released", request.id, reason=reason)

    def _rest(self, subject: str, tree: Oid) -> None:
        """Let checks that could not start on the tree rest: each step would run them anew."""
        over = self._workspace.now() + timedelta(seconds=HELD_RETRY_SECONDS)
        self._rests[subject] = _Rest(tree, self._checking.checks(), over)

    def _is_resting(self, subject: str, tree: Oid) -> bool:
        """Return whether nothing has changed yet that could let the checks start."""
        rest = self._rests.get(subject)
        if rest is None:
            return False
        if (rest.tree, rest.checks) == (tree, self._checking.checks()) and (
            self._workspace.now() < rest.over
        ):
            return True
        del self._rests[subject]
        return False

    def _is_green(self, tree: Oid) -> bool | None:
        """Return whether every check passed on the tree; None when one has not run, or is none."""
        known = self._checking.known(tree)
        checks = self._checking.checks()
        if not checks or any(check.name not in known for check in checks):
            return None
        return all(known[check.name].passed for check in checks)

    def _look_at_target(self) -> bool:
        """Learn whether the target itself is green, once per tree, when nothing else is to do."""
        with self._workspace.read() as tx:
            newest = landings.newest_done(tx.db)
        if newest is None or newest.is_green is not None or not self._checking.checks():
            return False
        if self._is_resting(THE_TARGET, newest.tree):
            return False
        verdicts = self._confirmed(newest.new, newest.tree)
        if verdicts is None:
            return False
        if any(did_not_start(one) for one in verdicts.values()):
            self._rest(THE_TARGET, newest.tree)
            return False
        green = all(one.passed for one in verdicts.values())
        with self._workspace.write(SERVER) as tx:
            landings.mark_green(tx.db, newest.tree, green)
            tx.event("target_green" if green else "target_red", "", commit=newest.new)
        return True

    # -- outcomes ----------------------------------------------------------------------------------

    def _note_tree(self, request: MergeRequest, tree: Oid, kind: str) -> bool:
        """Record the merged tree that is as it must be; return whether that is news."""
        if request.checked_tree == tree:
            return False
        with self._workspace.write(SERVER) as tx:
            present = merge_requests.get(tx.db, request.id)
            if present.state is not MergeState.OPEN:
                return False
            tx.edit_merge_request(present, checked_tree=tree)
            tx.event(kind, request.id, tree=tree)
        return True

    def _may_land(self, request: MergeRequest) -> bool:
        with self._workspace.read() as tx:
            return self._is_released(tx, merge_requests.get(tx.db, request.id))

    def _is_released(self, tx: Transaction, present: MergeRequest) -> bool:
        return present.state is MergeState.OPEN and is_released(
            tx, present, self._workspace.settings
        )

    def _send_back(self, request: MergeRequest, reason: str, detail: str) -> None:
        with self._workspace.write(SERVER) as tx:
            present = merge_requests.get(tx.db, request.id)
            if present.state is MergeState.OPEN:
                self._requests.return_to_worker(tx, present, reason, detail)

    def _close(self, request: MergeRequest) -> bool:
        """End a task that rightly has nothing to merge, once the review says so."""
        with self._workspace.write(SERVER) as tx:
            present = merge_requests.get(tx.db, request.id)
            if not self._is_released(tx, present):
                return False
            present = tx.move_merge_request(present, MergeEvent.START_LANDING)
            tx.move_merge_request(present, MergeEvent.LAND)
            end_review(tx, present, "it is closed")
            task = tx.move_task(tasks.get(tx.db, request.task_id), TaskEvent.CLOSE)
            tx.event("closed", task.id, reason=request.no_changes_reason or "already in the target")
            complete_if_over(tx, task)
        return True

    def _told(self, failed: Sequence[Verdict]) -> tuple[str, str]:
        names = ", ".join(verdict.check for verdict in failed)
        logs = "\n\n".join(
            f"{verdict.check}: {verdict.outcome}\n{tail(Path(verdict.log_path), LOG_TAIL_LINES)}"
            for verdict in failed
        )
        return (
            f"{names} failed on your work merged with {self._target.branch}",
            f"It passed on {self._target.branch} alone. Run it again with run_checks.\n{logs}",
        )


def message_of(task: Task, request: MergeRequest) -> str:
    """Return the landing's commit message."""
    return f"{task.title}\n\n{request.summary}\n\nTask: {task.id}\nMerge-Request: {request.id}"
