"""The forecast of this project: what was measured and what stands, made into jobs and scheduled.

Nothing is stored. Where somebody's word is missing nobody can say when, and the answer names it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from sf_mcp.core.forecast import (
    UNKNOWN,
    Expected,
    Job,
    Outlook,
    Pace,
    expected,
    schedule,
    still,
)
from sf_mcp.core.merge_queue import Outcome
from sf_mcp.core.models import MergeRequest, TaskId, TrialRecord
from sf_mcp.core.recovery import LONGEST_WAIT
from sf_mcp.core.states import MergeState, PlanState, TaskState
from sf_mcp.service.limits import held_reason
from sf_mcp.service.merge_status import is_left_to_person
from sf_mcp.service.pauses import goes_on, paused_reason
from sf_mcp.service.spending import is_spent, of_fleet
from sf_mcp.service.starting import backoff_until
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import durations, leases, merge_requests
from sf_mcp.store import trials as trial_rows

UNMEASURED = "nothing has been measured yet"
_LET_GO = {
    TaskState.PROPOSED: "is a proposal that nobody has accepted",
    TaskState.STUCK: "is stuck",
    TaskState.WAITING: "waits for an answer",
}
"""States that only somebody's word ends, each as the end of a sentence."""


def pace(tx: Transaction) -> Pace:
    """Return what was measured so far."""
    return Pace(
        worked=durations.worked(tx.db),
        landings=durations.landings(tx.db),
        trials=durations.trials(tx.db),
        estimates={plan: median(found) for plan, found in durations.estimates(tx.db).items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """When what is unfinished is expected, at one moment."""

    now: datetime
    pace: Pace
    outlooks: Mapping[TaskId, Outlook]
    obstacles: Mapping[TaskId, str]
    """The tasks that cannot be told of by themselves: why, as the end of `unknown: …`."""
    waits_for: Callable[[TaskId], tuple[TaskId, ...]]

    def of(self, task_id: TaskId) -> Expected:
        """Return when an unfinished task has landed."""
        seconds = self.outlooks[task_id].landed if task_id in self.outlooks else UNKNOWN
        if seconds < UNKNOWN:
            return expected(seconds, self.now, self.pace)
        return Expected(at=None, words=self._why_unknown(task_id))

    def of_all(self, task_ids: list[TaskId]) -> Expected:
        """Return when the last of these has landed."""
        if not task_ids:
            return Expected(at=None, words="")
        return self.of(max(task_ids, key=lambda one: self.outlooks[one].landed))

    def _why_unknown(self, task_id: TaskId) -> str:
        # Somebody's word first; then what finds no slot, since what holds them has no known end.
        chain = (task_id, *self.waits_for(task_id))
        holders = [one for one, outlook in self.outlooks.items() if outlook.start == 0]
        found = [self.obstacles[one] for one in (*chain, *holders) if one in self.obstacles]
        found.sort(key=lambda why: why.startswith(UNMEASURED))
        return f"unknown: {found[0] if found else UNMEASURED}"


def forecast(tx: Transaction, workspace: Workspace) -> Forecast:
    """Look ahead from now."""
    measured = pace(tx)
    spent = durations.spent(tx.db, tx.now)
    paused = "the fleet is paused" if paused_reason(tx) else ""
    rests = paused or _rests(tx, workspace)
    earliest = _earliest(tx, workspace)
    requests = on_the_way(tx, workspace, measured)
    facts = {row[0]: row[1:] for row in durations.outstanding(tx.db)}
    obstacles: dict[TaskId, str] = {}
    jobs: list[Job] = []
    for task_id, order, after in tx.graph.unfinished():
        plan_id, state, plan_state, estimate = facts[task_id]
        is_handed_in, has_slot = task_id in requests, state == TaskState.CLAIMED
        work = still(measured.of_work(plan_id, estimate), spent.get(task_id, 0.0))
        landing, obstacle = requests.get(task_id, (measured.of_landing, ""))
        held = ""
        if why := _LET_GO.get(TaskState(state)):
            held = f"{task_id} {why}"
        elif state == TaskState.OPEN and plan_state != PlanState.ACTIVE:
            held = f"plan {plan_id} is {plan_state}"
        elif not is_handed_in and not has_slot:
            held = rests
        if not is_handed_in and work == UNKNOWN:
            obstacle = f"{UNMEASURED}, and {task_id} has no estimate"
        if obstacle := held or paused or obstacle:
            obstacles[task_id] = obstacle
        jobs.append(
            Job(
                id=task_id,
                order=order,
                after=() if is_handed_in or has_slot else after,
                work=work,
                landing=UNKNOWN if paused else landing,
                earliest=UNKNOWN if held else earliest.get(task_id, earliest[None]),
                has_slot=has_slot,
                is_handed_in=is_handed_in,
            )
        )
    known = {job.id for job in jobs}
    for on in {on for job in jobs for on in job.after if on not in known}:
        obstacles[on] = f"{on} was cancelled"
    return Forecast(
        now=tx.now,
        pace=measured,
        outlooks=schedule(jobs, workspace.settings.orchestrator.max_concurrent),
        obstacles=obstacles,
        waits_for=tx.graph.waits_for,
    )


def on_the_way(
    tx: Transaction, workspace: Workspace, measured: Pace
) -> dict[TaskId, tuple[float, str]]:
    """Return of each task that is handed in when it lands, and why nobody knows when."""
    found: dict[TaskId, tuple[float, str]] = {}
    requests = merge_requests.in_state(tx.db, MergeState.OPEN, MergeState.LANDING)
    trials = _under_way(tx) if requests else {}
    for request in requests:
        if is_left_to_person(tx, request, workspace.settings):
            found[request.task_id] = UNKNOWN, f"{request.id} waits for the person's word"
        else:
            seconds = _to_landing(tx, request, measured, trials.get(request.id))
            found[request.task_id] = seconds, ""
    return found


def _to_landing(
    tx: Transaction, request: MergeRequest, measured: Pace, trial: TrialRecord | None
) -> float:
    """Return in how many seconds a merge request has landed that nobody's word is missing for."""
    if trial is not None and measured.trials:
        return still(measured.of_trial, (tx.now - trial.created_at).total_seconds())
    return still(measured.of_landing, (tx.now - request.created_at).total_seconds())


def _under_way(tx: Transaction) -> dict[str, TrialRecord]:
    """Return the newest running trial of each merge request that is in one."""
    found = trial_rows.TRIALS.select(tx.db, "outcome = ? ORDER BY number", Outcome.RUNNING.value)
    return {name: trial for trial in found for name in trial.requests}


def _rests(tx: Transaction, workspace: Workspace) -> str:
    """Return why nothing is started before somebody has said so; empty when it is."""
    if held_reason(tx):
        return "the person has not said what to do at the usage limit"
    if is_spent(of_fleet(tx, workspace.settings.budget)):
        return "the fleet has used up its budget"
    return ""


def _earliest(tx: Transaction, workspace: Workspace) -> dict[TaskId | None, float]:
    """Return before when tasks do not start, in seconds from now; None: all the others."""
    park = workspace.gate.current(tx.now)
    rest = 0.0 if park is None else max(0.0, (goes_on(workspace, park) - tx.now).total_seconds())
    found: dict[TaskId | None, float] = {None: rest}
    for subject in leases.waited_out_since(tx.db, tx.now - LONGEST_WAIT):
        if (until := backoff_until(tx, subject)) is not None:
            found[TaskId(subject)] = max(rest, (until - tx.now).total_seconds())
    return found
