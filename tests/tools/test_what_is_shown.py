"""What each role's endpoint shows: exactly its own tools, described; resources and prompts."""

from collections.abc import Generator

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import TextContent, TextResourceContents, Tool

from sf_mcp.core.identity import PERSON, Caller
from sf_mcp.core.models import Role
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.tools.servers import INSTRUCTIONS
from tests.builders import Project, a_plan, some_tasks
from tests.web.builders_server import ERAS, Served, in_memory, over_http, served

pytestmark = pytest.mark.anyio

ALL = {"get_task", "list_tasks", "why"}
DIRECTOR = {
    "create_plan",
    "add_tasks",
    "update_task",
    "set_dependencies",
    "activate_plan",
    "cancel_plan",
    "cancel_task",
    "retry_task",
    "list_questions",
    "answer_question",
    "escalate",
    "list_merge_requests",
    "fleet_status",
    "read_log",
    "wait_for_events",
    "pause_fleet",
    "resume_fleet",
}
TOOLS = {
    Role.WORKER: ALL
    | {
        "claim_task",
        "report_progress",
        "write_handoff",
        "ask_director",
        "check_conflicts",
        "run_checks",
        "request_merge",
        "release_task",
        "propose_task",
    },
    Role.STEWARD: ALL
    | {
        "claim_review",
        "approve_merge",
        "send_back",
        "claim_conflict",
        "submit_resolution",
        "escalate",
    },
    Role.DIRECTOR: ALL | DIRECTOR,
    Role.PERSON: ALL | DIRECTOR | {"approve_merge", "send_back"},
}
"""Section 5 of the design."""

LOOKING = ALL | {
    "check_conflicts",
    "list_questions",
    "list_merge_requests",
    "fleet_status",
    "read_log",
    "wait_for_events",
}
ENDING = {"cancel_plan", "cancel_task"}
PLAIN = {
    "title",
    "description",
    "acceptance",
    "estimate_minutes",
    "paths",
    "tasks",
    "reason",
}
"""Parameters whose name says all."""

MOST_INSTRUCTION_CHARACTERS = 2_048
"""Claude Code cuts off what is beyond."""

