"""The command line: which module each command is in. Only the one that is named is imported.

Where none is named (`sf --help`, shell completion) all of them are.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated

import typer

from sf_mcp.cli.options import PLAIN, example

GROUPS: Mapping[str, str] = {
    "plan": "Plans: what is to be done.",
    "task": "Tasks: the pieces of a plan, each for one session.",
    "dep": "Dependencies between tasks.",
    "mr": "Merge requests: finished work on its way to the target branch.",
    "question": "Questions of sessions, and your answers.",
    "session": "Sessions: the running Claude Code processes.",
    "snapshot": "Snapshots: what sessions had not committed, and what they committed too late.",
    "config": "The configuration in .stoneforge/config.yaml.",
}
"""Noun -> what it is. Its commands are in the module of its name."""

SINGLE: Mapping[str, str] = {
    "init": "init",
    "doctor": "doctor",
    "serve": "serve",
    "open": "page",
    "watch": "watch",
    "status": "fleet",
    "why": "fleet",
    "logs": "logs",
    "log": "logs",
    "cost": "cost",
    "report": "report",
    "export": "export",
    "pause": "fleet",
    "resume": "fleet",
    "restore": "snapshot",
    "token": "person_token",
    "attach": "attach",
    "detach": "attach",
    "hook": "hook",
    "statusline": "hook",
}
"""Command without a noun -> its module, which registers it with `register`."""

EXIT_CODES = """\b
Exit codes:
  0    done
  1    refused: nothing has changed, and the message says what to do
  2    wrong usage of the command line
  3    no project here, or its server does not answer
  130  interrupted (Ctrl-C)

Every command that prints data takes --json; a refusal is then
{"code", "message", "remedy"} on stdout. Colours and cut columns are for
terminals only (NO_COLOR is respected)."""


def run_command_line(arguments: Sequence[str]) -> None:
    """Run what the arguments ask for.

    Raises:
        SystemExit: with the exit code, for help and wrong usage.
        StoneforgeError: it was refused.
    """
    try:
        make_app(arguments[0] if arguments else "")(prog_name="sf")
    except SystemExit as end:
        # How typer ends a command, also one that is done.
        if end.code:
            raise


def make_app(first: str = "") -> typer.Typer:
    """Return the command line, with only the command that `first` names where it names one."""
    app = typer.Typer(
        name="sf",
        help="Runs a fleet of Claude Code sessions on one git repository.",
        epilog=f"{example('sf init', 'sf status', 'sf why T12')}\n\n{EXIT_CODES}",
        no_args_is_help=True,
        **PLAIN,
    )
    app.callback()(_root)
    only = first if first in GROUPS or first in SINGLE else ""
    for name, about in GROUPS.items():
        if only in ("", name):
            module = import_module(f"sf_mcp.cli.{name}")
            app.add_typer(module.app, name=name, help=about)
    modules = SINGLE.values() if not only else [SINGLE[only]] if only in SINGLE else []
    for name in dict.fromkeys(modules):
        import_module(f"sf_mcp.cli.{name}").register(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"sf {version('stoneforge-mcp')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    pass
