"""The API: each operation by name, for the roles that may ask for it, with words for every no."""

import json
import logging
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sf_mcp.core.models import Role
from sf_mcp.core.states import TaskState
from sf_mcp.service.operations import OPERATIONS
from tests.builders import a_plan, a_task, a_worker
from tests.web.builders_server import Served, count, served

LOOKING = {
    "list_plans",
    "get_plan",
    "get_task",
    "show_plan",
    "show_task",
    "show_diff",
    "show_file_diff",
    "list_tasks",
    "dependency_tree",
    "why",
    "list_questions",
    "get_question",
    "list_merge_requests",
    "get_merge_request",
    "show_changes",
    "show_merge_request",
    "show_train",
    "list_snapshots",
    "get_snapshot",
    "list_sessions",
    "get_session",
    "fleet_status",
    "cost",
    "report",
    "read_log",
    "search_log",
}
PLANNING = {
    "create_plan",
    "activate_plan",
    "complete_plan",
    "cancel_plan",
    "import_plan",
    "add_tasks",
    "update_task",
    "cancel_task",
    "retry_task",
    "set_dependencies",
    "answer_question",
    "pause_fleet",
    "resume_fleet",
}
PERSONAL = {
    "set_goal",
    "approve_merge",
    "send_back",
    "stop_session",
    "read_transcript",
    "open_page",
    "sign_out_browsers",
    "session_started",
    "session_connected",
    "session_heard",
    "session_turn_ended",
    "session_ended",
    "take_over_context",
    "take_over_session",
    "give_back_session",
    "address",
    "report_seat",
}
MAY = {
    Role.WORKER: LOOKING,
    Role.STEWARD: LOOKING,
    Role.DIRECTOR: LOOKING | PLANNING,
    Role.PERSON: LOOKING | PLANNING | PERSONAL,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


@pytest.mark.parametrize("role", Role)
def test_a_role_may_ask_for_its_operations_and_no_others(server: Served, role: Role) -> None:
    assert set(OPERATIONS) == MAY[Role.PERSON]
    token = server.token_of(role)
    for name in OPERATIONS:
        answer = server.ask(name, token=token)
        if name in MAY[role]:
            # Without arguments most are wrong, or about nothing; none is forbidden or unknown.
            assert answer.status in (200, 404, 422), (name, answer.body)
            assert "operation" not in answer.body.decode()
        else:
            assert (answer.status, answer.json["code"]) == (403, "not_allowed"), name
            assert role.value in answer.json["message"]


@pytest.mark.parametrize("role", [Role.WORKER, Role.STEWARD, Role.DIRECTOR])
def test_only_the_person_runs_the_fleet(server: Served, role: Role) -> None:
    task = a_task(server.project)
    answer = server.poll(token=server.token_of(role))
    assert (answer.status, answer.json["code"]) == (403, "not_allowed")
    assert server.project.task(task).state is TaskState.OPEN


def test_an_operation_is_carried_out_and_answers_as_json(server: Served) -> None:
    tasks = [{"title": "One", "key": "a"}, {"title": "Two", "depends_on": ["a"]}]
    made = server.ask("create_plan", title="Sprint 14", tasks=tasks)
    assert (made.status, made.headers["content-type"]) == (200, "application/json")
    plan = made.json["plan"]
    assert (plan["title"], plan["state"]) == ("Sprint 14", "active")
    first, second = (task["id"] for task in made.json["tasks"])
    seen = server.ask("get_task", task=second).json
    assert seen["depends_on"] == [first]
    assert seen["task"]["created_at"].startswith("2026-03-01T12:00:00")


def test_a_body_may_be_missing(server: Served) -> None:
    assert server.request("POST", "/api/list_plans", token=server.person).status == 200


def test_an_operation_that_there_is_not_is_not_found(server: Served) -> None:
    for name in ("make_tea", "__class__", "plans.create_plan", "..", "poll2"):
        answer = server.ask(name)
        assert (answer.status, answer.json["code"]) == (404, "not_found"), name
        assert answer.json["remedy"]


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("create_plan", {}, "title"),
        ("create_plan", {"title": 5}, "title"),
        ("create_plan", {"title": None}, "title"),
        ("create_plan", {"title": "A", "tasks": "B"}, "tasks"),
        ("create_plan", {"title": "A", "tasks": [{"title": ["B"]}]}, "tasks.0.title"),
        ("create_plan", {"title": "A", "tasks": [{"name": "B"}]}, "tasks.0"),
        ("create_plan", {"title": "A", "draft": "perhaps"}, "draft"),
        ("create_plan", {"titel": "A"}, "title"),
        ("create_plan", {"title": "A", "colour": "red"}, "colour"),
        ("list_tasks", {"limit": "many"}, "limit"),
        ("session_ended", {"session_id": "x", "kind": "bored"}, "kind"),
        ("get_task", {"task": "T1", "caller": {"role": "person", "name": "me"}}, "caller"),
        ("get_task", {"task": "T1", "self": 1}, "self"),
        ("poll", {"running": "worker-1"}, "running"),
        ("poll", {"seconds": -1}, "seconds"),
        ("poll", {"seconds": "soon"}, "seconds"),
        ("poll", {"may_start": "perhaps"}, "may_start"),
        ("poll", {"hurry": True}, "hurry"),
    ],
)
def test_a_wrong_argument_is_named(
    server: Served, name: str, arguments: Mapping[str, Any], named: str
) -> None:
    plans = count(server.project, "plans")
    answer = server.post(f"/api/{name}", arguments)
    assert (answer.status, answer.json["code"]) == (422, "invalid_input")
    assert named in answer.json["message"]
    assert answer.json["remedy"]
    assert count(server.project, "plans") == plans


