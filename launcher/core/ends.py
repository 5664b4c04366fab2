"""How a session came to its end: one table from what was seen to a kind and a sentence.

Rule 1: only what the client itself reports counts. A session that ended fast, or one whose model
wrote about usage limits, has not hit one.
Rule 2: the first row that applies decides. What the server recorded and what we asked for come
first, then what the API said, then how the process ended.
"""

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from launcher.core.command_line import MCP_SERVER_NAME
from launcher.core.resets import parse_reset, within_reach
from launcher.core.stream import RateLimit, TurnResult
from sf_mcp.core.models import EndKind

PARKS_FLEET = frozenset({EndKind.USAGE_LIMIT, EndKind.OVERLOADED})
"""The next session would end the same way until some time has passed."""

STOPS_FLEET = frozenset({EndKind.AUTHENTICATION, EndKind.BAD_CONFIGURATION})
"""The next session would end the same way until a person has done something."""

OUTSIDE_ENDS = frozenset(
    {
        EndKind.AUTHENTICATION,
        EndKind.BAD_CONFIGURATION,
        EndKind.USAGE_LIMIT,
        EndKind.OVERLOADED,
        EndKind.CONTEXT_FULL,
        EndKind.OVER_BUDGET,
    }
)
"""What ends a session at its turn's end without asking the server: the next would end so too."""

SENTENCE_CHARACTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What was seen of a session that has ended, or whose turn has ended in an error."""

    exit_code: int | None
    """As `subprocess` gives it, negative for a signal; None while the process lives."""
    outcome: EndKind | None = None
    """What the server has recorded of it: merge requested, handed off, parked …"""
    asked: EndKind | None = None
    """Why we ended it, if we did."""
    last_result: TurnResult | None = None
    assistant_error: str | None = None
    rate_limit: RateLimit | None = None
    mcp_servers: Mapping[str, str] = field(default_factory=dict[str, str])
    has_started: bool = False
    """An init event was seen."""
    is_turn_active: bool = False
    errors: str = ""
    """The end of what it wrote to stderr."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    kind: EndKind
    sentence: str
    """What happened and what to do next, for people."""
    resets_at: datetime | None = None
    """When a usage limit ends, if that was said."""


@dataclass(frozen=True, slots=True)
class _Row:
    applies: Callable[[Ending], bool]
    kind: EndKind
    sentence: str
    """`{detail}` is the client's own words, `{status}` the API's, `{exit}` the process's end."""


def _error(*names: str) -> Callable[[Ending], bool]:
    return lambda seen: _has_failed(seen) and seen.assistant_error in names


def _status(*statuses: int) -> Callable[[Ending], bool]:
    return lambda seen: _api_status(seen) in statuses


def _says(pattern: str) -> Callable[[Ending], bool]:
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda seen: _has_failed(seen) and compiled.search(_said(seen)) is not None


def _reason(*reasons: str) -> Callable[[Ending], bool]:
    return lambda seen: seen.last_result is not None and seen.last_result.terminal_reason in reasons


def _subtype(subtype: str) -> Callable[[Ending], bool]:
    return lambda seen: seen.last_result is not None and seen.last_result.subtype == subtype


def _complains(pattern: str) -> Callable[[Ending], bool]:
    """It gave up before its first turn, with these words."""
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda seen: not seen.has_started and compiled.search(_complaint(seen)) is not None


_LOGIN = (
    "Claude Code is not logged in, or its login was refused ({detail}). Run `claude` once and log "
    "in, or set ANTHROPIC_API_KEY, then run `sf resume`."
)
_BILLING = (
    "The account cannot be charged ({detail}). Add credit or raise its spend limit, then run "
    "`sf resume`."
)
_ACCOUNT = (
    "The account needs something from its owner ({detail}). Run `claude` once and do what it asks, "
    "then run `sf resume`."
)
_MODEL = (
    "The model does not exist or is not open to this account ({detail}). Set another `model` in "
    ".stoneforge/config.yaml, then run `sf resume`."
)
_LIMIT = "The usage limit is reached ({detail}). The fleet goes on when it is over."
_OVERLOADED = "The API did not answer ({detail}). The fleet tries again by itself."
_FULL = "The context is full ({detail}). A new session goes on from its commits."

