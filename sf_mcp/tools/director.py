"""The director's tools: answer, watch, steer; the person's director also approves."""

import itertools
from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from pydantic import Field

from sf_mcp.core.models import Event
from sf_mcp.core.news import News
from sf_mcp.core.overview import WaitingLine
from sf_mcp.service.merge_views import MergeView
from sf_mcp.service.questions import QuestionView
from sf_mcp.service.requests import RequestView
from sf_mcp.tools.boundary import Boundary
from sf_mcp.tools.fitting import clipped, fitted, how_many_fit
from sf_mcp.tools.results import (
    Done,
    EventLine,
    EventList,
    FleetResult,
    MergeFacts,
    MergeLine,
    MergeList,
    NewsLine,
    NewsResult,
    QuestionLine,
    QuestionList,
    named,
)
from sf_mcp.tools.shared import CHANGES, LOOKS

EVENT_WAIT_SECONDS = 240.0
"""Below five minutes: longer calls have been seen to be cut, progress or not."""
PROGRESS_SECONDS = 15.0
LINE_CHARACTERS, TEXT_CHARACTERS = 300, 8_000
"""Of a text in a list, and of one that is shown by itself."""

MergeParameter = Annotated[str, Field(description="Merge request id, such as M7.")]


def register(server: MCPServer[None], boundary: Boundary) -> None:
    """Add what every director answers, watches and steers with."""
    services = boundary.services

    @server.tool(annotations=LOOKS)
    async def list_questions(
        all: Annotated[bool, Field(description="Answered ones too.")] = False,
        question: Annotated[str, Field(description="Only this one, in full.")] = "",
        after: Annotated[str, Field(description="Last id of the page before.")] = "",
    ) -> QuestionList:
        """Questions that wait for an answer, oldest first, by page."""
        caller = boundary.caller()
        if question:
            one = await boundary.ask(lambda: services.questions.get_question(caller, question))
            shown_whole = QuestionList(questions=[_question(one, TEXT_CHARACTERS)])
            return fitted(shown_whole, note="Shortened: `sf question list --all` has all of it.")
        found = await boundary.ask(
            lambda: services.questions.list_questions(caller, all=all, after=after)
        )
        lines = [_question(one, LINE_CHARACTERS) for one in found]
        shown = how_many_fit(lines)
        return QuestionList(
            questions=lines[:shown], next_after=lines[shown - 1].id if shown < len(lines) else ""
        )

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
            context,
            "answer_question",
            Done,
            record,
            request={"question": question, "answer": answer},
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
            context, "escalate", Done, record, request={"question": question, "note": note}
        )

    @server.tool(annotations=LOOKS)
    async def list_merge_requests(
        all: Annotated[bool, Field(description="Ended ones too.")] = False,
        merge_request: Annotated[
            str, Field(description="Only this one, with its checks, files and risks.")
        ] = "",
        after: Annotated[str, Field(description="Last id of the page before.")] = "",
    ) -> MergeList:
        """Merge requests and what each waits for, oldest first, by page."""
        caller = boundary.caller()
        if merge_request:
            one = await boundary.ask(
                lambda: services.merge_views.show_merge_request(caller, merge_request), slow=True
            )
            whole = MergeList(
                merge_requests=[_merge(one, TEXT_CHARACTERS)], facts=MergeFacts.of(one)
            )
            return fitted(whole, note=f"Shortened: `sf mr show {one.request.id}` has all of it.")
        views = await boundary.ask(
            lambda: services.requests.list_merge_requests(caller, all=all, after=after)
        )
        lines = [_merge(view) for view in views]
        shown = how_many_fit(lines)
        return MergeList(
            merge_requests=lines[:shown],
            next_after=lines[shown - 1].id if shown < len(lines) else "",
        )

    @server.tool(annotations=LOOKS)
    async def fleet_status() -> FleetResult:
        """The fleet at a glance: sessions, tasks, merges, what waits for you."""
        caller = boundary.caller()
        seen = await boundary.ask(lambda: services.fleet.fleet_status(caller))
        colour = {True: "green", False: "red", None: "not checked"}[seen.target.is_green]
        result = FleetResult(
            waiting=[_waiting(line) for line in seen.waiting][:30],
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
        return fitted(result, note="Shortened; the list_… tools have each by page.")

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
        return _newest(events) if after is None else _events(events, after)

    @server.tool(annotations=LOOKS)
    async def wait_for_events(
        context: Context[Any],
        after: Annotated[
            int | None, Field(description="`newest` of the call before; leave out at first.")
        ] = None,
    ) -> NewsResult:
        """Wait some minutes for what concerns a director: questions, failures, landings."""
        boundary.caller()
        start = await boundary.ask(lambda: services.seats.news_after(None))
        known = start.newest if after is None else after

        async def look() -> NewsResult | None:
            found = await boundary.ask(lambda: services.seats.news_after(known))
            return _news(found.news, found.newest) if found.news else None

        async def tell_that_it_goes_on() -> None:
            # Without a sign for five minutes the client gives the call up.
            for number in itertools.count(1):
                await anyio.sleep(PROGRESS_SECONDS)
                waited = number * PROGRESS_SECONDS
                await context.report_progress(waited, EVENT_WAIT_SECONDS, "nothing yet")

        seen: NewsResult | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(tell_that_it_goes_on)
            seen = await services.notices.wait_for(look, seconds=EVENT_WAIT_SECONDS)
            group.cancel_scope.cancel()
        return seen or NewsResult(
            news=[],
            newest=max(known, 0),
            next_step="Nothing happened. End your turn rather than wait again.",
        )

    @server.tool(annotations=CHANGES)
    async def pause_fleet(context: Context[Any], reason: str = "") -> Done:
        """Start no new sessions and land nothing until resume_fleet."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            return Done(outcome=services.fleet.pause_fleet(caller, reason=reason))

        return await boundary.change(
            context, "pause_fleet", Done, record, request={"reason": reason}
        )

    @server.tool(annotations=CHANGES)
    async def resume_fleet(context: Context[Any]) -> Done:
        """Go on after a pause."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            services.fleet.resume_fleet(caller)
            return Done(outcome="The fleet goes on.")

        return await boundary.change(context, "resume_fleet", Done, record, request={})


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
            context,
            "approve_merge",
            Done,
            record,
            request={"merge_request": merge_request, "reason": reason},
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
            context,
            "send_back",
            Done,
            record,
            request={"merge_request": merge_request, "reason": reason},
        )


