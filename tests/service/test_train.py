"""The merge train: what lands has passed on its exact tree, and nothing waits for nothing."""

import threading
from pathlib import Path

import pytest

from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.models import EndKind, LandingKind, LandingState, MergeRequest, Oid
from sf_mcp.core.states import MergeState, TaskState
from sf_mcp.store import landings, merge_requests
from tests.builders import (
    Project,
    a_commit,
    a_merge_request,
    a_plan,
    a_project,
    a_steward,
    a_task,
    a_worker,
    bring,
    git,
)
from tests.service.builders_conflicts import is_in_conflict
from tests.service.builders_landing import landed

SUM = {"limit.txt": "10\n", "a.txt": "1\n", "b.txt": "1\n", "readme.md": "hello\n"}
"""A repository whose check adds up numbers: two changes that pass alone can fail together."""
ADD_UP = "test $(( $(cat a.txt) + $(cat b.txt) )) -le $(cat limit.txt)"


def checked(*checks: tuple[str, str], extra: str = "") -> str:
    lines = "".join(
        f"  - {{name: {name}, run: {run!r}, timeoutSeconds: 60}}\n" for name, run in checks
    )
    return f"checks:\n{lines}agents: {{steward: {{review: false}}}}\n{extra}"


def notes(project: Project, request: MergeRequest) -> tuple[str, str]:
    with project.services.workspace.read() as tx:
        note = merge_requests.repair_notes(tx.db, request.task_id)[-1]
    return note.reason, note.detail


def targets(project: Project) -> list[Oid]:
    """Return every value that the target rightly had, oldest first."""
    with project.services.workspace.read() as tx:
        return [landing.new for landing in landings.done(tx.db)]


def files_at(project: Project, commit: str) -> dict[str, str]:
    names = git(project.forge.git_dir, "ls-tree", "-r", "--name-only", commit).splitlines()
    return {name: git(project.forge.git_dir, "show", f"{commit}:{name}") for name in names}


def runs_of(path: Path) -> int:
    """Return how often a check ran that appends a line to the file at each run."""
    return len(path.read_text().splitlines()) if path.exists() else 0


def counting(path: Path, command: str = "true") -> str:
    return f"echo run >> {path}; {command}"


# -- what lands ----------------------------------------------------------------------------------


def test_a_landing_brings_the_work_to_the_target_and_to_the_persons_files(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, "Add a thing")
    request = a_merge_request(project, task_id, {"a.txt": "a\n"})
    project.run_train()
    done = project.request(request.id)
    assert done.state is MergeState.LANDED
    assert done.landed_commit == project.target
    assert project.task(task_id).state is TaskState.MERGED
    assert (project.root / "a.txt").read_text() == "a\n"
    assert git(project.root, "rev-parse", "main") == project.target
    assert git(project.root, "log", "-1", "--format=%an|%s|%b", "main") == (
        f"Ada Lovelace|Add a thing|done\n\nTask: T1\nMerge-Request: {request.id}"
    )
    assert git(project.root, "status", "--porcelain") == ""


@pytest.mark.parametrize(("strategy", "parents"), [("squash", 1), ("merge", 2)])
def test_the_strategy_decides_the_parents(tmp_path: Path, strategy: str, parents: int) -> None:
    project = a_project(
        tmp_path,
        config=f"checks: []\nagents: {{steward: {{review: false}}}}\n"
        f"merge: {{strategy: {strategy}}}\n",
    )
    request = a_merge_request(project, a_task(project))
    project.run_train()
    shown = git(project.root, "log", "-1", "--format=%P", "main").split()
    assert len(shown) == parents
    assert (request.commit in shown) is (strategy == "merge")


def test_two_branches_that_pass_alone_and_fail_together_never_land_red(tmp_path: Path) -> None:
    """Row 7 of the known defects: the merged tree failed and the target went red."""
    project = a_project(tmp_path, files=SUM, config=checked(("sum", ADD_UP)))
    first = a_merge_request(project, a_task(project), {"a.txt": "8\n"})
    second = a_merge_request(project, a_task(project), {"b.txt": "8\n"})
    project.run_train()
    assert project.request(first.id).state is MergeState.LANDED
    assert project.request(second.id).state is MergeState.SENT_BACK
    reason, detail = notes(project, second)
    assert reason == "sum failed on your work merged with main"
    assert "failed (exit 1)" in detail
    for commit in targets(project):
        files = files_at(project, commit)
        assert int(files["a.txt"]) + int(files["b.txt"]) <= int(files["limit.txt"])
    assert project.services.fleet.fleet_status(PERSON).target.is_green is True


