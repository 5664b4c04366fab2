"""Why work that is handed in has not landed yet, and how what has landed did."""

from collections.abc import Mapping
from dataclasses import replace

from sf_mcp.core.merge_queue import Outcome
from sf_mcp.core.models import Landing, MergeRequest, Oid, TrialRecord
from sf_mcp.core.states import MergeState, TaskState
from sf_mcp.core.text import one_line
from sf_mcp.service.check_notes import FEW_NAMES
from sf_mcp.service.conflict_state import STEWARD_RESOLVES
from sf_mcp.service.look import Finder, Look, Reason, but_held, clock, few, fleet_hold, sign_of
from sf_mcp.service.merge_status import WAITING_FOR_REVIEW, is_released, merge_status
from sf_mcp.service.pauses import paused_reason
from sf_mcp.service.train_facts import in_line
from sf_mcp.store import conflicts, facts, landings, leases, merge_requests, sessions
from sf_mcp.store import trials as trial_rows

MOST_TRIALS = 3
"""That are told of, the newest."""
MOST_TREES = 20
"""In which flakes are looked for."""


def _not_merged(look: Look, request: MergeRequest, more: str = "") -> Reason:
    status = merge_status(look.tx, request, look.settings)
    return Reason(
        sentence=f"{look.task.id} is not merged: {request.id} is {status}{more}.",
        step=f"sf mr show {request.id}",
        facts=facts_of(look, request),
    )


def _request(look: Look) -> MergeRequest:
    request = merge_requests.live_of_task(look.tx.db, look.task.id)
    assert request is not None  # a task in review has one: both change in one transaction
    return request


def _steward_words(look: Look, request: MergeRequest, doing: str) -> str:
    """Return which steward is at it, as the end of a sentence; empty when none is."""
    if (lease := leases.live_on(look.tx.db, request.id)) is None:
        return ""
    steward = sessions.get(look.tx.db, lease.session_id)
    sign = sign_of(steward, look.tx.now)
    return f"; {steward.name} {doing} it since {clock(lease.granted_at)}, {sign}"


def _is_in_conflict(look: Look) -> Reason | None:
    request = _request(look)
    if (conflict := conflicts.live_of(look.tx.db, request.id)) is None:
        return None
    more = _steward_words(look, request, "is resolving")
    found = _not_merged(look, request, more)
    said = tuple(one_line(one, 200) for one in conflict.messages[:FEW_NAMES])
    found = replace(found, facts=found.facts + said)
    if request.is_escalated:
        return replace(
            found,
            step=f'sf mr approve {request.id} --reason "…"',
            changes=(f'Give it back to a worker: sf mr reject {request.id} --reason "…"',),
        )
    hold = None if more else fleet_hold(look)
    assert STEWARD_RESOLVES in found.sentence  # else the status names somebody else
    return but_held(found, hold)


def _cannot_be_checked(look: Look) -> Reason | None:
    request = _request(look)
    if not request.held:
        return None
    found = _not_merged(look, request, "; it is tried again each minute")
    return replace(found, changes=("Install or mend what the check starts: sf config check",))


def _is_not_checked(look: Look) -> Reason | None:
    request = _request(look)
    if request.checked_tree is not None or request.no_changes_reason:
        return None
    return _paused(look, _not_merged(look, request, _in_the_train(look, request)))


def _waits_for_a_review(look: Look) -> Reason | None:
    request = _request(look)
    if merge_status(look.tx, request, look.settings) != WAITING_FOR_REVIEW:
        return None
    more = _steward_words(look, request, "reviews")
    found = _not_merged(look, request, more)
    found = replace(found, changes=(f"Decide yourself: sf mr approve {request.id}",))
    return found if more else but_held(found, fleet_hold(look))


def _waits_for_the_person(look: Look) -> Reason | None:
    request = _request(look)
    if is_released(look.tx, request, look.settings):
        return None
    return replace(
        _not_merged(look, request),
        step=f"sf mr approve {request.id}",
        changes=(
            f"Look at it first: sf mr show {request.id}",
            f'Send it back: sf mr reject {request.id} --reason "…"',
        ),
    )


def _is_next_to_land(look: Look) -> Reason:
    request = _request(look)
    if request.state is MergeState.LANDING:
        return _not_merged(look, request)
    waits = [one.id for one in in_line(look.tx) if one.task_id in look.tx.graph.unmet(look.task.id)]
    after = f", after {few(waits)}" if waits else ""
    return _paused(look, _not_merged(look, request, after + _in_the_train(look, request)))


def _paused(look: Look, reason: Reason) -> Reason:
    """Return the reason, and that the train rests while the fleet is paused."""
    return but_held(reason, fleet_hold(look)) if paused_reason(look.tx) else reason


def _in_the_train(look: Look, request: MergeRequest) -> str:
    """Return what the train does with it, as the end of a sentence."""
    if look.running is None:
        return "; nothing is checked and nothing lands, since no server is running (sf serve)"
    found = _trials_of(look, request)
    running = [
        one for one in found if one.outcome is Outcome.RUNNING and one.number in look.running
    ]
    if running:
        return f"; {_under_way(look, running[-1], request)}"
    position = [one.id for one in in_line(look.tx)].index(request.id) + 1
    slots = look.settings.merge.parallel_checks
    used = min(len(look.running), slots)
    return f"; number {position} in line, {used} of {slots} check slots taken"


