"""Questions as rows."""

import sqlite3

from sf_mcp.core.errors import NotFound
from sf_mcp.core.models import PlanId, Question, QuestionId, SessionId, TaskId
from sf_mcp.core.states import QuestionState
from sf_mcp.store.rows import Table, next_id

QUESTIONS = Table("questions", Question)

MOST_ANSWERED = 300
"""Answers of a plan that a new question is compared with: the newest."""


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


def unacknowledged(db: sqlite3.Connection, session_id: SessionId) -> list[Question]:
    """Return the session's answered questions that no turn of it is known to have had."""
    return QUESTIONS.select(
        db,
        "session_id = ? AND state = 'answered' AND acknowledged_at IS NULL ORDER BY number",
        session_id,
    )


def owed_on_task(db: sqlite3.Connection, task_id: str) -> list[Question]:
    """Return what sessions on the task asked and are not known to have an answer to."""
    return QUESTIONS.select(
        db,
        "task_id = ? AND session_id IS NOT NULL AND (state = 'open'"
        " OR (state = 'answered' AND acknowledged_at IS NULL)) ORDER BY number",
        task_id,
    )


def answered_in_plan(db: sqlite3.Connection, plan_id: PlanId) -> list[Question]:
    """Return the newest answered questions of the plan's workers, oldest of them first."""
    newest = QUESTIONS.select(
        db,
        "state = 'answered' AND session_id IS NOT NULL"
        " AND task_id IN (SELECT id FROM tasks WHERE plan_id = ?) ORDER BY number DESC LIMIT ?",
        plan_id,
        MOST_ANSWERED,
    )
    return newest[::-1]


def undelivered(db: sqlite3.Connection, session_id: SessionId) -> list[Question]:
    """Return the session's answered questions whose answer it has not been given."""
    return QUESTIONS.select(
        db,
        "session_id = ? AND state = 'answered' AND delivered_at IS NULL ORDER BY number",
        session_id,
    )
