"""Plans as rows."""

import sqlite3

from sf_mcp.core.errors import NotFound
from sf_mcp.core.models import Plan, PlanId
from sf_mcp.core.states import PlanState
from sf_mcp.store.rows import Table, next_id

PLANS = Table("plans", Plan)


def new_id(db: sqlite3.Connection) -> PlanId:
    """Return the next free id."""
    return PlanId(next_id(db, "plans", "P"))


def get(db: sqlite3.Connection, plan_id: str) -> Plan:
    """Return the plan.

    Raises:
        NotFound: there is none with this id.
    """
    if (plan := PLANS.get(db, plan_id)) is None:
        raise NotFound(f"There is no plan {plan_id}.", remedy="List them with `sf plan list`.")
    return plan


def find(db: sqlite3.Connection, id_or_title: str) -> Plan:
    """Return the plan with this id, or the one plan with this title that has not ended.

    Raises:
        NotFound: no plan, or several plans, are meant.
    """
    if plan := PLANS.get(db, id_or_title):
        return plan
    named = PLANS.select(db, "title = ? ORDER BY number", id_or_title)
    living = [plan for plan in named if plan.state in ("draft", "active")] or named
    if len(living) == 1:
        return living[0]
    if living:
        ids = ", ".join(plan.id for plan in living)
        raise NotFound(
            f"Several plans are called {id_or_title!r}: {ids}.",
            remedy="Name the one you mean by id.",
        )
    raise NotFound(
        f"There is no plan {id_or_title!r}.",
        remedy="List the plans with `sf plan list`, or create one with `sf plan create`.",
    )


def in_state(db: sqlite3.Connection, *states: PlanState) -> list[Plan]:
    """Return the plans in any of these states, oldest first."""
    marks = ", ".join("?" * len(states))
    return PLANS.select(db, f"state IN ({marks}) ORDER BY number", *states)


def all_of(db: sqlite3.Connection) -> list[Plan]:
    """Return every plan, oldest first."""
    return PLANS.select(db, "1 ORDER BY number")
