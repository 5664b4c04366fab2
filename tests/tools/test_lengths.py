"""Results are short, whatever a project holds, and the rest of it is reached page by page."""

import json
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from sf_mcp.core.identity import PERSON, Caller
from sf_mcp.core.models import Role
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.service.questions import ANSWER_LIMIT, CONTEXT_LIMIT, NOTE_LIMIT, QUESTION_LIMIT
from tests.builders import (
    Project,
    a_merge_request,
    a_plan,
    a_project,
    a_steward,
    a_task,
    a_worker,
    some_tasks,
)
from tests.service.builders_conflicts import found, move_target
from tests.web.builders_server import Tools, answer, in_memory

pytestmark = pytest.mark.anyio

DIRECTOR = Caller(role=Role.DIRECTOR, name="director-1")
MOST_TOKENS = 4_000
CHARACTERS_PER_TOKEN = 3.5
TEXTS = {"letters": "word ", "quotes": '"\\', "other scripts": "ж✓"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


async def _short(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the result, which is refused by nobody and fits into what a model should be shown."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    shown = json.dumps(result.structured_content, ensure_ascii=False)
    assert len(shown) / CHARACTERS_PER_TOKEN < MOST_TOKENS, f"{tool}: {len(shown)} characters"
    assert result.structured_content is not None
    return result.structured_content


def _of(length: int, words: str) -> str:
    return (words * length)[:length]


def _a_huge_task(project: Project, words: str) -> TaskDraft:
    """All that a task can hold."""
    return TaskDraft(
        title=_of(500, "title "),
        description=_of(30_000, words),
        acceptance=[_of(499, f"{number} criterion ") for number in range(50)],
        paths=[_of(499, f"path{number}/") for number in range(50)],
        depends_on=some_tasks(project, *(TaskDraft(title=_of(500, "before ")) for _ in range(40))),
    )


@pytest.mark.parametrize("words", TEXTS.values(), ids=TEXTS)
async def test_a_huge_task_is_read_page_by_page_and_nothing_is_lost(
    project: Project, words: str
) -> None:
    draft = _a_huge_task(project, words)
    (task,) = some_tasks(project, draft)
    async with in_memory(project, DIRECTOR) as client:
        first = await _short(client, "get_task", task=task)
        assert first["note"]
        text = first["text"]
        for page in range(2, first["pages"] + 1):
            text += (await _short(client, "get_task", task=task, page=page))["text"]
        assert draft.description.strip() in text
        assert all(criterion.strip() in text for criterion in draft.acceptance)
        beyond = await _short(client, "get_task", task=task, page=10**6)
        assert text.endswith(beyond["text"])
        assert (await _short(client, "get_task", task=task, page=-1))["text"] == first["text"]
        await _short(client, "why", task=task)


async def test_a_huge_brief_keeps_the_way_to_the_rest(project: Project) -> None:
    (task,) = some_tasks(project, TaskDraft(title="Long", description=_of(100_000, '"\n')))
    text = _of(19_997, '"\\') + "end"
    fields = ("progress", "remaining", "decisions", "pitfalls", "next_step")
    for _ in range(5):
        worker = a_worker(project, task)
        async with in_memory(project, worker.caller) as client:
            await Tools(client)("write_handoff", **dict.fromkeys(fields, text))
        worker.end()
    worker = a_worker(project, task, with_worktree=True)
    async with in_memory(project, worker.caller) as client:
        brief = await _short(client, "claim_task")
        assert brief["worktree"] == str(worker.cwd)
        assert brief["note"] == f"Shortened: get_task('{task}') has all of it, page by page."
        assert brief["attempt"] == 6
        assert (await _short(client, "get_task", task=task))["pages"] > 100
        last = await _short(client, "get_task", task=task, page=10**6)
        assert last["text"].endswith("end")


async def test_a_huge_plan_is_read_page_by_page_in_order(project: Project) -> None:
    plan = a_plan(project)
    tasks = [{"title": _of(500, f"{number} title ")} for number in range(120)]
    async with in_memory(project, DIRECTOR) as client:
        made = await _short(client, "add_tasks", plan=plan, tasks=tasks)
        assert made["total"] == 120
        shown = [line["id"] for line in made["tasks"]]
        assert f"after='{shown[-1]}'" in made["next_step"]
        ids = [*shown, *await _ids(client, "list_tasks", "tasks", plan=plan, after=shown[-1])]
        assert ids == await _ids(client, "list_tasks", "tasks", plan=plan)
        assert len(ids) == len(set(ids)) == 120
        assert await _ids(client, "list_tasks", "tasks", state="ready") == ids
        (last,) = some_tasks(project, TaskDraft(title="Last", depends_on=ids))
        await _short(client, "get_task", task=last)
        await _short(client, "why", task=last)
        done = await _short(client, "set_dependencies", task=last, remove=[ids[0]])
        assert done["outcome"].endswith(f", {ids[20]}, … and 99 more.")
        await _short(client, "fleet_status")
        await _short(client, "cancel_plan", plan=plan)


async def _ids(client: Client, tool: str, field: str, after: str = "", **more: Any) -> list[str]:
    """Return the ids of all pages."""
    found: list[str] = []
    while True:
        page = await _short(client, tool, after=after, **more)
        found += [line["id"] for line in page[field]]
        if not page["next_after"]:
            return found
        after = page["next_after"]


@pytest.mark.parametrize("words", TEXTS.values(), ids=TEXTS)
async def test_the_longest_question_is_shown_whole(project: Project, words: str) -> None:
    worker = a_worker(project, a_task(project))
    text = _of(QUESTION_LIMIT - 1, words).strip() + "?"
    asked = project.services.questions.ask_director(
        worker.caller,
        question=text,
        options=tuple(_of(199, f"{number} option ") + "." for number in range(10)),
        context=_of(CONTEXT_LIMIT, words),
    ).question
    assert asked is not None
    project.services.questions.escalate(DIRECTOR, asked.id, note=_of(NOTE_LIMIT, words))
    async with in_memory(project, DIRECTOR) as client:
        await _short(client, "list_questions")
        seen = await _short(client, "list_questions", question=asked.id)
        assert seen["questions"][0]["text"] == text
        assert bool(seen["note"]) is (words == TEXTS["quotes"])
        answer(project, asked.id, _of(ANSWER_LIMIT - 1, words).strip() + ".")
        await _short(client, "list_questions", all=True)
        assert (await _short(client, "list_questions", question=asked.id))["note"]


async def test_many_questions_and_merge_requests_come_by_page(project: Project) -> None:
    asked = [
        a_worker(project, a_task(project, f"Task {number}")).ask(_of(2_000, f"{number} why ") + "?")
        for number in range(25)
    ]
    for _ in range(8):
        worker = a_worker(project, a_task(project, _of(500, "title ")), with_worktree=True)
        worker.request_merge(summary=_of(8_000, "done "), no_changes_reason="x" * 8_000)
        worker.end()
    async with in_memory(project, PERSON) as client:
        ids = await _ids(client, "list_questions", "questions")
        assert ids == [question.id for question in asked]
        assert len(await _ids(client, "list_merge_requests", "merge_requests")) == 8
        await _short(client, "fleet_status")


async def test_a_long_log_is_read_on_from_the_last_number(project: Project) -> None:
    worker = a_worker(project, a_task(project))
    for number in range(120):
        project.services.claims.report_progress(worker.caller, message=f"{number} " + "x" * 1_900)
    async with in_memory(project, DIRECTOR) as client:
        newest = await _short(client, "read_log")
        numbers: list[int] = []
        while page := await _short(client, "read_log", after=numbers[-1] if numbers else 0):
            numbers += [event["number"] for event in page["events"]]
            if numbers[-1] == newest["newest"]:
                break
        assert numbers == list(range(1, newest["newest"] + 1))
        assert [event["number"] for event in newest["events"]] == numbers[-len(newest["events"]) :]


async def test_a_review_of_huge_work_is_short_and_says_where_the_rest_is(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\n")
    (task,) = some_tasks(
        project,
        TaskDraft(
            title=_of(500, "title "),
            description='"\n' * 50_000,
            acceptance=["criterion " * 49] * 50,
        ),
    )
    files: dict[str, str | None] = {
        f"src/{'long' * 20}/{number}.py": '"\\\t"\n' * 200 for number in range(120)
    }
    request = a_merge_request(project, task, files)
    project.run_train()
    steward = a_steward(project, request)
    async with in_memory(project, steward.caller) as client:
        page = await _short(client, "claim_review")
        assert page["worktree"] == str(steward.cwd)
        assert page["commit"] == request.commit
        assert f"get_task('{task}')" in page["note"]
        for _ in range(2):
            page = await _short(client, "claim_review", start=page["next_start"])


async def test_a_conflict_of_huge_work_is_short_and_says_where_the_rest_is(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config="checks: []\n")
    (task,) = some_tasks(
        project,
        TaskDraft(title=_of(500, "title "), description='"\n' * 50_000, acceptance=["is so"] * 50),
    )
    names = [f"src/{'long' * 20}/{number}.py" for number in range(120)]
    request = a_merge_request(project, task, dict.fromkeys(names, '"\\\t"\n' * 200))
    move_target(project, dict.fromkeys(names, "theirs\n"))
    assert found(project, request)
    steward = a_steward(project, request)
    async with in_memory(project, steward.caller) as client:
        page = await _short(client, "claim_conflict")
        assert page["worktree"] == str(steward.cwd)
        assert page["next_step"].startswith("Edit the files")
        assert "get_task" in page["note"]
        for _ in range(2):
            page = await _short(client, "claim_conflict", start=page["next_start"])


async def test_a_long_check_log_is_cut_to_its_end(tmp_path: Path) -> None:
    noise = 'python3 -c "print(chr(92) * 9_000); raise SystemExit(1)"'
    checks = [{"name": f"check {number}", "run": noise} for number in range(3)]
    project = a_project(tmp_path, config=json.dumps({"checks": checks}))
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "1\n"})
    async with in_memory(project, worker.caller) as client:
        report = await _short(client, "run_checks")
    assert report["status"] == "failed"
    assert [line["name"] for line in report["checks"]] == [check["name"] for check in checks]
    assert report["note"]


async def test_conflicts_in_many_files_are_counted(project: Project) -> None:
    files: dict[str, str | None] = {f"src/{number}.py": "mine\n" for number in range(200)}
    workers = [
        a_worker(project, a_task(project, _of(500, f"{number} ")), with_worktree=True)
        for number in range(4)
    ]
    for number, worker in enumerate(workers):
        worker.commit(dict.fromkeys(files, f"{number}\n"))
    async with in_memory(project, workers[0].caller) as client:
        report = await _short(client, "check_conflicts")
    assert len(report["conflicts"]) == 3
    assert "… and 180 more" in report["conflicts"][0]["paths"]
