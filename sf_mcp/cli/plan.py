"""`sf plan`."""

from typing import Annotated, Any

import typer

from sf_mcp.cli import api
from sf_mcp.cli.options import PLAIN, AsJson, example
from sf_mcp.cli.output import print_json, say, table

app = typer.Typer(no_args_is_help=True, **PLAIN)

Which = Annotated[str, typer.Argument(metavar="PLAN", help="Its id or its title.")]


@app.command(epilog=example('sf plan create --title "Sprint 14"'))
def create(
    title: Annotated[str, typer.Option(help="What it is called.")],
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    draft: Annotated[
        bool, typer.Option("--draft", help="Hold its tasks back until `sf plan activate`.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a plan; its tasks start as soon as they are there."""
    view = api.call("create_plan", title=title, description=description, draft=draft)
    _tell(view, as_json=as_json)


@app.command("list", epilog=example("sf plan list"))
def list_(as_json: AsJson = False) -> None:
    """List the plans."""
    views = api.call("list_plans")
    if as_json:
        print_json(views)
        return
    if not views:
        print("There is no plan yet: sf plan create")
    table(
        ("ID", "STATE", "DONE", "TITLE"),
        [
            (view["plan"]["id"], view["plan"]["state"], _done(view), view["plan"]["title"])
            for view in views
        ],
    )


@app.command(epilog=example('sf plan show "Sprint 14"'))
def show(plan: Which, as_json: AsJson = False) -> None:
    """Show a plan with its tasks and its critical path."""
    view = api.call("get_plan", plan=plan)
    if as_json:
        print_json(view)
        return
    found = view["plan"]
    say(f"{found['id']}  {found['title']}  ({found['state']}, {_done(view)} done)")
    if found["description"]:
        say(f"\n{found['description']}\n")
    if view["critical_path"]:
        say(f"Critical path: {' → '.join(view['critical_path'])}")
    table(
        ("ID", "STATE", "PRIORITY", "TITLE"),
        [(task["id"], task["state"], task["priority"], task["title"]) for task in view["tasks"]],
    )


@app.command(epilog=example("sf plan activate P3"))
def activate(plan: Which, as_json: AsJson = False) -> None:
    """Let the tasks of a draft be worked on."""
    _tell(api.call("activate_plan", plan=plan), as_json=as_json)


@app.command(epilog=example("sf plan complete P3"))
def complete(plan: Which, as_json: AsJson = False) -> None:
    """Mark a plan as completed, when nothing of it is left to do."""
    _tell(api.call("complete_plan", plan=plan), as_json=as_json)


@app.command(epilog=example("sf plan cancel P3"))
def cancel(plan: Which, as_json: AsJson = False) -> None:
    """Cancel a plan and all of its tasks that have not ended; work done so far is kept."""
    _tell(api.call("cancel_plan", plan=plan), as_json=as_json)


def _tell(view: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(view)
        return
    say(f"{view['plan']['id']} is {view['plan']['state']}: {view['plan']['title']}")


def _done(view: Any) -> str:
    ended = [t for t in view["tasks"] if t["state"] in ("merged", "closed", "cancelled")]
    return f"{len(ended)}/{len(view['tasks'])}"
