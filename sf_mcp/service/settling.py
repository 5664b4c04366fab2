"""What becomes of what a session held when its process has ended."""

from datetime import timedelta

from sf_mcp.core.models import EndKind, Lease, Role, Session
from sf_mcp.core.states import TaskEvent
from sf_mcp.service.claims import ClaimService
from sf_mcp.service.starting import MOST_STARTS, has_started_too_often
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import leases, questions, tasks
from sf_mcp.store.merge_requests import MERGE_REQUESTS


class Settling:
    """Part of recording a session's end: its lease and its task."""

    def __init__(self, workspace: Workspace, claims: ClaimService) -> None:
        """Work on this project."""
        self._workspace = workspace
        self._claims = claims

    def settle(
        self, tx: Transaction, session: Session, lease: Lease, kind: EndKind, detail: str
    ) -> bool:
        """End the lease that a session still held at its end; return whether it is parked."""
        if session.role is not Role.WORKER:
            tx.end_lease(lease, kind, detail)
            self._leave_to_person(tx, lease.subject)
            return False
        if kind is not EndKind.PARKED:
            self._claims.let_go(tx, lease, kind, detail)
            return False
        task = tasks.get(tx.db, lease.subject)
        question = questions.open_of_task(tx.db, task.id)
        if question is not None:
            tx.end_lease(lease, EndKind.PARKED, question.id)
            tx.move_task(task, TaskEvent.PARK)
            return True
        # Answered between the turn's end and now: the next dispatch resumes it.
        tx.end_lease(lease, EndKind.PARKED, "answered meanwhile")
        until = self._workspace.settings.orchestrator.reservation_seconds
        tx.move_task(
            task,
            TaskEvent.LET_GO,
            reserved_for=session.id,
            reserved_until=tx.now + timedelta(seconds=until),
        )
        return True

    def _leave_to_person(self, tx: Transaction, subject: str) -> None:
        """Leave what sessions have failed at too often, a review or a question, to the person."""
        limit = self._workspace.settings.orchestrator.max_failures
        if has_started_too_often(tx, subject):
            limit = MOST_STARTS
        elif leases.count_failures(tx.db, subject, None) < limit:
            return
        note = f"{limit} sessions ended without deciding it"
        if (request := MERGE_REQUESTS.get(tx.db, subject)) and not request.is_escalated:
            tx.edit_merge_request(request, is_escalated=True)
            tx.event("review_escalated", request.id, note=note)
        if (question := questions.QUESTIONS.get(tx.db, subject)) and not question.escalated:
            tx.edit_question(question, escalated=True)
            tx.event("question_escalated", question.id, note=note)
