"""What is known of a running session from its events: a pure fold, newest facts on top."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

from launcher.core.loose import count_in
from launcher.core.stream import (
    ApiRetry,
    AssistantMessage,
    ControlResponse,
    Event,
    Garbled,
    Init,
    Notice,
    RateLimit,
    ToolProgress,
    ToolResults,
    ToolUse,
    TurnResult,
    Unknown,
    UserText,
)
from launcher.core.usage import (
    Usage,
    session_cost,
    with_context,
    with_message,
    with_results,
    with_turn,
)

LINE_CHARACTERS = 160

COST_ROUNDING = 0.0001
"""US dollars by which the client's words on the cost may be too high: it says four decimals."""

_TELLING_INPUTS = ("command", "file_path", "pattern", "path", "title", "question", "summary")
"""The argument of a tool that tells a person most, in this order."""


class Activity(StrEnum):
    """What a session was last heard doing."""

    NOTHING = "nothing"
    STARTED = "started"
    THINKING = "thinking"
    TOOL = "tool"
    RETRYING = "retrying"
    TURN_ENDED = "turn_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One process's session, as far as its stream has told."""

    session_id: str = ""
    model: str = ""
    mcp_servers: Mapping[str, str] = field(default_factory=dict[str, str])
    is_turn_active: bool = False
    activity: Activity = Activity.NOTHING
    last_line: str = ""
    """For people: one short line without control characters."""
    context_tokens: int = 0
    """The main thread's newest prompt, and what is known of the answer to it."""
    context_window: int = 0
    """0 until the client has said it."""
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    """Of this process: what earlier processes of a resumed session cost is not in it. Of a running
    turn, never more than it has really cost."""
    settled_usd: float = 0.0
    """Of it, the turns that have ended."""
    cost_before: float | None = None
    """What the client counts besides this process; None until that is known."""
    turns_ended: int = 0
    last_result: TurnResult | None = None
    assistant_error: str | None = None
    """Of the present or last turn."""
    rate_limit: RateLimit | None = None


def fold(seen: Observation, event: Event) -> Observation:
    """Return what is known after `event`."""
    match event:
        case Init():
            return replace(
                seen,
                session_id=event.session_id,
                model=event.model,
                mcp_servers=event.mcp_servers,
                is_turn_active=True,
                activity=Activity.STARTED,
                assistant_error=None,
            )
        case AssistantMessage():
            return _fold_message(seen, event)
        case ToolResults():
            if not event.is_main_thread:
                return seen
            return replace(
                seen,
                is_turn_active=True,
                activity=Activity.THINKING,
                usage=with_results(seen.usage, event),
            )
        case TurnResult():
            window = _window(seen, event)
            cost = _cost(seen, event)
            return replace(
                seen,
                is_turn_active=False,
                activity=Activity.TURN_ENDED,
                context_window=window or seen.context_window,
                usage=with_turn(seen.usage, event),
                cost_usd=cost,
                settled_usd=cost,
                cost_before=event.cost_usd - cost,
                turns_ended=seen.turns_ended + 1,
                last_result=event,
            )
        case ApiRetry():
            status = f"error {event.status}" if event.status is not None else "no connection"
            return replace(
                seen,
                activity=Activity.RETRYING,
                last_line=f"API: {status}, trying again in {event.delay_seconds:.0f} s",
            )
        case RateLimit():
            return replace(seen, rate_limit=event)
        case ControlResponse():
            return _fold_answer(seen, event)
        case ToolProgress():
            return replace(seen, activity=Activity.TOOL)
        case UserText() | Notice() | Unknown() | Garbled():
            return seen
        case _:
            assert_never(event)


def one_line(text: str, limit: int = LINE_CHARACTERS) -> str:
    """Return the first line of `text` that says something, safe to print on any terminal.

    Controls, escapes, unpaired surrogates and the marks that turn the writing direction are taken
    out: text of a model is printed beside other sessions' text.
    """
    for line in text[: 20 * limit].splitlines():
        kept = (
            " " if character.isspace() else character
            for character in line
            if character.isspace() or unicodedata.category(character) not in {"Cc", "Cf", "Cs"}
        )
        short = " ".join("".join(kept).split())
        if short:
            return short if len(short) <= limit else short[: limit - 1] + "…"
    return ""


def describe(use: ToolUse) -> str:
    """Return a tool call in one line: `Bash: git status`, `claim_task`."""
    name = use.name.rsplit("__", 1)[-1]
    told = next((v for k in _TELLING_INPUTS if isinstance(v := use.input.get(k), str)), "")
    return one_line(f"{name}: {one_line(told)}" if told else name)


def _fold_message(seen: Observation, message: AssistantMessage) -> Observation:
    used = with_message(seen.usage, message)
    if not message.is_main_thread:
        return replace(seen, usage=used)
    lines = [one_line(text) for text in message.texts]
    lines += [describe(use) for use in message.tool_uses]
    last_line = next((line for line in reversed(lines) if line), seen.last_line)
    return replace(
        seen,
        is_turn_active=True,
        activity=Activity.TOOL if message.tool_uses else Activity.THINKING,
        last_line=last_line,
        # The blocks of one message repeat its usage: the newest replaces, nothing is added up.
        context_tokens=message.fill_tokens + used.answer.output
        if message.fill_tokens
        else seen.context_tokens,
        usage=used,
        assistant_error=message.error or seen.assistant_error,
    )


def _fold_answer(seen: Observation, answer: ControlResponse) -> Observation:
    """Take what an answer of the client says of fill or cost; others have no such fields."""
    payload = answer.payload
    if total := count_in(payload.get("totalTokens")):
        used = with_context(seen.usage, payload)
        return replace(
            seen,
            # The client counts up to the newest prompt.
            context_tokens=total + used.answer.output,
            context_window=count_in(payload.get("maxTokens")) or seen.context_window,
            usage=used,
        )
    total_usd = session_cost(payload)
    if total_usd is None:
        return seen
    if seen.cost_before is None:
        # Asked before the first turn, it is what was there before this process.
        return seen if seen.is_turn_active else replace(seen, cost_before=total_usd)
    cost = total_usd - COST_ROUNDING - seen.cost_before
    return replace(seen, cost_usd=max(seen.cost_usd, cost))


def _cost(seen: Observation, result: TurnResult) -> float:
    if result.turn_cost_usd is not None:
        return seen.settled_usd + result.turn_cost_usd
    # An older client: its total is as near as one gets; after a resume it may say too much.
    return max(seen.cost_usd, result.cost_usd)


def _window(seen: Observation, result: TurnResult) -> int:
    windows = result.context_windows
    if seen.model in windows:
        return windows[seen.model]
    return next(iter(windows.values())) if len(windows) == 1 else 0
