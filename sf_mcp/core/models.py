"""The nouns of the system as frozen values, and the ids that people type.

Ids are short text: `P3` a plan, `T12` a task, `M7` a merge request, `Q4` a question. A session has
Claude Code's own UUID as its id and a name such as `worker-2` for people.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from sf_mcp.core.merge_facts import Outcome
from sf_mcp.core.states import (
    ConflictState,
    MergeState,
    PlanState,
    QuestionState,
    SessionState,
    TaskState,
)

PlanId = NewType("PlanId", str)
TaskId = NewType("TaskId", str)
MergeRequestId = NewType("MergeRequestId", str)
QuestionId = NewType("QuestionId", str)
SessionId = NewType("SessionId", str)
Oid = NewType("Oid", str)
"""A git object name in full, 40 hexadecimal digits."""

HIGHEST_PRIORITY, DEFAULT_PRIORITY, LOWEST_PRIORITY = 1, 3, 5
DEFAULT_ESTIMATE_MINUTES = 30.0
"""What a task weighs on the critical path when nobody estimated it."""


class Role(StrEnum):
    """Who a token speaks for. Each has an MCP endpoint and tools of its own."""

    WORKER = "worker"
    STEWARD = "steward"
    DIRECTOR = "director"
    """The headless director: plans, answers, escalates; never approves."""
    PERSON = "person"
    """The person: the terminal, the launcher they started, and their own director session."""


class EndKind(StrEnum):
    """How a session, and with it an attempt at a task, came to its end."""

    MERGE_REQUESTED = "merge_requested"
    HANDED_OFF = "handed_off"
    RELEASED = "released"
    PARKED = "parked"
    TAKEN_OVER = "taken_over"
    """A person went on with it in place of the launcher."""
    DONE = "done"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    LEASE_EXPIRED = "lease_expired"
    NO_OUTCOME = "no_outcome"
    TIMED_OUT = "timed_out"
    KILLED = "killed"
    CONTEXT_FULL = "context_full"
    USAGE_LIMIT = "usage_limit"
    OVERLOADED = "overloaded"
    AUTHENTICATION = "authentication"
    BAD_CONFIGURATION = "bad_configuration"
    OVER_BUDGET = "over_budget"
    FAILED_TO_START = "failed_to_start"
    CONVERSATION_LOST = "conversation_lost"
    """It could not be resumed: the client has no such conversation, or another has its id."""


FAILURES = frozenset(
    {EndKind.NO_OUTCOME, EndKind.TIMED_OUT, EndKind.KILLED, EndKind.FAILED_TO_START}
)
"""The ends that count against `maxFailures`. Handoffs, limits, restarts and stops do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    id: PlanId
    title: str
    description: str
    state: PlanState
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    id: TaskId
    plan_id: PlanId
    title: str
    description: str
    acceptance: tuple[str, ...]
    priority: int
    estimate_minutes: float | None
    paths: tuple[str, ...]
    """Path prefixes that the task expects to touch; a declaration, not a limit."""
    state: TaskState
    branch: str | None
    base: Oid | None
    """The target's commit that the branch started from; pinned by the server."""
    reserved_for: SessionId | None
    reserved_until: datetime | None
    ahead: bool
    """Sent back: goes before its peers of the same effective priority."""
    proposed_by: SessionId | None
    retried_at: datetime | None
    """When a stuck task was last retried; failures and send-backs before it no longer count."""
    is_over_budget: bool
    """Stuck because it has cost all that it may; it goes on when it may cost more."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A session's claim on a subject (a task, or a merge request to review) for some time.

    An ended lease on a task is an attempt: `end` says how it came to its end.
    """

    number: int
    subject: str
    session_id: SessionId
    fence: int
    granted_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    end: EndKind | None
    end_detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    id: SessionId
    name: str
    role: Role
    subject: str
    """What it was started for: a task, merge request or question id, or `goal`."""
    state: SessionState
    model: str
    pid: int | None
    process_started: str
    """The kernel's start time of `pid`, so that a reused pid is not taken for this session."""
    is_turn_active: bool
    last_line: str
    context_tokens: int
    """The newest prompt and, as far as it is known, the answer to it."""
    context_window: int
    """The model's, as the client has said it; 0 until then."""
    cost_usd: float
    stop_requested: str
    """Why the server wants it stopped; empty while it does not."""
    nudges: int
    """How often the Stop hook has said what is missing since the last outcome."""
    log_path: str
    created_at: datetime
    heard_at: datetime
    """When its stream or a tool call was last heard."""
    ended_at: datetime | None
    end: EndKind | None
    end_detail: str
    starts: int
    """How many processes it has had; each resume is one more."""
    interrupted: tuple[str, ...]
    """What it is to be told first when it goes on: of the calls that its last process did not see
    the end of, and of what a person has done in its place."""
    taken_over_at: datetime | None
    """Since when a person works in it; None while it is the launcher's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """A person who works in a session, or waits to, by the process in their terminal."""

    session_id: SessionId
    by: str
    """Who, and at which terminal, for the next person who asks."""
    pid: int
    process_started: str
    is_urgent: bool
    """The running turn is interrupted at once."""
    asked_at: datetime
    head: Oid | None
    """Where the task's branch was when the person began; None before that, or with no branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one process of a session used on one day (UTC), as far as its stream has told.

    Tokens are what the model was given and gave, over all requests: a context that is sent again
    with each request counts each time, from the cache or not.
    """

    session_id: SessionId
    start: int
    """Which process of the session: 1 for the first."""
    day: str
    """Such as `2026-11-25`."""
    input_tokens: int
    """Neither written to the cache nor read from it."""
    cache_write_tokens: int
    cache_read_tokens: int
    output_tokens: int
    coordination_tokens: int
    """Of all of these, what the fleet itself brought in: the schemas of our tools, the role's
    prompt, the results of our tools."""
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff:
    number: int
    task_id: TaskId
    session_id: SessionId
    progress: str
    remaining: str
    decisions: str
    pitfalls: str
    next_step: str
    commit: Oid | None
    snapshot: Oid | None
    by_server: bool
    met: tuple[int, ...]
    """Acceptance criteria that the session says are met, by number from 1."""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LateWork:
    """A commit that a session made after it had lost its task: it moved no branch, and is kept."""

    task_id: TaskId
    snapshot: int
    """Its number among the task's snapshots."""
    session_id: str
    """Empty when the session did not say who it is."""
    commit: Oid
    subject: str
    """The first line of its message."""
    files: tuple[str, ...]
    """The first of those that it changes, and how many more there are."""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairNote:
    """Why a task came back from review, with what the next attempt must know."""

    task_id: TaskId
    merge_request_id: MergeRequestId
    reason: str
    detail: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    id: QuestionId
    task_id: TaskId | None
    session_id: SessionId | None
    text: str
    options: tuple[str, ...]
    context: str
    state: QuestionState
    escalated: bool
    """For the person: the headless director has passed it on."""
    answer: str | None
    answered_by: str
    asked_at: datetime
    answered_at: datetime | None
    delivered_at: datetime | None
    """When the answer was last given to the session: by a message, or by a result that arrived."""
    acknowledged_at: datetime | None
    """When a sign of the session was seen that came after that: it is never given again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRequest:
    id: MergeRequestId
    task_id: TaskId
    session_id: SessionId
    state: MergeState
    branch: str
    commit: Oid
    """The pinned commit: what is reviewed, checked and landed."""
    base: Oid
    summary: str
    no_changes_reason: str
    checked_tree: Oid | None
    """The newest merged tree on which every check that must pass has passed."""
    held: str
    """Why the train cannot go on with it for now; empty when it can."""
    is_escalated: bool
    """A steward left it to the person."""
    landed_commit: Oid | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One approval or request for changes; it holds for `commit` alone."""

    merge_request_id: MergeRequestId
    commit: Oid
    by: str
    role: Role
    approved: bool
    reason: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A merge request that cannot be merged with the target; a steward resolves it."""

    number: int
    merge_request_id: MergeRequestId
    state: ConflictState
    commit: Oid
    """What the merge request was pinned to when it was found in conflict."""
    target: Oid
    """The target's commit that it conflicts with."""
    paths: tuple[str, ...]
    messages: tuple[str, ...]
    """What git says of each conflict, one sentence each."""
    hunks: str
    """Both sides and their base of each place, shortened."""
    reason: str
    """Why a steward is needed."""
    resolution: Oid | None
    """The merge commit that a steward's result became."""
    note: str
    """What came of it: what the steward said, or which check failed on the resolution."""
    created_at: datetime
    ended_at: datetime | None


