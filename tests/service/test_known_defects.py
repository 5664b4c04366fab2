"""Known defects of systems like this one that no other test here would notice.

The list of all of them, with the change that brings each back, is `tests/known_defects.md`.
"""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sf_mcp.core.identity import PERSON, SERVER, Caller
from sf_mcp.core.models import EndKind, Oid, Role, Session, SessionId
from sf_mcp.core.states import TaskState
from sf_mcp.service.dispatch import DispatchService, Place
from sf_mcp.service.drafts import TaskDraft
from tests.builders import (
    NOON,
    Project,
    a_plan,
    a_project,
    a_session,
    a_task,
    a_worker,
    bring,
    some_tasks,
)
from tests.store.test_rebuilding import rebuild

ONE_AT_A_TIME = "checks: []\norchestrator: {maxConcurrent: 1}\n"
FEW, MANY = 60, 240
"""Small, since a quadratic answer is to be noticed and not waited for."""

# -- what is written -----------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "title": "after",
    "description": "more",
    "acceptance": ("it works",),
    "priority": 1,
    "estimate_minutes": 5.0,
    "paths": ("src",),
    "branch": "sf/T1",
    "base": Oid("1" * 40),
    "reserved_for": SessionId("s"),
    "reserved_until": NOON,
    "ahead": True,
    "retried_at": NOON,
}


def test_twelve_that_read_a_task_before_any_of_them_wrote_lose_nothing(tmp_path: Path) -> None:
    """Row 12: each wrote back the whole of what it had read, and the last one won."""
    project = a_project(tmp_path)
    task_id = a_task(project, "before")
    read = project.task(task_id)
    for name, value in CHANGES.items():
        with project.services.workspace.write(SERVER) as tx:
            tx.edit_task(read, **{name: value})
    task = project.task(task_id)
    assert {name: getattr(task, name) for name in CHANGES} == CHANGES


def test_what_waits_for_a_merged_task_is_ready_in_a_database_that_was_written_anew(
    tmp_path: Path,
) -> None:
    """Row 15: a database made from its own export never unblocked a dependent."""
    project = a_project(tmp_path)
    plan = a_plan(project)
    first = a_task(project, plan=plan)
    second = a_task(project, plan=plan, depends_on=[first])
    bring(project, first, TaskState.MERGED)
    rebuild(project)
    assert list_ready(project) == [second]


# -- the order of claiming and starting ------------------------------------------------------------


def test_the_claim_stands_before_anything_of_its_session_is_made(tmp_path: Path) -> None:
    """Row 23: a crash after the start and before the claim left a session without a task."""
    project = a_project(tmp_path)
    task_id = a_task(project)
    services = project.services
    seen: list[tuple[SessionId | None, TaskState]] = []

    def make_place(session: Session) -> Place:
        assert session.pid is None
        lease = project.live_lease(task_id)
        seen.append((lease and lease.session_id, project.task(task_id).state))
        return services.work.make_place(session)

    dispatch = DispatchService(
        services.workspace, services.claims, services.sessions, services.requests, make_place
    )
    order = dispatch.next_order(PERSON)
    assert order is not None
    assert seen == [(order.session.id, TaskState.CLAIMED)]
    # The server dies before the order reaches the launcher: the task is not given out again.
    project.reopen()
    assert project.services.dispatch.next_order(PERSON) is None
    lease = project.live_lease(task_id)
    assert lease is not None
    assert lease.session_id == order.session.id


# -- what is counted ------------------------------------------------------------------------------


def test_the_cap_on_failures_holds_whatever_old_values_are_written_back_in_between(
    tmp_path: Path,
) -> None:
    """Row 21: the counter lived in the task, and whoever wrote the task back set it to before."""
    project = a_project(tmp_path)
    task_id = a_task(project)
    read = project.task(task_id)
    for _ in range(5):
        worker = a_worker(project, task_id)
        session = project.session(worker.session.id)
        worker.end(EndKind.KILLED)
        with project.services.workspace.write(SERVER) as tx:
            tx.edit_session(session, nudges=session.nudges, last_line="late")
            if project.task(task_id).state is TaskState.OPEN:
                tx.edit_task(read, state=read.state, retried_at=read.retried_at)
    assert project.task(task_id).state is TaskState.STUCK


# -- how much work an answer is --------------------------------------------------------------------


def work_of(project: Project, action: Callable[[Project], object]) -> int:
    """Count what an action does: functions called, in Python and in C, and steps of SQLite."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    with project.services.workspace.read() as tx:
        connection: sqlite3.Connection = tx.db
    # A step of SQLite's calls this, and so is counted with the rest.
    connection.set_progress_handler(lambda: None, 1)
    sys.setprofile(count)
    try:
        action(project)
    finally:
        sys.setprofile(None)
        connection.set_progress_handler(None, 0)
    return calls


def two_sizes(folder: Path) -> Iterator[Project]:
    """Make a project with few ready tasks and one with many, and as many that wait for those."""
    for number in (FEW, MANY):
        project = a_project(folder / str(number), config=ONE_AT_A_TIME)
        ready = some_tasks(project, *[TaskDraft(title="t")] * number, plan=a_plan(project))
        some_tasks(project, *[TaskDraft(title="t", depends_on=[one]) for one in ready], plan="P1")
        # So that what is done only once is not counted.
        assert list_ready(project) == ready[:20]
        claim(project)
        yield project


def claim(project: Project) -> None:
    session = a_session(project, Role.WORKER, "nothing")
    caller = Caller(role=Role.WORKER, name=session.name, session_id=session.id)
    project.services.claims.claim_task(caller)


def poll(project: Project) -> None:
    assert project.services.dispatch.next_order(PERSON) is None


def list_ready(project: Project) -> list[str]:
    listing = project.services.queries.list_tasks(PERSON, state="ready", limit=20)
    return [task.id for task, _ in listing.tasks]


@pytest.mark.parametrize("ask", [claim, poll])
def test_asking_for_work_costs_the_same_however_many_tasks_there_are(
    tmp_path: Path, ask: Callable[[Project], None]
) -> None:
    """Row 17: the ready list was made anew for every idle worker, every few seconds."""
    few, many = (work_of(project, ask) for project in two_sizes(tmp_path))
    assert many < few * 1.2


def test_a_ready_list_of_more_tasks_costs_no_more_for_each_of_them(tmp_path: Path) -> None:
    """Row 17: five times as many tasks took sixteen times as long."""
    few, many = (work_of(project, list_ready) for project in two_sizes(tmp_path))
    assert many / MANY < few / FEW
