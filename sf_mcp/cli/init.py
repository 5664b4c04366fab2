"""`sf init`: makes a repository a project. Run again, it repairs what is missing, and no more."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sf_mcp.cli.options import AsJson, example
from sf_mcp.cli.output import print_json, say
from sf_mcp.cli.project import as_person

if TYPE_CHECKING:
    from sf_mcp.cli.setup import Setup


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=example("sf init", "sf init --dry-run", "sf init --target develop"))(init)


def init(
    target: Annotated[
        str, typer.Option(metavar="BRANCH", help="The branch that finished work lands on.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Set up this repository: configuration, forge, state, your token."""
    from sf_mcp.cli.setup import Setup

    layout = as_person("set up projects")
    setup = Setup(layout.root, target=target)
    if setup.identity is None:
        if dry_run or as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise setup.no_identity()
        _ask_for_identity(setup)
    done = [] if dry_run else setup.carry_out()
    if as_json:
        print_json(
            {
                "root": str(setup.root),
                "target_branch": setup.target,
                "checks": [{"name": c.name, "run": c.run} for c in setup.checks],
                "missing": setup.missing,
                "done": done,
                "notes": setup.notes,
            }
        )
        return
    say(f"{setup.root}: target branch {setup.target}" + _because(setup.target_reason))
    for check in setup.checks:
        say(f"  check {check.name}: {check.run}" + _because(check.reason))
    if dry_run:
        say("Would make: " + (", ".join(setup.missing) or "nothing, all is there"))
    else:
        say("Made: " + ", ".join(done) if done else "Everything was there already.")
    for note in setup.notes:
        say(f"note: {note}")
    if done:
        say(NEXT)


NEXT = """
Next:
  sf plan create --title "…"
  sf task create --title "…"
  sf serve                     # server and fleet
The configuration is .stoneforge/config.yaml; commit it if you like."""


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _ask_for_identity(setup: "Setup") -> None:
    print("Git does not know who you are here; the fleet's commits carry your name.")
    name = str(typer.prompt("Your name")).strip()
    email = str(typer.prompt("Your email address")).strip()
    setup.set_identity(name, email)
