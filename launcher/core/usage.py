"""What one process of a session has used, as far as its stream has told: a pure fold.

Rule 1: a request counts once, however many lines its answer came in, and a subagent's counts too.
Rule 2: at a turn's end the client says what all of the turn used, and that replaces what was
gathered meanwhile. Until then the output of an answer is only what is known for certain, so that
what was reported is never too much.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from launcher.core.command_line import MCP_SERVER_NAME
from launcher.core.loose import Json, count_in, list_in, object_in, text_in
from launcher.core.stream import AssistantMessage, ToolResults, TurnResult
from launcher.core.tokens import Tokens, estimated, tokens_of

OUR_TOOLS = f"mcp__{MCP_SERVER_NAME}__"

_COST = re.compile(r"(?:Estimated|Total) cost:\s*\$([0-9][0-9,]*(?:\.[0-9]+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of a process's requests, and the fleet's own share of them.

    The share (`coordination`) is an estimate: for each request of the main thread, the schemas of
    our tools as the client counts them, the role's prompt and the results of our tools so far at
    four characters a token, but never more than the request's whole prompt.
    """

    settled: Tokens = field(default_factory=Tokens)
    """Of the turns that have ended."""
    running: Mapping[str, Tokens] = field(default_factory=dict[str, Tokens])
    """Of the running turn's requests, by message id."""
    newest: str = ""
    """The main thread's newest message."""
    answer: Tokens = field(default_factory=Tokens)
    """Of its request; the output as far as it is known."""
    coordination: int = 0
    prompt: int = 0
    """Of the role's prompt."""
    schemas: int = 0
    """Of our tools' schemas and instructions; 0 until the client has said it."""
    results: int = 0
    """Of all results of our tools that the conversation holds."""
    calls: frozenset[str] = frozenset()
    """Calls of our tools that have no result yet."""

    @property
    def total(self) -> Tokens:
        """Everything so far."""
        return sum(self.running.values(), self.settled)


def with_message(used: Usage, message: AssistantMessage) -> Usage:
    """Count the request that `message` answers, if it was not counted yet."""
    if not message.usage.prompt:
        return used
    known = used.running.get(message.message_id)
    running = {**used.running}
    running[message.message_id] = message.usage.at_least(known or Tokens())
    if not message.is_main_thread:
        return replace(used, running=running)
    ours = used.prompt + used.schemas + used.results if known is None else 0
    calls = {use.id for use in message.tool_uses if use.name.startswith(OUR_TOOLS)}
    return replace(
        used,
        running=running,
        newest=message.message_id,
        answer=running[message.message_id],
        coordination=used.coordination + min(ours, message.usage.prompt),
        calls=used.calls | calls,
    )


def with_results(used: Usage, results: ToolResults) -> Usage:
    """Remember what our tools have put into the conversation."""
    ours = [result for result in results.results if result.tool_use_id in used.calls]
    if not ours:
        return used
    return replace(
        used,
        results=used.results + sum(estimated(result.text) for result in ours),
        calls=used.calls - {result.tool_use_id for result in ours},
    )


def with_turn(used: Usage, result: TurnResult) -> Usage:
    """Settle the turn that has ended."""
    gathered = sum(used.running.values(), Tokens())
    return replace(
        used, settled=used.settled + result.usage.at_least(gathered), running={}, calls=frozenset()
    )


def with_context(used: Usage, context: Json) -> Usage:
    """Take from an answer to `get_context_usage` what the stream does not say.

    That is what our tools' schemas take, what is of our tools in a conversation that was resumed,
    and the whole output of the newest answer.
    """
    tools = [object_in(tool) for tool in list_in(context.get("mcpTools"))]
    tools += [object_in(server) for server in list_in(context.get("mcpInstructions"))]
    schemas = sum(
        count_in(one.get("tokens")) for one in tools if one.get("serverName") == MCP_SERVER_NAME
    )
    parts = object_in(context.get("messageBreakdown"))
    calls = [object_in(call) for call in list_in(parts.get("toolCallsByType"))]
    results = sum(
        count_in(call.get("resultTokens"))
        for call in calls
        if text_in(call.get("name")).startswith(OUR_TOOLS)
    )
    said = tokens_of(context.get("apiUsage"))
    answer = used.answer.at_least(said) if said.prompt == used.answer.prompt else used.answer
    is_settled = used.newest not in used.running
    return replace(
        used,
        running=used.running if is_settled else {**used.running, used.newest: answer},
        answer=answer,
        schemas=schemas or used.schemas,
        results=max(used.results, results),
    )


def session_cost(payload: Json) -> float | None:
    """Return the US dollars in an answer to `get_session_cost`; None when there are none in it."""
    found = _COST.search(text_in(payload.get("text")))
    return float(found[1].replace(",", "")) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """What is reported of a process: its tokens, the fleet's share of them, and its cost."""

    tokens: Tokens = field(default_factory=Tokens)
    coordination: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        """Return both together."""
        return Amount(
            tokens=self.tokens + other.tokens,
            coordination=self.coordination + other.coordination,
            cost_usd=self.cost_usd + other.cost_usd,
        )

    def beyond(self, other: "Amount") -> "Amount":
        """Return what this has more than `other`, of each kind; nothing where it has less."""
        mine, theirs = self.tokens, other.tokens
        return Amount(
            tokens=Tokens(
                input=max(0, mine.input - theirs.input),
                cache_write=max(0, mine.cache_write - theirs.cache_write),
                cache_read=max(0, mine.cache_read - theirs.cache_read),
                output=max(0, mine.output - theirs.output),
            ),
            coordination=max(0, self.coordination - other.coordination),
            cost_usd=max(0.0, self.cost_usd - other.cost_usd),
        )


def by_day(days: Mapping[str, Amount], total: Amount, day: str) -> dict[str, Amount]:
    """Return the amounts by day after the process has come to `total` on `day`.

    What is new since the last time is the day's, so each day's amount only ever grows.
    """
    told = sum(days.values(), Amount())
    return {**days, day: days.get(day, Amount()) + total.beyond(told)}
