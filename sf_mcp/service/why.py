"""The answer to "why?", for a task, a merge request, a question, a session or a plan.

One sentence, the facts behind it, what would change it, and when it is expected to have landed. A
task that waits for others is answered for down to the root of what it waits for: where somebody, or
something, really is at work or has to be.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from sf_mcp.core.errors import NotFound
from sf_mcp.core.forecast import Expected
from sf_mcp.core.models import MergeRequest, Plan, Question, Session, Task, TaskId
from sf_mcp.core.states import TASK_ENDS, MergeState, PlanState, QuestionState, TaskState
from sf_mcp.core.text import one_line
from sf_mcp.core.why import Why
from sf_mcp.service.forecasting import forecast
from sf_mcp.service.holding import Touched
from sf_mcp.service.look import (
    Finder,
    Look,
    Reason,
    asked,
    clock,
    few,
    first_of,
    how_to_answer,
    sign_of,
    who_answers,
)
from sf_mcp.service.reasons import BEFORE_REVIEW, READY, plan_is_not_active
from sf_mcp.service.reasons_in_review import SINCE_REVIEW
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import leases, merge_requests, plans, questions, sessions, tasks
from sf_mcp.store.rows import next_id, number_of

MOST_ATTEMPTS, MOST_RETURNS, MOST_CHAIN = 5, 3, 8

NOTHING_EXPECTED = Expected(at=None, words="")


# -- tasks -----------------------------------------------------------------------------------------


def _waits_for_others(look: Look) -> Reason | None:
    """Return what it waits for, and what the root of that waits for or is doing."""
    unmet = look.tx.graph.unmet(look.task.id)
    if not unmet:
        return None
    states = {on: tasks.get(look.tx.db, on).state for on in unmet}
    waits = f"{look.task.id} waits for " + ", ".join(
        f"{on} ({state.value})" for on, state in states.items()
    )
    chain = _chain(look)
    root = first_of(look.at(chain[-1]), REASONS[tasks.get(look.tx.db, chain[-1]).state])
    between = f", and behind that for {chain[-1]}" if chain[-1] not in unmet else ""
    facts = [f"{' → '.join(_shortened(chain))}: each waits for the next"] if between else []
    changes = root.changes
    if states.get(chain[-1]) is TaskState.CANCELLED:
        changes = (f"Let it start without: sf dep remove {look.task.id} {chain[-1]}",)
    return Reason(
        sentence=f"{waits}{between}; {root.sentence}",
        step=f"sf why {chain[-1]}" if not root.step else root.step,
        changes=changes,
        facts=(*facts, *root.facts),
    )


HELD_UP_MOST = (
    TaskState.CANCELLED,
    TaskState.STUCK,
    TaskState.PROPOSED,
    TaskState.WAITING,
    TaskState.IN_REVIEW,
    TaskState.CLAIMED,
    TaskState.OPEN,
)
"""States of what others wait for, the one that needs somebody most first."""


def _chain(look: Look) -> list[TaskId]:
    """Return the shortest way from the task down to the root of what it waits for.

    The root waits for nothing itself: what only somebody's word ends before what goes on by itself.
    """
    graph, states = look.tx.graph, tasks.states(look.tx.db)
    came_from: dict[TaskId, TaskId] = {look.task.id: look.task.id}
    found = [look.task.id]
    roots: list[TaskId] = []
    for one in found:  # grows while it is walked: breadth first
        unmet = () if states[one] is TaskState.CANCELLED else graph.unmet(one)
        new = [on for on in unmet if on not in came_from]
        came_from.update(dict.fromkeys(new, one))
        found += new
        if not unmet or states[one] in (TaskState.STUCK, TaskState.PROPOSED):
            roots.append(one)

    def rank(one: TaskId) -> int:
        # An open one that waits for nothing and is not ready is in a plan that is not active.
        is_held = states[one] is TaskState.OPEN and not graph.is_ready(one)
        return HELD_UP_MOST.index(TaskState.PROPOSED if is_held else states[one])

    root = min(roots, key=rank)
    chain = [root]
    while chain[-1] != look.task.id:
        chain.append(came_from[chain[-1]])
    return chain[::-1]


def _shortened(chain: Sequence[TaskId]) -> list[str]:
    if len(chain) <= MOST_CHAIN:
        return list(chain)
    return [*chain[: MOST_CHAIN - 2], f"… {len(chain) - MOST_CHAIN + 1} more …", chain[-1]]


REASONS: Mapping[TaskState, tuple[Finder, ...]] = {
    **BEFORE_REVIEW,
    TaskState.OPEN: (plan_is_not_active, _waits_for_others, *READY),
    **SINCE_REVIEW,
}
"""What may be the reason in each state of a task; the first that holds is."""


# -- everything that has a name --------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Answers at one moment."""

    tx: Transaction
    workspace: Workspace
    touched: Touched
    running: frozenset[int] | None
    """The trials that run in this server; None: no server lands anything."""

    def of(self, subject: str) -> Why:
        """Answer for what the id or the name stands for.

        Raises:
            NotFound: there is nothing of that name; the remedy names the nearest.
        """
        name = subject.strip()
        name = name.upper() if re.fullmatch(r"[tmpqTMPQ][0-9]{1,9}", name) else name
        db = self.tx.db
        if task := tasks.TASKS.get(db, name):
            return self.of_task(task)
        if request := merge_requests.MERGE_REQUESTS.get(db, name):
            return self._of_merge_request(request)
        if plan := plans.PLANS.get(db, name):
            return self._of_plan(plan)
        if question := questions.QUESTIONS.get(db, name):
            return self._of_question(question)
        if session_id := sessions.newest_named(db, name):
            return self._of_session(sessions.get(db, session_id))
        raise NotFound(
            f"There is no task, merge request, plan, question or session "
            f"{one_line(subject, 60)!r}.",
            remedy=self._nearest(name),
        )

    def of_task(self, task: Task) -> Why:
        """Answer for a task."""
        look = Look(
            tx=self.tx,
            workspace=self.workspace,
            touched=self.touched,
            task=task,
            running=self.running,
        )
        reason = first_of(look, REASONS[task.state])
        notes = merge_requests.repair_notes(self.tx.db, task.id)
        came_back = task.state is TaskState.OPEN and task.ahead and notes
        back = f" It was sent back: {notes[-1].reason}." if came_back else ""
        reason = replace(
            reason,
            sentence=f"{reason.sentence}{back}",
            facts=(*reason.facts, *_history(look)),
        )
        return _answer(task.id, reason, self._expected(task))

    def _expected(self, task: Task) -> Expected:
        if task.state in TASK_ENDS:
            return NOTHING_EXPECTED
        return forecast(self.tx, self.workspace).of(task.id)

    def _of_merge_request(self, request: MergeRequest) -> Why:
        """Answer for the way of a merge request; one that is over says how it ended."""
        of_task = self.of_task(tasks.get(self.tx.db, request.task_id))
        if request.state not in (MergeState.SENT_BACK, MergeState.WITHDRAWN):
            return of_task
        ended = f"{request.id} was {request.state.value.replace('_', ' ')}"
        notes = [
            one
            for one in merge_requests.repair_notes(self.tx.db, request.task_id)
            if one.merge_request_id == request.id
        ]
        if notes:
            detail = f": {one_line(notes[-1].detail, 200)}" if notes[-1].detail else ""
            ended += f" at {clock(notes[-1].created_at)}, since {notes[-1].reason}{detail}"
        return replace(of_task, subject=request.id, sentence=f"{ended}. {of_task.sentence}")

    def _of_question(self, question: Question) -> Why:
        """Answer for a question: who has it, or what was answered."""
        sentence = f"{question.id} is {question.state.value}."
        if question.state is QuestionState.ANSWERED:
            said = one_line(question.answer or "", 300)
            sentence = f"{question.id} was answered by {question.answered_by}: {said}"
        if question.state is not QuestionState.OPEN:
            return _answer(question.id, Reason(sentence=sentence), NOTHING_EXPECTED)
        task = tasks.get(self.tx.db, question.task_id) if question.task_id else None
        behind = self.tx.graph.behind([task.id])[task.id] if task is not None else 0
        holds_up = f"; it holds up {_counted(behind, 'task')}" if behind else ""
        who = who_answers(self.tx, self.workspace.settings, question)
        reason = Reason(
            sentence=f"{who}{holds_up}.",
            step=how_to_answer(question),
            facts=(asked(question),),
        )
        return _answer(question.id, reason, NOTHING_EXPECTED)

    def _of_session(self, session: Session) -> Why:
        """Answer for what a session is on; one that has ended says how it ended."""
        state = f"{session.name} is {session.state.value}, {sign_of(session, self.tx.now)}"
        if session.ended_at is not None:
            detail = f": {one_line(session.end_detail, 200)}" if session.end_detail else ""
            kind = session.end.value.replace("_", " ") if session.end else "unknown"
            state = f"{session.name} ended at {clock(session.ended_at)} ({kind}{detail})"
        subject = session.subject
        if not (
            tasks.TASKS.get(self.tx.db, subject)
            or merge_requests.MERGE_REQUESTS.get(self.tx.db, subject)
        ):
            step = f"sf logs {session.name}"
            return _answer(session.name, Reason(sentence=f"{state}.", step=step), NOTHING_EXPECTED)
        of_subject = self.of(subject)
        return replace(of_subject, subject=session.name, sentence=f"{state}. {of_subject.sentence}")

    def _of_plan(self, plan: Plan) -> Why:
        """Answer for a plan: how far it is, and what holds up most of it."""
        mine = tasks.of_plan(self.tx.db, plan.id)
        left = [one for one in mine if one.state not in TASK_ENDS]
        done = f"{plan.id} ({plan.title}) is {plan.state.value}, {len(mine) - len(left)} of "
        done += f"{_counted(len(mine), 'task')} done"
        if plan.state is PlanState.DRAFT:
            reason = Reason(
                sentence=f"{done}; its tasks start once it is active.",
                step=f"sf plan activate {plan.id}",
            )
            return _answer(plan.id, reason, NOTHING_EXPECTED)
        if not left:
            return _answer(plan.id, Reason(sentence=f"{done}."), NOTHING_EXPECTED)
        roots = [one for one in left if not self.tx.graph.unmet(one.id)]
        behind = self.tx.graph.behind([one.id for one in roots or left])
        first = min(
            roots or left,
            key=lambda one: (HELD_UP_MOST.index(one.state), -behind[one.id], number_of(one.id)),
        )
        most = max(roots or left, key=lambda one: (behind[one.id], -number_of(one.id)))
        found = self.of_task(first if behind[first.id] == behind[most.id] else most)
        count = behind[TaskId(found.subject)]
        soon = forecast(self.tx, self.workspace).of_all([one.id for one in left])
        path = self.tx.graph.critical_path([one.id for one in left])
        facts = (
            f"longest chain by estimates: {' → '.join(_shortened(path))}",
            f"ready or at work: {few([one.id for one in roots])}" if roots else "",
        )
        return replace(
            found,
            subject=plan.id,
            sentence=f"{done}; {found.subject} holds up most of the rest "
            f"({_counted(count, 'task')}): {found.sentence}",
            facts=[*filter(None, facts), *found.facts],
            expected_at=soon.at,
            expected=soon.words,
        )

    def _nearest(self, name: str) -> str:
        """Return what may have been meant."""
        db = self.tx.db
        if re.fullmatch(r"[0-9]{1,9}", name) and tasks.TASKS.get(db, f"T{name}"):
            return f"Did you mean T{name}?"
        newest = {"T": "tasks", "M": "merge_requests", "P": "plans", "Q": "questions"}
        if re.fullmatch(r"[TMPQ][0-9]{1,9}", name):
            last = number_of(next_id(db, newest[name[0]], name[0])) - 1
            if last:
                return f"The newest is {name[0]}{last}."
        names = [one.name for one in sessions.alive(db)] + [one.title for one in plans.all_of(db)]
        if near := get_close_matches(name[:60], names, n=1):
            return f"Did you mean {near[0]}?"
        return "Name a task (T12), a merge request (M7), a plan (P3) or a session (worker-2)."


def _answer(subject: str, reason: Reason, soon: Expected) -> Why:
    return Why(
        subject=subject,
        sentence=reason.sentence,
        facts=list(reason.facts),
        next_step=reason.step,
        changes=[*([reason.step] if reason.step else []), *reason.changes],
        expected_at=soon.at,
        expected=soon.words,
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _history(look: Look) -> list[str]:
    """Return how the last attempts ended, and why the work came back."""
    attempts = [
        f"attempt {number}: {sessions.get(look.tx.db, lease.session_id).name} ended as {lease.end} "
        f"{one_line(lease.end_detail, 200)}".strip()
        for number, lease in enumerate(leases.attempts(look.tx.db, look.task.id), start=1)
    ]
    returned = [
        f"sent back at {clock(note.created_at)} ({note.merge_request_id}): {note.reason}"
        + (f": {one_line(note.detail, 200)}" if note.detail else "")
        for note in merge_requests.repair_notes(look.tx.db, look.task.id)
    ]
    return attempts[-MOST_ATTEMPTS:] + returned[-MOST_RETURNS:]
