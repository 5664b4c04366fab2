"""Whatever a model puts into a parameter, it gets a result or a refusal that says what to do."""

import itertools
import re
from collections.abc import Generator, Mapping
from typing import Any

import pytest

from sf_mcp.core.identity import PERSON, Caller
from sf_mcp.core.models import Role
from sf_mcp.tools import director as director_tools
from tests.builders import (
    Project,
    a_merge_request,
    a_person_token,
    a_project,
    a_task,
    a_worker,
)
from tests.web.builders_server import a_reviewer, in_memory, own_environment, text_of

pytestmark = pytest.mark.anyio

TEXTS = {
    "empty": "",
    "NUL": "a\0b",
    "a lone surrogate": "a\ud800b",
    "too long": "x" * 100_001,
    "an option": "--upload-pack=../../x",
    "a shell": "$(touch /tmp/x) `id` ; rm -rf .",
    "a huge id": "T" + "9" * 5_000,
}
NUMBERS = (-1, 0, 10**9, 2**63, 10**30)

REFUSAL = re.compile(r"Error executing tool \w+: \[[a-z_]+\] [A-Z“'].+[.?:)`]", re.DOTALL)
"""What happened as a sentence, behind a stable code; every refusal but those of the SDK itself."""

WRONG_ARGUMENT = re.compile(r"Error executing tool \w+: \d+ validation errors? for ")
"""The SDK's own words, with the parameter's name and what it should be."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Generator[Project]:
    folder = tmp_path_factory.mktemp("project")
    with own_environment(folder):
        yield a_project(folder, config="checks: []\n")


def _a_caller(project: Project, role: Role) -> Caller:
    match role:
        case Role.WORKER:
            return a_worker(project, a_task(project), with_worktree=True).caller
        case Role.STEWARD:
            return a_reviewer(project, a_merge_request(project, a_task(project))).caller
        case Role.DIRECTOR:
            return Caller(role=role, name="director-1")
        case Role.PERSON:
            return PERSON


def _value(schema: Mapping[str, Any], text: str, number: int) -> Any:
    """Return a value of the type that the parameter's schema asks for."""
    kinds = {one.get("type") for one in [schema, *schema.get("anyOf", ())]}
    if "string" in kinds:
        return text
    if kinds & {"integer", "number"}:
        return number
    if "boolean" in kinds:
        return True
    items = next(one["items"] for one in [schema, *schema.get("anyOf", ())] if "items" in one)
    return [{"title": text} if "$ref" in items else text]


@pytest.mark.parametrize("role", Role)
async def test_no_argument_makes_a_tool_fail(
    project: Project, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(director_tools, "EVENT_WAIT_SECONDS", 0.01)
    for text, number in zip(TEXTS.values(), itertools.cycle(NUMBERS), strict=False):
        async with in_memory(project, _a_caller(project, role)) as client:
            for tool in sorted((await client.list_tools()).tools, key=lambda one: one.name):
                if tool.name == "ask_director":
                    continue  # waits for its answer; its texts are checked like those of others
                schemas = tool.input_schema["properties"]
                arguments = {name: _value(schema, text, number) for name, schema in schemas.items()}
                result = await client.call_tool(tool.name, arguments)
                said = text_of(result)
                assert (
                    not result.is_error or REFUSAL.fullmatch(said) or WRONG_ARGUMENT.match(said)
                ), said[:500]
        # Nobody is locked out by any of it.
        a_person_token(project)
    project.services.fleet.resume_fleet(PERSON)
