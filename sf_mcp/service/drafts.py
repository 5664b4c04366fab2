"""Tasks as they are asked for, checked before anything is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.models import (
    DEFAULT_PRIORITY,
    HIGHEST_PRIORITY,
    LOWEST_PRIORITY,
    Task,
    TaskId,
)
from sf_mcp.core.states import TaskState
from sf_mcp.core.text import checked_title
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import tasks

MOST_ESTIMATE_MINUTES = 60 * 24 * 30
MOST_ITEMS = 50
"""Acceptance criteria, and paths, of one task: a brief shows all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDraft:
    """A task to be created. `depends_on` names tasks by id, or others of the call by `key`."""

    title: str
    key: str = ""
    description: str = ""
    acceptance: Sequence[str] = ()
    priority: int = DEFAULT_PRIORITY
    estimate_minutes: float | None = None
    paths: Sequence[str] = ()
    depends_on: Sequence[str] = ()


def ids_by_key(drafts: Sequence[TaskDraft], ids: Sequence[TaskId]) -> Mapping[str, TaskId]:
    """Return the ids of the drafts that have a key.

    Raises:
        InvalidInput: two have the same one.
    """
    by_key: dict[str, TaskId] = {}
    for draft, task_id in zip(drafts, ids, strict=True):
        if draft.key and draft.key in by_key:
            raise InvalidInput(
                f"Two tasks of the call have the key {draft.key!r}.",
                remedy="Give each its own key.",
            )
        if draft.key:
            by_key[draft.key] = task_id
    return by_key


def resolved_dependencies(
    tx: Transaction, draft: TaskDraft, by_key: Mapping[str, TaskId]
) -> list[TaskId]:
    """Return what the draft depends on, keys as ids; each once.

    Raises:
        NotFound: one is neither a task nor a key of the call.
        InvalidInput: one was cancelled.
    """
    found = [
        by_key[on] if on in by_key else require_dependable(tasks.get(tx.db, on)).id
        for on in draft.depends_on
    ]
    return list(dict.fromkeys(found))


def require_dependable(task: Task) -> Task:
    """Return the task if another may wait for it.

    Raises:
        InvalidInput: it was cancelled, so that the other could never start.
    """
    if task.state is TaskState.CANCELLED:
        raise InvalidInput(
            f"{task.id} was cancelled; what depends on it could never start.",
            remedy="Leave the dependency out, or create the task anew.",
        )
    return task


def checked_acceptance(criteria: Sequence[str]) -> tuple[str, ...]:
    """Return acceptance criteria, each on one line.

    Raises:
        InvalidInput: there are too many, or one cannot be accepted.
    """
    _refuse_too_many(criteria, "acceptance criteria")
    return tuple(checked_title(text, "acceptance criterion") for text in criteria)


def checked_paths(paths: Sequence[str]) -> tuple[str, ...]:
    """Return paths relative to the top of the repository.

    Raises:
        InvalidInput: there are too many, or one leads out of the repository.
    """
    _refuse_too_many(paths, "paths")
    return tuple(_checked_path(path) for path in paths)


def checked_priority(priority: int) -> int:
    """Return the priority.

    Raises:
        InvalidInput: it is none.
    """
    if not HIGHEST_PRIORITY <= priority <= LOWEST_PRIORITY:
        raise InvalidInput(
            f"Priority {priority} is outside {HIGHEST_PRIORITY} to {LOWEST_PRIORITY}.",
            remedy=f"{HIGHEST_PRIORITY} is the most urgent, {LOWEST_PRIORITY} the least.",
        )
    return priority


def checked_estimate(minutes: float | None) -> float | None:
    """Return the estimate.

    Raises:
        InvalidInput: it is not a sensible number of minutes.
    """
    if minutes is not None and not 0 < minutes <= MOST_ESTIMATE_MINUTES:
        raise InvalidInput(
            f"An estimate of {minutes:g} minutes cannot be accepted.",
            remedy=f"Give minutes above 0 and up to {MOST_ESTIMATE_MINUTES}.",
        )
    return minutes


def _checked_path(path: str) -> str:
    cleaned = checked_title(path, "path")
    if cleaned.startswith("/") or ".." in cleaned.split("/"):
        raise InvalidInput(
            f"The path {cleaned!r} leads out of the repository.",
            remedy="Give paths relative to the top of the repository.",
        )
    return cleaned


def _refuse_too_many(items: Sequence[str], what: str) -> None:
    if len(items) > MOST_ITEMS:
        raise InvalidInput(
            f"{len(items)} {what} for one task; at most {MOST_ITEMS} are accepted.",
            remedy="Split the task.",
        )
