"""The director's tools: plan, answer, watch, steer; the person's director also approves."""

from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel, Field

from sf_mcp.core.models import Event, Question
from sf_mcp.service.plans import PlanView, TaskDraft
from sf_mcp.service.requests import RequestView
from sf_mcp.tools.boundary import Boundary
from sf_mcp.tools.results import (
    Done,
    EventLine,
    EventList,
    FleetResult,
    MergeLine,
    MergeList,
    PlanResult,
    QuestionLine,
    QuestionList,
    clipped,
    task_line,
)
from sf_mcp.tools.shared import CHANGES, ENDS, LOOKS, TaskParameter

EVENT_WAIT_SECONDS = 50.0
MergeParameter = Annotated[str, Field(description="Merge request id, such as M7.")]
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
    """Add the tools of every director."""
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

        request = {"title": title, "tasks": [task.model_dump() for task in tasks]}
        return await boundary.change(context, PlanResult, record, request=request)

    @server.tool(annotations=CHANGES)
    async def add_tasks(
        context: Context[Any], plan: PlanParameter, tasks: list[TaskInput]
    ) -> PlanResult:
        """Add tasks to a plan, all or nothing."""
        caller = boundary.caller()

        def record(_: Any) -> PlanResult:
            services.plans.add_tasks(caller, plan=plan, tasks=[task.draft() for task in tasks])
            return _plan(services.plans.get_plan(caller, plan))

        request = {"plan": plan, "tasks": [task.model_dump() for task in tasks]}
        return await boundary.change(context, PlanResult, record, request=request)

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
        changes = {
            "title": title,
            "description": description,
            "acceptance": acceptance,
            "priority": priority,
            "estimate_minutes": estimate_minutes,
            "paths": paths,
            "accept": accept,
        }

        def record(_: Any) -> Done:
            changed = services.plans.update_task(caller, task, **changes)  # type: ignore[arg-type]
            return Done(outcome=f"{changed.id} is changed; it is {changed.state.value}.")

        return await boundary.change(context, Done, record, request={"task": task, **changes})

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
            return Done(outcome=f"{task} depends on {', '.join(now) or 'nothing'}.")

        request = {"task": task, "add": add, "remove": remove}
        return await boundary.change(context, Done, record, request=request)

    @server.tool(annotations=CHANGES)
    async def activate_plan(context: Context[Any], plan: PlanParameter) -> PlanResult:
        """Let a draft plan's tasks be worked on."""
        caller = boundary.caller()

        def record(_: Any) -> PlanResult:
            return _plan(services.plans.activate_plan(caller, plan))

        return await boundary.change(context, PlanResult, record, request={"plan": plan})

    @server.tool(annotations=ENDS)
    async def cancel_plan(context: Context[Any], plan: PlanParameter) -> PlanResult:
        """Cancel a plan and its unfinished tasks. Commits are kept."""
        caller = boundary.caller()

        def record(_: Any) -> PlanResult:
            return _plan(services.plans.cancel_plan(caller, plan))

        return await boundary.change(context, PlanResult, record, request={"plan": plan})

    @server.tool(annotations=ENDS)
    async def cancel_task(context: Context[Any], task: TaskParameter) -> Done:
        """Cancel a task. Commits are kept; tasks that wait for it stay blocked."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            return Done(outcome=f"{services.plans.cancel_task(caller, task).id} is cancelled.")

        return await boundary.change(context, Done, record, request={"task": task})

    @server.tool(annotations=CHANGES)
    async def retry_task(context: Context[Any], task: TaskParameter) -> Done:
        """Open a stuck task again, its failures forgotten."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            return Done(outcome=f"{services.plans.retry_task(caller, task).id} is open again.")

        return await boundary.change(context, Done, record, request={"task": task})

    @server.tool(annotations=LOOKS)
    async def list_questions(
        all: Annotated[bool, Field(description="Answered ones too.")] = False,
    ) -> QuestionList:
        """Questions that wait for an answer, oldest first."""
        caller = boundary.caller()
        found = await boundary.ask(lambda: services.questions.list_questions(caller, all=all))
        return QuestionList(questions=[_question(question) for question in found[-50:]])

    @server.tool(annotations=CHANGES)
    async def answer_question(
        context: Context[Any],
        question: Annotated[str, Field(description="Question id, such as Q4.")],
        answer: Annotated[str, Field(description="What the session should do, and why.")],
    ) -> Done:
        """Answer a question; the session that asked goes on with it."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            done = services.questions.answer_question(caller, question, answer=answer)
            return Done(outcome=f"{done.id} is answered.")

        return await boundary.change(
            context, Done, record, request={"question": question, "answer": answer}
        )

    @server.tool(annotations=CHANGES)
    async def escalate(
        context: Context[Any],
        question: Annotated[str, Field(description="Question id.")],
        note: Annotated[str, Field(description="What only the person can decide, and why.")],
    ) -> Done:
        """Leave a question to the person."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            done = services.questions.escalate(caller, question, note=note)
            return Done(outcome=f"{done.id} waits for the person.")

        return await boundary.change(
            context, Done, record, request={"question": question, "note": note}
        )

    @server.tool(annotations=LOOKS)
    async def list_merge_requests(
        all: Annotated[bool, Field(description="Ended ones too.")] = False,
    ) -> MergeList:
        """Merge requests and what each waits for, oldest first."""
        caller = boundary.caller()
        views = await boundary.ask(lambda: services.requests.list_merge_requests(caller, all=all))
        return MergeList(merge_requests=[_merge(view) for view in views[-50:]])

    @server.tool(annotations=LOOKS)
    async def fleet_status() -> FleetResult:
        """The fleet at a glance: sessions, tasks, merges, what waits for you."""
        caller = boundary.caller()
        seen = await boundary.ask(lambda: services.fleet.fleet_status(caller))
        colour = {True: "green", False: "red", None: "not checked"}[seen.target.is_green]
        return FleetResult(
            paused=seen.paused,
            notes=seen.notes,
            target=f"{seen.target.branch} at {(seen.target.commit or '')[:12]}, {colour}; your "
            f"checkout: {seen.target.checkout}",
            tasks=seen.counts,
            ready=seen.ready,
            blocked=seen.blocked,
            plans=[
                f"{line.id} {line.title} ({line.state.value}, {line.done} of {line.total})"
                for line in seen.plans
            ][-20:],
            sessions=[
                f"{line.name} on {line.subject} {line.title}: {line.last_line}"[:200]
                for line in seen.sessions
            ],
            merges=[f"{line.id} {line.title}: {line.status}" for line in seen.merges][:30],
            questions=[f"{line.id} ({line.task_id}): {line.text}" for line in seen.questions][:30],
            stuck=[f"{line.id} {line.title}" for line in seen.stuck][:30],
            cost_usd=seen.cost_usd,
        )

    @server.tool(annotations=LOOKS)
    async def read_log(
        subject: Annotated[str, Field(description="An id such as T12 or worker-2.")] = "",
        after: Annotated[int | None, Field(description="Event number.")] = None,
    ) -> EventList:
        """What happened: the newest events, or those after a number."""
        caller = boundary.caller()
        events = await boundary.ask(
            lambda: services.fleet.read_log(caller, after=after, subject=subject, limit=40)
        )
        return _events(events, after or 0)

    @server.tool(annotations=LOOKS)
    async def wait_for_events(
        after: Annotated[int, Field(description="`newest` of the call before; 0 at first.")],
    ) -> EventList:
        """Wait up to 50 s for something to happen."""
        caller = boundary.caller()

        async def look() -> EventList | None:
            found = await boundary.ask(
                lambda: services.fleet.read_log(caller, after=after, limit=40)
            )
            return _events(found, after) if found else None

        seen = await services.notices.wait_for(look, seconds=EVENT_WAIT_SECONDS)
        return seen or EventList(
            events=[],
            newest=after,
            next_step="Nothing happened. End your turn rather than wait on.",
        )

    @server.tool(annotations=CHANGES)
    async def pause_fleet(context: Context[Any], reason: str = "") -> Done:
        """Start no new sessions and land nothing until resume_fleet."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            return Done(outcome=services.fleet.pause_fleet(caller, reason=reason))

        return await boundary.change(context, Done, record, request={"reason": reason})

    @server.tool(annotations=CHANGES)
    async def resume_fleet(context: Context[Any]) -> Done:
        """Go on after a pause."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            services.fleet.resume_fleet(caller)
            return Done(outcome="The fleet goes on.")

        return await boundary.change(context, Done, record, request={})


