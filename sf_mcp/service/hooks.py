"""Answers to the hooks of Claude Code, for the session whose token calls.

Hooks fail open in the client (a refused connection lets the tool run), so nothing here is a rule:
rules live in the tools and in git. Hooks only say early what the rules would say late.
"""

from typing import Any

from sf_mcp.core.identity import Caller
from sf_mcp.core.models import QuestionId, Role, SessionId
from sf_mcp.core.spending import Spending, Stage, refusal_to_go_on, request_to_wrap_up
from sf_mcp.service import answers
from sf_mcp.service.conflict_warnings import ConflictWarnings
from sf_mcp.service.fencing import given_up
from sf_mcp.service.filling import ENDING_TOOLS, HANDOFF_TOOL, Fullness, fill_of
from sf_mcp.service.seats import SeatService
from sf_mcp.service.sessions import SessionService
from sf_mcp.service.spending import tightest
from sf_mcp.service.takeovers import TakeoverService
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import questions, sessions

LAST_TOOLS = (HANDOFF_TOOL, "request_merge")
"""What a worker may still call when its budget is nearly used up: that which ends its work."""
SIGNS = ("PreToolUse", "PostToolUse", "Stop")
"""Events that only a model which goes on brings about; `SessionEnd` comes of a killed one too."""


class HookService:
    """Use cases of hooks."""

    def __init__(
        self,
        workspace: Workspace,
        session_service: SessionService,
        conflict_warnings: ConflictWarnings,
        seats: SeatService,
        takeovers: TakeoverService,
    ) -> None:
        """Work on this project."""
        self._workspace = workspace
        self._sessions = session_service
        self._conflict_warnings = conflict_warnings
        self._seats = seats
        self._takeovers = takeovers

    def answer(self, caller: Caller, event: dict[str, Any]) -> dict[str, Any]:
        """Return what Claude Code should make of the event."""
        if caller.session_id is None:
            return self._seats.answer(caller, event) if caller.role is Role.PERSON else {}
        name = event.get("hook_event_name")
        if self._takeovers.is_taken_over(caller):
            return self._with_a_person(caller, event)
        if (refusal := given_up(self._workspace, caller)) is not None:
            # Its turn may end, and does not go on: what it would write is no longer its own.
            return _denied(str(refusal)) if name == "PreToolUse" else {}
        if name in SIGNS:
            self._note_answers(caller, caller.session_id, event)
        match name:
            case "Stop":
                missing = self._sessions.stop_hook(caller)
                return {"decision": "block", "reason": missing} if missing else {}
            case "PreToolUse":
                return self._before_tool(caller, str(event.get("tool_name", "")))
            case "PostToolUse":
                return self._after_tool(caller, str(event.get("tool_name", "")))
            case _:
                return {}

    def _with_a_person(self, caller: Caller, event: dict[str, Any]) -> dict[str, Any]:
        """Answer for a session that a person works in: its turns end whenever they end."""
        name, tool = event.get("hook_event_name"), str(event.get("tool_name", ""))
        if refusal := self._takeovers.refusal(caller):
            return _denied(refusal) if name == "PreToolUse" else {}
        if name in SIGNS and caller.session_id is not None:
            self._note_answers(caller, caller.session_id, event)
        if name in ("UserPromptSubmit", "Stop"):
            said = str(event.get("last_assistant_message") or "")
            self._takeovers.note_turn(caller, is_active=name != "Stop", said=said)
        match name:
            case "UserPromptSubmit":
                words = self._takeovers.at_the_prompt(caller)
                return _told(words, name) if words else {}
            case "PreToolUse":
                return self._before_tool(caller, tool)
            case "PostToolUse":
                return self._after_tool(caller, tool)
            case _:
                return {}

    def _note_answers(self, caller: Caller, session_id: SessionId, event: dict[str, Any]) -> None:
        """Take the event as a sign that the session has what was given to it before.

        It says more of `ask_director`: that the result with the answer has reached the client.
        """
        with self._workspace.read() as tx:
            if not questions.unacknowledged(tx.db, session_id):
                return
        arrived: QuestionId | None = None
        if event.get("hook_event_name") == "PostToolUse" and str(
            event.get("tool_name", "")
        ).endswith(answers.ASKING_TOOL):
            arrived = answers.answered_in(event.get("tool_response"))
        with self._workspace.write(caller) as tx:
            answers.acknowledge(tx, session_id)
            waiting = questions.undelivered(tx.db, session_id)
            answers.give(tx, [one for one in waiting if one.id == arrived])

    def _before_tool(self, caller: Caller, tool: str) -> dict[str, Any]:
        """Deny everything but the handoff to a worker whose context is nearly full."""
        fill = fill_of(self._workspace, caller)
        if fill.stage is Fullness.RESTRICTED and not tool.endswith(HANDOFF_TOOL):
            return _denied(fill.demand)
        spending = self._spending(caller)
        if spending is not None and spending.stage >= Stage.HELD and not tool.endswith(LAST_TOOLS):
            return _denied(refusal_to_go_on(spending))
        return {}

    def _after_tool(self, caller: Caller, tool: str) -> dict[str, Any]:
        """Ask a worker for the handoff when the time has come; warn it of conflicts."""
        if tool.rpartition("__")[2] in ENDING_TOOLS:
            return {}
        words = [self._request(caller), self._conflict_warnings.take(caller)]
        return _told("\n\n".join(filter(None, words))) if any(words) else {}

    def _request(self, caller: Caller) -> str:
        if request := fill_of(self._workspace, caller).request:
            return request
        spending = self._spending(caller)
        if spending is not None and spending.stage >= Stage.WARNED:
            return request_to_wrap_up(spending)
        return ""

    def _spending(self, caller: Caller) -> Spending | None:
        """Return the budget that a worker's task is nearest to the end of; None when it is free."""
        budget = self._workspace.settings.budget
        if caller.role is not Role.WORKER or caller.session_id is None:
            return None
        if budget.task_usd is None and budget.fleet_usd is None:
            return None
        with self._workspace.read() as tx:
            return tightest(tx, sessions.get(tx.db, caller.session_id), budget)


def _denied(reason: str) -> dict[str, Any]:
    return {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": reason,
        }
    }


def _told(text: str, event: str = "PostToolUse") -> dict[str, Any]:
    return {"hookSpecificOutput": {"hookEventName": event, "additionalContext": text}}
