"""`sf config`."""

import typer

from sf_mcp.cli.options import PLAIN, AsJson, example
from sf_mcp.cli.output import print_json, say
from sf_mcp.cli.project import anywhere

app = typer.Typer(no_args_is_help=True, **PLAIN)


@app.callback()
def _group() -> None:
    """The configuration in .stoneforge/config.yaml."""


@app.command(epilog=example("sf config check", "sf config check --json"))
def check(as_json: AsJson = False) -> None:
    """Say whether the configuration can be used, and what it comes to."""
    from sf_mcp.settings import load

    path = anywhere().layout.config
    settings = load(path)
    steward = settings.agents.steward
    note = settings.vacuous_sentence
    found = {
        "path": str(path),
        "target_branch": settings.merge.target_branch,
        "checks": [{"name": one.name, "run": one.run} for one in settings.checks],
        "max_concurrent": settings.orchestrator.max_concurrent,
        "auto_merge": steward.auto_merge,
        "review": steward.review,
        "notes": [note] if note else [],
    }
    if as_json:
        print_json(found)
        return
    say(f"{path} is fine.")
    say(f"target branch: {settings.merge.target_branch}")
    for one in settings.checks:
        say(f"check {one.name}: {one.run}")
    if note:
        say(f"note: {note}")
