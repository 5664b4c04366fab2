"""The durable inbox: sessions ask, a director or the person answers, once."""

import hashlib
import re
from dataclasses import dataclass, field, fields
from datetime import timedelta

from sf_mcp.core.errors import IllegalTransition, InvalidInput
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Lease, Question, Role, Task, TaskId
from sf_mcp.core.news import quoted
from sf_mcp.core.similarity import most_similar
from sf_mcp.core.states import (
    TASK_ENDS,
    QuestionEvent,
    QuestionState,
    SessionState,
    TaskEvent,
    TaskState,
)
from sf_mcp.core.text import checked_text, checked_title
from sf_mcp.service import answers, limits
from sf_mcp.service.claims import STUCK_OPTIONS, ask, require_lease, session_of
from sf_mcp.service.endings import ask_about_blocked, cancel, retry
from sf_mcp.service.planning_rights import PLANNERS, planning
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import calls, leases, questions, sessions, tasks
from sf_mcp.store.rows import number_of

MOST_OPTIONS = 10
QUESTION_LIMIT, CONTEXT_LIMIT, ANSWER_LIMIT, NOTE_LIMIT = 3_000, 3_000, 4_000, 1_500
"""Characters; together they fit into one result of `list_questions`."""

MOST_EARLIER = 3
"""Earlier answers that are offered instead of asking; together they fit into one result."""

