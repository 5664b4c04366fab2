"""`sf open`: the page in a browser, signed in by a link that works once."""

from typing import Annotated

import typer

from sf_mcp.cli.options import AsJson, example
from sf_mcp.cli.output import hint, print_json, say
from sf_mcp.cli.project import as_person, project
from sf_mcp.client import address_of, connect
from sf_mcp.core.errors import ServerUnreachable


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "open",
        epilog=example(
            "sf open",
            "sf open --print  # the link, for a browser of your choice",
            "sf open --sign-out",
        ),
    )(open_page)


def open_page(
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the link instead of opening it.")
    ] = False,
    sign_out: Annotated[
        bool, typer.Option("--sign-out", help="Sign every browser out instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Open the page in your browser; the link signs it in, once, within a minute."""
    layout = as_person("open the page")
    project()
    client = connect(layout.root)
    address = address_of(layout)
    if client is None or address is None:
        raise ServerUnreachable(
            f"The server of {layout.root} is not running, and the page is its own.",
            remedy="Start it with `sf serve`.",
        )
    if sign_out:
        count = client.call("sign_out_browsers")
        if as_json:
            print_json({"signed_out": count})
        else:
            say(f"Signed out: {count} {'browser' if count == 1 else 'browsers'}.")
        return
    link = client.call("open_page")
    url = address.url + link["path"]
    if as_json:
        print_json({"url": url, "expires_at": link["expires_at"]})
    elif print_only:
        say(url)
    else:
        _open(url)


def _open(url: str) -> None:
    import webbrowser

    if webbrowser.open(url):
        say("Opened in your browser.")
    else:
        hint("No browser could be started here. Open this within a minute:")
        say(url)