def _under_way(look: Look, trial: TrialRecord, request: MergeRequest) -> str:
    others = [one for one in trial.requests if one != request.id]
    beside = f" with {few(others)}" if others else ""
    said = {one.check: one for one in landings.verdicts_on(look.tx.db, trial.tree or Oid(""))}
    missing = [one.name for one in look.settings.checks if one.name not in said]
    still = f", {few(missing)} still to come" if missing else ""
    return f"trial {trial.number}{beside} runs since {clock(trial.created_at)}{still}"


# -- facts -----------------------------------------------------------------------------------------


def _trials_of(look: Look, request: MergeRequest) -> list[TrialRecord]:
    """Return the trials of what is pinned now, oldest first."""
    found = trial_rows.of_request(look.tx.db, request.id)
    return [
        one
        for one in found
        if dict(zip(one.requests, one.commits, strict=True))[request.id] == request.commit
    ]


def facts_of(look: Look, request: MergeRequest) -> tuple[str, ...]:
    """Return what there is to say of a merge request: who asked, trials, flakes, the target."""
    asked_by = sessions.get(look.tx.db, request.session_id).name
    said = [f"{request.id} asked for by {asked_by} at {clock(request.created_at)}"]
    found = _trials_of(look, request)
    said += [_trial_words(one) for one in found if one.outcome is not Outcome.RUNNING][
        -MOST_TRIALS:
    ]
    said += _flakes(look, found)
    said += [
        f"{review.by} approved at {clock(review.created_at)}"
        for review in merge_requests.reviews_of(look.tx.db, request)
        if review.approved
    ]
    newest = landings.newest_done(look.tx.db)
    if newest is not None and newest.is_green is False:
        said.append("the target itself is red; what leaves it so still lands")
    return tuple(said)


def _trial_words(trial: TrialRecord) -> str:
    words = f"trial {trial.number} of {few(list(trial.requests))}: {trial.outcome.value}"
    condemned = few([f"{one['check']} {one['outcome']}" for one in trial.condemned])
    return f"{words} ({condemned})" if condemned else words


def _flakes(look: Look, found: list[TrialRecord]) -> list[str]:
    """Return the checks that contradicted themselves on a tree with this work in it."""
    counts: dict[str, int] = {}
    for tree in list(dict.fromkeys(one.tree for one in found if one.tree))[-MOST_TREES:]:
        said: dict[str, set[bool]] = {}
        for verdict in landings.verdicts_on(look.tx.db, tree):
            said.setdefault(verdict.check, set()).add(verdict.passed)
        for check, outcomes in said.items():
            counts[check] = counts.get(check, 0) + (len(outcomes) == 2)
    return [
        f"check {check} is flaky: it passed and failed on the same tree, on {count} "
        f"{'tree' if count == 1 else 'trees'} with this work"
        for check, count in counts.items()
        if count
    ]


# -- landed ----------------------------------------------------------------------------------------


def _has_landed(look: Look) -> Reason | None:
    request = merge_requests.newest_of_task(look.tx.db, look.task.id)
    landing = landings.of_request(look.tx.db, request.id) if request is not None else None
    if request is None or landing is None or request.landed_commit is None:
        return None
    beside = [one for one in landings.brought(look.tx.db, landing.number) if one != request.id]
    together = f", together with {few(beside)}" if beside else ""
    at = landing.finished_at or landing.created_at
    state = facts.get(look.tx.db, "checkout") or "up to date"
    remedy = facts.get(look.tx.db, "checkout_remedy") or ""
    is_there = state == "up to date" or _is_published(look, landing)
    rest = "nothing is missing" if is_there else f"your checkout does not have it yet: {state}"
    push = facts.get(look.tx.db, "told_push_failed") if look.settings.merge.push else ""
    return Reason(
        sentence=f"{look.task.id} is {look.task.state.value}: {request.id} landed as "
        f"{request.landed_commit[:12]} at {at:%Y-%m-%d %H:%M} UTC{together}; {rest}.",
        step="" if is_there else remedy,
        facts=(*_flakes(look, _trials_of(look, request)), *([push] if push else [])),
    )


def _is_published(look: Look, landing: Landing) -> bool:
    """Return whether the person's branch was seen where this landing or a later one brought it."""
    had = facts.get(look.tx.db, "had_person")
    seen = landings.bringing_to(look.tx.db, Oid(had)) if had else None
    return seen is not None and seen.number >= landing.number


def _is_done(look: Look) -> Reason:
    request = merge_requests.newest_of_task(look.tx.db, look.task.id)
    why = f": {one_line(request.no_changes_reason, 300)}" if request is not None else ""
    return Reason(
        sentence=f"{look.task.id} is {look.task.state.value}; nothing is missing.",
        facts=(f"there was nothing to merge{why}",) if why.strip(": ") else (),
    )


SINCE_REVIEW: Mapping[TaskState, tuple[Finder, ...]] = {
    TaskState.IN_REVIEW: (
        _is_in_conflict,
        _cannot_be_checked,
        _is_not_checked,
        _waits_for_a_review,
        _waits_for_the_person,
        _is_next_to_land,
    ),
    TaskState.MERGED: (_has_landed, _is_done),
    TaskState.CLOSED: (_is_done,),
}
