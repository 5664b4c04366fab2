"""`sf cost`: what was spent, on what, and how much of it on coordination."""

from typing import Annotated, Any, Literal

import typer

from sf_mcp.cli import api
from sf_mcp.cli.options import AsJson, example
from sf_mcp.cli.output import print_json, say, table

SHOWN_ID = 8
"""Characters of a session's id."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    lines = ("sf cost", "sf cost --by role", "sf cost --by day --plan P3", "sf cost --json")
    app.command(epilog=example(*lines))(cost)


def cost(
    by: Annotated[
        Literal["task", "session", "role", "day"], typer.Option(help="What a line stands for.")
    ] = "task",
    plan: Annotated[str, typer.Option(metavar="PLAN", help="Only of this plan.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what was spent, and coordination's share of the tokens."""
    report = api.call("cost", by=by, plan=plan)
    if as_json:
        print_json(report)
        return
    if not report["lines"]:
        print("Nothing was spent yet.")
        return
    table(
        (
            by.upper(),
            "TITLE",
            "SESSIONS",
            "INPUT",
            "CACHE READ",
            "CACHE WRITE",
            "OUTPUT",
            "COORDINATION",
            "COST",
        ),
        [_row(line, by) for line in (*report["lines"], report["total"])],
    )
    say(f"\n{report['summary']}")
    if report["total"]["is_running"]:
        say("+ still running: the numbers will grow.")


def _row(line: Any, by: str) -> tuple[object, ...]:
    key = line["key"][:SHOWN_ID] if by == "session" else line["key"]
    kinds = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    share = 100 * line["coordination_tokens"] / line["tokens"] if line["tokens"] else None
    return (
        key or "-",
        line["title"],
        line["sessions"],
        *(f"{line[kind]:,}" for kind in kinds),
        "" if share is None else f"~{share:.0f}%",
        f"${line['cost_usd']:.2f}{'+' if line['is_running'] else ''}",
    )
