"""A session that has lost its task: git moves nothing for it, and what it made is offered on."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sf_mcp.app import prepare
from sf_mcp.core.errors import StaleLease
from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.models import EndKind, LateWork, Oid, TaskId
from sf_mcp.core.states import MergeState, TaskState
from sf_mcp.git.holders import Holders
from sf_mcp.git.snapshots import list_snapshots
from sf_mcp.service.claims import Brief
from sf_mcp.store import handoffs, tasks
from tests.builders import (
    Project,
    Worker,
    a_project,
    a_task,
    a_worker,
    dispatched,
    git,
    write,
)

BY_HAND = "checks: []\nagents:\n  steward: {review: false, autoMerge: false}\n"


def holder_of(project: Project, task_id: str) -> str:
    return Holders(project.forge.git_dir).of(TaskId(task_id))


def tip_of(worker: Worker) -> Oid | None:
    branch = worker.project.task(worker.task_id).branch
    return worker.project.forge.head_of(f"refs/heads/{branch}")


def late_commit(worker: Worker, text: str = "late\n", subject: str = "Too late") -> Oid:
    """Try to commit as the session; return the commit that git made and moved nothing to."""
    before = tip_of(worker)
    write(worker.cwd, {"late.txt": text})
    worker.git("add", "--all")
    done = subprocess.run(
        ["git", "commit", "-m", subject],
        cwd=worker.cwd,
        env={**os.environ, **worker.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0, "git let a session commit that holds no task"
    assert "not held by this session" in done.stderr
    assert tip_of(worker) == before
    kept = next(line for line in done.stderr.splitlines() if "is kept" in line)
    return Oid(kept.split("commit ", 1)[1].split(" ", 1)[0])


def brief_of(worker: Worker) -> Brief:
    return worker.project.services.claims.claim_task(worker.caller)


def expire(worker: Worker) -> None:
    project = worker.project
    project.clock.advance(seconds=1000)
    expired = project.services.lease_watch.expire(SERVER)
    project.services.work.snapshot_expired(expired)


ENDS: dict[str, Callable[[Worker], object]] = {
    "handed off": lambda worker: worker.hand_off(),
    "released": lambda worker: worker.project.services.claims.release_task(
        worker.caller, reason="cannot"
    ),
    "expired": expire,
    "cancelled": lambda worker: worker.project.services.plans.cancel_task(PERSON, worker.task_id),
    "merge requested": lambda worker: worker.request_merge(),
    "taken over": lambda worker: worker.project.services.work.take_over_context(
        PERSON, worker.session.id
    ),
    "parked": lambda worker: (worker.ask(), worker.end(EndKind.PARKED)),
    "killed": lambda worker: worker.end(EndKind.KILLED),
}


@pytest.mark.parametrize("end", ENDS)
def test_whatever_ends_the_lease_git_moves_nothing_more_for_the_session(
    tmp_path: Path, end: str
) -> None:
    project = a_project(tmp_path, config=BY_HAND)
    worker = a_worker(project, a_task(project), with_worktree=True)
    assert holder_of(project, worker.task_id) == worker.session.id
    worker.commit({"work.txt": "in time\n"})
    ENDS[end](worker)
    assert holder_of(project, worker.task_id) == ""
    late_commit(worker)


def test_a_late_commit_is_offered_to_the_successor_and_can_be_taken_over(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    lost = a_worker(project, a_task(project), with_worktree=True)
    lost.commit({"work.txt": "in time\n"})
    expire(lost)
    late = late_commit(lost, subject="Add the parser")
    lost.end(EndKind.STOPPED)
    found = a_worker(project, lost.task_id, with_worktree=True)
    assert brief_of(found).late_work == [
        LateWork(
            task_id=lost.task_id,
            snapshot=1,
            session_id=lost.session.id,
            commit=late,
            subject="Add the parser",
            files=("late.txt",),
            created_at=project.clock.now,
        )
    ]
    assert project.event_kinds(lost.task_id).count("late_work_kept") == 1
    assert project.services.queries.get_task(PERSON, lost.task_id).late_work[0].commit == late
    # The files that it left are still there too; a successor that wants them has a choice.
    assert (found.cwd / "late.txt").read_text() == "late\n"
    found.git("checkout", "--quiet", "--force", "HEAD")
    found.git("clean", "-fdq")
    found.git("cherry-pick", late)
    assert found.git("show", "HEAD:late.txt") == "late"
    assert found.git("log", "-1", "--format=%s") == "Add the parser"


def test_a_late_commit_does_not_withdraw_what_was_approved(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=BY_HAND)
    worker = a_worker(project, a_task(project), with_worktree=True)
    pinned = worker.commit({"work.txt": "in time\n"})
    request = worker.request_merge()
    project.services.requests.approve_merge(PERSON, request.id)
    late_commit(worker)
    project.run_train()
    worker.end()
    assert project.request(request.id).state is MergeState.LANDED
    assert tip_of(worker) == pinned
    assert "late.txt" not in git(project.forge.git_dir, "ls-tree", "--name-only", project.target)
    (kept,) = list_snapshots(project.forge, worker.task_id)
    assert git(project.forge.git_dir, "show", f"{kept.commit}:late.txt") == "late"


def test_a_lost_session_cannot_ask_for_a_merge(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    lost = a_worker(project, a_task(project), with_worktree=True)
    lost.commit({"work.txt": "in time\n"})
    facts = project.services.branches.merge_facts(lost.caller, "")
    expire(lost)
    lost.end(EndKind.STOPPED)
    a_worker(project, lost.task_id, with_worktree=True)
    with pytest.raises(StaleLease, match="holds it now"):
        lost.request_merge()
    # Nor with what it had found out while it still held the task.
    with pytest.raises(StaleLease, match="holds it now"):
        project.services.requests.open_request(
            lost.caller, commit=facts.commit, base=facts.base, branch=facts.branch, summary="x"
        )
    assert project.services.requests.list_merge_requests(PERSON, all=True) == []


def test_going_back_to_what_a_branch_has_is_no_late_work(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    lost = a_worker(project, a_task(project), with_worktree=True)
    lost.commit({"work.txt": "in time\n"})
    lost.hand_off()
    done = subprocess.run(
        ["git", "reset", "--hard", "HEAD~1"],
        cwd=lost.cwd,
        env={**os.environ, **lost.environment},
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    lost.end()
    found = a_worker(project, lost.task_id, with_worktree=True)
    assert brief_of(found).late_work == []
    refs = project.forge.refs_below("refs/stoneforge/snapshots")
    assert [ref for ref in refs if "/late/" in ref] == []


def test_files_written_late_are_kept_before_the_successors_place_is_made(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    lost = a_worker(project, a_task(project), with_worktree=True)
    lost.hand_off()
    write(lost.cwd, {"draft.txt": "written after the handoff\n"})
    lost.end()
    (kept,) = list_snapshots(project.forge, lost.task_id)
    assert git(project.forge.git_dir, "show", f"{kept.commit}:draft.txt") == (
        "written after the handoff"
    )
    assert (kept.reason, kept.session) == ("session ended: done", lost.session.id)


def test_files_that_nobody_has_reported_are_kept_when_the_place_is_used_again(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    lost = a_worker(project, a_task(project), with_worktree=True)
    lost.end(EndKind.KILLED)
    write(lost.cwd, {"draft.txt": "from a process that nobody knew of\n"})
    a_worker(project, lost.task_id, with_worktree=True)
    (kept,) = list_snapshots(project.forge, lost.task_id)
    assert kept.reason == "before it is used again"
    assert git(project.forge.git_dir, "show", f"{kept.commit}:draft.txt").startswith("from a")


# -- who holds what, after a crash at any point -----------------------------------------------


def crash(project: Project) -> None:
    """Do what a server that was killed does at its next start."""
    project.reopen()
    prepare(project.services)


def test_killed_after_the_lease_and_before_git_knew_the_holder(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    Holders(project.forge.git_dir).name_nobody(worker.task_id)
    crash(project)
    assert holder_of(project, worker.task_id) == worker.session.id
    worker.commit({"work.txt": "goes on\n"})


def test_killed_after_git_knew_and_before_the_lease_had_ended(tmp_path: Path) -> None:
    """The order at an end: git first, then the row. Killed between: the lease still stands."""
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    seen: list[str] = []

    def killed_before_its_commit() -> None:
        with project.services.workspace.write(SERVER) as tx:
            lease = project.live_lease(worker.task_id)
            assert lease is not None
            project.services.claims.let_go(tx, lease, EndKind.RELEASED, "")
            seen.append(holder_of(project, worker.task_id))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed_before_its_commit()
    assert seen == [""]
    assert project.task(worker.task_id).state is TaskState.CLAIMED
    assert holder_of(project, worker.task_id) == worker.session.id
    Holders(project.forge.git_dir).name_nobody(worker.task_id)  # had it been a SIGKILL
    crash(project)
    worker.commit({"work.txt": "goes on\n"})


def test_killed_between_the_holder_and_the_worktree(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    project.services.workspace.name_holder(worker.task_id, is_guarded=True)
    assert holder_of(project, worker.task_id) == worker.session.id
    crash(project)
    place = project.services.work.make_place(project.session(worker.session.id))
    assert holder_of(project, worker.task_id) == worker.session.id
    assert Path(place.cwd).is_dir()


def test_a_holder_whose_lease_has_ended_is_forgotten_at_the_next_start(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.hand_off()
    Holders(project.forge.git_dir).name(worker.task_id, worker.session.id)
    crash(project)
    late_commit(worker)


def test_late_work_of_while_the_server_was_down_is_offered_once(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    lost = a_worker(project, a_task(project), with_worktree=True)
    lost.hand_off()
    late = late_commit(lost)
    crash(project)
    crash(project)
    lost = Worker(project, lost.session, lost.token, lost.caller, lost.cwd, lost.environment)
    lost.end()
    found = dispatched(project)
    assert [one.commit for one in brief_of(found).late_work] == [late]
    assert [each.commit for each in list_snapshots(project.forge, lost.task_id)] == [late]


def test_a_second_claim_of_the_next_session_is_known_to_git_at_once(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    first = a_worker(project, a_task(project), with_worktree=True)
    first.hand_off()
    with project.services.workspace.write(SERVER) as tx:
        second = project.services.dispatch.new_session(tx, first.session.role, first.task_id)
        project.services.claims.grant(tx, tasks.get(tx.db, first.task_id), second.id)
        # Until it is committed nobody may: neither of them holds the task for certain.
        assert holder_of(project, first.task_id) == ""
    assert holder_of(project, first.task_id) == second.id
    late_commit(first)


def test_a_handoff_names_the_snapshot_of_its_moment(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    write(worker.cwd, {"draft.txt": "half\n"})
    worker.hand_off()
    (kept,) = list_snapshots(project.forge, worker.task_id)
    with project.services.workspace.read() as tx:
        (handoff,) = handoffs.of_task(tx.db, worker.task_id)
    assert (handoff.snapshot, kept.session) == (kept.commit, worker.session.id)
    assert kept.reason == f"handoff of {worker.session.name}"
