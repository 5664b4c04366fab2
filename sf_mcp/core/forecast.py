"""When each unfinished task is expected to start, to be handed in and to land. Pure.

List scheduling (R. L. Graham, "Bounds for Certain Multiprocessing Anomalies", Bell System Technical
Journal 45, 1966), which is how the fleet starts its work: whenever a slot is free, the first task
in ready order of which every dependency has landed takes it. All is over no later than the work
divided by the slots, and the longest chain after that. By the same paper one slot more may now and
then make an end later; that is no error of the forecast, the fleet itself would do so.

How long a task takes is what others took: the median of what was measured, scaled by the estimates
where there are some. Where too little was measured the estimate counts as it is, then what is usual
in the plan; and where there is nothing of all this the answer is that nobody knows.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from heapq import heappop, heappush
from statistics import median, quantiles
from typing import Any

from sf_mcp.core.models import PlanId, TaskId

FEW = 3
"""Measurements with which a median begins to say something."""

LEAST_SHARE = 0.25
"""Of what a task usually takes, at least so much is still to come: of one that takes longer than
others nobody knows how much longer."""

UNMEASURED_SPREAD = 0.5, 2.0
WIDEST_SPREAD = 0.25, 4.0
"""How much earlier and later than forecast it may become, as shares of the time from now."""

UNKNOWN = math.inf


# -- how long --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """How long sessions have worked on one task that has landed."""

    plan_id: PlanId
    estimate_minutes: float | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What was measured so far, in seconds."""

    worked: Sequence[Worked] = ()
    landings: Sequence[float] = ()
    """From the request to merge to the landing, of each that has landed: checks, review, train."""
    trials: Sequence[float] = ()
    """How long checking a set of merge requests took."""
    estimates: Mapping[PlanId, float] | None = None
    """The median of the estimates in each plan that has any, in minutes."""

    def of_work(self, plan_id: PlanId, estimate_minutes: float | None) -> float:
        """Return how long a task takes in all; `UNKNOWN` where nothing says so."""
        if estimate_minutes is not None:
            ratio = self._ratios()
            scale = median(ratio) if len(ratio) >= FEW else 1.0
            return estimate_minutes * 60 * scale
        of_plan = [one.seconds for one in self.worked if one.plan_id == plan_id]
        everything = [one.seconds for one in self.worked]
        for measured in (of_plan, everything):
            if len(measured) >= FEW:
                return median(measured)
        if plan_id in (self.estimates or {}):
            return self.of_work(plan_id, (self.estimates or {})[plan_id])
        return median(of_plan or everything) if everything else UNKNOWN

    @property
    def of_landing(self) -> float:
        """Return how long it takes from the request to merge; nothing, while none has landed."""
        return median(self.landings or self.trials or (0.0,))

    @property
    def of_trial(self) -> float:
        """Return how long checking a set takes; `UNKNOWN` before any was."""
        return median(self.trials) if self.trials else UNKNOWN

    @property
    def spread(self) -> tuple[float, float]:
        """Return how far off a forecast may be: factors below and above 1."""
        measured = self._ratios()
        if len(measured) < FEW:
            measured = [one.seconds for one in self.worked]
        if len(measured) < FEW or not median(measured):
            return UNMEASURED_SPREAD
        low, middle, high = quantiles(measured, n=4)
        least, most = WIDEST_SPREAD
        return max(least, min(1.0, low / middle)), min(most, max(1.0, high / middle))

    @property
    def basis(self) -> str:
        """Return what it rests on, in words."""
        count = len(self.worked)
        if count < FEW:
            return "by the estimates; too little has been measured yet"
        return f"by what {count} tasks took"

    def _ratios(self) -> list[float]:
        return [
            one.seconds / (one.estimate_minutes * 60) for one in self.worked if one.estimate_minutes
        ]


def still(usual: float, spent: float) -> float:
    """Return how much is still to come of what usually takes so long and has taken so long."""
    return max(usual - spent, usual * LEAST_SHARE)


