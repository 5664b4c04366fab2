"""The director's seat: a person's own Claude Code sessions, and what each has been told.

Several may be attached at once. Each hears of each thing once, in the turn after it happened. How
far it has heard stands on its seat, so that a restart of either side repeats and loses nothing.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sf_mcp.core import news
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Role
from sf_mcp.core.news import News, quoted
from sf_mcp.core.wiring import DECISIONS, ask_first
from sf_mcp.service.news import glance, news_after, what_waits
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import events, facts, merge_requests, plans, seats, tasks
from sf_mcp.store.seats import SEATS, Seat

SEEN_EVERY = timedelta(seconds=60)
"""How often it is written down that a session was heard of."""

LARGEST_GAP = 300
"""Events without news, after which it is written down that they need no telling."""

WORTH_NOTING_TOKENS = 2_000
"""A smaller change of a context's fill is not written down."""

WAITING_TOOL = "wait_for_events"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatReport:
    """What the status line of a session shows."""

    running: int
    waiting: list[str]
    in_train: int
    cost_usd: float
    stopped: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """News after an event, and the event up to which there is no other."""

    news: list[News]
    newest: int


class SeatService:
    """Use cases of a person's attached sessions."""

    def __init__(self, workspace: Workspace) -> None:
        """Work on this project."""
        self._workspace = workspace

    def address(self, caller: Caller, *, otherwise: int = 0) -> int:
        """Return the port at which the project is served; `otherwise` becomes it if none is yet."""
        caller.require(Role.PERSON, to="attach sessions")
        if configured := self._workspace.settings.orchestrator.port:
            return configured
        with self._workspace.read() as tx:
            stored = int(facts.get(tx.db, "port") or 0)
        if not stored and otherwise:
            with self._workspace.write(caller) as tx:
                facts.put(tx.db, "port", str(otherwise))
        return stored or otherwise

    def report(
        self, caller: Caller, *, client_session: str, context_tokens: int, context_window: int
    ) -> SeatReport:
        """Take note of how full a session's context is; return the fleet at a glance."""
        caller.require(Role.PERSON, to="report on their own sessions")
        tokens, window = max(context_tokens, 0), max(context_window, 0)
        with self._workspace.read() as tx:
            seat = SEATS.get(tx.db, client_session)
            seen = glance(tx, self._workspace.settings)
            is_news = seat is not None and (
                abs(seat.context_tokens - tokens) >= WORTH_NOTING_TOKENS
                or seat.context_window != window
                or tx.now - seat.seen_at >= SEEN_EVERY
            )
        if is_news:
            with self._workspace.write(caller) as tx:
                fields = {"context_tokens": tokens, "context_window": window, "seen_at": tx.now}
                SEATS.change(tx.db, client_session, fields)
        return SeatReport(
            running=seen.running,
            waiting=seen.waiting,
            in_train=seen.in_train,
            cost_usd=seen.cost_usd,
            stopped=seen.stopped,
        )

    def attached(self) -> list[Seat]:
        """Return the sessions that have not ended, oldest first."""
        with self._workspace.read() as tx:
            return seats.attached(tx.db)

    def news_after(self, after: int | None) -> Told:
        """Return what a director should hear of that happened after an event; None: after now."""
        with self._workspace.read() as tx:
            newest = events.newest_number(tx.db)
            if after is None or after >= newest:
                return Told(news=[], newest=newest)
            found = news_after(tx, self._workspace.settings, max(after, 0))
            return Told(news=sorted(found, key=lambda one: one.number), newest=newest)

    # -- hooks -------------------------------------------------------------------------------------

    def answer(self, caller: Caller, event: dict[str, Any]) -> dict[str, Any]:
        """Return what Claude Code should make of a hook's event in a person's session."""
        session, name = event.get("session_id"), event.get("hook_event_name")
        # What a subagent is told, the session itself never hears of.
        if not _is_id(session) or event.get("agent_id"):
            return {}
        match name:
            case "SessionStart":
                return _context("SessionStart", self._open(caller, str(session)))
            case "UserPromptSubmit" | "PostToolUse":
                self._note_wait(caller, str(session), event)
                return _context(str(name), self._tell(caller, str(session)))
            case "PreToolUse":
                return self._ask_the_person(event)
            case "SessionEnd":
                self._end(caller, str(session))
                return {}
            case _:
                return {}

    def _open(self, caller: Caller, session: str) -> str:
        """Return the opening summary, and what a session that goes on has missed."""
        with self._workspace.write(caller) as tx:
            seats.forget_before(tx.db, tx.now - seats.KEPT_FOR)
            seat = SEATS.get(tx.db, session)
            missed = self._news(tx, seat.told) if seat is not None else []
            self._sit(tx, session, seat)
            return "\n".join(filter(None, [self._summary(tx), _landed(missed, seat)]))

    def _summary(self, tx: Transaction) -> str:
        seen = glance(tx, self._workspace.settings)
        state = f"stopped ({quoted(seen.stopped)})" if seen.stopped else "going on"
        opening = (
            f"You direct the fleet of {quoted(self._workspace.layout.root.name)} for the person. "
            f"It is {state}: {seen.running} sessions run, {len(tx.graph.ready())} tasks are ready, "
            f"{seen.in_train} merge requests are in the train, ${seen.cost_usd:.2f} spent. "
            "What happens is told to you at your next turn: do not wait or poll for it."
        )
        waiting = news.told(
            what_waits(tx, self._workspace.settings), since="waiting for a decision", after=0
        )
        return "\n".join([opening, waiting or "Nothing waits for a decision."])

    def _tell(self, caller: Caller, session: str) -> str:
        """Return what the session has not heard of yet, and write down that it has."""
        with self._workspace.read() as tx:
            seat = SEATS.get(tx.db, session)
            if seat is not None and seat.ended_at is None:
                gap = events.newest_number(tx.db) - seat.told
                is_due = gap > LARGEST_GAP or tx.now - seat.seen_at >= SEEN_EVERY
                if not is_due and not (gap and self._news(tx, seat.told)):
                    return ""
        if seat is None:
            # Nobody was there to answer when it started.
            return self._open(caller, session)
        with self._workspace.write(caller) as tx:
            # Read anew: two hooks of one session may be answered at once.
            seat = SEATS.get(tx.db, session) or seat
            lines = self._news(tx, seat.told)
            self._sit(tx, session, seat)
            return news.told(lines, since="since you were last told", after=seat.told)

    def _note_wait(self, caller: Caller, session: str, event: dict[str, Any]) -> None:
        """Count as told what `wait_for_events` has just returned."""
        if not str(event.get("tool_name", "")).endswith(WAITING_TOOL):
            return
        try:
            result: Any = json.loads(str(event.get("tool_response")))
            newest = int(cast(dict[str, Any], result)["newest"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        with self._workspace.write(caller) as tx:
            seat = SEATS.get(tx.db, session)
            if seat is not None and seat.told < newest <= events.newest_number(tx.db):
                SEATS.change(tx.db, session, {"told": newest})

    def _ask_the_person(self, event: dict[str, Any]) -> dict[str, Any]:
        """Have Claude Code ask the person before a tool decides in their name."""
        tool = str(event.get("tool_name", "")).rpartition("__")[2]
        if tool not in DECISIONS:
            return {}
        given = event.get("tool_input")
        named = cast(dict[str, Any], given) if isinstance(given, dict) else {}
        return ask_first(self._about(named))

    def _about(self, named: dict[str, Any]) -> str:
        with self._workspace.read() as tx:
            if found := merge_requests.MERGE_REQUESTS.get(tx.db, str(named.get("merge_request"))):
                task = tasks.get(tx.db, found.task_id)
                return f"{found.id} is {task.id} {quoted(task.title)} at {found.commit[:12]}."
            if task := tasks.TASKS.get(tx.db, str(named.get("task"))):
                return f"{task.id} is {quoted(task.title)} ({task.state.value})."
            if plan := plans.PLANS.get(tx.db, str(named.get("plan"))):
                return f"{plan.id} is {quoted(plan.title)} ({plan.state.value})."
        return ""

    def _end(self, caller: Caller, session: str) -> None:
        with self._workspace.write(caller) as tx:
            if SEATS.get(tx.db, session) is not None:
                SEATS.change(tx.db, session, {"ended_at": tx.now, "seen_at": tx.now})

    def _news(self, tx: Transaction, after: int) -> list[News]:
        return news_after(tx, self._workspace.settings, after)

    def _sit(self, tx: Transaction, session: str, seat: Seat | None) -> None:
        """Write down that the session is there and knows all that has happened."""
        newest = events.newest_number(tx.db)
        if seat is None:
            seat = Seat(
                client_session=session,
                told=newest,
                context_tokens=0,
                context_window=0,
                created_at=tx.now,
                seen_at=tx.now,
                ended_at=None,
            )
            SEATS.insert(tx.db, seat)
            return
        SEATS.change(tx.db, session, {"told": newest, "seen_at": tx.now, "ended_at": None})


def _landed(missed: list[News], seat: Seat | None) -> str:
    """Return what a session that goes on has missed, but for what waits: that is told anyway."""
    rest = [one for one in missed if one.rank is not news.Rank.WAITS]
    return news.told(rest, since="while you were away", after=seat.told if seat else 0)


def _is_id(session: object) -> bool:
    return isinstance(session, str) and 0 < len(session) <= 100 and session.isprintable()


def _context(event: str, text: str) -> dict[str, Any]:
    if not text:
        return {}
    return {"hookSpecificOutput": {"hookEventName": event, "additionalContext": text}}
