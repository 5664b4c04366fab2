"""How far a budget has come, and what a worker is told of it."""

import pytest

from sf_mcp.core.spending import Spending, Stage, refusal_to_go_on, request_to_wrap_up


def a_spending(cost_usd: float, limit_usd: float = 10.0) -> Spending:
    return Spending(of="T1", key="budget.taskUsd", cost_usd=cost_usd, limit_usd=limit_usd)


@pytest.mark.parametrize(
    ("cost_usd", "stage"),
    [
        (0.0, Stage.WITHIN),
        (7.99, Stage.WITHIN),
        (8.0, Stage.WARNED),
        (9.49, Stage.WARNED),
        (9.5, Stage.HELD),
        (9.99, Stage.HELD),
        (10.0, Stage.SPENT),
        (1e9, Stage.SPENT),
    ],
)
def test_a_budget_is_warned_of_at_80_held_at_95_and_spent_at_100_percent(
    cost_usd: float, stage: Stage
) -> None:
    assert a_spending(cost_usd).stage is stage


def test_a_worker_is_told_what_it_cost_and_what_to_call() -> None:
    spending = a_spending(8.1)
    for told in (request_to_wrap_up(spending), refusal_to_go_on(spending)):
        assert "T1 has cost $8.10 of $10.00 (budget.taskUsd)" in told
        assert "write_handoff" in told
        assert "request_merge" in told
