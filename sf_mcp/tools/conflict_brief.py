"""What a steward that resolves a conflict is shown, and the words in which it answers."""

from pydantic import BaseModel, Field

from sf_mcp.git.conflicts import Take
from sf_mcp.service.resolutions import ConflictView
from sf_mcp.tools.fitting import fitted
from sf_mcp.tools.results import TITLE_CHARACTERS

NEXT_STEP = (
    "Edit the files in your directory until each has what both sides want and no conflict marker "
    "is left, then call submit_resolution. Every line that a side added is to be there, every line "
    "that a side removed is to be gone: list each exception with its reason."
)


class DroppedLines(BaseModel):
    """Lines that the result does not have as a side has them."""

    path: str
    lines: list[str] = Field(description="Each line's exact text.")
    reason: str


class DecidedPath(BaseModel):
    """What becomes of a path as a whole."""

    path: str
    take: Take = Field(
        default=Take.AS_IT_IS,
        description="As your file is, the merge request's version, the target's, or none.",
    )
    reason: str


class OtherTask(BaseModel):
    """Why the target has what conflicts."""

    commit: str
    task: str = Field(description="Empty: it came from elsewhere.")
    title: str
    intent: str
    acceptance: list[str]
    summary: str


class ConflictBrief(BaseModel):
    """A merge to resolve."""

    merge_request: str
    task: str
    title: str
    intent: str
    acceptance: list[str]
    summary: str = Field(description="The worker's own account.")
    target: str
    others: list[OtherTask] = Field(description="What landed in these files meanwhile.")
    paths: list[str] = Field(description="In conflict.")
    text: str = Field(description="A page of: the places in conflict, both diffs, what was said.")
    next_start: int | None = Field(description="Pass as `start`; null: this was the last page.")
    worktree: str = Field(description="The merge under way. HEAD is the merge request's side.")
    next_step: str
    note: str = ""

    @classmethod
    def of(cls, view: ConflictView, target: str) -> "ConflictBrief":
        """Return the conflict as a tool result."""
        request, task = view.request, view.task
        brief = cls(
            merge_request=request.id,
            task=task.id,
            title=task.title,
            intent=task.description,
            acceptance=list(task.acceptance),
            summary=request.summary,
            target=target,
            others=[
                OtherTask(
                    commit=other.commit[:12],
                    task=other.task.id if other.task else "",
                    title=(other.task.title if other.task else other.subject)[:TITLE_CHARACTERS],
                    intent=other.task.description if other.task else f"By {other.by}.",
                    acceptance=list(other.task.acceptance) if other.task else [],
                    summary=other.summary,
                )
                for other in view.others
            ],
            paths=list(view.conflict.paths),
            text=view.text,
            next_start=view.next_start,
            worktree=view.worktree,
            next_step=NEXT_STEP,
        )
        return fitted(
            brief,
            note="Shortened, but for the text: get_task has each task in full.",
            keep=("text", "worktree", "next_step"),
        )
