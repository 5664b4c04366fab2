"""`sf mr`."""

from typing import Annotated, Any

import typer

from sf_mcp.cli import api
from sf_mcp.cli.lines import say_lines
from sf_mcp.cli.merge_request import coloured, merge_request_lines
from sf_mcp.cli.options import PLAIN, AsJson, example
from sf_mcp.cli.output import print_json, say, table, visible

app = typer.Typer(no_args_is_help=True, **PLAIN)

Id = Annotated[str, typer.Argument(metavar="MR", help="Its id, such as M7, or its task's.")]
Commit = Annotated[
    str, typer.Option(help="Only if this commit, or the beginning of it, is still the pinned one.")
]


@app.command("list", epilog=example("sf mr list", "sf mr list --all"))
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the merge requests under way."""
    views = api.call("list_merge_requests", all=all_)
    if as_json:
        print_json(views)
        return
    if not views:
        print("No merge request is under way.")
    table(
        ("ID", "TASK", "STATUS", "TITLE"),
        [
            (view["request"]["id"], view["task"]["id"], view["status"], view["task"]["title"])
            for view in views
        ],
    )


@app.command(epilog=example("sf mr show M7", "sf mr show M7 --diff"))
def show(
    merge_request: Id,
    diff: Annotated[bool, typer.Option("--diff", help="Print what it changes, whole.")] = False,
    start: Annotated[
        int, typer.Option(min=0, help="With --diff --json: where the page begins, in bytes.")
    ] = 0,
    files_after: Annotated[
        str, typer.Option(help="Go on with the files behind this path.", metavar="PATH")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show a merge request: what was asked and done, checks, risks, who has said what."""
    if not diff:
        view = api.call("show_merge_request", merge_request=merge_request, files_after=files_after)
        print_json(view) if as_json else say_lines(merge_request_lines(view))
        return
    with api.opened() as ask:
        if as_json:
            print_json(ask("show_changes", merge_request=merge_request, start=start))
            return
        next_start: int | None = start
        while next_start is not None:
            page = ask("show_changes", merge_request=merge_request, start=next_start)
            print(coloured(visible(page["diff"])), end="")
            next_start = page["next_start"]


@app.command(epilog=example("sf mr approve M7", 'sf mr approve M7 --commit 1a2b3c4 --reason "ok"'))
def approve(
    merge_request: Id,
    commit: Commit = "",
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    as_json: AsJson = False,
) -> None:
    """Approve the pinned commit; it lands when its checks have passed."""
    request = api.call("approve_merge", merge_request=merge_request, commit=commit, reason=reason)
    _tell(request, f"approved at {request['commit'][:12]}", as_json=as_json)


@app.command(epilog=example('sf mr reject M7 --reason "The empty list is not handled."'))
def reject(
    merge_request: Id,
    reason: Annotated[str, typer.Option(help="What must change, and where.")],
    commit: Commit = "",
    as_json: AsJson = False,
) -> None:
    """Send the work back with what must change."""
    request = api.call("send_back", merge_request=merge_request, commit=commit, reason=reason)
    _tell(request, f"sent back; {request['task_id']} is open again", as_json=as_json)


def _tell(request: Any, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(request)
        return
    say(f"{request['id']} is {what}")
