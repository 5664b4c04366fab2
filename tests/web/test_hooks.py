"""What Claude Code is told at its hooks, for the session whose token its requests carry."""

import json
from collections.abc import Generator
from typing import Any

import pytest

from sf_mcp.core.models import Role
from tests.builders import Worker, a_task, a_worker
from tests.web.builders_server import Served, a_session_of, answer, served

TOOLS = ("Bash", "Edit", "Read", "mcp__stoneforge__run_checks", "mcp__stoneforge__request_merge")
ASK_DIRECTOR = "mcp__sf__ask_director"
HANDOFF = "mcp__stoneforge__write_handoff"
ASK, RESTRICT = 140_000, 160_000
"""70 and 80 % of the 200,000 tokens that a session may use by default."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


def _hook(session: Worker, server: Served, event: str, **more: Any) -> Any:
    answer = server.post("/hooks", {"hook_event_name": event, **more}, token=session.token)
    assert answer.status == 200
    return answer.json


def _a_worker(server: Served) -> Worker:
    return a_worker(server.project, a_task(server.project))


def test_a_worker_that_stops_without_an_outcome_is_told_what_is_missing_twice(
    server: Served,
) -> None:
    worker = _a_worker(server)
    first = _hook(worker, server, "Stop", stop_hook_active=False)
    assert first["decision"] == "block"
    assert first["reason"].startswith(f"Your task {worker.task_id} has no outcome yet.")
    for tool in ("request_merge", "write_handoff", "ask_director", "release_task"):
        assert tool in first["reason"]
    assert _hook(worker, server, "Stop", stop_hook_active=True) == first
    assert _hook(worker, server, "Stop", stop_hook_active=True) == {}
    assert _hook(worker, server, "Stop", stop_hook_active=False) == {}


@pytest.mark.parametrize(
    ("role", "words"),
    [
        (Role.STEWARD, ("approve_merge", "send_back", "escalate")),
        (Role.DIRECTOR, ("answer_question", "escalate")),
    ],
)
def test_others_are_told_what_is_missing_too(
    server: Served, role: Role, words: tuple[str, ...]
) -> None:
    worker = _a_worker(server)
    question = worker.ask()
    session = a_session_of(server.project, role, question.id if role is Role.DIRECTOR else "")
    told = _hook(session, server, "Stop")
    assert told["decision"] == "block"
    assert all(word in told["reason"] for word in words)


@pytest.mark.parametrize("outcome", ["released", "asked"])
def test_a_worker_with_an_outcome_may_stop(server: Served, outcome: str) -> None:
    worker = _a_worker(server)
    if outcome == "released":
        server.project.services.claims.release_task(worker.caller, reason="no")
    else:
        worker.ask()
    assert _hook(worker, server, "Stop") == {}


def test_a_turn_may_stop_for_an_answer_that_came_meanwhile(server: Served) -> None:
    """The launcher tells it then: what a hook says may reach nobody, and nobody would know."""
    worker = _a_worker(server)
    question = worker.ask("Which one?")
    answer(server.project, question.id, "The left one.")
    for _ in range(2):
        assert _hook(worker, server, "Stop") == {}
    told = server.ask("session_turn_ended", session_id=worker.session.id, turn=1).json
    assert (told["step"], told["message"]) == (
        "continue",
        f"{question.id} was answered by person: The left one.",
    )


def test_a_result_with_the_answer_counts_once_the_client_says_that_it_has_it(
    server: Served,
) -> None:
    worker = _a_worker(server)
    question = worker.ask("Which one?")
    answer(server.project, question.id, "The left one.")
    result = {"question": question.id, "status": "answered", "answer": "The left one."}
    nothings: list[Any] = [None, "", "[", "x" * 100, [], {**result, "status": "pending"}]
    for nothing in [*nothings, {"a": result}]:
        _hook(worker, server, "PostToolUse", tool_name=ASK_DIRECTOR, tool_response=nothing)
        assert server.project.question(question.id).delivered_at is None
    told = json.dumps(result)
    _hook(worker, server, "PostToolUse", tool_name="mcp__sf__get_task", tool_response=told)
    assert server.project.question(question.id).delivered_at is None
    _hook(worker, server, "PostToolUse", tool_name=ASK_DIRECTOR, tool_response=told)
    seen = server.project.question(question.id)
    assert (seen.delivered_at is not None, seen.acknowledged_at) == (True, None)
    _hook(worker, server, "SessionEnd")  # comes of a killed client too
    assert server.project.question(question.id).acknowledged_at is None
    _hook(worker, server, "PreToolUse", tool_name="Bash")
    assert server.project.question(question.id).acknowledged_at is not None


def test_below_the_first_threshold_hooks_say_nothing(server: Served) -> None:
    worker = _a_worker(server)
    worker.hear(tokens=ASK - 1)
    for tool in TOOLS:
        assert _hook(worker, server, "PreToolUse", tool_name=tool) == {}
        assert _hook(worker, server, "PostToolUse", tool_name=tool) == {}


def test_above_the_first_threshold_the_handoff_is_asked_for_after_each_tool(
    server: Served,
) -> None:
    worker = _a_worker(server)
    worker.hear(tokens=ASK)
    assert _hook(worker, server, "PreToolUse", tool_name="Bash") == {}
    told = _hook(worker, server, "PostToolUse", tool_name="Bash")["hookSpecificOutput"]
    assert told["hookEventName"] == "PostToolUse"
    assert "140,000 tokens" in told["additionalContext"]
    assert "write_handoff" in told["additionalContext"]


def test_above_the_second_threshold_only_the_handoff_is_allowed(server: Served) -> None:
    worker = _a_worker(server)
    worker.hear(tokens=RESTRICT)
    for tool in TOOLS:
        told = _hook(worker, server, "PreToolUse", tool_name=tool)["hookSpecificOutput"]
        assert told["hookEventName"] == "PreToolUse"
        assert told["permissionDecision"] == "deny"
        assert "write_handoff" in told["permissionDecisionReason"]
    assert _hook(worker, server, "PreToolUse", tool_name=HANDOFF) == {}
    worker.hear(tokens=RESTRICT - 1)
    assert _hook(worker, server, "PreToolUse", tool_name="Bash") == {}


def test_after_the_handoff_nothing_more_is_asked(server: Served) -> None:
    worker = _a_worker(server)
    worker.hear(tokens=RESTRICT)
    assert _hook(worker, server, "PostToolUse", tool_name=HANDOFF) == {}


@pytest.mark.parametrize("role", [Role.STEWARD, Role.DIRECTOR])
def test_only_workers_hand_off(server: Served, role: Role) -> None:
    session = a_session_of(server.project, role)
    session.hear(tokens=RESTRICT)
    assert _hook(session, server, "PreToolUse", tool_name="Read") == {}
    assert _hook(session, server, "PostToolUse", tool_name="Read") == {}


@pytest.mark.parametrize(
    "event",
    [
        {"hook_event_name": "SessionStart"},
        {"hook_event_name": "Notification", "message": "hello"},
        {"hook_event_name": "SomethingNew"},
        {"hook_event_name": ["Stop"]},
        {"hook_event_name": None},
        {"hook_event_name": "PreToolUse"},
        {"hook_event_name": "PreToolUse", "tool_name": {"a": 1}},
        {},
    ],
)
def test_other_events_are_let_pass(server: Served, event: dict[str, Any]) -> None:
    worker = _a_worker(server)
    reply = server.post("/hooks", event, token=worker.token)
    assert (reply.status, reply.json) == (200, {})


def test_the_persons_own_session_is_never_held_back(server: Served) -> None:
    for event in ("Stop", "PreToolUse", "PostToolUse"):
        reply = server.post("/hooks", {"hook_event_name": event, "tool_name": "Bash"})
        assert (reply.status, reply.json) == (200, {})
