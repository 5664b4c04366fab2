"""A worker's own `run_checks`: on its commits merged with the target, once, waited for in parts."""

from pathlib import Path

import anyio
import pytest

from sf_mcp.core.errors import InvalidInput, StaleLease
from sf_mcp.core.models import Oid
from sf_mcp.core.states import TaskState
from sf_mcp.service.check_runs import CheckRun
from tests.builders import Project, Worker, a_project, a_task, a_worker, write
from tests.service.builders_landing import (
    BOUND_SECONDS,
    config,
    content,
    counted,
    merged_tree,
    one_request,
    runs_on,
    told,
    tree_at,
    until,
    verdicts,
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def a_worker_with(project: Project, files: dict[str, str | None]) -> Worker:
    """Start a worker on a new task that has committed these files."""
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit(files)
    return worker


async def run_checks(worker: Worker, *, seconds: float = BOUND_SECONDS) -> CheckRun:
    return await worker.project.services.check_runs.wait(worker.caller, seconds=seconds)


def candidate_tree(worker: Worker) -> Oid:
    """Return the tree of the worker's commits merged with the target."""
    merged = worker.git("merge-tree", "--write-tree", worker.project.target, "HEAD")
    return Oid(merged.split("\n", maxsplit=1)[0])


# -- what it says ----------------------------------------------------------------------------------


async def test_checks_that_pass_are_listed_and_the_next_step_is_the_merge(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"lint": "true", "tests": "true"}))
    done = await run_checks(a_worker_with(project, {"a": "a\n"}))
    assert (done.status, done.next_step) == ("passed", "Call request_merge when done.")
    assert [(line.name, line.outcome, line.tail) for line in done.lines] == [
        ("lint", "passed", ""),
        ("tests", "passed", ""),
    ]


async def test_a_check_that_fails_is_shown_with_the_end_of_its_log(tmp_path: Path) -> None:
    command = "seq 500; echo a is wrong; exit 3"
    project = a_project(tmp_path, config=config({"lint": "true", "tests": command}))
    done = await run_checks(a_worker_with(project, {"a": "a\n"}))
    assert done.status == "failed"
    lint, tests = done.lines
    assert (lint.outcome, lint.tail) == ("passed", "")
    assert tests.outcome == "failed (exit 3)"
    assert tests.tail.endswith("\n499\n500\na is wrong")
    assert len(tests.tail.split("\n")) == 60


async def test_a_check_that_cannot_start_is_not_the_workers_fault_and_is_not_remembered(
    tmp_path: Path,
) -> None:
    tool = tmp_path / "tool"
    project = a_project(tmp_path, config=config({"lint": f"'{tool}'"}))
    worker = a_worker_with(project, {"a": "a\n"})
    done = await run_checks(worker)
    assert done.next_step == "A check could not start; that is not your work's fault. Go on."
    assert "could not start" in done.lines[0].outcome
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert (await run_checks(worker)).status == "passed"


async def test_without_checks_there_is_nothing_to_run(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "false"}, steward={"runChecks": False}))
    done = await run_checks(a_worker_with(project, {"a": "a\n"}))
    assert (done.status, done.lines) == ("nothing to run", [])


# -- on what it runs -------------------------------------------------------------------------------


async def test_what_passes_alone_and_fails_on_the_target_of_now_is_told_to_the_worker(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config=config({"one of them": "! test -e a || ! test -e b"}))
    worker = a_worker_with(project, {"b": "b\n"})
    assert (await run_checks(worker)).status == "passed"
    one_request(project, {"a": "a\n"})
    project.run_train()
    assert (await run_checks(worker)).status == "failed"


async def test_a_conflict_with_the_target_is_told_with_its_paths_and_the_way_out(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}))
    worker = a_worker_with(project, {"src/app.py": "MINE\ntwo\nthree\n"})
    one_request(project, {"src/app.py": "OURS\ntwo\nthree\n"})
    project.run_train()
    done = await run_checks(worker)
    assert (done.status, done.lines) == ("conflict", [])
    assert "src/app.py" in done.next_step
    assert "git fetch origin && git merge origin/main" in done.next_step


async def test_a_conflict_that_a_rule_resolves_is_none_and_the_train_takes_the_verdict_over(
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    rules = {"autoResolve": [{"rule": "union", "paths": ["CHANGELOG.md"]}]}
    project = a_project(
        tmp_path,
        files={"CHANGELOG.md": "# Changes\n", "src/app.py": "1\n"},
        config=config({"tests": counted(runs)}, merge=rules),
    )
    worker = a_worker_with(project, {"CHANGELOG.md": "# Changes\n- mine\n"})
    one_request(project, {"CHANGELOG.md": "# Changes\n- theirs\n"})
    project.run_train()
    done = await run_checks(worker)
    assert done.status == "passed"
    worker.request_merge()
    worker.end()
    project.run_train()
    assert content(project, "CHANGELOG.md") == "# Changes\n- theirs\n- mine"
    assert runs_on(runs, tree_at(project, project.target)) == 1


@pytest.mark.parametrize("dirt", ["changed", "untracked"])
async def test_files_that_are_not_committed_are_refused(tmp_path: Path, dirt: str) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}))
    worker = a_worker_with(project, {"a": "a\n"})
    write(worker.cwd, {"a" if dirt == "changed" else "b": "more\n"})
    with pytest.raises(InvalidInput, match="Files are not committed"):
        await run_checks(worker)


async def test_commits_on_another_branch_than_the_tasks_are_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}))
    worker = a_worker_with(project, {"a": "a\n"})
    worker.git("checkout", "--quiet", "--detach")
    worker.commit({"b": "b\n"})
    with pytest.raises(InvalidInput, match="not on its branch") as refused:
        await run_checks(worker)
    assert "git switch sf/" in refused.value.remedy