def _waiting(line: WaitingLine) -> str:
    """Return one thing that waits, what it holds up and how it is settled."""
    who = f"{line.kind.value} {line.id}".strip()
    behind = f" (holds up {line.behind})" if line.behind else ""
    how = f" [{line.command}]" if line.command else ""
    return clipped(f"{who}{behind}: {line.text}", LINE_CHARACTERS) + how


def _question(question: QuestionView, limit: int) -> QuestionLine:
    return QuestionLine(
        id=question.id,
        task=question.task_id or "",
        text=clipped(question.text, limit),
        options=list(question.options),
        context=clipped(question.context, limit),
        state=question.state.value,
        answer=clipped(question.answer or "", limit),
        escalated=question.escalated,
        asked_by=question.asker,
        since=question.asked_at.isoformat(timespec="minutes"),
        behind=named(question.behind),
    )


def _merge(view: RequestView | MergeView, most: int = LINE_CHARACTERS) -> MergeLine:
    return MergeLine(
        id=view.request.id,
        task=view.request.task_id,
        title=clipped(view.task.title, LINE_CHARACTERS),
        status=clipped(view.status, LINE_CHARACTERS),
        commit=view.request.commit[:12],
        summary=clipped(view.request.summary, most),
    )


def _news(news: list[News], newest: int) -> NewsResult:
    """Return as much of the news as fits; the next call goes on behind it."""
    lines = [NewsLine(number=one.number, text=one.text) for one in news]
    fit = how_many_fit(lines)
    return NewsResult(
        news=lines[:fit],
        newest=lines[fit - 1].number if fit < len(lines) else newest,
        next_step="Do what is to be done, then end your turn rather than wait again.",
    )


def _events(events: list[Event], after: int) -> EventList:
    """Return the first of the events, as many as fit; the next call goes on behind them."""
    lines = [_event(event) for event in events]
    lines = lines[: how_many_fit(lines)]
    return EventList(events=lines, newest=lines[-1].number if lines else after)


def _newest(events: list[Event]) -> EventList:
    """Return the last of the events, as many as fit."""
    lines = [_event(event) for event in reversed(events)]
    lines = lines[: how_many_fit(lines)][::-1]
    return EventList(events=lines, newest=lines[-1].number if lines else 0)


def _event(event: Event) -> EventLine:
    told = "; ".join(f"{key}: {value}" for key, value in event.data.items())
    return EventLine(
        number=event.number,
        at=event.at.isoformat(timespec="seconds"),
        kind=event.kind,
        actor=event.actor,
        subject=event.subject,
        detail=clipped(told, LINE_CHARACTERS),
    )
