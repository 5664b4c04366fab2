"""Looking at the merge train: put together from stored facts each time, stored nowhere.

What lands next is what the planner would do with the same facts (`core.merge_queue`).
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from sf_mcp.core import merge_queue
from sf_mcp.core.forecast import UNKNOWN, Pace, rounded, still
from sf_mcp.core.identity import Caller
from sf_mcp.core.merge_queue import Outcome, Plan
from sf_mcp.core.models import Landing, MergeRequest, MergeRequestId, TrialRecord, Verdict
from sf_mcp.core.train_view import CheckLine, LandedLine, QueueLine, TrainView, TrialLine
from sf_mcp.service.checking import Checking
from sf_mcp.service.forecasting import on_the_way, pace
from sf_mcp.service.merge_status import is_released, merge_status
from sf_mcp.service.pauses import paused_reason
from sf_mcp.service.radar import RadarService
from sf_mcp.service.train_facts import TrainFacts, in_line
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.trials import Stand
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import landings, merge_requests, tasks, trials

MOST_STORED, MOST_TRIALS, MOST_LANDED = 1000, 20, 20
"""Ended ones that are shown."""


class TrainViewService:
    """Use cases of looking at the train."""

    def __init__(
        self,
        workspace: Workspace,
        checking: Checking,
        radar: RadarService,
        running: Callable[[], frozenset[int] | None],
    ) -> None:
        """`running` names the trials that run in this process: others have died with theirs."""
        self._workspace = workspace
        self._checking = checking
        self._facts = TrainFacts(workspace, checking, radar)
        self._running = running

    def show_train(self, _caller: Caller) -> TrainView:
        """Return the queue, the trials, what lands next and what has landed."""
        settings = self._workspace.settings
        with self._workspace.read() as tx:
            newest = landings.newest_done(tx.db)
            queue = in_line(tx)
        slots = settings.merge.parallel_checks
        plan = self._plan(queue, newest, slots)
        running = self._running() or frozenset()
        with self._workspace.read() as tx:
            measured = pace(tx)
            stored = trials.newest(tx.db, MOST_STORED)
            under_way = [
                one for one in stored if one.outcome is Outcome.RUNNING and one.number in running
            ]
            ended = [one for one in stored if one.outcome is not Outcome.RUNNING]
            may_land = {one.id for one in queue if is_released(tx, one, settings)}
            lands_next = _next(plan, may_land)
            return TrainView(
                at=tx.now,
                stopped=paused_reason(tx),
                slots=slots,
                used=len(running),
                next=lands_next,
                queue=self._queue_lines(tx, queue, lands_next, stored, measured),
                trials=[
                    self._trial_line(tx, one, measured)
                    for one in [*under_way, *ended[: -MOST_TRIALS - 1 : -1]]
                ],
                landed=[_landed_line(tx, one) for one in landings.newest(tx.db, MOST_LANDED)[::-1]],
            )

    def _plan(self, queue: Sequence[MergeRequest], newest: Landing | None, slots: int) -> Plan:
        """Return what the train's next step would do."""
        if newest is None:
            return Plan()
        by_id = {str(one.id): one for one in queue if not one.no_changes_reason}
        facts, _ = self._facts.of(by_id, Stand.of(newest))
        return merge_queue.plan(facts, slots)

    def _queue_lines(
        self,
        tx: Transaction,
        queue: Sequence[MergeRequest],
        lands_next: Sequence[MergeRequestId],
        stored: Sequence[TrialRecord],
        measured: Pace,
    ) -> list[QueueLine]:
        settings = self._workspace.settings
        # As long as nothing has landed nobody knows, and while the fleet is paused nothing lands.
        is_told = bool(measured.landings or measured.trials) and not paused_reason(tx)
        lands = on_the_way(tx, self._workspace, measured)
        behind = tx.graph.behind([one.task_id for one in queue])
        tries = Counter(name for one in stored for name in one.requests)
        return [
            QueueLine(
                position=position,
                id=request.id,
                task_id=request.task_id,
                title=tasks.get(tx.db, request.task_id).title,
                priority=tx.graph.effective_priority(request.task_id),
                status=merge_status(tx, request, settings),
                may_land=is_released(tx, request, settings),
                is_next=request.id in lands_next,
                behind=behind[request.task_id],
                trials=tries[request.id],
                since=request.created_at,
                expected_at=rounded(lands[request.task_id][0], tx.now)
                if is_told and lands[request.task_id][0] < UNKNOWN
                else None,
            )
            for position, request in enumerate(queue, 1)
        ]

    def _trial_line(self, tx: Transaction, trial: TrialRecord, measured: Pace) -> TrialLine:
        spent = (tx.now - trial.created_at).total_seconds()
        is_told = trial.outcome is Outcome.RUNNING and measured.of_trial < UNKNOWN
        return TrialLine(
            number=trial.number,
            requests=list(trial.requests),
            outcome=trial.outcome,
            is_full=trial.is_full,
            checks=self._check_lines(tx, trial),
            started_at=trial.created_at,
            ended_at=trial.ended_at,
            expected_at=rounded(still(measured.of_trial, spent), tx.now) if is_told else None,
        )

    def _check_lines(self, tx: Transaction, trial: TrialRecord) -> list[CheckLine]:
        said: dict[str, list[Verdict]] = {}
        if trial.tree is not None:
            for verdict in landings.verdicts_on(tx.db, trial.tree):
                said.setdefault(verdict.check, []).append(verdict)
        names = dict.fromkeys([*(one.name for one in self._checking.checks()), *said])
        missing = "still to come" if trial.outcome is Outcome.RUNNING else "not run"
        return [
            CheckLine(
                name=name,
                outcome=said[name][-1].outcome if name in said else missing,
                passed=said[name][-1].passed if name in said else None,
                seconds=said[name][-1].seconds if name in said else 0.0,
                is_flaky=len({one.passed for one in said.get(name, ())}) == 2,
            )
            for name in names
            if name in said or trial.tree is not None
        ]


def _next(plan: Plan, may_land: Collection[str]) -> list[MergeRequestId]:
    """Return what lands next: what has passed, else the first set that lands once it passes."""
    sets = [plan.land] if plan.land else [one.requests for one in plan.run if one.is_full]
    found = next((one for one in sets if one and all(name in may_land for name in one)), ())
    return [MergeRequestId(one) for one in found]


def _landed_line(tx: Transaction, landing: Landing) -> LandedLine:
    brought = list(landings.brought(tx.db, landing.number))
    return LandedLine(
        number=landing.number,
        kind=landing.kind,
        commit=landing.new,
        requests=brought,
        titles=[tasks.get(tx.db, merge_requests.get(tx.db, one).task_id).title for one in brought],
        is_green=landing.is_green,
        at=landing.finished_at or landing.created_at,
    )
