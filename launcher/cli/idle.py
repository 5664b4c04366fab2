"""Whether anything is left to do, from the overview: for `--until-idle`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sf_mcp.core.states import LIVE_SESSIONS, TASK_ENDS, SessionState

NEED_A_PERSON = ("waiting for your approval", "left to the person", "check ")
"""How the status of a merge request begins that goes on only when a person has done something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Working, or done, or waiting for a person because of `reasons`."""

    is_working: bool = False
    reasons: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do."""
        return not self.is_working and not self.reasons


WORKING = Judgement(is_working=True)


def judge(overview: Mapping[str, Any], running: int) -> Judgement:
    """Return what the overview says, with so many sessions running here."""
    if running or any(one["state"] in LIVE_SESSIONS for one in overview["sessions"]):
        return WORKING
    if overview["paused"]:
        # Nothing is started and nothing lands, whatever there is.
        return Judgement(reasons=(f"The fleet is paused: {overview['paused']}",))
    waiting_merges = [
        merge for merge in overview["merges"] if str(merge["status"]).startswith(NEED_A_PERSON)
    ]
    escalated = [question for question in overview["questions"] if question["escalated"]]
    if (
        overview["ready"]
        or any(one["state"] == SessionState.BACKOFF for one in overview["sessions"])
        or overview["parked_until"]
        or len(waiting_merges) < len(overview["merges"])
        or len(escalated) < len(overview["questions"])
    ):
        return WORKING
    counts: Mapping[str, int] = overview["counts"]
    reasons = [f"{merge['id']} ({merge['title']}): {merge['status']}." for merge in waiting_merges]
    reasons += [f"{question['id']} waits for you: {question['text']}" for question in escalated]
    reasons += [f"{task['id']} ({task['title']}) is stuck." for task in overview["stuck"]]
    reasons += [
        f"{plan['id']} ({plan['title']}) is a draft: sf plan activate {plan['id']}."
        for plan in overview["plans"]
        if plan["state"] == "draft" and plan["done"] < plan["total"]
    ]
    unfinished = sum(number for state, number in counts.items() if state not in TASK_ENDS)
    if unfinished and not reasons:
        told = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
        reasons.append(f"No task can be started ({told}): see `sf status`.")
    return Judgement(reasons=tuple(reasons))
