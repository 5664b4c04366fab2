"""The steward's tools: one merge request to review, or one conflict of it to resolve."""

from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from pydantic import Field

from sf_mcp.core.accounting import Decided, Dropped
from sf_mcp.service.resolutions import Resolution
from sf_mcp.tools.boundary import Boundary
from sf_mcp.tools.conflict_brief import ConflictBrief, DecidedPath, DroppedLines
from sf_mcp.tools.fitting import fitted
from sf_mcp.tools.results import Done, MergeFacts, ReviewBrief
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
            seen = None
            if not start:  # later pages are read for the diff
                seen = MergeFacts.of(services.merge_views.show_merge_request(caller, request.id))
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
                checks=seen.checks if seen else [],
                criteria_met=seen.criteria_met if seen else [],
                risks=seen.risks if seen else [],
                changed_files=list(changes.files),
                diff=changes.diff,
                next_start=changes.next_start,
                resolution=services.resolutions.message_of(request),
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
    async def claim_conflict(
        start: Annotated[int, Field(description="`next_start` of the page before.")] = 0,
    ) -> ConflictBrief:
        """The merge that you resolve: both intents, the places in conflict, both diffs, by page."""
        caller = boundary.caller()

        def claim() -> ConflictBrief:
            view = services.resolutions.claimed_conflict(caller, start, room=DIFF_ROOM)
            return ConflictBrief.of(view, services.target.branch)

        return await boundary.ask(claim, slow=True)

    @server.tool(annotations=CHANGES)
    async def submit_resolution(
        context: Context[Any],
        summary: Annotated[str, Field(description="How both intents are met.")],
        dropped: Annotated[
            list[DroppedLines] | None,
            Field(description="What a side added or removed that the files do not have so."),
        ] = None,
        decided: Annotated[
            list[DecidedPath] | None,
            Field(description="Paths without lines, deleted ones, and others that you changed."),
        ] = None,
    ) -> Done:
        """Hand back the merge as your files have it; refused with each line not accounted for."""
        caller = boundary.caller()
        lines, paths = dropped or [], decided or []

        def prepare() -> Resolution:
            return services.resolutions.checked(
                caller,
                summary=summary,
                dropped=[
                    Dropped(path=one.path, lines=tuple(one.lines), reason=one.reason)
                    for one in lines
                ],
                decided=[(Decided(path=one.path, reason=one.reason), one.take) for one in paths],
            )

        def record(prepared: Resolution) -> Done:
            request = services.resolutions.accept(caller, prepared)
            return Done(outcome=f"The conflict of {request.id} is resolved.", next_step=END_TURN)

        done = await boundary.change(
            context,
            "submit_resolution",
            Done,
            record,
            prepare=prepare,
            request={
                "summary": summary,
                "dropped": [one.model_dump() for one in lines],
                "decided": [one.model_dump(mode="json") for one in paths],
            },
        )
        # Of a call that comes again too: the branch may not have moved yet.
        await boundary.ask(services.conflicts.settle, slow=True)
        return done

    @server.tool(annotations=CHANGES)
    async def escalate(
        context: Context[Any],
        note: Annotated[str, Field(description="What only the person can decide, and why.")],
    ) -> Done:
        """Leave the merge request, or its conflict, to the person, with what you found."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            request = services.requests.escalate_review(caller, note=note)
            waits = "waits for the person" if request.is_escalated else "goes back to a worker"
            return Done(outcome=f"{request.id} {waits}.", next_step=END_TURN)

        return await boundary.change(context, "escalate", Done, record, request={"note": note})
