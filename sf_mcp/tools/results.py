"""What the tools return: short, described, never a stored row as it is."""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from sf_mcp.core.changes import FileChange
from sf_mcp.core.models import Handoff, LateWork, Question, Task
from sf_mcp.core.risks import Risk
from sf_mcp.core.why import Why
from sf_mcp.service.merge_views import CheckSeen, MergeView
from sf_mcp.service.queries import TaskView
from sf_mcp.tools.fitting import clipped, fitted, how_many_fit, page_of

TITLE_CHARACTERS = 160
"""Of a title in a list; the task itself shows all of it."""

MOST_FILES, MOST_RISKS = 60, 30

MOST_NAMED = 20
"""Ids in one line; the rest is counted."""


class Done(BaseModel):
    """The outcome of a change."""

    outcome: str = Field(description="What happened.")
    next_step: str = Field(default="", description="What to do now.")


class TaskLine(BaseModel):
    """One task in a list."""

    id: str
    title: str
    state: str
    priority: int
    depends_on: list[str] = Field(default_factory=list)


class TaskList(BaseModel):
    """Tasks, page by page."""

    tasks: list[TaskLine]
    total: int
    next_after: str = Field(default="", description="Pass as `after` for the next page.")


class TaskDetail(BaseModel):
    """One task."""

    id: str
    title: str
    state: str
    plan: str
    priority: int
    text: str = Field(
        description="A page of: description, all acceptance criteria, handoffs, repair notes, "
        "answers, merge summary."
    )
    pages: int = Field(description="Pages that `text` has.")
    acceptance: list[str]
    depends_on: list[str]
    blocks: list[str]
    branch: str
    attempts: list[str]
    commit: str = Field(description="What landed, if it has.")
    note: str = ""

    @classmethod
    def of(cls, view: TaskView, page: int) -> "TaskDetail":
        """Return the task with one page of its texts."""
        task = view.task
        text, pages = page_of(_whole_text(view), page)
        return fitted(
            cls(
                id=task.id,
                title=task.title,
                state=task.state.value,
                plan=task.plan_id,
                priority=task.priority,
                text=text,
                pages=pages,
                acceptance=list(task.acceptance),
                depends_on=named(view.depends_on),
                blocks=named(view.blocks),
                branch=task.branch or "",
                attempts=[f"{name}: {end}" for name, end in view.attempts][-10:],
                commit=view.landed_commit or "",
            ),
            note="Shortened, but for `text`: its pages have everything.",
            keep=("text",),
        )


def _whole_text(view: TaskView) -> str:
    """Return all that has been written about a task, as one text."""
    parts = [view.task.description]
    criteria = "\n".join(f"- {criterion}" for criterion in view.task.acceptance)
    sections = [
        ("Acceptance criteria", [criteria] if criteria else []),
        ("Handoff", [handoff_text(handoff) for handoff in view.handoffs[::-1]]),
        ("Late work", [late_text(late) for late in view.late_work[::-1]]),
        ("Repair note", [f"{note.reason}\n{note.detail}" for note in view.repair_notes[::-1]]),
        ("Answer", [f"{asked}\n→ {answer}" for asked, answer in view.answers[::-1]]),
        ("Merge request", [view.merge_status] if view.merge_status else []),
        ("Merge summary", [view.summary] if view.summary else []),
    ]
    for heading, texts in sections:
        parts += [f"## {heading}\n{text}" for text in texts]
    return "\n\n".join(part for part in parts if part)


def handoff_text(handoff: Handoff) -> str:
    """Return all of a handoff."""
    met = ", ".join(map(str, handoff.met))
    lines = [
        f"Progress: {handoff.progress}",
        f"Remaining: {handoff.remaining}",
        f"Decisions: {handoff.decisions}" if handoff.decisions else "",
        f"Pitfalls: {handoff.pitfalls}" if handoff.pitfalls else "",
        f"Next step: {handoff.next_step}",
        f"Criteria it says are met: {met}" if met else "",
        f"Snapshot of uncommitted files: {handoff.snapshot}" if handoff.snapshot else "",
    ]
    return "\n".join(line for line in lines if line)


def late_text(late: LateWork) -> str:
    """Return what there is of late work, and how to take it over."""
    short = late.commit[:12]
    return (
        f"{clipped(late.subject, TITLE_CHARACTERS)} (snapshot {late.snapshot}; files: "
        f"{', '.join(late.files)}). Look at it: git show {short}. Use it, unless the branch has it "
        f"already: git cherry-pick {short}"
    )


