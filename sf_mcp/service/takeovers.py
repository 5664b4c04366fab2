"""A person takes a worker's session over at a terminal, works in it, and gives it back.

Git runs here, outside transactions: the place is made ready, files are kept, what has changed is
read. What it means for the session is in `taking_over`.
"""

import logging
from dataclasses import dataclass, field

from sf_mcp.core.errors import StoneforgeError, TakenOver
from sf_mcp.core.identity import SERVER, Caller
from sf_mcp.core.interrupted import Trace
from sf_mcp.core.models import EndKind, Oid, Role, Session, Takeover, TaskId
from sf_mcp.core.states import WAITING_SESSIONS, SessionEvent, SessionState
from sf_mcp.core.text import one_line
from sf_mcp.git.worktrees import Worktrees
from sf_mcp.service import answers, taking_over
from sf_mcp.service.claims import ClaimService
from sf_mcp.service.fencing import given_up
from sf_mcp.service.sessions import SessionService
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.work import WorkService
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import leases, questions, sessions, takeovers, tasks
from sf_mcp.store.takeovers import TAKEOVERS

logger = logging.getLogger(__name__)

MOST_KEPT = 200
"""Commits, and files, that the event names."""
SHOWN = 15
"""Commits and files that the session is told of by name; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """What a person's terminal needs to go on with the session."""

    token: str = field(repr=False)
    cwd: str
    environment: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeoverView:
    """A takeover as the person who asked for it sees it."""

    session: Session
    title: str
    seat: Seat | None
    """None while the launcher ends the session's own process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenBack:
    """How a person left a session."""

    session: Session
    sentence: str
    """What becomes of it."""


@dataclass(frozen=True, slots=True)
class _Changes:
    """What was done while a person had the session."""

    commits: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    uncommitted: tuple[str, ...] = ()


class TakeoverService:
    """Use cases of a person in a worker's place."""

    def __init__(
        self,
        workspace: Workspace,
        worktrees: Worktrees,
        claims: ClaimService,
        session_service: SessionService,
        work: WorkService,
    ) -> None:
        """Work on this project."""
        self._workspace = workspace
        self._forge = worktrees.forge
        self._claims = claims
        self._sessions = session_service
        self._work = work

    # -- taking --------------------------------------------------------------------------------

    def take_over_session(
        self,
        caller: Caller,
        session: str,
        *,
        pid: int,
        process_started: str,
        by: str,
        is_urgent: bool = False,
    ) -> TakeoverView:
        """Ask for a session, or ask again: the seat comes as soon as no process of it runs.

        The person is the process `pid` that began at `process_started`, of this machine. A session
        that is parked or in back-off is theirs at once, under a new lease if it held none.

        Raises:
            TakenOver: another person has it.
            IllegalTransition: it has ended, or its work has.
            NotAllowed: it is no worker.
        """
        caller.require(Role.PERSON, to="take over sessions")
        with self._workspace.write(caller) as tx:
            found = sessions.get(tx.db, session)
            taking_over.require_nobody_else(tx, found, pid, process_started)
            before = takeovers.find(tx.db, found.id)
            is_mine = before is not None and before.pid == pid
            if not (is_mine and found.state is SessionState.TAKEN_OVER):
                taking_over.require_takeable(tx, found)
            takeover = Takeover(
                session_id=found.id,
                by=one_line(by, 80) or "a person",
                pid=pid,
                process_started=process_started,
                is_urgent=is_urgent,
                asked_at=before.asked_at if before is not None and is_mine else tx.now,
                head=before.head if before is not None else None,
            )
            if takeover != before:
                self._ask(tx, found, takeover, is_new=not is_mine)
            if found.state in WAITING_SESSIONS:
                found = taking_over.begin_at_rest(tx, self._claims, found, takeover)
            elif found.state is SessionState.TAKEN_OVER and found.pid != pid:
                # Of somebody whose process is gone: nobody works in it, and nothing has to end.
                found = tx.edit_session(found, pid=pid, process_started=process_started)
            title = tasks.get(tx.db, found.subject).title
        has_it = found.state is SessionState.TAKEN_OVER
        seat = self._seat(caller, found, takeover) if has_it else None
        return TakeoverView(session=found, title=title, seat=seat)

    @staticmethod
    def _ask(tx: Transaction, session: Session, takeover: Takeover, *, is_new: bool) -> None:
        takeovers.remove(tx.db, session.id)
        TAKEOVERS.insert(tx.db, takeover)
        if is_new:
            tx.event("takeover_asked", session.id, name=session.name, by=takeover.by)

    def _seat(self, caller: Caller, session: Session, takeover: Takeover) -> Seat:
        """Make the place ready and give it a token of its own; earlier ones hold no more."""
        try:
            place = self._work.make_place(session)
            head = self._head_of(session)
        except (StoneforgeError, OSError):
            self.give_back_session(caller, session.id, pid=takeover.pid)
            raise
        with self._workspace.write(caller) as tx:
            present = takeovers.find(tx.db, session.id)
            if present is None or present.pid != takeover.pid:
                raise TakenOver(
                    f"{session.name} has gone back to the fleet meanwhile.",
                    remedy=f"Take it over again: sf session attach {session.name}",
                )
            if present.head is None:
                TAKEOVERS.change(tx.db, session.id, {"head": head})
            sessions.revoke_tokens(tx.db, session.id)
            token = self._sessions.mint(tx, Role.WORKER, session.id)
        return Seat(token=token, cwd=place.cwd, environment=place.environment)

    def _head_of(self, session: Session) -> Oid | None:
        with self._workspace.read() as tx:
            branch = tasks.get(tx.db, session.subject).branch
        return self._forge.head_of(f"refs/heads/{branch}") if branch else None

    # -- giving back -----------------------------------------------------------------------------

    def give_back_session(
        self, caller: Caller, session: str, *, pid: int, transcript: str = ""
    ) -> GivenBack:
        """Return a session to the fleet: it goes on, or ends if its work has ended meanwhile.

        Before the person has it, this withdraws their wish. Nothing happens if the process `pid`
        has it no more. `transcript` is where the client has written down what was said.
        """
        caller.require(Role.PERSON, to="give sessions back")
        with self._workspace.read() as tx:
            found = sessions.get(tx.db, session)
            takeover = takeovers.find(tx.db, found.id)
        if takeover is None or takeover.pid != pid:
            return GivenBack(session=found, sentence=f"{found.name} is with the fleet already.")
        if found.state is not SessionState.TAKEN_OVER:
            with self._workspace.write(caller) as tx:
                takeovers.remove(tx.db, found.id)
                tx.event("takeover_withdrawn", found.id, name=found.name, by=takeover.by)
            return GivenBack(session=found, sentence=f"{found.name} stays with the fleet.")
        self._work.hand_off_spent(found.id)
        self._work.keep_files_of(found.id, "given back by a person")
        changes = self._changes(found, takeover)
        with self._workspace.write(caller) as tx:
            found = sessions.get(tx.db, found.id)
            present = takeovers.find(tx.db, found.id)
            if present is None or present.pid != pid:
                return GivenBack(session=found, sentence=f"{found.name} is with the fleet already.")
            settled = self._settle(tx, found, changes)
            tx.event(
                "given_back",
                found.id,
                name=found.name,
                by=takeover.by,
                commits=list(changes.commits),
                files=list(changes.files),
                uncommitted=list(changes.uncommitted),
                transcript=transcript,
            )
        return GivenBack(session=settled, sentence=_becomes(settled))

    def _settle(self, tx: Transaction, session: Session, changes: _Changes) -> Session:
        sessions.revoke_tokens(tx.db, session.id)
        lease = leases.live_of(tx.db, session.id)
        unsaid = [one for one in session.interrupted if one != taking_over.HELLO]
        told = (_account(changes), *unsaid)
        asked = lease is not None and questions.open_of_task(tx.db, TaskId(lease.subject))
        if lease is not None and not session.stop_requested and not asked:
            return taking_over.leave_to_the_fleet(tx, session, told)
        takeovers.remove(tx.db, session.id)
        session = tx.edit_session(session, is_turn_active=False, interrupted=told)
        kind = EndKind.STOPPED
        detail = session.stop_requested or "a person has left it"
        step = self._sessions.settle(tx, session, kind, detail, Trace(is_resumable=True))
        if lease is None and (held := leases.newest_of(tx.db, session.id)) and held.end:
            kind, detail = held.end, held.end_detail
        if step is SessionEvent.PARK:
            kind = EndKind.PARKED
        tx.event("session_ended", session.id, name=session.name, end=kind.value, detail=detail)
        return tx.move_session(
            session,
            step,
            taken_over_at=None,
            ended_at=tx.now if step is SessionEvent.EXIT else None,
            end=kind,
            end_detail=detail,
            interrupted=told if step is not SessionEvent.EXIT else (),
        )

    def _changes(self, session: Session, takeover: Takeover) -> _Changes:
        """Return what differs from when the person began; nothing if git cannot say."""
        try:
            head = self._head_of(session)
            with self._workspace.read() as tx:
                task = tasks.get(tx.db, session.subject)
            state = self._work.branch_state(task)
            uncommitted = state.uncommitted if state is not None else ()
            if head is None or takeover.head is None or head == takeover.head:
                return _Changes(uncommitted=uncommitted[:MOST_KEPT])
            entries = self._forge.log_between(takeover.head, head, limit=MOST_KEPT)
            files = self._forge.changed_paths(takeover.head, head)[:MOST_KEPT]
        except (StoneforgeError, OSError) as error:
            logger.warning("What was done in %s cannot be read: %s", session.name, error)
            return _Changes()
        commits = tuple(f"{one.commit[:12]} {one_line(one.subject)}" for one in entries)
        return _Changes(commits=commits, files=files, uncommitted=uncommitted[:MOST_KEPT])

    # -- looking after it ------------------------------------------------------------------------

    def look(self) -> None:
        """Renew the leases of those whose person is there; give back what nobody has any more."""
        with self._workspace.read() as tx:
            found = takeovers.all_of(tx.db)
        for takeover in found:
            if not taking_over.is_there(takeover):
                try:
                    self.give_back_session(SERVER, takeover.session_id, pid=takeover.pid)
                except (StoneforgeError, OSError) as error:
                    # Tried again at the next look; what else there is to look after goes on.
                    logger.warning("%s is not given back yet: %s", takeover.session_id, error)
                continue
            with self._workspace.write(SERVER) as tx:
                session = sessions.get(tx.db, takeover.session_id)
                lease = leases.live_of(tx.db, session.id)
                if session.state is SessionState.TAKEN_OVER and lease is not None:
                    tx.renew_lease(lease)

    # -- hooks -----------------------------------------------------------------------------------

    def is_taken_over(self, caller: Caller) -> bool:
        """Return whether a person works in the calling session."""
        if caller.session_id is None:
            return False
        with self._workspace.peek() as tx:
            return sessions.get(tx.db, caller.session_id).state is SessionState.TAKEN_OVER

    def refusal(self, caller: Caller) -> str:
        """Return why the person's session may use no tool; empty while it may."""
        if (stale := given_up(self._workspace, caller)) is not None:
            return str(stale)
        if caller.session_id is None:
            return ""
        with self._workspace.peek() as tx:
            return taking_over.fenced(tx, sessions.get(tx.db, caller.session_id))

    def note_turn(self, caller: Caller, *, is_active: bool, said: str) -> None:
        """Note that a turn of the person's session has begun or ended, and with which words."""
        if caller.session_id is None:
            return
        with self._workspace.write(caller) as tx:
            session = sessions.get(tx.db, caller.session_id)
            last_line = one_line(said, 200) or session.last_line
            tx.edit_session(session, is_turn_active=is_active, last_line=last_line, heard_at=tx.now)

    def at_the_prompt(self, caller: Caller) -> str:
        """Return what the session is to know with the person's next words, once."""
        if caller.session_id is None:
            return ""
        with self._workspace.write(caller) as tx:
            session = sessions.get(tx.db, caller.session_id)
            owed = answers.text_of(answers.give_all_owed(tx, session.id))
            if session.interrupted:
                tx.edit_session(session, interrupted=())
            return "\n".join(filter(None, [*session.interrupted, owed]))


def _becomes(session: Session) -> str:
    match session.state:
        case SessionState.BACKOFF:
            return f"{session.name} goes back to the fleet, which goes on with {session.subject}."
        case SessionState.PARKED:
            return (
                f"{session.name} goes back to the fleet and waits for the answer to its question."
            )
        case _:
            how = session.end.value.replace("_", " ") if session.end is not None else "ended"
            return f"{session.name} has ended ({how})."


def _account(changes: _Changes) -> str:
    """Return what the session is told of the time in which a person worked in it."""
    told = [
        "A person has worked in this session at a terminal and has given it back; the conversation "
        "since then is theirs and yours."
    ]
    if changes.commits:
        told += ["Committed meanwhile, newest first:"]
        told += [f"- {one}" for one in _some(changes.commits)]
        told += [f"Files of these commits: {', '.join(_some(changes.files))}."]
    else:
        told += ["Nothing was committed meanwhile."]
    if changes.uncommitted:
        told += [f"Not committed: {', '.join(_some(changes.uncommitted))}."]
    return "\n".join(told)


def _some(found: tuple[str, ...]) -> list[str]:
    more = len(found) - SHOWN
    return [*found[:SHOWN], *([f"and {more} more"] if more > 0 else [])]
