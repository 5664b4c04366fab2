"""`sf session`."""

from typing import Annotated, Any

import typer

from sf_mcp.cli import api
from sf_mcp.cli.options import PLAIN, AsJson, example
from sf_mcp.cli.output import fill, print_json, say, table

app = typer.Typer(no_args_is_help=True, **PLAIN)

Which = Annotated[str, typer.Argument(metavar="SESSION", help="Its name or its id.")]


@app.command("list", epilog=example("sf session list", "sf session list --all"))
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the sessions that run, are parked or wait to be resumed."""
    sessions = api.call("list_sessions", all=all_)
    if as_json:
        print_json(sessions)
        return
    if not sessions:
        print("No session is running.")
    table(
        ("NAME", "ROLE", "STATE", "ON", "MODEL", "CONTEXT", "COST", "LAST LINE"),
        [
            (
                session["name"],
                session["role"],
                _state(session),
                session["subject"],
                session["model"],
                fill(session),
                f"${session['cost_usd']:.2f}",
                session["last_line"] or session["end_detail"],
            )
            for session in sessions
        ],
    )


def _state(session: Any) -> str:
    end = session["end"]
    if session["taken_over_at"]:
        return f"taken over by you since {session['taken_over_at'][11:16]} UTC"
    if session["state"] == "backoff":
        return f"backoff ({end})".replace("_", " ")
    return end or session["state"]


@app.command(epilog=example("sf session attach worker-2", "sf session attach worker-2 --now"))
def attach(
    session: Which,
    now: Annotated[
        bool, typer.Option("--now", help="Interrupt its turn at once, also a command that runs.")
    ] = False,
) -> None:
    """Take over a worker's session in this terminal; /exit gives it back to the fleet.

    Claude Code goes on with the same conversation, in the session's worktree, asking you before it
    does what the session may not do alone. The task stays the session's all the while. The turn
    that runs is interrupted between two of its steps, within 30 s.
    """
    import os

    from sf_mcp.cli.launching import launcher_program
    from sf_mcp.cli.project import as_person

    root = as_person("take over another").root
    command = [*launcher_program(), "session", session, f"--root={root}", *(["--now"] * now)]
    # In place of this process: the terminal, its keys and its job control are the client's.
    os.execv(command[0], command)


@app.command(epilog=example('sf session stop worker-1 --reason "wrong approach"'))
def stop(
    session: Which,
    reason: Annotated[str, typer.Option(help="Why; it is kept with the attempt.")] = "",
    as_json: AsJson = False,
) -> None:
    """End a session; its work is kept and its task is open again."""
    stopped = api.call("stop_session", session=session, reason=reason)
    if as_json:
        print_json(stopped)
        return
    if stopped["stop_requested"] and not stopped["ended_at"]:
        say(f"{stopped['name']} is being stopped")
    else:
        say(f"{stopped['name']} has ended already ({stopped['end'] or stopped['state']})")
