"""A steward's review, from claim to decision, through its tools."""

from collections.abc import Generator
from pathlib import Path

import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, MergeRequest, Role
from sf_mcp.core.states import ConflictState, MergeState, TaskState
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.tools.fitting import RESULT_CHARACTERS
from tests.builders import (
    Project,
    a_merge_request,
    a_project,
    a_steward,
    a_task,
    a_worker,
    some_tasks,
    write,
)
from tests.service.builders_conflicts import a_conflict, move_target, states
from tests.web.builders_server import (
    ERAS,
    Served,
    Tools,
    a_reviewer,
    in_memory,
    over_http,
    served,
    text_of,
)

pytestmark = pytest.mark.anyio

REVIEWED = "checks: []\n"
DECIDE = "End your turn now."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served"), config=REVIEWED) as one:
        yield one


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path, config=REVIEWED)


def _a_request(project: Project, files: dict[str, str | None] | None = None) -> MergeRequest:
    draft = TaskDraft(title="Add a parser", description="Why.", acceptance=("it parses",))
    (task,) = some_tasks(project, draft)
    request = a_merge_request(project, task, files)
    # Builds and checks the candidate; it waits for a steward then.
    project.run_train()
    return request


@pytest.mark.parametrize("mode", ERAS)
async def test_a_steward_reads_and_approves_and_the_work_lands(server: Served, mode: str) -> None:
    project = server.project
    request = _a_request(project, {f"src/{mode}.py": "one\ntwo\n"})
    steward = a_steward(project, request)
    async with over_http(server, Role.STEWARD, steward.token, mode) as client:
        tools = Tools(client)
        brief = await tools("claim_review", use_id="u1")
        assert (brief["merge_request"], brief["task"]) == (request.id, request.task_id)
        assert (brief["intent"], brief["acceptance"]) == ("Why.", ["it parses"])
        assert (brief["summary"], brief["commit"]) == ("done", request.commit)
        assert brief["resolution"] == ""
        assert brief["changed_files"] == [f"src/{mode}.py"]
        assert "+one\n+two\n" in brief["diff"]
        assert brief["next_start"] is None
        assert Path(brief["worktree"]) == steward.cwd
        assert (steward.cwd / f"src/{mode}.py").read_text() == "one\ntwo\n"

        approved = await tools("approve_merge", use_id="u2", reason="It parses.")
        assert approved == {"outcome": f"{request.id} is approved.", "next_step": DECIDE}
        assert await tools("approve_merge", use_id="u2", reason="It parses.") == approved
        words = await tools.refused("approve_merge", use_id="u3", reason="Again.")
        assert words.startswith("Error executing tool approve_merge: [stale_lease] ")
    steward.end()
    project.run_train()
    assert project.request(request.id).state is MergeState.LANDED
    assert project.task(request.task_id).state is TaskState.MERGED


async def test_the_pages_of_a_long_diff_are_the_whole_diff(project: Project) -> None:
    text = "".join(f'{number}: "quoted\\" and naïve ✓"\n' for number in range(800))
    request = _a_request(project, {"src/long.py": text, "src/app.py": "none\n"})
    steward = a_steward(project, request)
    async with in_memory(project, steward.caller) as client:
        tools = Tools(client)
        page = await tools("claim_review")
        diff, pages = page["diff"], 1
        while page["next_start"] is not None:
            page = await tools("claim_review", start=page["next_start"])
            diff, pages = diff + page["diff"], pages + 1
    assert pages > 3
    whole = project.forge.diff(request.base, request.commit, start=0, max_bytes=10**7)
    assert whole.next_start is None
    assert diff == whole.text


async def test_a_page_that_is_not_there_is_empty_or_refused(project: Project) -> None:
    steward = a_steward(project, _a_request(project))
    async with in_memory(project, steward.caller) as client:
        for start in (-1, 10**9, 10**30):
            result = await client.call_tool("claim_review", {"start": start})
            if result.is_error:
                assert "[invalid_input]" in text_of(result)
            else:
                assert result.structured_content is not None
                assert result.structured_content["next_start"] is None


