"""The stream-json of Claude Code: its lines as typed events, and the lines that we send.

Rule: no line can stop the launcher. What is not JSON becomes `Garbled`, what is not known becomes
`Unknown`, a field of another shape than expected counts as absent.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import cast

from launcher.core.loose import Json, list_in, number_in, object_in, text_in
from launcher.core.tokens import Tokens, tokens_of, tokens_of_models

SYNTHETIC_MODEL = "<synthetic>"
"""The client's own words in the model's place, such as an API error; it has no usage."""

GARBLED_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """The start of a turn: what the session is and what it is connected to."""

    session_id: str
    model: str
    mcp_servers: Mapping[str, str]
    """Status by name: `connected`, `failed`, `pending`, `needs-auth`."""
    tools: tuple[str, ...]
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    id: str
    name: str
    input: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantMessage:
    """One content block of a message; the blocks of one message share `message_id`."""

    message_id: str
    model: str
    texts: tuple[str, ...]
    tool_uses: tuple[ToolUse, ...]
    usage: Tokens
    """Of the request that it answers; the output is what was known when its answer began."""
    is_main_thread: bool
    error: str | None
    """`rate_limit`, `authentication_failed`, … when it stands for a failed API call."""

    @property
    def fill_tokens(self) -> int | None:
        """The whole prompt that was answered, from the cache or not; None when it was not said."""
        return self.usage.prompt or None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    tool_use_id: str
    is_error: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResults:
    results: tuple[ToolResult, ...]
    is_main_thread: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UserText:
    """Text on the user's side that nobody typed here: hook feedback, a reminder, a replay."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResult:
    """The end of a turn. `subtype` stays `success` when the API failed; `is_error` tells."""

    subtype: str
    is_error: bool
    api_error_status: int | None
    text: str
    terminal_reason: str
    cost_usd: float
    """Of the session as this process knows it, all turns added up: a resumed process goes on from
    what the one before it had saved, which is nothing if that was killed."""
    turn_cost_usd: float | None
    """Since the last result of this process; None when the client does not say (older ones)."""
    context_windows: Mapping[str, int]
    """Tokens by model."""
    num_turns: int
    errors: tuple[str, ...]
    usage: Tokens = field(default_factory=Tokens)
    """Of the whole turn, subagents too; an older client says only what the main thread used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRetry:
    status: int | None
    """None: no connection."""
    delay_seconds: float
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """What the API said about the account's usage limit; subscriptions only."""

    status: str
    """`allowed`, `allowed_warning` or `rejected`."""
    resets_at: datetime | None
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlResponse:
    """The answer to one of our control requests: a payload, or an error."""

    request_id: str
    payload: Mapping[str, object]
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgress:
    """A sign of life of a long tool call."""

    tool_name: str
    elapsed_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Anything else that is known to be harmless; `kind` such as `compact_boundary`."""

    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbled:
    start: str


Event = (
    Init
    | AssistantMessage
    | ToolResults
    | UserText
    | TurnResult
    | ApiRetry
    | RateLimit
    | ControlResponse
    | ToolProgress
    | Notice
    | Unknown
    | Garbled
)

_NOTICES = frozenset({"stream_event", "control_cancel_request", "auth_status", "keep_alive"})


def parse_line(line: str | bytes) -> Event:
    """Return the event that one line of Claude Code's output says."""
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    try:
        value = json.loads(text)
    # A line of a hundred thousand brackets is not worth a launcher.
    except (ValueError, RecursionError):
        return Garbled(start=text[:GARBLED_CHARACTERS])
    if not isinstance(value, dict):
        return Garbled(start=text[:GARBLED_CHARACTERS])
    fields = cast("dict[str, object]", value)
    match fields.get("type"):
        case "system":
            return _system(fields)
        case "assistant":
            return _assistant(fields)
        case "user":
            return _user(fields)
        case "result":
            return _result(fields)
        case "control_response":
            return _control_response(object_in(fields.get("response")))
        case "tool_progress":
            return ToolProgress(
                tool_name=text_in(fields.get("tool_name")),
                elapsed_seconds=number_in(fields.get("elapsed_time_seconds")),
            )
        case "rate_limit_event":
            return _rate_limit(object_in(fields.get("rate_limit_info")))
        case str(kind) if kind in _NOTICES:
            return Notice(kind=kind)
        case kind:
            return Unknown(type=text_in(kind))


def user_message(text: str) -> bytes:
    """Return the line that says `text` to the session; it starts a turn, or joins a running one."""
    return _line({"type": "user", "message": {"role": "user", "content": text}})


def initialize(request_id: str) -> bytes:
    """Return the line that opens the control protocol."""
    return _control(request_id, {"subtype": "initialize"})


def interrupt(request_id: str) -> bytes:
    """Return the line that ends the running turn."""
    return _control(request_id, {"subtype": "interrupt"})


def get_context_usage(request_id: str) -> bytes:
    """Return the line that asks for the fill of the context; answered while a tool runs too.

    In short: at length, the client would have the API count the tokens of every part.
    """
    return _control(request_id, {"subtype": "get_context_usage", "detail": "summary"})


