"""Lines of Claude Code's output, as 2.1.330 writes them, and what is known after them."""

import json
import math
from datetime import UTC, datetime
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.core.observation import Activity, Observation, describe, fold, one_line
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
    ToolResult,
    ToolResults,
    ToolUse,
    TurnResult,
    Unknown,
    UserText,
    get_context_usage,
    interrupt,
    mcp_statuses,
    parse_line,
    user_message,
)
from launcher.core.tokens import Tokens

MODEL = "claude-sonnet-5-5"

INIT = {
    "type": "system",
    "subtype": "init",
    "session_id": "S1",
    "tools": ["Bash", "mcp__sf__claim_task"],
    "mcp_servers": [{"name": "sf", "status": "connected"}],
    "model": MODEL,
    "claude_code_version": "2.1.330",
}


def said(
    *blocks: dict[str, object],
    message: str = "msg_1",
    fill: tuple[int, int, int] = (3, 1000, 50_000),
    parent: str | None = None,
) -> dict[str, object]:
    fresh, created, read = fill
    return {
        "type": "assistant",
        "message": {
            "id": message,
            "model": MODEL,
            "content": list(blocks),
            "usage": {
                "input_tokens": fresh,
                "cache_creation_input_tokens": created,
                "cache_read_input_tokens": read,
                "output_tokens": 1,
            },
        },
        "parent_tool_use_id": parent,
    }


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


def ended(**changes: object) -> dict[str, object]:
    return {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "api_error_status": None,
        "result": "done",
        "terminal_reason": "completed",
        "total_cost_usd": 0.25,
        "model_usage_since_last_result": {MODEL: {"costUSD": 0.05}},
        "modelUsage": {MODEL: {"contextWindow": 200_000}},
        "num_turns": 2,
        **changes,
    }


def parsed(value: object) -> Event:
    return parse_line(json.dumps(value))


def observed(*lines: object) -> Observation:
    return reduce(fold, (parsed(line) for line in lines), Observation())


def test_the_start_of_a_turn_names_session_servers_and_tools() -> None:
    assert parsed(INIT) == Init(
        session_id="S1",
        model=MODEL,
        mcp_servers={"sf": "connected"},
        tools=("Bash", "mcp__sf__claim_task"),
        version="2.1.330",
    )


def test_a_message_counts_the_whole_prompt_cached_or_not() -> None:
    call: dict[str, object] = {
        "type": "tool_use",
        "id": "t1",
        "name": "Bash",
        "input": {"command": "ls"},
    }

    assert parsed(said(text("I look."), call)) == AssistantMessage(
        message_id="msg_1",
        model=MODEL,
        texts=("I look.",),
        tool_uses=(ToolUse(id="t1", name="Bash", input={"command": "ls"}),),
        usage=Tokens(input=3, cache_write=1000, cache_read=50_000, output=1),
        is_main_thread=True,
        error=None,
    )


def test_tool_results_are_text_whatever_their_form() -> None:
    line = {
        "type": "user",
        "message": {
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "plain"},
                {
                    "type": "tool_result",
                    "tool_use_id": "b",
                    "content": [text("in a block")],
                    "is_error": True,
                },
            ]
        },
        "parent_tool_use_id": None,
    }

    assert parsed(line) == ToolResults(
        results=(
            ToolResult(tool_use_id="a", is_error=False, text="plain"),
            ToolResult(tool_use_id="b", is_error=True, text="in a block"),
        ),
        is_main_thread=True,
    )


def test_a_result_that_says_success_can_be_an_error() -> None:
    line = ended(is_error=True, api_error_status=401, result="Invalid API key")

    assert parsed(line) == TurnResult(
        subtype="success",
        is_error=True,
        api_error_status=401,
        text="Invalid API key",
        terminal_reason="completed",
        cost_usd=0.25,
        turn_cost_usd=0.05,
        context_windows={MODEL: 200_000},
        num_turns=2,
        errors=(),
    )


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (
            {"type": "system", "subtype": "api_retry", "error_status": 529, "retry_delay_ms": 540},
            ApiRetry(status=529, delay_seconds=0.54, attempt=0),
        ),
        (
            {
                "type": "rate_limit_event",
                "rate_limit_info": {
                    "status": "rejected",
                    "resetsAt": 1_795_374_514,
                    "rateLimitType": "five_hour",
                },
            },
            RateLimit(
                status="rejected",
                resets_at=datetime(2026, 11, 22, 19, 8, 34, tzinfo=UTC),
                kind="five_hour",
            ),
        ),
        (
            {
                "type": "control_response",
                "response": {"subtype": "success", "request_id": "r1", "response": {"a": 1}},
            },
            ControlResponse(request_id="r1", payload={"a": 1}, error=None),
        ),
        (
            {
                "type": "control_response",
                "response": {"subtype": "error", "request_id": "r2", "error": "no such request"},
            },
            ControlResponse(request_id="r2", payload={}, error="no such request"),
        ),
        (
            {"type": "tool_progress", "tool_name": "Bash", "elapsed_time_seconds": 30},
            ToolProgress(tool_name="Bash", elapsed_seconds=30),
        ),
        ({"type": "system", "subtype": "compact_boundary"}, Notice(kind="compact_boundary")),
        ({"type": "user", "message": {"content": "feedback"}}, UserText(text="feedback")),
        ({"type": "something_new", "x": 1}, Unknown(type="something_new")),
        ({"no": "type"}, Unknown(type="")),
    ],
)
def test_every_other_line_has_its_event(line: object, event: Event) -> None:
    assert parsed(line) == event


