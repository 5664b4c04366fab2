import pytest
from hypothesis import given
from hypothesis import strategies as st

from sf_mcp.settings import Agents, Check, HandoffThresholds, Settings, Steward, Worker

TESTS = Check(name="tests", run="pytest -q")


def test_the_default_thresholds_are_70_80_and_88_percent() -> None:
    assert Worker().handoff_thresholds(200_000) == HandoffThresholds(
        ask=140_000, restrict=160_000, take_over=176_000
    )


def test_the_models_window_caps_the_session() -> None:
    assert Worker().handoff_thresholds(100_000) == HandoffThresholds(
        ask=70_000, restrict=80_000, take_over=88_000
    )
    assert Worker().handoff_thresholds(1_000_000) == Worker().handoff_thresholds(200_000 * 2)


@given(st.floats(0.1, 0.95), st.integers(20_000, 1_000_000), st.sampled_from([200_000, 1_000_000]))
def test_the_thresholds_stay_in_order_below_the_point_where_claude_code_gives_up(
    handoff_at: float, tokens: int, window: int
) -> None:
    worker = Worker(handoff_at=handoff_at, max_session_tokens=tokens)
    at = worker.handoff_thresholds(window)
    assert 0 < at.ask < at.restrict < at.take_over <= min(tokens, window)
    assert at.take_over < window * 185_000 / 200_000


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(), "the list `checks` is empty"),
        (
            Settings(checks=(TESTS,), agents=Agents(steward=Steward(run_checks=False))),
            "agents.steward.runChecks is false",
        ),
    ],
)
def test_without_checks_the_settings_say_that_nothing_is_checked(
    settings: Settings, words: str
) -> None:
    assert settings.checks_vacuous
    assert settings.vacuous_sentence == (
        f"Nothing is checked before the target branch moves: {words}."
    )


def test_with_checks_there_is_nothing_to_say() -> None:
    settings = Settings(checks=(TESTS,))
    assert not settings.checks_vacuous
    assert settings.vacuous_sentence == ""
