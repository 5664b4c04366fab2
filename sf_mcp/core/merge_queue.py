"""The merge queue's planner: what to check next, what to land now, what proves itself bad.

Pure and without memory: it is given the queue and the stored facts at every event and plans anew,
so that the same facts give the same plan. It decides what is *worth* checking. What may land is not
its word alone: the train lands nothing whose exact tree has not passed.

A short queue is a speculative chain, each request on top of those ahead of it (Zuul's dependent
pipeline). In a long one fresh requests are screened in groups so large that about every second one
passes, when a check tells the most (a batch as bors has them, but sized by what history says), and
each on top of what is most likely to land, so that what passes lands without a second check. What
passed beside that is vetted and lands together. What failed is halved: once its first half is found
bad, the second is as good as any other (binary splitting: Hwang, 1972; Gallager's reading of it as
a search tree). When requests that all passed before fail together they break one another, and the
set is halved likewise, on top of what lands.

How near that comes to the limit: no way of checking lands more than `slots * (1 - p) / H(p)` per
check time at a bad rate of `p`, each check telling one bit at most. The rule that a failure repeats
before it condemns takes up to two checks for each bad request off that. `train_sim` among the
benchmarks measures what is left: 50 to 60 % of the limit at 2 to 8 slots. What was tried and did
not help: groups on the bare target instead of on what will land (4.4 instead of 4.8 landed per
check time at 4 slots and 5 % bad), splitting where the halves pass equally likely (4.6), landing
whatever passes at once although a larger set under way becomes worthless by it (4.6, and at 16
slots 6.9 instead of 10.8).
"""

from sf_mcp.core.merge_facts import (
    Facts,
    Landed,
    Outcome,
    Plan,
    Queued,
    RequestSet,
    Trial,
    Wanted,
)
from sf_mcp.core.trial_choice import Board
from sf_mcp.core.trial_evidence import FAILURES_THAT_EVICT, Evidence, Tried, read

__all__ = [
    "FAILURES_THAT_EVICT",
    "Facts",
    "Landed",
    "Outcome",
    "Plan",
    "Queued",
    "RequestSet",
    "Trial",
    "Wanted",
    "plan",
]

PATIENCE = 24
"""Trials of one request after which nothing lands before it is decided."""


def plan(facts: Facts, slots: int) -> Plan:
    """Return what should happen now, with at most `slots` sets being checked at once."""
    found = read(facts)
    # A landing or an eviction changes the facts: until the plan after it, all goes on as it is.
    as_it_is = tuple(one.trial.number for one in found.running)
    if evict := tuple(one for one in found.queue if one in found.condemned):
        return Plan(evict=evict, go_on=as_it_is)
    due = _due(found)
    land = _longest_that_passed(found, due)
    if land and (due is not None or not _is_outdone(found, land, slots)):
        return Plan(land=land, go_on=as_it_is)
    board = Board(found, facts, slots, land)
    for one in found.running:
        if len(board.chosen) < slots and _matters(found, one):
            board.keep(one)
    if due and len(board.chosen) < slots:
        board.add_alone(due)
    while len(board.chosen) < slots and board.add_next():
        pass
    return Plan(run=tuple(board.chosen), go_on=tuple(board.kept), start=tuple(board.start))


def _longest_that_passed(found: Evidence, due: str | None) -> RequestSet:
    """Return what to land: on equal lengths the first in the queue's order."""
    places = {one: place for place, one in enumerate(found.queue)}
    best: RequestSet = ()
    for requests in found.passed:
        if not requests or (due and due not in requests) or not found.can_land(requests):
            continue
        if (len(requests), [-places[one] for one in requests]) > (
            len(best),
            [-places[one] for one in best],
        ):
            best = requests
    return best


def _is_outdone(found: Evidence, land: RequestSet, slots: int) -> bool:
    """Return whether more is likely to land soon that a landing now would make worthless.

    Only trials that began before or soon after its own count, so that it lands in the end.
    """
    return any(
        one.is_here
        and one.trial.number <= found.passed[land] + 2 * slots
        and one.rest[: len(land)] != land
        and one.trial.is_full
        and found.can_land(one.rest)
        and not found.must_fail(one.rest)
        and found.chance(one.rest) * len(one.rest) > len(land)
        for one in found.running
    )


def _due(found: Evidence) -> str | None:
    """Return the first request that has been tried too often: it must be decided now."""
    for one in found.queue.values():
        if (
            found.tries.get(one.id, 0) >= PATIENCE
            and one.may_land
            and one.id not in found.stuck
            and not any(other in found.queue for other in one.after)
        ):
            return one.id
    return None


def _matters(found: Evidence, one: Tried) -> bool:
    """Return whether a running trial can still tell something, or land."""
    rest = one.rest
    if not rest or any(request not in found.queue for request in rest):
        return False
    if any(request in found.doubted for request in rest):
        return len(rest) == 1
    if one.is_here:
        return not found.must_fail(rest) and rest not in found.passed
    return any(request not in found.vetted or not found.queue[request].may_land for request in rest)
