"""A database that was rebuilt from its own dump works like the one it was made from.

Row 15 of the known defects: a database rebuilt from its own export never unblocked a dependent.
"""

import sqlite3
from pathlib import Path

from sf_mcp.core.identity import PERSON
from sf_mcp.core.states import TaskState
from sf_mcp.store.database import Database
from tests.builders import (
    Project,
    a_merge_request,
    a_plan,
    a_project,
    a_proposal,
    a_task,
    a_worker,
)


def rebuild(project: Project) -> None:
    """Write the database anew from its SQL dump, as a person would after a damaged disk."""
    project.services.close()
    path = project.layout.database
    with sqlite3.connect(path) as old:
        script = "\n".join(old.iterdump())
    old.close()
    for file in path.parent.glob("state.db*"):
        file.unlink()
    new = sqlite3.connect(path)
    new.executescript(script)
    new.close()
    project.reopen()


def rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    with database.read() as db:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        return {
            name: [tuple(row) for row in db.execute(f"SELECT * FROM {name} ORDER BY 1, 2")]
            for name in names
            if not name.startswith(("sqlite_", "_sqlite"))
        }


def test_a_rebuilt_database_has_every_row_and_unblocks_dependents(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    first = a_task(project, "first", plan=plan)
    second = a_task(project, "second", plan=plan, depends_on=[first])
    a_task(project, "asked about", plan=plan, state=TaskState.WAITING)
    a_task(project, "stuck", plan=plan, state=TaskState.STUCK)
    a_proposal(project)
    a_merge_request(project, first)
    before = rows(project.services.workspace.database)

    rebuild(project)

    assert rows(project.services.workspace.database) == before
    ready = project.services.queries.list_tasks(PERSON, state="ready")
    assert second not in [task.id for task, _ in ready.tasks]
    project.run_train()
    assert project.task(first).state is TaskState.MERGED
    a_worker(project, second)
    assert project.task(second).state is TaskState.CLAIMED
    assert a_task(project, "a new one", plan=plan) == "T7"


def test_a_rebuilt_database_still_keeps_its_rules(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_task(project, state=TaskState.CLAIMED)
    rebuild(project)
    with project.services.workspace.read() as tx:
        kept = {row[0] for row in tx.db.execute("SELECT name FROM sqlite_master")}
    assert {"one_live_lease_a_subject", "one_intent", "events_are_kept"} <= kept