class WhyResult(BaseModel):
    """Why a task is not running, or not merged."""

    sentence: str
    facts: list[str]
    next_step: str
    changes: list[str] = Field(description="What would change it, each with its command.")
    expected: str = Field(description="When it has landed, as far as that can be told.")
    note: str = ""

    @classmethod
    def of(cls, why: Why) -> "WhyResult":
        """Return the answer as a tool result."""
        result = cls(
            sentence=why.sentence,
            facts=why.facts,
            next_step=why.next_step,
            changes=why.changes,
            expected=why.expected,
        )
        return fitted(result, note="Shortened.")


class EarlierAnswer(BaseModel):
    """What was decided before in this plan."""

    question: str
    task: str
    asked: str
    answer: str
    by: str
    at: str


class AnswerResult(BaseModel):
    """The state of your question."""

    question: str
    status: str = Field(description="answered, pending, withdrawn, or answered earlier.")
    answer: str
    next_step: str
    earlier: list[EarlierAnswer] = Field(
        default_factory=list, description="Answers to questions like yours; nobody was asked."
    )
    note: str = ""

    @classmethod
    def of_earlier(cls, earlier: Sequence[Question]) -> "AnswerResult":
        """Return what was answered before, instead of asking."""
        tasks = ", ".join(dict.fromkeys(f"get_task('{one.task_id}')" for one in earlier))
        return fitted(
            cls(
                question="",
                status="answered earlier",
                answer="",
                next_step="Go on with one of these if it decides your question. If none does, call "
                "ask_director again with none_applies=true.",
                earlier=[
                    EarlierAnswer(
                        question=one.id,
                        task=one.task_id or "",
                        asked=one.text,
                        answer=one.answer or "",
                        by=one.answered_by,
                        at=one.answered_at.isoformat(timespec="minutes") if one.answered_at else "",
                    )
                    for one in earlier
                ],
            ),
            note=f"Shortened: {tasks} have all of it.",
        )


class ConflictLine(BaseModel):
    """One branch that yours cannot be merged with as things stand."""

    branch: str = Field(description="The target, or a task's.")
    paths: list[str]


class HunkLine(BaseModel):
    """One place where both sides have changed the same lines."""

    branch: str
    path: str
    yours: str
    theirs: str


class ConflictReport(BaseModel):
    """Exact merges of your work against the target and each live branch, with its newest files."""

    conflicts: list[ConflictLine]
    hunks: list[HunkLine] = Field(default_factory=list, description="The first of the places.")
    said: list[str] = Field(default_factory=list, description="What git says of them.")
    compared_with: list[str]
    uncommitted: str = ""
    note: str = ""


class CheckLine(BaseModel):
    """One check on your work merged with the target."""

    name: str
    outcome: str
    seconds: float
    log_tail: str = Field(description="The end of its output, when it did not pass.")


class CheckReport(BaseModel):
    """The project's checks on your work merged with the target."""

    status: str = Field(description="passed, failed, conflict, running or nothing to run.")
    checks: list[CheckLine]
    next_step: str
    note: str = ""


class ReviewBrief(BaseModel):
    """What you review."""

    merge_request: str
    task: str
    title: str
    intent: str
    acceptance: list[str]
    summary: str = Field(description="The worker's own account.")
    no_changes_reason: str
    commit: str = Field(description="The pinned commit; your decision holds for it alone.")
    base: str
    checks: list[str]
    criteria_met: list[str] = Field(
        default_factory=list, description="Number and session that says so: see for yourself."
    )
    risks: list[str] = Field(
        default_factory=list, description="What deserves a look, by rule; blocks nothing."
    )
    changed_files: list[str]
    diff: str
    next_start: int | None = Field(description="Pass as `start`; null: this was the last page.")
    resolution: str = Field(description="Whether a steward merged it, and what it left out.")
    worktree: str = Field(description="A read-only checkout of the pinned commit.")
    note: str = ""


class PlanResult(BaseModel):
    """A plan and its tasks, in the order in which they were given."""

    plan: str
    state: str
    total: int
    tasks: list[TaskLine]
    next_step: str = ""

    @classmethod
    def of(cls, plan: str, state: str, tasks: Sequence[Task]) -> "PlanResult":
        """Return as many of the tasks as fit."""
        lines = [task_line(task) for task in tasks]
        shown = how_many_fit(lines)
        more = ""
        if shown < len(lines):
            more = f"list_tasks(plan='{plan}', after='{lines[shown - 1].id}') shows the rest."
        return cls(
            plan=plan,
            state=state,
            total=len(lines),
            tasks=lines[:shown],
            next_step=more,
        )


