"""The worker's tools: one task, from claim to merge request."""

from pathlib import Path
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from pydantic import Field

from sf_mcp.core.models import QuestionId
from sf_mcp.core.states import QuestionState
from sf_mcp.service.branches import MergeFacts
from sf_mcp.service.claims import Brief
from sf_mcp.tools.boundary import Boundary, tool_use_id
from sf_mcp.tools.brief import BriefResult
from sf_mcp.tools.fitting import fitted
from sf_mcp.tools.results import (
    AnswerResult,
    CheckLine,
    CheckReport,
    ConflictLine,
    ConflictReport,
    Done,
    HunkLine,
    named,
)
from sf_mcp.tools.shared import CHANGES, LOOKS

ANSWER_WAIT_SECONDS = 50.0
CHECK_WAIT_SECONDS = 50.0
"""Below the client's 60 s to the first byte and every idle limit that was measured."""

MOST_HUNKS = 8
"""In one answer, of all conflicts together."""

END_TURN = "End your turn now: your part of this task is done."


def register(server: MCPServer[None], boundary: Boundary) -> None:
    """Add the worker's tools."""
    services = boundary.services

    @server.tool(annotations=CHANGES)
    async def claim_task() -> BriefResult:
        """Claim your task and get its brief. Call it first; again after a resume: the same task."""
        caller = boundary.caller()

        def claim() -> tuple[Brief, Path | None, list[str]]:
            checks = [f"{check.name}: {check.run}" for check in services.checking.checks()]
            return *services.work.claim(caller), checks

        brief, place, checks = await boundary.ask_briefly(claim)
        if place is None:
            brief, place = await boundary.ask(lambda: services.work.prepare(brief), slow=True)
        state = None
        if brief.fence > 1:  # under the first claim ever there is nothing from before
            state = await boundary.ask(lambda: services.work.branch_state(brief.task), slow=True)
        return BriefResult.of(brief, str(place), checks, state)

    @server.tool(annotations=CHANGES)
    async def report_progress(
        context: Context[Any],
        message: Annotated[str, Field(description="What is done, in a sentence or two.")],
    ) -> Done:
        """Tell the director and the person how far you are. Renews your lease."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            services.claims.report_progress(caller, message=message)
            return Done(outcome="Noted.", next_step="Go on.")

        return await boundary.change(
            context, "report_progress", Done, record, request={"message": message}
        )

    @server.tool(annotations=CHANGES)
    async def write_handoff(
        context: Context[Any],
        progress: Annotated[str, Field(description="What is done, with commits.")],
        remaining: Annotated[str, Field(description="What is left, by acceptance criterion.")],
        next_step: Annotated[str, Field(description="The very next thing to do.")],
        decisions: Annotated[str, Field(description="What you decided and why.")] = "",
        pitfalls: Annotated[str, Field(description="What did not work.")] = "",
        criteria_met: Annotated[
            list[int] | None, Field(description="Acceptance criteria that hold now, from 1.")
        ] = None,
    ) -> Done:
        """Hand the task to a fresh session. Uncommitted files are kept. Ends your work on it."""
        caller = boundary.caller()
        texts = {
            "progress": progress,
            "remaining": remaining,
            "decisions": decisions,
            "pitfalls": pitfalls,
            "next_step": next_step,
        }
        met = criteria_met or []

        def record(facts: Any) -> Done:
            task = services.claims.record_handoff(
                caller,
                progress=progress,
                remaining=remaining,
                decisions=decisions,
                pitfalls=pitfalls,
                next_step=next_step,
                met=met,
                commit=facts.commit,
                snapshot=facts.snapshot,
            )
            return Done(outcome=f"{task} is handed off.", next_step=END_TURN)

        return await boundary.change(
            context,
            "write_handoff",
            Done,
            record,
            request={**texts, "criteria_met": met},
            prepare=lambda: services.work.handoff_facts(caller),
        )

    @server.tool(annotations=CHANGES)
    async def ask_director(
        context: Context[Any],
        question: Annotated[str, Field(description="One question, with what you would do.")],
        options: Annotated[list[str] | None, Field(description="Answers to choose from.")] = None,
        background: Annotated[str, Field(description="What they must know to answer.")] = "",
        none_applies: Annotated[
            bool, Field(description="You were shown earlier answers and none fits.")
        ] = False,
    ) -> AnswerResult:
        """Ask for a decision you cannot take. Waits up to 50 s for the answer."""
        caller = boundary.caller()
        asked = await boundary.ask(
            lambda: services.questions.ask_director(
                caller,
                question=question,
                options=tuple(options or ()),
                context=background,
                none_applies=none_applies,
                use_id=tool_use_id(context),
            )
        )
        if asked.question is None:
            return AnswerResult.of_earlier(asked.earlier)
        return await _answer(asked.question.id)

    async def _answer(question_id: QuestionId) -> AnswerResult:
        caller = boundary.caller()

        async def look() -> AnswerResult | None:
            found = await boundary.ask(lambda: services.questions.get_question(caller, question_id))
            if found.state is QuestionState.OPEN:
                return None
            return AnswerResult(
                question=found.id,
                status=found.state.value,
                answer=found.answer or "",
                next_step="Go on with your task.",
            )

        answer = await services.notices.wait_for(look, seconds=ANSWER_WAIT_SECONDS)
        return answer or AnswerResult(
            question=question_id,
            status="pending",
            answer="",
            next_step="Commit what you have. Go on with what does not depend on the answer, or end "
            "your turn: you are resumed with the answer.",
        )

    @server.tool(annotations=LOOKS)
    async def check_conflicts() -> ConflictReport:
        """Merge your commits, for trial, with the target and each live branch; list conflicts."""
        caller = boundary.caller()
        report = await boundary.ask(lambda: services.branches.check_conflicts(caller), slow=True)
        result = ConflictReport(
            conflicts=[
                ConflictLine(branch=line.other, paths=named(line.clash.paths))
                for line in report.conflicts
            ],
            hunks=[
                HunkLine(branch=line.other, path=hunk.path, yours=hunk.ours, theirs=hunk.theirs)
                for line in report.conflicts
                for hunk in line.clash.hunks
            ][:MOST_HUNKS],
            said=named([said.sentence for line in report.conflicts for said in line.clash.said]),
            compared_with=named(report.compared_with),
            uncommitted=report.note,
        )
        return fitted(result, note="Shortened.")

    @server.tool(annotations=CHANGES)
    async def run_checks() -> CheckReport:
        """Run the project's checks on your commits merged with the target, as the train will."""
        caller = boundary.caller()
        with boundary.translated():
            run = await services.check_runs.wait(caller, seconds=CHECK_WAIT_SECONDS)
        report = CheckReport(
            status=run.status,
            checks=[
                CheckLine(
                    name=line.name, outcome=line.outcome, seconds=line.seconds, log_tail=line.tail
                )
                for line in run.lines
            ],
            next_step=run.next_step,
        )
        return fitted(report, note="The output is shortened; run one command yourself for all.")

    @server.tool(annotations=CHANGES)
    async def request_merge(
        context: Context[Any],
        summary: Annotated[str, Field(description="What was done and why; for the reviewer.")],
        no_changes_reason: Annotated[
            str, Field(description="Only when there is rightly nothing to merge: why.")
        ] = "",
    ) -> Done:
        """Ask for your committed work to be checked, reviewed and landed. Ends your work on it."""
        caller = boundary.caller()

        def record(facts: MergeFacts) -> Done:
            request = services.requests.open_request(
                caller,
                commit=facts.commit,
                base=facts.base,
                branch=facts.branch,
                summary=summary,
                no_changes_reason=no_changes_reason if facts.is_empty else "",
            )
            return Done(outcome=f"{request.id} is open for {request.task_id}.", next_step=END_TURN)

        return await boundary.change(
            context,
            "request_merge",
            Done,
            record,
            request={"summary": summary, "no_changes_reason": no_changes_reason},
            prepare=lambda: services.branches.merge_facts(caller, no_changes_reason),
        )

    @server.tool(annotations=CHANGES)
    async def release_task(
        context: Context[Any],
        reason: Annotated[str, Field(description="Why you cannot go on.")],
    ) -> Done:
        """Give the task back unfinished. Your commits and files are kept for the next session."""
        caller = boundary.caller()

        def record(_: Any) -> Done:
            task = services.claims.release_task(caller, reason=reason)
            return Done(outcome=f"{task} is open again.", next_step=END_TURN)

        return await boundary.change(
            context,
            "release_task",
            Done,
            record,
            request={"reason": reason},
            prepare=lambda: services.work.handoff_facts(caller),
        )

    @server.tool(annotations=CHANGES)
    async def propose_task(
        context: Context[Any],
        title: str,
        description: Annotated[str, Field(description="Why it is needed and what is wanted.")] = "",
        depends_on: Annotated[list[str] | None, Field(description="Task ids.")] = None,
    ) -> Done:
        """Propose follow-up work outside your task; a director accepts or refuses it."""
        caller = boundary.caller()
        request = {"title": title, "description": description, "depends_on": depends_on or []}

        def record(_: Any) -> Done:
            task = services.plans.propose_task(
                caller, title=title, description=description, depends_on=depends_on or []
            )
            return Done(outcome=f"Proposed as {task.id}.", next_step="Go on with your own task.")

        return await boundary.change(context, "propose_task", Done, record, request=request)
