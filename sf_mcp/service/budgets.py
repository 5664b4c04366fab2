"""Budgets kept: a warning, then the handoff, then the end; and the cap on sessions of one subject.

The money is the person's to give. A task that has cost all it may is set aside with a question to
them, and goes on by itself once `budget.taskUsd` is raised; so does the fleet with `fleetUsd`.
"""

from sf_mcp.core.identity import Caller
from sf_mcp.core.models import EndKind, Role, Session, Task
from sf_mcp.core.spending import Spending, Stage
from sf_mcp.core.states import WAITING_SESSIONS, SessionEvent, TaskState
from sf_mcp.service.claims import give_up
from sf_mcp.service.endings import reopen
from sf_mcp.service.spending import is_spent, of_fleet, of_task, tightest
from sf_mcp.service.starting import MOST_STARTS, has_started_too_often
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import events, leases, sessions, tasks


class BudgetService:
    """Use cases of budgets that nobody asks for."""

    def __init__(self, workspace: Workspace) -> None:
        """Keep this project's budgets."""
        self._workspace = workspace

    def look(self, caller: Caller) -> None:
        """Set aside what has used up its budget or its sessions; let go on what has more now."""
        with self._workspace.read() as tx:
            found = self._spent(tx) or self._raised(tx)
            running = [one for one in sessions.alive(tx.db) if not one.stop_requested]
            fleet = of_fleet(tx, self._workspace.settings.budget)
            if not found and not (is_spent(fleet) and running):
                return
        with self._workspace.write(caller) as tx:
            for task, spending in self._spent(tx):
                set_aside(tx, task, spending)
            for task in self._raised(tx):
                reopen(tx, task)
                tx.event("budget_raised", task.id)
            fleet = of_fleet(tx, self._workspace.settings.budget)
            if fleet is not None and is_spent(fleet):
                _stop_all(tx, fleet)

    def _spent(self, tx: Transaction) -> list[tuple[Task, Spending | None]]:
        """Return the open tasks on which nobody may work any more, with the budget if it is that.

        Else it is the number of sessions that have worked on it.
        """
        found: list[tuple[Task, Spending | None]] = []
        for task in tasks.started_and_open(tx.db):
            spending = of_task(tx, task, self._workspace.settings.budget)
            if is_spent(spending):
                found.append((task, spending))
            elif has_started_too_often(tx, task.id, task.retried_at):
                found.append((task, None))
        return found

    def _raised(self, tx: Transaction) -> list[Task]:
        """Return the tasks that were set aside for their budget and are within it now."""
        budget = self._workspace.settings.budget
        return [
            task
            for task in tasks.in_state(tx.db, TaskState.STUCK)
            if task.is_over_budget and not is_spent(of_task(tx, task, budget))
        ]


def keep_within(workspace: Workspace, tx: Transaction, session: Session) -> Session:
    """Warn of what the session's report has brought near its budget, and end what is beyond it."""
    budget = workspace.settings.budget
    if budget.task_usd is None and budget.fleet_usd is None:
        return session
    task = tasks.TASKS.get(tx.db, session.subject) if session.role is Role.WORKER else None
    if task is not None and (spending := of_task(tx, task, budget)) is not None:
        _tell_once(tx, spending, task)
        if is_spent(spending):
            _stop(tx, session, spending)
    if (fleet := of_fleet(tx, budget)) is not None:
        _tell_once(tx, fleet, None)
        if is_spent(fleet):
            _stop_all(tx, fleet)
    return sessions.get(tx.db, session.id)


def may_go_on(workspace: Workspace, tx: Transaction, task: Task) -> bool:
    """Return whether another session may work on the task, by its budget and their number."""
    return not (
        is_spent(of_task(tx, task, workspace.settings.budget))
        or has_started_too_often(tx, task.id, task.retried_at)
    )


def spent_by(workspace: Workspace, tx: Transaction, session: Session) -> Spending | None:
    """Return the budget that a worker which holds a task has used up; None when it has not."""
    if leases.live_of(tx.db, session.id) is None:
        return None
    spending = tightest(tx, session, workspace.settings.budget)
    return spending if is_spent(spending) else None


def set_aside(tx: Transaction, task: Task, spending: Spending | None) -> None:
    """Set an open task aside, with the session that it is kept for, and ask the person.

    It has used up its budget (`spending`), or the number of sessions that one task may have.
    """
    session = sessions.SESSIONS.get(tx.db, task.reserved_for) if task.reserved_for else None
    if session is not None and session.state in WAITING_SESSIONS:
        tx.event("session_ended", session.id, name=session.name, end=EndKind.OVER_BUDGET.value)
        tx.move_session(session, SessionEvent.EXIT, ended_at=tx.now, end=EndKind.OVER_BUDGET)
    evidence = f"{MOST_STARTS} sessions have not brought it to an end"
    give_up(
        tx,
        task,
        str(spending) if spending is not None else evidence,
        is_for_person=True,
        is_over_budget=spending is not None,
    )


def notes(workspace: Workspace, tx: Transaction) -> list[str]:
    """Return what a person should know of the budgets: those that come to their end."""
    budget = workspace.settings.budget
    found: list[str] = []
    fleet = of_fleet(tx, budget)
    if fleet is not None and fleet.stage is Stage.SPENT:
        found.append(f"{fleet}: nothing is started until you raise it.")
    elif fleet is not None and fleet.stage >= Stage.WARNED:
        found.append(f"{fleet}.")
    if budget.task_usd is not None:
        working = tasks.in_state(tx.db, TaskState.CLAIMED, TaskState.WAITING)
        spent = [one for task in working if (one := of_task(tx, task, budget)) is not None]
        found += [f"{one}." for one in spent if one.stage >= Stage.WARNED]
    return found


def _tell_once(tx: Transaction, spending: Spending, task: Task | None) -> None:
    """Record the warning, and the end, of this budget since the last retry; each once."""
    if spending.stage is Stage.WITHIN:
        return
    kind = "budget_spent" if spending.stage is Stage.SPENT else "budget_warned"
    subject, since = (task.id, task.retried_at) if task is not None else ("", None)
    told = events.newest_of(tx.db, kind, subject)
    if (
        told is None
        or told.data.get("limit_usd") != spending.limit_usd
        or (since is not None and told.at <= since)
    ):
        cost = round(spending.cost_usd, 4)
        tx.event(kind, subject, cost_usd=cost, limit_usd=spending.limit_usd)


def _stop(tx: Transaction, session: Session, spending: Spending) -> None:
    """Ask for the end of a session, unless its work is done or somebody has asked already."""
    if not session.stop_requested and leases.live_of(tx.db, session.id) is not None:
        tx.edit_session(
            session, stop_requested=f"the budget of {spending.of} is used up: {spending}"
        )


def _stop_all(tx: Transaction, spending: Spending) -> None:
    for session in sessions.alive(tx.db):
        _stop(tx, session, spending)
