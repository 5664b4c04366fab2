"""What is known of checks beside single verdicts: which fail on the target, which are flaky."""

from collections.abc import Sequence

from sf_mcp.core.models import Verdict
from sf_mcp.core.text import one_line
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import landings

MOST_NAMES = 30
"""Failing tests that are named to whoever repairs the work."""
FEW_NAMES = 3
"""The same, where there is one line for all."""


def note_preexisting(tx: Transaction, verdicts: Sequence[Verdict]) -> None:
    """Record that these checks fail on the target itself, once for each state of it."""
    for verdict in verdicts:
        if not landings.is_known_as_preexisting(tx.db, verdict):
            tx.event(
                landings.PREEXISTING,
                "",
                check=verdict.check,
                tree=verdict.tree,
                outcome=verdict.outcome,
                failing=list(verdict.failing[:MOST_NAMES]),
            )


def notes(tx: Transaction, branch: str) -> list[str]:
    """Return what a person should know of the checks: which fail on the target, which are flaky."""
    found: list[str] = []
    newest = landings.newest_done(tx.db)
    if newest is not None and newest.is_green is False:
        last = {one.check: one for one in landings.verdicts_on(tx.db, newest.tree)}
        found += [
            f"Check {one.check} fails on {branch} itself: {one.outcome}{named(one, FEW_NAMES)}. "
            "It sends nothing back that leaves it so."
            for one in last.values()
            if not one.passed
        ]
    found += [
        f"Check {one.check} is flaky: it both passed and failed on {one.flaky_trees} of "
        f"{one.trees} trees."
        for one in landings.flakes(tx.db)
    ]
    return [one_line(note, 400) for note in found]


def named(verdict: Verdict, most: int) -> str:
    """Return the tests that failed, in parentheses; nothing where none is named."""
    if not verdict.failing:
        return ""
    more = f" and {len(verdict.failing) - most} more" if len(verdict.failing) > most else ""
    return f" ({', '.join(verdict.failing[:most])}{more})"