def test_requests_land_by_priority_and_then_by_age(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    old = a_merge_request(project, a_task(project, priority=3))
    urgent = a_merge_request(project, a_task(project, priority=1))
    young = a_merge_request(project, a_task(project, priority=3))
    project.run_train()
    assert landed(project) == [urgent.id, old.id, young.id]


def test_a_request_that_waits_for_review_does_not_hold_up_the_one_behind_it(
    tmp_path: Path,
) -> None:
    ran = tmp_path / "ran"
    config = f"checks:\n  - {{name: c, run: '{counting(ran)}', timeoutSeconds: 60}}\n"
    project = a_project(tmp_path, config=config)
    waiting = a_merge_request(project, a_task(project, priority=1))
    behind = a_merge_request(project, a_task(project, priority=5))
    project.run_train()
    assert runs_of(ran) == 3  # the target itself, and each of the two
    project.services.requests.approve_merge(PERSON, behind.id)
    project.run_train()
    assert project.request(behind.id).state is MergeState.LANDED
    assert project.request(waiting.id).state is MergeState.OPEN
    # While it waits, the target may move on without its checks being run again and again.
    assert runs_of(ran) == 3
    project.services.requests.approve_merge(PERSON, waiting.id)
    project.run_train()
    assert project.request(waiting.id).state is MergeState.LANDED
    assert runs_of(ran) == 4  # on the tree that lands


def test_a_paused_fleet_lands_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    request = a_merge_request(project, a_task(project))
    project.services.fleet.pause_fleet(PERSON)
    project.run_train()
    assert project.request(request.id).state is MergeState.OPEN
    project.services.fleet.resume_fleet(PERSON)
    project.run_train()
    assert project.request(request.id).state is MergeState.LANDED


# -- what is sent back -------------------------------------------------------------------------


def test_a_conflict_that_stewards_do_not_resolve_goes_back_with_the_paths(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    first = a_merge_request(project, a_task(project), {"src/app.py": "mine\n"})
    second = a_merge_request(project, a_task(project), {"src/app.py": "theirs\n"})
    project.run_train()
    assert project.request(first.id).state is MergeState.LANDED
    assert project.request(second.id).state is MergeState.OPEN
    for _ in range(2):
        a_steward(project, second).end(EndKind.NO_OUTCOME)
        project.clock.advance(minutes=10)
    assert project.request(second.id).state is MergeState.SENT_BACK
    reason, detail = notes(project, second)
    assert reason.startswith("it conflicts with the target in src/app.py")
    assert "git fetch origin && git merge FETCH_HEAD" in detail
    # What the note says works in the worktree.
    worker = a_worker(project, second.task_id, with_worktree=True)
    worker.git("fetch", "origin")
    worker.git("merge", "-X", "ours", "-m", "both", "FETCH_HEAD")
    worker.request_merge()
    worker.end()
    project.run_train()
    assert project.task(second.task_id).state is TaskState.MERGED


def test_a_conflict_holds_nobody_up(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    first = a_merge_request(project, a_task(project), {"src/app.py": "mine\n"})
    second = a_merge_request(project, a_task(project), {"src/app.py": "theirs\n"})
    behind = a_merge_request(project, a_task(project), {"other.txt": "x\n"})
    project.run_train()
    assert is_in_conflict(project, second)
    assert landed(project) == [first.id, behind.id]


def test_a_conflict_with_a_moved_target_is_seen_while_the_request_waits_for_review(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path, config="checks: []\n")
    request = a_merge_request(project, a_task(project), {"src/app.py": "mine\n"})
    project.run_train()
    a_commit(project.root, {"src/app.py": "theirs\n"})
    project.run_train()
    assert is_in_conflict(project, request)


# -- what is not the request's fault ---------------------------------------------------------------


def test_a_flake_on_the_target_absolves_nobody(tmp_path: Path) -> None:
    """One failure of the target must not let work land that fails a check the target passes."""
    flag = tmp_path / "flag"
    command = f"test ! -e bad.txt && {{ test -e {flag} || {{ touch {flag}; exit 1; }}; }}"
    project = a_project(tmp_path, config=checked(("tests", command)))
    request = a_merge_request(project, a_task(project), {"bad.txt": "x\n"})
    project.run_train()
    assert project.request(request.id).state is MergeState.SENT_BACK
    assert project.services.fleet.fleet_status(PERSON).target.is_green is True


def test_without_checks_nothing_is_said_to_be_green(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project, state=TaskState.MERGED)
    status = project.services.fleet.fleet_status(PERSON)
    assert status.target.is_green is None
    assert status.notes == [
        "Nothing is checked before the target branch moves: the list `checks` is empty."
    ]
    events = project.services.fleet.read_log(PERSON, after=0, limit=1000)
    (moved,) = [event for event in events if event.kind == "target_moved" and event.subject]
    assert moved.data["note"] == status.notes[0]


def test_the_output_of_old_checks_makes_room(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=checked(("tests", "true")))
    folder = project.layout.logs / "checks"
    for number in range(310):
        (folder / f"{number:012}").mkdir(parents=True)
    a_task(project, state=TaskState.MERGED)
    assert len(list(folder.iterdir())) <= 302


# -- while checks run ------------------------------------------------------------------------------


def test_a_task_cancelled_while_its_checks_run_does_not_land(tmp_path: Path) -> None:
    started, go_on = tmp_path / "started", tmp_path / "go-on"
    command = (
        f"test ! -e new.txt || {{ touch {started}; until test -e {go_on}; do sleep 0.01; done; }}"
    )
    project = a_project(tmp_path, config=checked(("tests", command)))
    request = a_merge_request(project, a_task(project), {"new.txt": "x\n"})
    before = project.target
    train = threading.Thread(target=project.run_train)
    train.start()
    wait_for(started)
    project.services.plans.cancel_task(PERSON, request.task_id)
    go_on.touch()
    train.join(60)
    assert not train.is_alive()
    assert project.target == before
    assert project.request(request.id).state is MergeState.WITHDRAWN
    assert project.task(request.task_id).state is TaskState.CANCELLED


def test_an_approval_that_was_overtaken_by_a_pause_does_not_land(tmp_path: Path) -> None:
    """Between the last look and the move itself anyone may have changed his mind."""
    project = a_project(tmp_path)
    request = a_merge_request(project, a_task(project))
    project.services.fleet.pause_fleet(PERSON)
    assert not project.services.target.land(
        [(request, request.commit)],
        kind=LandingKind.MERGE,
        old=project.target,
        new=request.commit,
        green=None,
    )
    assert project.request(request.id).state is MergeState.OPEN


def wait_for(path: Path) -> None:
    never = threading.Event()
    for _ in range(3000):
        if path.exists():
            return
        never.wait(0.01)
    raise AssertionError(f"{path} never came")


# -- files and worktrees ---------------------------------------------------------------------------


def test_uncommitted_work_survives_the_landing_of_its_task(tmp_path: Path) -> None:
    """Row 26 of the known defects: merging removed the worktree with work in it."""
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    head = worker.commit({"a.txt": "a\n"})
    request = worker.request_merge()
    (worker.cwd / "later.txt").write_text("not committed")
    project.run_train()
    assert project.request(request.id).state is MergeState.LANDED
    assert worker.cwd.exists()  # its process may still live
    worker.end()
    project.services.work.tidy_ended()
    assert not worker.cwd.exists()
    assert project.forge.head_of(f"refs/heads/{request.branch}") == head
    snapshots = project.forge.refs_below("refs/stoneforge/snapshots").values()
    kept = {git(project.forge.git_dir, "show", f"{one}:later.txt") for one in snapshots}
    assert kept == {"not committed"}


def test_one_request_that_git_cannot_merge_does_not_stop_the_train(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    broken = a_merge_request(project, a_task(project, priority=1))
    # As after a disk failure: neither the branch nor its commit is there any more.
    project.forge.run("update-ref", "-d", f"refs/heads/{broken.branch}")
    with project.services.workspace.write(SERVER) as tx:
        tx.edit_merge_request(project.request(broken.id), commit=Oid("1" * 40))
    fine = a_merge_request(project, a_task(project, priority=5))
    project.run_train()
    assert project.request(fine.id).state is MergeState.LANDED
    held = project.request(broken.id)
    assert held.state is MergeState.OPEN
    assert "cannot be merged" in held.held


def test_a_dependent_starts_when_its_dependency_has_landed(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    first = a_task(project, plan=plan)
    second = a_task(project, plan=plan, depends_on=[first])
    bring(project, first, TaskState.IN_REVIEW)
    assert project.services.dispatch.next_order(PERSON) is None
    project.run_train()
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    assert order.session.subject == second


def test_an_aborted_landing_is_tried_again_on_the_moved_target(tmp_path: Path) -> None:
    """Row 2 of the known defects: of two merges at once one was lost."""
    project = a_project(tmp_path)
    request = a_merge_request(project, a_task(project))
    old = project.target
    theirs = a_commit(project.root, {"theirs.txt": "x\n"})
    project.forge.fetch_from(project.root / ".git", f"+{theirs}:refs/stoneforge/test")
    # The forge's target moves behind the server's back, as if another landing had been faster.
    project.forge.compare_and_swap("refs/heads/main", new=theirs, old=old)
    project.run_train()
    files = files_at(project, project.target)
    assert {"theirs.txt", "src/t1.py"} <= set(files)
    assert project.request(request.id).state is MergeState.LANDED
    with project.services.workspace.read() as tx:
        assert {landing.state for landing in landings.done(tx.db)} == {LandingState.DONE}
