"""`sf task`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sf_mcp.cli import api, frequent
from sf_mcp.cli.about import task_lines
from sf_mcp.cli.lines import say_lines
from sf_mcp.cli.options import PLAIN, AsJson, Limit, example
from sf_mcp.cli.output import print_json, say
from sf_mcp.core.errors import InvalidInput, NotFound

app = typer.Typer(no_args_is_help=True, **PLAIN)

Id = Annotated[str, typer.Argument(metavar="TASK", help="Its id, such as T12.")]
Description = Annotated[str | None, typer.Option(help="What is to be done, in full.")]
DescriptionFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="A file with the description; - for stdin.")
]
Criteria = Annotated[
    list[str] | None,
    typer.Option("--accept-criterion", metavar="TEXT", help="What must hold; repeatable."),
]
Priority = Annotated[
    int | None, typer.Option(help="1 is the most urgent, 5 the least; 3 unless said.")
]
Estimate = Annotated[float | None, typer.Option(metavar="MINUTES", help="How long it may take.")]
Paths = Annotated[
    list[str] | None,
    typer.Option("--path", metavar="PATH", help="What it expects to change; repeatable."),
]


@app.command(
    epilog=example(
        'sf task create --title "Add invitations" --plan "Sprint 14"',
        'sf task create --title "Mail them" --depends-on T1 --accept-criterion "tests pass"',
    )
)
def create(
    title: Annotated[str, typer.Option(help="What is to be done, on one line.")],
    plan: Annotated[
        str, typer.Option(help="Its plan, by id or title; the newest active one unless said.")
    ] = "",
    description: Description = None,
    description_file: DescriptionFile = None,
    criteria: Criteria = None,
    priority: Priority = None,
    estimate: Estimate = None,
    paths: Paths = None,
    depends_on: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK", help="What must have landed before; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a task."""
    given: dict[str, Any] = {
        "title": title,
        "description": _description(description, description_file) or "",
        "acceptance": criteria or [],
        "paths": paths or [],
        "depends_on": depends_on or [],
        "estimate_minutes": estimate,
    }
    if priority is not None:
        given["priority"] = priority
    with api.opened() as ask:
        tasks = ask("add_tasks", plan=plan or _newest_active(ask), tasks=[given])
    if as_json:
        print_json(tasks)
        return
    for task in tasks:
        say(f"{task['id']} in {task['plan_id']}: {task['title']}")


@app.command("list", epilog=example("sf task list --state blocked", "sf task list --plan P3"))
def list_(
    plan: Annotated[str, typer.Option(help="Only of this plan, by id or title.")] = "",
    state: Annotated[str, typer.Option(help="Only in this state; also ready or blocked.")] = "",
    after: Annotated[str, typer.Option(metavar="TASK", help="Only those after this one.")] = "",
    limit: Limit = frequent.DEFAULT_LIMIT,
    as_json: AsJson = False,
) -> None:
    """List tasks, oldest first."""
    listing = api.call("list_tasks", plan=plan, state=state, after=after, limit=limit)
    if as_json:
        print_json(listing)
        return
    frequent.show_tasks(listing, empty="There is no such task.")


@app.command(epilog=example("sf task ready", "sf task ready --json"))
def ready(
    plan: Annotated[str, typer.Option(help="Only of this plan, by id or title.")] = "",
    after: Annotated[str, typer.Option(metavar="TASK", help="Only those after this one.")] = "",
    limit: Limit = frequent.DEFAULT_LIMIT,
    as_json: AsJson = False,
) -> None:
    """List what can start now, in the order in which it will."""
    frequent.ready(plan=plan, after=after, limit=limit, as_json=as_json)


@app.command(epilog=example("sf task show T12"))
def show(task: Id, as_json: AsJson = False) -> None:
    """Show a task with its neighbours and its attempts."""
    view = api.call("get_task", task=task)
    print_json(view) if as_json else say_lines(task_lines(view))


@app.command(
    epilog=example("sf task update T12 --priority 1", "sf task update T13 --accept  # a proposal")
)
def update(
    task: Id,
    title: Annotated[str | None, typer.Option(help="The new title.")] = None,
    description: Description = None,
    description_file: DescriptionFile = None,
    criteria: Criteria = None,
    priority: Priority = None,
    estimate: Estimate = None,
    paths: Paths = None,
    accept: Annotated[
        bool | None, typer.Option("--accept/--refuse", help="Decide on a proposed task.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change a task; what is not given stays."""
    changes = {
        "title": title,
        "description": _description(description, description_file),
        "acceptance": criteria,
        "priority": priority,
        "estimate_minutes": estimate,
        "paths": paths,
        "accept": accept,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    _tell(api.call("update_task", task=task, **given), as_json=as_json)


@app.command(epilog=example("sf task cancel T12"))
def cancel(task: Id, as_json: AsJson = False) -> None:
    """Cancel a task. Its commits are kept; what depends on it stays blocked."""
    _tell(api.call("cancel_task", task=task), as_json=as_json)


@app.command(epilog=example("sf task retry T12"))
def retry(task: Id, as_json: AsJson = False) -> None:
    """Open a stuck task again, its failures forgotten."""
    _tell(api.call("retry_task", task=task), as_json=as_json)


def _tell(task: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(task)
        return
    say(f"{task['id']} is {task['state'].replace('_', ' ')}: {task['title']}")


def _newest_active(ask: api.Call) -> str:
    active = [plan for plan in ask("fleet_status")["plans"] if plan["state"] == "active"]
    if not active:
        raise NotFound(
            "No plan is active, and none was named.",
            remedy='Create one (sf plan create --title "…"), or name one with --plan.',
        )
    return active[-1]["id"]


def _description(text: str | None, file: str | None) -> str | None:
    if file is None:
        return text
    if text is not None:
        raise InvalidInput(
            "Both --description and --description-file were given.", remedy="Give one of them."
        )
    try:
        if file == "-":
            return sys.stdin.buffer.read().decode()
        return Path(file).read_text("utf-8")
    except OSError as error:
        raise InvalidInput(
            f"The description cannot be read from {file}: {error.strerror}.",
            remedy="Name a file that is there, or - for stdin.",
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"What {file} holds is not UTF-8 text.", remedy="Save it as UTF-8."
        ) from error
