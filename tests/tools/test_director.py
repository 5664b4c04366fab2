"""A director's tools: plan, answer, watch, steer; the person's director also approves."""

import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from sf_mcp.core.identity import PERSON, Caller
from sf_mcp.core.models import Role
from sf_mcp.core.states import MergeState, PlanState, QuestionState, TaskState
from sf_mcp.service.seats import Told
from sf_mcp.tools import director as director_tools
from tests.builders import (
    Project,
    a_merge_request,
    a_plan,
    a_project,
    a_proposal,
    a_task,
    a_worker,
)
from tests.web.builders_server import (
    ERAS,
    SECONDS,
    Served,
    Tools,
    count,
    in_memory,
    over_http,
    served,
)

pytestmark = pytest.mark.anyio

DIRECTOR = Caller(role=Role.DIRECTOR, name="director-1")
GRAPH: list[dict[str, Any]] = [
    {"title": "Schema", "key": "schema", "acceptance": ["tables exist"], "priority": 1},
    {"title": "API", "key": "api", "depends_on": ["schema"], "paths": ["src/api"]},
    {"title": "Page", "depends_on": ["api", "schema"], "estimate_minutes": 30},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("role", [Role.DIRECTOR, Role.PERSON])
async def test_a_whole_graph_is_planned_in_one_call_and_held_until_it_is_activated(
    server: Served, role: Role, mode: str
) -> None:
    async with over_http(server, role, server.token_of(role), mode) as client:
        tools = Tools(client)
        once: dict[str, Any] = {
            "use_id": f"plan-{mode}",
            "title": "Shop",
            "tasks": GRAPH,
            "draft": True,
        }
        made = await tools("create_plan", **once)
        schema, api, page = (task["id"] for task in made["tasks"])
        assert (made["state"], made["total"]) == ("draft", 3)
        assert await tools("create_plan", **once) == made
        seen = await tools("get_task", task=page)
        assert set(seen["depends_on"]) == {api, schema}
        assert (await tools("get_task", task=schema))["acceptance"] == ["tables exist"]
        assert (await tools("why", task=schema))["sentence"] == (
            f"{schema} does not start: plan {made['plan']} is draft."
        )
        assert (await tools("list_tasks", plan=made["plan"], state="ready"))["tasks"] == []
        assert (await tools("activate_plan", plan=made["plan"]))["state"] == "active"
        (first,) = (await tools("list_tasks", plan=made["plan"], state="ready"))["tasks"]
        assert (first["id"], first["priority"]) == (schema, 1)

        more = await tools(
            "add_tasks", plan=made["plan"], tasks=[{"title": "Docs", "depends_on": [page]}]
        )
        assert [task["title"] for task in more["tasks"]] == ["Docs"]
        cancelled = await tools("cancel_plan", plan=made["plan"])
        assert cancelled["state"] == "cancelled"
        assert {task["state"] for task in cancelled["tasks"]} == {"cancelled"}


@pytest.mark.parametrize(
    ("tasks", "code"),
    [
        ([{"title": "A", "depends_on": ["T99"]}], "not_found"),
        (
            [
                {"title": "A", "key": "a", "depends_on": ["b"]},
                {"title": "B", "key": "b", "depends_on": ["a"]},
            ],
            "cyclic_dependencies",
        ),
        ([{"title": "A", "key": "a"}, {"title": "B", "key": "a"}], "invalid_input"),
        ([{"title": "A"}, {"title": " "}], "invalid_input"),
        ([{"title": "A", "paths": ["../up"]}], "invalid_input"),
    ],
)
async def test_a_graph_that_cannot_be_accepted_leaves_nothing_behind(
    project: Project, tasks: list[dict[str, Any]], code: str
) -> None:
    async with in_memory(project, DIRECTOR) as client:
        words = await Tools(client).refused("create_plan", title="Shop", tasks=tasks)
        assert words.startswith(f"Error executing tool create_plan: [{code}] ")
    assert (count(project, "plans"), count(project, "tasks")) == (0, 0)


async def test_a_plan_without_tasks_is_a_plan(project: Project) -> None:
    async with in_memory(project, DIRECTOR) as client:
        tools = Tools(client)
        made = await tools("create_plan", title="Later", tasks=[], draft=True)
        assert (made["total"], made["tasks"], made["next_step"]) == (0, [], "")
        assert (await tools("add_tasks", plan=made["plan"], tasks=[]))["tasks"] == []
        assert (await tools("activate_plan", plan=made["plan"]))["state"] == "active"
        assert (await tools("cancel_plan", plan=made["plan"]))["state"] == "cancelled"


async def test_a_task_is_changed_field_by_field(project: Project) -> None:
    task = a_task(project)
    async with in_memory(project, DIRECTOR) as client:
        tools = Tools(client)
        done = await tools("update_task", task=task, priority=1, acceptance=["it holds"])
        assert done["outcome"] == f"{task} is changed; it is open."
        assert "[invalid_input] Nothing was given" in await tools.refused("update_task", task=task)
        assert "[invalid_input] Priority 9" in await tools.refused(
            "update_task", task=task, priority=9
        )
    now = project.task(task)
    assert (now.priority, now.acceptance, now.title) == (1, ("it holds",), "Add a thing")


@pytest.mark.parametrize(("accept", "state"), [(True, "open"), (False, "cancelled")])
async def test_a_proposal_is_accepted_or_refused(
    project: Project, accept: bool, state: str
) -> None:
    proposed = a_proposal(project)
    async with in_memory(project, DIRECTOR) as client:
        tools = Tools(client)
        done = await tools("update_task", task=proposed, accept=accept)
        assert done["outcome"] == f"{proposed} is changed; it is {state}."
        assert "[illegal_transition]" in await tools.refused(
            "update_task", task=proposed, accept=accept
        )
    assert project.task(proposed).state is TaskState(state)


async def test_dependencies_are_changed_all_or_nothing_and_never_into_a_cycle(
    project: Project,
) -> None:
    plan = a_plan(project)
    first, second, third = (a_task(project, title, plan=plan) for title in "ABC")
    async with in_memory(project, DIRECTOR) as client:
        tools = Tools(client)
        done = await tools("set_dependencies", task=second, add=[first])
        assert done["outcome"] == f"{second} depends on {first}."
        await tools("set_dependencies", task=third, add=[second])
        words = await tools.refused("set_dependencies", task=first, add=[third])
        assert "[cyclic_dependencies] These dependencies form a cycle" in words
        assert all(task in words for task in (first, second, third))
        words = await tools.refused("set_dependencies", task=third, add=[first], remove=["T99"])
        assert "[not_found]" in words
        assert (await tools("get_task", task=third))["depends_on"] == [second]
        done = await tools("set_dependencies", task=third, remove=[second])
        assert done["outcome"] == f"{third} depends on nothing."


async def test_a_task_is_cancelled_and_a_stuck_one_is_tried_again(project: Project) -> None:
    cancelled, stuck = a_task(project), a_task(project, state=TaskState.STUCK)
    async with in_memory(project, DIRECTOR) as client:
        tools = Tools(client)
        done = await tools("cancel_task", task=cancelled)
        assert done["outcome"] == f"{cancelled} is cancelled."
        assert (await tools("retry_task", task=stuck))["outcome"] == f"{stuck} is open again."
        assert "[illegal_transition]" in await tools.refused("retry_task", task=cancelled)


async def test_a_question_is_listed_shown_in_full_and_answered_once(project: Project) -> None:
    worker = a_worker(project, a_task(project))
    question = worker.ask("Which one? " + "x" * 1000)
    async with in_memory(project, DIRECTOR) as client:
        tools = Tools(client)
        (line,) = (await tools("list_questions"))["questions"]
        assert (line["id"], line["task"], line["state"]) == (question.id, worker.task_id, "open")
        assert line["text"].endswith("…")
        (shown,) = (await tools("list_questions", question=question.id))["questions"]
        assert shown["text"] == question.text
        done = await tools("answer_question", question=question.id, answer="The left one.")
        assert done["outcome"] == f"{question.id} is answered."
        words = await tools.refused("answer_question", question=question.id, answer="The right.")
        assert "[illegal_transition]" in words
        assert (await tools("list_questions"))["questions"] == []
        (ended,) = (await tools("list_questions", all=True))["questions"]
        assert (ended["state"], ended["answer"]) == ("answered", "The left one.")


async def test_a_question_is_left_to_the_person(project: Project) -> None:
    question = a_worker(project, a_task(project)).ask()
    async with in_memory(project, DIRECTOR) as client:
        tools = Tools(client)
        done = await tools("escalate", question=question.id, note="It costs money.")
        assert done["outcome"] == f"{question.id} waits for the person."
        (line,) = (await tools("list_questions"))["questions"]
        assert line["escalated"] is True
        assert "It costs money." in line["context"]
    assert project.question(question.id).state is QuestionState.OPEN


async def test_waiting_for_events_ends_at_the_first_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = a_proposal(project)
    has_looked = threading.Event()
    look = project.services.seats.news_after

    def noting(after: int | None) -> Told:
        seen = look(after)
        has_looked.set()
        return seen

    after: list[dict[str, Any]] = []
    async with in_memory(project, DIRECTOR) as client:
        tools = Tools(client)
        before = await tools("wait_for_events", after=0)
        newest = before["newest"]
        assert [line["text"] for line in before["news"]] == [
            f'{proposal} is proposed and waits for a yes or no: "A follow-up"'
        ]

        monkeypatch.setattr(project.services.seats, "news_after", noting)

        async def wait() -> None:
            after.append(await tools("wait_for_events", after=newest))

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            assert await anyio.to_thread.run_sync(has_looked.wait, SECONDS)
            a_plan(project, "No news for a director")
            assert not after
            project.services.fleet.pause_fleet(PERSON, reason="lunch")
        (line,) = after[0]["news"]
        assert '"reason: lunch"' in line["text"]
        assert after[0]["newest"] >= line["number"] > newest
        assert "end your turn" in after[0]["next_step"]


async def test_waiting_for_events_ends_with_a_word_when_nothing_happens(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(director_tools, "EVENT_WAIT_SECONDS", 0.05)
    async with in_memory(project, DIRECTOR) as client:
        tools = Tools(client)
        newest = (await tools("read_log"))["newest"]
        assert await tools("wait_for_events", after=newest) == {
            "news": [],
            "newest": newest,
            "next_step": "Nothing happened. End your turn rather than wait again.",
        }


async def test_the_fleet_is_paused_and_goes_on(project: Project) -> None:
    task = a_task(project)
    async with in_memory(project, DIRECTOR) as client:
        tools = Tools(client)
        assert (await tools("pause_fleet", reason="lunch"))["outcome"] == "lunch"
        assert (await tools("fleet_status"))["paused"] == "lunch"
        assert project.services.dispatch.next_order(PERSON) is None
        assert (await tools("why", task=task))["sentence"].endswith("paused: lunch.")
        assert (await tools("resume_fleet"))["outcome"] == "The fleet goes on."
        assert (await tools("fleet_status"))["paused"] == ""
        assert project.services.dispatch.next_order(PERSON) is not None


async def test_the_fleet_at_a_glance(project: Project) -> None:
    plan = a_plan(project, "Shop")
    worker = a_worker(project, a_task(project, "First", plan=plan))
    a_task(project, "Second", plan=plan, depends_on=[worker.task_id])
    question = worker.ask("Which?")
    async with in_memory(project, DIRECTOR) as client:
        seen = await Tools(client)("fleet_status")
    assert (seen["ready"], seen["blocked"]) == (0, 1)
    assert seen["tasks"] == {"claimed": 1, "open": 1}
    assert seen["plans"] == [f"{plan} Shop (active, 0 of 2)"]
    assert seen["sessions"] == [f"worker-1 on {worker.task_id} First: "]
    assert seen["questions"] == [f"{question.id} ({worker.task_id}): Which?"]
    assert any("checks" in note for note in seen["notes"])


async def test_the_log_is_read_from_a_number_and_by_subject(project: Project) -> None:
    task = a_task(project)
    worker = a_worker(project, task)
    async with in_memory(project, DIRECTOR) as client:
        tools = Tools(client)
        of_task = (await tools("read_log", subject=task))["events"]
        assert [event["kind"] for event in of_task] == ["task_created", "claimed"]
        newest = (await tools("read_log"))["newest"]
        assert await tools("read_log", after=newest) == {
            "events": [],
            "newest": newest,
            "next_step": "",
        }
        of_session = (await tools("read_log", subject=worker.session.name))["events"]
        assert {event["subject"] for event in of_session} == {worker.session.id}


async def test_the_persons_director_approves_and_sends_back(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="agents: {steward: {autoMerge: false, review: false}}\n")
    first = a_merge_request(project, a_task(project, "First"))
    second = a_merge_request(project, a_task(project, "Second"))
    project.run_train()
    assert project.request(first.id).state is MergeState.OPEN
    async with in_memory(project, PERSON) as client:
        tools = Tools(client)
        lines = (await tools("list_merge_requests"))["merge_requests"]
        assert [line["id"] for line in lines] == [first.id, second.id]
        assert "approve" in lines[0]["status"]
        done = await tools("approve_merge", merge_request=first.id)
        assert done["outcome"] == f"{first.id} is approved."
        done = await tools("send_back", merge_request=second.task_id, reason="Too long.")
        assert done["outcome"] == f"{second.task_id} goes back to a worker."
    project.run_train()
    assert project.request(first.id).state is MergeState.LANDED
    assert project.request(second.id).state is MergeState.SENT_BACK
    with project.services.workspace.read() as tx:
        by = [row[0] for row in tx.db.execute("SELECT by FROM reviews").fetchall()]
    assert by == ["person", "person"]


async def test_a_plan_is_named_by_its_title_and_an_unknown_one_is_refused(
    project: Project,
) -> None:
    a_plan(project, "Sprint 14", draft=True)
    async with in_memory(project, DIRECTOR) as client:
        tools = Tools(client)
        assert (await tools("activate_plan", plan="Sprint 14"))["state"] == "active"
        assert "[not_found]" in await tools.refused("activate_plan", plan="Sprint 15")
    assert project.plan("P1").state is PlanState.ACTIVE
