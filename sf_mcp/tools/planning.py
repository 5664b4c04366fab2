"""The director's tools for planning: plans, tasks, what waits for what."""

from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel, Field

from sf_mcp.service.plans import PlanView, TaskDraft
from sf_mcp.tools.boundary import Boundary
from sf_mcp.tools.results import Done, PlanResult, named
from sf_mcp.tools.shared import CHANGES, ENDS, TaskParameter

PlanParameter = Annotated[str, Field(description="Plan id or title.")]


class TaskInput(BaseModel):
    """A task to create."""

    title: str = Field(description="What is to be done, in one line.")
    key: str = Field(default="", description="Name for `depends_on` within this call.")
    description: str = Field(default="", description="All that a worker needs to know.")
    acceptance: list[str] = Field(
        default_factory=list, description="What must hold at the end, each checkable."
    )
    priority: int = Field(default=3, ge=1, le=5, description="1 is the most urgent.")
    estimate_minutes: float | None = Field(default=None, gt=0)
    paths: list[str] = Field(default_factory=list, description="Folders or files it will touch.")
    depends_on: list[str] = Field(default_factory=list, description="Task ids, or keys.")

    def draft(self) -> TaskDraft:
        """Return it as the service takes it."""
        return TaskDraft(**self.model_dump())


def register(server: MCPServer[None], boundary: Boundary) -> None:
    """Add the planning tools of every director."""
    services = boundary.services

    @server.tool(annotations=CHANGES)
    async def create_plan(
        context: Context[Any],
        title: str,
        tasks: Annotated[list[TaskInput], Field(description="The whole graph; may be empty.")],
        description: str = "",
        draft: Annotated[bool, Field(description="Hold the tasks until activate_plan.")] = False,
    ) -> PlanResult:
        """Create a plan with all its tasks and dependencies in one call, all or nothing."""
        caller = boundary.caller()

        def record(_: Any) -> PlanResult:
            return _plan(
                services.plans.create_plan(
                    caller,
                    title=title,
                    description=description,
                    draft=draft,
                    tasks=[task.draft() for task in tasks],
                )
            )

        request = {
            "title": title,
            "description": description,
            "draft": draft,
            "tasks": [task.model_dump() for task in tasks],
        }
        return await boundary.change(context, "create_plan", PlanResult, record, request=request)

    @server.tool(annotations=CHANGES)
    async def add_tasks(
        context: Context[Any], plan: PlanParameter, tasks: list[TaskInput]
    ) -> PlanResult:
        """Add tasks to a plan, all or nothing; returns the new ones."""
        caller = boundary.caller()

        def record(_: Any) -> PlanResult:
            added = services.plans.add_tasks(
                caller, plan=plan, tasks=[task.draft() for task in tasks]
            )
            now = services.plans.get_plan(caller, plan).plan
            return PlanResult.of(now.id, now.state.value, added)

        request = {"plan": plan, "tasks": [task.model_dump() for task in tasks]}
        return await boundary.change(context, "add_tasks", PlanResult, record, request=request)

    @server.tool(annotations=CHANGES)
    async def update_task(
        context: Context[Any],
        task: TaskParameter,
        title: str | None = None,
        description: str | None = None,
        acceptance: list[str] | None = None,
        priority: Annotated[int | None, Field(description="1 is the most urgent.")] = None,
        estimate_minutes: float | None = None,
        paths: list[str] | None = None,
        accept: Annotated[bool | None, Field(description="For a proposed task: take it?")] = None,
    ) -> Done:
        """Change a task, or accept or refuse a proposed one."""
        caller = boundary.caller()
        changes: dict[str, Any] = {
            "title": title,
            "description": description,
            "acceptance": acceptance,
            "priority": priority,
            "estimate_minutes": estimate_minutes,
            "paths": paths,
            "accept": accept,
        }

        def record(_: Any) -> Done:
            changed = services.plans.update_task(caller, task, **changes)
            return Done(outcome=f"{changed.id} is changed; it is {changed.state.value}.")

        return await boundary.change(
            context, "update_task", Done, record, request={"task": task, **changes}
        )

    @server.tool(annotations=CHANGES)
    async def set_dependencies(
        context: Context[Any],
        task: TaskParameter,
        add: Annotated[list[str] | None, Field(description="Ids it must wait for.")] = None,
        remove: Annotated[list[str] | None, Field(description="Ids it need not wait for.")] = None,
    ) -> Done:
        """Change what a task waits for, all or nothing."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            now = services.plans.set_dependencies(caller, task, add=add or (), remove=remove or ())
            return Done(outcome=f"{task} depends on {', '.join(named(now)) or 'nothing'}.")

        request = {"task": task, "add": add, "remove": remove}
        return await boundary.change(context, "set_dependencies", Done, record, request=request)

    @server.tool(annotations=CHANGES)
    async def activate_plan(context: Context[Any], plan: PlanParameter) -> PlanResult:
        """Let a draft plan's tasks be worked on."""
        caller = boundary.caller()

        def record(_: Any) -> PlanResult:
            return _plan(services.plans.activate_plan(caller, plan))

        return await boundary.change(
            context, "activate_plan", PlanResult, record, request={"plan": plan}
        )

    @server.tool(annotations=ENDS)
    async def cancel_plan(context: Context[Any], plan: PlanParameter) -> PlanResult:
        """Cancel a plan and its unfinished tasks. Commits are kept."""
        caller = boundary.caller()

        def record(_: Any) -> PlanResult:
            return _plan(services.plans.cancel_plan(caller, plan))

        return await boundary.change(
            context, "cancel_plan", PlanResult, record, request={"plan": plan}
        )

    @server.tool(annotations=ENDS)
    async def cancel_task(context: Context[Any], task: TaskParameter) -> Done:
        """Cancel a task. Commits are kept; tasks that wait for it stay blocked."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            return Done(outcome=f"{services.plans.cancel_task(caller, task).id} is cancelled.")

        return await boundary.change(context, "cancel_task", Done, record, request={"task": task})

    @server.tool(annotations=CHANGES)
    async def retry_task(context: Context[Any], task: TaskParameter) -> Done:
        """Open a stuck task again, its failures forgotten."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            return Done(outcome=f"{services.plans.retry_task(caller, task).id} is open again.")

        return await boundary.change(context, "retry_task", Done, record, request={"task": task})


def _plan(view: PlanView) -> PlanResult:
    return PlanResult.of(view.plan.id, view.plan.state.value, view.tasks)
