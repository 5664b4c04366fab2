"""Runs of checks: the pool of worktrees, the slots, what two share who want the same, the end."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

from sf_mcp import process
from sf_mcp.core.models import Oid, Verdict
from tests.builders import Project, a_commit, a_project
from tests.service.builders_landing import (
    BOUND_SECONDS,
    config,
    counted,
    joined,
    runs_on,
    told,
    tree_at,
    until,
    verdicts,
)


def commits(project: Project, count: int) -> list[Oid]:
    """Make commits with trees of their own, all in the forge."""
    made = [a_commit(project.root, {"file": f"{number}\n"}) for number in range(count)]
    project.services.publishing.take_in_upstream()
    return made


def run(
    project: Project, commit: Oid, *names: str, cancel: threading.Event | None = None
) -> dict[str, Verdict]:
    tree = tree_at(project, commit)
    return project.services.checking.run(commit, tree, names, cancel=cancel or threading.Event())


def in_threads(*works: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


def places(project: Project) -> list[str]:
    return sorted(path.name for path in project.layout.worktrees.glob("check-*"))


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


# -- places ----------------------------------------------------------------------------------------


def test_a_worktree_is_switched_from_tree_to_tree_and_keeps_what_git_ignores(
    tmp_path: Path,
) -> None:
    command = "cat file cache; echo left > junk; test -e cache || echo kept > cache"
    project = a_project(
        tmp_path, files={".gitignore": "cache\n"}, config=config({"tests": command})
    )
    first, second = commits(project, 2)
    run(project, first, "tests")
    said = run(project, second, "tests")["tests"]
    assert places(project) == ["check-1"]
    assert Path(said.log_path).read_text() == "1\nkept\n"


def test_the_pool_grows_only_when_no_place_is_free_and_never_beyond_the_limit(
    tmp_path: Path,
) -> None:
    go, here = tmp_path / "go", tmp_path / "here"
    command = f"echo x >> '{here}'; until test -e '{go}'; do sleep 0.02; done"
    project = a_project(tmp_path, config=config({"slow": command}, merge={"parallelChecks": 2}))
    made = commits(project, 4)
    threads = in_threads(*(lambda commit=commit: run(project, commit, "slow") for commit in made))
    until(lambda: len(lines(here)) == 2, "two of them have started")
    assert places(project) == ["check-1", "check-2"]
    go.touch()
    joined(threads)
    assert places(project) == ["check-1", "check-2"]
    assert [len(verdicts(project, tree_at(project, commit))) for commit in made] == [1, 1, 1, 1]


def test_a_restarted_server_goes_on_with_the_places_that_there_are(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}))
    first, second = commits(project, 2)
    run(project, first, "tests")
    made = (project.layout.worktrees / "check-1").stat().st_ino
    for earlier in ("check-train", "check-t12"):
        project.services.worktrees.detached(earlier, first)
    project.reopen()
    run(project, second, "tests")
    assert places(project) == ["check-1"]
    assert (project.layout.worktrees / "check-1").stat().st_ino == made


def test_a_check_that_deletes_its_worktree_harms_no_later_one(tmp_path: Path) -> None:
    command = 'grep -q 0 file && rm -rf "$PWD"; cat file'
    project = a_project(tmp_path, config=config({"tests": command}))
    first, second = commits(project, 2)
    assert not run(project, first, "tests")["tests"].passed
    said = run(project, second, "tests")["tests"]
    assert (said.outcome, Path(said.log_path).read_text()) == ("passed", "1\n")


# -- at once ---------------------------------------------------------------------------------------


def test_the_checks_of_one_tree_run_side_by_side(tmp_path: Path) -> None:
    meet = "touch {0}; until [ -e {1} ]; do sleep 0.02; done"
    commands = {"a": meet.format("a", "b"), "b": meet.format("b", "a")}
    project = a_project(tmp_path, config=config(commands, merge={"parallelChecks": 2}))
    (commit,) = commits(project, 1)
    assert [one.outcome for one in run(project, commit, "a", "b").values()] == ["passed"] * 2


def test_over_all_trees_no_more_commands_run_at_once_than_the_configuration_says(
    tmp_path: Path,
) -> None:
    slots = tmp_path / "slots"
    slots.mkdir()
    # Each takes one of two slots; where there is none, more than two run.
    command = (
        f"for n in 1 2; do if mkdir '{slots}'/$n 2>/dev/null; "
        f"then sleep 0.1; rmdir '{slots}'/$n; exit 0; fi; done; exit 1"
    )
    checks: dict[str, str] = dict.fromkeys(("a", "b", "c"), command)
    project = a_project(tmp_path, config=config(checks, merge={"parallelChecks": 2}))
    made = commits(project, 3)
    found: list[dict[str, Verdict]] = []
    joined(
        in_threads(
            *(lambda commit=commit: found.append(run(project, commit, *checks)) for commit in made)
        )
    )
    assert [one.outcome for said in found for one in said.values()] == ["passed"] * 9


def test_what_runs_on_a_tree_already_is_waited_for_and_not_run_twice(tmp_path: Path) -> None:
    runs, go = tmp_path / "runs", tmp_path / "go"
    command = counted(runs, f"until test -e '{go}'; do sleep 0.02; done; exit 1")
    project = a_project(tmp_path, config=config({"slow": command}, merge={"parallelChecks": 2}))
    (commit,) = commits(project, 1)
    found: list[dict[str, Verdict]] = []
    asked = threading.Barrier(3)

    def ask() -> None:
        asked.wait(BOUND_SECONDS)
        found.append(run(project, commit, "slow"))

    threads = in_threads(ask, ask)
    asked.wait(BOUND_SECONDS)
    until(runs.exists, "one of them has started")
    go.touch()
    joined(threads)
    assert [said["slow"].outcome for said in found] == ["failed (exit 1)"] * 2
    assert runs_on(runs, tree_at(project, commit)) in (1, 2)  # two, when one asked too late
    assert len(verdicts(project, tree_at(project, commit))) == runs_on(
        runs, tree_at(project, commit)
    )


# -- cancelled -------------------------------------------------------------------------------------


def test_a_cancelled_run_ends_what_runs_says_nothing_and_frees_its_place(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    commands = {"slow": f"sleep 600 & echo $! > '{pid}'; wait", "quick": "true"}
    project = a_project(tmp_path, config=config(commands))
    first, second = commits(project, 2)
    cancel, found = threading.Event(), list[dict[str, Verdict]]()
    threads = in_threads(lambda: found.append(run(project, first, "slow", cancel=cancel)))
    until(lambda: bool(lines(pid)), "it has started")
    cancel.set()
    joined(threads)
    child = int(pid.read_text())
    assert not process.is_alive(child, process.start_time(child))
    assert (found, verdicts(project, tree_at(project, first))) == ([{}], [])
    assert run(project, second, "quick")["quick"].passed
    assert places(project) == ["check-1"]


def test_what_had_ended_before_a_run_was_cancelled_is_known(tmp_path: Path) -> None:
    started = tmp_path / "started"
    commands = {"quick": "true", "slow": f"touch '{started}'; sleep 600"}
    project = a_project(tmp_path, config=config(commands))
    (commit,) = commits(project, 1)
    cancel = threading.Event()
    threads = in_threads(lambda: run(project, commit, *commands, cancel=cancel))
    until(started.exists, "the slow one has started")
    cancel.set()
    joined(threads)
    assert list(project.services.checking.known(tree_at(project, commit))) == ["quick"]


def test_who_waited_for_a_run_that_was_cancelled_has_it_run_again(tmp_path: Path) -> None:
    runs, go = tmp_path / "runs", tmp_path / "go"
    command = counted(runs, f"until test -e '{go}'; do sleep 0.02; done")
    project = a_project(tmp_path, config=config({"slow": command}, merge={"parallelChecks": 2}))
    (commit,) = commits(project, 1)
    cancel, found = threading.Event(), list[dict[str, Verdict]]()
    first = in_threads(lambda: run(project, commit, "slow", cancel=cancel))
    until(runs.exists, "the first has started")
    second = in_threads(lambda: found.append(run(project, commit, "slow")))
    cancel.set()
    joined(first)
    go.touch()
    joined(second)
    assert [said["slow"].outcome for said in found] == ["passed"]


# -- which -----------------------------------------------------------------------------------------


def test_a_check_whose_paths_are_not_touched_is_not_needed_to_screen_a_change(
    tmp_path: Path,
) -> None:
    project = a_project(
        tmp_path,
        config='{"checks": [{"name": "all", "run": "true"},'
        ' {"name": "docs", "run": "true", "paths": ["docs/**", "**/*.md"]}]}',
    )
    needed = project.services.checking.needed
    assert needed(["src/app.py"]) == ["all"]
    assert needed(["src/app.py", "docs/deep/x"]) == ["all", "docs"]
    assert needed(["src/readme.md"]) == ["all", "docs"]


def test_how_often_each_check_failed_on_a_tree_is_counted(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "exit 1", "lint": "true"}))
    (commit,) = commits(project, 1)
    for _ in range(2):
        run(project, commit, "tests", "lint")
    times = project.services.checking.times_failed(tree_at(project, commit))
    assert times == {"tests": 2, "lint": 0}


def test_a_check_that_contradicts_itself_on_a_tree_is_called_flaky_once(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flip = f"if test -e '{flag}'; then rm '{flag}'; else touch '{flag}'; exit 1; fi"
    project = a_project(tmp_path, config=config({"tests": flip}))
    (commit,) = commits(project, 1)
    for _ in range(4):
        run(project, commit, "tests")
    tree = tree_at(project, commit)
    assert [one.passed for one in verdicts(project, tree)] == [False, True, False, True]
    assert told(project, "flaky_check") == [{"check": "tests", "tree": tree}]


def test_a_verdict_holds_for_the_environment_and_the_time_that_the_check_had(
    tmp_path: Path,
) -> None:
    def configured(mode: str, seconds: int) -> str:
        check = {"name": "tests", "run": "sleep 1.5", "timeoutSeconds": seconds}
        return json.dumps({"checks": [check | {"env": {"MODE": mode}}]})

    project = a_project(tmp_path, config=configured("a", 1))
    (commit,) = commits(project, 1)
    run(project, commit, "tests")
    known = project.services.checking.known
    tree = tree_at(project, commit)
    assert known(tree)["tests"].outcome == "timed out after 1 s"
    project.configure(configured("a", 60))
    assert known(tree) == {}
    project.configure(configured("b", 1))
    assert known(tree) == {}
