"""What can be asked for by name: the one list behind `sf`, the launcher and the HTTP API.

Each name stands for one public method of a service. Identity is passed in beside the arguments.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from sf_mcp.core.errors import NotAllowed, NotFound
from sf_mcp.core.identity import LAUNCHER, Caller
from sf_mcp.core.models import Role
from sf_mcp.service import Services

LOOKING = frozenset(Role)
PLANNING = frozenset({Role.PERSON, Role.DIRECTOR})
PERSONAL = frozenset({Role.PERSON})

OPERATIONS: Mapping[str, tuple[str, frozenset[Role]]] = {
    "create_plan": ("plans.create_plan", PLANNING),
    "list_plans": ("plans.list_plans", LOOKING),
    "get_plan": ("plans.get_plan", LOOKING),
    "show_plan": ("plan_views.show_plan", LOOKING),
    "activate_plan": ("plans.activate_plan", PLANNING),
    "complete_plan": ("plans.complete_plan", PLANNING),
    "cancel_plan": ("plans.cancel_plan", PLANNING),
    "import_plan": ("importing.import_plan", PLANNING),
    "add_tasks": ("plans.add_tasks", PLANNING),
    "update_task": ("plans.update_task", PLANNING),
    "cancel_task": ("plans.cancel_task", PLANNING),
    "retry_task": ("plans.retry_task", PLANNING),
    "set_dependencies": ("plans.set_dependencies", PLANNING),
    "get_task": ("queries.get_task", LOOKING),
    "show_task": ("task_views.show_task", LOOKING),
    "show_diff": ("diffs.show_diff", LOOKING),
    "show_file_diff": ("diffs.show_file_diff", LOOKING),
    "list_tasks": ("queries.list_tasks", LOOKING),
    "dependency_tree": ("queries.dependency_tree", LOOKING),
    "why": ("queries.why", LOOKING),
    "list_questions": ("questions.list_questions", LOOKING),
    "get_question": ("questions.get_question", LOOKING),
    "answer_question": ("questions.answer_question", PLANNING),
    "set_goal": ("questions.set_goal", PERSONAL),
    "list_merge_requests": ("requests.list_merge_requests", LOOKING),
    "get_merge_request": ("requests.get_merge_request", LOOKING),
    "show_merge_request": ("merge_views.show_merge_request", LOOKING),
    "show_changes": ("branches.show_changes", LOOKING),
    "show_train": ("train_views.show_train", LOOKING),
    "approve_merge": ("requests.approve_merge", PERSONAL),
    "send_back": ("requests.send_back", PERSONAL),
    "list_snapshots": ("snapshots.list_snapshots", LOOKING),
    "get_snapshot": ("snapshots.get_snapshot", LOOKING),
    "list_sessions": ("sessions.list_sessions", LOOKING),
    "get_session": ("sessions.get_session", LOOKING),
    "read_transcript": ("transcripts.read_transcript", PERSONAL),
    "stop_session": ("sessions.stop_session", PERSONAL),
    "take_over_session": ("takeovers.take_over_session", PERSONAL),
    "give_back_session": ("takeovers.give_back_session", PERSONAL),
    "report": ("reporting.report", LOOKING),
    "cost": ("costs.cost", LOOKING),
    "fleet_status": ("fleet.fleet_status", LOOKING),
    "read_log": ("fleet.read_log", LOOKING),
    "search_log": ("fleet.search_log", LOOKING),
    "pause_fleet": ("fleet.pause_fleet", PLANNING),
    "resume_fleet": ("fleet.resume_fleet", PLANNING),
    "open_page": ("browsers.open_page", PERSONAL),
    "sign_out_browsers": ("browsers.sign_out_browsers", PERSONAL),
    "address": ("seats.address", PERSONAL),
    "report_seat": ("seats.report", PERSONAL),
    "session_started": ("sessions.started", PERSONAL),
    "session_connected": ("sessions.connected", PERSONAL),
    "session_heard": ("sessions.heard", PERSONAL),
    "session_turn_ended": ("work.turn_ended", PERSONAL),
    "session_ended": ("work.session_ended", PERSONAL),
    "take_over_context": ("work.take_over_context", PERSONAL),
}


OF_THE_LAUNCHER = frozenset(
    name for name in OPERATIONS if name.startswith("session_") or name == "take_over_context"
)
"""What the launcher reports; it acts with the token of the person who started it."""


def method(services: Services, name: str) -> Callable[..., Any]:
    """Return the service method that the name stands for.

    Raises:
        NotFound: there is no such operation.
    """
    if name not in OPERATIONS:
        raise NotFound(
            f"There is no operation {name!r}.", remedy="Use the `sf` of the server's own release."
        )
    return attrgetter(OPERATIONS[name][0])(services)


def acting(caller: Caller, name: str) -> Caller:
    """Return the caller as events should name it for this operation.

    What the launcher reports is not something that the person did.
    """
    if name in OF_THE_LAUNCHER and caller.role is Role.PERSON:
        return LAUNCHER
    return caller


def require_for_page(name: str) -> None:
    """Refuse what no page has a use for, though it is the person's.

    Raises:
        NotAllowed: it is the launcher's to report, or lets another browser in.
    """
    if name in OF_THE_LAUNCHER or name == "open_page":
        raise NotAllowed(f"A page may not ask for {name}.", remedy="Use `sf` in a terminal.")


def require(caller: Caller, name: str) -> None:
    """Refuse a caller whose role may not ask for this.

    Raises:
        NotAllowed: the operation is not for the caller's role.
    """
    if name in OPERATIONS and caller.role not in OPERATIONS[name][1]:
        raise NotAllowed(
            f"{caller.name} is a {caller.role.value} and may not ask for {name}.",
            remedy="Use the tools of your own role; only the person does this.",
        )
