"""`sf token`: the secret with which the person's own programs speak to the server."""

from typing import Annotated

import typer

from sf_mcp.cli.frequent import token_headers
from sf_mcp.cli.options import AsJson, example
from sf_mcp.cli.output import hint, print_json
from sf_mcp.cli.project import as_person, project
from sf_mcp.client import person_token
from sf_mcp.core.layout import Layout


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=example(
            'curl -H "Authorization: Bearer $(sf token)" …',
            "sf token --headers  # for headersHelper in Claude Code's MCP configuration",
            "sf token --renew",
        )
    )(token)


def token(
    headers: Annotated[
        bool, typer.Option("--headers", help="Print it as a JSON object of HTTP headers.")
    ] = False,
    renew: Annotated[
        bool, typer.Option("--renew", help="Make a new one first; the old one ends.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print your token: it acts as you, so treat it like a password."""
    layout = as_person("see the person's token")
    project()
    if renew:
        _renew(layout)
    if headers:
        token_headers()
    elif as_json:
        print_json({"token": person_token(layout)})
    else:
        print(person_token(layout))


def _renew(layout: Layout) -> None:
    # Without the lock on purpose: tokens are read from the database at each request, so that this
    # also helps when the server no longer knows the old one.
    from sf_mcp.clock import utc_now
    from sf_mcp.core.identity import PERSON
    from sf_mcp.service import open_services

    services = open_services(layout.root, utc_now)
    try:
        services.sessions.ensure_person_token(PERSON, renew=True)
    finally:
        services.close()
    hint("The old token has ended; programs that hold it must be given the new one.")