TABLE: tuple[_Row, ...] = (
    # What the API said, by the client's own word for it [2.1.330 lists them all].
    _Row(_error("authentication_failed", "cloud_credential_error"), EndKind.AUTHENTICATION, _LOGIN),
    _Row(
        _error("oauth_org_not_allowed", "account_on_hold", "verification_required"),
        EndKind.AUTHENTICATION,
        _ACCOUNT,
    ),
    _Row(_error("billing_error"), EndKind.AUTHENTICATION, _BILLING),
    _Row(_error("model_not_found"), EndKind.BAD_CONFIGURATION, _MODEL),
    _Row(_error("rate_limit"), EndKind.USAGE_LIMIT, _LIMIT),
    _Row(
        _reason("blocking_limit", "prompt_too_long", "rapid_refill_breaker"),
        EndKind.CONTEXT_FULL,
        _FULL,
    ),
    _Row(_error("overloaded", "server_error"), EndKind.OVERLOADED, _OVERLOADED),
    # The same by status, for a client that has no word for it.
    _Row(_status(401, 403), EndKind.AUTHENTICATION, _LOGIN),
    _Row(_status(402), EndKind.AUTHENTICATION, _BILLING),
    _Row(_status(404), EndKind.BAD_CONFIGURATION, _MODEL),
    _Row(_status(429), EndKind.USAGE_LIMIT, _LIMIT),
    _Row(_status(500, 502, 503, 504, 529), EndKind.OVERLOADED, _OVERLOADED),
    _Row(_says(r"usage limit reached|hit your [\w' -]*limit"), EndKind.USAGE_LIMIT, _LIMIT),
    _Row(_says(r"prompt is too long"), EndKind.CONTEXT_FULL, _FULL),
    _Row(
        _subtype("error_max_budget_usd"),
        EndKind.OVER_BUDGET,
        "The session has used up its budget.",
    ),
    # The client refused to start.
    _Row(
        _complains(r"No conversation found"),
        EndKind.CONVERSATION_LOST,
        "The conversation to resume is gone ({detail}). A new session takes over.",
    ),
    _Row(
        _complains(r"is already in use"),
        EndKind.CONVERSATION_LOST,
        "The session id is taken ({detail}). A new session takes over.",
    ),
    _Row(
        _complains(
            r"Invalid MCP configuration|unknown option|cannot be used with|Invalid settings"
        ),
        EndKind.BAD_CONFIGURATION,
        "Claude Code does not accept its command line ({detail}). Update Claude Code (`claude "
        "update`), then run `sf resume`.",
    ),
    _Row(
        lambda seen: seen.has_started and _server_status(seen) != "connected",
        EndKind.FAILED_TO_START,
        "Claude Code did not connect to the server (its status for it is '{server}'). See that "
        "`sf serve` runs and that no proxy variable sends 127.0.0.1 elsewhere (NO_PROXY).",
    ),
    # How the process ended.
    _Row(
        lambda seen: not seen.has_started and _signal(seen) is None,
        EndKind.FAILED_TO_START,
        "Claude Code ended before its first turn ({exit}: {detail}). Run `claude --version` and "
        "`sf config check`.",
    ),
    _Row(
        lambda seen: _signal(seen) is not None,
        EndKind.KILLED,
        "The process was ended from outside ({exit}). Its commits and files are kept.",
    ),
    _Row(
        lambda seen: _has_failed(seen),
        EndKind.NO_OUTCOME,
        "The last turn failed ({detail}), and there is no outcome.",
    ),
    _Row(
        lambda seen: seen.is_turn_active or (seen.exit_code or 0) != 0,
        EndKind.KILLED,
        "The process ended in the middle of a turn ({exit}: {detail}). Its commits and files are "
        "kept.",
    ),
    _Row(
        lambda _: True,
        EndKind.NO_OUTCOME,
        "The session ended without an outcome: no merge request, handoff, question or release.",
    ),
)


