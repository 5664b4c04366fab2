"""What a process is known to have used after lines of its stream: tokens, our share, the cost."""

import json
import math
from collections.abc import Sequence
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from launcher.core.fill import OFTEN_SECONDS, is_step, seconds_between_questions
from launcher.core.observation import Observation, fold
from launcher.core.stream import parse_line
from launcher.core.tokens import Tokens
from launcher.core.usage import Amount, Usage, by_day
from sf_mcp.settings import HandoffThresholds
from tests.launcher.test_stream import INIT, MODEL, ended, said, text

CLAIM: dict[str, object] = {"type": "tool_use", "id": "c1", "name": "mcp__sf__claim_task"}
BASH: dict[str, object] = {"type": "tool_use", "id": "b1", "name": "Bash"}


def heard(*lines: object, prompt: int = 0) -> Observation:
    events = (parse_line(json.dumps(line)) for line in lines)
    return reduce(fold, events, Observation(usage=Usage(prompt=prompt)))


def answered(payload: dict[str, object]) -> dict[str, object]:
    response = {"subtype": "success", "request_id": "r", "response": payload}
    return {"type": "control_response", "response": response}


def result_of(call: str, words: str) -> dict[str, object]:
    block = {"type": "tool_result", "tool_use_id": call, "content": words}
    return {"type": "user", "message": {"content": [block]}, "parent_tool_use_id": None}


def costs(usd: float) -> dict[str, object]:
    return answered({"text": f"Estimated cost:        ${usd:.4f}\nTotal duration (API):  0s"})


def context(total: int, usage: Sequence[int] | None = None, **more: object) -> dict[str, object]:
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    said = dict(zip((*names, "output_tokens"), usage, strict=True)) if usage else None
    return answered({"totalTokens": total, "maxTokens": 1_000_000, "apiUsage": said, **more})


def used_by(model_usage: dict[str, int], **more: object) -> dict[str, object]:
    return ended(model_usage_since_last_result={MODEL: {**model_usage, "costUSD": 0.05}}, **more)


def test_a_request_counts_once_however_many_blocks_answer_it() -> None:
    seen = heard(
        INIT,
        said(text("a"), fill=(3, 40_000, 0)),
        said(BASH, fill=(3, 40_000, 0)),
        said(text("b"), message="msg_2", fill=(5, 1_000, 40_003)),
    )

    assert seen.usage.total == Tokens(input=8, cache_write=41_000, cache_read=40_003, output=2)


def test_a_subagents_requests_count_for_the_usage_and_not_for_the_fill() -> None:
    seen = heard(
        INIT,
        said(text("a"), fill=(3, 1_000, 0)),
        said(text("sub"), message="msg_2", fill=(7, 90_000, 0), parent="t1"),
    )

    assert seen.context_tokens == 1_004
    assert seen.usage.total == Tokens(input=10, cache_write=91_000, output=2)


def test_the_clients_own_words_use_nothing() -> None:
    own = said(text("API Error"), fill=(0, 0, 0))

    assert heard(INIT, own).usage.total == Tokens()


def test_a_turns_end_says_what_all_of_it_used_and_the_next_turn_adds_to_it() -> None:
    turn = {"inputTokens": 9, "cacheCreationInputTokens": 60_000, "cacheReadInputTokens": 90_000}
    seen = heard(
        INIT,
        said(text("a"), fill=(3, 50_000, 0)),
        used_by({**turn, "outputTokens": 464}),
        INIT,
        said(text("b"), message="msg_2", fill=(3, 100, 60_000)),
    )

    assert seen.usage.total == Tokens(input=12, cache_write=60_100, cache_read=150_000, output=465)


def test_an_older_client_that_says_less_at_a_turns_end_takes_nothing_back() -> None:
    older = ended(model_usage_since_last_result=None, usage={"input_tokens": 3})
    seen = heard(INIT, said(text("a"), fill=(3, 50_000, 0)), older)

    assert seen.usage.total == Tokens(input=3, cache_write=50_000, output=1)


def test_the_output_of_the_newest_answer_is_part_of_the_fill_once_it_is_known() -> None:
    seen = heard(INIT, said(BASH, fill=(3, 1_000, 0)), context(1_003, (3, 1_000, 0, 250)))

    assert seen.context_tokens == 1_253
    assert seen.context_window == 1_000_000
    assert seen.usage.total.output == 250


def test_what_the_client_says_of_another_answer_is_not_taken_for_the_newest_ones() -> None:
    seen = heard(INIT, said(BASH, fill=(3, 2_000, 0)), context(1_003, (3, 1_000, 0, 250)))

    assert seen.usage.total.output == 1


