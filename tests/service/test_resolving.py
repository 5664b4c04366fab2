"""Straightforward conflicts at the train: resolved by rule, each in a commit that says so."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from sf_mcp.core.models import MergeRequest
from sf_mcp.core.states import MergeState
from sf_mcp.git.resolving import Resolved
from tests.builders import Project, a_commit, a_project, a_steward, git
from tests.service.builders_conflicts import why_in_conflict
from tests.service.builders_landing import (
    BOUND_SECONDS,
    config,
    content,
    counted,
    is_open,
    joined,
    notes,
    one_request,
    runs_on,
    step_in_thread,
    tree_at,
    until,
)

LOG = "# Changes\n\n- old\n"
FILES = {
    "CHANGELOG.md": LOG,
    "needs": "first\n" + "keep\n" * 5 + "last\n",
    "app.lock": "first\nlast\n",
    "code.py": "one\ntwo\nthree\n",
}
UNION = {"rule": "union", "paths": ["CHANGELOG.md"]}
MAKE_LOCK = "sort -u needs | grep -v keep > app.lock"


def locked(run: str = MAKE_LOCK, seconds: int = 60) -> dict[str, object]:
    return {"rule": "generated", "paths": ["app.lock"], "run": run, "timeoutSeconds": seconds}


def a_ruled_project(
    path: Path,
    *rules: Mapping[str, object],
    checks: dict[str, str] | None = None,
    strategy: str = "squash",
) -> Project:
    merge = {"autoResolve": list(rules), "strategy": strategy}
    return a_project(path, files=FILES, config=config(checks, merge=merge))


def two_entries(project: Project) -> tuple[MergeRequest, MergeRequest]:
    """Have two tasks each add an entry to the change log, the first one landed."""
    first = one_request(project, {"CHANGELOG.md": LOG + "- a\n", "a.py": "a\n"}, "Add a")
    second = one_request(project, {"CHANGELOG.md": LOG + "- b\n", "b.py": "b\n"}, "Add b")
    return first, second


def two_locks(project: Project) -> tuple[MergeRequest, MergeRequest]:
    """Have two tasks each need one thing more: the manifest merges, the lock file does not."""
    needs = FILES["needs"]
    first = one_request(project, {"needs": "aaa\n" + needs, "app.lock": "aaa\nfirst\nlast\n"})
    second = one_request(project, {"needs": needs + "bbb\n", "app.lock": "bbb\nfirst\nlast\n"})
    return first, second


def history(project: Project, most: int) -> list[str]:
    return git(project.root, "log", f"-{most}", "--format=%s", "main").split("\n")


@pytest.mark.parametrize("strategy", ["squash", "merge"])
def test_a_change_log_is_united_in_a_commit_of_its_own_that_names_the_rule(
    tmp_path: Path, strategy: str
) -> None:
    project = a_ruled_project(tmp_path, UNION, strategy=strategy)
    first, second = two_entries(project)
    project.run_train()
    assert project.request(first.id).state is MergeState.LANDED
    landed = project.request(second.id)
    assert landed.state is MergeState.LANDED
    assert landed.landed_commit == project.target
    assert (project.root / "CHANGELOG.md").read_text() == LOG + "- a\n- b\n"
    # The task's own commit has the target's change log; the rule's has nothing but the change log.
    assert git(project.root, "log", "-1", "--format=%an|%B", "main") == (
        "Ada Lovelace|Resolve CHANGELOG.md by the rule union\n\n"
        "Both sides only added lines, and all of them are kept.\n\n- CHANGELOG.md\n\n"
        f"Task: {second.task_id}\nMerge-Request: {second.id}\nRule: union"
    )
    assert git(project.root, "diff", "--name-only", "main^", "main") == "CHANGELOG.md"
    assert git(project.root, "log", "-1", "--format=%s", "main^") == "Add b"
    assert content(project, "CHANGELOG.md", "main^") == LOG + "- a"
    assert content(project, "b.py", "main^") == "b"


def test_what_a_rule_made_is_checked_before_it_lands(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    project = a_ruled_project(tmp_path, UNION, checks={"tests": counted(runs)})
    two_entries(project)
    project.run_train()
    assert content(project, "CHANGELOG.md") == LOG + "- a\n- b"
    assert runs_on(runs, tree_at(project, "main")) == 1
    # What the target never was is not checked.
    assert runs_on(runs, tree_at(project, "main^")) == 0


def test_what_a_rule_made_and_a_check_refuses_is_sent_back(tmp_path: Path) -> None:
    one_entry = "test $(grep -c '^- [ab]' CHANGELOG.md) -le 1"
    project = a_ruled_project(tmp_path, UNION, checks={"one": one_entry})
    _, second = two_entries(project)
    project.run_train()
    assert project.request(second.id).state is MergeState.SENT_BACK
    assert notes(project, second)[-1].reason == "one failed on your work merged with main"
    assert content(project, "CHANGELOG.md") == LOG + "- a"


def test_a_change_log_that_was_edited_goes_to_a_steward_with_the_reason(tmp_path: Path) -> None:
    project = a_ruled_project(tmp_path, UNION)
    first = one_request(project, {"CHANGELOG.md": LOG.replace("old", "older")})
    second = one_request(project, {"CHANGELOG.md": LOG + "- b\n"})
    project.run_train()
    assert project.request(first.id).state is MergeState.LANDED
    reason = why_in_conflict(project, second)
    assert "by the rule union: the target changed or removed lines (such as `- old`)" in reason
    steward = a_steward(project, second)
    view = project.services.resolutions.claimed_conflict(steward.caller, room=9_000)
    assert reason in view.text


def test_work_that_another_one_has_done_and_gone_beyond_closes(tmp_path: Path) -> None:
    project = a_ruled_project(tmp_path, {"rule": "identical"})
    one_request(project, {"code.py": "ONE\nTWO\nthree\n"})
    second = one_request(project, {"code.py": "ONE\ntwo\nthree\n"})
    project.run_train()
    assert content(project, "code.py") == "ONE\nTWO\nthree"
    assert project.request(second.id).state is MergeState.LANDED
    assert len(history(project, 5)) == 2


def test_the_person_s_own_entry_is_united_with_that_of_a_task(tmp_path: Path) -> None:
    project = a_ruled_project(tmp_path, UNION)
    request = one_request(project, {"CHANGELOG.md": LOG + "- b\n"})
    a_commit(project.root, {"CHANGELOG.md": LOG + "- mine\n"}, "Mine")
    project.run_train()
    assert project.request(request.id).state is MergeState.LANDED
    assert (project.root / "CHANGELOG.md").read_text() == LOG + "- mine\n- b\n"


# -- generated files -------------------------------------------------------------------------------


def test_a_lock_file_is_made_anew_by_the_command(tmp_path: Path) -> None:
    project = a_ruled_project(tmp_path, locked())
    _, second = two_locks(project)
    project.run_train()
    assert project.request(second.id).state is MergeState.LANDED
    assert (project.root / "app.lock").read_text() == "aaa\nbbb\nfirst\nlast\n"
    assert history(project, 1) == ["Resolve app.lock by the rule generated"]
    assert f"Made anew from the merged files by `{MAKE_LOCK}`." in git(
        project.root, "log", "-1", "--format=%b", "main"
    )
    assert content(project, "app.lock", "main^") == "aaa\nfirst\nlast"


def test_a_command_that_fails_is_shown_to_a_steward_with_its_log(tmp_path: Path) -> None:
    project = a_ruled_project(tmp_path, locked("echo no such package; exit 3"))
    _, second = two_locks(project)
    project.run_train()
    reason = why_in_conflict(project, second)
    assert "`echo no such package; exit 3` failed (exit 3)\nno such package" in reason
    assert content(project, "app.lock") == "aaa\nfirst\nlast"


def test_a_command_that_changes_something_else_resolves_nothing(tmp_path: Path) -> None:
    project = a_ruled_project(tmp_path, locked(f"{MAKE_LOCK}; echo x > extra"))
    _, second = two_locks(project)
    project.run_train()
    reason = why_in_conflict(project, second)
    assert "changed more than the declared paths: extra" in reason


def test_what_a_command_once_made_of_a_tree_is_not_made_again(tmp_path: Path) -> None:
    """A registry says something else tomorrow; a candidate that was checked stays what it is."""
    runs = tmp_path / "runs"
    project = a_ruled_project(tmp_path, locked(f"echo run >> {runs}; {MAKE_LOCK}"))
    first, second = two_locks(project)
    resolving = project.services.resolving
    cancel = threading.Event()
    found = resolving.merge(ours=first.commit, theirs=second.commit, cancel=cancel)
    assert isinstance(found, Resolved)
    assert runs.read_text() == "run\n" * 2  # from either side's version
    project.reopen()
    again = project.services.resolving
    assert again.merge(ours=first.commit, theirs=second.commit, cancel=cancel) == found
    assert runs.read_text() == "run\n" * 2


def test_a_command_that_failed_is_tried_again_after_a_while_and_not_at_each_look(
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    project = a_ruled_project(tmp_path, locked(f"echo run >> {runs}; false"))
    first, second = two_locks(project)
    for _ in range(3):
        project.services.resolving.merge(
            ours=first.commit, theirs=second.commit, cancel=threading.Event()
        )
    assert runs.read_text() == "run\n"
    project.clock.advance(minutes=11)
    project.services.resolving.merge(
        ours=first.commit, theirs=second.commit, cancel=threading.Event()
    )
    assert runs.read_text() == "run\n" * 2


def test_a_command_that_is_cancelled_says_nothing_of_the_request(tmp_path: Path) -> None:
    started = tmp_path / "started"
    project = a_ruled_project(tmp_path, locked(f"touch {started}; sleep 1000"))
    first, second = two_locks(project)
    train = project.services.train
    while is_open(project, first):
        assert train.step() or train.wait(BOUND_SECONDS)
    thread, answers = step_in_thread(project)
    until(started.exists, "the command runs")
    train.stop()
    joined([thread])
    assert answers == [False]
    assert is_open(project, second)
    assert notes(project, second) == []
