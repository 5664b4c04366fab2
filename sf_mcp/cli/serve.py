"""`sf serve`."""

import os
from typing import Annotated

import typer

from sf_mcp.cli.options import example
from sf_mcp.cli.output import hint
from sf_mcp.cli.project import as_person, project

LEFT_BY_CLAUDE_CODE = (
    "CLAUDECODE",
    "CLAUDE_CODE_CHILD_SESSION",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_SSE_PORT",
)
"""By these a program takes itself for a child of a Claude Code session. Checks should not, and the
launcher removes more of them for the fleet's own sessions."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=example("sf serve", "sf serve --no-fleet --port 7420"))(serve)


def serve(
    no_fleet: Annotated[
        bool, typer.Option("--no-fleet", help="The server alone: no sessions are started.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Instead of orchestrator.port; 0: that one.")
    ] = 0,
) -> None:
    """Run the server and the fleet until Ctrl-C (again: at once)."""
    layout = as_person("run the server")
    project()
    left = [name for name in LEFT_BY_CLAUDE_CODE if os.environ.pop(name, None) is not None]
    if left:
        hint(
            "Started from inside a Claude Code session: what that left in the environment is "
            "removed, so that the fleet's sessions are sessions of their own."
        )
    # Here: the server's libraries take longer to import than any other command takes to run.
    from sf_mcp.cli.serving import run_server

    run_server(layout, with_fleet=not no_fleet, port=port)
