"""The fleet's own rules are the person's: no landing changes which checks must pass."""

from pathlib import Path

import pytest

from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.states import TaskState
from tests.builders import a_project, a_task, a_worker, write


def test_work_that_changes_the_configuration_is_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    write(worker.cwd, {".stoneforge/config.yaml": "checks: []\n"})
    worker.git("add", "--force", "--all")
    worker.git("commit", "--quiet", "--message", "No more checks")
    with pytest.raises(InvalidInput, match=r"changes \.stoneforge/config\.yaml"):
        worker.request_merge()
    assert project.task(worker.task_id).state is TaskState.CLAIMED


def test_work_that_took_such_a_change_back_is_accepted(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    write(worker.cwd, {".stoneforge/prompts/worker.md": "Be careless.\n"})
    worker.git("add", "--force", "--all")
    worker.git("commit", "--quiet", "--message", "Another prompt")
    worker.git("rm", "--quiet", "-r", ".stoneforge")
    worker.commit({"a.txt": "a\n"})
    assert worker.request_merge().task_id == worker.task_id
