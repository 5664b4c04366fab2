"""The overview: the one read model behind the page, the terminal and `sf status`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sf_mcp.core.models import (
    MergeRequestId,
    Oid,
    PlanId,
    QuestionId,
    Role,
    SessionId,
    TaskId,
)
from sf_mcp.core.states import MergeState, PlanState, SessionState, TaskState


class WaitingKind(StrEnum):
    """What somebody has to settle, the first where one would be two of them."""

    PAUSED = "paused"
    """The fleet starts and lands nothing until somebody says so."""
    BUDGET = "budget"
    """The fleet has cost all that it may."""
    CONFIGURATION = "configuration"
    """An edit cannot be used; the last good configuration is in force."""
    REWRITTEN = "rewritten"
    """A branch has another history than the fleet builds on."""
    TARGET = "target"
    """The target fails a check."""
    STUCK = "stuck"
    PROPOSAL = "proposal"
    CONFLICT = "conflict"
    """A merge request in conflict that stewards left to the person."""
    REVIEW = "review"
    """A merge request that waits for the person's yes or no."""
    QUESTION = "question"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingLine:
    """One thing that waits for the person."""

    kind: WaitingKind
    id: str
    """What it is about: `Q4`, `M7`, `T12`; empty for the fleet as a whole."""
    task_id: TaskId | None
    text: str
    """One line; for what a note of the overview says too, the same words."""
    options: tuple[str, ...]
    """Answers to choose from; any other text may do as well."""
    since: datetime | None
    behind: int
    """Unfinished tasks that wait for it, itself included."""
    command: str
    """How to settle it in the terminal; empty where `text` has the commands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLine:
    id: PlanId
    title: str
    state: PlanState
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLine:
    id: TaskId
    title: str
    state: TaskState
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLine:
    id: SessionId
    name: str
    role: Role
    subject: str
    title: str
    state: SessionState
    note: str
    """For one that waits to be resumed: what ended its process, and when it goes on. For one that
    a person works in: since when."""
    question_id: QuestionId | None
    """What it is blocked on."""
    question: str
    asked_at: datetime | None
    is_turn_active: bool
    context_tokens: int
    context_window: int
    """What it may hold: the model's window, and no more than `maxSessionTokens` for a worker."""
    cost_usd: float
    last_line: str
    heard_at: datetime
    created_at: datetime
    taken_over_at: datetime | None
    """Since when a person works in it in place of the fleet; None while nobody does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeLine:
    id: MergeRequestId
    task_id: TaskId
    title: str
    state: MergeState
    status: str
    """One phrase: what it waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionLine:
    id: QuestionId
    task_id: TaskId | None
    text: str
    options: tuple[str, ...]
    escalated: bool
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorLine:
    """A person's own Claude Code session that is attached as director."""

    id: str
    """Claude Code's own id of it."""
    context_tokens: int
    context_window: int
    """Zero while its status line has not said."""
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetLine:
    """Where the target branch is, and how far the person's checkout has followed."""

    branch: str
    commit: Oid | None
    is_green: bool | None
    """None: not checked yet, or nothing to check with."""
    checkout: str
    """What the last publication did: `up to date`, or why the checkout was left alone."""
    remedy: str
    """The command that catches up; empty when nothing is behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    at: datetime
    project: str
    paused: str
    """Why nothing starts before a person has said so; empty when nothing is in the way."""
    parked_until: datetime | None
    """When the account's limit ends; the fleet goes on by itself then."""
    parked_reason: str
    notes: list[str]
    """What a person should know: no checks, a bad edit of the configuration."""
    waiting: list[WaitingLine]
    """What waits for the person: what holds up most first, then what has waited longest."""
    waiting_count: int
    """How many there are; `waiting` has the first of them."""
    target: TargetLine
    counts: dict[str, int]
    ready: int
    blocked: int
    plans: list[PlanLine]
    next_ready: list[TaskLine]
    stuck: list[TaskLine]
    sessions: list[SessionLine]
    merges: list[MergeLine]
    questions: list[QuestionLine]
    directors: list[DirectorLine]
    cost_usd: float
    newest_event: int
