"""Merge requests: asked for by workers, reviewed by stewards, approved, sent back."""

from dataclasses import dataclass

from sf_mcp.core.errors import InvalidInput, NotAllowed, TaskNotReady
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import (
    EndKind,
    MergeRequest,
    MergeRequestId,
    Oid,
    RepairNote,
    Review,
    Role,
    Task,
    TaskId,
    Verdict,
)
from sf_mcp.core.states import MergeEvent, MergeState, TaskEvent
from sf_mcp.core.text import checked_text, one_line
from sf_mcp.service.claims import give_up, require_lease, session_of
from sf_mcp.service.conflict_state import attempt_failed, is_open
from sf_mcp.service.endings import end_review, withdraw
from sf_mcp.service.merge_status import is_reviewed, merge_status
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import conflicts, landings, merge_requests, questions, tasks
from sf_mcp.store.conflicts import ESCALATED
from sf_mcp.store.merge_requests import MERGE_REQUESTS, REPAIR_NOTES, REVIEWS
from sf_mcp.store.rows import number_of

SUMMARY_LIMIT = 8_000
"""Characters of a summary, a reason or a repair note's detail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """A merge request with the facts beside it."""

    request: MergeRequest
    task: Task
    status: str
    reviews: list[Review]
    verdicts: list[Verdict]


class RequestService:
    """Use cases of merge requests. Not here: building, checking and landing them (`train`)."""

    def __init__(self, workspace: Workspace) -> None:
        """Work on this project."""
        self._workspace = workspace

    def open_request(
        self,
        caller: Caller,
        *,
        commit: Oid,
        base: Oid,
        branch: str,
        summary: str,
        no_changes_reason: str = "",
    ) -> MergeRequest:
        """Pin the commit, end the worker's lease, put the task in review.

        The caller has established that the tree is clean and what is ahead of the base.

        Raises:
            StaleLease: the caller no longer holds the task.
            TaskNotReady: a dependency has not landed.
            InvalidInput: no summary was given.
        """
        text = checked_text(summary, "summary", limit=SUMMARY_LIMIT).strip()
        if not text:
            raise InvalidInput(
                "The summary is empty.", remedy="Say in a few sentences what was done and why."
            )
        with self._workspace.write(caller) as tx:
            lease = require_lease(tx, caller)
            task = tasks.get(tx.db, lease.subject)
            if unmet := tx.graph.unmet(task.id):
                raise TaskNotReady(
                    f"{task.id} depends on {', '.join(unmet)}, which has not landed.",
                    remedy="Release the task; it becomes ready when they have landed.",
                )
            request = MergeRequest(
                id=merge_requests.new_id(tx.db),
                task_id=task.id,
                session_id=lease.session_id,
                state=MergeState.OPEN,
                branch=branch,
                commit=commit,
                base=base,
                summary=text,
                no_changes_reason=checked_text(no_changes_reason, "reason", limit=SUMMARY_LIMIT),
                checked_tree=None,
                held="",
                is_escalated=False,
                landed_commit=None,
                created_at=tx.now,
                updated_at=tx.now,
            )
            MERGE_REQUESTS.insert(tx.db, request)
            if question := questions.open_of_task(tx.db, task.id):
                withdraw(tx, question, f"{task.id} was done without the answer")
            tx.end_lease(lease, EndKind.MERGE_REQUESTED, request.id)
            tx.move_task(task, TaskEvent.REQUEST_MERGE, ahead=False)
            tx.event("merge_requested", request.id, task=task.id, commit=commit, summary=text)
            return request

    def list_merge_requests(
        self, _caller: Caller, *, all: bool = False, after: str = ""
    ) -> list[RequestView]:
        """Return the merge requests under way, or all, oldest first, those after `after`."""
        states = tuple(MergeState) if all else (MergeState.OPEN, MergeState.LANDING)
        with self._workspace.read() as tx:
            found = merge_requests.in_state(tx.db, *states)
            behind = number_of(merge_requests.get(tx.db, after).id) if after else 0
            return [self._view(tx, request) for request in found if number_of(request.id) > behind]

    def get_merge_request(self, _caller: Caller, merge_request: str) -> RequestView:
        """Return one merge request, by its id or its task's."""
        with self._workspace.read() as tx:
            return self._view(tx, _found(tx, merge_request))

    def _view(self, tx: Transaction, request: MergeRequest) -> RequestView:
        tree = request.checked_tree
        return RequestView(
            request=request,
            task=tasks.get(tx.db, request.task_id),
            status=merge_status(tx, request, self._workspace.settings),
            reviews=merge_requests.reviews_of(tx.db, request),
            verdicts=landings.verdicts_on(tx.db, tree) if tree else [],
        )

    # -- reviews -----------------------------------------------------------------------------------

    def reviewable(self, tx: Transaction) -> list[MergeRequest]:
        """Return the merge requests that wait for a steward's word, oldest first."""
        settings = self._workspace.settings
        if not settings.agents.steward.review:
            return []
        return [
            request
            for request in merge_requests.in_state(tx.db, MergeState.OPEN)
            if (request.checked_tree is not None or request.no_changes_reason)
            and not request.is_escalated
            and not is_open(tx, request)
            and not is_reviewed(tx, request, settings)
        ]

    def claimed_review(self, caller: Caller) -> RequestView:
        """Return the merge request that the calling steward was started for."""
        caller.require(Role.STEWARD, to="review")
        with self._workspace.write(caller) as tx:
            lease = require_lease(tx, caller)
            request = merge_requests.get(tx.db, lease.subject)
            _refuse_in_conflict(tx, request, "claim_conflict")
            return self._view(tx, request)

    def approve_merge(
        self, caller: Caller, merge_request: str = "", *, commit: str = "", reason: str = ""
    ) -> MergeRequest:
        """Approve the pinned commit; the train lands it when its checks pass.

        Raises:
            NotAllowed: a headless director never approves; a steward only what it reviews.
            InvalidInput: `commit` is not the pinned one: the branch has moved on since.
        """
        caller.require(Role.PERSON, Role.STEWARD, to="approve merges")
        return self._review(caller, merge_request, commit, reason, approved=True)

    def send_back(
        self, caller: Caller, merge_request: str = "", *, commit: str = "", reason: str
    ) -> MergeRequest:
        """Send the work back with what must change.

        Raises:
            InvalidInput: no reason was given.
        """
        caller.require(Role.PERSON, Role.STEWARD, to="send merge requests back")
        if not reason.strip():
            raise InvalidInput(
                "Sending work back needs a reason.", remedy="Say what must change, and where."
            )
        return self._review(caller, merge_request, commit, reason, approved=False)

    def _review(
        self, caller: Caller, merge_request: str, commit: str, reason: str, *, approved: bool
    ) -> MergeRequest:
        text = checked_text(reason, "reason", limit=SUMMARY_LIMIT)
        with self._workspace.write(caller) as tx:
            request = self._reviewed_by(tx, caller, merge_request)
            if commit and not request.commit.startswith(commit):
                raise InvalidInput(
                    f"{request.id} is pinned to {request.commit[:12]}, not {commit[:12]}.",
                    remedy="Look at the pinned commit and decide again.",
                )
            if approved and request.state is MergeState.LANDED:
                return request
            if request.state not in (MergeState.OPEN, MergeState.LANDING):
                raise InvalidInput(
                    f"{request.id} is {request.state.value} and takes no review.",
                    remedy="Look at `sf mr list` for those under way.",
                )
            REVIEWS.insert(
                tx.db,
                Review(
                    merge_request_id=request.id,
                    commit=request.commit,
                    by=caller.name,
                    role=caller.role,
                    approved=approved,
                    reason=text,
                    created_at=tx.now,
                ),
            )
            tx.event("approved" if approved else "changes_requested", request.id, reason=text)
            if caller.role is Role.STEWARD:
                lease = require_lease(tx, caller)
                tx.end_lease(lease, EndKind.DONE, "approved" if approved else "sent back")
            elif approved and is_open(tx, request):
                # The person's word to a steward: it is started once more, and told.
                request = tx.edit_merge_request(request, is_escalated=False)
            if not approved:
                request = self.return_to_worker(
                    tx, request, f"{caller.name} asks for changes", text
                )
            return request

    def _reviewed_by(self, tx: Transaction, caller: Caller, merge_request: str) -> MergeRequest:
        if caller.role is Role.PERSON:
            return _found(tx, merge_request)
        lease = require_lease(tx, caller)
        if merge_request not in ("", lease.subject):
            raise NotAllowed(
                f"You review {lease.subject}, not {merge_request}.",
                remedy=f"Decide on {lease.subject}.",
            )
        request = merge_requests.get(tx.db, lease.subject)
        _refuse_in_conflict(tx, request, "submit_resolution, or escalate")
        return request

    def escalate_review(self, caller: Caller, *, note: str) -> MergeRequest:
        """Leave the merge request to the person, with what was found.

        One in conflict goes back to a worker instead, when this is not the first failure at it.
        """
        caller.require(Role.STEWARD, to="escalate reviews")
        text = checked_text(note, "note", limit=SUMMARY_LIMIT)
        with self._workspace.write(caller) as tx:
            lease = require_lease(tx, caller)
            request = merge_requests.get(tx.db, lease.subject)
            tx.end_lease(lease, EndKind.DONE, ESCALATED)
            if (conflict := conflicts.live_of(tx.db, request.id)) is not None:
                words = f"{caller.name} left it to the person: {text}"
                if attempt_failed(tx, conflict, words, self.return_to_worker):
                    return merge_requests.get(tx.db, request.id)
            if request.state is MergeState.OPEN:
                request = tx.edit_merge_request(request, is_escalated=True)
            tx.event("review_escalated", request.id, note=text, by=session_of(caller))
            return request

    def return_to_worker(
        self, tx: Transaction, request: MergeRequest, reason: str, detail: str
    ) -> MergeRequest:
        """Send the task back with a repair note; too many of those set it aside as stuck."""
        request = tx.move_merge_request(request, MergeEvent.SEND_BACK)
        end_review(tx, request, "it was sent back meanwhile")
        REPAIR_NOTES.insert(
            tx.db,
            RepairNote(
                task_id=request.task_id,
                merge_request_id=request.id,
                reason=one_line(reason, 1000),
                detail=detail[-SUMMARY_LIMIT:],
                created_at=tx.now,
            ),
        )
        task = tx.move_task(tasks.get(tx.db, request.task_id), TaskEvent.SEND_BACK, ahead=True)
        tx.event("sent_back", request.id, task=task.id, reason=reason)
        times = merge_requests.count_send_backs(tx.db, task.id, task.retried_at)
        if times >= self._workspace.settings.orchestrator.max_send_backs:
            give_up(tx, task, f"sent back {times} times; the last: {reason}")
        return request


def _refuse_in_conflict(tx: Transaction, request: MergeRequest, tools: str) -> None:
    if is_open(tx, request):
        raise InvalidInput(
            f"{request.id} is in conflict with the target: it is to be resolved, not reviewed.",
            remedy=f"Call {tools}.",
        )


def _found(tx: Transaction, id_or_task: str) -> MergeRequest:
    if tasks.TASKS.get(tx.db, id_or_task) and (
        newest := merge_requests.newest_of_task(tx.db, TaskId(id_or_task))
    ):
        return newest
    return merge_requests.get(tx.db, MergeRequestId(id_or_task))
