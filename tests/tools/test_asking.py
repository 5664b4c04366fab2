"""Asking through the tool, and what is refused around it without any change."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, Role
from sf_mcp.core.states import QuestionState, TaskState
from sf_mcp.tools import worker as worker_tools
from sf_mcp.tools.fitting import RESULT_CHARACTERS
from tests.builders import Project, a_plan, a_project, a_task, a_worker
from tests.web.builders_server import (
    ERAS,
    Answer,
    Served,
    Tools,
    a_session_of,
    answer,
    count,
    in_memory,
    over_http,
    served,
)

pytestmark = pytest.mark.anyio

TOO_LONG = "x" * 200_000
WRITES: list[tuple[str, dict[str, Any]]] = [
    ("report_progress", {"message": "still here"}),
    ("write_handoff", {"progress": "a", "remaining": "b", "next_step": "c"}),
    ("ask_director", {"question": "Which colour?"}),
    ("request_merge", {"summary": "done"}),
    ("release_task", {"reason": "no"}),
    ("propose_task", {"title": "More"}),
]
"""Every tool of a worker that changes anything but `claim_task`."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


def rows(project: Project) -> list[Any]:
    """Return all that a call could have changed."""
    tables = ("tasks", "leases", "questions", "handoffs", "merge_requests", "events", "calls")
    with project.services.workspace.read() as tx:
        return [
            tuple(row)
            for table in tables
            for row in tx.db.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
        ]


async def test_earlier_answers_are_shown_before_anybody_is_asked_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_tools, "ANSWER_WAIT_SECONDS", 0.05)
    plan = a_plan(project)
    first = a_worker(project, a_task(project, plan=plan))
    first.ask("Should the event store use SQLite or Postgres?")
    answer(project, "Q1", "SQLite: no server to run.")
    worker = a_worker(project, a_task(project, plan=plan))
    asking = {"question": "SQLite or Postgres for the events?", "options": ["SQLite", "Postgres"]}
    async with in_memory(project, worker.caller) as client:
        tools = Tools(client)
        seen = await tools("ask_director", use_id="u1", **asking)
        assert (seen["status"], seen["question"], seen["answer"]) == ("answered earlier", "", "")
        assert seen["earlier"] == [
            {
                "question": "Q1",
                "task": first.task_id,
                "asked": "Should the event store use SQLite or Postgres?",
                "answer": "SQLite: no server to run.",
                "by": "person",
                "at": "2026-03-01T12:00+00:00",
            }
        ]
        assert "none_applies=true" in seen["next_step"]
        assert await tools("ask_director", use_id="u1", **asking) == seen
        assert count(project, "questions") == 1
        opened = await tools("ask_director", use_id="u2", none_applies=True, **asking)
        assert (opened["question"], opened["status"]) == ("Q2", "pending")


async def test_the_longest_earlier_answers_are_shown_short(project: Project) -> None:
    plan = a_plan(project)
    text = "Should the event store use SQLite or Postgres? " + "reason " * 400
    for _ in range(3):
        worker = a_worker(project, a_task(project, plan=plan))
        asked = project.services.questions.ask_director(
            worker.caller, question=text, none_applies=True
        ).question
        assert asked is not None
        answer(project, asked.id, 'because "so" ' * 300)
    worker = a_worker(project, a_task(project, plan=plan))
    async with in_memory(project, worker.caller) as client:
        seen = await Tools(client)("ask_director", question=text)
    assert len(json.dumps(seen)) <= RESULT_CHARACTERS
    assert [one["question"] for one in seen["earlier"]] == ["Q3", "Q2", "Q1"]
    assert seen["note"].startswith("Shortened: get_task('")


# -- answers -----------------------------------------------------------------------------------


def _refusal(reply: Answer) -> tuple[int, str, str]:
    return reply.status, reply.json["code"], reply.json["message"]


