"""The target branch: what it rightly is, and every move of it.

Rule 1: it moves only by compare-and-swap with an intent row before and a done row after; after a
crash git says which of the two it was. (Rule 2 of the design.)
Rule 2: whatever else moved it is put back, and the foreign commit kept.
Rule 3: what the person or upstream committed is taken in as it is.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from sf_mcp.core.errors import StoneforgeError, TargetMoved
from sf_mcp.core.identity import SERVER
from sf_mcp.core.models import (
    Landing,
    LandingKind,
    LandingState,
    MergeRequest,
    MergeRequestId,
    Oid,
)
from sf_mcp.core.states import MergeEvent, MergeState, TaskEvent
from sf_mcp.git.command import GitFailed
from sf_mcp.git.identity import SERVER as SERVER_IDENTITY
from sf_mcp.git.locks import FRESH_SECONDS
from sf_mcp.git.merging import Merged, merge_trees
from sf_mcp.git.publishing import LeftAlone, Obstacle, publish_to_checkout, take_in
from sf_mcp.git.remotes import Rejected, RejectedBecause, fetch_remote, push_to_remote
from sf_mcp.git.repository import Repository
from sf_mcp.service.endings import complete_if_over, end_review
from sf_mcp.service.merge_status import is_released
from sf_mcp.service.pauses import paused_reason
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import facts, landings, merge_requests, tasks

logger = logging.getLogger(__name__)

REMOTE = "origin"
MOST_PUSHES = 3
"""Times in one go that somebody else may be faster at the remote."""

INTERRUPTED_SECONDS, LEFT_ALONE_SECONDS = FRESH_SECONDS + 1, 60.0
"""After how long a checkout that was left alone is looked at again: nothing tells when a lock has
become stale, or a file is as it was committed."""

FETCH_PAUSE = timedelta(seconds=30)
FIRST_REST, LONGEST_REST = timedelta(seconds=30), timedelta(minutes=10)


class TargetService:
    """Use cases of the target branch."""

    def __init__(self, workspace: Workspace, forge: Repository, branch: str) -> None:
        """Own `branch` in the forge."""
        self._workspace = workspace
        self._forge = forge
        self._root: Path = workspace.layout.root
        self.branch = branch
        self.ref = f"refs/heads/{branch}"
        self._moving = threading.RLock()
        """Held from an intent to its end: an intent that nobody holds is one of a crash."""
        self._published: Oid | None = None
        self._left_alone: Obstacle | None = None
        """Why the person's checkout does not have what has landed."""
        self._conflict = ("", "")
        """Why the person's own commits cannot be taken in, and the command that mends it."""
        self._fetching = _Tries(workspace.now)
        self._pushing = _Tries(workspace.now)

    def head(self) -> Oid:
        """Return where the target rightly is: the newest finished move."""
        with self._workspace.read() as tx:
            newest = landings.newest_done(tx.db)
        if newest is None:
            raise StoneforgeError(
                "The target branch has not been recorded yet.", remedy="Run `sf init` again."
            )
        return newest.new

    def recover(self) -> None:
        """Settle what a crash left between an intent and its done row, and record a new forge."""
        with self._moving:
            self._recover()

    def _recover(self) -> None:
        with self._workspace.read() as tx:
            intent = landings.intended(tx.db)
            newest = landings.newest_done(tx.db)
        if intent is not None:
            at = self._forge.head_of(self.ref)
            has_landed = at is not None and self._forge.is_ancestor(intent.new, at)
            self._finish(intent, LandingState.DONE if has_landed else LandingState.ABORTED)
        elif newest is None:
            commit = self._forge.require_commit(self.ref)
            with self._workspace.write(SERVER) as tx:
                number = landings.intend(
                    tx.db,
                    kind=LandingKind.INITIAL,
                    old=None,
                    new=commit,
                    tree=self._forge.tree_of(commit),
                    is_green=None,
                    at=tx.now,
                )
                landings.finish(tx.db, number, LandingState.DONE, tx.now)

    # -- moving it ---------------------------------------------------------------------------------

    def land(
        self,
        brings: Sequence[tuple[MergeRequest, Oid]],
        *,
        kind: LandingKind,
        old: Oid,
        new: Oid,
        green: bool | None,
    ) -> bool:
        """Move the target from `old` to `new`, and with it each of `brings` to its end.

        Each merge request comes with its own commit, in the order in which they lie below `new`.
        Returns False when nothing was moved: the target was not at `old` any more, or a request
        may not land any more (cancelled, sent back, the fleet paused since it was looked at).

        Raises:
            GitFailed: git cannot write the ref; the intent stays, for `recover` to settle.
        """
        with self._moving:
            return self._land(brings, kind, old, new, green)

    def _land(
        self,
        brings: Sequence[tuple[MergeRequest, Oid]],
        kind: LandingKind,
        old: Oid,
        new: Oid,
        green: bool | None,
    ) -> bool:
        tree = self._forge.tree_of(new)
        with self._workspace.write(SERVER) as tx:
            if landings.intended(tx.db) is not None:
                return False  # one that git could not carry out; `recover` comes first
            # As they are now: checks ran since they were read, and someone may think otherwise.
            present = [merge_requests.get(tx.db, request.id) for request, _ in brings]
            for request, (seen, _) in zip(present, brings, strict=True):
                if not self._may_land(tx, request, seen.commit):
                    return False
            for request in present:
                tx.move_merge_request(request, MergeEvent.START_LANDING)
            landings.intend(
                tx.db,
                kind=kind,
                old=old,
                new=new,
                tree=tree,
                is_green=green,
                at=tx.now,
                brings={request.id: commit for request, commit in brings},
            )
            intent = landings.intended(tx.db)
            assert intent is not None  # just written
        try:
            label = ", ".join(request.id for request, _ in brings) or kind.value
            self._forge.compare_and_swap(self.ref, new=new, old=old, message=f"stoneforge: {label}")
        except TargetMoved:
            self._finish(intent, LandingState.ABORTED)
            return False
        self._finish(intent, LandingState.DONE)
        return True

    def _may_land(self, tx: Transaction, request: MergeRequest, commit: Oid) -> bool:
        return (
            request.state is MergeState.OPEN
            and request.commit == commit
            and not paused_reason(tx)
            and is_released(tx, request, self._workspace.settings)
        )

    def _finish(self, intent: Landing, state: LandingState) -> None:
        with self._workspace.write(SERVER) as tx:
            brought = landings.brought(tx.db, intent.number)
            landings.finish(tx.db, intent.number, state, tx.now)
            for request_id, commit in brought.items():
                self._settle_request(tx, request_id, commit, state)
            if state is LandingState.DONE:
                tx.event(
                    "target_moved",
                    next(iter(brought), ""),
                    reason=intent.kind.value,
                    requests=list(brought),
                    old=intent.old,
                    new=intent.new,
                    green=intent.is_green,
                    note=self._workspace.settings.vacuous_sentence,
                )

    def _settle_request(
        self, tx: Transaction, request_id: MergeRequestId, commit: Oid, state: LandingState
    ) -> None:
        request = merge_requests.get(tx.db, request_id)
        if request.state is not MergeState.LANDING:
            return
        if state is LandingState.ABORTED:
            tx.move_merge_request(request, MergeEvent.TARGET_MOVED)
            return
        tx.move_merge_request(request, MergeEvent.LAND, landed_commit=commit)
        end_review(tx, request, "it has landed")
        task = tx.move_task(tasks.get(tx.db, request.task_id), TaskEvent.LAND, ahead=False)
        tx.event("merged", task.id, commit=commit, merge_request=request.id)
        complete_if_over(tx, task)

    # -- keeping it right --------------------------------------------------------------------------

    def undo_foreign_moves(self) -> None:
        """Put the target back where the last finished move left it; keep what was there."""
        with self._moving:
            with self._workspace.read() as tx:
                newest = landings.newest_done(tx.db)
                if landings.intended(tx.db) is not None or newest is None:
                    return
            name = f"target-after-{newest.number}"
            foreign = self._forge.restore(self.ref, expected=newest.new, name=name)
        if foreign is None:
            return
        was_deleted = foreign == newest.new
        # A second move after the same landing is kept under a name of its own.
        kept = "" if was_deleted else self._forge.keep(foreign, name)
        how = "deleted" if was_deleted else f"moved to {foreign}"
        logger.warning("%s was %s by something else; undone", self.branch, how)
        with self._workspace.write(SERVER) as tx:
            tx.event(
                "target_move_undone", "", branch=self.branch, commit=foreign, kept=kept, was=how
            )

    def take_in_upstream(self) -> None:
        """Take in what the person committed on their branch."""
        theirs = take_in(self._root, self._forge, self.branch)
        conflict = self._take_in(theirs) if theirs is not None else ""
        self._conflict = (
            f"your commits on {self.branch} {conflict}" if conflict else "",
            f"git merge stoneforge/{self.branch}",
        )

    def take_in_remote(self, *, at_once: bool = False) -> None:
        """Take in what arrived at the remote; one that is out of reach never holds up local work.

        It is asked at most every `FETCH_PAUSE`, unless `at_once`.
        """
        if not self._workspace.settings.merge.push:
            return
        if not at_once and not self._fetching.may_try():
            return
        try:
            theirs = fetch_remote(self._root, self._forge, REMOTE, self.branch)
        except GitFailed as error:
            self._fetching.failed()
            self._note_once("fetch_failed", f"{REMOTE} cannot be reached: {error.message}")
            return
        self._fetching.succeeded(rest=FETCH_PAUSE)
        self._note_once("fetch_failed", "")
        if theirs is not None and (conflict := self._take_in(theirs)):
            self._note_once("upstream_conflict", f"commits on {REMOTE}/{self.branch} {conflict}")

    def _take_in(self, commit: Oid) -> str:
        """Take in somebody's commits; return why that cannot be done, empty when it is done."""
        head = self.head()
        if self._forge.is_ancestor(commit, head):
            return ""
        new = commit
        if not self._forge.is_ancestor(head, commit):
            try:
                merged = merge_trees(self._forge, head, commit)
            except GitFailed as error:
                return f"cannot be merged with what the fleet landed: {error.message}"
            if not isinstance(merged, Merged):
                paths = ", ".join(merged.paths[:5])
                return f"(up to {commit[:12]}) conflict with what the fleet landed in {paths}"
            new = self._forge.commit_tree(
                merged.tree,
                [head, commit],
                f"Merge {commit[:12]} into {self.branch}",
                SERVER_IDENTITY,
                self._workspace.now(),
            )
        # Their tree is not ours to judge: taken in as it is, and recorded red or green later.
        if self.land([], kind=LandingKind.UPSTREAM, old=head, new=new, green=None):
            logger.info("took in %s as %s", commit, new)
        return ""

    # -- publishing --------------------------------------------------------------------------------

    def publish(self) -> None:
        """Bring the target to the person's branch, and to the remote when that is switched on."""
        self._publish_to_checkout()
        if self._workspace.settings.merge.push:
            self._push()

    def seconds_until_retry(self) -> float | None:
        """Return after how long what has not taken the landing is tried again; None: nothing is."""
        waits: list[float] = []
        if self._workspace.settings.merge.push and (at := self._pushing.next_try) is not None:
            waits.append(max(1.0, (at - self._workspace.now()).total_seconds()))
        if self._left_alone is Obstacle.INTERRUPTED:
            waits.append(INTERRUPTED_SECONDS)
        elif self._left_alone is not None:
            waits.append(LEFT_ALONE_SECONDS)
        return min(waits, default=None)

    def _publish_to_checkout(self) -> None:
        outcome = publish_to_checkout(self._root, self._forge, self.branch, self.head())
        self._left_alone = outcome.obstacle if isinstance(outcome, LeftAlone) else None
        if not isinstance(outcome, LeftAlone):
            self._note_checkout("up to date", "")
            return
        reason, command = outcome.reason, outcome.command_to_catch_up
        if outcome.obstacle is Obstacle.DIVERGED and self._conflict[0]:
            reason, command = self._conflict
        commits = "1 commit" if outcome.behind == 1 else f"{outcome.behind} commits"
        self._note_checkout(f"{commits} behind: {reason}", command)

    def _push(self) -> None:
        for _ in range(MOST_PUSHES):
            head = self.head()
            if self._published == head or not self._pushing.may_try():
                return
            pushed = push_to_remote(self._root, REMOTE, head, self.branch)
            if not isinstance(pushed, Rejected):
                self._published = head
                self._pushing.succeeded()
                self._note_once("pushed", f"{REMOTE} has {head[:12]}")
                self._note_once("push_failed", "")
                return
            if pushed.because is not RejectedBecause.BEHIND:
                break
            self.take_in_remote(at_once=True)
            if self.head() == head:
                break  # what is there cannot be taken in; it has been said why
            self._publish_to_checkout()
        else:
            return
        self._pushing.failed()
        self._note_once("push_failed", f"{REMOTE} does not take what landed: {pushed.reason}")

    def _note_checkout(self, state: str, remedy: str) -> None:
        with self._workspace.read() as tx:
            known = (facts.get(tx.db, "checkout"), facts.get(tx.db, "checkout_remedy"))
        if known == (state, remedy):
            return
        with self._workspace.write(SERVER) as tx:
            facts.put(tx.db, "checkout", state)
            facts.put(tx.db, "checkout_remedy", remedy)
            tx.event("checkout", "", state=state, remedy=remedy)

    def _note_once(self, kind: str, text: str) -> None:
        """Tell something unless it was the last thing told of its kind; "": it is over."""
        fact = f"told_{kind}"
        with self._workspace.read() as tx:
            if (facts.get(tx.db, fact) or "") == text:
                return
        with self._workspace.write(SERVER) as tx:
            facts.put(tx.db, fact, text)
            if text:
                tx.event(kind, "", detail=text)


class _Tries:
    """When a remote may be asked again: a failure is followed by a rest that doubles."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._failures = 0
        self.next_try: datetime | None = None

    def may_try(self) -> bool:
        return self.next_try is None or self._now() >= self.next_try

    def failed(self) -> None:
        self.next_try = self._now() + min(FIRST_REST * 2 ** min(self._failures, 10), LONGEST_REST)
        self._failures += 1

    def succeeded(self, rest: timedelta | None = None) -> None:
        self._failures = 0
        self.next_try = None if rest is None else self._now() + rest
