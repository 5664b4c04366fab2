"""Conflicts as tests want them: found as the train finds them, resolved as a steward does."""

from collections.abc import Mapping, Sequence

from sf_mcp.core.accounting import Decided, Dropped
from sf_mcp.core.models import Conflict, MergeRequest
from sf_mcp.core.states import ConflictState
from sf_mcp.git.conflicts import Take
from sf_mcp.git.merging import Conflicted, merge_trees
from sf_mcp.store import conflicts
from tests.builders import Project, Worker, a_commit, a_steward, write
from tests.service.builders_landing import one_request

CONFIG = "checks: []\nagents:\n  steward: {review: false}\n"
MINE = {"src/app.py": "one\nmine\nthree\n"}
THEIRS = {"src/app.py": "one\ntheirs\nthree\n"}
BOTH = {"src/app.py": "one\nmine\ntheirs\nthree\n"}

Files = Mapping[str, str | None]


def a_conflict(project: Project, mine: Files = MINE, theirs: Files = THEIRS) -> MergeRequest:
    """Have a merge request conflict with what somebody committed to the target meanwhile."""
    request = one_request(project, mine)
    move_target(project, theirs)
    assert found(project, request)
    return request


def move_target(project: Project, files: Files) -> None:
    """Have the person commit, and the target take it in."""
    a_commit(project.root, files, "theirs")
    project.services.publishing.take_in_upstream()
    project.services.publishing.publish()


def found(project: Project, request: MergeRequest) -> bool:
    """Do what the train does when it meets the conflict."""
    merged = merge_trees(project.forge, project.target, request.commit)
    assert isinstance(merged, Conflicted)
    return project.services.conflicts.open_conflict(
        request,
        head=project.target,
        paths=merged.paths,
        messages=merged.messages,
        reason="no rule resolves it",
    )


def resolved(
    steward: Worker,
    files: Files,
    *,
    summary: str = "Both lines stay.",
    dropped: Sequence[Dropped] = (),
    decided: Sequence[tuple[Decided, Take]] = (),
) -> None:
    """Have the steward edit and submit, as its tools do it."""
    services = steward.project.services
    write(steward.cwd, files)
    made = services.resolutions.checked(
        steward.caller, summary=summary, dropped=dropped, decided=decided
    )
    services.resolutions.accept(steward.caller, made)
    services.conflicts.settle()


def a_resolved_conflict(project: Project) -> MergeRequest:
    """Have a conflict and a steward that resolves it; its session ends."""
    request = a_conflict(project)
    steward = a_steward(project, request)
    resolved(steward, BOTH)
    steward.end()
    return project.request(request.id)


def conflicts_of(project: Project, request: MergeRequest) -> list[Conflict]:
    with project.services.workspace.read() as tx:
        return conflicts.of_request(tx.db, request.id)


def states(project: Project, request: MergeRequest) -> list[ConflictState]:
    return [one.state for one in conflicts_of(project, request)]


def is_in_conflict(project: Project, request: MergeRequest) -> bool:
    with project.services.workspace.read() as tx:
        return project.services.conflicts.is_open(tx, project.request(request.id))


def why_in_conflict(project: Project, request: MergeRequest) -> str:
    """Return why a steward is needed for the conflict that the request is in."""
    newest = conflicts_of(project, request)[-1]
    assert newest.state is ConflictState.OPEN
    return newest.reason
