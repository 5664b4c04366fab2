"""Landings: what their commits say, what they free, and what still stops one."""

from pathlib import Path

import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.core.states import MergeState, PlanState, TaskState
from sf_mcp.git.snapshots import list_snapshots
from sf_mcp.service.drafts import TaskDraft
from tests.builders import (
    a_merge_request,
    a_plan,
    a_project,
    a_task,
    a_worker,
    git,
    some_tasks,
    write,
)
from tests.service.builders_landing import (
    config,
    content,
    counted,
    joined,
    landed,
    merged_tree,
    notes,
    one_request,
    runs_on,
    status_of,
    step_in_thread,
    told,
    until,
)

BY_HAND = config(steward={"autoMerge": False})


# -- commits ---------------------------------------------------------------------------------------


def test_a_project_without_an_origin_lands_all_the_same(tmp_path: Path) -> None:
    """Known defect 8: merging asked for a remote that local projects do not have."""
    project = a_project(tmp_path)
    request = one_request(project, {"a": "a\n"})
    project.run_train()
    assert landed(project) == [request.id]
    assert (project.root / "a").read_text() == "a\n"
    assert git(project.root, "remote") == "stoneforge"
    assert project.forge.run("remote").text == ""


def test_a_squash_is_one_commit_in_the_persons_name_with_the_task_and_its_summary(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    before = project.target
    worker = a_worker(project, a_task(project, "Add a"), with_worktree=True)
    worker.commit({"a": "one\n"}, "first try")
    worker.commit({"a": "two\n"}, "second try")
    request = worker.request_merge("It adds a,\n\nand says so.")
    project.run_train()
    shown = git(project.forge.git_dir, "log", "-1", "--format=%P|%an <%ae>|%cn|%B", "main")
    assert shown == (
        f"{before}|Ada Lovelace <ada@example.org>|Ada Lovelace|Add a\n\nIt adds a,\n\n"
        f"and says so.\n\nTask: {request.task_id}\nMerge-Request: {request.id}"
    )
    assert content(project, "a") == "two"
    assert project.request(request.id).landed_commit == project.target


def test_the_merge_strategy_keeps_the_branchs_commits_behind_a_commit_in_the_persons_name(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config=config(merge={"strategy": "merge"}))
    before = project.target
    request = one_request(project, {"a": "a\n"}, "Add a")
    project.run_train()
    shown = git(project.forge.git_dir, "log", "-1", "--format=%P|%an|%s", "main")
    assert shown == f"{before} {request.commit}|Ada Lovelace|Add a"
    subjects = git(project.root, "log", "--format=%s", "--topo-order", "main").split("\n")
    assert subjects == ["Add a", "work", "first"]


def test_a_title_full_of_shell_lands_word_for_word_and_runs_nothing(tmp_path: Path) -> None:
    """Known defect 3: backticks in a title ran a command when its task was merged."""
    marker = tmp_path / "it-ran"
    title = (
        f"Quote \"$HOME\" 'and' `touch {marker}` $(touch {marker}); touch {marker} && # \\n -m %s"
    )
    project = a_project(tmp_path, config=config({"tests": "true"}))
    worker = a_worker(project, a_task(project, title), with_worktree=True)
    worker.commit({"a": "a\n"})
    worker.request_merge(f'# not a comment `touch {marker}`\n"$(touch {marker})"\n--amend')
    project.run_train()
    shown = git(project.root, "log", "-1", "--format=%B", "main")
    assert shown.startswith(
        f'{title}\n\n# not a comment `touch {marker}`\n"$(touch {marker})"\n--amend\n\nTask: T'
    )
    assert not marker.exists()


def test_line_breaks_in_a_title_do_not_break_the_subject_of_its_landing(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    one_request(project, {"a": "a\n"}, "One\n\nTask: T99\r\ntwo")
    project.run_train()
    assert git(project.root, "log", "-1", "--format=%s", "main") == "One Task: T99 two"


# -- what they free --------------------------------------------------------------------------------


def test_a_landing_frees_what_depends_on_it_and_the_last_one_completes_the_plan(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    first, second = some_tasks(
        project,
        TaskDraft(title="First", key="first"),
        TaskDraft(title="Second", depends_on=["first"]),
        plan=plan,
    )
    a_merge_request(project, first)
    with project.services.workspace.read() as tx:
        assert tx.graph.ready() == ()
    project.run_train()
    assert project.task(first).state is TaskState.MERGED
    with project.services.workspace.read() as tx:
        assert tx.graph.ready() == (second,)
    assert project.plan(plan).state is PlanState.ACTIVE
    a_merge_request(project, second)
    project.run_train()
    assert project.task(second).state is TaskState.MERGED
    assert project.plan(plan).state is PlanState.COMPLETED
    assert told(project, "merged")[-1]["commit"] == project.target


def test_a_task_that_something_urgent_waits_for_lands_as_urgently(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    tasks = [a_task(project, priority=priority) for priority in (3, 5)]
    a_task(project, depends_on=[tasks[1]], priority=2)
    requests = [a_merge_request(project, task) for task in tasks]
    project.run_train()
    assert landed(project) == [requests[1].id, requests[0].id]


def test_files_that_were_not_committed_are_kept_when_the_worktree_goes(tmp_path: Path) -> None:
    """Known defect 26: the worktree was removed by force and the branch deleted with it."""
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    pinned = worker.commit({"a": "a\n"})
    request = worker.request_merge()
    worker.end()
    # After the last look at the files: only the removal itself can still keep them.
    write(worker.cwd, {"a": "an afterthought\n", "never added": "mine\n"})
    project.run_train()
    assert project.request(request.id).state is MergeState.LANDED
    assert content(project, "a") == "a"
    assert not worker.cwd.exists()
    assert project.forge.head_of(f"refs/heads/{request.branch}") == pinned
    kept = list_snapshots(project.forge, request.task_id)[-1].commit
    assert content(project, "a", at=kept) == "an afterthought"
    assert content(project, "never added", at=kept) == "mine"


# -- what stops them -------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["pause", "send back"])
def test_a_word_that_comes_while_the_checks_run_still_stops_the_landing(
    tmp_path: Path, word: str
) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    command = f"touch '{started}'; until test -e '{go}'; do sleep 0.02; done"
    project = a_project(tmp_path, config=config({"slow": command}))
    before = project.target
    request = one_request(project)
    thread, _ = step_in_thread(project)
    until(started.exists, "the check has started")
    if word == "pause":
        project.services.fleet.pause_fleet(PERSON)
    else:
        project.services.requests.send_back(PERSON, request.id, reason="not like this")
    go.touch()
    joined([thread])
    project.run_train()
    assert project.target == before
    assert landed(project) == []


def test_a_branch_that_moves_on_after_its_request_is_sent_back(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=BY_HAND)
    before = project.target
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a": "a\n"})
    request = worker.request_merge()
    project.services.requests.approve_merge(PERSON, request.id)
    later = worker.commit_by_hand({"a": "something else\n"})
    project.run_train()
    assert project.target == before
    assert project.request(request.id).state is MergeState.SENT_BACK
    assert later[:12] in notes(project, request)[-1].reason


def test_work_that_is_asked_for_again_as_it_was_is_sent_back_without_another_run(
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    project = a_project(tmp_path, config=config({"tests": counted(runs, "! test -e broken")}))
    request = one_request(project, {"broken": "b\n"})
    tree = merged_tree(project, request)
    project.run_train()
    again = a_worker(project, request.task_id, with_worktree=True)
    again.request_merge("It works here.")
    again.end()
    project.run_train()
    assert [note.reason for note in notes(project, request)] == [
        "tests failed on your work merged with main"
    ] * 2
    assert runs_on(runs, tree) == 2


def test_a_branch_without_common_history_is_sent_back_with_the_way_out(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    # As after `git checkout --orphan`.
    worker.git("reset", "--quiet", "--hard", worker.git("commit-tree", "HEAD^{tree}", "-m", "new"))
    worker.commit({"a": "a\n"})
    request = worker.request_merge()
    worker.end()
    project.run_train()
    (note,) = notes(project, request)
    assert note.reason == "its branch has no history in common with main"
    again = a_worker(project, request.task_id, with_worktree=True)
    again.git("fetch", "--quiet", "origin")
    again.git("merge", "--quiet", "--allow-unrelated-histories", "origin/main")
    second = again.request_merge()
    project.run_train()
    assert landed(project) == [second.id]


def test_work_that_git_cannot_read_is_held_and_said_once_until_git_can(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=BY_HAND)
    request, behind = one_request(project), one_request(project)
    project.run_train()
    assert status_of(project, request).startswith("waiting for your approval")
    name = request.commit
    file = project.forge.git_dir / "objects" / name[:2] / name[2:]
    file.rename(tmp_path / "unreadable")
    project.services.requests.approve_merge(PERSON, behind.id)
    project.run_train()
    assert landed(project) == [behind.id]
    assert name in status_of(project, request)
    said = told(project, "merge_held")
    project.run_train()
    assert told(project, "merge_held") == said
    (tmp_path / "unreadable").rename(file)
    project.run_train()
    assert status_of(project, request).startswith("waiting for your approval")
