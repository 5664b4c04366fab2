"""The commands of `sf-launch`: run the fleet, be its director, rehearse."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from launcher.settings import ClientUnusable, find_root
from sf_mcp.core.errors import ConfigInvalid, NotSetUp, ServerUnreachable, StoneforgeError
from sf_mcp.core.exits import ExitCode

EXIT_CODES = {
    ExitCode.DONE: "done",
    ExitCode.REFUSED: "refused or failed",
    ExitCode.USAGE: "wrong usage",
    ExitCode.UNREACHABLE: "no project here, or no server",
    ExitCode.WAITING: "(--until-idle) a person is needed",
    ExitCode.INCONCLUSIVE: "(drill) nothing was lost, but something was never hit",
    ExitCode.UNUSABLE: "Claude Code or the configuration cannot be used",
    ExitCode.INTERRUPTED: "(--until-idle, drill) interrupted",
}

app = typer.Typer(
    name="sf-launch",
    help="Run the fleet: start, feed, measure and stop the sessions of this project.",
    epilog="Exit codes: "
    + "; ".join(f"{code.value} {meaning}" for code, meaning in EXIT_CODES.items())
    + ".",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Root = Annotated[
    Path | None,
    typer.Option("--root", help="The project's folder; else the one above this folder."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


@app.callback(invoke_without_command=True)
def fleet(
    context: typer.Context,
    *,
    goal: Annotated[
        str | None, typer.Option("--goal", help="Have a director plan this first.")
    ] = None,
    until_idle: Annotated[
        bool,
        typer.Option(
            "--until-idle", "--once", help="End when all is done, or when a person is needed."
        ),
    ] = False,
    as_json: Json = False,
    root: Root = None,
    attached: Annotated[
        bool, typer.Option("--attached", hidden=True, help="Started by `sf serve`.")
    ] = False,
    parent: Annotated[
        int | None, typer.Option(hidden=True, help="The process of that `sf serve`.")
    ] = None,
) -> None:
    """Run the fleet of this project; Ctrl-C ends it gracefully, a second one at once."""
    if context.invoked_subcommand is not None:
        return
    from launcher.cli.run import Options, run_fleet

    raise typer.Exit(
        run_fleet(
            Options(
                root=_root(root),
                goal=goal,
                until_idle=until_idle,
                as_json=as_json,
                is_attached=attached,
                parent=parent,
            )
        )
    )


@app.command()
def director(
    *,
    model: Annotated[str | None, typer.Option(help="Else your own choice in Claude Code.")] = None,
    root: Root = None,
) -> None:
    """Become an interactive Claude Code session that directs the fleet. Needs a running server.

    Sessions that you start yourself join with `sf attach`.

    Example: sf-launch director --model opus
    """
    from launcher.cli.director import become_director

    become_director(_root(root), model=model)


@app.command(hidden=True)
def session(
    name: Annotated[str, typer.Argument(metavar="SESSION", help="Its name or its id.")],
    *,
    now: Annotated[bool, typer.Option("--now", help="Interrupt its turn at once.")] = False,
    root: Root = None,
) -> None:
    """Go on in a worker's session in this terminal: what `sf session attach` starts."""
    from launcher.cli.attaching import attach

    raise typer.Exit(attach(_root(root), name, is_urgent=now))


@app.command()
def client(
    *,
    claude: Annotated[str | None, typer.Option(help="As orchestrator.claudePath says it.")] = None,
    as_json: Json = False,
) -> None:
    """Say which Claude Code the fleet would run and whether it is logged in; asks no model.

    Example: sf-launch client --json
    """
    from launcher.cli.client import show_client

    show_client(claude, as_json=as_json)


@app.command()
def rehearse(
    story: Annotated[
        Path | None, typer.Argument(help="A story; else the shipped sprint-14.")
    ] = None,
    *,
    keep: Annotated[Path | None, typer.Option(help="Keep everything in this new folder.")] = None,
    as_json: Json = False,
) -> None:
    """Run a story with the real Claude Code and a scripted model: no account, no tokens."""
    from launcher.rehearsal.command import run_story

    raise typer.Exit(run_story(story, keep=keep, as_json=as_json))


@app.command()
def drill(
    story: Annotated[Path | None, typer.Argument(help="A story; else the shipped drill.")] = None,
    *,
    seed: Annotated[
        int | None, typer.Option(help="Decides whom and what it hits; else chosen and told.")
    ] = None,
    kills: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 40,
    aim: Annotated[
        str, typer.Option(help="Only at these: landing, snapshot, claim, check, fence.")
    ] = "",
    config: Annotated[
        Path | None, typer.Option(help="Lay the settings of this config.yaml over the story's.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep everything in this new folder.")] = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds; 0: by the kills.")] = 0,
    as_json: Json = False,
) -> None:
    """Run a story while killing server, launcher, sessions and checks; see that nothing is lost.

    The real Claude Code and a scripted model: no account, no tokens, a repository of its own.

    Example: sf-launch drill --seed 1 --kills 100
    """
    from launcher.rehearsal.drill_command import Options, drill_story

    raise typer.Exit(
        drill_story(
            Options(
                story=story,
                seed=seed,
                kills=kills,
                aim=aim,
                config=config,
                keep=keep,
                timeout_seconds=timeout,
                as_json=as_json,
            )
        )
    )


def _root(named: Path | None) -> Path:
    return find_root(named, {}) if named is not None else find_root(Path.cwd(), os.environ)


def run_command_line() -> None:
    """Carry out the command and exit; a refusal is printed with what to do next."""
    try:
        app()
    except StoneforgeError as error:
        if "--json" in sys.argv[1:]:
            said = {"code": error.code, "message": error.message, "remedy": error.remedy}
            print(json.dumps({"kind": "error", **said}), file=sys.stderr)
        else:
            print(f"sf-launch: {error.message}", file=sys.stderr)
            if error.remedy:
                print(error.remedy, file=sys.stderr)
        sys.exit(_exit_code(error))


def _exit_code(error: StoneforgeError) -> ExitCode:
    match error:
        # `sf serve` starts again what failed, but not what would fail the same way.
        case ClientUnusable() | ConfigInvalid():
            return ExitCode.UNUSABLE
        case ServerUnreachable() | NotSetUp():
            return ExitCode.UNREACHABLE
        case _:
            return ExitCode.REFUSED
