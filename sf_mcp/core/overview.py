"""The overview: the one read model behind the page, the terminal and `sf status`."""

from dataclasses import dataclass
from datetime import datetime

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
    """For one that waits to be resumed: what ended its process, and when it goes on."""
    is_turn_active: bool
    context_tokens: int
    context_window: int
    """What it may hold: the model's window, and no more than `maxSessionTokens` for a worker."""
    cost_usd: float
    last_line: str
    heard_at: datetime
    created_at: datetime


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
    cost_usd: float
    newest_event: int
