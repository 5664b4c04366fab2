"""A worker's task from claim to merge request, through its tools and git alone."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import pytest

from sf_mcp.core.identity import PERSON, Caller
from sf_mcp.core.models import Role
from sf_mcp.core.states import QuestionState, TaskState
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.tools import worker as worker_tools
from tests.builders import (
    Project,
    a_commit,
    a_merge_request,
    a_project,
    a_session,
    a_task,
    a_worker,
    dispatched,
    git,
    some_tasks,
    write,
)
from tests.web.builders_server import (
    ERAS,
    Served,
    Tools,
    answer,
    count,
    in_memory,
    over_http,
    served,
    the_question,
)

pytestmark = pytest.mark.anyio

CHECKED = """
checks:
  - {name: words, run: "! grep -r wrong src", timeoutSeconds: 60}
agents:
  steward: {review: false}
"""
END = "End your turn now: your part of this task is done."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served"), config=CHECKED) as one:
        yield one


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_worker_claims_commits_checks_and_asks_for_the_merge(
    server: Served, mode: str
) -> None:
    project = server.project
    draft = TaskDraft(
        title="Add a parser",
        description="It reads numbers.",
        acceptance=("numbers are read",),
        paths=("src",),
    )
    (task,) = some_tasks(project, draft)
    worker = dispatched(project)
    async with over_http(server, Role.WORKER, worker.token, mode) as client:
        tools = Tools(client)

        brief = await tools("claim_task", use_id="u1")
        assert (brief["task"], brief["title"]) == (task, "Add a parser")
        assert brief["description"] == "It reads numbers."
        assert brief["acceptance"] == ["numbers are read"]
        assert brief["attempt"] == 1
        assert brief["worktree"] == str(worker.cwd)
        assert brief["branch"] == f"sf/{task}-add-a-parser"
        assert brief["checks"] == ["words: ! grep -r wrong src"]
        assert project.target.startswith(brief["base"])

        told = await tools("report_progress", use_id="u2", message="I read the code.")
        assert told == {"outcome": "Noted.", "next_step": "Go on."}

        worker.commit({f"src/{mode}.py": "wrong\n"})
        checked = await tools("run_checks", use_id="u3")
        assert checked["status"] == "failed"
        assert checked["checks"][0]["name"] == "words"
        assert f"src/{mode}.py:wrong" in checked["checks"][0]["log_tail"]
        assert checked["next_step"] == "Mend it, commit, and call run_checks again."

        pinned = worker.commit({f"src/{mode}.py": "right\n"})
        checked = await tools("run_checks", use_id="u4")
        assert (checked["status"], checked["checks"][0]["outcome"]) == ("passed", "passed")
        assert checked["checks"][0]["log_tail"] == ""

        conflicts = await tools("check_conflicts", use_id="u5")
        assert conflicts["conflicts"] == []
        assert "main" in conflicts["compared_with"]
        assert conflicts["uncommitted"] == ""

        asked = await tools("request_merge", use_id="u6", summary="It reads numbers now.")
        request = project.services.requests.get_merge_request(PERSON, task).request
        assert asked == {"outcome": f"{request.id} is open for {task}.", "next_step": END}
        assert (request.commit, request.summary) == (pinned, "It reads numbers now.")
        assert project.task(task).state is TaskState.IN_REVIEW

    worker.end()
    project.run_train()
    assert project.task(task).state is TaskState.MERGED


async def test_the_brief_tells_what_came_before(project: Project) -> None:
    first = a_task(project, "First")
    a_merge_request(project, first)
    project.run_train()
    draft = TaskDraft(title="Second", depends_on=(first,), paths=("src/app.py",))
    (second,) = some_tasks(project, draft)
    (neighbour,) = some_tasks(project, TaskDraft(title="Third", paths=("src",)))
    a_worker(project, neighbour)
    earlier = a_worker(project, second, with_worktree=True)
    async with in_memory(project, earlier.caller) as client:
        tools = Tools(client)
        await tools("claim_task")
        write(earlier.cwd, {"draft.txt": "half\n"})
        handed = await tools(
            "write_handoff",
            progress="The first half.",
            remaining="The second half.",
            decisions="Plain text.",
            pitfalls="Not XML.",
            next_step="Read draft.txt.",
        )
        assert handed == {"outcome": f"{second} is handed off.", "next_step": END}
    earlier.end()

    later = a_worker(project, second, with_worktree=True)
    async with in_memory(project, later.caller) as client:
        brief = await Tools(client)("claim_task")
    assert brief["attempt"] == 2
    assert [(one["task"], one["summary"]) for one in brief["delivered"]] == [(first, "done")]
    assert project.target.startswith(brief["delivered"][0]["commit"])
    (handoff,) = brief["handoffs"]
    for words in ("The first half.", "The second half.", "Plain text.", "Not XML.", "draft.txt"):
        assert words in handoff
    snapshot = handoff.rpartition("Snapshot of uncommitted files: ")[2]
    assert git(later.cwd, "show", f"{snapshot}:draft.txt") == "half"
    assert brief["neighbours"] == [f"{neighbour}: Third"]


async def test_a_brief_after_a_resume_is_the_same_one(project: Project) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    async with in_memory(project, worker.caller) as client:
        tools = Tools(client)
        first = await tools("claim_task", use_id="u1")
        assert await tools("claim_task", use_id="u2") == first
        assert await tools("claim_task") == first


async def test_a_worker_without_a_task_claims_the_next_one_and_gets_its_worktree(
    project: Project,
) -> None:
    worker = a_worker(project, a_task(project, "Done soon"))
    async with in_memory(project, worker.caller) as client:
        tools = Tools(client)
        brief = await tools("claim_task")
        assert Path(brief["worktree"]).is_dir()
        await tools("release_task", reason="I cannot.")
        assert await tools.refused("claim_task") == (
            "Error executing tool claim_task: [task_not_ready] Your work on "
            f"{worker.task_id} has ended (released). End your turn; a new session gets the next "
            "task."
        )


@pytest.mark.parametrize("state", ["uncommitted", "nothing", "elsewhere", "merging"])
async def test_a_merge_request_is_refused_with_what_is_missing(
    project: Project, state: str
) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    match state:
        case "uncommitted":
            worker.commit({"a.txt": "1\n"})
            write(worker.cwd, {"b.txt": "2\n"})
            said = "1 files are not committed: b.txt. Commit what belongs to the task"
        case "nothing":
            said = "differs from its base"
        case "elsewhere":
            worker.git("switch", "--quiet", "--detach")
            said = "The worktree is not on its branch"
        case _:
            other = worker.commit({"src/app.py": "other\n"})
            worker.git("reset", "--quiet", "--hard", "HEAD~1")
            worker.commit({"src/app.py": "mine\n"})
            with pytest.raises(AssertionError, match="git merge"):
                worker.git("merge", "--quiet", other)
            said = "A merge is under way in the worktree. Finish or abort it"
    async with in_memory(project, worker.caller) as client:
        words = await Tools(client).refused("request_merge", summary="done")
    assert words.startswith("Error executing tool request_merge: [invalid_input] ")
    assert said in words
    assert project.task(worker.task_id).state is TaskState.CLAIMED


async def test_nothing_to_merge_is_accepted_with_the_reason(project: Project) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    async with in_memory(project, worker.caller) as client:
        await Tools(client)("request_merge", summary="done", no_changes_reason="It was there.")
    worker.end()
    project.run_train()
    assert project.task(worker.task_id).state is TaskState.CLOSED


async def test_checks_want_committed_files(server: Served) -> None:
    worker = a_worker(server.project, a_task(server.project), with_worktree=True)
    write(worker.cwd, {"new.txt": "1\n"})
    async with in_memory(server.project, worker.caller) as client:
        assert "[invalid_input] Files are not committed; checks run on commits. Commit" in (
            await Tools(client).refused("run_checks")
        )


async def test_long_checks_are_waited_for_call_by_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    checks = f'checks: [{{name: slow, run: "until test -e {gate}; do sleep 0.02; done"}}]'
    project = a_project(tmp_path, config=checks)
    monkeypatch.setattr(worker_tools, "CHECK_WAIT_SECONDS", 0.1)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"new.txt": "1\n"})
    async with in_memory(project, worker.caller) as client:
        tools = Tools(client)
        assert await tools("run_checks") == {
            "status": "running",
            "checks": [],
            "next_step": "Call run_checks again to go on waiting.",
            "note": "",
        }
        gate.touch()
        with anyio.fail_after(20):
            while (seen := await tools("run_checks"))["status"] == "running":
                pass
        assert seen["status"] == "passed"


async def test_conflicts_with_the_target_and_with_live_branches_are_named(
    project: Project,
) -> None:
    mine = a_worker(project, a_task(project, "Mine"), with_worktree=True)
    theirs = a_worker(project, a_task(project, "Theirs"), with_worktree=True)
    mine.commit({"src/app.py": "mine\n", "mine.txt": "1\n"})
    theirs.commit({"src/app.py": "theirs\n"})
    async with in_memory(project, mine.caller) as client:
        tools = Tools(client)
        assert (await tools("check_conflicts"))["conflicts"] == [
            {"branch": f"{theirs.task_id} (Theirs)", "paths": ["src/app.py"]}
        ]
        a_commit(project.root, {"mine.txt": "2\n"})
        project.run_train()
        write(mine.cwd, {"more.txt": "2\n"})
        seen = await tools("check_conflicts")
        assert {"branch": "main", "paths": ["mine.txt"]} in seen["conflicts"]
        assert "commit them first" in seen["uncommitted"]


async def test_a_question_waits_for_the_answer_that_arrives_meanwhile(project: Project) -> None:
    worker = a_worker(project, a_task(project))
    answered: list[dict[str, Any]] = []
    async with in_memory(project, worker.caller) as client:

        async def ask() -> None:
            answered.append(
                await Tools(client)(
                    "ask_director",
                    question="Red or blue?",
                    options=["red", "blue"],
                    background="For the button.",
                )
            )

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            question = await the_question(project)
            assert not answered
            assert (question.options, question.context) == (("red", "blue"), "For the button.")
            answer(project, question.id, "blue")
    question = project.question("Q1")
    assert answered == [
        {
            "question": question.id,
            "status": "answered",
            "answer": "blue",
            "next_step": "Go on with your task.",
            "earlier": [],
            "note": "",
        }
    ]
    # It was sent; whether it arrived is for the client to say.
    assert question.delivered_at is None


async def test_a_question_that_nobody_answers_in_time_is_pending_and_asked_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_tools, "ANSWER_WAIT_SECONDS", 0.05)
    worker = a_worker(project, a_task(project))
    async with in_memory(project, worker.caller) as client:
        tools = Tools(client)
        pending = await tools("ask_director", question="Red or blue?")
        assert (pending["status"], pending["answer"]) == ("pending", "")
        assert pending["next_step"].startswith("Commit what you have.")
        assert await tools("ask_director", question="Red or blue?") == pending
        words = await tools.refused("ask_director", question="Tea or coffee?")
        assert f"[invalid_input] {pending['question']} of this task is still open: Red" in words

        answer(project, pending["question"], "red")
        assert (await tools("ask_director", question="Red or blue?"))["answer"] == "red"
    assert count(project, "questions") == 1


async def test_a_question_that_is_withdrawn_says_so(project: Project) -> None:
    worker = a_worker(project, a_task(project))
    seen: list[str] = []
    async with in_memory(project, worker.caller) as client:

        async def ask() -> None:
            seen.append((await Tools(client)("ask_director", question="Which?"))["status"])

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await the_question(project)
            project.services.plans.cancel_task(PERSON, worker.task_id)
    assert seen == ["withdrawn"]
    assert project.question("Q1").state is QuestionState.WITHDRAWN


async def test_a_proposal_waits_for_a_director(project: Project) -> None:
    worker = a_worker(project, a_task(project))
    async with in_memory(project, worker.caller) as client:
        tools = Tools(client)
        done = await tools("propose_task", title="More", depends_on=[worker.task_id])
        task = done["outcome"].removeprefix("Proposed as ").removesuffix(".")
        assert project.task(task).state is TaskState.PROPOSED
        assert (await tools("get_task", task=task))["depends_on"] == [worker.task_id]
        assert "[not_found]" in await tools.refused("propose_task", title="X", depends_on=["T99"])


async def test_a_worker_that_holds_nothing_is_told_to_claim_first(project: Project) -> None:
    session = a_session(project, Role.WORKER, a_task(project))
    caller = Caller(role=Role.WORKER, name=session.name, session_id=session.id)
    async with in_memory(project, caller) as client:
        tools = Tools(client)
        for tool, arguments in (
            ("report_progress", {"message": "hello"}),
            ("propose_task", {"title": "More"}),
            ("request_merge", {"summary": "done"}),
        ):
            assert (await tools.refused(tool, **arguments)).endswith(" Call claim_task first.")


async def test_after_its_lease_is_gone_a_worker_can_change_nothing(project: Project) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "1\n"})
    project.clock.advance(minutes=10)
    project.services.lease_watch.expire(PERSON)
    later = a_worker(project, worker.task_id)
    async with in_memory(project, worker.caller) as client:
        tools = Tools(client)
        texts = {"progress": "a", "remaining": "b", "next_step": "c"}
        for tool, arguments in (
            ("report_progress", {"message": "still here"}),
            ("write_handoff", texts),
            ("ask_director", {"question": "Which?"}),
            ("check_conflicts", {}),
            ("run_checks", {}),
            ("request_merge", {"summary": "done"}),
            ("release_task", {"reason": "no"}),
        ):
            words = await tools.refused(tool, **arguments)
            assert words.startswith(f"Error executing tool {tool}: [stale_lease] "), words
            assert later.session.name in words
    lease = project.live_lease(worker.task_id)
    assert lease is not None
    assert lease.session_id == later.session.id


async def test_every_role_can_ask_why(project: Project) -> None:
    task = a_task(project)
    later = a_task(project, "Later", depends_on=[task])
    worker = a_worker(project, task)
    async with in_memory(project, worker.caller) as client:
        tools = Tools(client)
        seen = await tools("why", task=later)
        assert seen["sentence"].startswith(f"{later} waits for {task} (claimed); {task} is being")
        assert (await tools("list_tasks", state="blocked"))["tasks"] == [
            {
                "id": later,
                "title": "Later",
                "state": "open",
                "priority": 3,
                "depends_on": [task],
            }
        ]
        assert "[not_found]" in await tools.refused("why", task="T99")
        assert "[invalid_input] There is no task state" in await tools.refused(
            "list_tasks", state="busy"
        )
