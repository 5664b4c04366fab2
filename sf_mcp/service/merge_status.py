"""What a merge request waits for, derived from the facts beside it; stored nowhere."""

from typing import TYPE_CHECKING

from sf_mcp.core.models import MergeRequest, Role
from sf_mcp.core.states import MergeState
from sf_mcp.service.conflict_state import conflict_status
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import conflicts, merge_requests

if TYPE_CHECKING:
    from sf_mcp.settings import Settings

WAITING_FOR_REVIEW = "waiting for review"


def is_reviewed(tx: Transaction, request: MergeRequest, settings: "Settings") -> bool:
    """Return whether the review that the configuration asks for has approved the pinned commit."""
    if not settings.agents.steward.review:
        return True
    return any(review.approved for review in merge_requests.reviews_of(tx.db, request))


def is_released(tx: Transaction, request: MergeRequest, settings: "Settings") -> bool:
    """Return whether nobody's word is missing any more: review, and the person's if asked for."""
    if settings.agents.steward.auto_merge:
        return is_reviewed(tx, request, settings)
    return any(
        review.approved and review.role is Role.PERSON
        for review in merge_requests.reviews_of(tx.db, request)
    )


def is_left_to_person(tx: Transaction, request: MergeRequest, settings: "Settings") -> bool:
    """Return whether an open merge request goes on only with the person's word."""
    if conflicts.live_of(tx.db, request.id) is not None:
        return request.is_escalated
    if is_released(tx, request, settings):
        return False
    is_decidable = request.checked_tree is not None or bool(request.no_changes_reason)
    return request.is_escalated or (
        is_decidable and not request.held and is_reviewed(tx, request, settings)
    )


def merge_status(tx: Transaction, request: MergeRequest, settings: "Settings") -> str:
    """Return one phrase: what the merge request waits for."""
    if request.state is not MergeState.OPEN:
        return request.state.value.replace("_", " ")
    if (conflict := conflicts.live_of(tx.db, request.id)) is not None:
        return conflict_status(conflict, request, settings.merge.target_branch)
    if request.held:
        return request.held
    if request.checked_tree is None and not request.no_changes_reason:
        return "waiting for its checks"
    if not is_released(tx, request, settings):
        if request.is_escalated:
            return f"left to the person: sf mr show {request.id}"
        if not is_reviewed(tx, request, settings):
            return WAITING_FOR_REVIEW
        return f"waiting for your approval: sf mr approve {request.id}"
    return "next to land"
