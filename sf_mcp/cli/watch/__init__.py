"""`sf watch`: how everything stands, live on a terminal, with keys to act.

`lists` and `detail` turn state into lines and know no terminal; `looking` asks the server; `app`,
`asking` and `keys` are the terminal's side. Only this command imports textual.
"""

import os
import sys

import typer

from sf_mcp.cli.options import example
from sf_mcp.cli.project import as_person, project
from sf_mcp.core.errors import InvalidInput


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=example("sf watch  # ? shows the keys"))(watch)


def watch() -> None:
    """Watch everything live and settle what waits for you, by keys; q ends it, ? helps."""
    layout = as_person("watch the fleet")
    project()
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        raise InvalidInput(
            "`sf watch` draws on a terminal, and this is none.",
            remedy="For scripts there are `sf status --json` and `sf logs -f --json`.",
        )
    from sf_mcp.cli.watch.app import WatchApp

    app = WatchApp(layout.root)
    app.run()
    if app.is_interrupted:
        raise KeyboardInterrupt
