"""How ends are told apart, when a limit ends, and how long to wait before the next start."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.core.ends import End, Ending, classify
from launcher.core.resets import parse_reset
from launcher.core.restarts import fleet_pause
from launcher.core.stream import RateLimit, TurnResult
from sf_mcp.core.models import EndKind

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CONNECTED = {"sf": "connected"}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def a_result(**changes: Any) -> TurnResult:
    values: dict[str, Any] = {
        "subtype": "success",
        "is_error": False,
        "api_error_status": None,
        "text": "done",
        "terminal_reason": "completed",
        "cost_usd": 0.0,
        "turn_cost_usd": 0.0,
        "context_windows": {},
        "num_turns": 1,
        "errors": (),
    }
    return TurnResult(**(values | changes))


def a_failure(status: int | None, text: str, **changes: Any) -> TurnResult:
    return a_result(
        **{
            "is_error": True,
            "api_error_status": status,
            "text": text,
            "terminal_reason": "api_error",
        }
        | changes
    )


def an_ending(**changes: Any) -> Ending:
    values: dict[str, Any] = {"exit_code": 0, "has_started": True, "mcp_servers": CONNECTED}
    return Ending(**(values | changes))


def classified(**changes: Any) -> End:
    return classify(an_ending(**changes), now=NOW)


# As the client reported each of them when a scripted API answered so (facts, section 5).
API_FAILURES = [
    ("authentication_failed", 401, "Invalid API key · Fix external API key", "AUTHENTICATION"),
    ("authentication_failed", 403, "Your account does not have access", "AUTHENTICATION"),
    ("oauth_org_not_allowed", 403, "Your organization", "AUTHENTICATION"),
    ("billing_error", 400, "Credit balance is too low", "AUTHENTICATION"),
    ("model_not_found", 404, "There's an issue with the selected model", "BAD_CONFIGURATION"),
    ("rate_limit", 429, "API Error: Request rejected (429)", "USAGE_LIMIT"),
    ("server_error", 529, "API Error: 529 Overloaded", "OVERLOADED"),
    ("overloaded", 529, "API Error: 529 Overloaded", "OVERLOADED"),
    ("server_error", 500, "API Error: 500", "OVERLOADED"),
    ("server_error", None, "Unable to connect to API (ConnectionRefused)", "OVERLOADED"),
    (None, 401, "some other client's words", "AUTHENTICATION"),
    (None, 429, "some other client's words", "USAGE_LIMIT"),
    (None, None, "You've hit your session limit · resets 3pm (UTC)", "USAGE_LIMIT"),
    ("unknown", None, "something else", "NO_OUTCOME"),
]


@pytest.mark.parametrize(("error", "status", "text", "kind"), API_FAILURES)
def test_a_failed_api_call_is_classified_by_what_the_client_reported(
    error: str | None, status: int | None, text: str, kind: str
) -> None:
    end = classified(exit_code=1, assistant_error=error, last_result=a_failure(status, text))

    assert end.kind is EndKind[kind]
    assert text in end.sentence


@pytest.mark.parametrize("reason", ["blocking_limit", "prompt_too_long", "rapid_refill_breaker"])
def test_a_full_context_is_told_by_its_terminal_reason(reason: str) -> None:
    result = a_failure(400, "Prompt is too long", terminal_reason=reason)

    end = classified(exit_code=1, assistant_error="invalid_request", last_result=result)

    assert end.kind is EndKind.CONTEXT_FULL


def test_ends_that_stop_the_fleet_say_what_to_do() -> None:
    login = classified(
        assistant_error="authentication_failed", last_result=a_failure(401, "Invalid API key")
    )
    model = classified(assistant_error="model_not_found", last_result=a_failure(404, "no model"))

    assert "log in" in login.sentence
    assert "`model` in .stoneforge/config.yaml" in model.sentence


def test_a_fast_end_is_not_a_usage_limit() -> None:
    """Defect 20: what ends soon may have a wrong flag, a bad login, or nothing to do."""
    assert classified(last_result=a_result()).kind is EndKind.NO_OUTCOME
    assert classified(exit_code=1, has_started=False).kind is EndKind.FAILED_TO_START
    assert (
        classified(exit_code=1, has_started=False, errors="error: unknown option '--foo'").kind
        is EndKind.BAD_CONFIGURATION
    )


def test_a_model_that_writes_of_usage_limits_has_not_hit_one() -> None:
    result = a_result(text="I fixed the message 'usage limit reached|1700000000'.")

    assert classified(last_result=result).kind is EndKind.NO_OUTCOME


def test_what_the_server_recorded_and_what_we_asked_for_come_first() -> None:
    failed = a_failure(529, "Overloaded")

    assert (
        classified(outcome=EndKind.MERGE_REQUESTED, asked=EndKind.STOPPED, last_result=failed).kind
        is EndKind.MERGE_REQUESTED
    )
    assert classified(exit_code=-15, asked=EndKind.TIMED_OUT).kind is EndKind.TIMED_OUT


@pytest.mark.parametrize(
    ("code", "name"), [(-9, "SIGKILL"), (137, "SIGKILL"), (143, "SIGTERM"), (-11, "SIGSEGV")]
)
def test_a_process_ended_from_outside_was_killed(code: int, name: str) -> None:
    end = classified(exit_code=code, is_turn_active=True)

    assert end.kind is EndKind.KILLED
    assert name in end.sentence


def test_a_process_that_ends_in_the_middle_of_a_turn_was_killed() -> None:
    assert classified(exit_code=0, is_turn_active=True).kind is EndKind.KILLED


@pytest.mark.parametrize("servers", [{"sf": "failed"}, {"sf": "pending"}, {}])
def test_a_session_without_its_server_has_not_started(servers: dict[str, str]) -> None:
    end = classified(mcp_servers=servers, last_result=a_result())

    assert end.kind is EndKind.FAILED_TO_START
    assert "did not connect" in end.sentence


def test_a_conversation_that_is_gone_is_not_resumed_again() -> None:
    gone = a_failure(None, "", errors=("No conversation found with session ID: x",))

    end = classified(exit_code=1, has_started=False, last_result=gone)

    assert end.kind is EndKind.CONVERSATION_LOST


def test_words_with_braces_and_of_any_length_make_a_short_sentence() -> None:
    end = classified(assistant_error="rate_limit", last_result=a_failure(429, "{exit} " * 1000))

    assert len(end.sentence) < 600


def test_the_reset_comes_from_the_clients_own_event_when_there_is_one() -> None:
    at = NOW + timedelta(days=31)
    end = classified(
        assistant_error="rate_limit",
        last_result=a_failure(429, "resets 3pm (UTC)"),
        rate_limit=RateLimit(status="rejected", resets_at=at, kind="seven_day"),
    )

    assert end.resets_at == at


@pytest.mark.parametrize(
    ("resets_at", "at"),
    [
        (None, "2026-11-22 15:00"),
        (datetime(4821, 1, 1, tzinfo=UTC), None),
        (datetime(1971, 1, 1, tzinfo=UTC), None),
    ],
)
def test_an_event_without_a_time_leaves_it_to_the_words_and_a_misread_time_counts_as_none(
    resets_at: datetime | None, at: str | None
) -> None:
    end = classified(
        assistant_error="rate_limit",
        last_result=a_failure(429, "resets 3pm (UTC)"),
        rate_limit=RateLimit(status="rejected", resets_at=resets_at, kind="five_hour"),
    )

    assert end.resets_at == (utc(at) if at else None)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("Claude AI usage limit reached|1795374514", "2026-11-22 19:08:34"),
        ("Claude AI usage limit reached|1795374514000", "2026-11-22 19:08:34"),
        ("You've hit your session limit · resets 3pm (UTC)", "2026-11-22 15:00"),
        ("You've hit your limit · resets 3:30pm (Europe/Berlin)", "2026-11-22 14:30"),
        ("resets 4am (America/New_York)", "2026-11-23 09:00"),
        ("resets 12am (UTC)", "2026-11-23 00:00"),
        ("resets 11:55am (UTC)", "2026-11-22 11:55"),
        ("resets at 18:45 (UTC)", "2026-11-22 18:45"),
        ("weekly limit · resets Nov 25, 3pm (UTC)", "2026-11-25 15:00"),
        ("monthly limit · resets Jan 2, 2027, 9:15am (UTC)", "2027-01-02 09:15"),
        ("resets Jan 2 at 9am (UTC)", "2027-01-02 09:00"),
        ("resets in 2 hours 30 minutes", "2026-11-22 14:30"),
        ("Please try again in 20s.", "2026-11-22 12:00:20"),
        ("retry after 40 days", "2027-01-01 12:00"),
    ],
)
def test_a_reset_time_is_read_in_the_clients_own_forms(text: str, at: str) -> None:
    assert parse_reset(text, now=NOW) == utc(at)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Request rejected (429)",
        "resets soon",
        "resets 3",
        "resets 25:00",
        "resets 13pm (UTC)",
        "resets Feb 30, 3pm (UTC)",
        "resets 3pm (No/Such_Zone)",
        "resets 3pm (../../etc/passwd)",
        "usage limit reached|99999999999",
        "retry after 999999999999999 days",
        "resets Nov 25, 9999, 3pm (UTC)",
    ],
)
def test_a_reset_time_that_cannot_be_known_is_not_guessed(text: str) -> None:
    assert parse_reset(text, now=NOW) is None


def test_a_time_of_day_without_a_zone_is_in_the_clients_zone() -> None:
    at = parse_reset("resets 3pm", now=NOW, local_zone=ZoneInfo("America/New_York"))

    assert at == utc("2026-11-22 20:00")


@pytest.mark.parametrize(
    ("headers", "at"),
    [
        ({"Retry-After": "3600"}, "2026-11-22 13:00"),
        ({"retry-after": str(31 * 86_400)}, "2026-12-23 12:00"),
        ({"retry-after": "Sun, 22 Nov 2026 12:30:00 GMT"}, "2026-11-22 12:30"),
        ({"anthropic-ratelimit-unified-reset": "1795374514"}, "2026-11-22 19:08:34"),
        ({"retry-after": "9" * 30}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_a_reset_time_is_read_from_headers(headers: dict[str, str], at: str | None) -> None:
    assert parse_reset("", headers, now=NOW) == (utc(at) if at is not None else None)


@given(st.text(alphabet="resetin |0123456789:apm(),NovUTC/½", max_size=60))
def test_no_text_about_a_reset_raises(text: str) -> None:
    parse_reset("resets " + text, now=NOW)
    parse_reset(text, {"retry-after": text}, now=NOW)


def test_the_fleet_waits_for_the_reset_however_far_away() -> None:
    """Defect 28: 24.8 days overflowed a timer and fired at once."""
    month = NOW + timedelta(days=31)

    until = fleet_pause(EndKind.USAGE_LIMIT, month, now=NOW, pauses=0, random=0.5)

    assert until == month + timedelta(seconds=5)


def test_a_reset_that_is_over_is_tried_soon_and_less_soon_each_time() -> None:
    waits = [
        fleet_pause(EndKind.USAGE_LIMIT, past, now=NOW, pauses=pauses, random=0.5)
        for past, pauses in ((NOW, 0), (NOW - timedelta(days=1), 1), (NOW, 2), (NOW, 50))
    ]

    assert waits == [NOW + timedelta(seconds=seconds) for seconds in (5, 10, 20, 300)]


def test_the_fleet_waits_a_bounded_time_for_an_unknown_reset_and_not_at_all_for_others() -> None:
    until = fleet_pause(EndKind.USAGE_LIMIT, None, now=NOW, pauses=9, random=0.5)

    assert until == NOW + timedelta(minutes=5)
    assert fleet_pause(EndKind.KILLED, None, now=NOW, pauses=0, random=0.5) is None
