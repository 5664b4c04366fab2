"""The tools that every role has: look at a task, list tasks, ask why."""

from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from pydantic import Field

from sf_mcp.tools.boundary import Boundary
from sf_mcp.tools.fitting import how_many_fit
from sf_mcp.tools.results import TaskDetail, TaskList, WhyResult, task_line

LOOKS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
CHANGES = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
ENDS = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)

TaskParameter = Annotated[str, Field(description="Task id, such as T12.")]


def register(server: MCPServer[None], boundary: Boundary) -> None:
    """Add the tools of every role."""
    services = boundary.services

    @server.tool(annotations=LOOKS)
    async def get_task(
        task: TaskParameter, page: Annotated[int, Field(description="Of `text`.")] = 1
    ) -> TaskDetail:
        """One task: state, criteria, dependencies, attempts, and all its texts by page."""
        caller = boundary.caller()
        return TaskDetail.of(
            await boundary.ask(lambda: services.queries.get_task(caller, task)), page
        )

    @server.tool(annotations=LOOKS)
    async def list_tasks(
        plan: Annotated[str, Field(description="Id or title; empty: all.")] = "",
        state: Annotated[str, Field(description="A state, `ready` or `blocked`.")] = "",
        after: Annotated[str, Field(description="Last id of the page before.")] = "",
    ) -> TaskList:
        """Tasks with their states, by page; ready ones in the order they will start."""
        caller = boundary.caller()
        listing = await boundary.ask(
            lambda: services.queries.list_tasks(caller, plan=plan, state=state, after=after)
        )
        lines = [task_line(task, on) for task, on in listing.tasks]
        shown = how_many_fit(lines)
        return TaskList(
            tasks=lines[:shown],
            total=listing.total,
            next_after=lines[shown - 1].id if shown < len(lines) else listing.next_after,
        )

    @server.tool(annotations=LOOKS)
    async def why(
        task: Annotated[str, Field(description="T12; or M7, P3, Q4, worker-2.")],
    ) -> WhyResult:
        """Why a task is not running, or not merged: one sentence, facts, what changes it, when."""
        caller = boundary.caller()
        return WhyResult.of(await boundary.ask(lambda: services.queries.why(caller, task)))
