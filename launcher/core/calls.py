"""Which tool uses a process has begun, and which of them the model has seen the result of."""

from collections import deque
from collections.abc import Iterable

from launcher.core.command_line import MCP_SERVER_NAME
from launcher.core.observation import describe
from launcher.core.stream import AssistantMessage, Event, Init, ToolResults, ToolUse, TurnResult
from sf_mcp.core.interrupted import OpenCall, Trace

MOST_ANSWERED = 50
"""Newest answered tool uses that are remembered; more than a message can make at once."""

OURS = f"mcp__{MCP_SERVER_NAME}__"


class Calls:
    """The tool uses of one session's process, fed with its events in order."""

    def __init__(self) -> None:
        """Nothing has been said yet."""
        self._open: dict[str, ToolUse] = {}
        self._answered: deque[str] = deque(maxlen=MOST_ANSWERED)
        self.has_begun = False
        """The conversation has begun: the client has said which session it is."""

    def take(self, event: Event) -> None:
        """Note what the event says of tool uses, of subagents too."""
        match event:
            case Init():
                # At the start of a turn nothing is under way: what was is of a process before.
                self.has_begun = True
                self._open.clear()
            case AssistantMessage():
                self._open.update({use.id: use for use in event.tool_uses})
            case ToolResults():
                for result in event.results:
                    self._open.pop(result.tool_use_id, None)
                    if not result.is_error:
                        # An interrupted call reads as a refusal, whether it was recorded or not.
                        self._answered.append(result.tool_use_id)
            case TurnResult():
                self._open.clear()
            case _:
                pass

    @property
    def is_under_way(self) -> bool:
        """Whether a tool is at work."""
        return bool(self._open)

    def trace(self, *, is_resumable: bool) -> Trace:
        """Return what is to be reported of the process once it has ended."""
        return Trace(
            is_resumable=is_resumable,
            open=tuple(_open_call(use) for use in self._open.values()),
            answered=tuple(self._answered),
        )


def calls_in(events: Iterable[Event]) -> Calls:
    """Return what a whole stream, or the end of one, says of tool uses."""
    calls = Calls()
    for event in events:
        calls.take(event)
    return calls


def _open_call(use: ToolUse) -> OpenCall:
    return OpenCall(
        id=use.id,
        tool=use.name.removeprefix(OURS),
        what=describe(use),
        is_ours=use.name.startswith(OURS),
    )
