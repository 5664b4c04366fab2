"""What tells accounts apart, what their gates say, and when who goes on after a rest."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sf_mcp.core.account import (
    MOST_SPREAD,
    WITHOUT_RESET,
    Park,
    account_key,
    after_clock_was_put_back,
    decode,
    encode,
    gap_after_rest,
    gates_folder,
    goes_on_at,
    longer,
    reset_time,
)
from sf_mcp.core.models import EndKind

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MONTH = timedelta(days=31)
"""More than the 24.8 days after which timers of 32 bits overflow."""


def a_park(
    length: timedelta = HOUR, *, since: datetime = NOON, kind: EndKind = EndKind.USAGE_LIMIT
) -> Park:
    return Park(kind=kind, reason="limit reached", since=since, until=since + length)


# -- accounts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"ANTHROPIC_API_KEY": "sk-two"},
        {"ANTHROPIC_AUTH_TOKEN": "sk-one"},
        {"CLAUDE_CODE_OAUTH_TOKEN": "sk-one"},
        {"ANTHROPIC_API_KEY": "sk-one", "ANTHROPIC_BASE_URL": "https://proxy.example"},
        {"ANTHROPIC_API_KEY": "sk-one", "CLAUDE_CODE_USE_BEDROCK": "1"},
        {"CLAUDE_CONFIG_DIR": "/home/ada/work"},
        {},
    ],
)
def test_another_login_is_another_account(other: dict[str, str]) -> None:
    assert account_key(other) != account_key({"ANTHROPIC_API_KEY": "sk-one"})


def test_what_does_not_change_the_login_does_not_change_the_account() -> None:
    base = {"ANTHROPIC_API_KEY": "sk-one", "ANTHROPIC_BASE_URL": "https://proxy.example"}
    same = {
        **base,
        "ANTHROPIC_BASE_URL": "https://proxy.example/",
        "ANTHROPIC_MODEL": "opus",
        "CLAUDE_CONFIG_DIR": "/elsewhere",
        "PATH": "/bin",
    }
    assert account_key(same) == account_key(base)


@given(st.text(min_size=1))
def test_a_key_cannot_be_read_from_an_accounts_name(key: str) -> None:
    name = account_key({"ANTHROPIC_API_KEY": key})
    assert len(name) == 16
    assert set(name) <= set("0123456789abcdef")


def test_gates_lie_in_the_folder_for_state_and_a_relative_one_is_ignored() -> None:
    home = Path("/home/ada")
    usual = Path("/home/ada/.local/state/stoneforge/accounts")
    assert gates_folder({}, home) == usual
    assert gates_folder({"XDG_STATE_HOME": "state"}, home) == usual
    assert gates_folder({"XDG_STATE_HOME": "/state"}, home) == Path("/state/stoneforge/accounts")


# -- times -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("2026-03-01T15:00:00", timedelta(hours=3)),
        ("2026-03-01T15:00:00+02:00", timedelta(hours=1)),
        ("2026-03-01T06:00:00-08:00", timedelta(hours=2)),
        ("2026-04-01T12:00:00+00:00", MONTH),
        ("2027-03-02T11:59:00+00:00", timedelta(days=365, hours=23, minutes=59)),
        # In the past, at this moment, in a year that no limit reaches, or no time at all.
        ("2026-03-01T11:59:59+00:00", WITHOUT_RESET),
        ("2026-03-01T12:00:00+00:00", WITHOUT_RESET),
        ("4821-01-01T00:00:00+00:00", WITHOUT_RESET),
        ("9999-12-31T23:59:59-12:00", WITHOUT_RESET),
        ("0001-01-01T00:00:00+12:00", WITHOUT_RESET),
        ("soon", WITHOUT_RESET),
        ("", WITHOUT_RESET),
    ],
)
def test_a_reset_is_read_in_its_zone_and_a_useless_one_is_five_minutes(
    text: str, after: timedelta
) -> None:
    assert reset_time(text, NOON) == NOON + after


@given(st.text(alphabet="0123456789-:+TZ. \N{BULLET}", max_size=40))
def test_no_reset_time_raises_or_is_in_the_past(text: str) -> None:
    assert reset_time(text, NOON) > NOON


def test_a_second_limit_never_cuts_the_rest_short() -> None:
    hour, month = a_park(HOUR), a_park(MONTH)
    assert longer(None, hour) is hour
    assert longer(month, hour) is month
    assert longer(hour, month) is month


def test_fleets_of_one_account_go_on_one_after_another_and_each_at_its_own_time() -> None:
    park = a_park()
    times = [goes_on_at(park, f"/home/ada/project-{number}") for number in range(20)]
    assert len({time.replace(microsecond=0) for time in times}) > 10
    assert all(park.until <= time < park.until + MOST_SPREAD for time in times)
    assert times[3] == goes_on_at(park, "/home/ada/project-3")


def test_a_short_rest_is_not_made_much_longer() -> None:
    park = a_park(timedelta(seconds=20))
    assert all(
        goes_on_at(park, str(number)) < park.until + timedelta(seconds=2) for number in range(50)
    )


def test_after_a_rest_sessions_start_apart_until_the_limit_is_known_to_be_over() -> None:
    park = a_park()
    gaps = [gap_after_rest(park, park.until, f"session-{number}") for number in range(20)]
    assert all(timedelta(seconds=1) < gap < timedelta(seconds=6) for gap in gaps)
    assert len(set(gaps)) > 10
    assert gap_after_rest(park, park.until + 4 * MOST_SPREAD, "session-1") == timedelta(0)


def test_a_clock_that_is_put_back_does_not_make_a_rest_longer_than_it_was() -> None:
    park = a_park()
    back = NOON - timedelta(days=1)
    moved = after_clock_was_put_back(park, back)
    assert (moved.since, moved.until) == (back, back + HOUR)
    assert after_clock_was_put_back(moved, back + HOUR / 2) is moved


@pytest.mark.parametrize("now", [NOON - timedelta(seconds=90), NOON, NOON + 50 * HOUR])
def test_a_clock_that_goes_on_or_is_put_right_by_seconds_changes_nothing(now: datetime) -> None:
    park = a_park()
    assert after_clock_was_put_back(park, now) is park


# -- the file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [timedelta(seconds=1), HOUR, MONTH])
def test_what_a_gate_says_is_read_back(length: timedelta) -> None:
    park = a_park(length, kind=EndKind.OVERLOADED)
    assert decode(encode(park, by="/project", now=NOON)) == park
    assert decode(encode(None, by="/project", now=NOON)) is None


def test_times_of_any_zone_are_the_same_instants() -> None:
    there = timezone(timedelta(hours=-7))
    park = a_park(since=NOON.astimezone(there))
    read = decode(encode(park, by="", now=NOON))
    assert read is not None
    assert (read.since, read.since.tzinfo) == (NOON, UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "not json",
        '{"open": "yes"}',
        '{"open": false, "kind": "killed", "since": "2026-03-01", "until": "2026-03-02"}',
        '{"open": false, "kind": "usage_limit", "since": "2026-03-01T12:00:00+00:00"}',
        '{"kind": "usage_limit", "since": "2026-03-02T12:00:00+00:00",'
        ' "until": "2026-03-01T12:00:00+00:00"}',
        '{"kind": "usage_limit", "since": "2026-03-01T12:00:00+00:00",'
        ' "until": "2036-03-01T12:00:00+00:00"}',
        '{"kind": "usage_limit", "since": "0001-01-01T00:00:00+14:00",'
        ' "until": "2036-03-01T12:00:00+00:00"}',
    ],
)
def test_what_makes_no_sense_is_refused_and_never_a_limit(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode(text)


@given(st.text())
def test_no_text_ends_in_anything_but_a_refusal(text: str) -> None:
    try:
        decode(text)
    except ValueError:
        return
