"""`sf snapshot`, and `sf restore`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sf_mcp.cli import api
from sf_mcp.cli.options import PLAIN, AsJson, example
from sf_mcp.cli.output import line, print_json, say, table
from sf_mcp.cli.project import project

app = typer.Typer(no_args_is_help=True, **PLAIN)

Task = Annotated[str, typer.Argument(metavar="TASK", help="Its id, such as T12.")]


@app.command("list", epilog=example("sf snapshot list T12"))
def list_(task: Task, as_json: AsJson = False) -> None:
    """List a task's snapshots, newest first; `sf restore` writes the files of one."""
    found = api.call("list_snapshots", task=task)
    if as_json:
        print_json(found)
        return
    if not found:
        print("No snapshot: nothing was ever left uncommitted.")
    table(
        ("NUMBER", "WHEN", "SESSION", "FILES", "COMMIT", "TEXT"),
        [
            (
                one["number"],
                _when(one),
                one["session"],
                one["files"],
                one["commit"][:12],
                one["reason"],
            )
            for one in found
        ],
    )


def register(root: typer.Typer) -> None:
    """Add `sf restore`."""
    root.command(epilog=example("sf restore T12 --to ../t12", "sf restore T12 --at 3 --to ../t12"))(
        restore
    )


def restore(
    task: Task,
    to: Annotated[Path, typer.Option(help="A folder that is new or empty.")],
    at: Annotated[
        int, typer.Option(min=0, help="The snapshot's number.", show_default="the newest")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be written.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write all files of a task's snapshot into a folder of their own."""
    from sf_mcp.git import restoring
    from sf_mcp.git.forge import forge_at

    state = project().layout.folder
    found = api.call("get_snapshot", task=task, number=at)
    folder = to.absolute()
    restoring.require_free(folder, state=state)
    forge = forge_at(state)
    contents = restoring.contents_of(forge, found["commit"])
    if not dry_run:
        restoring.restore(forge, found["commit"], folder)
    if as_json:
        print_json(
            {
                "snapshot": found,
                "to": str(folder),
                "files": contents.files,
                "submodules": contents.submodules,
                "is_dry_run": dry_run,
            }
        )
        return
    if dry_run:
        for path in contents.files:
            say(line(path))
    number = f"{len(contents.files)} file{'' if len(contents.files) == 1 else 's'}"
    done = "Would write" if dry_run else "Wrote"
    say(
        f"{done} {number} of snapshot {found['number']} of {found['task_id']} ({_when(found)}, "
        f"{found['reason']}) to {to}"
    )
    if contents.submodules:
        say(f"Not in it: the files of {', '.join(contents.submodules)}, repositories of their own.")


def _when(one: Any) -> str:
    return f"{one['at'][:16].replace('T', ' ')} UTC"