@pytest.mark.parametrize("path", ["/api/create_plan", "/api/poll", "/hooks"])
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b"[]",
        b'"title"',
        b"null",
        b"5",
        b"[" * 100_000,
        b'{"title": ' + b"1" * 5_000 + b"}",
        b'{"title": "A"} {}',
    ],
)
def test_what_is_no_json_object_is_refused(server: Served, path: str, body: bytes) -> None:
    answer = server.request("POST", path, body, token=server.person)
    assert (answer.status, answer.json["code"]) == (422, "invalid_input")
    assert answer.json["remedy"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"seconds": NaN}',
        b'{"seconds": Infinity}',
        b'{"running": ["\\ud800"], "seconds": 0}',
    ],
)
def test_odd_numbers_and_texts_are_refused(server: Served, body: bytes) -> None:
    answer = server.request("POST", "/api/poll", body, token=server.person)
    assert (answer.status, answer.json["code"]) == (422, "invalid_input")


def test_odd_reports_of_a_launcher_do_not_harm_the_state(server: Served) -> None:
    session = a_worker(server.project, a_task(server.project)).session.id
    report = (
        b'{"session_id": "%s", "is_turn_active": true, "last_line": "\\ud800\\u0000\\u001b[31m",'
        b' "context_tokens": %s, "context_window": 1, "cost_usd": %s}'
    )
    for tokens, cost, status in (
        (b"5", b"NaN", 200),
        (b"5", b"1e999", 200),
        (b"1" * 30, b"0", 422),
        (b"NaN", b"0", 422),
    ):
        body = report % (session.encode(), tokens, cost)
        answer = server.request("POST", "/api/session_heard", body, token=server.person)
        assert answer.status == status, (tokens, cost, answer.body)
        json.loads(server.ask("fleet_status").body, parse_constant=_refuse)


def _refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize(
    ("name", "arguments", "status", "code"),
    [
        ("get_task", {"task": "T999"}, 404, "not_found"),
        ("get_task", {"task": "\ud800"}, 422, "invalid_input"),
        ("get_task", {"task": "a\0b"}, 404, "not_found"),
        ("create_plan", {"title": " "}, 422, "invalid_input"),
        ("create_plan", {"title": "\ud800"}, 422, "invalid_input"),
        ("read_log", {"after": 10**30}, 422, "invalid_input"),
        ("get_session", {"session": "nobody"}, 404, "not_found"),
    ],
)
def test_a_refusal_has_a_code_a_message_and_a_remedy(
    server: Served, name: str, arguments: Mapping[str, Any], status: int, code: str
) -> None:
    answer = server.post(f"/api/{name}", arguments)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.json["message"]
    assert answer.json["remedy"]


def test_what_the_state_does_not_allow_is_a_conflict(server: Served) -> None:
    task = a_task(server.project)
    server.ask("cancel_task", task=task)
    plan = a_plan(server.project, "Ended")
    server.ask("cancel_plan", plan=plan)
    for name, arguments, code in (
        ("update_task", {"task": task, "priority": 1}, "illegal_transition"),
        ("retry_task", {"task": task}, "illegal_transition"),
        ("add_tasks", {"plan": plan, "tasks": [{"title": "More"}]}, "illegal_transition"),
        (
            "create_plan",
            {
                "title": "Round",
                "tasks": [
                    {"title": "A", "key": "a", "depends_on": ["b"]},
                    {"title": "B", "key": "b", "depends_on": ["a"]},
                ],
            },
            "cyclic_dependencies",
        ),
    ):
        answer = server.post(f"/api/{name}", arguments)
        assert (answer.status, answer.json["code"]) == (409, code)
        assert answer.json["remedy"]


def test_a_mistake_of_ours_is_logged_and_not_shown(
    server: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An operation that stands for a method which there is not.
    monkeypatch.setitem(OPERATIONS, "why", ("queries.because", frozenset(Role)))
    with caplog.at_level(logging.ERROR, logger="sf_mcp.web.api"):
        answer = server.ask("why", task="T1")
    assert answer.status == 500
    assert answer.json == {
        "code": "internal",
        "message": "The server failed at /api/why; its log says how.",
        "remedy": "Look at the present state (`sf status`) before you try again.",
    }
    (record,) = [one for one in caplog.records if one.name == "sf_mcp.web.api"]
    assert record.getMessage() == "/api/why failed"
    assert record.exc_info is not None
    assert server.ask("list_plans").status == 200


def test_what_the_launcher_reports_is_not_told_as_the_persons_doing(server: Served) -> None:
    worker = a_worker(server.project, a_task(server.project))
    server.ask("session_ended", session_id=worker.session.id, kind="no_outcome", detail="odd")
    server.ask("pause_fleet", reason="lunch")
    server.ask("resume_fleet")
    events = {event["kind"]: event["actor"] for event in server.ask("read_log").json}
    assert events["session_ended"] == "launcher"
    assert events["fleet_paused"] == "person"


def test_many_requests_at_once_are_all_answered(server: Served) -> None:
    def create(number: int) -> str:
        return server.ask("create_plan", title=f"At once {number}").json["plan"]["id"]

    with ThreadPoolExecutor(20) as pool:
        ids = list(pool.map(create, range(40)))
    assert len(set(ids)) == 40
