"""What a plan has come to, for people who were not there: read from the rows and from git."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sf_mcp.core.errors import NotFound, StoneforgeError
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import (
    Conflict,
    Lease,
    MergeRequest,
    MergeRequestId,
    Oid,
    Plan,
    RepairNote,
    Session,
    SessionId,
    Task,
    TaskId,
)
from sf_mcp.core.states import TASK_ENDS, MergeState, QuestionState, TaskState
from sf_mcp.git.repository import Repository
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import (
    conflicts,
    handoffs,
    landings,
    leases,
    merge_requests,
    plans,
    questions,
    sessions,
    tasks,
    trials,
    usage,
)

MOST_COMMITS = 50
"""Of one task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSeen:
    """One session's time on a task, or on the review of its merge request."""

    session: str
    role: str
    subject: str
    began_at: datetime
    ended_at: datetime | None
    end: str
    """How it ended; empty while it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSeen:
    commit: Oid
    subject: str
    has_landed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    id: TaskId
    title: str
    state: TaskState
    attempts: list[AttemptSeen]
    commits: list[CommitSeen]
    """Newest first; of a squashed task the one that landed."""
    worked_seconds: float
    """While a session had the task."""
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided on the way: an answer, or what a handoff says."""

    task_id: TaskId
    question: str
    """Empty: a session decided by itself, and wrote it into its handoff."""
    decision: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SentBack:
    task_id: TaskId
    merge_request_id: str
    reason: str
    detail: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictSeen:
    task_id: TaskId
    merge_request_id: str
    paths: list[str]
    how: str
    """`by the rule union`, `by steward-1`, `a worker of the task`, `open` …"""
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """All runs of one check on what the plan has brought."""

    name: str
    runs: int
    failed: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """What was done, by whom, at what cost, and what is left."""

    plan: Plan
    at: datetime
    began_at: datetime | None
    """When the first session began to work."""
    ended_at: datetime | None
    """When the last task ended; None while any has not."""
    cost_usd: float
    worked_seconds: float
    landings: int
    tasks: list[TaskReport]
    decisions: list[Decision]
    sent_back: list[SentBack]
    conflicts: list[ConflictSeen]
    checks: list[CheckReport]
    left: list[TaskId] = field(default_factory=list[TaskId])
    """Tasks that have not ended."""


class ReportService:
    """The use case of reporting."""

    def __init__(self, workspace: Workspace, forge: Repository) -> None:
        """Look at this project."""
        self._workspace = workspace
        self._forge = forge

    def report(self, _caller: Caller, *, plan: str = "") -> PlanReport:
        """Return the report of a plan, by id or title; of the newest plan if none is named.

        Raises:
            NotFound: there is no such plan, or none at all.
        """
        with self._workspace.read() as tx:
            found = _plan(tx, plan)
            of_plan = tasks.of_plan(tx.db, found.id)
            facts = {task.id: _facts(tx, task) for task in of_plan}
            spent: defaultdict[str, float] = defaultdict(float)
            for used in usage.of_all(tx.db):
                spent[used.task_id] += used.cost_usd
            ranges = {
                request.id: landings.range_of(tx.db, request.id)
                for one in facts.values()
                for request in one.requests
                if request.state is MergeState.LANDED
            }
            checks = _checks(tx, [one for of in facts.values() for one in of.requests])
        # Git is asked outside of the transaction.
        lines = [self._task(task, facts[task.id], ranges, spent[task.id]) for task in of_plan]
        every = [attempt for line in lines for attempt in line.attempts]
        left = [task.id for task in of_plan if task.state not in TASK_ENDS]
        ends = [task.updated_at for task in of_plan]
        return PlanReport(
            plan=found,
            at=self._workspace.now(),
            began_at=min((one.began_at for one in every), default=None),
            ended_at=max(ends) if ends and not left else None,
            cost_usd=sum(line.cost_usd for line in lines),
            worked_seconds=sum(line.worked_seconds for line in lines),
            landings=sum(task.state is TaskState.MERGED for task in of_plan),
            tasks=lines,
            decisions=sorted(
                (one for of in facts.values() for one in of.decisions), key=lambda one: one.at
            ),
            sent_back=[
                SentBack(
                    task_id=note.task_id,
                    merge_request_id=note.merge_request_id,
                    reason=note.reason,
                    detail=note.detail,
                    at=note.created_at,
                )
                for of in facts.values()
                for note in of.notes
            ],
            conflicts=[
                *(
                    _conflict(request, one, by)
                    for of in facts.values()
                    for request, one, by in of.conflicts
                ),
                *(
                    seen
                    for of in facts.values()
                    for request in of.requests
                    for seen in self._by_rules(request, ranges.get(request.id))
                ),
            ],
            checks=checks,
            left=left,
        )

    def _task(
        self,
        task: Task,
        facts: "_Facts",
        ranges: Mapping[MergeRequestId, tuple[Oid | None, Oid] | None],
        cost_usd: float,
    ) -> TaskReport:
        commits = [
            CommitSeen(commit=entry.commit, subject=entry.subject, has_landed=True)
            for request in facts.requests[::-1]
            if (between := ranges.get(request.id)) is not None
            for entry in self._log(*between)
        ]
        if not commits and task.branch and task.base:
            commits = [
                CommitSeen(commit=entry.commit, subject=entry.subject, has_landed=False)
                for entry in self._log(task.base, f"refs/heads/{task.branch}")
            ]
        mine = [one for one in facts.attempts if one.subject == task.id]
        now = self._workspace.now()
        worked = sum(((one.ended_at or now) - one.began_at for one in mine), timedelta())
        return TaskReport(
            id=task.id,
            title=task.title,
            state=task.state,
            attempts=facts.attempts,
            commits=commits,
            worked_seconds=worked.total_seconds(),
            cost_usd=cost_usd,
        )

    def _log(self, base: Oid | None, commit: str) -> list["_Entry"]:
        with suppress(StoneforgeError):
            # A branch that was never made, or a forge that is not as it was.
            return [
                _Entry(entry.commit, entry.subject)
                for entry in self._forge.log_between(base, commit, limit=MOST_COMMITS)
            ]
        return []

    def _by_rules(
        self, request: MergeRequest, between: tuple[Oid | None, Oid] | None
    ) -> Iterable[ConflictSeen]:
        """Return the conflicts that rules resolved: each is a commit that names its rule."""
        if between is None:
            return
        for entry in self._log(*between):
            if not entry.subject.startswith("Resolve "):
                continue
            message = self._forge.message_of(entry.commit).splitlines()
            rule = next((line[6:] for line in message if line.startswith("Rule: ")), "")
            if rule and f"Merge-Request: {request.id}" in message:
                yield ConflictSeen(
                    task_id=request.task_id,
                    merge_request_id=request.id,
                    paths=[line[2:] for line in message if line.startswith("- ")],
                    how=f"by the rule {rule}",
                    note="",
                )


