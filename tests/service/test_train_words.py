"""The merge train: whose word a landing needs, and what is closed without one."""

from pathlib import Path

import pytest

from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import Oid
from sf_mcp.core.states import MergeState, TaskState
from sf_mcp.service.drafts import TaskDraft
from tests.builders import (
    FILES,
    Project,
    a_commit,
    a_plan,
    a_project,
    a_steward,
    a_task,
    a_worker,
    git,
    some_tasks,
)
from tests.service.builders_landing import (
    config,
    is_open,
    landed,
    merged_tree,
    notes,
    one_request,
    status_of,
    told,
    tree_at,
    verdicts,
)

REVIEWED = config(steward={"review": True})
BY_HAND = config(steward={"autoMerge": False})
REVIEWED_BY_HAND = config(steward={"autoMerge": False, "review": True})


# -- whose word it needs ---------------------------------------------------------------------------


def test_without_auto_merge_a_stewards_approval_alone_lands_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED_BY_HAND)
    request = one_request(project)
    project.run_train()
    assert status_of(project, request) == "waiting for review"
    steward = a_steward(project, request)
    project.services.requests.approve_merge(steward.caller, reason="fine")
    project.run_train()
    assert landed(project) == []
    assert status_of(project, request) == f"waiting for your approval: sf mr approve {request.id}"
    project.services.requests.approve_merge(PERSON, request.id)
    project.run_train()
    assert landed(project) == [request.id]


def test_with_auto_merge_and_review_it_waits_for_the_steward_alone(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    request = one_request(project)
    project.run_train()
    assert (landed(project), status_of(project, request)) == ([], "waiting for review")
    steward = a_steward(project, request)
    project.services.requests.approve_merge(steward.caller)
    project.run_train()
    assert landed(project) == [request.id]


def test_work_that_its_steward_sends_back_goes_on_with_the_stewards_words(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    request = one_request(project)
    project.run_train()
    steward = a_steward(project, request)
    project.services.requests.send_back(steward.caller, reason="a.py lacks a test")
    project.run_train()
    assert landed(project) == []
    assert project.task(request.task_id).state is TaskState.OPEN
    assert notes(project, request)[-1].detail == "a.py lacks a test"


def test_an_approval_of_another_commit_does_not_count(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=BY_HAND)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a": "what was looked at\n"})
    first = worker.request_merge()
    worker.end()
    project.services.requests.approve_merge(PERSON, first.id, commit=first.commit[:10])
    worker.commit_by_hand({"a": "what nobody looked at\n"})
    project.run_train()
    again = a_worker(project, first.task_id, with_worktree=True)
    second = again.request_merge()
    project.run_train()
    assert is_open(project, second)
    with pytest.raises(InvalidInput, match="is pinned to"):
        project.services.requests.approve_merge(PERSON, second.id, commit=first.commit)
    project.run_train()
    assert landed(project) == []
    project.services.requests.approve_merge(PERSON, second.id, commit=second.commit)
    project.run_train()
    assert landed(project) == [second.id]


def test_a_steward_reviews_the_tasks_branch_and_not_the_target(tmp_path: Path) -> None:
    """Known defect 27: the reviewer looked at the default branch, which lacks the work."""
    project = a_project(tmp_path, config=REVIEWED)
    request = one_request(project, {"a": "mine\n"})
    a_commit(project.root, {"theirs": "t\n"})
    project.run_train()
    steward = a_steward(project, request)
    assert git(steward.cwd, "rev-parse", "HEAD") == request.commit
    assert (steward.cwd / "a").read_text() == "mine\n"
    view = project.services.requests.claimed_review(steward.caller)
    changes = project.services.branches.changes_of(view.request)
    assert view.request.commit == request.commit
    assert changes.files == ("a",)
    assert "+mine" in changes.diff
    assert changes.worktree == str(steward.cwd)


def test_a_request_that_waits_for_the_person_is_checked_again_as_the_target_moves(
    tmp_path: Path,
) -> None:
    project = a_project(
        tmp_path,
        config=config({"one of them": "! test -e a || ! test -e b"}, steward={"autoMerge": False}),
    )
    request = one_request(project, {"a": "a\n"})
    project.run_train()
    checked = project.request(request.id).checked_tree
    assert checked == merged_tree(project, request)
    a_commit(project.root, {"b": "b\n"})
    project.run_train()
    assert landed(project) == []
    assert project.request(request.id).state is MergeState.SENT_BACK


# -- what has nothing to merge ---------------------------------------------------------------------


def a_task_and_its_dependent(project: Project) -> tuple[str, str, str]:
    plan = a_plan(project)
    first, second = some_tasks(
        project,
        TaskDraft(title="First", key="first"),
        TaskDraft(title="Second", depends_on=["first"]),
        plan=plan,
    )
    return plan, first, second


def test_a_task_with_nothing_to_merge_is_closed_and_frees_what_depends_on_it(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config=config({"tests": "false"}))
    before = project.target
    _, first, second = a_task_and_its_dependent(project)
    worker = a_worker(project, project.task(first).id, with_worktree=True)
    worker.request_merge(no_changes_reason="three is there already")
    project.run_train()
    assert project.task(first).state is TaskState.CLOSED
    assert told(project, "closed")[-1]["reason"] == "three is there already"
    assert project.target == before
    with project.services.workspace.read() as tx:
        assert tx.graph.ready() == (second,)


def test_a_task_with_nothing_to_merge_is_not_closed_before_it_is_reviewed(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    worker = a_worker(project, a_task(project), with_worktree=True)
    request = worker.request_merge(no_changes_reason="nothing to do")
    project.run_train()
    assert project.task(worker.task_id).state is TaskState.IN_REVIEW
    steward = a_steward(project, request)
    project.services.requests.approve_merge(steward.caller)
    project.run_train()
    assert project.task(worker.task_id).state is TaskState.CLOSED


def test_work_whose_content_is_in_the_target_already_is_closed_without_a_landing(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    change = {"src/app.py": "ONE\ntwo\nthree\n"}
    first, second = one_request(project, change), one_request(project, change)
    project.run_train()
    assert landed(project) == [first.id]
    assert project.task(second.task_id).state is TaskState.CLOSED
    assert told(project, "closed")[-1]["reason"] == "already in the target"
    assert git(project.root, "rev-list", "--count", "main") == "2"


def test_work_that_the_person_committed_themselves_is_closed_once_it_is_released(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config=BY_HAND)
    request = one_request(project, {"a": "a\n"})
    a_commit(project.root, {"a": "a\n"})
    project.run_train()
    assert is_open(project, request)
    project.services.requests.approve_merge(PERSON, request.id)
    project.run_train()
    assert project.task(request.task_id).state is TaskState.CLOSED
    assert landed(project) == []


def test_nothing_is_left_to_do_when_everything_has_landed(tmp_path: Path) -> None:
    project = a_project(tmp_path, files=FILES, config=config({"tests": "true"}))
    one_request(project)
    project.run_train()
    before = project.services.fleet.newest_event()
    assert project.services.train.step() is False
    assert project.services.fleet.newest_event() == before
    assert [one.outcome for one in verdicts(project, tree_at(project, project.target))] == [
        "passed"
    ]
    assert Oid(git(project.root, "rev-parse", "main")) == project.target
