"""Budgets looked up: what a task and the fleet have cost beside what the configuration allows."""

from typing import TYPE_CHECKING

from sf_mcp.core.models import Role, Session, Task
from sf_mcp.core.spending import Spending, Stage
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import sessions, tasks

if TYPE_CHECKING:
    from sf_mcp.settings.model import Budget


def of_task(tx: Transaction, task: Task, budget: "Budget") -> Spending | None:
    """Return the task's, since it was last retried; None when it has no limit.

    Its workers count. Reviews and answers count for the fleet alone.
    """
    if budget.task_usd is None:
        return None
    return Spending(
        of=task.id,
        key="budget.taskUsd",
        cost_usd=sessions.cost_of(tx.db, task.id, task.retried_at),
        limit_usd=budget.task_usd,
    )


def of_fleet(tx: Transaction, budget: "Budget") -> Spending | None:
    """Return the fleet's, of every role and since its first day; None when it has no limit."""
    if budget.fleet_usd is None:
        return None
    return Spending(
        of="the fleet",
        key="budget.fleetUsd",
        cost_usd=sessions.total_cost(tx.db),
        limit_usd=budget.fleet_usd,
    )


def tightest(tx: Transaction, session: Session, budget: "Budget") -> Spending | None:
    """Return the budget that a worker comes nearest to the end of; None when it has none."""
    task = tasks.TASKS.get(tx.db, session.subject) if session.role is Role.WORKER else None
    if task is None:
        return None
    both = [found for found in (of_task(tx, task, budget), of_fleet(tx, budget)) if found]
    return max(both, key=lambda one: one.cost_usd / one.limit_usd, default=None)


def is_spent(spending: Spending | None) -> bool:
    """Return whether nothing may be spent any more."""
    return spending is not None and spending.stage is Stage.SPENT