async def test_a_worker_that_holds_no_task_any_more_runs_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}))
    worker = a_worker_with(project, {"a": "a\n"})
    worker.request_merge()
    with pytest.raises(StaleLease):
        await run_checks(worker)


async def test_a_configuration_on_the_workers_branch_has_no_say(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "! test -e broken"}))
    worker = a_worker_with(project, {"broken": "b\n"})
    (worker.cwd / ".stoneforge").mkdir()
    (worker.cwd / ".stoneforge/config.yaml").write_text("checks: []\n")
    worker.git("add", "--force", ".stoneforge/config.yaml")
    worker.git("commit", "--quiet", "-m", "no checks")
    done = await run_checks(worker)
    assert [(line.name, line.outcome) for line in done.lines] == [("tests", "failed (exit 1)")]


# -- how often it runs -----------------------------------------------------------------------------


async def test_a_run_that_takes_long_is_waited_for_call_by_call_and_runs_once(
    tmp_path: Path,
) -> None:
    runs, go = tmp_path / "runs", tmp_path / "go"
    command = counted(runs, f"until test -e '{go}'; do sleep 0.02; done")
    project = a_project(tmp_path, config=config({"slow": command}))
    worker = a_worker_with(project, {"a": "a\n"})
    first = await run_checks(worker, seconds=0)
    assert (first.status, first.next_step) == (
        "running",
        "Call run_checks again to go on waiting.",
    )
    until(runs.exists, "the check has started")
    assert (await run_checks(worker, seconds=0.01)).status == "running"
    go.touch()
    with anyio.fail_after(BOUND_SECONDS):
        assert (await run_checks(worker)).status == "passed"
        # A run of its own for the second call would still come before that of a later commit.
        worker.commit({"b": "b\n"})
        assert (await run_checks(worker)).status == "passed"
    assert len(runs.read_text().split()) == 2


async def test_what_is_known_of_a_tree_is_told_without_a_run(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    project = a_project(tmp_path, config=config({"tests": counted(runs, "exit 1")}))
    worker = a_worker_with(project, {"a": "a\n"})
    first = await run_checks(worker)
    again = await run_checks(worker)
    assert again == first
    assert len(runs.read_text().split()) == 1


async def test_a_new_commit_is_a_new_run(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    project = a_project(tmp_path, config=config({"tests": counted(runs, "! test -e broken")}))
    worker = a_worker_with(project, {"broken": "b\n"})
    assert (await run_checks(worker)).status == "failed"
    worker.commit({"broken": None, "a": "a\n"})
    assert (await run_checks(worker)).status == "passed"
    assert len(runs.read_text().split()) == 2


async def test_a_failure_that_a_worker_saw_counts_as_the_first_of_the_two_that_the_train_needs(
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    project = a_project(tmp_path, config=config({"tests": counted(runs, "! test -e broken")}))
    worker = a_worker_with(project, {"broken": "b\n"})
    assert (await run_checks(worker)).status == "failed"
    request = worker.request_merge()
    tree = merged_tree(project, request)
    project.run_train()
    assert project.task(request.task_id).state is TaskState.OPEN
    assert runs_on(runs, tree) == 2
    assert runs_on(runs, tree_at(project, project.target)) == 1


async def test_the_checks_of_two_workers_run_side_by_side(tmp_path: Path) -> None:
    # Each waits for the other: one after the other they would time out.
    here = tmp_path / "here"
    here.mkdir()
    command = f"cat a > '{here}'/$$; until test $(ls '{here}' | wc -l) = 2; do sleep 0.02; done"
    project = a_project(
        tmp_path, config=config({"meet": command}, timeout_seconds=15, merge={"parallelChecks": 2})
    )
    workers = [a_worker_with(project, {"a": text}) for text in ("1\n", "2\n")]
    done: list[str] = []

    async def run(worker: Worker) -> None:
        done.append((await run_checks(worker)).status)

    with anyio.fail_after(BOUND_SECONDS):
        async with anyio.create_task_group() as group:
            for worker in workers:
                group.start_soon(run, worker)
    assert done == ["passed", "passed"]
    assert sorted(path.read_text() for path in here.iterdir()) == ["1\n", "2\n"]


# -- ends ------------------------------------------------------------------------------------------


async def test_the_servers_stop_ends_the_checks_and_calls_nothing_passed(tmp_path: Path) -> None:
    started = tmp_path / "started"
    commands = {"quick": "true", "slow": f"touch '{started}'; sleep 600"}
    project = a_project(tmp_path, config=config(commands))
    worker = a_worker_with(project, {"a": "a\n"})
    # What one of them says is known already.
    project.configure(config({"quick": "true"}))
    assert (await run_checks(worker)).status == "passed"
    project.configure(config(commands))
    assert (await run_checks(worker, seconds=0)).status == "running"
    until(started.exists, "the slow check has started")
    project.services.check_runs.cancel.set()
    with anyio.fail_after(BOUND_SECONDS):
        done = await run_checks(worker)
    assert done.status == "running"
    assert [one.check for one in verdicts(project, candidate_tree(worker))] == ["quick"]


async def test_each_run_is_told_in_the_log_with_its_outcome(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"lint": "true", "tests": "exit 1"}))
    worker = a_worker_with(project, {"a": "a\n"})
    await run_checks(worker)
    tree = candidate_tree(worker)
    assert told(project, "check_finished") == [
        {"check": "lint", "tree": tree, "outcome": "passed"},
        {"check": "tests", "tree": tree, "outcome": "failed (exit 1)"},
    ]
