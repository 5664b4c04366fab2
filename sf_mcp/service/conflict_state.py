"""Whether a merge request is in conflict, what has come of it so far, and how that ends by itself.

What stewards do about it is in `conflicts`; here is what everything else asks, inside its own
transaction.
"""

from collections.abc import Callable

from sf_mcp.core.models import Conflict, MergeRequest, MergeRequestId
from sf_mcp.core.states import ConflictEvent, ConflictState
from sf_mcp.service.starting import has_started_too_often
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import conflicts, merge_requests

SHOWN_PATHS = 5
STEWARD_RESOLVES = "a steward resolves it"
MOST_FAILURES = 2
"""Of a merge request's conflicts: then a worker of its task resolves it."""
NOTE_CHARACTERS = 1_500
"""Of what came of one conflict, in a repair note."""

ReturnToWorker = Callable[[Transaction, MergeRequest, str, str], MergeRequest]
"""Sends a merge request back: with the reason, and what the next attempt must know."""


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


def for_stewards(tx: Transaction) -> list[tuple[Conflict, MergeRequest]]:
    """Return the conflicts that a steward may take up, oldest first."""
    found = [
        (one, merge_requests.get(tx.db, one.merge_request_id))
        for one in conflicts.live(tx.db)
        if one.state is ConflictState.OPEN
    ]
    return [(conflict, request) for conflict, request in found if not request.is_escalated]


def attempt_failed(
    tx: Transaction, conflict: Conflict, words: str, return_to_worker: ReturnToWorker
) -> bool:
    """Record what a steward said who did not resolve the conflict, its lease being ended.

    Returns whether the conflict went back to a worker by that, this being one failure too many.
    """
    note = "\n".join(text for text in (conflict.note, words) if text)
    conflict = tx.edit_conflict(conflict, note=note)
    tx.event("conflict_not_resolved", conflict.merge_request_id, reason=words)
    failed = failures(tx, conflict.merge_request_id)
    if failed < MOST_FAILURES and not has_started_too_often(tx, conflict.merge_request_id):
        return False
    request = merge_requests.get(tx.db, conflict.merge_request_id)
    tx.move_conflict(conflict, ConflictEvent.RETURN)
    tx.event("conflict_returned", request.id, paths=list(conflict.paths))
    return_to_worker(
        tx,
        request,
        f"it conflicts with the target in {named(conflict.paths)}, and stewards did not resolve it",
        _told(tx, conflict),
    )
    return True


def _told(tx: Transaction, conflict: Conflict) -> str:
    """Return what a worker must know to resolve the conflict itself."""
    parts = [
        "Merge the target into your branch (`git fetch origin && git merge FETCH_HEAD`) and "
        "resolve, keeping both intents:",
        *conflict.messages[:10],
        conflict.reason[:NOTE_CHARACTERS],
        *what_was_said(tx, conflict.merge_request_id),
        conflict.hunks,
    ]
    return "\n".join(part for part in parts if part)


def what_was_said(tx: Transaction, request_id: MergeRequestId) -> list[str]:
    """Return what came of the merge request's conflicts so far, oldest first, shortened."""
    return [
        one.note[-NOTE_CHARACTERS:]
        for one in conflicts.of_request(tx.db, request_id)
        if one.note and one.state not in (ConflictState.RESOLVED, ConflictState.DROPPED)
    ]


def conflict_status(conflict: Conflict, request: MergeRequest, target: str) -> str:
    """Return one phrase: in conflict where, and who resolves it."""
    where = f"in conflict with {target} in {named(conflict.paths)}"
    if request.is_escalated:
        return (
            f'left to the person: {where}; sf mr approve {request.id} --reason "…" tells a steward '
            f'how, sf mr reject {request.id} --reason "…" a worker'
        )
    return f"{where}: {STEWARD_RESOLVES}"


def drop(tx: Transaction, request_id: MergeRequestId, reason: str) -> None:
    """End the merge request's conflict, if it has one: there is nothing to resolve any more."""
    if (conflict := conflicts.live_of(tx.db, request_id)) is not None:
        tx.move_conflict(conflict, ConflictEvent.DROP, note=reason)
        tx.event("conflict_over", request_id, reason=reason)


def named(paths: tuple[str, ...]) -> str:
    """Return the first of the paths, the rest counted."""
    more = f" and {len(paths) - SHOWN_PATHS} more" if len(paths) > SHOWN_PATHS else ""
    return ", ".join(paths[:SHOWN_PATHS]) + more