async def test_work_that_is_sent_back_carries_the_reason_to_the_next_worker(
    project: Project,
) -> None:
    request = _a_request(project)
    steward = a_steward(project, request)
    async with in_memory(project, steward.caller) as client:
        tools = Tools(client)
        words = await tools.refused("send_back", reason="  ")
        assert "[invalid_input] Sending work back needs a reason. Say what must change" in words
        done = await tools("send_back", reason="src/app.py:3 drops the sign.")
        assert done["outcome"] == f"{request.task_id} goes back to a worker."
    steward.end()
    assert project.request(request.id).state is MergeState.SENT_BACK
    worker = a_worker(project, request.task_id, with_worktree=True)
    async with in_memory(project, worker.caller) as client:
        brief = await Tools(client)("claim_task")
    (note,) = brief["repair_notes"]
    assert note == f"{steward.session.name} asks for changes\nsrc/app.py:3 drops the sign."


async def test_what_a_steward_escalates_waits_for_the_person(project: Project) -> None:
    request = _a_request(project)
    steward = a_steward(project, request)
    async with in_memory(project, steward.caller) as client:
        done = await Tools(client)("escalate", note="It changes the licence.")
        assert done["outcome"] == f"{request.id} waits for the person."
    steward.end()
    project.run_train()
    assert project.request(request.id).state is MergeState.OPEN
    assert project.request(request.id).is_escalated


async def test_a_steward_cannot_decide_on_another_merge_request(project: Project) -> None:
    first = _a_request(project, {"a.txt": "1\n"})
    second = _a_request(project, {"b.txt": "1\n"})
    steward = a_reviewer(project, second)
    async with in_memory(project, steward.caller) as client:
        # Extra arguments are none of the tool's.
        await client.call_tool("approve_merge", {"reason": "ok", "merge_request": first.id})
    with project.services.workspace.read() as tx:
        rows = tx.db.execute("SELECT merge_request_id FROM reviews").fetchall()
    assert [row[0] for row in rows] == [second.id]


async def test_after_its_session_was_given_up_a_steward_decides_nothing(project: Project) -> None:
    request = _a_request(project)
    steward = a_steward(project, request)
    steward.end(EndKind.KILLED)
    async with in_memory(project, steward.caller) as client:
        tools = Tools(client)
        for tool, arguments in (
            ("claim_review", {}),
            ("approve_merge", {"reason": "ok"}),
            ("send_back", {"reason": "no"}),
            ("escalate", {"note": "hm"}),
        ):
            words = await tools.refused(tool, **arguments)
            assert words.startswith(f"Error executing tool {tool}: [stale_lease] "), words
    assert project.request(request.id).state is MergeState.OPEN


async def test_a_review_of_nothing_to_merge_shows_the_reason(project: Project) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    request = worker.request_merge(no_changes_reason="It was there already.")
    worker.end()
    project.run_train()
    steward = a_steward(project, request)
    async with in_memory(project, steward.caller) as client:
        tools = Tools(client)
        brief = await tools("claim_review")
        assert brief["no_changes_reason"] == "It was there already."
        assert (brief["changed_files"], brief["diff"]) == ([], "")
        await tools("approve_merge", reason="True.")
    steward.end()
    project.run_train()
    assert project.task(request.task_id).state is TaskState.CLOSED


