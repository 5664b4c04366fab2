"""Looking at one task at one moment, and what every reason is made of.

The reasons themselves are in `reasons` and `reasons_in_review`, the answer in `why`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from sf_mcp.core.models import Question, Session, Task, TaskId
from sf_mcp.service.holding import Touched
from sf_mcp.service.limits import held_reason
from sf_mcp.service.pauses import parked, parked_sentence, paused_reason
from sf_mcp.service.resume_status import in_words
from sf_mcp.service.spending import is_spent, of_fleet
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import events, leases, questions, sessions, tasks

if TYPE_CHECKING:
    from sf_mcp.settings import Settings

SHOWN = 10
"""Ids that one sentence names; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One sentence, the commands that would change it, and what stands behind it."""

    sentence: str
    step: str = ""
    """What helps most."""
    changes: tuple[str, ...] = ()
    """What would change it besides."""
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Look:
    """One task at one moment, with what its reasons ask for."""

    tx: Transaction
    workspace: Workspace
    touched: Touched
    task: Task
    running: frozenset[int] | None
    """The trials that run in this server; None: no server lands anything."""

    def at(self, task_id: TaskId) -> "Look":
        """Look at another task at the same moment."""
        return replace(self, task=tasks.get(self.tx.db, task_id))

    @property
    def settings(self) -> "Settings":
        """The last good configuration."""
        return self.workspace.settings

    @cached_property
    def question(self) -> Question | None:
        """What was asked about the task and is not answered."""
        return questions.open_of_task(self.tx.db, self.task.id)

    @cached_property
    def worker(self) -> Session | None:
        """Who works on it."""
        lease = leases.live_on(self.tx.db, self.task.id)
        return sessions.get(self.tx.db, lease.session_id) if lease else None


Finder = Callable[[Look], Reason | None]


def first_of(look: Look, finders: Iterable[Finder]) -> Reason:
    """Return the first reason that holds; the last of them always does."""
    return next(found for finder in finders if (found := finder(look)) is not None)


def clock(at: datetime) -> str:
    """Return a time as people read it: `12:03 UTC`."""
    return f"{at:%H:%M} UTC"


def sign_of(session: Session, now: datetime) -> str:
    """Return when a session was last heard of, and how full its context is."""
    ago = in_words(max(0.0, (now - session.heard_at).total_seconds()))
    filled = ""
    if session.context_window:
        filled = f", context {session.context_tokens * 100 // session.context_window} % full"
    return f"last sign {ago} ago{filled}"


# -- the fleet as a whole --------------------------------------------------------------------------


def fleet_hold(look: Look) -> Reason | None:
    """Return why no session at all is started, as the end of a sentence, and what to do."""
    tx = look.tx
    if reason := paused_reason(tx):
        told = events.newest_of(tx.db, "fleet_paused", "")
        fact = (f"paused by {told.actor} at {clock(told.at)}",) if told else ()
        return Reason(sentence=f"the fleet is paused: {reason}", step="sf resume", facts=fact)
    if reason := held_reason(tx):
        return Reason(sentence=f"you have not said what to do: {reason}")
    if park := parked(look.workspace):
        return Reason(
            sentence=f"the account is {parked_sentence(park, tx.now).rstrip('.')}",
            step="nothing; the fleet goes on by itself (sf resume: at once)",
            changes=("Go on at once, also in your other fleets: sf resume",),
        )
    fleet = of_fleet(tx, look.settings.budget)
    if fleet is not None and is_spent(fleet):
        return Reason(sentence=str(fleet), step=f"Raise {fleet.key}.")
    return None


def but_held(reason: Reason, hold: Reason | None) -> Reason:
    """Return the reason, with what holds the whole fleet behind it."""
    if hold is None:
        return reason
    return Reason(
        sentence=f"{reason.sentence[:-1]}, but {hold.sentence}.",
        step=hold.step,
        changes=hold.changes,
        facts=reason.facts + hold.facts,
    )


# -- words -----------------------------------------------------------------------------------------


def asked(question: Question) -> str:
    """Return a question with its time."""
    since = f"{question.asked_at:%Y-%m-%d %H:%M} UTC"
    return f"{question.id}, asked at {since}: {question.text}"


def how_to_answer(question: Question) -> str:
    """Return the command."""
    return f'sf question answer {question.id} "…"'


def who_answers(tx: Transaction, settings: "Settings", question: Question) -> str:
    """Return whose word a question waits for."""
    if question.escalated:
        return f"{question.id} was left to the person"
    if lease := leases.live_on(tx.db, question.id):
        return f"{sessions.get(tx.db, lease.session_id).name} works on {question.id}"
    director = settings.agents.director
    if not director.headless:
        return f"{question.id} waits for the person, or their director: no headless one is woken"
    waited = (tx.now - question.asked_at).total_seconds()
    rest = director.headless_after_seconds - waited
    if rest > 0:
        return f"a headless director takes {question.id} up in {in_words(rest)}"
    return f"{question.id} waits for a headless director to be started"


def few(names: Sequence[str]) -> str:
    """Return names in a row, the rest counted when there are many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
