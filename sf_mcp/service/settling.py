"""What becomes of what a session held when its process has ended."""

from datetime import timedelta

from sf_mcp.core import interrupted, recovery
from sf_mcp.core.interrupted import Trace
from sf_mcp.core.models import EndKind, Lease, Role, Session, Task, TaskId
from sf_mcp.core.states import SessionEvent, SessionState, TaskEvent, TaskState
from sf_mcp.service.claims import ClaimService
from sf_mcp.service.conflict_state import attempt_failed
from sf_mcp.service.lease_watch import LEASE_EXPIRED
from sf_mcp.service.requests import RequestService
from sf_mcp.service.starting import MOST_STARTS, has_started_too_often
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import calls, conflicts, leases, questions, tasks
from sf_mcp.store.merge_requests import MERGE_REQUESTS

MOST_CALLS = 20
"""Newest calls of a session that are looked through for one that was interrupted."""


class Settling:
    """Part of recording a session's end: its lease and its task."""

    def __init__(self, workspace: Workspace, claims: ClaimService) -> None:
        """Work on this project."""
        self._workspace = workspace
        self._claims = claims
        self._requests = RequestService(workspace)

    def settle(
        self, tx: Transaction, session: Session, kind: EndKind, detail: str, trace: Trace
    ) -> SessionEvent:
        """End the lease that a session still held at its end; return what becomes of the session.

        It exits, is parked until its question is answered, or waits to be resumed.
        """
        lease = leases.live_of(tx.db, session.id)
        if session.role is not Role.WORKER:
            if lease is not None:
                tx.end_lease(lease, kind, detail)
                if (conflict := conflicts.live_of(tx.db, lease.subject)) is None:
                    self._leave_to_person(tx, lease.subject)
                elif kind in conflicts.FAILED or has_started_too_often(tx, lease.subject):
                    words = f"{session.name} ended without a resolution ({kind}): {detail}"
                    attempt_failed(tx, conflict, words, self._requests.return_to_worker)
            return SessionEvent.EXIT
        if lease is not None and (
            kind is EndKind.PARKED or _rests_on_question(tx, session, lease, kind, trace)
        ):
            self._park(tx, session, lease)
            return SessionEvent.PARK
        if lease is not None:
            self._claims.let_go(tx, lease, kind, detail)
        held = lease or leases.newest_of(tx.db, session.id)
        if held is None:
            return SessionEvent.EXIT
        task = tasks.get(tx.db, held.subject)
        if not self._is_resumed(tx, session, task, kind, trace):
            return SessionEvent.EXIT
        tx.edit_task(task, reserved_until=None, reserved_for=session.id)
        return SessionEvent.BACK_OFF

    def _park(self, tx: Transaction, session: Session, lease: Lease) -> None:
        task = tasks.get(tx.db, lease.subject)
        question = questions.open_of_task(tx.db, task.id)
        if question is not None:
            tx.end_lease(lease, EndKind.PARKED, question.id)
            tx.move_task(task, TaskEvent.PARK)
            return
        # Answered between the turn's end and now: the next dispatch resumes it.
        tx.end_lease(lease, EndKind.PARKED, "answered meanwhile")
        until = self._workspace.settings.orchestrator.reservation_seconds
        tx.move_task(
            task,
            TaskEvent.LET_GO,
            reserved_for=session.id,
            reserved_until=tx.now + timedelta(seconds=until),
        )

    @staticmethod
    def _is_resumed(
        tx: Transaction, session: Session, task: Task, kind: EndKind, trace: Trace
    ) -> bool:
        """Return whether the same session goes on with the task that it has just let go.

        Also one whose lease had expired before its end was known, if nobody has the task since.
        """
        attempts = leases.newest_ended(tx.db, task.id, limit=recovery.MOST_CRASHES)
        return (
            trace.is_resumable
            and kind in recovery.RESUMED
            and task.state is TaskState.OPEN
            and task.reserved_for is None
            and session.stop_requested in ("", LEASE_EXPIRED)
            and leases.live_on(tx.db, task.id) is None
            and bool(attempts)
            and attempts[0].session_id == session.id
            and recovery.is_resumed(attempts)
        )

    @staticmethod
    def interrupted(tx: Transaction, session: Session, trace: Trace) -> tuple[str, ...]:
        """Return what the session is to be told of the calls that its process left open.

        To be asked before the lease is ended or after it: what was not recorded by now never is.
        """
        lease = leases.newest_of(tx.db, session.id)
        if lease is None:
            return ()
        asked = questions.open_of_task(tx.db, TaskId(lease.subject))
        told = interrupted.told(
            trace,
            calls.of_session(tx.db, session.id, since=lease.granted_at, limit=MOST_CALLS),
            asked.id if asked is not None and asked.session_id == session.id else "",
        )
        # One whose order was lost has not been told of what its process before left open.
        return (*session.interrupted, *told) if session.state is SessionState.STARTING else told

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


def _rests_on_question(
    tx: Transaction, session: Session, lease: Lease, kind: EndKind, trace: Trace
) -> bool:
    """Return whether the process was lost at rest, on its way to be parked: it is parked then.

    Resumed now, it could only read all of its conversation to come to rest again.
    """
    return (
        not session.is_turn_active
        and session.stop_requested == ""
        and kind in recovery.RESUMED
        and trace.is_resumable
        and questions.open_of_task(tx.db, TaskId(lease.subject)) is not None
    )