def test_an_answered_a_withdrawn_and_an_unknown_question_take_no_answer(server: Served) -> None:
    project = server.project
    answered, withdrawn = (a_worker(project, a_task(project)).ask("Which?") for _ in range(2))
    answer(project, answered.id, "The first.")
    assert withdrawn.task_id is not None
    project.services.plans.cancel_task(PERSON, withdrawn.task_id)
    before = rows(project)
    for question, status, code, words in (
        (answered.id, 409, "illegal_transition", f"{answered.id} was answered already, by person"),
        (withdrawn.id, 409, "illegal_transition", f"Question {withdrawn.id} is withdrawn"),
        ("Q999", 404, "not_found", "There is no question Q999."),
        ("", 404, "not_found", "There is no question ."),
    ):
        reply = server.ask("answer_question", question_id=question, answer="Again.")
        assert _refusal(reply)[:2] == (status, code)
        assert reply.json["message"].startswith(words)
        assert reply.json["remedy"]
    assert rows(project) == before
    assert project.question(answered.id).answer == "The first."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "The answer is empty."),
        (" \n\t", "The answer is empty."),
        (TOO_LONG, "The answer has 200,000 characters; at most 4,000 are accepted."),
        ("nul\0", "The answer contains a NUL character (at position 4)."),
        ("half \ud83d", "The answer is not valid Unicode"),
    ],
)
def test_an_answer_that_cannot_be_accepted_changes_nothing(
    server: Served, text: str, words: str
) -> None:
    asked = a_worker(server.project, a_task(server.project)).ask("Which?")
    before = rows(server.project)
    status, code, message = _refusal(
        server.ask("answer_question", question_id=asked.id, answer=text)
    )
    assert (status, code) == (422, "invalid_input")
    assert message.startswith(words)
    assert rows(server.project) == before


async def test_an_answer_with_control_characters_arrives_as_it_was_written(
    project: Project,
) -> None:
    text = "first\n\tsecond \x1b[31mred\x07 \u202e`rm -rf $HOME`"
    worker = a_worker(project, a_task(project))
    asked = worker.ask("Which?")
    answer(project, asked.id, text)
    async with in_memory(project, worker.caller) as client:
        assert (await Tools(client)("ask_director", question="Which?"))["answer"] == text


@pytest.mark.parametrize("role", [Role.WORKER, Role.STEWARD])
async def test_neither_a_worker_nor_a_steward_answers(server: Served, role: Role) -> None:
    project = server.project
    asked = a_worker(project, a_task(project)).ask("Which?")
    session = a_session_of(project, role)
    reply = server.ask("answer_question", token=session.token, question_id=asked.id, answer="Mine.")
    assert _refusal(reply)[:2] == (403, "not_allowed")
    reply = server.ask("set_goal", token=session.token, goal="Mine.")
    assert _refusal(reply)[:2] == (403, "not_allowed")
    async with over_http(server, role, session.token) as client:
        result = await client.call_tool(
            "answer_question", {"question": asked.id, "answer": "Mine."}
        )
        assert result.is_error
    assert project.question(asked.id).state is QuestionState.OPEN


async def test_a_question_is_answered_once_however_many_answer_at_once(server: Served) -> None:
    asked = a_worker(server.project, a_task(server.project)).ask("Which?")
    replies: list[Answer] = []
    async with anyio.create_task_group() as group:

        async def one(number: int) -> None:
            replies.append(
                await anyio.to_thread.run_sync(
                    lambda: server.ask(
                        "answer_question", question_id=asked.id, answer=f"Number {number}."
                    )
                )
            )

        for number in range(20):
            group.start_soon(one, number)
    accepted = [reply for reply in replies if reply.status == 200]
    assert [reply.json["answer"] for reply in accepted] == [
        server.project.question(asked.id).answer
    ]
    assert {reply.status for reply in replies} == {200, 409}
    assert server.project.event_kinds(asked.id).count("question_answered") == 1


# -- who asks ----------------------------------------------------------------------------------


async def test_two_sessions_that_ask_at_once_have_a_question_each(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_tools, "ANSWER_WAIT_SECONDS", 0.05)
    workers = [a_worker(project, a_task(project)) for _ in range(2)]
    asked: dict[str, str] = {}
    async with anyio.create_task_group() as group:

        async def ask(index: int) -> None:
            async with in_memory(project, workers[index].caller) as client:
                result = await Tools(client)("ask_director", question="Red or blue button?")
                asked[result["question"]] = workers[index].task_id

        for index in range(2):
            group.start_soon(ask, index)
    assert asked == {question: project.question(question).task_id for question in ("Q1", "Q2")}