# -- conflicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ERAS)
async def test_a_steward_resolves_a_conflict_and_the_work_lands(server: Served, mode: str) -> None:
    project = server.project
    name = f"src/{mode}-both.py"
    move_target(project, {name: "one\ntwo\nthree\n"})
    request = a_conflict(project, {name: "one\nmine\nthree\n"}, {name: "one\ntheirs\nthree\n"})
    steward = a_steward(project, request)
    async with over_http(server, Role.STEWARD, steward.token, mode) as client:
        tools = Tools(client)
        brief = await tools("claim_conflict", use_id="c1")
        assert (brief["merge_request"], brief["task"]) == (request.id, request.task_id)
        assert (brief["paths"], brief["target"]) == ([name], "main")
        assert Path(brief["worktree"]) == steward.cwd
        assert f"{name}:2\n<<<<<<<" in brief["text"]
        shown = await tools("get_task", task=request.task_id)
        assert (
            f"## Merge request\n{request.id} is in conflict with main in {name}: a steward "
            "resolves it" in shown["text"]
        )
        assert [side["title"] for side in brief["others"]] == ["theirs"]

        write(steward.cwd, {name: "one\nmine\nthree\n"})
        words = await tools.refused("submit_resolution", use_id="c2", summary="Mine is better.")
        assert "[unresolved] 1 lines or paths are not accounted for:" in words
        assert f"{name}:2 added by main, missing from the result: theirs" in words
        assert "or list it in `dropped`: the path, the exact text, a reason." in words

        given = {
            "summary": "Mine says what theirs said.",
            "dropped": [{"path": name, "lines": ["theirs"], "reason": "mine says it"}],
        }
        done = await tools("submit_resolution", use_id="c3", **given)
        assert done == {
            "outcome": f"The conflict of {request.id} is resolved.",
            "next_step": DECIDE,
        }
        assert await tools("submit_resolution", use_id="c3", **given) == done
        words = await tools.refused("submit_resolution", use_id="c4", summary="Again.")
        assert "[stale_lease]" in words
    steward.end()
    assert project.request(request.id).commit != request.commit
    project.run_train()
    reviewer = a_steward(project, request)
    async with over_http(server, Role.STEWARD, reviewer.token, mode) as client:
        tools = Tools(client)
        brief = await tools("claim_review")
        assert "resolved by steward-" in brief["resolution"]
        assert f"Not taken over:\n- {name}, 1 line: mine says it" in brief["resolution"]
        await tools("approve_merge", reason="Yes.")
    reviewer.end()
    project.run_train()
    assert project.request(request.id).state is MergeState.LANDED


async def test_a_path_is_decided_through_the_tool(project: Project) -> None:
    request = a_conflict(project, {"src/app.py": "one\nmine\nthree\n"}, {"src/app.py": None})
    steward = a_steward(project, request)
    async with in_memory(project, steward.caller) as client:
        tools = Tools(client)
        words = await tools.refused("submit_resolution", summary="Gone.")
        assert "src/app.py: changed by one side, deleted by the other" in words
        await tools(
            "submit_resolution",
            summary="Gone.",
            decided=[{"path": "src/app.py", "take": "deleted", "reason": "nobody calls it"}],
        )
    assert states(project, request) == [ConflictState.RESOLVED]


async def test_a_long_list_of_what_is_missing_is_cut_and_counted(project: Project) -> None:
    mine = "".join(f"mine {number} {'x' * 300}\n" for number in range(100))
    request = a_conflict(project, {"src/app.py": f"one\n{mine}three\n"})
    steward = a_steward(project, request)
    write(steward.cwd, {"src/app.py": "one\ntheirs\nthree\n"})
    async with in_memory(project, steward.caller) as client:
        words = await Tools(client).refused("submit_resolution", summary="Theirs.")
    assert "100 lines or paths are not accounted for:" in words
    assert "… and 60 more" in words
    assert len(words) < RESULT_CHARACTERS


async def test_a_conflict_left_to_the_person_waits_for_the_person(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    async with in_memory(project, steward.caller) as client:
        tools = Tools(client)
        words = await tools.refused("approve_merge", reason="Mine is fine.")
        assert "to be resolved, not reviewed. Call submit_resolution, or escalate." in words
        done = await tools("escalate", note="They contradict each other.")
        assert done["outcome"] == f"{request.id} waits for the person."
    assert project.request(request.id).is_escalated


async def test_steward_and_director_are_shown_the_same_facts_and_risks(project: Project) -> None:
    request = _a_request(
        project,
        {
            "requirements.txt": "leftpad\n",
            "tests/test_a.py": "@pytest.mark.skip\ndef test_a(): 1\n",
        },
    )
    risks = [
        "tests: tests/test_a.py:1: a test is marked (skipped): @pytest.mark.skip",
        "dependency: requirements.txt: a dependency is added: leftpad",
    ]
    steward = a_steward(project, request)
    async with in_memory(project, steward.caller) as client:
        assert (await Tools(client)("claim_review"))["risks"] == risks
    async with in_memory(project, PERSON) as client:
        shown = await Tools(client)("list_merge_requests", merge_request=request.task_id)
    assert [line["id"] for line in shown["merge_requests"]] == [request.id]
    assert shown["facts"]["risks"] == risks
    assert shown["facts"]["files"] == [
        "requirements.txt (added, +1 -0)",
        "tests/test_a.py (added, +2 -0)",
    ]
    assert shown["facts"]["steward"] == "has not decided yet"
