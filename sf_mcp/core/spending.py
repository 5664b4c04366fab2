"""What a task or the fleet has cost beside what it may, and what follows from that. Pure.

Like a context that fills up: the worker is asked to wrap up, then held to it, then stopped.
"""

from dataclasses import dataclass
from enum import IntEnum

WARN_AT, HOLD_AT = 0.8, 0.95
"""Shares of the budget. Between the second and all of it, one or two requests are left for a
handoff in the worker's own words."""


class Stage(IntEnum):
    WITHIN = 0
    WARNED = 1
    HELD = 2
    SPENT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """One budget and what was spent of it, in US dollars."""

    of: str
    """A task's id, or `the fleet`."""
    key: str
    """The key of the configuration that sets the limit."""
    cost_usd: float
    limit_usd: float

    @property
    def stage(self) -> Stage:
        """How far it has come."""
        share = self.cost_usd / self.limit_usd
        if share >= 1:
            return Stage.SPENT
        if share >= HOLD_AT:
            return Stage.HELD
        return Stage.WARNED if share >= WARN_AT else Stage.WITHIN

    def __str__(self) -> str:
        return f"{self.of} has cost ${self.cost_usd:.2f} of ${self.limit_usd:.2f} ({self.key})"


def request_to_wrap_up(spending: Spending) -> str:
    """Return what a worker is told from the warning on."""
    return (
        f"{spending}. Wrap up: finish the step in hand, commit, and call request_merge if the task "
        "is complete, else write_handoff."
    )


def refusal_to_go_on(spending: Spending) -> str:
    """Return what a worker is told that may only end its work any more."""
    return (
        f"{spending}. Call write_handoff now: uncommitted files are kept; or request_merge if the "
        "task is complete and committed."
    )
