"""`sf dep`."""

from typing import Annotated

import typer

from sf_mcp.cli import api
from sf_mcp.cli.options import PLAIN, AsJson, example
from sf_mcp.cli.output import line, print_json, say

app = typer.Typer(no_args_is_help=True, **PLAIN)

Id = Annotated[str, typer.Argument(metavar="TASK", help="The task that waits.")]
Others = Annotated[list[str], typer.Argument(metavar="ON...", help="The tasks that it waits for.")]


@app.command(epilog=example("sf dep add T3 T1 T2  # T3 waits for T1 and T2"))
def add(task: Id, on: Others, as_json: AsJson = False) -> None:
    """Let a task wait for others."""
    _tell(task, api.call("set_dependencies", task=task, add=on), as_json=as_json)


@app.command(epilog=example("sf dep remove T3 T1"))
def remove(task: Id, on: Others, as_json: AsJson = False) -> None:
    """Let a task no longer wait for others."""
    _tell(task, api.call("set_dependencies", task=task, remove=on), as_json=as_json)


@app.command(epilog=example("sf dep tree T3"))
def tree(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Where to begin.")],
    as_json: AsJson = False,
) -> None:
    """Show what a task waits for, and what that waits for."""
    lines = api.call("dependency_tree", task=task)
    if as_json:
        print_json(lines)
        return
    for one in lines:
        above = "  (see above)" if one["is_repeated"] else ""
        indent = "  " * one["depth"]
        print(f"{indent}{one['id']}  {one['state']}  {line(one['title'])}{above}")


def _tell(task: str, depends_on: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json(depends_on)
        return
    say(f"{task} depends on {', '.join(depends_on) or 'nothing'}")
