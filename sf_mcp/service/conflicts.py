"""Conflicts that no rule resolves: found by the train, carried through, ended. See `resolutions`.

A conflict is open until a steward's resolution is accepted; then the branch moves to it (intent
first, as with a landing) and the merge request is pinned to it. Whatever is killed in between,
`settle` goes on from what is stored. Git runs here, never inside a transaction.
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from sf_mcp.core.errors import GitRefused, StoneforgeError
from sf_mcp.core.identity import SERVER
from sf_mcp.core.models import Conflict, EndKind, MergeRequest, MergeRequestId, Oid, TaskId
from sf_mcp.core.states import ConflictEvent, ConflictState, MergeState
from sf_mcp.core.text import one_line
from sf_mcp.git.conflicts import MergeUnderWay, hunks_of
from sf_mcp.git.identity import SERVER as SERVER_IDENTITY
from sf_mcp.git.identity import identity
from sf_mcp.git.moving import move_branch
from sf_mcp.git.resolving import Resolved, Unresolved, resolve
from sf_mcp.git.snapshots import snapshot
from sf_mcp.git.worktrees import Worktrees
from sf_mcp.service import conflict_state
from sf_mcp.service.requests import RequestService
from sf_mcp.service.snapshots import SnapshotService
from sf_mcp.service.target import TargetService
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.settings import ResolveRule
from sf_mcp.store import conflicts, leases, merge_requests, sessions
from sf_mcp.store.conflicts import CONFLICTS

logger = logging.getLogger(__name__)

HUNK_CHARACTERS = 5_000
"""Of the places in conflict that are kept for a repair note; the whole is in the worktree."""
PREFIX = "conflict-"


class ConflictService:
    """Use cases of conflicts. Not here: what a steward reads and submits (`resolutions`)."""

    def __init__(
        self,
        workspace: Workspace,
        worktrees: Worktrees,
        target: TargetService,
        requests: RequestService,
        snapshots: SnapshotService,
    ) -> None:
        """See the conflicts of this project through."""
        self._workspace = workspace
        self._worktrees = worktrees
        self._forge = worktrees.forge
        self._target = target
        self._requests = requests
        self._snapshots = snapshots
        self._settling = threading.Lock()

    # -- what the train asks -----------------------------------------------------------------------

    def open_conflict(
        self,
        request: MergeRequest,
        *,
        head: Oid,
        paths: Sequence[str],
        messages: Sequence[str],
        reason: str,
    ) -> bool:
        """Record that the request's pinned commit conflicts with the target at `head`.

        A steward is started for it; until it is over, the request is not queued. Returns whether
        there is a conflict now: False when the request has ended, or is pinned to another commit
        by now.
        """
        hunks = hunks_of(self._forge, request.commit, head, paths, limit=HUNK_CHARACTERS)
        with self._workspace.write(SERVER) as tx:
            present = merge_requests.get(tx.db, request.id)
            if present.state is not MergeState.OPEN or present.commit != request.commit:
                return False
            if conflict_state.is_open(tx, present):
                return True
            # Its review: what is to be reviewed will be another commit.
            self._let_go(tx, present.id, "it is in conflict")
            conflicts.begin(
                tx.db,
                present,
                target=head,
                paths=paths,
                messages=messages,
                hunks=hunks,
                reason=reason,
                at=tx.now,
            )
            tx.edit_merge_request(present, held="", checked_tree=None)
            tx.event("conflict_found", present.id, paths=list(paths), reason=reason, target=head)
            return True

    @staticmethod
    def is_open(tx: Transaction, request: MergeRequest) -> bool:
        """Return whether the request has a conflict that is not over: it is not queued then."""
        return conflict_state.is_open(tx, request)

    def rejected(self, request: MergeRequest, reason: str, detail: str) -> bool:
        """Take back a resolution that the checks condemn, instead of sending the request back.

        The conflict is open again, as a steward found it, for another steward, who is told; after
        too many failures the task goes back to a worker, with the resolution on its branch.
        Returns False when what the request is pinned to is no resolution: nothing was done then.
        """
        with self._workspace.read() as tx:
            conflict = conflicts.resolved_as(tx.db, request.commit)
        if conflict is None or conflict.merge_request_id != request.id:
            return False
        kept = self._forge.keep(request.commit, f"{request.id}-resolution")
        with self._workspace.write(SERVER) as tx:
            present = merge_requests.get(tx.db, request.id)
            conflict = conflicts.resolved_as(tx.db, request.commit)
            if present.state is not MergeState.OPEN or conflict is None:
                return True
            words = f"The resolution {request.commit[:12]} was taken back: {reason}\n{detail}"
            conflict = tx.move_conflict(conflict, ConflictEvent.REJECT, note=words)
            tx.event("resolution_rejected", present.id, reason=reason, kept=kept)
            if conflict_state.failures(tx, present.id) >= conflict_state.MOST_FAILURES:
                said = f"The conflict is resolved on the branch ({request.commit[:12]}).\n{detail}"
                self._requests.return_to_worker(tx, present, reason, said)
                return True
            present = tx.edit_merge_request(present, commit=conflict.commit, checked_tree=None)
            conflicts.begin(
                tx.db,
                present,
                target=conflict.target,
                paths=conflict.paths,
                messages=conflict.messages,
                hunks=conflict.hunks,
                reason=one_line(f"the resolution before failed: {reason}", 300),
                at=tx.now,
            )
        self.settle()
        return True

    def settle(self) -> bool:
        """Bring branches to where conflicts say they are, and drop conflicts that are over.

        Done at each step of the train, and after each accepted resolution; whatever a crash left
        half done is done by it. Returns whether anything changed.
        """
        with self._settling:
            with self._workspace.read() as tx:
                live = conflicts.live(tx.db)
            is_changed = False
            for one in live:
                try:
                    is_changed = self._settle(one) or is_changed
                except StoneforgeError as error:
                    # Of this one alone; tried again with the next step.
                    logger.warning("%s: %s", one.merge_request_id, error)
            return is_changed

    def _settle(self, conflict: Conflict) -> bool:
        with self._workspace.read() as tx:
            request = merge_requests.get(tx.db, conflict.merge_request_id)
            earlier = {
                one.resolution
                for one in conflicts.of_request(tx.db, request.id)
                if one.state is ConflictState.REJECTED
            }
        # One that is gone stands where it was pinned: what is pinned is there all the same.
        tip = self._forge.head_of(f"refs/heads/{request.branch}")
        is_untouched = tip in (None, conflict.commit)
        if conflict.state is ConflictState.RESOLVING:
            assert conflict.resolution is not None  # it comes with the state
            if tip is None:
                ref = f"refs/heads/{request.branch}"
                self._forge.compare_and_swap(ref, new=conflict.commit, old=None)
            if is_untouched:
                self._move(request, conflict.commit, conflict.resolution)
                tip = conflict.resolution
            if tip == conflict.resolution:
                self._pin(conflict)
                return True
        elif tip is not None and tip in earlier:
            self._move(request, tip, conflict.commit)
            return True
        elif is_untouched:
            return self._look_again(conflict)
        self._drop(conflict, f"{request.branch} has moved on")
        return True

    def _move(self, request: MergeRequest, old: Oid, new: Oid) -> None:
        with self._snapshots.turn(request.task_id):
            worktree = self._worktrees.find(request.task_id)
            move_branch(self._forge, worktree, request.branch, old=old, new=new)

    def _pin(self, conflict: Conflict) -> None:
        with self._workspace.write(SERVER) as tx:
            present = merge_requests.get(tx.db, conflict.merge_request_id)
            stored = CONFLICTS.get(tx.db, conflict.number)
            if stored is None or stored.state is not ConflictState.RESOLVING:
                return
            assert stored.resolution is not None  # it comes with the state
            tx.edit_merge_request(present, commit=stored.resolution, checked_tree=None, held="")
            tx.move_conflict(stored, ConflictEvent.PIN)
            tx.event("conflict_resolved", present.id, commit=stored.resolution, was=stored.commit)

    def _drop(self, conflict: Conflict, reason: str) -> None:
        with self._workspace.write(SERVER) as tx:
            stored = CONFLICTS.get(tx.db, conflict.number)
            if stored is None or stored.ended_at is not None:
                return
            conflict_state.drop(tx, conflict.merge_request_id, reason)
            self._let_go(tx, conflict.merge_request_id, reason)

    @staticmethod
    def _let_go(tx: Transaction, request_id: MergeRequestId, reason: str) -> None:
        """End what a steward does about the merge request, since it is over without one."""
        if (lease := leases.live_on(tx.db, request_id)) is not None:
            tx.end_lease(lease, EndKind.DONE, reason)
            holder = sessions.get(tx.db, lease.session_id)
            tx.edit_session(holder, stop_requested=f"{request_id}: {reason}")

    def _look_again(self, conflict: Conflict) -> bool:
        """Drop a conflict that nobody works on and that is none with the target of now."""
        head = self._target.head()
        if head == conflict.target:
            return False
        with self._workspace.read() as tx:
            if leases.live_on(tx.db, conflict.merge_request_id) is not None:
                return False
        found = self._merged(conflict, head)
        if isinstance(found, Resolved):
            self._drop(conflict, "the target has moved, and the merge is clean by now")
            return True
        self._note(conflict, head, found)
        return False

    def _merged(self, conflict: Conflict, head: Oid) -> Resolved | Unresolved:
        """Merge as the train does, but for its rules: they have their turn when it is clean."""
        return resolve(
            self._forge, ours=head, theirs=conflict.commit, rules=(), generate=_no_command
        )

    def _note(self, conflict: Conflict, head: Oid, found: Unresolved) -> None:
        """Record with which commit of the target the conflict is now."""
        hunks = hunks_of(self._forge, conflict.commit, head, found.paths, limit=HUNK_CHARACTERS)
        with self._workspace.write(SERVER) as tx:
            tx.edit_conflict(
                conflict,
                target=head,
                paths=found.paths,
                messages=found.messages,
                reason=found.reason,
                hunks=hunks,
            )

    # -- where it is resolved ----------------------------------------------------------------------

    def prepare(self, request_id: MergeRequestId) -> Path | None:
        """Return the worktree with the merge under way; None when there is no conflict to resolve.

        With what an earlier steward edited there, unless the target has moved since.

        Raises:
            GitRefused: git cannot make it, or there is nothing to resolve any more.
        """
        with self._workspace.read() as tx:
            conflict = conflicts.live_of(tx.db, request_id)
        if conflict is None or conflict.state is not ConflictState.OPEN:
            return None
        head = self._target.head()
        merge = self.merge_of(conflict)
        if merge.is_begun and conflict.target == head:
            return merge.path
        self.keep_files(request_id, "before it is merged anew")
        merge = MergeUnderWay(self._worktrees, _name(request_id), conflict.commit, head)
        found = self._merged(conflict, head)
        if isinstance(found, Resolved):
            self._drop(conflict, "the merge is clean by now")
            raise GitRefused(f"{request_id} is not in conflict any more.")
        if conflict.target != head:
            self._note(conflict, head, found)
        if not merge.begin() and found.messages:
            # There git reads the attributes, and unites or drives what the forge's merge does not.
            self._accept_as_merged(conflict, merge, head)
            raise GitRefused(f"{request_id} merged by itself in a worktree.")
        return merge.path

    def _accept_as_merged(self, conflict: Conflict, merge: MergeUnderWay, head: Oid) -> None:
        """Take what git itself made of the two in a worktree for the resolution."""
        commit = self._forge.commit_tree(
            merge.outcome({}).tree,
            [conflict.commit, head],
            f"Merge {self._target.branch} into {conflict.merge_request_id}, as its attributes say",
            identity(self._workspace.layout.root) or SERVER_IDENTITY,
            self._workspace.now(),
        )
        with self._workspace.write(SERVER) as tx:
            stored = CONFLICTS.get(tx.db, conflict.number)
            if stored is None or stored.state is not ConflictState.OPEN:
                return
            tx.move_conflict(stored, ConflictEvent.ACCEPT, resolution=commit)
            self._let_go(tx, conflict.merge_request_id, "merged in a worktree")
            tx.event("resolution_accepted", conflict.merge_request_id, commit=commit)
        self.settle()

    def merge_of(self, conflict: Conflict) -> MergeUnderWay:
        """Return the merge of a conflict, begun or not."""
        name = _name(conflict.merge_request_id)
        return MergeUnderWay(self._worktrees, name, conflict.commit, conflict.target)

    def keep_files(self, request_id: MergeRequestId, reason: str, session: str = "") -> None:
        """Snapshot what a steward has edited, below the merge request's id; if it can be done."""
        path = self._worktrees.path(_name(request_id))
        if not path.exists():
            return
        try:
            snapshot(
                self._forge,
                path,
                TaskId(request_id),
                reason,
                self._workspace.now(),
                session=session,
            )
        except (StoneforgeError, OSError) as error:
            logger.warning("No snapshot of the conflict of %s: %s", request_id, error)

    def tidy(self) -> None:
        """Remove the worktrees of conflicts that are over, once nobody is in them any more."""
        for path in self._worktrees.root.glob(f"{PREFIX}*"):
            request_id = MergeRequestId(path.name.removeprefix(PREFIX).upper())
            with self._workspace.read() as tx:
                is_used = conflicts.live_of(tx.db, request_id) is not None or any(
                    one.subject == request_id for one in sessions.alive(tx.db)
                )
            if not is_used:
                self.keep_files(request_id, "before its worktree is removed")
                self._worktrees.remove_detached(path.name)


def _no_command(rule: ResolveRule, tree: Oid) -> Oid:
    raise AssertionError(f"{rule} is no rule of a merge without rules ({tree})")


def _name(request_id: MergeRequestId) -> str:
    return f"{PREFIX}{request_id.lower()}"
