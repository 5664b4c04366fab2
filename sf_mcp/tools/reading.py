"""Resources (a plan, a task as text) and the person's slash commands."""

from collections.abc import Callable

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError

from sf_mcp.tools.boundary import Boundary

PROMPTS = {
    "plan": (
        "Plan a goal as a graph of tasks",
        "Plan this with me: {about}\n\nRead the code first. Then propose tasks that can be done "
        "in parallel, each with acceptance criteria that can be checked, the paths it touches and "
        "only the dependencies that are real. When I agree, call create_plan once with all of it.",
    ),
    "standup": (
        "What the fleet did, does and waits for",
        "Call fleet_status and read_log. Tell me in a few lines what landed, what runs, what is "
        "stuck or waits for me, and what you suggest. {about}",
    ),
    "answer": (
        "Go through the questions that wait",
        "Call list_questions. For each, read what is needed, propose an answer, and call "
        "answer_question when I agree. {about}",
    ),
    "review": (
        "Go through the merge requests that wait",
        "Call list_merge_requests. For each that waits for the person, show me what it does and "
        "its risks; then approve_merge or send_back as I decide. {about}",
    ),
}


def register_resources(server: MCPServer[None], boundary: Boundary) -> None:
    """Add `stoneforge://plan/{id}` and `stoneforge://task/{id}`."""
    services = boundary.services

    @server.resource(
        "stoneforge://task/{task}",
        name="task",
        description="A task as text",
        mime_type="text/plain",
    )
    async def task_text(task: str) -> str:
        caller = boundary.caller()
        try:
            view = await boundary.ask(lambda: services.queries.get_task(caller, task))
        except ToolError as error:
            raise ResourceError(str(error)) from error
        criteria = "\n".join(f"- {text}" for text in view.task.acceptance)
        return (
            f"{view.task.id}: {view.task.title} ({view.task.state.value})\n\n"
            f"{view.task.description}\n\n{criteria}"
        )

    @server.resource(
        "stoneforge://plan/{plan}",
        name="plan",
        description="A plan as text",
        mime_type="text/plain",
    )
    async def plan_text(plan: str) -> str:
        caller = boundary.caller()
        try:
            view = await boundary.ask(lambda: services.plans.get_plan(caller, plan))
        except ToolError as error:
            raise ResourceError(str(error)) from error
        lines = "\n".join(f"- {task.id} {task.title} ({task.state.value})" for task in view.tasks)
        return f"{view.plan.id}: {view.plan.title} ({view.plan.state.value})\n\n{lines}"


def register_prompts(server: MCPServer[None]) -> None:
    """Add the person's slash commands."""
    for name, (description, text) in PROMPTS.items():
        server.prompt(name=name, description=description)(partial_prompt(text))


def partial_prompt(text: str) -> Callable[[str], str]:
    """Return the prompt function of one text; `about` is what the person typed after it."""

    def prompt(about: str = "") -> str:
        return text.replace("{about}", about)

    return prompt
