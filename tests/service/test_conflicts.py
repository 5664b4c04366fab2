"""Conflicts: found by the train, resolved by a steward, accounted for line by line."""

from pathlib import Path

import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import MergeRequest
from sf_mcp.core.states import ConflictState, MergeState
from sf_mcp.git.merging import Conflicted, merge_trees
from sf_mcp.store import conflicts
from tests.builders import Project, a_commit, a_project
from tests.service.builders_landing import one_request, status_of

CONFIG = "checks: []\nagents:\n  steward: {review: false}\n"
MINE = {"src/app.py": "one\nmine\nthree\n"}
THEIRS = {"src/app.py": "one\ntheirs\nthree\n"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path, config=CONFIG)


def a_conflict(project: Project) -> MergeRequest:
    """Have a merge request conflict with what somebody committed to the target meanwhile."""
    request = one_request(project, MINE)
    a_commit(project.root, THEIRS, "theirs")
    project.services.publishing.take_in_upstream()
    assert found(project, request)
    return request


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


def states(project: Project, request: MergeRequest) -> list[ConflictState]:
    with project.services.workspace.read() as tx:
        return [one.state for one in conflicts.of_request(tx.db, request.id)]


def is_open(project: Project, request: MergeRequest) -> bool:
    with project.services.workspace.read() as tx:
        return project.services.conflicts.is_open(tx, project.request(request.id))


def test_a_conflict_is_open_until_it_is_over_and_the_status_says_where_it_is(
    project: Project,
) -> None:
    request = a_conflict(project)
    assert is_open(project, request)
    assert status_of(project, request) == (
        "in conflict with main in src/app.py: a steward resolves it"
    )


def test_a_conflict_that_is_found_again_is_the_same_conflict(project: Project) -> None:
    request = a_conflict(project)
    assert found(project, request)
    assert states(project, request) == [ConflictState.OPEN]


def test_the_places_in_conflict_are_kept_with_both_sides_and_their_base(project: Project) -> None:
    request = a_conflict(project)
    with project.services.workspace.read() as tx:
        (conflict,) = conflicts.live(tx.db)
    assert conflict.paths == ("src/app.py",)
    assert conflict.merge_request_id == request.id
    lines = conflict.hunks.splitlines()
    assert lines[0] == "src/app.py:2"
    assert [line for line in lines[1:] if line[:7] not in ("<<<<<<<", "|||||||", ">>>>>>>")] == [
        "mine",
        "two",
        "=======",
        "theirs",
    ]


def test_a_request_that_ends_takes_its_conflict_with_it(project: Project) -> None:
    request = a_conflict(project)
    project.services.requests.send_back(PERSON, request.id, reason="not like this")
    assert states(project, request) == [ConflictState.DROPPED]
    assert project.request(request.id).state is MergeState.SENT_BACK


def test_a_request_that_has_ended_gets_no_conflict(project: Project) -> None:
    request = one_request(project, MINE)
    a_commit(project.root, THEIRS, "theirs")
    project.services.publishing.take_in_upstream()
    project.services.requests.send_back(PERSON, request.id, reason="not like this")
    assert not found(project, request)
    assert states(project, request) == []
