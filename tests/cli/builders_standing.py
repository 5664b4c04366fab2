"""An overview as the API gives it, of a real project in which something of everything goes on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sf_mcp.core.encoding import to_json
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import TaskId
from tests.builders import Project, a_merge_request, a_plan, a_project, a_task, a_worker

WAITS_FOR_THE_PERSON = "checks: []\nagents:\n  steward: {review: false, autoMerge: false}\n"
NASTY = "\x1b]0;owned\x07\x1b[2J[red]bold[/red] \u202egnp.exe \u2066x\u2069 漢字漢字 👩‍👩‍👧 e\u0301"
"""A title that would steer a terminal, be read as markup, or be wider than it is long."""


def overview_of(project: Project) -> dict[str, Any]:
    return to_json(project.services.fleet.fleet_status(PERSON))


def a_busy_project(folder: Path) -> Project:
    """Two sessions, one of which asks; a merge request for the person; three ready tasks."""
    project = a_project(folder, config=WAITS_FOR_THE_PERSON)
    make_busy(project)
    return project


def make_busy(
    project: Project, ready: Sequence[str] = ("Write the manual", "Sign releases", NASTY)
) -> None:
    """Bring it about in a project that has nothing yet."""
    plan = a_plan(project)
    asking = a_worker(project, a_task(project, "Store invitations", plan=plan))
    a_task(project, "Mail invitations", plan=plan, depends_on=[asking.task_id])
    working = a_worker(project, a_task(project, "Draw the page", plan=plan))
    request = a_merge_request(project, TaskId(a_task(project, "Add a header", plan=plan)))
    assert request.id == "M1"
    project.run_train()
    for title in ready:
        a_task(project, title, plan=plan)
    project.clock.advance(minutes=3)
    asking.ask("Which table should it use?")
    project.clock.advance(minutes=12)
    working.hear(cost_usd=1.25, tokens=84_000)
    project.clock.advance(seconds=4)
