"""`sf status`, `why`, `pause`, `resume`: the fleet as a whole."""

from typing import Annotated

import typer

from sf_mcp.cli import api, frequent
from sf_mcp.cli.options import AsJson, example
from sf_mcp.cli.output import line, print_json, say


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=example("sf status", "sf status --json"))(status)
    app.command(epilog=example("sf why T12", "sf why M7", "sf why P3", "sf why worker-2"))(why)
    app.command(epilog=example('sf pause --reason "release day"'))(pause)
    app.command(epilog=example("sf resume"))(resume)


def status(as_json: AsJson = False) -> None:
    """Show how everything stands, on one screen."""
    frequent.status(as_json=as_json)


def why(
    subject: Annotated[
        str,
        typer.Argument(metavar="ID", help="A task, merge request, plan, question or session."),
    ],
    as_json: AsJson = False,
) -> None:
    """Say why a task is not running, or not merged, what would change it, and when it lands."""
    answer = api.call("why", task=subject)
    if as_json:
        print_json(answer)
        return
    say(answer["sentence"])
    for fact in answer["facts"]:
        say(f"  {line(fact)}")
    if answer["next_step"]:
        say(f"Next: {answer['next_step']}")
    for change in answer["changes"]:
        if change != answer["next_step"]:
            say(f"Or: {line(change)}")
    if answer["expected"]:
        say(f"Landed: {line(answer['expected'])}")


def pause(
    reason: Annotated[str, typer.Option(help="Why; shown in status and why.")] = "",
    as_json: AsJson = False,
) -> None:
    """Start no sessions and land nothing until `sf resume`; those that run go on."""
    paused = api.call("pause_fleet", reason=reason)
    print_json(paused) if as_json else say(f"The fleet is paused: {paused}")


def resume(as_json: AsJson = False) -> None:
    """Go on after a pause or a usage limit."""
    resumed = api.call("resume_fleet")
    print_json(resumed) if as_json else say("The fleet goes on.")
