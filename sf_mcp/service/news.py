"""What has happened, and what waits, as a director should hear of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sf_mcp.core import news
from sf_mcp.core.models import Event, MergeRequest, Question
from sf_mcp.core.news import News, Rank, quoted
from sf_mcp.core.states import (
    LIVE_SESSIONS,
    MergeState,
    QuestionState,
    TaskState,
)
from sf_mcp.service.inbox import inbox
from sf_mcp.service.merge_status import is_left_to_person
from sf_mcp.service.pauses import paused_reason
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import events, merge_requests, plans, questions, sessions, tasks

if TYPE_CHECKING:
    from sf_mcp.settings import Settings

MOST_READ = 500
"""Events that are looked at for one telling; far more than any director reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """The fleet in one line."""

    running: int
    """Sessions with a process."""
    waiting: list[str]
    """What the inbox has, by id, or by kind where it is the fleet."""
    in_train: int
    """Merge requests on their way that wait for nobody's word."""
    cost_usd: float
    stopped: str
    """Why nothing starts; empty while the fleet goes on."""


def glance(tx: Transaction, settings: "Settings") -> Glance:
    """Return the fleet at a glance."""
    live = merge_requests.in_state(tx.db, MergeState.OPEN, MergeState.LANDING)
    lines, _ = inbox(tx, lambda: settings, "", "")
    waiting = [line.id or line.kind.value for line in lines]
    return Glance(
        running=len(sessions.in_state(tx.db, *sorted(LIVE_SESSIONS))),
        waiting=waiting,
        in_train=sum(one.id not in waiting for one in live),
        cost_usd=sessions.total_cost(tx.db),
        stopped=paused_reason(tx),
    )


def what_waits(tx: Transaction, settings: "Settings") -> list[News]:
    """Return what waits for a decision at this moment, as far as the events tell since when."""
    asked = [_question(tx, one, 0) for one in questions.in_state(tx.db, QuestionState.OPEN)]
    proposed = [
        _proposal(one.id, one.title, 0) for one in tasks.in_state(tx.db, TaskState.PROPOSED)
    ]
    return [*asked, *_approvals(tx, settings, after=0), *proposed]


def news_after(tx: Transaction, settings: "Settings", after: int) -> list[News]:
    """Return what a director has not heard of that was told up to the event `after`."""
    found = news.newest_of_each(events.of_kinds_after(tx.db, news.KINDS, after, MOST_READ))
    told = [one for event in found if (one := _told(tx, event)) is not None]
    return [*told, *_approvals(tx, settings, after=after)]


def _told(tx: Transaction, event: Event) -> News | None:
    """Return what to say of an event; None when it has been settled meanwhile."""
    match event.kind:
        case "question_asked" | "question_escalated":
            question = questions.get(tx.db, event.subject)
            is_open = question.state is QuestionState.OPEN
            # Asked and left to the person at once is one thing.
            is_told = event.kind == "question_asked" and question.escalated
            return _question(tx, question, event.number) if is_open and not is_told else None
        case "task_proposed":
            task = tasks.get(tx.db, event.subject)
            is_open = task.state is TaskState.PROPOSED
            return _proposal(task.id, task.title, event.number) if is_open else None
        case "fleet_paused":
            return news.failure(event) if paused_reason(tx) else None
        case "target_red":
            newest = events.newest_of(tx.db, "target_green", event.subject)
            is_over = newest is not None and newest.number > event.number
            return None if is_over else news.failure(event)
        case "merged" | "closed":
            return news.ending(event, tasks.get(tx.db, event.subject).title)
        case "plan_completed":
            return news.ending(event, plans.get(tx.db, event.subject).title)
        case _:
            return news.failure(event)


def _question(tx: Transaction, question: Question, number: int) -> News:
    asker = sessions.SESSIONS.get(tx.db, question.session_id) if question.session_id else None
    about = f" about {question.task_id}" if question.task_id else ""
    who = f"{asker.name} asks" if asker is not None else "the fleet asks"
    options = ", ".join(quoted(option, 60) for option in question.options)
    left = " It was left to the person." if question.escalated else ""
    return News(
        number=number,
        rank=Rank.WAITS,
        text=f"{question.id} waits for an answer: {who}{about}: {quoted(question.text)}"
        f"{f' Options: {options}.' if options else ''}{left}",
    )


def _proposal(task_id: str, title: str, number: int) -> News:
    text = f"{task_id} is proposed and waits for a yes or no: {quoted(title)}"
    return News(number=number, rank=Rank.WAITS, text=text)


def _approvals(tx: Transaction, settings: "Settings", *, after: int) -> list[News]:
    """Return the merge requests that have begun to wait for the person's word after an event."""
    found: list[News] = []
    for request in merge_requests.in_state(tx.db, MergeState.OPEN):
        if not is_left_to_person(tx, request, settings):
            continue
        began = _began_to_wait(tx, request)
        if began > after:
            title = tasks.get(tx.db, request.task_id).title
            text = f"{request.id} waits for the person's word: {request.task_id} {quoted(title)}"
            found.append(News(number=began, rank=Rank.WAITS, text=text))
    return found


def _began_to_wait(tx: Transaction, request: MergeRequest) -> int:
    """Return the event with which a person's word became all that is missing.

    The first of each kind counts: what is checked anew because the target moved has been told.
    """
    asked = events.newest_of(tx.db, "merge_requested", request.id)
    since = asked.number if asked else 0
    kinds: Sequence[str] = ("checks_passed", "approved", "review_escalated")
    firsts = (events.first_of(tx.db, kind, request.id, since) for kind in kinds)
    return max(since, *(first.number for first in firsts if first is not None), 1)
