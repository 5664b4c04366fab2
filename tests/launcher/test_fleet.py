"""The fleet with the real Claude Code, the real server and a scripted model."""

from pathlib import Path

from launcher.rehearsal.scripted_api import ScriptedApi
from tests.launcher.builders_project import Project, git, lands, worker


def test_one_worker_claims_a_task_and_its_commit_lands_in_the_persons_checkout(
    tmp_path: Path,
) -> None:
    with (
        ScriptedApi([worker("Add a file", lands("hello.txt", "hello"))]) as api,
        Project(tmp_path, api.url) as project,
    ):
        project.start_server()
        (task,) = project.plan({"title": "Add a file"})
        project.start_fleet("--attached")

        project.wait_for_state(task, "merged")
        project.wait_for(lambda: (project.root / "hello.txt").exists())

        assert (project.root / "hello.txt").read_text() == "hello"
        assert "Task: T1" in git(project.root, "log", "-1", "--format=%B", "main")
        assert not api.misses
        project.wait_for(lambda: project.ends() == ["merge_requested"])
        assert not project.claude_pids()
