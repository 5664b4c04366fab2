"""The merge train as people see it: what waits, what is being checked, what lands next and when."""

from dataclasses import dataclass
from datetime import datetime

from sf_mcp.core.merge_facts import Outcome
from sf_mcp.core.models import LandingKind, MergeRequestId, Oid, TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLine:
    """What one check says of one tree."""

    name: str
    outcome: str
    """`passed`, `failed (exit 1)`, `still to come`, `not run`."""
    passed: bool | None
    """None: it has said nothing yet."""
    seconds: float
    is_flaky: bool
    """It has both passed and failed on this very tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLine:
    """One merge request that waits."""

    position: int
    """From 1, in the order in which they should land."""
    id: MergeRequestId
    task_id: TaskId
    title: str
    priority: int
    """The most urgent of its task and of all that waits for it."""
    status: str
    may_land: bool
    """Nobody's word is missing."""
    is_next: bool
    """It is among what lands next, as things stand."""
    behind: int
    """Unfinished tasks that wait for it, its own included."""
    trials: int
    """How often it has been checked with others or alone."""
    since: datetime
    expected_at: datetime | None
    """When it has landed; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLine:
    """Merge requests that are, or were, checked together in this order."""

    number: int
    requests: list[MergeRequestId]
    outcome: Outcome
    is_full: bool
    """Every check, so that it may land; else only those that the changed paths call for."""
    checks: list[CheckLine]
    started_at: datetime
    ended_at: datetime | None
    expected_at: datetime | None
    """When a running one ends; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedLine:
    """One move of the target branch."""

    number: int
    kind: LandingKind
    commit: Oid
    requests: list[MergeRequestId]
    titles: list[str]
    """Of their tasks."""
    is_green: bool | None
    """None: not checked."""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainView:
    at: datetime
    stopped: str
    """Why nothing lands at all; empty when the train goes."""
    slots: int
    """How many sets are checked at once, at most."""
    used: int
    next: list[MergeRequestId]
    """What lands next, together and in this order, as things stand; may be nothing."""
    queue: list[QueueLine]
    trials: list[TrialLine]
    """Those that run, then the newest that have ended."""
    landed: list[LandedLine]
    """The newest moves, newest first."""
