"""`sf attach` and `sf detach`: your own Claude Code as director, whoever starts it."""

import socket
from typing import Annotated, Any

import typer

from sf_mcp.cli import api
from sf_mcp.cli.attaching import Attachment, Plan
from sf_mcp.cli.options import AsJson, example
from sf_mcp.cli.output import hint, print_json, say
from sf_mcp.cli.project import as_person, project
from sf_mcp.process import own_program

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=example("sf attach", "sf attach --dry-run", "claude  # now a director"))(
        attach
    )
    app.command(epilog=example("sf detach"))(detach)


def attach(dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Make Claude Code sessions that you start in this checkout directors of the fleet.

    Adds our server to .mcp.json, hooks and a status line to .claude/settings.local.json. No secret
    is in either: the client asks `sf token --headers`.
    """
    as_person("attach sessions")
    layout = project().layout
    attachment = Attachment(layout)
    port = api.call("address", otherwise=_free_port())
    plan = attachment.attach(f"http://127.0.0.1:{port}/person/mcp", own_program("sf", "sf_mcp.cli"))
    if not dry_run:
        attachment.carry_out(plan)
    _tell(plan, dry_run=dry_run, as_json=as_json)
    if not as_json and not dry_run:
        hint("Start `claude` here. Sessions that run already join when they are started again.")


def detach(dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Take back what `sf attach` wrote; whatever else is in the files stays."""
    as_person("detach sessions")
    attachment = Attachment(project().layout)
    plan = attachment.detach()
    if not dry_run:
        attachment.carry_out(plan)
    _tell(plan, dry_run=dry_run, as_json=as_json)


def _tell(plan: Plan, *, dry_run: bool, as_json: bool) -> None:
    changes = [change for change in plan.changes if change.words]
    if as_json:
        told: dict[str, Any] = {
            "files": {change.name: change.words for change in changes},
            "notes": plan.notes,
            "dry_run": dry_run,
        }
        print_json(told)
        return
    for change in changes:
        say(f"{change.name}: {'would be ' if dry_run else ''}{change.words}")
    if not changes:
        say("Nothing to do.")
    for note in plan.notes:
        say(note)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
