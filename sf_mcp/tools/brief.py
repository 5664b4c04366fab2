"""The brief: everything that a session needs to begin a task, or to go on with it, in one result.

It must stay short however many sessions came before. What is shortened first is what matters least:
older handoffs before the newest one, which is whole as long as there is room.
"""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from sf_mcp.core.models import Handoff, TaskId
from sf_mcp.service.branch_state import BranchState
from sf_mcp.service.claims import Brief
from sf_mcp.service.handing_off import Met
from sf_mcp.tools.fitting import RESULT_CHARACTERS, clipped, fitted, json_length
from sf_mcp.tools.results import MOST_NAMED, TITLE_CHARACTERS, handoff_text, late_text, named

OLDER_CHARACTERS = (800, 400, 200)
"""Of each older handoff, the first of these with which the brief fits."""
MOST_OLDER = 8
MOST_COMMITS = 15


class DeliveredLine(BaseModel):
    """What a dependency brought in."""

    task: str
    title: str
    commit: str
    summary: str


class BranchLine(BaseModel):
    """What is on the branch and in the worktree now."""

    commits: list[str] = Field(description="Ahead of the base, newest first.")
    uncommitted: list[str] = Field(description="Files in the worktree, as they were left.")
    snapshot: str = Field(description="The newest copy of files that were not committed.")
    in_the_way: str

    @classmethod
    def of(cls, state: BranchState) -> "BranchLine":
        """Return the state, long lists cut and counted."""
        commits = [
            f"{entry.commit[:12]} {clipped(entry.subject, TITLE_CHARACTERS)}"
            for entry in state.commits
        ]
        rest = len(commits) - MOST_COMMITS
        more = [f"… and {rest} more: git log {state.base[:12]}.."] if rest > 0 else []
        kept = state.snapshot
        return cls(
            commits=[*commits[:MOST_COMMITS], *more],
            uncommitted=named(state.uncommitted),
            snapshot=f"number {kept.number}: git show {kept.commit[:12]}" if kept else "",
            in_the_way=state.note,
        )


class BriefResult(BaseModel):
    """Everything you need for the task."""

    task: str
    title: str
    description: str
    acceptance: list[str] = Field(
        description="All must hold before request_merge; numbered from 1, in this order."
    )
    met: list[str] = Field(
        description="Criteria that earlier sessions say are met: see for "
        "yourself before you rely on it."
    )
    attempt: int = Field(description="1 for the first session on this task.")
    delivered: list[DeliveredLine] = Field(description="What the tasks before it brought in.")
    handoffs: list[str] = Field(
        description="From earlier sessions, newest first; older ones shortened."
    )
    found: BranchLine | None = Field(description="Where the work stands; null: nothing is there.")
    late_work: list[str] = Field(
        description="Commits of sessions that had lost the task; on no branch, newest first."
    )
    repair_notes: list[str] = Field(description="Why it was sent back, newest first: mend these.")
    answers: list[str] = Field(description="Questions already answered.")
    open_question: str = Field(
        default="", description="Asked on this task and not answered yet: you will be told."
    )
    worktree: str
    branch: str
    base: str = Field(description="The target's commit that the branch started from.")
    checks: list[str] = Field(description="Must pass on your work merged with the target.")
    neighbours: list[str] = Field(description="Live tasks that declare the same files.")
    tokens_left: int = Field(description="Context left before a handoff is due; 0: not known yet.")
    note: str = ""

    @classmethod
    def of(
        cls,
        brief: Brief,
        worktree: str,
        checks: Sequence[str],
        state: BranchState | None = None,
    ) -> "BriefResult":
        """Return the brief, its long texts shortened."""
        lengths = iter(OLDER_CHARACTERS)
        result = cls._with(brief, worktree, checks, state, next(lengths))
        for length in lengths:
            if json_length(result.model_dump(mode="json")) <= RESULT_CHARACTERS:
                break
            result = cls._with(brief, worktree, checks, state, length)
        return fitted(
            result,
            note=f"Shortened: get_task('{brief.task.id}') has all of it, page by page.",
            keep=("worktree",),
        )

    @classmethod
    def _with(
        cls,
        brief: Brief,
        worktree: str,
        checks: Sequence[str],
        state: BranchState | None,
        older_characters: int,
    ) -> "BriefResult":
        task = brief.task
        return cls(
            task=task.id,
            title=task.title,
            description=task.description,
            acceptance=list(task.acceptance),
            met=[_met_line(one) for one in brief.met],
            attempt=brief.attempt,
            delivered=[
                DeliveredLine(
                    task=line.task_id,
                    title=clipped(line.title, TITLE_CHARACTERS),
                    commit=(line.commit or "")[:12],
                    summary=clipped(line.summary, 500),
                )
                for line in brief.dependencies
            ][:MOST_NAMED],
            handoffs=_handoff_lines(task.id, brief.handoffs, older_characters),
            found=BranchLine.of(state) if state else None,
            late_work=[late_text(late) for late in brief.late_work][:5],
            repair_notes=[f"{note.reason}\n{note.detail}".strip() for note in brief.repair_notes][
                :5
            ],
            answers=[f"{question} → {answer}" for question, answer in brief.answers][-10:],
            open_question=brief.open_question,
            worktree=worktree,
            branch=task.branch or "",
            base=(task.base or "")[:12],
            checks=[clipped(check, 300) for check in checks],
            neighbours=[f"{other}: {title}" for other, title in brief.neighbours][:10],
            tokens_left=brief.tokens_left,
        )


def _handoff_lines(task: TaskId, newest_first: Sequence[Handoff], length: int) -> list[str]:
    """Return the newest handoff whole, older ones cut to `length`, the oldest counted."""
    older = newest_first[1 : MOST_OLDER + 1]
    rest = len(newest_first) - 1 - len(older)
    return [
        *(handoff_text(handoff) for handoff in newest_first[:1]),
        *(clipped(handoff_text(handoff), length) for handoff in older),
        *([f"… and {rest} older ones: get_task('{task}') has them."] if rest > 0 else []),
    ]


def _met_line(one: Met) -> str:
    doubt = "" if one.is_repeated else "; the newest handoff does not say so"
    return f"{one.number}, says {one.by}{doubt}"
