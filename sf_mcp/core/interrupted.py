"""What a session is told of the calls whose end its last process did not see.

The client does not know: after a resume it has dropped such a call from the conversation [2.1.197]
or says that its outcome is unknown [2.1.330]. Of its own tools the server knows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sf_mcp.core.text import one_line

MOST_TOLD = 10
RESULT_CHARACTERS = 300

WITHOUT_EFFECT = frozenset({"Read", "Grep", "Glob", "WebFetch", "WebSearch", "ToolSearch"})
"""Built-in tools that change nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCall:
    """A tool use that was begun and not answered."""

    id: str
    tool: str
    """Without the prefix of its MCP server."""
    what: str
    """The call in one line, for people: `Bash: pytest -q`."""
    is_ours: bool
    """A tool of this server, whose effects it has recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What the launcher knows of a session's process that has ended."""

    is_resumable: bool = False
    """Its conversation has begun, and the client has it still."""
    open: tuple[OpenCall, ...] = ()
    answered: tuple[str, ...] | None = None
    """Ids of the newest tool uses whose results the model has seen; None: that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """A call whose effect is stored, with its result."""

    id: str
    tool: str
    result: Mapping[str, Any]


def told(trace: Trace, recorded: Sequence[RecordedCall], question: str = "") -> tuple[str, ...]:
    """Return a sentence for each call whose outcome the session does not know, oldest first.

    Args:
        trace: what was seen of the process.
        recorded: the calls of this process that the server has recorded, oldest first. One that
            the stream does not show at all, since it was cut, counts as interrupted.
        question: the id of the question that the process has asked and that is still open.
    """
    if trace.answered is None and recorded and not trace.open:
        newest = "; ".join(_outcome(call) for call in recorded[-MOST_TOLD:])
        return (
            f"The newest calls that the server has recorded of you: {newest}. Do not repeat one "
            "whose result your conversation lacks.",
        )
    known = {call.id: call for call in recorded}
    seen = {*(call.id for call in trace.open), *(trace.answered or ())}
    sentences = [_sentence(call, known.get(call.id), question) for call in trace.open]
    sentences += [_recorded(call) for call in recorded if call.id not in seen]
    return tuple(sentences[-MOST_TOLD:])


def _sentence(call: OpenCall, recorded: RecordedCall | None, question: str) -> str:
    if recorded is not None:
        return _recorded(recorded)
    if call.is_ours and call.tool == "ask_director" and question:
        return (
            f"Your call ask_director was interrupted: the server has recorded it as {question}, "
            "which is still open. Do not ask it again."
        )
    if call.is_ours or call.tool in WITHOUT_EFFECT:
        what = call.tool if call.is_ours else call.what
        return (
            f"Your call {what} was interrupted: it had no effect. Make it again if it is still "
            "needed."
        )
    return (
        f"Your call {call.what} was interrupted, and how far it came is not known: look at the "
        "state of the files before you go on."
    )


def _recorded(call: RecordedCall) -> str:
    return (
        f"Your call {call.tool} was interrupted: the server has recorded it: "
        f"{_outcome(call, is_named=False)}. Do not repeat it."
    )


def _outcome(call: RecordedCall, *, is_named: bool = True) -> str:
    result = call.result.get("outcome") or ", ".join(f"{k}: {v}" for k, v in call.result.items())
    outcome = one_line(str(result), RESULT_CHARACTERS).rstrip(".")
    return f"{call.tool} ({outcome})" if is_named else outcome
