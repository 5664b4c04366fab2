"""A task that would meet live work lets others go first, for a while, and says so."""

from pathlib import Path

import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import TaskId
from sf_mcp.core.radar import MOST_HELD
from sf_mcp.core.states import TaskState
from sf_mcp.service.drafts import TaskDraft
from tests.builders import Project, a_project, a_worker, dispatched, next_worker, some_tasks

API = "src/api"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def near_and_far(project: Project, *, near: tuple[str, ...] = (API,)) -> tuple[TaskId, TaskId]:
    """Create a task that comes first in line and declares paths, and one behind it."""
    first, second = some_tasks(
        project, TaskDraft(title="Near", paths=near, priority=2), TaskDraft(title="Far")
    )
    return first, second


def someone_at_work(project: Project, *paths: str) -> TaskId:
    (task,) = some_tasks(project, TaskDraft(title="At work", paths=paths, priority=1))
    assert dispatched(project).task_id == task
    return task


def why(project: Project, task: TaskId) -> str:
    return project.services.queries.why(PERSON, task).sentence


def test_the_next_in_line_that_declares_what_is_worked_on_goes_last(project: Project) -> None:
    at_work = someone_at_work(project, "src/api/routes.py")
    near, far = near_and_far(project)
    ready = project.services.queries.list_tasks(PERSON, state="ready")
    assert [task.id for task, _ in ready.tasks] == [far, near]
    said = why(project, near)
    assert said.startswith(f"{near} is held back while other tasks are ready: {API}, which it")
    assert f"{at_work} (At work)" in said
    assert "for 10 minutes at most" in said
    assert dispatched(project).task_id == far
    assert "held_back" in project.event_kinds(near)


def test_it_starts_when_nothing_else_is_ready(project: Project) -> None:
    someone_at_work(project, API)
    near, far = near_and_far(project)
    assert dispatched(project).task_id == far
    assert "held back" not in why(project, near)
    assert dispatched(project).task_id == near


def test_after_the_limit_it_is_in_line_again(project: Project) -> None:
    someone_at_work(project, API)
    near, far = near_and_far(project)
    (third,) = some_tasks(project, TaskDraft(title="Third"))
    assert dispatched(project).task_id == far
    assert "At 12:10:00 UTC at the latest" in why(project, near)
    project.clock.now += MOST_HELD
    assert "held back" not in why(project, near)
    assert dispatched(project).task_id == near
    assert dispatched(project).task_id == third
    assert project.event_kinds(near).count("held_back") == 1


def test_what_somebody_has_changed_counts_without_having_been_declared(project: Project) -> None:
    worker = a_worker(project, *some_tasks(project, TaskDraft(title="w")), with_worktree=True)
    worker.commit({"src/api/new.py": "1\n"})
    near, far = near_and_far(project)
    ready = project.services.queries.list_tasks(PERSON, state="ready")
    assert [task.id for task, _ in ready.tasks] == [near, far]
    project.services.radar.look()
    ready = project.services.queries.list_tasks(PERSON, state="ready")
    assert [task.id for task, _ in ready.tasks] == [far, near]


def test_work_that_has_landed_holds_nobody_back(project: Project) -> None:
    worker = a_worker(project, *some_tasks(project, TaskDraft(title="w")), with_worktree=True)
    worker.commit({"src/api/new.py": "1\n"})
    project.services.radar.look()
    worker.request_merge()
    worker.end()
    project.run_train()
    assert project.task(worker.task_id).state is TaskState.MERGED
    near, _ = near_and_far(project)
    assert dispatched(project).task_id == near


def test_a_task_that_was_begun_goes_on(project: Project) -> None:
    near, far = near_and_far(project)
    begun = dispatched(project)
    assert begun.task_id == near
    begun.hand_off()
    begun.end()
    someone_at_work(project, API)
    assert dispatched(project).task_id == near
    assert dispatched(project).task_id == far
    assert next_worker(project) is None


def test_one_that_declares_nothing_or_something_else_is_not_held_back(project: Project) -> None:
    someone_at_work(project, API)
    near, far = near_and_far(project, near=("src/apiary", "docs"))
    assert dispatched(project).task_id == near
    assert dispatched(project).task_id == far
