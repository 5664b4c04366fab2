"""Conflicts: found by the train, seen through to their end, whatever happens in between."""

from pathlib import Path

import pytest

from sf_mcp.core.accounting import Decided
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, MergeRequest, Oid
from sf_mcp.core.states import ConflictState, MergeState, TaskState
from sf_mcp.git.conflicts import Take
from sf_mcp.service.resolutions import Unresolved
from tests.builders import (
    Project,
    Worker,
    a_project,
    a_steward,
    dispatched,
    git,
    next_worker,
    write,
)
from tests.service.builders_conflicts import (
    BOTH,
    CONFIG,
    MINE,
    THEIRS,
    a_conflict,
    a_resolved_conflict,
    conflicts_of,
    found,
    is_in_conflict,
    move_target,
    resolved,
    states,
)
from tests.service.builders_landing import content, landed, notes, one_request, status_of, told

OPEN, RESOLVED = ConflictState.OPEN, ConflictState.RESOLVED
REJECTED, RETURNED = ConflictState.REJECTED, ConflictState.RETURNED
REVIEWED = "checks: []\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path, config=CONFIG)


def tip_of(project: Project, request: MergeRequest) -> str | None:
    return project.forge.head_of(f"refs/heads/{request.branch}")


def moved(project: Project, request: MergeRequest, old: Oid, new: Oid) -> None:
    project.forge.compare_and_swap(f"refs/heads/{request.branch}", new=new, old=old)


# -- found -----------------------------------------------------------------------------------------


def test_a_conflict_is_open_until_it_is_over_and_the_status_says_where_it_is(
    project: Project,
) -> None:
    request = a_conflict(project)
    assert is_in_conflict(project, request)
    words = "in conflict with main in src/app.py: a steward resolves it"
    assert status_of(project, request) == words
    why = project.services.queries.why(PERSON, request.task_id)
    assert why.sentence == f"{request.task_id} is not merged: {request.id} is {words}."
    project.services.fleet.pause_fleet(PERSON, reason="lunch")
    why = project.services.queries.why(PERSON, request.task_id)
    assert why.sentence.endswith(f"{words}, but the fleet is paused: lunch.")


def test_a_conflict_that_is_found_again_is_the_same_conflict(project: Project) -> None:
    request = a_conflict(project)
    assert found(project, request)
    assert states(project, request) == [OPEN]


def test_the_places_in_conflict_are_kept_with_both_sides_and_their_base(project: Project) -> None:
    request = a_conflict(project)
    (conflict,) = conflicts_of(project, request)
    assert conflict.paths == ("src/app.py",)
    lines = conflict.hunks.splitlines()
    assert lines[0] == "src/app.py:2"
    marks = ("<<<<<<<", "|||||||", "=======", ">>>>>>>")
    assert [line for line in lines[1:] if not line.startswith(marks)] == ["mine", "two", "theirs"]


