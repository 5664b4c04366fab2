"""The checks of the train: what condemns a request, what does not, and how often they run."""

import json
import shlex
from pathlib import Path

import pytest

from sf_mcp import process
from sf_mcp.core.identity import PERSON
from sf_mcp.core.states import MergeState, TaskState
from sf_mcp.service.train import HELD_RETRY_SECONDS
from tests.builders import Project, a_commit, a_project, a_task, a_worker
from tests.service.builders_landing import (
    BOUND_SECONDS,
    config,
    counted,
    files_on_target,
    is_open,
    landed,
    landings_done,
    merged_tree,
    notes,
    one_request,
    runs_on,
    status_of,
    told,
    tree_at,
    until,
    verdicts,
)


def is_green_now(project: Project) -> bool | None:
    return project.services.fleet.fleet_status(PERSON).target.is_green


# -- failures --------------------------------------------------------------------------------------


def test_a_check_that_fails_twice_on_the_tree_sends_the_work_back_with_the_end_of_its_log(
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    command = counted(runs, "if test -e broken; then seq 500; echo it is broken; exit 3; fi")
    project = a_project(tmp_path, config=config({"tests": command}))
    before = project.target
    request = one_request(project, {"broken": "b\n"})
    tree = merged_tree(project, request)
    project.run_train()
    assert (landed(project), project.target) == ([], before)
    assert runs_on(runs, tree) == 2
    assert runs_on(runs, tree_at(project, before)) == 1
    (note,) = notes(project, request)
    assert note.reason == "tests failed on your work merged with main"
    assert "tests: failed (exit 3)\n" in note.detail
    assert note.detail.endswith("499\n500\nit is broken")
    assert "\n400\n" not in note.detail
    task = project.task(request.task_id)
    assert (task.state, task.ahead) == (TaskState.OPEN, True)


def test_a_failure_that_does_not_repeat_is_recorded_as_flaky_and_lands(tmp_path: Path) -> None:
    runs, flag = tmp_path / "runs", tmp_path / "flag"
    command = counted(runs, f"test -e '{flag}' || {{ touch '{flag}'; exit 1; }}")
    project = a_project(tmp_path, config=config({"tests": command}))
    request = one_request(project)
    tree = merged_tree(project, request)
    project.run_train()
    assert landed(project) == [request.id]
    assert told(project, "flaky_check") == [{"check": "tests", "tree": tree}]
    assert [one.outcome for one in verdicts(project, tree)] == ["failed (exit 1)", "passed"]
    assert is_green_now(project) is True
    assert notes(project, request) == []


def test_a_check_that_is_too_slow_fails_and_leaves_no_process_behind(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = f"test -e slow || exit 0; sleep 600 & echo $! >> '{pids}'; wait"
    project = a_project(tmp_path, config=config({"tests": command}, timeout_seconds=1))
    request = one_request(project, {"slow": "s\n"})
    project.run_train()
    assert landed(project) == []
    assert "tests: timed out after 1 s" in notes(project, request)[-1].detail
    started = [int(word) for word in pids.read_text().split()]
    assert len(started) == 2
    assert [process.is_alive(pid, process.start_time(pid)) for pid in started] == [False, False]


def test_a_check_that_says_three_megabytes_passes(tmp_path: Path) -> None:
    """Known defect 25: more than 1 MiB of output counted as a failure."""
    command = "head -c 3000000 /dev/zero | tr '\\0' x"
    project = a_project(tmp_path, config=config({"chatty": command}))
    request = one_request(project)
    project.run_train()
    assert landed(project) == [request.id]
    (verdict,) = verdicts(project, tree_at(project, project.target))
    assert Path(verdict.log_path).stat().st_size == 3_000_000


# -- checks that cannot start ----------------------------------------------------------------------


def missing(tool: Path, runs: Path) -> str:
    """Make a check whose command is not installed; each try of it is written down."""
    return f"echo tried >> {shlex.quote(str(runs))}; {shlex.quote(str(tool))}"


def test_a_missing_command_holds_the_request_says_so_once_and_sends_nobody_back(
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    project = a_project(tmp_path, config=config({"lint": missing(tmp_path / "no-tool", runs)}))
    before = project.target
    request = one_request(project)
    for _ in range(3):
        project.run_train()
    assert (landed(project), project.target) == ([], before)
    assert is_open(project, request)
    assert project.task(request.task_id).state is TaskState.IN_REVIEW
    assert "check lint could not start" in status_of(project, request)
    assert len(told(project, "merge_held")) == 1
    assert notes(project, request) == []


def test_a_held_request_keeps_nobody_busy_and_is_tried_again_after_a_while(tmp_path: Path) -> None:
    runs, tool = tmp_path / "runs", tmp_path / "tool"
    project = a_project(tmp_path, config=config({"lint": missing(tool, runs)}))
    request = one_request(project)
    project.run_train()
    tried, newest = runs.read_text(), project.services.fleet.newest_event()
    for _ in range(3):
        assert project.services.train.step() is False
    assert runs.read_text() == tried
    assert project.services.fleet.newest_event() == newest
    assert project.services.train.seconds_until_retry() == HELD_RETRY_SECONDS
    # Somebody installs it, and tells nobody.
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    project.clock.advance(seconds=HELD_RETRY_SECONDS)
    project.run_train()
    assert landed(project) == [request.id]


def test_a_held_request_goes_on_as_soon_as_the_configuration_is_mended(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"lint": "no-such-tool-anywhere"}))
    request = one_request(project)
    project.run_train()
    assert is_open(project, request)
    project.configure(config({"lint": "true"}))
    project.run_train()
    assert landed(project) == [request.id]
    assert [one.is_green for one in landings_done(project)] == [True]


def test_a_target_whose_checks_cannot_start_keeps_nobody_busy_either(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    project = a_project(tmp_path, config=config({"lint": missing(tmp_path / "no-tool", runs)}))
    project.run_train()
    tried = runs.read_text()
    assert tried
    project.run_train()
    assert runs.read_text() == tried
    assert is_green_now(project) is None


def test_work_that_removes_what_a_check_runs_is_sent_back(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "./test.sh"}))
    script = project.root / "test.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    a_commit(project.root, {})
    project.run_train()
    request = one_request(project, {"test.sh": None, "a": "a\n"})
    project.run_train()
    assert landed(project) == []
    assert project.request(request.id).state is MergeState.SENT_BACK
    assert "tests: could not start" in notes(project, request)[-1].detail


