"""Time and leases: what has not been heard of in time is given up, unless it was we who slept."""

from datetime import datetime, timedelta

from sf_mcp.core.identity import Caller
from sf_mcp.core.models import EndKind, Lease, Role, Session, TaskId
from sf_mcp.core.states import WAITING_SESSIONS, SessionEvent, TaskState
from sf_mcp.service.claims import ClaimService
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import leases, sessions, tasks

LEASE_EXPIRED = "its lease expired"
"""Why a session is stopped that was given up; unlike one that a person stops, it may go on."""


class LeaseWatch:
    """Use cases that only the passing of time calls for."""

    def __init__(self, workspace: Workspace, claims: ClaimService) -> None:
        """Watch this project's leases."""
        self._workspace = workspace
        self._claims = claims
        self._last_look: datetime | None = None

    def look(self, caller: Caller) -> list[Lease]:
        """End the leases whose time has passed and return them.

        After a start, and after a gap (a laptop's sleep, a clock put forward), nobody could have
        renewed; and after a clock was put back, times lie too far ahead. Then everything that runs
        out gets one more term from now instead.
        """
        now, last = self._workspace.now(), self._last_look
        self._last_look = now
        term = timedelta(seconds=self._workspace.settings.orchestrator.lease_seconds)
        if last is None or now - last > term / 2 or now < last:
            self.extend(caller)
            return []
        return self.expire(caller)

    def extend(self, caller: Caller) -> None:
        """Give every live lease, and every reservation with a deadline, a whole term from now."""
        seconds = self._workspace.settings.orchestrator.reservation_seconds
        with self._workspace.write(caller) as tx:
            for lease in leases.live(tx.db):
                tx.set_lease_anew(lease)
            for task in tasks.reserved(tx.db):
                if task.reserved_until is not None:
                    until = tx.now + timedelta(seconds=seconds)
                    tx.edit_task(task, reserved_until=until)

    def expire(self, caller: Caller) -> list[Lease]:
        """End the leases whose time has passed; their sessions are fenced and told to stop.

        Their tokens live on until the processes have ended, so that they are told why they may do
        nothing any more.
        """
        with self._workspace.read() as tx:
            if not leases.expired(tx.db, tx.now):
                return []
        with self._workspace.write(caller) as tx:
            expired = leases.expired(tx.db, tx.now)
            for lease in expired:
                session = sessions.get(tx.db, lease.session_id)
                if session.state in WAITING_SESSIONS:
                    self._keep_for_later(tx, session, lease)
                    continue
                if not session.stop_requested:
                    tx.edit_session(session, stop_requested=LEASE_EXPIRED)
                if session.role is Role.WORKER:
                    self._claims.let_go(tx, lease, EndKind.LEASE_EXPIRED, "not heard of in time")
                else:
                    tx.end_lease(lease, EndKind.LEASE_EXPIRED, "not heard of in time")
            return expired

    def _keep_for_later(self, tx: Transaction, session: Session, lease: Lease) -> None:
        """End the lease of a session that was given back and that nobody has started since."""
        self._claims.let_go(tx, lease, EndKind.TAKEN_OVER, "given back, and not started in time")
        task = tasks.get(tx.db, lease.subject)
        if task.state is TaskState.OPEN:
            tx.edit_task(task, reserved_for=session.id, reserved_until=None)
        else:
            tx.move_session(session, SessionEvent.EXIT, ended_at=tx.now)

    def release_reservations(self, caller: Caller) -> None:
        """Open tasks to anyone whose answered session did not come back in time, or never can."""
        with self._workspace.read() as tx:
            if not _over(tx):
                return
        with self._workspace.write(caller) as tx:
            for task_id in _over(tx):
                task = tasks.get(tx.db, task_id)
                session = sessions.SESSIONS.get(tx.db, str(task.reserved_for))
                if session is not None and session.state in WAITING_SESSIONS:
                    tx.move_session(session, SessionEvent.EXIT, ended_at=tx.now)
                tx.edit_task(task, reserved_for=None, reserved_until=None, ahead=True)
                tx.event("reservation_over", task.id)


def _over(tx: Transaction) -> list[TaskId]:
    """Return the tasks whose reservation has run out, or is for a session that has ended."""
    found: list[TaskId] = []
    for task in tasks.reserved(tx.db):
        session = sessions.SESSIONS.get(tx.db, str(task.reserved_for))
        is_due = task.reserved_until is not None and task.reserved_until <= tx.now
        if is_due or session is None or session.state not in WAITING_SESSIONS:
            found.append(task.id)
    return found