def test_a_request_that_ends_takes_its_conflict_with_it(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    project.services.requests.send_back(PERSON, request.id, reason="not like this")
    assert states(project, request) == [ConflictState.DROPPED]
    assert project.request(request.id).state is MergeState.SENT_BACK
    assert project.session(steward.session.id).stop_requested != ""


def test_a_request_that_has_ended_gets_no_conflict(project: Project) -> None:
    request = one_request(project, MINE)
    move_target(project, THEIRS)
    project.services.requests.send_back(PERSON, request.id, reason="not like this")
    assert not found(project, request)
    assert states(project, request) == []


def test_a_review_that_is_under_way_ends_with_the_conflict(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    request = one_request(project, MINE)
    project.run_train()
    reviewer = a_steward(project, request)
    move_target(project, THEIRS)
    assert found(project, request)
    assert project.live_lease(request.id) is None
    assert project.session(reviewer.session.id).stop_requested == f"{request.id}: it is in conflict"


# -- who resolves it -------------------------------------------------------------------------------


def test_a_conflict_goes_to_a_steward_before_any_review(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    reviewable = one_request(project, {"other.txt": "x\n"})
    project.run_train()
    request = a_conflict(project)
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    assert (order.session.subject, order.may_edit) == (request.id, True)
    assert order.message.startswith(
        f"Merge request {request.id} of task {request.task_id} conflicts with the target in "
        "src/app.py"
    )
    # One steward at a time; the review comes after it.
    assert project.services.dispatch.next_order(PERSON) is None
    project.services.sessions.stop_session(PERSON, order.session.id)
    assert reviewable.state is MergeState.OPEN


def test_without_reviews_a_steward_resolves_conflicts_all_the_same(project: Project) -> None:
    request = a_conflict(project)
    assert a_steward(project, request).session.subject == request.id


def test_the_worktree_has_the_merge_under_way(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    assert steward.cwd.name == f"conflict-{request.id.lower()}"
    assert git(steward.cwd, "rev-parse", "HEAD") == request.commit
    assert git(steward.cwd, "rev-parse", "MERGE_HEAD") == project.target
    text = (steward.cwd / "src/app.py").read_text()
    assert "<<<<<<< HEAD\nmine\n" in text
    assert "theirs\n>>>>>>> " in text
    hooks = git(steward.cwd, "config", "core.hooksPath")
    assert Path(hooks, "reference-transaction").exists()
    assert tip_of(project, request) == request.commit


def test_a_reviewer_may_not_edit(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    one_request(project)
    project.run_train()
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    assert not order.may_edit


# -- resolved --------------------------------------------------------------------------------------


def test_a_resolution_becomes_a_merge_commit_that_is_pinned_and_lands(project: Project) -> None:
    request = a_resolved_conflict(project)
    (conflict,) = conflicts_of(project, request)
    assert conflict.state is RESOLVED
    assert request.commit == conflict.resolution == tip_of(project, request)
    parents = git(project.forge.git_dir, "show", "-s", "--format=%P", request.commit).split()
    assert parents == [conflict.commit, conflict.target]
    assert git(project.forge.git_dir, "show", "-s", "--format=%an", request.commit) == (
        "Ada Lovelace"
    )
    body = git(project.forge.git_dir, "show", "-s", "--format=%B", request.commit)
    assert body.splitlines()[0] == f"Merge main into {request.id}, resolved by steward-1"
    assert "Both lines stay." in body
    project.run_train()
    assert landed(project) == [request.id]
    assert content(project, "src/app.py") == BOTH["src/app.py"].strip()
    assert told(project, "conflict_resolved")[0]["commit"] == request.commit


def test_the_worktree_of_the_task_follows_its_branch_and_is_clean(project: Project) -> None:
    request = a_resolved_conflict(project)
    worktree = project.services.worktrees.find(request.task_id)
    assert worktree is not None
    assert (
        git(worktree.path, "status", "--porcelain", "--branch")
        .splitlines()[0]
        .startswith(f"## {request.branch}")
    )
    assert git(worktree.path, "status", "--porcelain") == ""
    assert git(worktree.path, "rev-parse", "HEAD") == request.commit


def test_uncommitted_files_in_the_tasks_worktree_are_not_written_over(project: Project) -> None:
    request = a_conflict(project)
    worktree = project.services.worktrees.find(request.task_id)
    assert worktree is not None
    write(worktree.path, {"src/app.py": "half a thought\n"})
    resolved(a_steward(project, request), BOTH)
    assert (worktree.path / "src/app.py").read_text() == "half a thought\n"
    assert tip_of(project, request) == project.request(request.id).commit
    assert git(worktree.path, "rev-parse", "HEAD") == request.commit


def test_approvals_hold_for_the_commit_before_the_resolution_alone(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    request = one_request(project, MINE)
    project.services.requests.approve_merge(PERSON, request.id, reason="good")
    move_target(project, THEIRS)
    assert found(project, request)
    steward = a_steward(project, request)
    resolved(steward, BOTH)
    steward.end()
    project.run_train()
    assert landed(project) == []
    reviewer = a_steward(project, request)
    assert not reviewer.cwd.name.startswith("conflict-")
    project.services.requests.approve_merge(reviewer.caller, reason="both are there")
    reviewer.end()
    project.run_train()
    assert landed(project) == [request.id]


def test_a_resolution_on_an_older_target_is_merged_again(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    move_target(project, {"elsewhere.txt": "1\n"})
    resolved(steward, BOTH)
    steward.end()
    project.run_train()
    assert landed(project) == [request.id]
    assert content(project, "elsewhere.txt") == "1"


def test_a_resolution_that_conflicts_again_is_a_conflict_again(project: Project) -> None:
    request = a_resolved_conflict(project)
    move_target(project, {"src/app.py": "one\nnew theirs\nthree\n"})
    assert found(project, request)
    steward = a_steward(project, request)
    assert git(steward.cwd, "rev-parse", "HEAD") == request.commit
    resolved(steward, {"src/app.py": "one\nmine\nnew theirs\nthree\n"})
    steward.end()
    project.run_train()
    assert states(project, request) == [RESOLVED, RESOLVED]
    assert content(project, "src/app.py") == "one\nmine\nnew theirs\nthree"


# -- over by itself --------------------------------------------------------------------------------


def test_a_conflict_is_over_when_the_target_no_longer_conflicts(project: Project) -> None:
    request = a_conflict(project)
    move_target(project, {"src/app.py": "one\ntwo\nthree\n"})
    assert project.services.conflicts.settle()
    assert states(project, request) == [ConflictState.DROPPED]
    project.run_train()
    assert landed(project) == [request.id]


def test_a_conflict_is_resolved_against_the_target_of_now(project: Project) -> None:
    request = a_conflict(project)
    move_target(project, {"src/app.py": "one\nothers\nthree\n"})
    assert not project.services.conflicts.settle()
    steward = a_steward(project, request)
    assert git(steward.cwd, "rev-parse", "MERGE_HEAD") == project.target
    assert "others\n>>>>>>> " in (steward.cwd / "src/app.py").read_text()
    assert "others" in conflicts_of(project, request)[0].hunks


def test_a_branch_that_moves_on_by_itself_ends_the_conflict(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    moved(project, request, request.commit, project.target)
    project.services.conflicts.settle()
    assert states(project, request) == [ConflictState.DROPPED]
    assert project.live_lease(request.id) is None
    assert "has moved on" in project.session(steward.session.id).stop_requested


def test_a_branch_that_was_deleted_is_there_again_with_the_resolution(project: Project) -> None:
    request = a_conflict(project)
    project.forge.delete_ref(f"refs/heads/{request.branch}", old=request.commit)
    assert not project.services.conflicts.settle()
    steward = a_steward(project, request)
    resolved(steward, BOTH)
    steward.end()
    project.run_train()
    assert tip_of(project, request) is not None
    assert landed(project) == [request.id]


# -- not resolved ----------------------------------------------------------------------------------


def test_after_two_stewards_in_vain_the_task_goes_back_to_a_worker(project: Project) -> None:
    request = a_conflict(project)
    a_steward(project, request).end(EndKind.NO_OUTCOME)
    assert is_in_conflict(project, request)
    project.clock.advance(minutes=10)
    a_steward(project, request).end(EndKind.TIMED_OUT)
    assert states(project, request) == [RETURNED]
    assert project.request(request.id).state is MergeState.SENT_BACK
    assert project.task(request.task_id).state is TaskState.OPEN
    (note,) = notes(project, request)
    assert "it conflicts with the target in src/app.py" in note.reason
    for words in (
        "steward-1 ended without a resolution (no_outcome)",
        "steward-1 ended without a resolution (timed_out)",
        "Merge conflict in src/app.py",
        "src/app.py:2",
        "mine\n|||||||",
    ):
        assert words in note.detail


@pytest.mark.parametrize("kind", [EndKind.STOPPED, EndKind.USAGE_LIMIT, EndKind.LEASE_EXPIRED])
def test_ends_that_are_nobodys_fault_do_not_count(project: Project, kind: EndKind) -> None:
    request = a_conflict(project)
    for _ in range(3):
        a_steward(project, request).end(kind)
        project.services.fleet.resume_fleet(PERSON)
        project.clock.advance(minutes=60)
    assert states(project, request) == [OPEN]


def test_what_a_steward_leaves_to_the_person_waits_for_the_person(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    project.services.requests.escalate_review(steward.caller, note="Which of the two is wanted?")
    steward.end()
    assert next_worker(project) is None
    assert status_of(project, request) == (
        "left to the person: in conflict with main in src/app.py; "
        f'sf mr approve {request.id} --reason "…" tells a steward how, '
        f'sf mr reject {request.id} --reason "…" a worker'
    )
    project.services.requests.approve_merge(PERSON, request.id, reason="mine first")
    second = a_steward(project, request)
    view = project.services.resolutions.claimed_conflict(second.caller, room=9_000)
    assert "person: mine first" in view.text
    assert "Which of the two is wanted?" in view.text
    # It has been in vain once: now a worker is asked, and told.
    project.services.requests.escalate_review(second.caller, note="I cannot tell.")
    assert project.request(request.id).state is MergeState.SENT_BACK
    assert "I cannot tell." in notes(project, request)[0].detail


def test_a_resolution_that_fails_the_checks_goes_to_another_steward(project: Project) -> None:
    request = a_resolved_conflict(project)
    first = conflicts_of(project, request)[0].commit
    assert project.services.conflicts.rejected(request, "tests failed", "AssertionError: 1 != 2")
    assert states(project, request) == [REJECTED, OPEN]
    present = project.request(request.id)
    assert (present.commit, present.state) == (first, MergeState.OPEN)
    assert tip_of(project, request) == first
    worktree = project.services.worktrees.find(request.task_id)
    assert worktree is not None
    assert git(worktree.path, "status", "--porcelain") == ""
    kept = project.forge.refs_below("refs/stoneforge/kept")
    assert kept[f"refs/stoneforge/kept/{request.id}-resolution"] == request.commit
    second = a_steward(project, request)
    view = project.services.resolutions.claimed_conflict(second.caller, room=9_000)
    assert "AssertionError: 1 != 2" in view.text


def test_a_second_resolution_that_fails_goes_back_to_a_worker_as_it_is(project: Project) -> None:
    request = a_resolved_conflict(project)
    assert project.services.conflicts.rejected(request, "tests failed", "log one")
    steward = a_steward(project, request)
    resolved(steward, {"src/app.py": "one\ntheirs\nmine\nthree\n"})
    steward.end()
    again = project.request(request.id)
    assert project.services.conflicts.rejected(again, "tests failed", "log two")
    assert states(project, request) == [REJECTED, REJECTED]
    assert project.request(request.id).state is MergeState.SENT_BACK
    (note,) = notes(project, request)
    assert "log two" in note.detail
    worker = dispatched(project)
    assert worker.git("rev-parse", "HEAD") == again.commit


def test_what_is_no_resolution_is_not_taken_back(project: Project) -> None:
    request = one_request(project)
    assert not project.services.conflicts.rejected(request, "tests failed", "log")


# -- crashes ---------------------------------------------------------------------------------------


def accepted(project: Project) -> tuple[MergeRequest, Worker]:
    """Have a resolution accepted whose branch has not moved yet."""
    request = a_conflict(project)
    steward = a_steward(project, request)
    write(steward.cwd, BOTH)
    services = project.services
    made = services.resolutions.checked(steward.caller, summary="both", dropped=(), decided=())
    services.resolutions.accept(steward.caller, made)
    return request, steward


def test_killed_before_the_branch_moves_the_resolution_is_carried_out(project: Project) -> None:
    request, _ = accepted(project)
    assert is_in_conflict(project, request)
    project.reopen()
    assert project.services.conflicts.settle()
    assert states(project, request) == [RESOLVED]
    assert project.request(request.id).commit == tip_of(project, request) != request.commit


def test_killed_before_the_merge_was_under_way_it_is_begun_anew(project: Project) -> None:
    request = a_conflict(project)
    name = f"conflict-{request.id.lower()}"
    half = project.services.worktrees.detached(name, request.commit)
    (half / "src/app.py").unlink()
    (project.forge.git_dir / "worktrees" / name / "index.lock").touch()
    project.reopen()
    steward = a_steward(project, request)
    assert git(steward.cwd, "rev-parse", "MERGE_HEAD") == project.target
    assert "<<<<<<< HEAD\nmine\n" in (steward.cwd / "src/app.py").read_text()
    resolved(steward, BOTH)
    assert states(project, request) == [RESOLVED]


def test_killed_after_the_branch_has_moved_the_request_is_pinned_to_it(project: Project) -> None:
    request, _ = accepted(project)
    (conflict,) = conflicts_of(project, request)
    assert conflict.resolution is not None
    project.forge.compare_and_swap(
        f"refs/heads/{request.branch}", new=conflict.resolution, old=conflict.commit
    )
    project.reopen()
    assert project.services.conflicts.settle()
    assert project.request(request.id).commit == conflict.resolution
    assert not project.services.conflicts.settle()


def test_killed_before_a_branch_moves_back_it_is_moved_back(project: Project) -> None:
    request = a_resolved_conflict(project)
    (conflict,) = conflicts_of(project, request)
    assert project.services.conflicts.rejected(request, "tests failed", "log")
    # As a kill would have left it.
    moved(project, request, conflict.commit, request.commit)
    project.reopen()
    assert project.services.conflicts.settle()
    assert tip_of(project, request) == conflict.commit


def test_what_a_steward_had_edited_is_there_for_the_next_one_and_kept(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    write(steward.cwd, {"src/app.py": "half done\n"})
    steward.end(EndKind.KILLED)
    project.clock.advance(minutes=10)
    project.services.work.tidy_ended()
    second = a_steward(project, request)
    assert (second.cwd / "src/app.py").read_text() == "half done\n"
    kept = project.forge.refs_below(f"refs/stoneforge/snapshots/{request.id}")
    (ref,) = kept
    assert content(project, "src/app.py", ref) == "half done"


def test_the_worktree_goes_when_the_conflict_is_over(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    project.services.work.tidy_ended()
    assert steward.cwd.exists()
    resolved(steward, BOTH)
    project.services.work.tidy_ended()
    assert steward.cwd.exists()
    steward.end()
    project.services.work.tidy_ended()
    assert not steward.cwd.exists()


# -- attributes ------------------------------------------------------------------------------------


def test_what_the_attributes_let_git_unite_needs_no_steward(project: Project) -> None:
    move_target(project, {".gitattributes": "*.log merge=union\n", "a.log": "one\n"})
    request = one_request(project, {"a.log": "one\nmine\n"})
    move_target(project, {"a.log": "one\ntheirs\n"})
    project.run_train()
    assert states(project, request) == [OPEN]
    assert next_worker(project) is None
    project.run_train()
    assert states(project, request) == [RESOLVED]
    assert landed(project) == [request.id]
    assert sorted(content(project, "a.log").split()) == ["mine", "one", "theirs"]


def test_what_was_merged_by_lines_against_its_attributes_is_decided_by_a_steward(
    project: Project,
) -> None:
    lines = [f"{number}\n" for number in range(9)]
    move_target(project, {".gitattributes": "*.db merge=special\n", "a.db": "".join(lines)})
    request = one_request(project, {"a.db": "".join(["mine\n", *lines[1:]])})
    move_target(project, {"a.db": "".join([*lines[:-1], "theirs\n"])})
    project.run_train()
    steward = a_steward(project, request)
    with pytest.raises(Unresolved, match=r"a\.db: merged by lines, which its attributes do not"):
        resolved(steward, {})
    resolved(steward, {}, decided=[(Decided(path="a.db", reason="lines it is"), Take.AS_IT_IS)])
    steward.end()
    project.run_train()
    assert landed(project) == [request.id]
    assert content(project, "a.db").startswith("mine\n1\n")
    assert content(project, "a.db").endswith("7\ntheirs")
