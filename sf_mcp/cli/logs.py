"""`sf logs`: what has happened, and what a session said and did; live if wanted."""

import contextlib
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from sf_mcp.cli import api
from sf_mcp.cli.boundary import end_output
from sf_mcp.cli.history import History, Item
from sf_mcp.cli.options import example
from sf_mcp.cli.output import hint, line
from sf_mcp.cli.project import project
from sf_mcp.cli.transcript import shown
from sf_mcp.client import Told, connect
from sf_mcp.clock import utc_now
from sf_mcp.core.errors import InvalidInput, ServerUnreachable
from sf_mcp.core.telling import event_words
from sf_mcp.following import Following, Live, Lost

USUAL = 50
_AGO = re.compile(r"([0-9]{1,6})(s|m|min|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def register(app: typer.Typer) -> None:
    """Add the command, and the name that it had before."""
    app.command(
        "logs",
        epilog=example(
            "sf logs -f",
            "sf logs T12 --since 1h",
            "sf logs worker-2 -f",
            "sf logs -n 200 --json | jq .kind",
        ),
    )(logs)
    app.command("log", hidden=True)(logs)


def logs(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="[ID]", help="Only about this task, plan, merge request, question or session."
        ),
    ] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=0, help="The newest so many; 50, unless --since or --after."
        ),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="Such as 30m, 2h, 3d or 2026-11-25T18:00.")
    ] = "",
    after: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Only events after number N.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object a line: events, entries of a session."),
    ] = False,
) -> None:
    """Show what has happened, oldest first; of a session also what it said and did."""
    bound = moment(since, utc_now()) if since else None
    most = USUAL if limit is None and bound is None and after is None else limit
    tell = _tell_json if as_json else _tell
    where = project()
    with api.opened(where) as ask:
        history = History(ask, subject)
        past = history.past(ask, since=bound, after=after, most=most)
        is_over = follow and history.is_over(ask)
    try:
        tell(past)
        if is_over:
            hint(f"{line(subject)} has ended.")
        elif follow:
            _follow(where.layout.root, history, tell)
        elif not past and not as_json:
            print(f"Nothing about {line(subject)} yet." if subject else "Nothing has happened yet.")
    except BrokenPipeError:
        end_output()


def moment(text: str, now: datetime) -> datetime:
    """Return the moment that is meant: so long before `now`, or a date and time (UTC unless said).

    Raises:
        InvalidInput: it is neither.
    """
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"{text!r} is no moment.", remedy="Give it as 30m, 2h, 3d or 2026-11-25T18:00."
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _follow(root: Path, history: History, tell: Callable[[Sequence[Item]], None]) -> None:
    """Tell what happens, over restarts of the server, until interrupted or nothing can come."""
    was_lost = False
    for seen in Following(root, after=history.newest).follow():
        match seen:
            case Lost():
                hint(f"{seen.message} Waiting for one: sf serve")
                was_lost = True
            case Live():
                if was_lost:
                    hint("The server answers again.")
            case _ if history.is_of_session:
                # What it said and could not be read now is read with the next that comes.
                with contextlib.suppress(ServerUnreachable):
                    if _told_of_session(root, history, seen, tell):
                        return
            case _ if seen.kind == "events":
                tell(history.fresh(seen.value))
            case _:
                pass


def _told_of_session(
    root: Path, history: History, told: Told, tell: Callable[[Sequence[Item]], None]
) -> bool:
    """Tell what the session did; return whether it has ended."""
    if told.kind not in ("overview", "events") or (client := connect(root)) is None:
        return False
    if told.kind == "overview":
        tell(history.said(client.call, told.value))
        return False
    fresh = history.fresh(told.value)
    try:
        if fresh:
            # The words before the end that they led to.
            tell(history.said(client.call))
    finally:
        tell(fresh)
    return bool(fresh) and history.is_over(client.call)


def _tell(items: Sequence[Item]) -> None:
    for item in items:
        print(shown(item) if "session" in item else "  ".join(told(item)), flush=True)


def _tell_json(items: Sequence[Item]) -> None:
    for item in items:
        print(json.dumps(item), flush=True)


def told(event: Item) -> tuple[str, str]:
    """Return when it happened, and by whom and what."""
    at = event["at"][:19].replace("T", " ")
    return at, f"{line(event['actor']):12} {line(event_words(event))}"
