"""The Messages API as far as Claude Code uses it: reading a request, encoding an answer.

Pure: bytes in, values out. What is answered is decided in `script`, who is connected in
`scripted_api`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from sf_mcp.core.models import Role

Json = dict[str, Any]

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)

CUT_OFF = "[Tool call interrupted"
"""A resumed client's word for a call whose process was killed: the outcome is unknown [2.1.330].
If the kill came at once, or the client is older, the call is not in the conversation at all."""

CHARACTERS_PER_TOKEN = 4
"""A rough count is enough: a story that needs an exact fill says `fill`."""

ROLE_MARKS: Mapping[str, Role] = {
    "claim_task": Role.WORKER,
    "claim_review": Role.STEWARD,
    "answer_question": Role.DIRECTOR,
}
"""The tool that only one role has; a session shows who it is by what it may call."""

ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


class RequestKind(StrEnum):
    MAIN = "main"
    """A step of a session: the only kind that a script answers."""
    AUX = "aux"
    """A title, a probe: a request that offers no tools."""
    COMPACTION = "compaction"
    COUNT_TOKENS = "count_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One request, reduced to what a script can ask about."""

    kind: RequestKind
    session: str
    """Claude Code's session id; empty when it sent none."""
    role: Role | None
    model: str
    tools: tuple[str, ...]
    is_streamed: bool
    estimated_tokens: int
    opening: str
    """What was said to it before the first answer, without what the client adds (CLAUDE.md)."""
    newest: str
    """Everything since the last answer: tool results, messages, reminders."""
    last_result: str
    """The newest tool results of the whole conversation."""
    texts: tuple[str, ...]
    """The text of every message, oldest first."""
    settled_calls: frozenset[str]
    """The ids of the calls whose result the conversation holds, whatever it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of the model, ready to be encoded."""

    message_id: str
    model: str
    blocks: tuple[Json, ...]
    stop_reason: str
    usage: Json


def read_request(path: str, headers: Mapping[str, str], body: bytes) -> ModelRequest:
    """Return what the request at `path` with `body` says.

    Raises:
        ValueError: the body is not JSON.
    """
    request = _object(json.loads(body))
    messages = [_object(message) for message in _list(request.get("messages"))]
    tools = tuple(str(_object(tool).get("name", "")) for tool in _list(request.get("tools")))
    answers = [i for i, message in enumerate(messages) if message.get("role") == "assistant"]
    first_answer = answers[0] if answers else len(messages)
    newest = _join(messages[answers[-1] + 1 :] if answers else messages)
    if "count_tokens" in path:
        kind = RequestKind.COUNT_TOKENS
    elif "Your task is to create a detailed summary" in newest:
        kind = RequestKind.COMPACTION
    else:
        kind = RequestKind.MAIN if tools else RequestKind.AUX
    return ModelRequest(
        kind=kind,
        session=_session(headers, request),
        role=role_of(tools),
        model=str(request.get("model", "")),
        tools=tools,
        is_streamed=bool(request.get("stream")),
        estimated_tokens=max(1, len(body) // CHARACTERS_PER_TOKEN),
        opening=_REMINDER.sub(
            "", _join([m for m in messages[:first_answer] if m.get("role") == "user"])
        ).strip(),
        newest=newest,
        last_result=_last_result(messages),
        texts=tuple(text_of(message.get("content")) for message in messages),
        settled_calls=frozenset(
            str(block.get("tool_use_id"))
            for message in messages
            for block in _blocks(message.get("content"))
            if block.get("type") == "tool_result"
            and not text_of(block.get("content")).startswith(CUT_OFF)
        ),
    )


def role_of(tools: Sequence[str]) -> Role | None:
    """Return the role whose mark is among `tools`, whatever prefix the client gave them."""
    for name in tools:
        role = ROLE_MARKS.get(name.rsplit("__", 1)[-1])
        if role is not None:
            return role
    return None


def text_of(content: object) -> str:
    """Return the text of a message's content, tool results included."""
    if isinstance(content, str):
        return content
    parts: list[str] = []
    for block in _blocks(content):
        if block.get("type") == "text":
            parts.append(str(block.get("text", "")))
        elif block.get("type") == "tool_result":
            parts.append(text_of(block.get("content")))
    return "\n".join(parts)


def token_usage(total: int, remembered: int, output: int) -> Json:
    """Return a usage of `total` prompt tokens, of which `remembered` were there before.

    Split as the API does it, so that a reader who counts only `input_tokens` gets it wrong.
    """
    fresh = min(3, total)
    read = min(max(0, remembered), total - fresh)
    created = total - fresh - read
    return {
        "input_tokens": fresh,
        "cache_creation_input_tokens": created,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": created, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
    }


def whole_message(answer: Answer) -> Json:
    """Return the answer to a request that is not streamed."""
    return {
        **_head(answer),
        "content": list(answer.blocks),
        "stop_reason": answer.stop_reason,
        "usage": answer.usage,
    }


def stream_events(answer: Answer) -> Iterator[bytes]:
    """Yield the answer as server-sent events; a text or an input comes in two pieces."""
    start = {**_head(answer), "usage": {**answer.usage, "output_tokens": 1}}
    yield _event("message_start", message=start)
    for index, block in enumerate(answer.blocks):
        empty, pieces = _pieces(block)
        yield _event("content_block_start", index=index, content_block=empty)
        for piece in pieces:
            yield _event("content_block_delta", index=index, delta=piece)
        yield _event("content_block_stop", index=index)
    yield _event(
        "message_delta",
        delta={"stop_reason": answer.stop_reason, "stop_sequence": None},
        usage={name: value for name, value in answer.usage.items() if name.endswith("_tokens")},
    )
    yield _event("message_stop")


def error_body(status: int, message: str) -> Json:
    """Return the body of an error answer."""
    kind = ERROR_TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def _pieces(block: Json) -> tuple[Json, list[Json]]:
    match block["type"]:
        case "text":
            halves = _halves(str(block["text"]))
            return {"type": "text", "text": ""}, [
                {"type": "text_delta", "text": half} for half in halves
            ]
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}, [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        case _:
            halves = _halves(json.dumps(block["input"]))
            return {**block, "input": {}}, [
                {"type": "input_json_delta", "partial_json": half} for half in halves
            ]


def _halves(text: str) -> tuple[str, str]:
    middle = len(text) // 2
    return text[:middle], text[middle:]


def _event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _head(answer: Answer) -> Json:
    return {
        "id": answer.message_id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _session(headers: Mapping[str, str], request: Json) -> str:
    named = headers.get("x-claude-code-session-id")
    if named:
        return named
    try:
        user = _object(json.loads(str(_object(request.get("metadata")).get("user_id", ""))))
    except ValueError:
        return ""
    return str(user.get("session_id", ""))


def _last_result(messages: Sequence[Json]) -> str:
    for message in reversed(messages):
        results = [
            text_of(block.get("content"))
            for block in _blocks(message.get("content"))
            if block.get("type") == "tool_result"
        ]
        if results:
            return "\n".join(results)
    return ""


def _join(messages: Sequence[Json]) -> str:
    return "\n".join(text_of(message.get("content")) for message in messages)


def _blocks(content: object) -> list[Json]:
    return [_object(block) for block in _list(content)]


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _object(value: object) -> Json:
    return cast("Json", value) if isinstance(value, dict) else {}
