"""The set-up command: what makes a fresh worktree one that the checks can run in."""

import json
from pathlib import Path

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import MergeRequest
from sf_mcp.core.states import MergeState
from tests.builders import Project, a_commit, a_project, a_task
from tests.service.builders_landing import (
    config,
    is_open,
    landed,
    notes,
    one_request,
    status_of,
)

IGNORES = {".gitignore": "installed\n", "app.lock": "one\n", "src/app.py": "1\n"}
NEEDS_IT = {"tests": "test -e installed"}


def set_up(command: str, checks: dict[str, str] | None = None) -> str:
    """Write a configuration with this set-up command, run anew when `app.lock` differs."""
    settings = json.loads(config(checks or NEEDS_IT))
    settings["setup"] = {"run": command, "lockFiles": ["*.lock"], "timeoutSeconds": 60}
    return json.dumps(settings)


def counting(runs: Path, then: str = "cp app.lock installed") -> str:
    return f"echo run >> {runs}; {then}"


def runs_of(runs: Path) -> int:
    return len(runs.read_text().splitlines()) if runs.exists() else 0


def a_set_up_project(tmp_path: Path, command: str, checks: dict[str, str] | None = None) -> Project:
    return a_project(tmp_path, files=IGNORES, config=set_up(command, checks))


def requested(project: Project, files: dict[str, str]) -> MergeRequest:
    request = one_request(project, files)
    project.run_train()
    return request


def test_a_fresh_worktree_is_set_up_before_its_checks_run(tmp_path: Path) -> None:
    project = a_set_up_project(tmp_path, "cp app.lock installed")
    request = requested(project, {"new": "n\n"})
    assert landed(project) == [request.id]


def test_it_is_set_up_once_for_each_content_of_the_lock_files(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    checks = {"tests": "cmp app.lock installed"}
    project = a_set_up_project(tmp_path, counting(runs), checks)
    first, second = requested(project, {"a": "a\n"}), requested(project, {"b": "b\n"})
    assert landed(project) == [first.id, second.id]
    assert runs_of(runs) == 1
    project.reopen()
    third = requested(project, {"app.lock": "two\n"})
    assert landed(project) == [first.id, second.id, third.id]
    assert runs_of(runs) == 2


def test_a_set_up_that_fails_everywhere_holds_the_request_and_condemns_nobody(
    tmp_path: Path,
) -> None:
    project = a_set_up_project(tmp_path, "echo no registry; exit 7")
    request = requested(project, {"new": "n\n"})
    assert is_open(project, request)
    assert status_of(project, request) == (
        "check tests could not start: the set-up failed (exit 7)"
    )
    project.layout.config.write_text(set_up("cp app.lock installed"))
    project.reopen()
    project.run_train()
    assert landed(project) == [request.id]


def test_a_lock_file_that_cannot_be_installed_goes_back(tmp_path: Path) -> None:
    project = a_set_up_project(tmp_path, "grep -q one app.lock && cp app.lock installed")
    good = requested(project, {"new": "n\n"})
    bad = requested(project, {"app.lock": "zero\n"})
    assert landed(project) == [good.id]
    assert project.request(bad.id).state is MergeState.SENT_BACK
    assert "the set-up failed (exit 1)" in notes(project, bad)[-1].detail


def test_a_registry_out_of_reach_condemns_nobody_whose_lock_file_differs(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    registry.touch()
    project = a_set_up_project(tmp_path, f"test -e {registry} && cp app.lock installed")
    first = requested(project, {"new": "n\n"})
    assert landed(project) == [first.id]
    registry.unlink()
    request = requested(project, {"app.lock": "two\n"})
    assert is_open(project, request)
    registry.touch()
    project.clock.advance(minutes=2)
    project.run_train()
    assert landed(project) == [first.id, request.id]


def test_work_with_the_old_lock_file_is_not_condemned_by_a_set_up_that_fails_now(
    tmp_path: Path,
) -> None:
    """The target passed with what had been installed; only a fresh install fails."""
    registry = tmp_path / "registry"
    registry.touch()
    project = a_set_up_project(tmp_path, f"test -e {registry} && cp app.lock installed")
    a_commit(project.root, {"theirs": "t\n"})
    a_task(project)
    project.run_train()
    registry.unlink()
    for place in project.layout.worktrees.glob("check-*"):
        (place / "installed").unlink()
        mark = project.forge.git_dir / "worktrees" / place.name / "stoneforge-set-up"
        mark.unlink()
    request = requested(project, {"new": "n\n"})
    assert is_open(project, request)


def test_a_target_that_failed_after_another_set_up_absolves_nobody(tmp_path: Path) -> None:
    checks = {"tests": "test -e installed && ! test -e bad"}
    project = a_set_up_project(tmp_path, "touch other", checks)
    a_commit(project.root, {"theirs": "t\n"})
    project.run_train()
    assert project.services.fleet.fleet_status(PERSON).target.is_green is False
    project.layout.config.write_text(set_up("cp app.lock installed", checks))
    project.reopen()
    request = requested(project, {"bad": "b\n"})
    assert landed(project) == []
    assert project.request(request.id).state is MergeState.SENT_BACK
