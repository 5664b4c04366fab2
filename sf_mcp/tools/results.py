"""What the tools return: short, described, never a stored row as it is."""

from pydantic import BaseModel, Field

from sf_mcp.core.models import Task
from sf_mcp.core.why import Why
from sf_mcp.service.claims import Brief

PAGE_CHARACTERS = 10_000
"""Characters of text in one result, about 2,500 tokens; the rest comes by page."""

HANDOFF_CHARACTERS = 6_000
OLDER_HANDOFF_CHARACTERS = 600


def page_of(text: str, page: int) -> tuple[str, int]:
    """Return one page of a long text, from 1, and how many there are."""
    pages = max(1, -(-len(text) // PAGE_CHARACTERS))
    start = (min(max(page, 1), pages) - 1) * PAGE_CHARACTERS
    return text[start : start + PAGE_CHARACTERS], pages


def clipped(text: str, limit: int, *, rest: str) -> str:
    """Return the text, cut at `limit` characters with where to read the rest."""
    return text if len(text) <= limit else f"{text[:limit]}… ({rest})"


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
    """Tasks, at most 50 at a time."""

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
    description: str
    pages: int = Field(description="Pages that the description has.")
    acceptance: list[str]
    depends_on: list[str]
    blocks: list[str]
    branch: str
    attempts: list[str]
    commit: str = Field(description="What landed, if it has.")


class WhyResult(BaseModel):
    """Why a task is not running, or not merged."""

    sentence: str
    facts: list[str]
    next_step: str

    @classmethod
    def of(cls, why: Why) -> "WhyResult":
        """Return the answer as a tool result."""
        return cls(sentence=why.sentence, facts=why.facts, next_step=why.next_step)


class DeliveredLine(BaseModel):
    """What a dependency brought in."""

    task: str
    title: str
    commit: str
    summary: str


class BriefResult(BaseModel):
    """Everything you need for the task."""

    task: str
    title: str
    description: str
    acceptance: list[str] = Field(description="All must hold before request_merge.")
    attempt: int = Field(description="1 for the first session on this task.")
    delivered: list[DeliveredLine] = Field(description="What the tasks before it brought in.")
    handoffs: list[str] = Field(description="From earlier sessions, newest first.")
    repair_notes: list[str] = Field(description="Why it was sent back, newest first: mend these.")
    answers: list[str] = Field(description="Questions already answered.")
    worktree: str
    branch: str
    base: str = Field(description="The target's commit that the branch started from.")
    checks: list[str] = Field(description="Must pass on your work merged with the target.")
    neighbours: list[str] = Field(description="Live tasks that declare the same files.")
    tokens_left: int = Field(description="Context left before a handoff is due; 0: not known yet.")

    @classmethod
    def of(cls, brief: Brief, worktree: str, checks: list[str]) -> "BriefResult":
        """Return the brief, its long texts shortened."""
        task = brief.task
        return cls(
            task=task.id,
            title=task.title,
            description=clipped(
                task.description,
                PAGE_CHARACTERS,
                rest=f"read on with get_task('{task.id}', page=2)",
            ),
            acceptance=list(task.acceptance)[:50],
            attempt=brief.attempt,
            delivered=[
                DeliveredLine(
                    task=line.task_id,
                    title=line.title,
                    commit=(line.commit or "")[:12],
                    summary=clipped(line.summary, 500, rest=f"get_task('{line.task_id}')"),
                )
                for line in brief.dependencies
            ][:20],
            handoffs=[
                clipped(
                    f"Progress: {handoff.progress}\nRemaining: {handoff.remaining}\n"
                    f"Decisions: {handoff.decisions}\nPitfalls: {handoff.pitfalls}\n"
                    f"Next step: {handoff.next_step}"
                    + (
                        f"\nSnapshot of uncommitted files: {handoff.snapshot}"
                        if handoff.snapshot
                        else ""
                    ),
                    HANDOFF_CHARACTERS if index == 0 else OLDER_HANDOFF_CHARACTERS,
                    rest="shortened",
                )
                for index, handoff in enumerate(brief.handoffs)
            ][:10],
            repair_notes=[
                clipped(
                    f"{note.reason}\n{note.detail}".strip(),
                    4000 if index == 0 else 400,
                    rest="shortened",
                )
                for index, note in enumerate(brief.repair_notes)
            ][:5],
            answers=[f"{question} → {answer}" for question, answer in brief.answers][-10:],
            worktree=worktree,
            branch=task.branch or "",
            base=(task.base or "")[:12],
            checks=checks,
            neighbours=[f"{task_id}: {title}" for task_id, title in brief.neighbours][:10],
            tokens_left=brief.tokens_left,
        )


class AnswerResult(BaseModel):
    """The state of your question."""

    question: str
    status: str = Field(description="answered, pending or withdrawn.")
    answer: str
    next_step: str


class ConflictLine(BaseModel):
    """One branch that yours cannot be merged with as things stand."""

    with_: str = Field(alias="with", serialization_alias="with")
    paths: list[str]


class ConflictReport(BaseModel):
    """Exact merges of your committed work against the target and each live branch."""

    conflicts: list[ConflictLine]
    compared_with: list[str]
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
    changed_files: list[str]
    diff: str
    next_start: int | None = Field(description="Pass as `start`; null: this was the last page.")
    worktree: str = Field(description="A read-only checkout of the pinned commit.")


class PlanResult(BaseModel):
    """A plan and the ids of its tasks."""

    plan: str
    state: str
    tasks: list[TaskLine]


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


class QuestionList(BaseModel):
    """Questions, oldest first."""

    questions: list[QuestionLine]


class MergeLine(BaseModel):
    """One merge request."""

    id: str
    task: str
    title: str
    status: str
    commit: str
    summary: str


class MergeList(BaseModel):
    """Merge requests, oldest first."""

    merge_requests: list[MergeLine]


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


class FleetResult(BaseModel):
    """The fleet at a glance."""

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


def task_line(task: Task, depends_on: list[str] | None = None) -> TaskLine:
    """Return a task as a line."""
    return TaskLine(
        id=task.id,
        title=task.title,
        state=task.state.value,
        priority=task.priority,
        depends_on=depends_on or [],
    )
