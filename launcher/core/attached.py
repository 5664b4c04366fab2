"""What a client with a person at it tells of its session: by its status line. Pure."""

import json
from dataclasses import dataclass

from launcher.core.loose import count_in, number_in, object_in, text_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the status line was told last; 0 and "" for what it was not."""

    session_id: str
    context_tokens: int
    """The newest prompt and the answer to it."""
    context_window: int
    cost_usd: float
    """By the client's own count, which may begin before this process."""
    transcript: str


def read_status(data: bytes) -> Reading | None:
    """Return what the client gave its status line; None when it is no JSON object."""
    try:
        said = object_in(json.loads(data))
    except (ValueError, RecursionError):
        return None
    if not said:
        return None
    context = object_in(said.get("context_window"))
    used = object_in(context.get("current_usage"))
    return Reading(
        session_id=text_in(said.get("session_id")),
        context_tokens=sum(
            count_in(used.get(name))
            for name in (
                "input_tokens",
                "cache_creation_input_tokens",
                "cache_read_input_tokens",
                "output_tokens",
            )
        ),
        context_window=count_in(context.get("context_window_size")),
        cost_usd=number_in(object_in(said.get("cost")).get("total_cost_usd")),
        transcript=text_in(said.get("transcript_path")),
    )
