"""A session that was declared dead and comes back is told so at every tool, and does nothing."""

from pathlib import Path
from typing import Any

import pytest

from sf_mcp.core.errors import StaleLease
from sf_mcp.core.identity import SERVER
from sf_mcp.core.models import Role
from sf_mcp.service import operations
from tests.builders import Project, Worker, a_project, a_task
from tests.web.builders_server import Tools, a_session_of, in_memory, served

SESSION_ROLES = (Role.WORKER, Role.STEWARD, Role.DIRECTOR)
WORDS = "You were taken for dead at 12:16:40 UTC"

EXAMPLES: dict[str, Any] = {
    "string": "x",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "array": [],
    "object": {},
}


def an_argument(schema: dict[str, Any]) -> Any:
    """Make a value that the schema of a required parameter lets through."""
    return schema.get("enum", [None])[0] or EXAMPLES[schema["type"]]


def arguments_for(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: an_argument(schema["properties"][name]) for name in schema.get("required", [])}


def given_up(project: Project, role: Role) -> Worker:
    """Start a session of the role, and let its lease run out."""
    session = a_session_of(project, role)
    project.clock.advance(seconds=1000)
    project.services.lease_watch.expire(SERVER)
    assert project.live_lease(session.session.subject) is None
    return session


@pytest.mark.anyio
@pytest.mark.parametrize("role", SESSION_ROLES)
async def test_every_tool_of_its_role_refuses_and_says_what_happened(
    tmp_path: Path, role: Role
) -> None:
    project = a_project(tmp_path)
    a_task(project, "something to look at")
    lost = given_up(project, role)
    before = len(project.event_kinds())
    async with in_memory(project, lost.caller, role=role) as client:
        tools = (await client.list_tools()).tools
        assert len(tools) >= 6
        for tool in tools:
            words = await Tools(client).refused(tool.name, **arguments_for(tool.input_schema))
            assert WORDS in words, tool.name
            assert f"its lease on {lost.session.subject}" in words
            assert "End your turn now" in words
    assert len(project.event_kinds()) == before


@pytest.mark.parametrize("role", SESSION_ROLES)
def test_every_operation_of_its_role_refuses_it_as_well(tmp_path: Path, role: Role) -> None:
    with served(tmp_path) as server:
        lost = given_up(server.project, role)
        names = [name for name, (_, roles) in operations.OPERATIONS.items() if role in roles]
        assert names
        for name in names:
            answer = server.ask(name, token=lost.token)
            assert (answer.status, WORDS in answer.json["message"]) == (409, True), name


@pytest.mark.parametrize("role", SESSION_ROLES)
def test_its_hooks_let_it_end_and_touch_nothing(tmp_path: Path, role: Role) -> None:
    project = a_project(tmp_path)
    lost = given_up(project, role)
    events = len(project.event_kinds())
    before = project.session(lost.session.id)

    def answer(name: str, **event: object) -> dict[str, Any]:
        return project.services.hooks.answer(lost.caller, {"hook_event_name": name, **event})

    for tool in ("Bash", "Edit", "mcp__sf__write_handoff", "Read"):
        told = answer("PreToolUse", tool_name=tool)["hookSpecificOutput"]
        assert told["permissionDecision"] == "deny"
        assert WORDS in told["permissionDecisionReason"]
    assert answer("PostToolUse", tool_name="Bash") == {}
    assert answer("Stop") == {}
    assert answer("Stop", stop_hook_active=True) == {}
    assert answer("SessionEnd") == {}
    assert answer("SomethingNew") == {}
    assert project.session(lost.session.id) == before
    assert len(project.event_kinds()) == events


def test_a_worker_with_a_newer_lease_is_as_good_as_any(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    lost = given_up(project, Role.WORKER)
    with pytest.raises(StaleLease):
        lost.ask()
    with project.services.workspace.write(SERVER) as tx:
        task = project.task(lost.task_id)
        project.services.claims.grant(tx, task, lost.session.id)
    told = project.services.hooks.answer(
        lost.caller, {"hook_event_name": "PreToolUse", "tool_name": "Bash"}
    )
    assert told == {}
    lost.ask()