@pytest.mark.parametrize("line", ["", "{", "[1, 2]", "Error: out of memory", "[" * 100_000])
def test_a_line_that_is_no_event_is_garbled_and_kept_short(line: str) -> None:
    assert parse_line(line) == Garbled(start=line[:200])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = [
    "subtype",
    "message",
    "usage",
    "modelUsage",
    "response",
    "rate_limit_info",
    "error",
    "error_status",
    "retry_delay_ms",
    "mcp_servers",
    "tools",
    "num_turns",
    "total_cost_usd",
    "errors",
    "model_usage_since_last_result",
]
KINDS = ["system", "assistant", "user", "result", "control_response", "rate_limit_event"]


@given(
    kind=st.sampled_from(KINDS),
    fields=st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES, max_size=6),
)
def test_no_shape_of_a_known_line_stops_the_reader(kind: str, fields: dict[str, object]) -> None:
    fold(Observation(), parsed({"type": kind, **fields}))


def test_the_newest_fill_replaces_and_blocks_of_one_message_do_not_add_up() -> None:
    seen = observed(
        INIT,
        said(text("a"), fill=(3, 40_000, 0)),
        said(text("b"), fill=(3, 40_000, 0)),
        said(text("c"), message="msg_2", fill=(3, 1_000, 40_000)),
    )

    # With the one token that was known of the answer when it began.
    assert seen.context_tokens == 41_004


def test_a_subagent_and_the_clients_own_words_do_not_change_the_fill() -> None:
    own = said(text("API Error: 529"), fill=(0, 0, 0))
    own["error"] = "server_error"
    seen = observed(INIT, said(text("a")), said(text("sub"), fill=(3, 9, 9), parent="t1"), own)

    assert seen.context_tokens == 51_004
    assert seen.assistant_error == "server_error"
    assert seen.last_line == "API Error: 529"


def test_the_fill_can_be_asked_for_and_says_the_window_too() -> None:
    line = {
        "type": "control_response",
        "response": {
            "subtype": "success",
            "request_id": "r",
            "response": {"totalTokens": 60_000, "maxTokens": 200_000},
        },
    }

    seen = observed(INIT, line)

    assert (seen.context_tokens, seen.context_window) == (60_000, 200_000)


def test_the_window_is_the_one_of_the_sessions_own_model() -> None:
    usage = {"claude-haiku": {"contextWindow": 100}, MODEL: {"contextWindow": 1_000_000}}

    assert observed(INIT, ended(modelUsage=usage)).context_window == 1_000_000


def test_a_turn_is_active_from_its_start_to_its_result() -> None:
    assert observed(INIT).is_turn_active
    assert not observed(INIT, said(text("a")), ended()).is_turn_active
    assert observed(INIT, ended(), INIT).is_turn_active


def test_costs_of_turns_add_up_although_the_total_carries_over_from_before_a_resume() -> None:
    seen = observed(INIT, ended(total_cost_usd=7.0), INIT, ended(total_cost_usd=7.05))

    assert math.isclose(seen.cost_usd, 0.1)


def test_an_older_clients_total_is_not_added_up() -> None:
    older = ended(model_usage_since_last_result=None)

    assert observed(INIT, older, INIT, older).cost_usd == 0.25


def test_a_retry_is_shown_and_leaves_the_turn_active() -> None:
    seen = observed(
        INIT, {"type": "system", "subtype": "api_retry", "error_status": 429, "retry_delay_ms": 9e3}
    )

    assert (seen.activity, seen.is_turn_active) == (Activity.RETRYING, True)
    assert seen.last_line == "API: error 429, trying again in 9 s"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("\n\n  first   line \nsecond", "first line"),
        ("\x1b[2Jgone\x07 \x00x\x9b31m", "[2Jgone x31m"),
        ("safe \u202egpj.exe\u2069", "safe gpj.exe"),
        ("\ud800half", "half"),
        ("", ""),
        ("y" * 300, "y" * 159 + "…"),
    ],
)
def test_a_line_for_people_is_short_and_cannot_steer_a_terminal(words: str, line: str) -> None:
    assert one_line(words) == line


def test_a_tool_call_is_told_by_its_telling_argument() -> None:
    bash = ToolUse(id="a", name="Bash", input={"command": "git commit -m 'x'\nand more"})
    claim = ToolUse(id="b", name="mcp__sf__claim_task", input={"n": 1})

    assert describe(bash) == "Bash: git commit -m 'x'"
    assert describe(claim) == "claim_task"


def test_what_is_sent_is_one_line_of_json_whatever_the_text() -> None:
    words = 'two\nlines, "quotes", \u2028 and \U0001f600'
    line = user_message(words)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"type": "user", "message": {"role": "user", "content": words}}
    assert json.loads(interrupt("r1")) == {
        "type": "control_request",
        "request_id": "r1",
        "request": {"subtype": "interrupt"},
    }
    asked = json.loads(get_context_usage("r2"))["request"]
    assert asked == {"subtype": "get_context_usage", "detail": "summary"}


def test_the_state_of_the_servers_is_read_from_its_answer() -> None:
    payload = {"mcpServers": [{"name": "sf", "status": "failed", "config": {"type": "http"}}]}

    assert mcp_statuses(payload) == {"sf": "failed"}