def test_the_fleets_share_is_schemas_and_prompt_and_the_results_so_far_in_each_request() -> None:
    schemas: list[object] = [
        {"serverName": "sf", "tokens": 400},
        {"serverName": "other", "tokens": 7_000},
    ]
    rules: list[object] = [{"serverName": "sf", "tokens": 20}]
    seen = heard(
        context(7_000, mcpTools=schemas, mcpInstructions=rules),
        INIT,
        said(CLAIM, BASH, fill=(3, 9_997, 0)),
        result_of("c1", "x" * 400),
        result_of("b1", "y" * 40_000),
        said(text("a"), message="msg_2", fill=(3, 10_000, 10_000)),
        said(text("b"), message="msg_2", fill=(3, 10_000, 10_000)),
        said(text("sub"), message="msg_3", fill=(3, 10_000, 0), parent="t1"),
        prompt=1_000,
    )

    assert seen.usage.coordination == (1_000 + 420) + (1_000 + 420 + 100)


def test_in_a_resumed_conversation_what_our_tools_gave_before_counts_too() -> None:
    calls = [
        {"name": "mcp__sf__claim_task", "resultTokens": 900},
        {"name": "Bash", "resultTokens": 5_000},
    ]
    seen = heard(
        context(60_000, messageBreakdown={"toolCallsByType": calls}),
        INIT,
        said(text("a"), fill=(3, 100, 60_000)),
    )

    assert seen.usage.coordination == 900


def test_the_fleets_share_is_never_more_than_the_request() -> None:
    assert heard(INIT, said(text("a"), fill=(3, 7, 0)), prompt=500).usage.coordination == 10


def test_the_cost_of_a_running_turn_is_known_and_never_too_high() -> None:
    running = [costs(0), INIT, said(BASH), costs(0.1311)]

    assert math.isclose(heard(*running).cost_usd, 0.1310)
    settled = ended(
        total_cost_usd=0.1636355, model_usage_since_last_result={MODEL: {"costUSD": 0.1636355}}
    )
    assert heard(*running, settled).cost_usd == 0.1636355
    assert math.isclose(heard(*running, settled, INIT, costs(0.2)).cost_usd, 0.1999)


def test_what_was_spent_before_a_resume_is_not_this_processes() -> None:
    seen = heard(costs(7), INIT, said(BASH), costs(7.5))

    assert math.isclose(seen.cost_usd, 0.4999)


def test_a_cost_without_a_beginning_to_count_from_waits_for_the_turns_end() -> None:
    assert heard(INIT, said(BASH), costs(7.5)).cost_usd == 0
    after = heard(INIT, said(BASH), costs(7.5), ended(total_cost_usd=7.6), INIT, costs(8))
    assert math.isclose(after.cost_usd, 0.05 + 0.4 - 0.0001)


def test_words_that_name_no_cost_change_nothing() -> None:
    words = answered({"text": "You are using your subscription."})

    assert heard(costs(0), INIT, words).cost_usd == 0


def test_what_is_new_is_the_days_and_yesterday_stays() -> None:
    first = Amount(tokens=Tokens(input=5, output=1), coordination=2, cost_usd=0.5)
    later = Amount(tokens=Tokens(input=9, output=1), coordination=3, cost_usd=0.75)

    days = by_day(by_day({}, first, "2026-03-01"), later, "2026-03-02")

    assert days == {
        "2026-03-01": first,
        "2026-03-02": Amount(tokens=Tokens(input=4), coordination=1, cost_usd=0.25),
    }


@given(st.lists(st.tuples(st.integers(0, 1_000), st.sampled_from("abc")), max_size=12))
def test_days_never_shrink_and_together_are_the_most_that_was_ever_known(
    told: list[tuple[int, str]],
) -> None:
    days: dict[str, Amount] = {}
    for total, day in told:
        before = days
        days = by_day(days, Amount(coordination=total), day)
        assert all(days[one].coordination >= amount.coordination for one, amount in before.items())
    most = max((total for total, _ in told), default=0)
    assert sum(amount.coordination for amount in days.values()) == most


THRESHOLDS = HandoffThresholds(ask=140_000, restrict=160_000, take_over=176_000)


def test_a_threshold_that_is_crossed_is_told_at_once_and_so_is_a_great_step() -> None:
    assert not is_step(130_000, 138_000, THRESHOLDS)
    assert is_step(139_999, 140_000, THRESHOLDS)
    assert is_step(159_999, 160_000, THRESHOLDS)
    assert is_step(175_999, 176_000, THRESHOLDS)
    assert is_step(20_000, 30_000, THRESHOLDS)
    assert not is_step(140_000, 141_000, THRESHOLDS)


def test_a_client_near_the_first_threshold_is_asked_often() -> None:
    assert seconds_between_questions(125_000, THRESHOLDS) > OFTEN_SECONDS
    assert seconds_between_questions(126_000, THRESHOLDS) == OFTEN_SECONDS