@dataclass(frozen=True, slots=True)
class _Entry:
    commit: Oid
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What the rows say of one task."""

    attempts: list[AttemptSeen]
    requests: list[MergeRequest]
    notes: list[RepairNote]
    decisions: list[Decision]
    conflicts: list[tuple[MergeRequest, Conflict, str]]


def _plan(tx: Transaction, named: str) -> Plan:
    if named:
        return plans.find(tx.db, named)
    if not (every := plans.all_of(tx.db)):
        raise NotFound(
            "There is no plan to report on.", remedy="Create one: sf plan create, sf plan import"
        )
    return every[-1]


def _facts(tx: Transaction, task: Task) -> _Facts:
    requests = merge_requests.of_task(tx.db, task.id)
    held = [
        lease
        for subject in (task.id, *(one.id for one in requests))
        for lease in leases.of_subject(tx.db, subject)
    ]
    by_id = {lease.session_id: sessions.get(tx.db, lease.session_id) for lease in held}
    return _Facts(
        attempts=[_attempt(lease, by_id[lease.session_id]) for lease in held],
        requests=requests,
        notes=merge_requests.repair_notes(tx.db, task.id),
        decisions=_decisions(tx, task),
        conflicts=[
            (request, one, _steward_of(one, held, by_id))
            for request in requests
            for one in conflicts.of_request(tx.db, request.id)
        ],
    )


def _attempt(lease: Lease, session: Session) -> AttemptSeen:
    return AttemptSeen(
        session=session.name,
        role=session.role.value,
        subject=lease.subject,
        began_at=lease.granted_at,
        ended_at=lease.ended_at,
        end=lease.end.value if lease.end else "",
    )


def _decisions(tx: Transaction, task: Task) -> list[Decision]:
    answered = [
        Decision(
            task_id=task.id,
            question=one.text,
            decision=one.answer or "",
            by=one.answered_by,
            at=one.answered_at or one.asked_at,
        )
        for one in questions.of_task(tx.db, task.id)
        if one.state is QuestionState.ANSWERED
    ]
    written = [
        Decision(
            task_id=task.id,
            question="",
            decision=one.decisions,
            by="the server" if one.by_server else sessions.get(tx.db, one.session_id).name,
            at=one.created_at,
        )
        for one in handoffs.of_task(tx.db, task.id)
        if one.decisions.strip()
    ]
    return [*answered, *written]


def _steward_of(
    conflict: Conflict, held: Sequence[Lease], by_id: Mapping[SessionId, Session]
) -> str:
    """Return who had the merge request last before the conflict was over."""
    until = conflict.ended_at
    names = [
        by_id[lease.session_id].name
        for lease in held
        if lease.subject == conflict.merge_request_id
        and lease.granted_at >= conflict.created_at
        and (until is None or lease.granted_at <= until)
    ]
    return names[-1] if names else ""


def _conflict(request: MergeRequest, conflict: Conflict, by: str) -> ConflictSeen:
    how = {
        "open": "waits for a steward",
        "resolving": f"{by or 'a steward'} is at work on it",
        "resolved": f"by {by or 'a steward'}",
        "rejected": f"by {by or 'a steward'}, and rejected",
        "returned": "given to a worker of the task",
        "dropped": "gone before it was resolved",
    }[conflict.state.value]
    return ConflictSeen(
        task_id=request.task_id,
        merge_request_id=request.id,
        paths=list(conflict.paths),
        how=how,
        note=conflict.note,
    )


def _checks(tx: Transaction, requests: Sequence[MergeRequest]) -> list[CheckReport]:
    trees = {one.checked_tree for one in requests if one.checked_tree is not None}
    trees |= trials.trees_of(tx.db, [one.id for one in requests])
    runs: defaultdict[str, list[tuple[bool, float]]] = defaultdict(list)
    for tree in sorted(trees):
        for verdict in landings.verdicts_on(tx.db, tree):
            runs[verdict.check].append((verdict.passed, verdict.seconds))
    return [
        CheckReport(
            name=name,
            runs=len(of),
            failed=sum(not passed for passed, _ in of),
            seconds=sum(seconds for _, seconds in of),
        )
        for name, of in sorted(runs.items())
    ]