def register_approvals(server: MCPServer[None], boundary: Boundary) -> None:
    """Add what only the person's own director may do."""
    services = boundary.services

    @server.tool(annotations=CHANGES)
    async def approve_merge(
        context: Context[Any], merge_request: MergeParameter, reason: str = ""
    ) -> Done:
        """Approve a merge request's pinned commit, in the person's name."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            request = services.requests.approve_merge(caller, merge_request, reason=reason)
            return Done(outcome=f"{request.id} is approved.")

        return await boundary.change(
            context, Done, record, request={"merge_request": merge_request}
        )

    @server.tool(annotations=CHANGES)
    async def send_back(
        context: Context[Any],
        merge_request: MergeParameter,
        reason: Annotated[str, Field(description="What must change.")],
    ) -> Done:
        """Send a merge request back to a worker."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            request = services.requests.send_back(caller, merge_request, reason=reason)
            return Done(outcome=f"{request.task_id} goes back to a worker.")

        return await boundary.change(
            context, Done, record, request={"merge_request": merge_request, "reason": reason}
        )


def _plan(view: PlanView) -> PlanResult:
    return PlanResult(
        plan=view.plan.id,
        state=view.plan.state.value,
        tasks=[task_line(task) for task in view.tasks[:100]],
    )


def _question(question: Question) -> QuestionLine:
    return QuestionLine(
        id=question.id,
        task=question.task_id or "",
        text=clipped(question.text, 1000, rest="shortened"),
        options=list(question.options),
        context=clipped(question.context, 1000, rest="shortened"),
        state=question.state.value,
        answer=clipped(question.answer or "", 500, rest="shortened"),
        escalated=question.escalated,
    )


def _merge(view: RequestView) -> MergeLine:
    return MergeLine(
        id=view.request.id,
        task=view.request.task_id,
        title=view.task.title,
        status=view.status,
        commit=view.request.commit[:12],
        summary=clipped(view.request.summary, 300, rest="shortened"),
    )


def _events(events: list[Event], after: int) -> EventList:
    return EventList(
        events=[
            EventLine(
                number=event.number,
                at=event.at.isoformat(timespec="seconds"),
                kind=event.kind,
                actor=event.actor,
                subject=event.subject,
                detail=clipped(
                    "; ".join(f"{key}: {value}" for key, value in event.data.items()),
                    300,
                    rest="shortened",
                ),
            )
            for event in events
        ],
        newest=events[-1].number if events else after,
    )
