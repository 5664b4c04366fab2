"""What the train plans from, read from the store each time: the queue, moves and trials.

A stored trial counts only as long as it says something of the requests and the checks as they are
now. What has passed is asked of the tree itself, once more.
"""

import logging
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from sf_mcp.core import merge_queue
from sf_mcp.core.errors import GitRefused
from sf_mcp.core.merge_queue import Outcome, Queued
from sf_mcp.core.models import MergeRequest, Oid, TrialRecord
from sf_mcp.core.states import MergeState
from sf_mcp.core.verdicts import condemning
from sf_mcp.service import conflict_state
from sf_mcp.service.checking import Checking
from sf_mcp.service.merge_status import is_released
from sf_mcp.service.radar import RadarService
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.trials import Stand
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import landings, merge_requests, trials

logger = logging.getLogger(__name__)

MOST_TRIALS, MOST_LANDINGS = 1000, 200
"""How far back the facts reach that are planned from."""


class TrainFacts:
    """Reads the facts of one project."""

    def __init__(self, workspace: Workspace, checking: Checking, radar: RadarService) -> None:
        """Read of this project."""
        self._workspace = workspace
        self._checking = checking
        self._radar = radar

    def of(
        self, by_id: Mapping[str, MergeRequest], stand: Stand
    ) -> tuple[merge_queue.Facts, list[TrialRecord]]:
        """Return what is planned from, and the trials among it as they are stored."""
        conflicts = self._pairs_in_conflict(by_id)
        with self._workspace.read() as tx:
            settings = self._workspace.settings
            stored = trials.newest(tx.db, MOST_TRIALS)
            began = [one.created_at for one in stored]
            of_task = {request.task_id: request.id for request in by_id.values()}
            queue: list[Queued] = []
            for request in by_id.values():
                unmet = tx.graph.unmet(request.task_id)
                if any(task not in of_task for task in unmet):
                    continue
                may_land = is_released(tx, request, settings)
                queue.append(
                    Queued(
                        id=request.id,
                        after=frozenset(of_task[task] for task in unmet),
                        conflicts=conflicts.get(request.id, frozenset()),
                        may_land=may_land,
                        # One that waits for the person is verified again as the target moves.
                        wants_verdict=request.checked_tree is None
                        or not settings.agents.steward.auto_merge,
                        since=_number_before(stored, bisect_left(began, request.created_at)),
                    )
                )
            landed = [
                merge_queue.Landed(
                    number=one.number, requests=tuple(landings.brought(tx.db, one.number))
                )
                for one in landings.newest(tx.db, MOST_LANDINGS)
            ]
        records = [one for one in stored if self._still_holds(one, by_id, stand)]
        return (
            merge_queue.Facts(
                queue=tuple(queue),
                landed=tuple(landed),
                trials=tuple(
                    merge_queue.Trial(
                        number=one.number,
                        base=one.base,
                        requests=tuple(one.requests),
                        outcome=one.outcome,
                        is_full=one.is_full,
                    )
                    for one in records
                ),
            ),
            records,
        )

    def _pairs_in_conflict(self, by_id: Mapping[str, MergeRequest]) -> dict[str, frozenset[str]]:
        try:
            pinned = {request.id: request.commit for request in by_id.values()}
            found = self._radar.conflicting(pinned)
        except GitRefused as error:
            # Without it the trials find out by themselves, more slowly.
            logger.warning("The radar could not look: %s", error)
            return {}
        return {one: frozenset(map(str, others)) for one, others in found.items()}

    def _still_holds(
        self, record: TrialRecord, by_id: Mapping[str, MergeRequest], stand: Stand
    ) -> bool:
        """Return whether a stored trial says something of the requests and checks as they are."""
        pinned = zip(record.requests, record.commits, strict=True)
        if any(name in by_id and by_id[name].commit != commit for name, commit in pinned):
            return False
        if not any(name in by_id for name in record.requests):
            return True  # of the past: it tells how often trials fail
        if record.outcome is Outcome.PASSED and record.is_full and record.tree is not None:
            return self.is_verified(record.tree, stand)
        if record.outcome is Outcome.FAILED:
            commands = {
                (check.name, self._checking.identity(check)) for check in self._checking.checks()
            }
            return any((one["check"], one["command"]) in commands for one in record.condemned)
        return True

    def is_verified(self, tree: Oid, stand: Stand) -> bool:
        """Return whether every present check has passed on the tree, or fails on the target too."""
        known = self._checking.known(tree)
        if any(check.name not in known for check in self._checking.checks()):
            return False
        if all(one.passed for one in known.values()):
            return True
        judged = condemning(known, self._checking.known(stand.tree))
        return judged.is_final and not judged.condemned and not judged.held

    def is_green(self, tree: Oid) -> bool | None:
        """Return whether every check passed on the tree; None when one has not run, or is none."""
        known = self._checking.known(tree)
        checks = self._checking.checks()
        if not checks or any(check.name not in known for check in checks):
            return None
        return all(known[check.name].passed for check in checks)


def in_line(tx: Transaction) -> list[MergeRequest]:
    """Return the open merge requests that are not in conflict, first to land first."""
    found = [
        one
        for one in merge_requests.in_state(tx.db, MergeState.OPEN)
        if not conflict_state.is_open(tx, one)
    ]
    return sorted(
        found, key=lambda one: (tx.graph.effective_priority(one.task_id), int(one.id[1:]))
    )


def _number_before(stored: Sequence[TrialRecord], place: int) -> int:
    return stored[place - 1].number if place else 0
