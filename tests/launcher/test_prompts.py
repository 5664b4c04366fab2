"""The role prompts: short, and in terms of tools that exist."""

import json
import re
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from launcher.prompts import prompt_text, shipped_prompt, write_prompt
from sf_mcp.core.errors import ConfigInvalid
from sf_mcp.core.layout import Layout
from sf_mcp.core.models import Role
from sf_mcp.service import Services
from sf_mcp.tools.boundary import Boundary
from sf_mcp.tools.servers import make_server

CHARACTERS_PER_TOKEN = 3.5
"""English and JSON have about four; fewer counts more tokens than there are."""

KEY_TOOLS = {
    Role.WORKER: {"claim_task", "run_checks", "request_merge", "write_handoff", "ask_director"}
    | {"release_task", "propose_task", "report_progress", "check_conflicts"},
    Role.STEWARD: {"claim_review", "approve_merge", "send_back", "escalate"}
    | {"claim_conflict", "submit_resolution"},
    Role.DIRECTOR: {"create_plan", "answer_question", "escalate", "retry_task", "list_questions"}
    | {"add_tasks", "update_task", "set_dependencies", "fleet_status", "why"},
}

NO_TOOLS = {"description", "paths", "depends_on", "accept", "draft", "acceptance"} | {
    "next_start",
    "no_changes_reason",
    "dropped",
    "decided",
}
"""Parameters that the prompts name; a test below keeps them apart from the tools."""


def tools_of(role: Role) -> list[Any]:
    """Return the tools of a role as the server lists them; none of them is called."""
    # Its services open nothing before a tool is called.
    boundary = Boundary(object.__new__(Services))
    server = make_server(role, boundary)
    return anyio.run(server.list_tools)


def named_in(text: str) -> set[str]:
    """Return everything that a prompt sets in code type and that could be a tool's name."""
    found = cast("list[str]", re.findall(r"`([a-z_]+)`", text))
    return {name for name in found if name not in NO_TOOLS}


def test_a_workers_tools_and_prompt_take_at_most_4000_tokens() -> None:
    tools = [
        {
            "name": f"mcp__sf__{tool.name}",
            "description": tool.description,
            "input_schema": tool.input_schema,
        }
        for tool in tools_of(Role.WORKER)
    ]

    tokens = (len(json.dumps(tools)) + len(shipped_prompt(Role.WORKER))) / CHARACTERS_PER_TOKEN

    assert tokens <= 4000


@pytest.mark.parametrize("role", list(KEY_TOOLS))
def test_every_tool_that_a_prompt_names_exists_for_its_role(role: Role) -> None:
    tools = {tool.name for tool in tools_of(role)}

    assert named_in(shipped_prompt(role)) <= tools
    assert not NO_TOOLS & tools


@pytest.mark.parametrize("role", list(KEY_TOOLS))
def test_every_prompt_names_the_key_tools_of_its_role(role: Role) -> None:
    assert named_in(shipped_prompt(role)) >= KEY_TOOLS[role]


def test_a_projects_own_prompt_replaces_the_shipped_one(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.prompts.mkdir(parents=True)
    (layout.prompts / "worker.md").write_text("Work as we do here: ünïcode.", "utf-8")

    path = write_prompt(layout, Role.WORKER)

    assert path.read_text("utf-8") == "Work as we do here: ünïcode."
    assert prompt_text(layout, Role.STEWARD) == shipped_prompt(Role.STEWARD)


def test_a_changed_prompt_is_what_the_next_session_reads(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    first = write_prompt(layout, Role.WORKER).read_text("utf-8")
    layout.prompts.mkdir(parents=True)
    (layout.prompts / "worker.md").write_text("Another way.", "utf-8")

    assert first == shipped_prompt(Role.WORKER)
    assert write_prompt(layout, Role.WORKER).read_text("utf-8") == "Another way."


@pytest.mark.parametrize("data", [b"", b"  \n", b"\xff\xfe", b"x" * 200_000])
def test_a_prompt_that_cannot_be_used_is_refused_with_its_name(tmp_path: Path, data: bytes) -> None:
    layout = Layout(tmp_path)
    layout.prompts.mkdir(parents=True)
    (layout.prompts / "worker.md").write_bytes(data)

    with pytest.raises(ConfigInvalid, match=r"worker\.md"):
        prompt_text(layout, Role.WORKER)
