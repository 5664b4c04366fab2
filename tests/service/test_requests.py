"""Merge requests: what may be asked for, who decides, and what a decision holds for."""

from pathlib import Path

import pytest

from sf_mcp.core.errors import (
    IllegalTransition,
    InvalidInput,
    NotAllowed,
    NotFound,
    StaleLease,
    TaskNotReady,
)
from sf_mcp.core.identity import PERSON, Caller
from sf_mcp.core.models import EndKind, Role, SessionId
from sf_mcp.core.states import MergeState, QuestionState, TaskState
from sf_mcp.store import merge_requests
from tests.builders import (
    Project,
    a_merge_request,
    a_plan,
    a_project,
    a_steward,
    a_task,
    a_worker,
    bring,
    dispatched,
    git,
    write,
)

REVIEWED = "checks: []\n"
BY_HAND = "checks: []\nagents: {steward: {review: false, autoMerge: false}}\n"
HEADLESS = Caller(role=Role.DIRECTOR, name="director-1", session_id=SessionId("d"))


def notes(project: Project, task_id: str) -> list[tuple[str, str]]:
    with project.services.workspace.read() as tx:
        found = merge_requests.repair_notes(tx.db, project.task(task_id).id)
    return [(note.reason, note.detail) for note in found]


# -- asking ------------------------------------------------------------------------------------


def test_a_request_pins_the_commit_and_ends_the_session(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    commit = worker.commit({"a.txt": "a\n"})
    request = worker.request_merge("Adds a.")
    assert (request.commit, request.base) == (commit, project.target)
    assert (request.state, request.summary) == (MergeState.OPEN, "Adds a.")
    assert project.task(worker.task_id).state is TaskState.IN_REVIEW
    assert project.live_lease(worker.task_id) is None
    with pytest.raises(StaleLease, match="merge requested"):
        worker.request_merge()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"new.txt": "x\n"}, "new.txt"),
        ({"src/app.py": "changed\n"}, "src/app.py"),
        ({"readme.md": None}, "readme.md"),
    ],
    ids=["untracked", "changed", "deleted"],
)
def test_a_dirty_tree_is_refused_and_names_the_files(
    tmp_path: Path, files: dict[str, str | None], words: str
) -> None:
    """Row 24 of the known defects: uncommitted files went unnoticed."""
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "a\n"})
    write(worker.cwd, files)
    with pytest.raises(InvalidInput, match=f"1 files are not committed: {words}"):
        worker.request_merge()
    assert project.task(worker.task_id).state is TaskState.CLAIMED


def test_nothing_ahead_of_the_base_is_refused_unless_there_is_a_reason(tmp_path: Path) -> None:
    """Rows 24 and 38: a branch with no commits closed the task."""
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    for reason in ("", "  "):
        with pytest.raises(InvalidInput, match="differs from its base"):
            worker.request_merge(no_changes_reason=reason)
    request = worker.request_merge(no_changes_reason="It was done by T7 already.")
    worker.end()
    project.run_train()
    assert project.task(request.task_id).state is TaskState.CLOSED
    assert project.request(request.id).landed_commit is None


def test_a_commit_that_changes_nothing_is_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.git("commit", "--quiet", "--allow-empty", "-m", "nothing")
    with pytest.raises(InvalidInput, match="differs from its base"):
        worker.request_merge()


def test_a_reason_for_no_changes_is_dropped_when_there_are_changes(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "a\n"})
    assert worker.request_merge(no_changes_reason="nothing to do").no_changes_reason == ""


@pytest.mark.parametrize("elsewhere", [["checkout", "-q", "--detach"], ["switch", "-q", "-c", "x"]])
def test_another_branch_than_the_tasks_is_refused(tmp_path: Path, elsewhere: list[str]) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "a\n"})
    git(worker.cwd, "-c", "core.hooksPath=/dev/null", *elsewhere)
    with pytest.raises(InvalidInput, match="not on its branch sf/T1-add-a-thing"):
        worker.request_merge()


