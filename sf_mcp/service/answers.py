"""How answers reach the sessions that asked: given, then acknowledged.

Rule 1: an answer is owed to its session until a sign of the session was seen after it was given. A
session that is lost before is given it again; one that has acknowledged it never is.
Rule 2: given is what is sure to be in the conversation: a message that the launcher writes, or a
call's result that the client says it has. A result that was merely sent may have been lost.
Rule 3: what is owed goes with the task: its next session is given it with its first message.
"""

import json
from collections.abc import Sequence
from typing import Any, cast

from sf_mcp.core.models import Question, QuestionId, SessionId
from sf_mcp.core.states import QuestionState
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import questions

ASKING_TOOL = "ask_director"


def text_of(answered: Sequence[Question]) -> str:
    """Return answers as a session is told them."""
    return "\n".join(
        f"{question.id} was answered by {question.answered_by}: {question.answer}"
        for question in answered
    )


def give(tx: Transaction, answered: Sequence[Question]) -> None:
    """Record that answers are on their way into the conversation for sure."""
    for question in answered:
        tx.edit_question(question, delivered_at=tx.now)
        tx.event("answer_delivered", question.id, session=question.session_id)


def give_all_owed(tx: Transaction, session_id: SessionId) -> list[Question]:
    """Give a session that starts, or starts again, every answer it is not known to have had."""
    owed = questions.unacknowledged(tx.db, session_id)
    give(tx, owed)
    return owed


def acknowledge(tx: Transaction, session_id: SessionId) -> None:
    """Record a sign of the session: its turn has had what was given to it before."""
    for question in questions.unacknowledged(tx.db, session_id):
        if question.delivered_at is not None:
            tx.edit_question(question, acknowledged_at=tx.now)
            tx.event("answer_acknowledged", question.id, session=session_id)


def hand_on(tx: Transaction, task_id: str, session_id: SessionId) -> None:
    """Owe to the task's new session what an earlier one asked and was not known to have had."""
    for question in questions.owed_on_task(tx.db, task_id):
        if question.session_id != session_id:
            tx.edit_question(question, session_id=session_id, delivered_at=None)


def answered_in(result: Any) -> QuestionId | None:
    """Return the question that a result of `ask_director` answers, as a client's hook tells it."""
    if isinstance(result, str):
        try:
            result = json.loads(result)
        except (ValueError, RecursionError):
            return None
    if not isinstance(result, dict):
        return None
    told = cast(dict[str, Any], result)
    if told.get("status") != QuestionState.ANSWERED.value:
        return None
    return QuestionId(str(told.get("question")))