async def test_one_session_that_asks_twice_at_once_asks_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_tools, "ANSWER_WAIT_SECONDS", 0.05)
    worker = a_worker(project, a_task(project))
    async with in_memory(project, worker.caller) as client, anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(lambda: Tools(client)("ask_director", question="Red or blue?"))
    assert count(project, "questions") == 1


async def test_asking_after_the_lease_has_ended_is_refused(project: Project) -> None:
    worker = a_worker(project, a_task(project))
    project.clock.advance(minutes=10)
    project.services.lease_watch.expire(PERSON)
    before = rows(project)
    async with in_memory(project, worker.caller) as client:
        words = await Tools(client).refused("ask_director", question="Which?")
    assert words.startswith("Error executing tool ask_director: [stale_lease] ")
    assert rows(project) == before


async def test_a_second_claim_is_the_first_one_and_takes_no_other_task(project: Project) -> None:
    worker = a_worker(project, a_task(project, "Mine"), with_worktree=True)
    other = a_task(project, "Another")
    async with in_memory(project, worker.caller) as client:
        tools = Tools(client)
        assert await tools("claim_task") == await tools("claim_task")
    assert project.task(other).state is TaskState.OPEN
    assert count(project, "leases") == 1


# -- whose token -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ERAS)
async def test_no_call_reaches_another_sessions_task(
    server: Served, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose call it is, is the connection's token; looking is free."""
    monkeypatch.setattr(worker_tools, "ANSWER_WAIT_SECONDS", 0.05)
    project = server.project
    theirs = a_worker(project, a_task(project, f"Theirs {mode}"), with_worktree=True)
    mine = a_worker(project, a_task(project, f"Mine {mode}"), with_worktree=True)
    mine.commit({f"{mode}.txt": "1\n"})
    lease, log = project.live_lease(theirs.task_id), project.event_kinds(theirs.task_id)
    whose = {"task": theirs.task_id, "session": theirs.session.id, "token": theirs.token}
    async with over_http(server, Role.WORKER, mine.token, mode) as client:
        tools = Tools(client)
        assert (await tools("get_task", task=theirs.task_id))["state"] == "claimed"
        for tool, arguments in WRITES:
            await client.call_tool(tool, {**arguments, **whose})
    assert project.live_lease(theirs.task_id) == lease
    assert project.event_kinds(theirs.task_id) == log
    assert project.live_lease(mine.task_id) is None


@pytest.mark.parametrize("whose", ["an ended session's", "nobody's", "the person's"])
async def test_a_token_that_is_no_workers_changes_nothing(server: Served, whose: str) -> None:
    project = server.project
    worker = a_worker(project, a_task(project))
    status, token = 401, "garbage \u00e9 ' OR 1=1 --"
    if whose == "an ended session's":
        token = worker.token
        project.services.sessions.ended(PERSON, worker.session.id, kind=EndKind.RELEASED, detail="")
    elif whose == "the person's":
        status, token = 403, server.person
    before = rows(project)
    for tool, arguments in [("claim_task", {}), *WRITES]:
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        }
        reply = server.request(
            "POST",
            "/worker/mcp",
            json.dumps(body).encode(),
            token=token.encode("utf-8").decode("latin-1"),
            headers={"Mcp-Protocol-Version": "2025-11-25"},
        )
        assert reply.status == status, (tool, reply.body)
    assert rows(project) == before


async def test_a_stale_lease_changes_nothing_by_any_tool(project: Project) -> None:
    """Its task has been given to another session since."""
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "1\n"})
    project.clock.advance(minutes=10)
    project.services.lease_watch.expire(PERSON)
    a_worker(project, worker.task_id)
    before = rows(project)
    async with in_memory(project, worker.caller) as client:
        for tool, arguments in WRITES:
            words = await Tools(client).refused(tool, **arguments)
            assert words.startswith(f"Error executing tool {tool}: [stale_lease] ")
    assert rows(project) == before