class LandingKind(StrEnum):
    """Why the target branch moved."""

    INITIAL = "initial"
    MERGE = "merge"
    UPSTREAM = "upstream"
    UNDO = "undo"


class LandingState(StrEnum):
    INTENDED = "intended"
    DONE = "done"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """One move of the target branch: intended before the ref moves, done after."""

    number: int
    kind: LandingKind
    old: Oid | None
    new: Oid
    tree: Oid
    state: LandingState
    is_green: bool | None
    """Whether every check passed on `tree`; None when it was not (yet) checked."""
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one check said of one tree."""

    tree: Oid
    check: str
    command: str
    passed: bool
    outcome: str
    """`passed`, `failed (exit 1)`, `timed out after 900 s`, `could not start: …`."""
    failing: tuple[str, ...]
    """Tests that failed, as its JUnit report names them; empty when there is none."""
    log_path: str
    seconds: float
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """Merge requests that the train merged in this order for trial, and what came of it."""

    number: int
    base: int
    """The landing that brought the target to where they were merged onto it."""
    requests: tuple[MergeRequestId, ...]
    commits: tuple[Oid, ...]
    """What each of them was pinned to."""
    commit: Oid | None
    """The candidate; None when they could not be merged."""
    tree: Oid | None
    is_full: bool
    """Every check ran, not only those that the changed paths call for."""
    outcome: Outcome
    condemned: tuple[dict[str, str], ...]
    """The checks that failed it: `check`, `command`, `outcome`, `log_path` of each."""
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """What mirrors a task's merge requests on the forge of the person's team."""

    task_id: TaskId
    branch: str
    number: int | None
    """None until it is known to have been opened."""
    url: str
    pushed: Oid | None
    """What its branch at the remote was last brought to."""
    told: str
    """The newest state that it shows, such as `open M7 1a2b…`; empty: none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    number: int
    at: datetime
    kind: str
    actor: str
    subject: str
    """The id that the event is about, such as `T12`; empty for the fleet as a whole."""
    data: dict[str, object]
