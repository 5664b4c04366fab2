"""The person's inbox: all that waits for somebody's word, what holds up most work first.

Rule 1: one thing is one line. A stuck task and the question about it are the task; a question about
a usage limit is the question, and not a pause as well.
Rule 2: what a headless director works on at this moment waits for it, and is not here; a question
that it has left to the person, or that nobody has taken up, is.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from sf_mcp.core.models import MergeRequest, Question, Task, TaskId
from sf_mcp.core.overview import WaitingKind, WaitingLine
from sf_mcp.core.states import TASK_ENDS, MergeState, QuestionState, TaskState
from sf_mcp.core.text import one_line
from sf_mcp.service.conflict_state import named
from sf_mcp.service.limits import is_about_limit
from sf_mcp.service.merge_status import is_left_to_person
from sf_mcp.service.pauses import paused_reason
from sf_mcp.service.rewritten import PLACES, rewritten_fact
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import (
    conflicts,
    events,
    facts,
    landings,
    leases,
    merge_requests,
    questions,
    tasks,
)

if TYPE_CHECKING:
    from sf_mcp.settings import Settings

TEXT_CHARACTERS = 300
MOST_LINES = 200


def inbox(
    tx: Transaction, settings: Callable[[], "Settings"], problem: str, spent: str
) -> tuple[list[WaitingLine], int]:
    """Return the first of what waits, and how many there are in all.

    `problem` says what is wrong with the configuration, `spent` that the fleet has cost all that it
    may; `settings` is called only when something hangs on them, since reading them takes long.
    """
    found = [
        *_of_the_fleet(tx, problem, spent),
        *_of_tasks(tx),
        *_questions(tx),
        *_merge_requests(tx, settings),
    ]
    behind = tx.graph.behind({line.task_id for line in found if line.task_id})
    counted = [
        line if line.task_id is None else replace(line, behind=behind[line.task_id])
        for line in found
    ]
    counted.sort(key=_rank)
    return counted[:MOST_LINES], len(counted)


def _rank(line: WaitingLine) -> tuple[int, str, str]:
    return (-line.behind, line.since.isoformat() if line.since else "", line.id)


def _line(
    kind: WaitingKind,
    text: str,
    *,
    id: str = "",
    task_id: TaskId | None = None,
    options: tuple[str, ...] = (),
    since: datetime | None = None,
    behind: int = 0,
    command: str = "",
) -> WaitingLine:
    return WaitingLine(
        kind=kind,
        id=id,
        task_id=task_id,
        text=one_line(text, TEXT_CHARACTERS),
        options=options,
        since=since,
        behind=behind,
        command=command,
    )


def _of_the_fleet(tx: Transaction, problem: str, spent: str) -> Iterator[WaitingLine]:
    if reason := paused_reason(tx):
        told = events.newest_of(tx.db, "fleet_paused", "")
        yield _line(
            WaitingKind.PAUSED,
            f"The fleet is paused: {reason}",
            since=told.at if told else None,
            behind=_unfinished(tx),
            command="sf resume",
        )
    if spent:
        told = events.newest_of(tx.db, "budget_spent", "")
        yield _line(
            WaitingKind.BUDGET,
            f"{spent}: nothing is started until you raise it.",
            since=told.at if told else None,
            behind=_unfinished(tx),
        )
    if problem:
        yield _line(
            WaitingKind.CONFIGURATION,
            f"The last good configuration is in use: {problem}",
            command="sf config check",
        )
    for place in PLACES:
        if sentence := facts.get(tx.db, rewritten_fact(place)):
            told = events.newest_of(tx.db, "upstream_rewritten", "")
            # Whole: it ends with the commands.
            line = _line(WaitingKind.REWRITTEN, "", id=place, since=told.at if told else None)
            yield replace(line, text=one_line(sentence, len(sentence)))
    newest = landings.newest_done(tx.db)
    if newest is not None and newest.is_green is False:
        failing = {one.check: one for one in landings.verdicts_on(tx.db, newest.tree)}
        names = [f"{one.check} {one.outcome}" for one in failing.values() if not one.passed]
        yield _line(
            WaitingKind.TARGET,
            f"The target is red at {newest.new[:12]}: {', '.join(names) or 'a check fails'}. What "
            "leaves it so still lands.",
            since=newest.finished_at,
            command='sf task create --priority 1 --title "Mend the target"',
        )


def _unfinished(tx: Transaction) -> int:
    counts = tasks.count_by_state(tx.db)
    return sum(number for state, number in counts.items() if state not in TASK_ENDS)


def _of_tasks(tx: Transaction) -> Iterator[WaitingLine]:
    for task in tasks.in_state(tx.db, TaskState.STUCK, TaskState.PROPOSED):
        if task.state is TaskState.PROPOSED:
            yield _line(
                WaitingKind.PROPOSAL,
                f"Proposed: {task.title}",
                id=task.id,
                task_id=task.id,
                since=task.created_at,
                command=f"sf task update {task.id} --accept",
            )
            continue
        question = questions.open_of_task(tx.db, task.id)
        if question is None or not _is_in_hand(tx, question):
            yield _stuck(task, question)


def _stuck(task: Task, question: Question | None) -> WaitingLine:
    evidence = question.context if question is not None else ""
    return _line(
        WaitingKind.STUCK,
        f"{task.title} is stuck" + (f": {evidence}" if evidence else "."),
        id=task.id,
        task_id=task.id,
        options=question.options if question is not None else (),
        since=question.asked_at if question is not None else task.updated_at,
        command=f"sf task retry {task.id}",
    )


def _questions(tx: Transaction) -> Iterator[WaitingLine]:
    for question in questions.in_state(tx.db, QuestionState.OPEN):
        task = tasks.TASKS.get(tx.db, question.task_id) if question.task_id else None
        is_goal = task is None and question.session_id is None and not question.escalated
        is_of_stuck = task is not None and task.state is TaskState.STUCK
        if is_goal or is_of_stuck or _is_in_hand(tx, question):
            continue
        yield _line(
            WaitingKind.QUESTION,
            question.text,
            id=question.id,
            task_id=question.task_id,
            options=question.options,
            since=question.asked_at,
            behind=_unfinished(tx) if is_about_limit(tx, question) else 0,
            command=f'sf question answer {question.id} "…"',
        )


def _is_in_hand(tx: Transaction, question: Question) -> bool:
    """Return whether a headless director works on it."""
    return not question.escalated and leases.live_on(tx.db, question.id) is not None


def _merge_requests(tx: Transaction, settings: Callable[[], "Settings"]) -> Iterator[WaitingLine]:
    for request in merge_requests.in_state(tx.db, MergeState.OPEN):
        if is_left_to_person(tx, request, settings()):
            yield _review(tx, request, tasks.get(tx.db, request.task_id))


def _review(tx: Transaction, request: MergeRequest, task: Task) -> WaitingLine:
    told = events.newest_of(tx.db, "review_escalated", request.id)
    reviews = merge_requests.reviews_of(tx.db, request)
    since = request.created_at
    if request.is_escalated and told is not None:
        since = told.at
    elif reviews:
        since = reviews[-1].created_at
    if (conflict := conflicts.live_of(tx.db, request.id)) is not None:
        return _line(
            WaitingKind.CONFLICT,
            f"{task.title}: stewards did not resolve its conflict in {named(conflict.paths)}",
            id=request.id,
            task_id=task.id,
            since=since,
            command=f'sf mr approve {request.id} --reason "…"',
        )
    note = str(told.data.get("note", "")) if request.is_escalated and told is not None else ""
    return _line(
        WaitingKind.REVIEW,
        f"{task.title}: {note}" if note else task.title,
        id=request.id,
        task_id=task.id,
        since=since,
        command=f"sf mr approve {request.id}",
    )
