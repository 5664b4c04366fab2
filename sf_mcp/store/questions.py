"""Questions as rows."""

import sqlite3

from sf_mcp.core.errors import NotFound
from sf_mcp.core.models import Question, QuestionId, SessionId, TaskId
from sf_mcp.core.states import QuestionState
from sf_mcp.store.rows import Table, next_id

QUESTIONS = Table("questions", Question)


def new_id(db: sqlite3.Connection) -> QuestionId:
    """Return the next free id."""
    return QuestionId(next_id(db, "questions", "Q"))


def get(db: sqlite3.Connection, question_id: str) -> Question:
    """Return the question.

    Raises:
        NotFound: there is none with this id.
    """
    if (question := QUESTIONS.get(db, question_id)) is None:
        raise NotFound(
            f"There is no question {question_id}.", remedy="List them with `sf question list`."
        )
    return question


def in_state(db: sqlite3.Connection, *states: QuestionState) -> list[Question]:
    """Return the questions in any of these states, oldest first."""
    marks = ", ".join("?" * len(states))
    return QUESTIONS.select(db, f"state IN ({marks}) ORDER BY number", *states)


def open_of_task(db: sqlite3.Connection, task_id: TaskId) -> Question | None:
    """Return the task's open question."""
    return QUESTIONS.first(db, "task_id = ? AND state = 'open'", task_id)


def of_task(db: sqlite3.Connection, task_id: TaskId) -> list[Question]:
    """Return all questions of the task, oldest first."""
    return QUESTIONS.select(db, "task_id = ? ORDER BY number", task_id)


def answers_of_task(db: sqlite3.Connection, task_id: TaskId) -> list[tuple[str, str]]:
    """Return the task's answered questions, each with its answer, oldest first."""
    answered = QUESTIONS.select(db, "task_id = ? AND state = 'answered' ORDER BY number", task_id)
    return [(question.text, question.answer or "") for question in answered]


def undelivered(db: sqlite3.Connection, session_id: SessionId) -> list[Question]:
    """Return the session's answered questions whose answer it has not had yet."""
    return QUESTIONS.select(
        db,
        "session_id = ? AND state = 'answered' AND delivered_at IS NULL ORDER BY number",
        session_id,
    )