def test_a_merge_under_way_is_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "a\n"})
    (project.forge.git_dir / "worktrees" / "T1" / "MERGE_HEAD").write_text(project.target + "\n")
    with pytest.raises(InvalidInput, match="A merge is under way"):
        worker.request_merge()


def test_an_unmet_dependency_is_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    first = a_task(project, plan=plan)
    second = a_task(project, plan=plan)
    worker = a_worker(project, second, with_worktree=True)
    worker.commit({"a.txt": "a\n"})
    project.services.plans.set_dependencies(PERSON, second, add=[first])
    with pytest.raises(TaskNotReady, match="T2 depends on T1"):
        worker.request_merge()
    assert project.task(second).state is TaskState.CLAIMED


@pytest.mark.parametrize(
    ("summary", "words"), [("  ", "summary is empty"), ("x" * 8001, "8,001 characters")]
)
def test_a_summary_says_something(tmp_path: Path, summary: str, words: str) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "a\n"})
    with pytest.raises(InvalidInput, match=words):
        worker.request_merge(summary)


# -- reviewing ---------------------------------------------------------------------------------


def test_a_steward_is_started_only_once_the_checks_have_passed(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    request = a_merge_request(project, a_task(project))
    assert project.services.dispatch.next_order(PERSON) is None
    project.run_train()
    steward = a_steward(project, request)
    view = project.services.requests.claimed_review(steward.caller)
    assert view.request.id == request.id
    changes = project.services.branches.changes_of(view.request)
    assert changes.files == ("src/t1.py",)
    assert "+T1" in changes.diff
    assert changes.worktree == str(steward.cwd)
    assert (steward.cwd / "src/t1.py").read_text() == "T1\n"
    assert project.services.dispatch.next_order(PERSON) is None  # not reviewed twice


def test_a_reviewer_sees_the_tasks_commit_and_not_the_target(tmp_path: Path) -> None:
    """Row 27 of the known defects: a reviewer was shown the default branch."""
    project = a_project(tmp_path, config=REVIEWED)
    request = a_merge_request(project, a_task(project))
    project.run_train()
    steward = a_steward(project, request)
    assert git(steward.cwd, "rev-parse", "HEAD") == request.commit


def test_an_approval_lands_the_pinned_commit(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    request = a_merge_request(project, a_task(project))
    project.run_train()
    assert project.request(request.id).state is MergeState.OPEN
    steward = a_steward(project, request)
    project.services.requests.approve_merge(steward.caller, reason="all criteria hold")
    assert project.live_lease(request.id) is None
    project.run_train()
    assert project.request(request.id).state is MergeState.LANDED


def test_a_steward_decides_only_on_what_it_was_given(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    first = a_merge_request(project, a_task(project))
    second = a_merge_request(project, a_task(project))
    project.run_train()
    steward = a_steward(project, first)
    requests = project.services.requests
    with pytest.raises(NotAllowed, match="You review M1, not M2"):
        requests.approve_merge(steward.caller, second.id)
    with pytest.raises(NotAllowed, match="You review M1, not M2"):
        requests.send_back(steward.caller, second.id, reason="no")
    requests.approve_merge(steward.caller, first.id)
    with pytest.raises(StaleLease):
        requests.approve_merge(steward.caller)


def test_a_headless_director_and_a_worker_never_approve(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    worker = a_worker(project, a_task(project))
    request = a_merge_request(project, a_task(project))
    for caller in (HEADLESS, worker.caller):
        with pytest.raises(NotAllowed, match="approve merges"):
            project.services.requests.approve_merge(caller, request.id)
        with pytest.raises(NotAllowed, match="send merge requests back"):
            project.services.requests.send_back(caller, request.id, reason="no")
        with pytest.raises(NotAllowed):
            project.services.requests.escalate_review(caller, note="no")


def test_an_approval_of_another_commit_is_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=BY_HAND)
    request = a_merge_request(project, a_task(project))
    with pytest.raises(InvalidInput, match=f"pinned to {request.commit[:12]}"):
        project.services.requests.approve_merge(PERSON, request.id, commit="0" * 40)
    project.services.requests.approve_merge(PERSON, request.id, commit=request.commit[:10])


def test_a_push_after_the_request_withdraws_it_and_the_approval_with_it(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=BY_HAND)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.txt": "a\n"})
    request = worker.request_merge()
    project.services.requests.approve_merge(PERSON, request.id)
    later = worker.commit_by_hand({"a.txt": "something that nobody has seen\n"})
    project.run_train()
    assert project.request(request.id).state is MergeState.SENT_BACK
    assert project.task(worker.task_id).state is TaskState.OPEN
    ((reason, _),) = notes(project, worker.task_id)
    assert f"has moved on to {later[:12]}" in reason
    assert git(project.root, "show", "main:readme.md") == "hello"
    worker.end()
    again = a_worker(project, worker.task_id, with_worktree=True).request_merge()
    assert again.commit == later
    with project.services.workspace.read() as tx:
        assert merge_requests.reviews_of(tx.db, again) == []


def test_sent_back_work_comes_with_a_note_and_goes_ahead_of_its_peers(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    a_task(project, "an older peer")
    request = a_merge_request(project, a_task(project))
    project.run_train()
    steward = a_steward(project, request)
    project.services.requests.send_back(steward.caller, reason="src/t2.py: no test")
    steward.end()
    task = project.task(request.task_id)
    assert (task.state, task.ahead) == (TaskState.OPEN, True)
    assert notes(project, task.id) == [("steward-1 asks for changes", "src/t2.py: no test")]
    fresh = dispatched(project)
    assert fresh.task_id == task.id
    brief = project.services.claims.claim_task(fresh.caller)
    assert [note.detail for note in brief.repair_notes] == ["src/t2.py: no test"]
    assert (fresh.cwd / "src/t2.py").read_text() == "T2\n"  # the work is all there


def test_sending_back_needs_a_reason(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    request = a_merge_request(project, a_task(project))
    with pytest.raises(InvalidInput, match="needs a reason"):
        project.services.requests.send_back(PERSON, request.id, reason=" ")


def test_five_send_backs_set_a_task_aside(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    for number in range(5):
        worker = a_worker(project, task_id, with_worktree=True)
        worker.commit({"a.txt": f"{number}\n"})
        request = worker.request_merge()
        worker.end()
        project.services.requests.send_back(PERSON, request.id, reason=f"no ({number})")
    assert project.task(task_id).state is TaskState.STUCK
    (question,) = project.services.questions.list_questions(PERSON)
    assert "sent back 5 times" in question.context


def test_sending_back_under_a_steward_ends_its_review_and_stops_it(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    request = a_merge_request(project, a_task(project))
    project.run_train()
    steward = a_steward(project, request)
    project.services.requests.send_back(PERSON, request.id, reason="I have changed my mind")
    assert project.live_lease(request.id) is None
    assert "sent back" in project.session(steward.session.id).stop_requested
    with pytest.raises(StaleLease, match="sent back meanwhile"):
        project.services.requests.approve_merge(steward.caller, reason="fine")


def test_a_landing_under_a_steward_ends_its_review_and_stops_it(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    request = a_merge_request(project, a_task(project))
    project.run_train()
    steward = a_steward(project, request)
    project.services.requests.approve_merge(PERSON, request.id)
    project.run_train()
    assert project.request(request.id).state is MergeState.LANDED
    assert project.live_lease(request.id) is None
    assert "it has landed" in project.session(steward.session.id).stop_requested


def test_an_escalated_review_waits_for_the_person(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    request = a_merge_request(project, a_task(project))
    project.run_train()
    steward = a_steward(project, request)
    project.services.requests.escalate_review(steward.caller, note="It deletes data.")
    steward.end()
    project.run_train()
    assert project.services.dispatch.next_order(PERSON) is None
    status = project.services.requests.get_merge_request(PERSON, request.id).status
    assert status == "left to the person: sf mr show M1"
    project.services.requests.approve_merge(PERSON, request.id)
    project.run_train()
    assert project.request(request.id).state is MergeState.LANDED


def test_a_review_that_stewards_fail_at_is_left_to_the_person(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    request = a_merge_request(project, a_task(project))
    project.run_train()
    for _ in range(5):
        project.clock.advance(minutes=10)
        a_steward(project, request).end(EndKind.NO_OUTCOME)
    assert project.request(request.id).is_escalated
    project.clock.advance(minutes=60)
    assert project.services.dispatch.next_order(PERSON) is None


def test_an_ended_request_takes_no_review(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    request = a_merge_request(project, a_task(project))
    project.services.plans.cancel_task(PERSON, request.task_id)
    with pytest.raises(InvalidInput, match="M1 is withdrawn and takes no review"):
        project.services.requests.approve_merge(PERSON, request.id)
    with pytest.raises(InvalidInput, match="withdrawn"):
        project.services.requests.send_back(PERSON, request.id, reason="no")


def test_approving_what_has_landed_is_no_error(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    request = a_merge_request(project, a_task(project))
    project.run_train()
    approved = project.services.requests.approve_merge(PERSON, request.id)
    assert approved.state is MergeState.LANDED


def test_what_is_landing_is_neither_cancelled_nor_sent_back(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    request = a_merge_request(project, a_task(project))
    with project.services.workspace.write(PERSON) as tx:
        tx.db.execute("UPDATE merge_requests SET state = 'landing'")
    with pytest.raises(IllegalTransition, match="is landing at this moment"):
        project.services.plans.cancel_task(PERSON, request.task_id)
    with pytest.raises(IllegalTransition, match="M1 is landing"):
        project.services.requests.send_back(PERSON, request.id, reason="no")
    assert project.request(request.id).state is MergeState.LANDING


# -- the status line ---------------------------------------------------------------------------


def test_the_status_says_what_a_request_waits_for(tmp_path: Path) -> None:
    project = a_project(
        tmp_path, config="checks: []\nagents: {steward: {review: true, autoMerge: false}}\n"
    )
    request = a_merge_request(project, a_task(project))

    def status() -> str:
        return project.services.requests.get_merge_request(PERSON, request.id).status

    assert status() == "waiting for its checks"
    project.run_train()
    assert status() == "waiting for review"
    steward = a_steward(project, request)
    project.services.requests.approve_merge(steward.caller)
    assert status() == "waiting for your approval: sf mr approve M1"
    project.run_train()
    assert project.request(request.id).state is MergeState.OPEN
    project.services.requests.approve_merge(PERSON, request.id)
    assert status() == "next to land"
    project.run_train()
    assert status() == "landed"
    sentence = project.services.queries.why(PERSON, "M1").sentence
    assert sentence.startswith("T1 is merged: M1 landed as ")
    assert sentence.endswith("; nothing is missing.")


def test_a_request_is_found_by_its_own_id_or_its_tasks(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    request = a_merge_request(project, a_task(project))
    lonely = a_task(project)
    get = project.services.requests.get_merge_request
    assert get(PERSON, request.task_id).request.id == get(PERSON, "M1").request.id == "M1"
    for unknown in (lonely, "M9", "T99", ""):
        with pytest.raises(NotFound):
            get(PERSON, unknown)


def test_requests_are_listed_by_page(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=BY_HAND)
    for _ in range(3):
        a_merge_request(project, a_task(project))
    listed = project.services.requests.list_merge_requests
    assert [view.request.id for view in listed(PERSON, after="M1")] == ["M2", "M3"]
    bring(project, a_task(project), TaskState.IN_REVIEW)
    project.services.plans.cancel_task(PERSON, "T4")
    assert [view.request.id for view in listed(PERSON)] == ["M1", "M2", "M3"]
    assert len(listed(PERSON, all=True)) == 4


def test_a_question_of_the_session_is_withdrawn_with_its_request(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    question = worker.ask()
    worker.commit({"a.txt": "a\n"})
    worker.request_merge()
    assert project.question(question.id).state is QuestionState.WITHDRAWN