# -- a target that is red already ------------------------------------------------------------------


def test_a_target_that_was_red_before_does_not_condemn_a_request(tmp_path: Path) -> None:
    project = a_project(
        tmp_path,
        files={"broken": "b\n"},
        config=config({"tests": "! test -e broken", "lint": "! test -e ugly"}),
    )
    request = one_request(project, {"a": "a\n"})
    project.run_train()
    assert landed(project) == [request.id]
    assert is_green_now(project) is False


def test_a_request_that_breaks_another_check_of_a_red_target_is_sent_back(tmp_path: Path) -> None:
    project = a_project(
        tmp_path,
        files={"broken": "b\n"},
        config=config({"tests": "! test -e broken", "lint": "! test -e ugly"}),
    )
    request = one_request(project, {"ugly": "u\n"})
    project.run_train()
    assert landed(project) == []
    (note,) = notes(project, request)
    assert note.reason == "lint failed on your work merged with main"
    assert "tests: failed" not in note.detail


def test_a_request_that_mends_a_red_target_makes_it_green(tmp_path: Path) -> None:
    project = a_project(
        tmp_path,
        files={"broken": "b\n", "a": "a\n"},
        config=config({"tests": "! test -e broken"}),
    )
    project.run_train()
    assert is_green_now(project) is False
    request = one_request(project, {"broken": None})
    project.run_train()
    assert landed(project) == [request.id]
    assert is_green_now(project) is True


def test_commits_of_the_persons_own_are_taken_in_as_they_are_and_recorded_red(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config=config({"tests": "! test -e broken"}))
    project.run_train()
    assert is_green_now(project) is True
    theirs = a_commit(project.root, {"broken": "b\n"})
    project.run_train()
    assert project.target == theirs
    assert is_green_now(project) is False
    assert told(project, "target_red") == [{"commit": theirs}]


def junit_config(project_path: Path) -> str:
    """Make a check that fails when `fails` names tests, and says which in a report."""
    script = project_path / "suite.sh"
    script.write_text(
        "echo '<testsuite>' > r.xml\n"
        "for name in $(cat fails); do\n"
        '  echo "<testcase name=\\"$name\\"><failure/></testcase>" >> r.xml\n'
        "done\n"
        "echo '</testsuite>' >> r.xml\n"
        'test -z "$(cat fails)"\n'
    )
    check = {"name": "tests", "run": f"sh '{script}'", "junit": "r.xml"}
    return json.dumps({"checks": [check], "agents": {"steward": {"review": False}}})


def test_work_that_leaves_the_same_tests_failing_lands_and_they_are_reported_once(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, files={"fails": "one two\n"}, config=junit_config(tmp_path))
    before = tree_at(project, project.target)
    first, second = (one_request(project, {name: "x\n"}, name) for name in ("a", "b"))
    project.run_train()
    assert sorted(landed(project)) == sorted([first.id, second.id])
    (report, *_) = told(project, "preexisting_failure")
    assert report == {
        "check": "tests",
        "tree": before,
        "outcome": "failed (exit 1)",
        "failing": ["one", "two"],
    }
    trees = [one["tree"] for one in told(project, "preexisting_failure")]
    assert len(trees) == len(set(trees))
    assert any(
        "Check tests fails on main itself: failed (exit 1) (one, two)" in note
        for note in fleet_notes(project)
    )


