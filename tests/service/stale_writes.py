"""Everything that a session can ask to be changed, tried by one that has been given up.

What each role may ask for is what its tools ask for. `UNCHECKED` names what is left out, and why;
a service method that is in neither is noticed.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Oid, Role
from sf_mcp.service import Services
from sf_mcp.service.drafts import TaskDraft

A_COMMIT = Oid("1" * 40)
WORKER: Mapping[str, Mapping[str, Any]] = {
    "claims.claim_task": {},
    "claims.held_task": {},
    "claims.report_progress": {"message": "m"},
    "claims.release_task": {"reason": "r"},
    "claims.record_handoff": {
        "progress": "p",
        "remaining": "r",
        "decisions": "",
        "pitfalls": "",
        "next_step": "n",
        "commit": None,
        "snapshot": None,
    },
    "work.claim": {},
    "work.handoff_facts": {},
    "branches.merge_facts": {"no_changes_reason": ""},
    "branches.check_conflicts": {},
    "questions.ask_director": {"question": "which?"},
    "requests.open_request": {"commit": A_COMMIT, "base": A_COMMIT, "branch": "b", "summary": "s"},
    "plans.propose_task": {"title": "more"},
}
STEWARD: Mapping[str, Mapping[str, Any]] = {
    "requests.claimed_review": {},
    "requests.approve_merge": {},
    "requests.send_back": {"reason": "no"},
    "requests.escalate_review": {"note": "n"},
    "resolutions.claimed_conflict": {"room": 1000},
    "resolutions.checked": {"summary": "s", "dropped": (), "decided": ()},
    "resolutions.accept": {"resolution": None},
}
DIRECTOR: Mapping[str, Mapping[str, Any]] = {
    "plans.create_plan": {"title": "another"},
    "plans.activate_plan": {"plan": "P1"},
    "plans.complete_plan": {"plan": "P2"},
    "plans.cancel_plan": {"plan": "P1"},
    "plans.add_tasks": {"plan": "P1", "tasks": [TaskDraft(title="t")]},
    "plans.update_task": {"task": "T1", "priority": 2},
    "plans.cancel_task": {"task": "T1"},
    "plans.retry_task": {"task": "T1"},
    "plans.set_dependencies": {"task": "T3", "add": ["T4"]},
    "questions.answer_question": {"question_id": "Q1", "answer": "retry"},
    "questions.escalate": {"question_id": "Q1", "note": "n"},
    "fleet.pause_fleet": {},
    "fleet.resume_fleet": {},
}
OF_ROLE = {Role.WORKER: WORKER, Role.STEWARD: STEWARD, Role.DIRECTOR: DIRECTOR}

SERVICES = (
    "claims",
    "work",
    "branches",
    "merge_views",
    "questions",
    "requests",
    "resolutions",
    "plans",
    "fleet",
)
"""What tools call."""
UNCHECKED = {
    "branches.show_changes": "looks",
    "merge_views.show_merge_request": "looks",
    "questions.set_goal": "the person's alone",
    "work.turn_ended": "the launcher's alone",
    "work.session_ended": "the launcher's alone",
    "work.take_over_context": "the launcher's alone",
    "work.end_lost_sessions": "the server's alone",
}


def methods_with_a_caller(services: Services) -> set[str]:
    """Return every service method of `SERVICES` that looks at who calls."""
    found: set[str] = set()
    for service in SERVICES:
        for name, method in inspect.getmembers(getattr(services, service), inspect.ismethod):
            if not name.startswith("_") and "caller" in inspect.signature(method).parameters:
                found.add(f"{service}.{name}")
    return found


def refused(services: Services, caller: Caller, rows: Callable[[], object]) -> None:
    """Check that nothing which the caller's role can ask for is done, or changes anything."""
    before = rows()
    for name, arguments in OF_ROLE[caller.role].items():
        service, method = name.split(".")
        try:
            getattr(getattr(services, service), method)(caller, **arguments)
        except StoneforgeError:
            assert rows() == before, f"{name} was refused and has changed something"
        else:
            raise AssertionError(f"{caller.name}, which has been given up, may {name}")
