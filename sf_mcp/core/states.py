"""The state machines: one enum, one table, one `advance` for all of them.

Rule 1: a stored state changes only through `advance`; an event that the table does not list for the
present state raises `IllegalTransition` and changes nothing.
Rule 2: `blocked` and `ready` are computed from the graph and never stored, so they are not here.
The diagrams in the README are printed from these tables (`Machine.diagram`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sf_mcp.core.errors import IllegalTransition


class PlanState(StrEnum):
    DRAFT = "draft"
    ACTIVE = "active"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class PlanEvent(StrEnum):
    ACTIVATE = "activate"
    COMPLETE = "complete"
    REOPEN = "reopen"
    CANCEL = "cancel"


class TaskState(StrEnum):
    PROPOSED = "proposed"
    OPEN = "open"
    CLAIMED = "claimed"
    WAITING = "waiting"
    IN_REVIEW = "in_review"
    MERGED = "merged"
    CLOSED = "closed"
    STUCK = "stuck"
    CANCELLED = "cancelled"


class TaskEvent(StrEnum):
    ACCEPT = "accept"
    REFUSE = "refuse"
    CLAIM = "claim"
    LET_GO = "let_go"
    PARK = "park"
    UNPARK = "unpark"
    REQUEST_MERGE = "request_merge"
    SEND_BACK = "send_back"
    LAND = "land"
    CLOSE = "close"
    GIVE_UP = "give_up"
    RETRY = "retry"
    CANCEL = "cancel"


class MergeState(StrEnum):
    OPEN = "open"
    LANDING = "landing"
    LANDED = "landed"
    SENT_BACK = "sent_back"
    WITHDRAWN = "withdrawn"


class MergeEvent(StrEnum):
    START_LANDING = "start_landing"
    TARGET_MOVED = "target_moved"
    LAND = "land"
    SEND_BACK = "send_back"
    WITHDRAW = "withdraw"


class ConflictState(StrEnum):
    OPEN = "open"
    RESOLVING = "resolving"
    """A resolution is accepted; the branch is about to move to it."""
    RESOLVED = "resolved"
    REJECTED = "rejected"
    """Its resolution did not pass the checks."""
    RETURNED = "returned"
    """Back to a worker of the task."""
    DROPPED = "dropped"
    """Over by itself: the merge request has ended or moved on, or the merge is clean by now."""


class ConflictEvent(StrEnum):
    ACCEPT = "accept"
    PIN = "pin"
    REJECT = "reject"
    RETURN = "return"
    DROP = "drop"


class QuestionState(StrEnum):
    OPEN = "open"
    ANSWERED = "answered"
    WITHDRAWN = "withdrawn"


class QuestionEvent(StrEnum):
    ANSWER = "answer"
    WITHDRAW = "withdraw"


class SessionState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    PARKED = "parked"
    STOPPING = "stopping"
    TAKEN_OVER = "taken_over"
    """A person works in it in place of the launcher; the lease is the same."""
    EXITED = "exited"
    BACKOFF = "backoff"
    FATAL = "fatal"


class SessionEvent(StrEnum):
    CONNECT = "connect"
    TAKE_OVER = "take_over"
    PARK = "park"
    RESUME = "resume"
    STOP = "stop"
    EXIT = "exit"
    BACK_OFF = "back_off"
    GIVE_UP = "give_up"


TASK_TABLE: Mapping[TaskState, Mapping[TaskEvent, TaskState]] = {
    TaskState.PROPOSED: {
        TaskEvent.ACCEPT: TaskState.OPEN,
        TaskEvent.REFUSE: TaskState.CANCELLED,
        TaskEvent.CANCEL: TaskState.CANCELLED,
    },
    TaskState.OPEN: {
        TaskEvent.CLAIM: TaskState.CLAIMED,
        TaskEvent.GIVE_UP: TaskState.STUCK,
        TaskEvent.CANCEL: TaskState.CANCELLED,
    },
    TaskState.CLAIMED: {
        TaskEvent.LET_GO: TaskState.OPEN,
        TaskEvent.PARK: TaskState.WAITING,
        TaskEvent.REQUEST_MERGE: TaskState.IN_REVIEW,
        TaskEvent.CANCEL: TaskState.CANCELLED,
    },
    TaskState.WAITING: {
        TaskEvent.UNPARK: TaskState.OPEN,
        TaskEvent.CANCEL: TaskState.CANCELLED,
    },
    TaskState.IN_REVIEW: {
        TaskEvent.SEND_BACK: TaskState.OPEN,
        TaskEvent.LAND: TaskState.MERGED,
        TaskEvent.CLOSE: TaskState.CLOSED,
        TaskEvent.CANCEL: TaskState.CANCELLED,
    },
    TaskState.STUCK: {
        TaskEvent.RETRY: TaskState.OPEN,
        TaskEvent.CANCEL: TaskState.CANCELLED,
    },
    TaskState.MERGED: {},
    TaskState.CLOSED: {},
    TaskState.CANCELLED: {},
}

PLAN_TABLE: Mapping[PlanState, Mapping[PlanEvent, PlanState]] = {
    PlanState.DRAFT: {
        PlanEvent.ACTIVATE: PlanState.ACTIVE,
        PlanEvent.CANCEL: PlanState.CANCELLED,
    },
    PlanState.ACTIVE: {
        PlanEvent.COMPLETE: PlanState.COMPLETED,
        PlanEvent.CANCEL: PlanState.CANCELLED,
    },
    PlanState.COMPLETED: {PlanEvent.REOPEN: PlanState.ACTIVE},
    PlanState.CANCELLED: {},
}

MERGE_TABLE: Mapping[MergeState, Mapping[MergeEvent, MergeState]] = {
    MergeState.OPEN: {
        MergeEvent.START_LANDING: MergeState.LANDING,
        MergeEvent.SEND_BACK: MergeState.SENT_BACK,
        MergeEvent.WITHDRAW: MergeState.WITHDRAWN,
    },
    MergeState.LANDING: {
        MergeEvent.TARGET_MOVED: MergeState.OPEN,
        MergeEvent.LAND: MergeState.LANDED,
    },
    MergeState.LANDED: {},
    MergeState.SENT_BACK: {},
    MergeState.WITHDRAWN: {},
}

CONFLICT_TABLE: Mapping[ConflictState, Mapping[ConflictEvent, ConflictState]] = {
    ConflictState.OPEN: {
        ConflictEvent.ACCEPT: ConflictState.RESOLVING,
        ConflictEvent.RETURN: ConflictState.RETURNED,
        ConflictEvent.DROP: ConflictState.DROPPED,
    },
    ConflictState.RESOLVING: {
        ConflictEvent.PIN: ConflictState.RESOLVED,
        ConflictEvent.DROP: ConflictState.DROPPED,
    },
    ConflictState.RESOLVED: {ConflictEvent.REJECT: ConflictState.REJECTED},
    ConflictState.REJECTED: {},
    ConflictState.RETURNED: {},
    ConflictState.DROPPED: {},
}

QUESTION_TABLE: Mapping[QuestionState, Mapping[QuestionEvent, QuestionState]] = {
    QuestionState.OPEN: {
        QuestionEvent.ANSWER: QuestionState.ANSWERED,
        QuestionEvent.WITHDRAW: QuestionState.WITHDRAWN,
    },
    QuestionState.ANSWERED: {},
    QuestionState.WITHDRAWN: {},
}

SESSION_TABLE: Mapping[SessionState, Mapping[SessionEvent, SessionState]] = {
    SessionState.STARTING: {
        SessionEvent.CONNECT: SessionState.RUNNING,
        SessionEvent.STOP: SessionState.STOPPING,
        SessionEvent.EXIT: SessionState.EXITED,
        SessionEvent.BACK_OFF: SessionState.BACKOFF,
        SessionEvent.GIVE_UP: SessionState.FATAL,
    },
    SessionState.RUNNING: {
        SessionEvent.TAKE_OVER: SessionState.TAKEN_OVER,
        SessionEvent.PARK: SessionState.PARKED,
        SessionEvent.STOP: SessionState.STOPPING,
        SessionEvent.EXIT: SessionState.EXITED,
        SessionEvent.BACK_OFF: SessionState.BACKOFF,
        SessionEvent.GIVE_UP: SessionState.FATAL,
    },
    SessionState.PARKED: {
        SessionEvent.RESUME: SessionState.STARTING,
        SessionEvent.TAKE_OVER: SessionState.TAKEN_OVER,
        SessionEvent.EXIT: SessionState.EXITED,
    },
    SessionState.STOPPING: {
        SessionEvent.PARK: SessionState.PARKED,
        SessionEvent.EXIT: SessionState.EXITED,
        SessionEvent.BACK_OFF: SessionState.BACKOFF,
        SessionEvent.GIVE_UP: SessionState.FATAL,
    },
    SessionState.TAKEN_OVER: {
        SessionEvent.PARK: SessionState.PARKED,
        SessionEvent.EXIT: SessionState.EXITED,
        SessionEvent.BACK_OFF: SessionState.BACKOFF,
    },
    SessionState.BACKOFF: {
        SessionEvent.RESUME: SessionState.STARTING,
        SessionEvent.TAKE_OVER: SessionState.TAKEN_OVER,
        SessionEvent.EXIT: SessionState.EXITED,
        SessionEvent.GIVE_UP: SessionState.FATAL,
    },
    SessionState.EXITED: {},
    SessionState.FATAL: {},
}

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Machine(Generic[S, E]):
    """One kind of thing, the states it starts in, and every step it can take."""

    noun: str
    initial: tuple[S, ...]
    table: Mapping[S, Mapping[E, S]]

    def advance(self, state: S, event: E, subject: str) -> S:
        """Return the state that `event` leads to from `state`.

        Raises:
            IllegalTransition: the table has no such step; the message names `subject` (an id),
                its present state and the events which that state accepts.
        """
        steps = self.table[state]
        if event in steps:
            return steps[event]
        accepts = ", ".join(sorted(steps))
        raise IllegalTransition(
            f"{subject} is {state.value}: a {self.noun} in that state does not take "
            f"'{event.value}'"
            + (f" (it takes {accepts})." if accepts else " or anything else; it has ended."),
            remedy=f"Look at the present state of {subject} before the next step.",
        )

    def diagram(self) -> str:
        """Return the table as a Mermaid state diagram."""
        lines = ["stateDiagram-v2"]
        lines += [f"    [*] --> {state.value}" for state in self.initial]
        for state, steps in self.table.items():
            lines += [f"    {state.value} --> {to.value}: {event}" for event, to in steps.items()]
            if not steps:
                lines.append(f"    {state.value} --> [*]")
        return "\n".join(lines)


PLAN = Machine("plan", (PlanState.DRAFT, PlanState.ACTIVE), PLAN_TABLE)
TASK = Machine("task", (TaskState.OPEN, TaskState.PROPOSED), TASK_TABLE)
MERGE_REQUEST = Machine("merge request", (MergeState.OPEN,), MERGE_TABLE)
CONFLICT = Machine("conflict", (ConflictState.OPEN,), CONFLICT_TABLE)
QUESTION = Machine("question", (QuestionState.OPEN,), QUESTION_TABLE)
SESSION = Machine("session", (SessionState.STARTING,), SESSION_TABLE)

MACHINES: tuple[Machine[Any, Any], ...] = (
    PLAN,
    TASK,
    MERGE_REQUEST,
    CONFLICT,
    QUESTION,
    SESSION,
)

SATISFIED = frozenset({TaskState.MERGED, TaskState.CLOSED})
"""Task states that satisfy a dependency."""

TASK_ENDS = SATISFIED | {TaskState.CANCELLED}
"""Task states with no way out."""

OF_THE_LAUNCHER = frozenset({SessionState.STARTING, SessionState.RUNNING, SessionState.STOPPING})
"""Session states in which a process of the launcher's may be alive."""

LIVE_SESSIONS = OF_THE_LAUNCHER | {SessionState.TAKEN_OVER}
"""Session states in which a process may be alive, the launcher's or a person's."""

WAITING_SESSIONS = frozenset({SessionState.PARKED, SessionState.BACKOFF})
"""Session states without a process, in which the conversation is kept to go on with."""
