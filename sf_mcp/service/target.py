"""The target branch: what it rightly is, and every move of it.

Rule 1: it moves only by compare-and-swap with an intent row before and a done row after; after a
crash git says which of the two it was. (Rule 2 of the design.)
Rule 2: whatever else moved it is put back, and the foreign commit kept.

Not here: what others commit, and publishing (`publishing`).
"""

import logging
import threading
from collections.abc import Sequence
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
from sf_mcp.git.repository import Repository
from sf_mcp.service.endings import complete_if_over, end_review
from sf_mcp.service.merge_status import is_released
from sf_mcp.service.pauses import paused_reason
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import landings, merge_requests, tasks

logger = logging.getLogger(__name__)


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