def classify(seen: Ending, *, now: datetime, local_zone: tzinfo = UTC) -> End:
    """Return how the session ended.

    Also for a process that still lives but whose turn has just ended in an error. `local_zone` is
    the zone in which the client writes a time of day.
    """
    ours = seen.outcome or seen.asked
    if ours is not None:
        return End(kind=ours, sentence=_OURS.get(ours, f"The session ended: {ours.value}."))
    row = next(row for row in TABLE if row.applies(seen))
    said = _said(seen)
    return End(
        kind=row.kind,
        sentence=row.sentence.format(
            detail=_shortened(said or _complaint(seen) or "no reason given"),
            server=_server_status(seen),
            exit=_exit(seen),
        ),
        resets_at=_resets_at(seen, now, local_zone) if row.kind is EndKind.USAGE_LIMIT else None,
    )


_OURS: Mapping[EndKind, str] = {
    EndKind.MERGE_REQUESTED: "It has requested the merge of its work.",
    EndKind.HANDED_OFF: "It has handed the task to a fresh session.",
    EndKind.RELEASED: "It has released the task.",
    EndKind.PARKED: "It waits for an answer.",
    EndKind.TAKEN_OVER: "A person goes on in its place.",
    EndKind.DONE: "It has done what it was started for.",
    EndKind.STOPPED: "It was stopped on request.",
    EndKind.CANCELLED: "Its task was cancelled.",
    EndKind.LEASE_EXPIRED: "Its lease had expired.",
    EndKind.NO_OUTCOME: "It ended its turn again and again without an outcome.",
    EndKind.TIMED_OUT: "It was silent for too long.",
    EndKind.CONTEXT_FULL: "Its context was full; the server wrote the handoff.",
    EndKind.OVER_BUDGET: "Its budget is used up.",
}


def _resets_at(seen: Ending, now: datetime, local_zone: tzinfo) -> datetime | None:
    limit = seen.rate_limit
    if limit is not None and limit.status == "rejected" and limit.resets_at is not None:
        return within_reach(limit.resets_at, now)
    return parse_reset(_said(seen), now=now, local_zone=local_zone)


def _has_failed(seen: Ending) -> bool:
    return seen.last_result is not None and seen.last_result.is_error


def _api_status(seen: Ending) -> int | None:
    return seen.last_result.api_error_status if seen.last_result is not None else None


def _said(seen: Ending) -> str:
    result = seen.last_result
    if result is None or not result.is_error:
        return ""
    return result.text or "; ".join(result.errors)


def _complaint(seen: Ending) -> str:
    lines = [line.strip() for line in seen.errors.splitlines() if line.strip()]
    return _said(seen) or " ".join(lines[-3:])


def _server_status(seen: Ending) -> str:
    return seen.mcp_servers.get(MCP_SERVER_NAME, "missing")


def _signal(seen: Ending) -> signal.Signals | None:
    code = seen.exit_code
    if code is None:
        return None
    # 137 and 143 are SIGKILL and SIGTERM as a shell, or the client's own handler, reports them.
    number = -code if code < 0 else code - 128 if code in {137, 143} else 0
    return next((known for known in signal.Signals if known == number), None)


def _exit(seen: Ending) -> str:
    by = _signal(seen)
    if by is not None:
        return f"signal {by.name}"
    return f"exit code {seen.exit_code}" if seen.exit_code is not None else "still running"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    if len(line) > SENTENCE_CHARACTERS:
        line = line[: SENTENCE_CHARACTERS - 1] + "…"
    return line.rstrip(".")