PROMPTS = {"plan", "standup", "answer", "review"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


@pytest.fixture
def project(server: Served) -> Project:
    return server.project


def _someone(role: Role) -> Caller:
    return Caller(role=role, name=f"{role.value}-1")


async def _tools(client: Client) -> dict[str, Tool]:
    return {tool.name: tool for tool in (await client.list_tools()).tools}


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("role", Role)
async def test_a_role_is_shown_exactly_its_own_tools(
    server: Served, project: Project, role: Role, mode: str
) -> None:
    async with over_http(server, role, server.token_of(role), mode) as client:
        assert client.protocol_version == {"auto": "2026-07-28", "legacy": "2025-11-25"}[mode]
        assert set(await _tools(client)) == TOOLS[role]
    async with in_memory(project, _someone(role), mode) as client:
        assert set(await _tools(client)) == TOOLS[role]


@pytest.mark.parametrize("role", Role)
async def test_every_tool_says_what_it_does_and_whether_it_changes_anything(
    project: Project, role: Role
) -> None:
    async with in_memory(project, _someone(role)) as client:
        for name, tool in (await _tools(client)).items():
            assert tool.description, name
            assert tool.annotations is not None, name
            assert tool.annotations.read_only_hint is (name in LOOKING), name
            assert tool.annotations.destructive_hint in (
                (True,) if name in ENDING else (None, False)
            )
            assert tool.annotations.idempotent_hint is True, name
            assert tool.annotations.open_world_hint is False, name
            assert tool.output_schema is not None, name


@pytest.mark.parametrize("role", Role)
async def test_every_parameter_is_described_unless_its_name_says_all(
    project: Project, role: Role
) -> None:
    async with in_memory(project, _someone(role)) as client:
        for name, tool in (await _tools(client)).items():
            for parameter, schema in tool.input_schema["properties"].items():
                assert schema.get("description") or parameter in PLAIN, f"{name}: {parameter}"


@pytest.mark.parametrize("role", Role)
async def test_no_input_is_a_choice_at_its_top_level(project: Project, role: Role) -> None:
    """Claude Code leaves out or flattens such a tool."""
    async with in_memory(project, _someone(role)) as client:
        for name, tool in (await _tools(client)).items():
            assert tool.input_schema["type"] == "object", name
            assert not {"anyOf", "oneOf", "allOf", "$ref"} & set(tool.input_schema), name


@pytest.mark.parametrize("role", Role)
async def test_no_tool_takes_the_callers_identity(project: Project, role: Role) -> None:
    async with in_memory(project, _someone(role)) as client:
        for name, tool in (await _tools(client)).items():
            assert not {"caller", "session", "session_id", "agent", "role", "token"} & set(
                tool.input_schema["properties"]
            ), name


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("role", Role)
async def test_a_role_is_told_what_it_is_in_words_that_the_client_does_not_cut_off(
    server: Served, role: Role, mode: str
) -> None:
    async with over_http(server, role, server.token_of(role), mode) as client:
        assert client.instructions == INSTRUCTIONS[role]
        assert 0 < len(INSTRUCTIONS[role]) < MOST_INSTRUCTION_CHARACTERS


@pytest.mark.parametrize("role", Role)
async def test_instructions_name_only_tools_that_the_role_has(role: Role) -> None:
    known = TOOLS[Role.WORKER] | TOOLS[Role.STEWARD] | TOOLS[Role.PERSON]
    words = set(INSTRUCTIONS[role].replace(".", " ").replace(",", " ").replace(";", " ").split())
    assert words & known <= TOOLS[role]


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("role", [Role.WORKER, Role.PERSON])
async def test_a_plan_and_a_task_can_be_read_as_resources(
    server: Served, role: Role, mode: str
) -> None:
    plan = a_plan(server.project, f"Sprint of {role} {mode}")
    draft = TaskDraft(title="Add a thing", description="Why.", acceptance=("it is there",))
    (task,) = some_tasks(server.project, draft, plan=plan)
    async with over_http(server, role, server.token_of(role), mode) as client:
        templates = (await client.list_resource_templates()).resource_templates
        assert {one.uri_template for one in templates} == {
            "stoneforge://plan/{plan}",
            "stoneforge://task/{task}",
        }
        assert all(one.description for one in templates)
        assert await _text(client, f"stoneforge://task/{task}") == (
            f"{task}: Add a thing (open)\n\nWhy.\n\n- it is there"
        )
        assert await _text(client, f"stoneforge://plan/{plan}") == (
            f"{plan}: Sprint of {role} {mode} (active)\n\n- {task} Add a thing (open)"
        )
        with pytest.raises(MCPError, match=r"\[not_found\] There is no task T999"):
            await client.read_resource("stoneforge://task/T999")


async def _text(client: Client, uri: str) -> str:
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    return content.text


@pytest.mark.parametrize("mode", ERAS)
async def test_the_persons_slash_commands_are_described_and_take_what_was_typed(
    server: Served, mode: str
) -> None:
    async with over_http(server, Role.PERSON, server.person, mode) as client:
        prompts = {one.name: one for one in (await client.list_prompts()).prompts}
        assert set(prompts) == PROMPTS
        for name, prompt in prompts.items():
            assert prompt.description
            (message,) = (await client.get_prompt(name, {"about": "the {parser}"})).messages
            assert isinstance(message.content, TextContent)
            assert "the {parser}" in message.content.text
            (message,) = (await client.get_prompt(name)).messages
            assert isinstance(message.content, TextContent)
            assert "{about}" not in message.content.text


async def test_only_the_person_has_slash_commands(project: Project) -> None:
    for role in (Role.WORKER, Role.STEWARD, Role.DIRECTOR):
        async with in_memory(project, _someone(role)) as client:
            assert (await client.list_prompts()).prompts == []


async def test_slash_commands_name_only_tools_that_the_person_has(project: Project) -> None:
    async with in_memory(project, PERSON) as client:
        for prompt in (await client.list_prompts()).prompts:
            (message,) = (await client.get_prompt(prompt.name)).messages
            assert isinstance(message.content, TextContent)
            named = {word.strip(".,;()") for word in message.content.text.split() if "_" in word}
            assert named <= TOOLS[Role.PERSON]
