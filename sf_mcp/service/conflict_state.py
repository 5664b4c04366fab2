"""Whether a merge request is in conflict, what has come of it so far, and how that ends by itself.

What stewards do about it is in `conflicts`; here is what everything else asks, inside its own
transaction.
"""

from sf_mcp.core.models import Conflict, MergeRequest, MergeRequestId
from sf_mcp.core.states import ConflictEvent, ConflictState
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import conflicts

SHOWN_PATHS = 5


def is_open(tx: Transaction, request: MergeRequest) -> bool:
    """Return whether the merge request has a conflict that is not over: it is not queued then."""
    return conflicts.live_of(tx.db, request.id) is not None


def failures(tx: Transaction, request_id: MergeRequestId) -> int:
    """Return how often the merge request's conflicts have not been resolved well.

    Sessions that ended without a resolution, escalations, and resolutions that failed the checks.
    """
    found = conflicts.of_request(tx.db, request_id)
    rejected = sum(one.state is ConflictState.REJECTED for one in found)
    return rejected + sum(conflicts.count_failed(tx.db, one) for one in found)


def conflict_status(conflict: Conflict, request: MergeRequest, target: str) -> str:
    """Return one phrase: in conflict where, and who resolves it."""
    where = f"in conflict with {target} in {named(conflict.paths)}"
    if request.is_escalated:
        return (
            f'{where}, left to you: sf mr approve {request.id} --reason "…" tells a steward how, '
            f'sf mr reject {request.id} --reason "…" a worker'
        )
    return f"{where}: a steward resolves it"


def drop(tx: Transaction, request_id: MergeRequestId, reason: str) -> None:
    """End the merge request's conflict, if it has one: there is nothing to resolve any more."""
    if (conflict := conflicts.live_of(tx.db, request_id)) is not None:
        tx.move_conflict(conflict, ConflictEvent.DROP, note=reason)
        tx.event("conflict_over", request_id, reason=reason)


def named(paths: tuple[str, ...]) -> str:
    """Return the first of the paths, the rest counted."""
    more = f" and {len(paths) - SHOWN_PATHS} more" if len(paths) > SHOWN_PATHS else ""
    return ", ".join(paths[:SHOWN_PATHS]) + more
