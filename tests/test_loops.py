"""The server's background work: woken by events and by files that others write, never by chance."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic, TypeVar

import anyio
import pytest

from sf_mcp import loops
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind
from sf_mcp.core.states import MergeState, TaskState
from sf_mcp.core.thinning import NEWEST
from tests.builders import (
    TINY,
    Project,
    a_commit,
    a_merge_request,
    a_plan,
    a_project,
    a_task,
    a_worker,
    git,
    own_home,
    write,
)
from tests.service.builders_github import a_gh
from tests.service.builders_landing import an_origin, config

__all__ = ["own_home"]  # switched on by being here

T = TypeVar("T")

BOUND_SECONDS = 30.0
HELD = "checks: [{name: tests, run: no-such-command, timeoutSeconds: 9}]\n" + TINY.split("\n", 1)[1]


class Steps(Generic[T]):
    """The steps of a train, or looks of the radar, counted as they begin."""

    def __init__(self, step: Callable[[], T]) -> None:
        self._step = step
        self._begun = self._ended = 0

    def take(self) -> T:
        self._begun += 1
        try:
            return self._step()
        finally:
            self._ended += 1

    @property
    def is_under_way(self) -> bool:
        """Whether one is: on a busy machine it takes longer than a rest is long."""
        return self._begun != self._ended

    def __call__(self) -> int:
        return self._begun


@asynccontextmanager
async def running(project: Project) -> AsyncGenerator["Steps[bool]"]:
    """Run the loops; what is yielded counts the steps of the train so far."""
    steps = Steps(project.services.train.step)
    project.services.train.step = steps.take
    project.services.notices.attach()
    async with anyio.create_task_group() as group:
        group.start_soon(loops.run_loops, project.services)
        yield steps
        group.cancel_scope.cancel()


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(BOUND_SECONDS):
        while True:
            if await anyio.to_thread.run_sync(holds):
                return
            await anyio.sleep(0.01)


async def at_rest(steps: Steps[T]) -> int:
    """Wait until it has stepped and rests; return its steps so far."""
    await until(lambda: steps() > 0)
    seen = -1
    while steps() != seen or steps.is_under_way:
        seen = steps()
        await anyio.sleep(0.3)
    return seen


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "FILE_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(loops, "LEASE_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(loops, "RETRY_SECONDS", 0.05)


async def test_a_merge_request_lands_by_itself(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    async with running(project) as steps:
        await at_rest(steps)
        request = a_merge_request(project, a_task(project))
        await until(lambda: project.request(request.id).state is MergeState.LANDED)
        await until(lambda: (project.root / "src/t1.py").exists())
        await until(lambda: not (project.layout.worktrees / "T1").exists())


async def test_a_merge_request_is_mirrored_by_itself_when_that_is_switched_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gh = a_gh(tmp_path / "bin", monkeypatch)
    settings = config(merge={"requests": "github"}, steward={"autoMerge": False})
    project = a_project(tmp_path, config=settings)
    an_origin(project, tmp_path / "origin.git")
    async with running(project) as steps:
        await at_rest(steps)
        request = a_merge_request(project, a_task(project))
        await until(lambda: [pull["state"] for pull in gh.pulls] == ["OPEN"])
        project.services.requests.approve_merge(PERSON, request.id)
        await until(lambda: [pull["state"] for pull in gh.pulls] == ["CLOSED"])


async def test_conflicts_are_looked_for_at_each_event_and_not_at_rest(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    one = a_worker(project, a_task(project, "One"), with_worktree=True)
    other = a_worker(project, a_task(project, "Other"), with_worktree=True)
    radar = project.services.radar
    looks = Steps(radar.look)
    radar.look = looks.take
    async with running(project):
        await at_rest(looks)
        one.commit({"src/app.py": "1\n"})
        other.commit({"src/app.py": "2\n"})
        project.services.claims.report_progress(other.caller, message="half")
        await until(lambda: bool(radar.known().between))
        before = await at_rest(looks)
        one.hear()
        other.hear()
        assert await at_rest(looks) == before
        write(one.cwd, {"src/new.py": "1\n"})
        other.commit({"src/new.py": "2\n"})
        project.services.work.turn_ended(PERSON, one.session.id)
        await until(
            lambda: (
                [clash.paths for clash in radar.known().between.values()]
                == [("src/app.py", "src/new.py")]
            )
        )


async def test_what_the_person_commits_is_taken_in(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    async with running(project) as steps:
        await at_rest(steps)
        commit = a_commit(project.root, {"theirs.txt": "x\n"})
        await until(lambda: project.target == commit)


async def test_a_foreign_move_of_the_target_is_undone(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    before = project.target
    async with running(project) as steps:
        await at_rest(steps)
        foreign = project.forge.run(
            "commit-tree", "-p", before, "-m", "x", project.forge.tree_of(before), extra=WHO
        ).text
        git(project.forge.git_dir, "-c", "core.hooksPath=/dev/null", "update-ref", MAIN, foreign)
        await until(lambda: "target_move_undone" in project.event_kinds())
        assert project.target == before


async def test_a_mended_configuration_lets_a_held_request_go_on(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=HELD)
    async with running(project) as steps:
        request = a_merge_request(project, a_task(project))
        await until(lambda: project.request(request.id).held != "")
        await at_rest(steps)
        project.configure(TINY)
        await until(lambda: project.request(request.id).state is MergeState.LANDED)


async def test_a_fleet_that_is_only_heard_of_gives_the_train_nothing_to_do(tmp_path: Path) -> None:
    """Sessions are heard of several times a second; each step runs a dozen git processes."""
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    async with running(project) as steps:
        rested = await at_rest(steps)
        for _ in range(20):
            await anyio.to_thread.run_sync(worker.hear)
        a_plan(project)
        await until(lambda: steps() > rested)
        assert await at_rest(steps) == rested + 1


async def test_looking_for_work_in_vain_wakes_nobody(tmp_path: Path) -> None:
    """Row 36 of the known defects: an idle fleet must cost nothing."""
    project = a_project(tmp_path, config="checks: []\nagents: {director: {headless: false}}\n")
    project.services.questions.set_goal(PERSON, goal="Make it so")
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        found = await anyio.to_thread.run_sync(project.services.dispatch.next_order, PERSON)
        assert found is None

    async with running(project) as steps:
        await at_rest(steps)
        before = looks
        await project.services.notices.wait_for(look, seconds=0.5)
        assert looks - before <= 2


async def test_a_step_that_fails_is_tried_again_and_ends_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    away = project.root.with_name("away")
    async with running(project) as steps:
        await at_rest(steps)
        (project.root / ".git").rename(away)
        a_plan(project)  # news: the train steps, and cannot reach the person's repository
        tried = steps()
        await until(lambda: steps() > tried + 1)
        away.rename(project.root / ".git")
        request = a_merge_request(project, a_task(project))
        await until(lambda: project.request(request.id).state is MergeState.LANDED)


async def test_a_dead_sessions_task_is_free_again_with_its_files_kept(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    (worker.cwd / "draft.txt").write_text("not committed")
    async with running(project) as steps:
        await at_rest(steps)

        def is_free() -> bool:
            # In steps that are too small to mean that the server slept.
            project.clock.advance(seconds=5)
            return project.task(worker.task_id).state is TaskState.OPEN

        await until(is_free)
        await until(lambda: bool(project.forge.refs_below("refs/stoneforge/snapshots/T1")))


async def test_old_snapshots_are_thinned_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    for n in range(NEWEST + 2):
        write(worker.cwd, {"draft.txt": f"{n}\n"})
        project.services.work.turn_ended(PERSON, worker.session.id)
    monkeypatch.setattr(loops, "THIN_SECONDS", 0.05)
    async with running(project):
        prefix = "refs/stoneforge/snapshots/T1"
        await until(lambda: len(project.forge.refs_below(prefix)) == NEWEST + 1)
    refs = project.forge.refs_below(prefix)
    assert f"{prefix}/thinned" in refs
    assert not {f"{prefix}/1", f"{prefix}/2"} & refs.keys()


MAIN = "refs/heads/main"
WHO = {
    "GIT_AUTHOR_NAME": "x",
    "GIT_AUTHOR_EMAIL": "x@x",
    "GIT_COMMITTER_NAME": "x",
    "GIT_COMMITTER_EMAIL": "x@x",
}


# -- the account's gate ------------------------------------------------------------------------


async def test_a_limit_that_another_fleets_person_lifts_wakes_whoever_waits(tmp_path: Path) -> None:
    project, other = a_project(tmp_path / "one"), a_project(tmp_path / "other")
    a_worker(other, a_task(other)).end(EndKind.USAGE_LIMIT, "limit reached")
    async with running(project) as steps:
        await at_rest(steps)
        woken = anyio.Event()

        async def wait() -> None:
            assert await project.services.notices.wait(BOUND_SECONDS)
            woken.set()

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            other.services.fleet.resume_fleet(PERSON)
            with anyio.fail_after(BOUND_SECONDS):
                await woken.wait()


async def test_a_gate_that_cannot_be_read_is_said_once(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    gate = project.services.workspace.gate.path
    gate.parent.mkdir(parents=True)
    gate.write_text("garbage")
    async with running(project) as steps:
        await until(lambda: "account_gate_unusable" in project.event_kinds())
        await at_rest(steps)
        assert project.event_kinds().count("account_gate_unusable") == 1