GOAL_LIMIT = 8_000
OPTION_LIMIT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What came of asking: a question of the inbox, or earlier answers that may do instead."""

    question: Question | None = None
    earlier: list[Question] = field(default_factory=list[Question])


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionView(Question):
    """A question with who waits for it and what waits behind."""

    asker: str
    """Name of the session; empty for a goal, or when it is about a task as such."""
    is_parked: bool
    """The session has no process and goes on only with the answer."""
    behind: list[TaskId]
    """Unfinished tasks that cannot start before the one asked about is done, all the way down."""


class QuestionService:
    """Use cases of questions and answers."""

    def __init__(self, workspace: Workspace) -> None:
        """Work on this project."""
        self._workspace = workspace

    def ask_director(
        self,
        caller: Caller,
        *,
        question: str,
        options: tuple[str, ...] = (),
        context: str = "",
        none_applies: bool = False,
        use_id: str = "",
    ) -> Asked:
        """Ask about the task in hand; the same question asked again is the same one.

        What was answered in the plan before and is like it is returned first and nothing opened,
        unless `none_applies`; under one lease not twice for the same text, but for the same call of
        the client again (`use_id`).

        Raises:
            InvalidInput: it is empty or too long, or another question of the task is still open.
            StaleLease: the caller holds no task any more.
        """
        text = checked_text(question, "question", limit=QUESTION_LIMIT).strip()
        if not text:
            raise InvalidInput("The question is empty.", remedy="Say what you need to know.")
        if len(options) > MOST_OPTIONS:
            raise InvalidInput(f"At most {MOST_OPTIONS} options.", remedy="Offer fewer.")
        choices = tuple(
            checked_text(checked_title(option, "option"), "option", limit=OPTION_LIMIT)
            for option in options
        )
        background = checked_text(context, "context", limit=CONTEXT_LIMIT)
        # Outside the write, for which others would have to wait.
        earlier = [] if none_applies else self._earlier_answers(caller, text)
        with self._workspace.write(caller) as tx:
            lease = require_lease(tx, caller)
            task_id = TaskId(lease.subject)
            if found := _asked_before(tx, task_id, text):
                return Asked(question=found)
            if earlier and (offered := _offered(tx, lease, text, earlier, use_id)):
                return Asked(earlier=offered)
            session = sessions.get(tx.db, lease.session_id)
            # It is in the middle of a turn, even if its stream was not heard of yet: lost in it, it
            # goes on with it; lost at rest, it is parked.
            tx.edit_session(session, is_turn_active=True)
            number = ask(
                tx,
                task_id=task_id,
                session=session,
                text=text,
                options=choices,
                context=background,
            )
            return Asked(question=questions.get(tx.db, number))

    def _earlier_answers(self, caller: Caller, text: str) -> list[Question]:
        with self._workspace.read() as tx:
            lease = leases.live_of(tx.db, session_of(caller))
            task = tasks.TASKS.get(tx.db, lease.subject) if lease else None
            answered = questions.answered_in_plan(tx.db, task.plan_id) if task else []
        places = most_similar(text, [one.text for one in answered], most=MOST_EARLIER)
        return [answered[place] for place in places]

    def set_goal(self, caller: Caller, *, goal: str) -> Question:
        """Give a headless director a goal to plan; it is answered with the plan."""
        caller.require(Role.PERSON, to="set goals")
        text = checked_text(goal, "goal", limit=GOAL_LIMIT).strip()
        if not text:
            raise InvalidInput("The goal is empty.", remedy="Say what should be achieved.")
        with self._workspace.write(caller) as tx:
            number = ask(tx, task_id=None, session=None, text=text, options=(), context="")
            return questions.get(tx.db, number)

    def list_questions(
        self, _caller: Caller, *, all: bool = False, after: str = ""
    ) -> list[QuestionView]:
        """Return the open questions, or all of them, oldest first, those after the one `after`."""
        states = tuple(QuestionState) if all else (QuestionState.OPEN,)
        with self._workspace.read() as tx:
            found = questions.in_state(tx.db, *states)
            behind = number_of(questions.get(tx.db, after).id) if after else 0
            return [_view(tx, one) for one in found if number_of(one.id) > behind]

    def get_question(self, _caller: Caller, question: str) -> QuestionView:
        """Return one question."""
        with self._workspace.read() as tx:
            return _view(tx, questions.get(tx.db, question))

    def answer_question(self, caller: Caller, question_id: str, *, answer: str) -> Question:
        """Answer an open question; a task parked on it is reserved for its session.

        Raises:
            IllegalTransition: it was answered or withdrawn already; that answer stands.
            InvalidInput: it is empty or too long, or the question asks for a decision.
        """
        caller.require(*PLANNERS, to="answer questions")
        text = checked_text(answer, "answer", limit=ANSWER_LIMIT).strip()
        if not text:
            raise InvalidInput("The answer is empty.", remedy="Write what the session should do.")
        with planning(self._workspace, caller, to="answer questions") as tx:
            asked = questions.get(tx.db, question_id)
            if asked.state is not QuestionState.OPEN:
                raise _settled(asked)
            found = tx.move_question(
                asked,
                QuestionEvent.ANSWER,
                answer=text,
                answered_by=caller.name,
                answered_at=tx.now,
            )
            tx.event("question_answered", found.id, task=found.task_id, answer=text)
            lease = leases.live_on(tx.db, found.id)
            if lease is not None and lease.session_id != caller.session_id:
                director = sessions.get(tx.db, lease.session_id)
                tx.edit_session(director, stop_requested=f"{found.id} was answered")
            if found.task_id is not None:
                self._act_on(tx, found, tasks.get(tx.db, found.task_id), text)
            elif limits.is_about_limit(tx, found):
                limits.decide(self._workspace, tx, found, text)
            return found

    def _act_on(self, tx: Transaction, question: Question, task: Task, answer: str) -> None:
        if task.state is TaskState.WAITING:
            seconds = self._workspace.settings.orchestrator.reservation_seconds
            tx.move_task(
                task,
                TaskEvent.UNPARK,
                reserved_for=question.session_id,
                reserved_until=tx.now + timedelta(seconds=seconds),
            )
        elif task.state is TaskState.STUCK and question.session_id is None:
            match decision_in(answer):
                case "retry":
                    retry(tx, task)
                case "cancel":
                    ask_about_blocked(tx, cancel(tx, task, f"cancelled by {tx.actor}"))
                case _:
                    # Answered without a decision, the task would lie there unnoticed.
                    raise InvalidInput(
                        f"{question.id} asks what becomes of {task.id}; the answer must begin "
                        "with retry or cancel.",
                        remedy="Begin with one of them; reasons may follow and reach the worker.",
                    )

    def escalate(self, caller: Caller, question_id: str, *, note: str) -> Question:
        """Leave an open question to the person, with what has been found out."""
        caller.require(*PLANNERS, to="escalate questions")
        text = checked_text(note, "note", limit=NOTE_LIMIT)
        with planning(self._workspace, caller, to="escalate questions") as tx:
            found = questions.get(tx.db, question_id)
            if found.state is not QuestionState.OPEN:
                raise InvalidInput(
                    f"{found.id} is {found.state.value} already.", remedy="Nothing is left to do."
                )
            if found.escalated:
                return found
            context = f"{found.context}\n\n{caller.name}: {text}".strip()
            found = tx.edit_question(found, escalated=True, context=context)
            tx.event("question_escalated", found.id, note=text)
            return found


def _settled(question: Question) -> IllegalTransition:
    """Return the refusal of a second answer, which says whose stands and what it is."""
    if question.state is QuestionState.WITHDRAWN or question.answered_at is None:
        return IllegalTransition(
            f"Question {question.id} is withdrawn: nobody waits for its answer any more.",
            remedy="Nothing is left to do.",
        )
    return IllegalTransition(
        f"{question.id} was answered already, by {question.answered_by} at "
        f"{question.answered_at:%Y-%m-%d %H:%M} UTC: {quoted(question.answer or '', 500)}",
        remedy="That answer stands. If the work must change because of it, change the task.",
    )


def _asked_before(tx: Transaction, task_id: TaskId, text: str) -> Question | None:
    """Return the task's question with this very text: answered already, or still open.

    The call was made again, by a session that has not had the reply: nobody is asked twice.

    Raises:
        InvalidInput: another question of the task is open.
    """
    for asked in questions.of_task(tx.db, task_id):
        if asked.text == text and asked.state is QuestionState.ANSWERED:
            return asked
    found = questions.open_of_task(tx.db, task_id)
    if found is not None and found.text != text:
        raise InvalidInput(
            f"{found.id} of this task is still open: {found.text}",
            remedy="Wait for its answer, or go on with what does not depend on it.",
        )
    return found


def _offered(
    tx: Transaction, lease: Lease, text: str, earlier: list[Question], use_id: str
) -> list[Question]:
    """Return what to offer instead of asking; nothing when it was offered before."""
    key = f"offer:{lease.number}:{hashlib.sha256(text.encode()).hexdigest()}"
    made = calls.find(tx.db, key, answers.ASKING_TOOL, "")
    if made is None:
        ids = [one.id for one in earlier]
        calls.store(
            tx.db, key, answers.ASKING_TOOL, "", {"use_id": use_id, "questions": ids}, tx.now
        )
        tx.event("earlier_answers_offered", lease.subject, questions=ids, text=text)
        return earlier
    if use_id and made["use_id"] == use_id:
        return [questions.get(tx.db, one) for one in made["questions"]]
    return []


def _view(tx: Transaction, question: Question) -> QuestionView:
    asker = sessions.SESSIONS.get(tx.db, question.session_id) if question.session_id else None
    return QuestionView(
        **{each.name: getattr(question, each.name) for each in fields(question)},
        asker=asker.name if asker else "",
        is_parked=asker is not None and asker.state is SessionState.PARKED,
        behind=_behind(tx, question.task_id) if question.task_id else [],
    )


def _behind(tx: Transaction, task_id: TaskId) -> list[TaskId]:
    found: dict[TaskId, None] = {}
    pending = [task_id]
    while pending:
        for other in tx.graph.dependents(pending.pop()):
            if other not in found and tasks.get(tx.db, other).state not in TASK_ENDS:
                found[other] = None
                pending.append(other)
    return sorted(found, key=number_of)


def decision_in(answer: str) -> str:
    """Return the option about a stuck task that an answer begins with; empty when with none."""
    word = re.match(r"\W*(\w+)", answer)
    return next((one for one in STUCK_OPTIONS if word and word[1].lower() == one), "")