class QuestionLine(BaseModel):
    """One question."""

    id: str
    task: str
    text: str
    options: list[str]
    context: str
    state: str
    answer: str
    escalated: bool
    asked_by: str = Field(description="The session that waits; empty: none does.")
    since: str
    behind: list[str] = Field(description="Tasks that cannot start before this one is done.")


class QuestionList(BaseModel):
    """Questions, oldest first."""

    questions: list[QuestionLine]
    next_after: str = Field(default="", description="Pass as `after` for the next page.")
    note: str = ""


class MergeLine(BaseModel):
    """One merge request."""

    id: str
    task: str
    title: str
    status: str
    commit: str
    summary: str


class MergeFacts(BaseModel):
    """What there is to know of a merge request before somebody decides."""

    checks: list[str] = Field(description="On the merged tree, with how long each took.")
    criteria_met: list[str] = Field(
        description="Acceptance criteria that sessions say are met: see for yourself."
    )
    files: list[str] = Field(description="What changed, with lines added and removed.")
    risks: list[str] = Field(description="What deserves a look; blocks nothing.")
    steward: str
    person: str

    @classmethod
    def of(cls, view: MergeView) -> "MergeFacts":
        """Return the facts of a merge request, long lists cut and counted."""
        more = view.total_files - MOST_FILES
        return cls(
            checks=[_check_seen(check) for check in view.checks],
            criteria_met=[f"{one.number}: {one.met_by}" for one in view.criteria if one.met_by],
            files=[
                *(_file_line(file) for file in view.files[:MOST_FILES]),
                *([f"… and {more} more"] if more > 0 else []),
            ],
            risks=[*map(_risk_line, view.risks[:MOST_RISKS]), *([view.note] if view.note else [])],
            steward=view.steward,
            person=view.person,
        )


def _check_seen(check: CheckSeen) -> str:
    marks = "; flaky: passed and failed on this tree" if check.is_flaky else ""
    marks += "; fails without this work too" if check.is_old else ""
    return f"{check.name}: {check.outcome} ({check.seconds:.1f} s{marks})"


def _file_line(file: FileChange) -> str:
    size = "binary" if file.is_binary else f"+{file.added} -{file.removed}"
    name = f"{file.was} -> {file.path}" if file.was else file.path
    return f"{name} ({file.how}, {size})"


def _risk_line(risk: Risk) -> str:
    where = f"{risk.path}:{risk.line}" if risk.line else risk.path
    return f"{risk.kind.value}: {where}: {risk.text}"


class MergeList(BaseModel):
    """Merge requests, oldest first."""

    merge_requests: list[MergeLine]
    next_after: str = Field(default="", description="Pass as `after` for the next page.")
    facts: MergeFacts | None = Field(default=None, description="Of the one that was asked for.")
    note: str = ""


class EventLine(BaseModel):
    """One event."""

    number: int
    at: str
    kind: str
    actor: str
    subject: str
    detail: str


class EventList(BaseModel):
    """Events, oldest first."""

    events: list[EventLine]
    newest: int = Field(description="Pass as `after` to go on from here.")
    next_step: str = ""


class NewsLine(BaseModel):
    """Something that a director should know. What is in quotes is data of the fleet's."""

    number: int
    text: str


class NewsResult(BaseModel):
    """What has happened that concerns a director, oldest first."""

    news: list[NewsLine]
    newest: int = Field(description="Pass as `after` to go on from here.")
    next_step: str


class FleetResult(BaseModel):
    """The fleet at a glance."""

    waiting: list[str] = Field(
        description="What waits for the person or a director, what holds up most first."
    )
    paused: str
    notes: list[str]
    target: str
    tasks: dict[str, int]
    ready: int
    blocked: int
    plans: list[str]
    sessions: list[str]
    merges: list[str]
    questions: list[str]
    stuck: list[str]
    cost_usd: float
    note: str = ""


def task_line(task: Task, depends_on: Sequence[str] = ()) -> TaskLine:
    """Return a task as a line."""
    return TaskLine(
        id=task.id,
        title=clipped(task.title, TITLE_CHARACTERS),
        state=task.state.value,
        priority=task.priority,
        depends_on=named(depends_on),
    )


def named(ids: Sequence[str]) -> list[str]:
    """Return the ids, the rest counted when there are many."""
    more = [f"… and {len(ids) - MOST_NAMED} more"] if len(ids) > MOST_NAMED else []
    return [*ids[:MOST_NAMED], *more]
