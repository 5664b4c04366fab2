"""Conflicts that no rule resolves: found by the train, resolved by a steward, accounted for.

Git runs here, never inside a transaction.
"""

import logging
from collections.abc import Sequence

from sf_mcp.core.identity import SERVER
from sf_mcp.core.models import EndKind, MergeRequest, Oid
from sf_mcp.core.states import MergeState
from sf_mcp.git.conflicts import hunks_of
from sf_mcp.git.worktrees import Worktrees
from sf_mcp.service import conflict_state
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import conflicts, leases, merge_requests, sessions

logger = logging.getLogger(__name__)

HUNK_CHARACTERS = 6_000
"""Of the places in conflict that are kept for a repair note; the whole is in the worktree."""


class ConflictService:
    """Use cases of conflicts."""

    def __init__(self, workspace: Workspace, worktrees: Worktrees) -> None:
        """Resolve the conflicts of this project."""
        self._workspace = workspace
        self._worktrees = worktrees
        self._forge = worktrees.forge

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
            if (lease := leases.live_on(tx.db, present.id)) is not None:
                # Its review: what is reviewed will be another commit.
                tx.end_lease(lease, EndKind.DONE, "in conflict with the target")
                holder = sessions.get(tx.db, lease.session_id)
                tx.edit_session(holder, stop_requested=f"{present.id} is in conflict")
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
