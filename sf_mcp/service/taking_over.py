"""Who has a session: the launcher, or a person at a terminal. Its lease is the same throughout.

Rule 1: a person is a process, told by its number and start time. Nothing but its death, or its own
word, gives the session back; how long it is silent says nothing.
Rule 2: a session that was given back waits in back-off with its lease alive. If the fleet does not
go on with it within the lease's term, it waits like any other, and goes on under a new lease.
"""

from sf_mcp import process
from sf_mcp.core import recovery
from sf_mcp.core.errors import IllegalTransition, NotAllowed, TakenOver
from sf_mcp.core.interrupted import Trace
from sf_mcp.core.models import EndKind, Role, Session, Takeover
from sf_mcp.core.states import (
    WAITING_SESSIONS,
    SessionEvent,
    SessionState,
    TaskEvent,
    TaskState,
)
from sf_mcp.service.claims import ClaimService
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import leases, sessions, takeovers, tasks

HELLO = "A person has taken over this session at a terminal and speaks to you directly from now on."
LEAVE = "The person leaves with /exit; what lies in the worktree is kept."

BY_THE_FLEET = frozenset({EndKind.CANCELLED, EndKind.STOPPED, EndKind.LEASE_EXPIRED})
"""Ends of a claim that the session has not brought about itself."""


def is_there(takeover: Takeover) -> bool:
    """Return whether the person's process lives; one that is stopped (Ctrl-Z) does."""
    return process.is_alive(takeover.pid, takeover.process_started)


def wanted(tx: Transaction, session: Session) -> Takeover | None:
    """Return who waits for the session, or has it, if their process lives."""
    takeover = takeovers.find(tx.db, session.id)
    return takeover if takeover is not None and is_there(takeover) else None


def require_takeable(tx: Transaction, session: Session) -> None:
    """Refuse a session that no person can work in.

    Raises:
        NotAllowed: it is no worker.
        IllegalTransition: it has ended, is being stopped, or its work has ended.
    """
    read = f"Read what it did: sf logs {session.name}"
    if session.role is not Role.WORKER:
        own = "`sf mr show`, `sf mr approve`" if session.role is Role.STEWARD else "`sf attach`"
        raise NotAllowed(
            f"{session.name} is a {session.role.value}: it only reads and decides, so there is "
            "nothing to work on in its place.",
            remedy=f"Decide it yourself ({own}), or {read[0].lower()}{read[1:]}",
        )
    if session.state in (SessionState.EXITED, SessionState.FATAL):
        how = f" ({session.end.value})" if session.end is not None else ""
        raise IllegalTransition(f"{session.name} has ended{how}.", remedy=read)
    if session.stop_requested and session.state not in WAITING_SESSIONS:
        raise IllegalTransition(
            f"{session.name} is being stopped: {session.stop_requested}.", remedy=read
        )
    if session.state not in WAITING_SESSIONS and leases.live_of(tx.db, session.id) is None:
        ended = leases.newest_of(tx.db, session.id)
        how = f" ({ended.end.value})" if ended is not None and ended.end is not None else ""
        raise IllegalTransition(
            f"The work of {session.name} on {session.subject} has ended{how}.", remedy=read
        )


def require_nobody_else(tx: Transaction, session: Session, pid: int, started: str) -> None:
    """Refuse a second person; one whose process is gone is nobody.

    Raises:
        TakenOver: somebody else has the session, or waits for it; the message says who.
    """
    takeover = wanted(tx, session)
    if takeover is None or (takeover.pid, takeover.process_started) == (pid, started):
        return
    has_it = session.state is SessionState.TAKEN_OVER
    raise TakenOver(
        f"{session.name} is {'taken over' if has_it else 'about to be taken over'} by "
        f"{takeover.by} (process {takeover.pid}) since "
        f"{session.taken_over_at or takeover.asked_at:%Y-%m-%d %H:%M} UTC.",
        remedy="Go on there, or leave Claude Code there first (/exit) and try again here.",
    )