def get_session_cost(request_id: str) -> bytes:
    """Return the line that asks for the cost so far, the running turn's requests included."""
    return _control(request_id, {"subtype": "get_session_cost"})


def get_mcp_status(request_id: str) -> bytes:
    """Return the line that asks for the state of the MCP servers; it costs no model request."""
    return _control(request_id, {"subtype": "mcp_status"})


def mcp_statuses(payload: Json) -> Mapping[str, str]:
    """Return status by name from the answer to `get_mcp_status`."""
    return _statuses(payload.get("mcpServers"))


def _system(fields: Json) -> Event:
    subtype = text_in(fields.get("subtype"))
    if subtype == "init":
        return Init(
            session_id=text_in(fields.get("session_id")),
            model=text_in(fields.get("model")),
            mcp_servers=_statuses(fields.get("mcp_servers")),
            tools=tuple(text_in(name) for name in list_in(fields.get("tools"))),
            version=text_in(fields.get("claude_code_version")),
        )
    if subtype == "api_retry":
        return ApiRetry(
            status=_status(fields.get("error_status")),
            delay_seconds=number_in(fields.get("retry_delay_ms")) / 1000,
            attempt=int(number_in(fields.get("attempt"))),
        )
    return Notice(kind=subtype or "system")


def _assistant(fields: Json) -> AssistantMessage:
    message = object_in(fields.get("message"))
    blocks = [object_in(block) for block in list_in(message.get("content"))]
    model = text_in(message.get("model"))
    error = fields.get("error")
    return AssistantMessage(
        message_id=text_in(message.get("id")),
        model=model,
        texts=tuple(text_in(block.get("text")) for block in blocks if block.get("type") == "text"),
        tool_uses=tuple(
            ToolUse(
                id=text_in(block.get("id")),
                name=text_in(block.get("name")),
                input=object_in(block.get("input")),
            )
            for block in blocks
            if block.get("type") == "tool_use"
        ),
        usage=Tokens() if model == SYNTHETIC_MODEL else tokens_of(message.get("usage")),
        is_main_thread=fields.get("parent_tool_use_id") is None,
        error=error if isinstance(error, str) else None,
    )


def _user(fields: Json) -> Event:
    content = object_in(fields.get("message")).get("content")
    blocks = [object_in(block) for block in list_in(content)]
    results = tuple(
        ToolResult(
            tool_use_id=text_in(block.get("tool_use_id")),
            is_error=block.get("is_error") is True,
            text=_content_text(block.get("content")),
        )
        for block in blocks
        if block.get("type") == "tool_result"
    )
    if results:
        return ToolResults(results=results, is_main_thread=fields.get("parent_tool_use_id") is None)
    return UserText(text=_content_text(content))


def _result(fields: Json) -> TurnResult:
    usage = object_in(fields.get("modelUsage"))
    windows = {
        model: int(number_in(object_in(entry).get("contextWindow")))
        for model, entry in usage.items()
    }
    return TurnResult(
        subtype=text_in(fields.get("subtype")),
        is_error=fields.get("is_error") is True,
        api_error_status=_status(fields.get("api_error_status")),
        text=text_in(fields.get("result")),
        terminal_reason=text_in(fields.get("terminal_reason")),
        cost_usd=number_in(fields.get("total_cost_usd")),
        turn_cost_usd=_turn_cost(fields.get("model_usage_since_last_result")),
        context_windows=MappingProxyType({m: size for m, size in windows.items() if size > 0}),
        num_turns=int(number_in(fields.get("num_turns"))),
        errors=tuple(text_in(error) for error in list_in(fields.get("errors"))),
        usage=tokens_of(fields.get("usage")).at_least(
            tokens_of_models(fields.get("model_usage_since_last_result"))
        ),
    )


def _turn_cost(usage: object) -> float | None:
    if usage is None:
        return None
    return sum(number_in(object_in(entry).get("costUSD")) for entry in object_in(usage).values())


def _control_response(response: Json) -> ControlResponse:
    failed = response.get("subtype") == "error"
    return ControlResponse(
        request_id=text_in(response.get("request_id")),
        payload=object_in(response.get("response")),
        error=(text_in(response.get("error")) or "unknown error") if failed else None,
    )


def _rate_limit(info: Json) -> RateLimit:
    return RateLimit(
        status=text_in(info.get("status")),
        resets_at=moment(info.get("resetsAt")),
        kind=text_in(info.get("rateLimitType")),
    )


def moment(epoch: object) -> datetime | None:
    """Return the time of an epoch in seconds or milliseconds; None when it is none."""
    seconds = number_in(epoch)
    if seconds > 1e11:  # In seconds that is the year 5138; so it is milliseconds.
        seconds /= 1000
    if not 0 < seconds < 1e11:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def _control(request_id: str, request: Json) -> bytes:
    return _line({"type": "control_request", "request_id": request_id, "request": request})


def _line(value: Json) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _statuses(servers: object) -> Mapping[str, str]:
    entries = [object_in(server) for server in list_in(servers)]
    return MappingProxyType(
        {text_in(entry.get("name")): text_in(entry.get("status")) for entry in entries}
    )


def _content_text(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(text_in(object_in(block).get("text")) for block in list_in(content))


def _status(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