# -- in which order --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One unfinished task; times in seconds from now."""

    id: TaskId
    order: tuple[Any, ...]
    """Its place in the ready order: the least starts first."""
    after: tuple[TaskId, ...] = ()
    """What must have landed before; one that is not among the jobs never does."""
    work: float = UNKNOWN
    """What it still needs a slot for."""
    landing: float = 0.0
    """From the end of the work to the landing."""
    earliest: float = 0.0
    """It does not start before; `UNKNOWN`: until somebody says so."""
    has_slot: bool = False
    """It is being worked on."""
    is_handed_in: bool = False
    """It needs no slot any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """When a task starts, is handed in and has landed, in seconds from now; or `UNKNOWN`."""

    start: float = UNKNOWN
    end: float = UNKNOWN
    landed: float = UNKNOWN


class _Then(IntEnum):
    """What happens at a moment; slots are given away after all of it."""

    LANDED = 0
    SLOT_IS_FREE = 1
    MAY_START = 2


def schedule(jobs: Iterable[Job], slots: int) -> dict[TaskId, Outlook]:
    """Return the outlook of every job, with so many worked on at once.

    What hangs on something unknown is unknown, and so is what finds no slot because of it. Takes
    time in proportion to the jobs and what they wait for, but for the logarithm of the heaps.
    """
    by_id = {job.id: job for job in jobs}
    found = dict.fromkeys(by_id, Outlook())
    missing = {job.id: len(job.after) for job in by_id.values()}
    followers: dict[TaskId, list[Job]] = {}
    for job in by_id.values():
        for one in job.after:
            followers.setdefault(one, []).append(job)
    ready: list[tuple[tuple[Any, ...], TaskId]] = []
    coming: list[tuple[float, _Then, TaskId]] = []
    free = slots

    def begin(job: Job, at: float) -> None:
        end = at + (0.0 if job.is_handed_in else job.work)
        found[job.id] = Outlook(start=at, end=end, landed=end + job.landing)
        if not job.is_handed_in and end < UNKNOWN:
            heappush(coming, (end, _Then.SLOT_IS_FREE, job.id))
        if end + job.landing < UNKNOWN:
            heappush(coming, (end + job.landing, _Then.LANDED, job.id))

    def release(job: Job, at: float) -> None:
        if job.earliest <= at:
            heappush(ready, (job.order, job.id))
        elif job.earliest < UNKNOWN:
            heappush(coming, (job.earliest, _Then.MAY_START, job.id))

    for job in by_id.values():
        if job.has_slot or job.is_handed_in:
            free -= job.has_slot
            begin(job, 0.0)
        elif not job.after:
            release(job, 0.0)
    now = 0.0
    while True:
        while coming and coming[0][0] <= now:
            _, then, task_id = heappop(coming)
            match then:
                case _Then.SLOT_IS_FREE:
                    free += 1
                case _Then.MAY_START:
                    heappush(ready, (by_id[task_id].order, task_id))
                case _Then.LANDED:
                    for follower in followers.get(task_id, ()):
                        missing[follower.id] -= 1
                        if missing[follower.id] == 0 and not follower.has_slot:
                            release(follower, now)
        while ready and free > 0:
            free -= 1
            begin(by_id[heappop(ready)[1]], now)
        if not coming:
            return found
        now = coming[0][0]


# -- in words --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """When something is expected, as a time and in words."""

    at: datetime | None
    words: str


def expected(seconds: float, now: datetime, pace: Pace) -> Expected:
    """Return a known time from now as people say it, and between which times it may really be."""
    least, most = pace.spread
    at = rounded(seconds, now)
    early, late = rounded(seconds * least, now), rounded(seconds * most, now)
    between = "" if early == late else f", between {clock(early, now)} and {clock(late, now)}"
    return Expected(at=at, words=f"about {clock(at, now)} UTC{between} ({pace.basis})")


def rounded(seconds: float, now: datetime) -> datetime:
    """Return the time so many seconds from now, rounded up to what can be said of it."""
    hours = seconds / 3600
    step = timedelta(minutes=5 if hours <= 2 else 15 if hours <= 12 else 60)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    since = now + timedelta(seconds=seconds) - midnight
    return midnight + math.ceil(since / step) * step


def clock(at: datetime, now: datetime) -> str:
    """Return a time of today as `14:20`, of another day with its date."""
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"