def begin(tx: Transaction, session: Session, takeover: Takeover) -> Session:
    """Give the session to the person; it holds its task, and its lease is alive."""
    lease = leases.live_of(tx.db, session.id)
    if lease is not None:
        tx.renew_lease(lease)
    if session.state is SessionState.STARTING:
        # Its connection was never reported, but its conversation has begun.
        session = tx.move_session(session, SessionEvent.CONNECT)
    session = tx.move_session(
        session,
        SessionEvent.TAKE_OVER,
        pid=takeover.pid,
        process_started=takeover.process_started,
        starts=session.starts + 1,
        taken_over_at=tx.now,
        interrupted=(HELLO, *session.interrupted),
        is_turn_active=False,
        stop_requested="",
        nudges=0,
        heard_at=tx.now,
        end=None,
        end_detail="",
    )
    tx.event("taken_over", session.id, name=session.name, by=takeover.by, pid=takeover.pid)
    return session


def begin_at_rest(
    tx: Transaction, claims: ClaimService, session: Session, takeover: Takeover
) -> Session:
    """Give a session that has no process to the person, with its task if that was let go.

    Raises:
        TaskNotReady: the task cannot be claimed now.
        AlreadyClaimed: somebody else has it.
    """
    if leases.live_of(tx.db, session.id) is None:
        task = tasks.get(tx.db, session.subject)
        if task.state is TaskState.WAITING:
            task = tx.move_task(task, TaskEvent.UNPARK, reserved_for=session.id)
        claims.grant(tx, task, session.id)
    return begin(tx, session, takeover)


def after_the_process(
    tx: Transaction, session: Session, kind: EndKind, trace: Trace, left_open: tuple[str, ...]
) -> Session | None:
    """Return the session if its process ended for a person: theirs now, or the fleet's again.

    Also one that a crash has ended, so that nobody waits in vain. None: it ended for another
    reason, or cannot be gone on with.
    """
    for_a_person = kind is EndKind.TAKEN_OVER
    if not (for_a_person or kind in recovery.RESUMED) or not trace.is_resumable:
        return None
    if session.stop_requested or leases.live_of(tx.db, session.id) is None:
        return None
    takeover = wanted(tx, session)
    if takeover is not None:
        session = tx.edit_session(session, interrupted=left_open)
        return begin(tx, session, takeover)
    # The person has gone meanwhile.
    return leave_to_the_fleet(tx, session, left_open) if for_a_person else None


def leave_to_the_fleet(tx: Transaction, session: Session, to_be_told: tuple[str, ...]) -> Session:
    """Let the launcher go on with a session that has no process now; its lease has a whole term."""
    if (lease := leases.live_of(tx.db, session.id)) is not None:
        tx.renew_lease(lease)
    takeovers.remove(tx.db, session.id)
    return tx.move_session(
        session,
        SessionEvent.BACK_OFF,
        is_turn_active=False,
        taken_over_at=None,
        interrupted=to_be_told,
        end=EndKind.TAKEN_OVER,
        end_detail="",
    )


def given_back(tx: Transaction) -> list[Session]:
    """Return the sessions that the fleet is to go on with under the lease that they hold."""
    waiting = sessions.in_state(tx.db, SessionState.BACKOFF)
    return [one for one in waiting if leases.live_of(tx.db, one.id) is not None]


def fenced(tx: Transaction, session: Session) -> str:
    """Return why the session that a person works in may do nothing more; empty while it may."""
    lease = leases.newest_of(tx.db, session.id)
    why = session.stop_requested
    if not why and lease is not None and lease.end in BY_THE_FLEET:
        why = f"its claim on {lease.subject} is over ({lease.end}) {lease.end_detail}".strip()
    if not why:
        return ""
    return f"{session.name} was ended: {why}. Nothing was done. {LEAVE}"
