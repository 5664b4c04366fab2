"""Landings as tests want them: configurations, what the target holds, what was said."""

import json
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import Landing, LandingKind, MergeRequest, Oid, RepairNote, Verdict
from sf_mcp.core.states import MergeState
from sf_mcp.git.identity import SERVER as SERVER_IDENTITY
from sf_mcp.store import landings, merge_requests
from tests.builders import Project, a_merge_request, a_task, git

BOUND_SECONDS = 20.0


def config(
    checks: Mapping[str, str] | None = None,
    *,
    timeout_seconds: int = 60,
    steward: Mapping[str, object] | None = None,
    merge: Mapping[str, object] | None = None,
) -> str:
    """Write a configuration with these checks (name and command); nobody reviews."""
    return json.dumps(
        {
            "checks": [
                {"name": name, "run": command, "timeoutSeconds": timeout_seconds}
                for name, command in (checks or {}).items()
            ],
            "agents": {"steward": {"review": False, **(steward or {})}},
            "merge": {"parallelChecks": 1, **(merge or {})},
        }
    )


def counted(runs: Path, command: str = "true") -> str:
    """Make a check's command that also writes down each tree it runs on."""
    return f"git rev-parse 'HEAD^{{tree}}' >> {shlex.quote(str(runs))}; {command}"


def runs_on(runs: Path, tree: Oid | None) -> int:
    """Return how often a `counted` check has run on the tree."""
    assert tree is not None
    return runs.read_text().split().count(tree) if runs.exists() else 0


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + BOUND_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"never came true: {what}"
        threading.Event().wait(0.01)


def one_request(
    project: Project, files: Mapping[str, str | None] | None = None, title: str = "Add a thing"
) -> MergeRequest:
    """Have a worker finish a new task with these files."""
    return a_merge_request(project, a_task(project, title), files)


def content(project: Project, path: str, at: str = "") -> str:
    """Return a file as it is on the forge's target branch, or at a commit."""
    return git(project.forge.git_dir, "show", f"{at or project.target}:{path}")


def files_on_target(project: Project) -> list[str]:
    return git(project.forge.git_dir, "ls-tree", "-r", "--name-only", project.target).split("\n")


def tree_at(project: Project, commit: str) -> Oid:
    return project.forge.tree_of(commit)


def merged_tree(project: Project, request: MergeRequest) -> Oid:
    """Return the tree that the request would give the present target, by git's own merge."""
    merged = git(
        project.forge.git_dir, "merge-tree", "--write-tree", project.target, request.commit
    )
    return Oid(merged.split("\n", maxsplit=1)[0])


def landings_done(project: Project, *kinds: LandingKind) -> list[Landing]:
    """Return the finished moves of the target but for its first record, oldest first."""
    with project.services.workspace.read() as tx:
        found = landings.done(tx.db)
    return [one for one in found if one.kind in (kinds or set(LandingKind) - {LandingKind.INITIAL})]


def landed(project: Project) -> list[str]:
    """Return the merge requests that have landed, in the order in which they did."""
    moves = landings_done(project, LandingKind.MERGE)
    with project.services.workspace.read() as tx:
        return [str(one) for move in moves for one in landings.brought(tx.db, move.number)]


def verdicts(project: Project, tree: Oid) -> list[Verdict]:
    with project.services.workspace.read() as tx:
        return landings.verdicts_on(tx.db, tree)


def notes(project: Project, request: MergeRequest) -> list[RepairNote]:
    """Return why the request's task was sent back, oldest first."""
    with project.services.workspace.read() as tx:
        return merge_requests.repair_notes(tx.db, request.task_id)


def told(project: Project, kind: str) -> list[dict[str, Any]]:
    """Return the data of every event of a kind, oldest first."""
    events = project.services.fleet.read_log(PERSON, after=0, limit=1000)
    return [event.data for event in events if event.kind == kind]


def status_of(project: Project, request: MergeRequest) -> str:
    return project.services.requests.get_merge_request(PERSON, request.id).status


def is_open(project: Project, request: MergeRequest) -> bool:
    return project.request(request.id).state is MergeState.OPEN


def a_candidate(project: Project, request: MergeRequest) -> Oid:
    """Make the commit that would land the request, with the request as its message."""
    return project.forge.commit_tree(
        merged_tree(project, request), [project.target], request.id, SERVER_IDENTITY
    )


def an_origin(project: Project, path: Path) -> Path:
    """Give the person's repository an `origin` that has their branch."""
    git(path.parent, "init", "--quiet", "--bare", "-b", "main", str(path))
    git(project.root, "remote", "add", "origin", str(path))
    git(project.root, "push", "--quiet", "origin", "main")
    return path


def a_clone(origin: Path, path: Path) -> Path:
    """Clone the origin for somebody else."""
    git(origin, "clone", "--quiet", str(origin), str(path))
    git(path, "config", "user.name", "Grace Hopper")
    git(path, "config", "user.email", "grace@example.org")
    return path


def step_in_thread(project: Project) -> tuple[threading.Thread, list[bool]]:
    """Step the train in a thread of its own; its answer is in the list once it has ended."""
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(project.services.train.step()))
    thread.start()
    return thread, answers


def joined(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join(BOUND_SECONDS)
        assert not thread.is_alive()