def test_work_that_fails_one_more_test_than_the_target_is_sent_back_with_its_name(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, files={"fails": "one\n"}, config=junit_config(tmp_path))
    request = one_request(project, {"fails": "one mine\n"})
    project.run_train()
    assert landed(project) == []
    (note,) = notes(project, request)
    assert "On main alone, tests failed (exit 1) (one): not the same." in note.detail
    assert "failing tests:\n- mine\n- one\n" in note.detail


def test_a_damaged_cache_of_another_run_condemns_nobody(tmp_path: Path) -> None:
    """What git ignores stays from run to run, but for the repeat that a failure needs."""
    command = "test -e poison && echo bad > cache; ! test -e cache"
    project = a_project(
        tmp_path, files={".gitignore": "cache\n"}, config=config({"tests": command})
    )
    bad = one_request(project, {"poison": "p\n"})
    project.run_train()
    assert project.request(bad.id).state is MergeState.SENT_BACK
    good = one_request(project, {"good": "g\n"})
    project.run_train()
    assert landed(project) == [good.id]
    assert any("tests is flaky" in note for note in fleet_notes(project))


def fleet_notes(project: Project) -> list[str]:
    return project.services.fleet.fleet_status(PERSON).notes


# -- how often -------------------------------------------------------------------------------------


def test_a_tree_that_was_checked_is_not_checked_again(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    project = a_project(
        tmp_path, config=config({"tests": counted(runs)}, steward={"autoMerge": False})
    )
    request = one_request(project)
    tree = merged_tree(project, request)
    project.run_train()
    assert runs_on(runs, tree) == 1
    project.services.requests.approve_merge(PERSON, request.id)
    project.run_train()
    assert landed(project) == [request.id]
    assert tree_at(project, project.target) == tree
    assert runs_on(runs, tree) == 1


async def test_a_worker_that_has_run_the_checks_spares_the_train_the_work(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    project = a_project(tmp_path, config=config({"tests": counted(runs)}))
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a": "a\n"})
    done = await project.services.check_runs.wait(worker.caller, seconds=20)
    assert done.status == "passed"
    request = worker.request_merge()
    project.run_train()
    assert landed(project) == [request.id]
    assert runs_on(runs, tree_at(project, project.target)) == 1


def test_a_verdict_on_another_command_of_the_same_name_does_not_count(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}, steward={"autoMerge": False}))
    request = one_request(project, {"broken": "b\n"})
    project.run_train()
    project.configure(config({"tests": "! test -e broken"}, steward={"autoMerge": False}))
    project.services.requests.approve_merge(PERSON, request.id)
    project.run_train()
    assert landed(project) == []
    assert project.request(request.id).state is MergeState.SENT_BACK


def test_checks_that_the_servers_stop_interrupts_say_nothing_and_run_after_it(
    tmp_path: Path,
) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    command = f"touch '{started}'; until test -e '{go}'; do sleep 0.02; done"
    project = a_project(tmp_path, config=config({"slow": command}))
    request = one_request(project)
    tree = merged_tree(project, request)
    project.services.train.step()
    until(started.exists, "the check has started")
    project.services.train.stop()
    assert project.services.train.wait(BOUND_SECONDS)
    assert verdicts(project, tree) == []
    assert is_open(project, request)
    go.touch()
    project.reopen()
    project.run_train()
    assert landed(project) == [request.id]


# -- whose configuration ---------------------------------------------------------------------------


@pytest.mark.parametrize("weaker", ['{"checks": []}', config({"tests": "true"})])
def test_a_configuration_on_a_workers_branch_has_no_say_in_its_checks(
    tmp_path: Path, weaker: str
) -> None:
    project = a_project(tmp_path, config=config({"tests": "! test -e broken"}))
    worker = a_worker(project, a_task(project), with_worktree=True)
    (worker.cwd / ".stoneforge").mkdir()
    (worker.cwd / ".stoneforge/config.yaml").write_text(weaker)
    worker.git("add", "--force", ".stoneforge/config.yaml")
    commit = worker.commit({"broken": "b\n"})
    # Past `merge_facts`, which refuses such a branch before it gets this far.
    request = project.services.requests.open_request(
        worker.caller,
        commit=commit,
        base=project.target,
        branch=worker.git("branch", "--show-current"),
        summary="done",
    )
    assert ".stoneforge/config.yaml" in worker.git("ls-files")
    project.run_train()
    assert landed(project) == []
    assert project.request(request.id).state is MergeState.SENT_BACK
    assert "broken" not in files_on_target(project)
