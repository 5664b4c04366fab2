"""What sessions use, as the launcher reports it: tokens and money by day."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from math import isfinite

from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.models import Session, Usage
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import usage as rows

MOST_TOKENS = 1 << 53
"""More is nobody's use, and would not go through every reader of JSON unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """The amounts of one process on one day (UTC), from its start on; see `models.Usage`."""

    day: str
    input_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    output_tokens: int
    coordination_tokens: int
    cost_usd: float


def record_usage(tx: Transaction, session: Session, reports: Sequence[UsageReport]) -> None:
    """Keep what the session's present process has used; an amount that is known stays at least.

    Raises:
        InvalidInput: a day is none, or an amount is negative or beyond measure.
    """
    for report in reports:
        columns = asdict(report)
        _check(report.day, [amount for name, amount in columns.items() if name != "day"])
        rows.record(tx.db, Usage(session_id=session.id, start=max(1, session.starts), **columns))


def _check(day: str, amounts: Sequence[float]) -> None:
    try:
        is_right = date.fromisoformat(day).isoformat() == day and all(
            isfinite(amount) and 0 <= amount <= MOST_TOKENS for amount in amounts
        )
    except ValueError:
        is_right = False
    if not is_right:
        raise InvalidInput(
            f"The usage of {day!r} cannot be kept.",
            remedy="Report a day such as 2026-11-25 and amounts that are not negative.",
        )
