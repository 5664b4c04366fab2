"""The steward's tools: one merge request, read, then approved, sent back or left to the person."""

from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from pydantic import Field

from sf_mcp.tools.boundary import Boundary
from sf_mcp.tools.fitting import fitted
from sf_mcp.tools.results import Done, ReviewBrief
from sf_mcp.tools.shared import CHANGES

END_TURN = "End your turn now."
DIFF_ROOM = 7_000
"""Characters of the diff in one answer, as JSON."""


def register(server: MCPServer[None], boundary: Boundary) -> None:
    """Add the steward's tools."""
    services = boundary.services

    @server.tool(annotations=CHANGES)
    async def claim_review(
        start: Annotated[int, Field(description="`next_start` of the page before.")] = 0,
    ) -> ReviewBrief:
        """What you review: intent, criteria, the pinned commit, check results, the diff by page."""
        caller = boundary.caller()

        def claim() -> ReviewBrief:
            view = services.requests.claimed_review(caller)
            request, task = view.request, view.task
            changes = services.branches.changes_of(request, start, room=DIFF_ROOM)
            first = ReviewBrief(
                merge_request=request.id,
                task=task.id,
                title=task.title,
                intent=task.description,
                acceptance=list(task.acceptance),
                summary=request.summary,
                no_changes_reason=request.no_changes_reason,
                commit=request.commit,
                base=request.base,
                checks=[f"{verdict.check}: {verdict.outcome}" for verdict in view.verdicts],
                changed_files=list(changes.files),
                diff=changes.diff,
                next_start=changes.next_start,
                worktree=changes.worktree,
            )
            return fitted(
                first,
                note=f"Shortened, but for the diff: get_task('{task.id}') has intent, criteria and "
                "summary in full.",
                keep=("diff", "worktree", "commit"),
            )

        return await boundary.ask(claim, slow=True)

    @server.tool(annotations=CHANGES)
    async def approve_merge(
        context: Context[Any],
        reason: Annotated[str, Field(description="What you checked, criterion by criterion.")],
    ) -> Done:
        """Approve the pinned commit: it lands when its checks pass on the target of that moment."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            request = services.requests.approve_merge(caller, reason=reason)
            return Done(outcome=f"{request.id} is approved.", next_step=END_TURN)

        return await boundary.change(
            context, "approve_merge", Done, record, request={"reason": reason}
        )

    @server.tool(annotations=CHANGES)
    async def send_back(
        context: Context[Any],
        reason: Annotated[str, Field(description="What must change, by file and line, and why.")],
    ) -> Done:
        """Send the work back; the next worker on the task gets your reason as a repair note."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            request = services.requests.send_back(caller, reason=reason)
            return Done(outcome=f"{request.task_id} goes back to a worker.", next_step=END_TURN)

        return await boundary.change(context, "send_back", Done, record, request={"reason": reason})

    @server.tool(annotations=CHANGES)
    async def escalate(
        context: Context[Any],
        note: Annotated[str, Field(description="What only the person can decide, and why.")],
    ) -> Done:
        """Leave the merge request to the person, with what you found."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            request = services.requests.escalate_review(caller, note=note)
            return Done(outcome=f"{request.id} waits for the person.", next_step=END_TURN)

        return await boundary.change(context, "escalate", Done, record, request={"note": note})
