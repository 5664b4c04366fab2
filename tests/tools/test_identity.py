"""Who calls is what the token says, on the real HTTP stack: never a parameter, never another's."""

import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, Role
from tests.builders import Project, a_project, a_task, a_worker, dispatched
from tests.web.builders_server import (
    ERAS,
    MCP_PATHS,
    Answer,
    Served,
    Tools,
    a_session_of,
    in_memory,
    over_http,
    served,
)

METHODS = ("POST", "GET", "DELETE", "PUT")
MODERN = {"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def _list_tools(
    server: Served, path: str, token: str, mode: str = "auto", method: str = "POST", **more: str
) -> Answer:
    """Send one bare request, as the client does after its handshake."""
    modern = mode == "auto"
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    if modern:
        body["params"] = {"_meta": META}
    headers: Mapping[str, str] = MODERN if modern else {"Mcp-Protocol-Version": "2025-11-25"}
    return server.request(
        method, path, json.dumps(body).encode(), token=token, headers={**headers, **more}
    )


def _message_of(answer: Answer) -> Any:
    """Return the one message of an answer, which an older client of a director gets as a stream."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return answer.json
    lines = answer.body.decode().splitlines()
    (data,) = (line.removeprefix("data: ") for line in lines if line.startswith("data: {"))
    return json.loads(data)


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("role", Role)
def test_the_roles_own_token_opens_its_path(server: Served, role: Role, mode: str) -> None:
    answer = _list_tools(server, f"/{role.value}/mcp", server.token_of(role), mode)
    assert answer.status == 200
    assert _message_of(answer)["result"]["tools"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", MCP_PATHS)
def test_without_a_token_nothing_is_answered(server: Served, path: str, method: str) -> None:
    answer = _list_tools(server, path, "", method=method)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert answer.json["code"] == "unauthorized"
    assert answer.json["remedy"]


@pytest.mark.parametrize("path", MCP_PATHS)
@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Bearer wrong", "Basic d29ya2Vy", "Bearer \xe9\xff", "wrong"]
)
def test_what_is_no_token_is_refused(server: Served, path: str, header: str) -> None:
    answer = _list_tools(server, path, "", Authorization=header)
    assert (answer.status, answer.json["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", MCP_PATHS)
def test_another_roles_token_is_refused(server: Served, path: str, method: str) -> None:
    for role in Role:
        if path == f"/{role.value}/mcp":
            continue
        answer = _list_tools(server, path, server.token_of(role), method=method)
        assert (answer.status, answer.json["code"]) == (403, "not_allowed")
        assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
        assert answer.json["remedy"] == f"Use /{role.value}/mcp."


@pytest.mark.parametrize("role", [Role.WORKER, Role.STEWARD, Role.DIRECTOR])
def test_the_token_of_a_session_that_has_ended_is_refused(server: Served, role: Role) -> None:
    session = a_session_of(server.project, role)
    path = f"/{role.value}/mcp"
    assert _list_tools(server, path, session.token).status == 200
    server.project.services.sessions.ended(PERSON, session.session.id, kind=EndKind.DONE, detail="")
    answer = _list_tools(server, path, session.token)
    assert (answer.status, answer.json["code"]) == (401, "unauthorized")
    assert server.ask("list_plans", token=session.token).status == 401
    assert server.post("/hooks", {"hook_event_name": "Stop"}, token=session.token).status == 401


def test_a_renewed_token_of_the_person_ends_the_one_before(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        sessions = server.project.services.sessions
        sessions.ensure_person_token(PERSON, renew=True)
        token = server.project.layout.person_token.read_text().strip()
        for path in ("/person/mcp", "/director/mcp"):
            assert _list_tools(server, path, server.person).status == 401
        assert _list_tools(server, "/person/mcp", token).status == 200
        assert _list_tools(server, "/director/mcp", token).status == 403


@pytest.mark.anyio
async def test_a_parameter_cannot_say_who_calls(project: Project) -> None:
    mine = a_worker(project, a_task(project, "Mine"), with_worktree=True)
    theirs = a_worker(project, a_task(project, "Theirs"), with_worktree=True)
    somebody: dict[str, Any] = {
        "caller": {"role": "person", "name": "person"},
        "session_id": theirs.session.id,
        "session": theirs.session.name,
        "task": theirs.task_id,
        "role": "person",
    }
    async with in_memory(project, mine.caller) as client:
        tools = Tools(client)
        assert (await tools("claim_task", **somebody))["task"] == mine.task_id
        await tools("report_progress", message="hello", **somebody)
        done = await tools("release_task", reason="because", **somebody)
        assert done["outcome"] == f"{mine.task_id} is open again."
    assert project.live_lease(theirs.task_id) is not None
    log = project.services.fleet.read_log(PERSON, after=0, subject=theirs.task_id)
    assert "progress" not in [event.kind for event in log]


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ERAS)
async def test_a_connection_without_an_identity_can_call_nothing(
    project: Project, mode: str
) -> None:
    task = a_task(project)
    for role in Role:
        async with in_memory(project, None, mode, role=role) as client:
            words = await Tools(client).refused("get_task", task=task)
            assert "[unauthorized] The request carries no token. Connect with the token" in words


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_goes_on_after_a_restart_of_the_server(tmp_path: Path, mode: str) -> None:
    with served(tmp_path) as server:
        worker = a_worker(server.project, a_task(server.project), with_worktree=True)
        async with over_http(server, Role.WORKER, worker.token, mode) as client:
            tools = Tools(client)
            before = await tools("claim_task")
            server.restart()
            assert await tools("claim_task") == before
            assert (await tools("report_progress", message="Still here."))["outcome"] == "Noted."


def test_no_token_is_written_down_but_the_persons_own(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        project = server.project
        project.services.sessions.ensure_person_token(PERSON)
        person = project.layout.person_token.read_text().strip()
        assert project.layout.person_token.stat().st_mode & 0o777 == 0o600
        a_task(project)
        order = server.poll(token=person).json["order"]
        worker = a_worker(project, a_task(project), with_worktree=True)
        for token in (order["token"], worker.token):
            assert _list_tools(server, "/worker/mcp", token).status == 200
            server.ask("fleet_status", token=token)
            server.post("/hooks", {"hook_event_name": "Stop"}, token=token)
        texts = [token.encode() for token in (person, order["token"], worker.token)]
        assert all(len(text) > 20 for text in texts)

        files = [path for path in project.layout.folder.rglob("*") if path.is_file()]
        assert project.layout.database.with_name("state.db-wal") in files
        found = {path for path in files for text in texts if text in path.read_bytes()}
        assert found == {project.layout.person_token}


def test_the_environment_of_a_session_holds_no_token(project: Project) -> None:
    """Git and what it starts see it; the token goes to the client alone."""
    a_task(project)
    worker = dispatched(project)
    assert worker.token not in "".join(worker.environment.values())
