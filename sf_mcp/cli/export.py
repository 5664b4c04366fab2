"""`sf export`: every event, one JSON object a line, for other programs and for keeps."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from sf_mcp.cli import api
from sf_mcp.cli.options import AsJson, example
from sf_mcp.cli.output import hint, print_json
from sf_mcp.clock import utc_now
from sf_mcp.core.errors import InvalidInput

PAGE = 1000
"""Events that are held at once."""

SHAPE = """\b
Each line is one event, in the order in which they happened:
  {"number": 12, "at": "2026-11-25T18:03:11.120000+00:00", "kind": "merged",
   "actor": "server", "subject": "T3", "data": {"commit": "…"}}
number rises, and never changes; at is UTC; subject is the plan, task, merge request,
question or session that it is about, empty for the fleet; what is in data is up to kind."""

_AGO = re.compile(r"(\d+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    lines = (
        "sf export > events.jsonl",
        "sf export --since 2026-11-25 -o events.jsonl",
        "sf export --since 8h --subject T12 | jq .kind",
    )
    app.command(epilog=f"{SHAPE}\n\n{example(*lines)}")(export)


def export(
    since: Annotated[
        str, typer.Option(help="From this event number, time (UTC) or age on: 180, 2026-11-25, 8h.")
    ] = "",
    subject: Annotated[
        str, typer.Option(metavar="ID", help="Only about this task, plan, session …")
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file that is not there yet.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print all events as JSON Lines, oldest first; with -o, write them to a new file.

    With --json what is said of the new file is JSON; the events always are.
    """
    first, is_wanted = _since(since, utc_now())
    events = (event for event in _events(first, subject) if is_wanted(event))
    if output is None:
        _write(events, sys.stdout)
        return
    with new_file(output) as file:
        try:
            count = _write(events, file)
        except BaseException:
            output.unlink(missing_ok=True)
            raise
    if as_json:
        print_json({"path": str(output.absolute()), "events": count})
    else:
        hint(f"Wrote {count:,} events to {output}.")


def _write(events: Iterator[Any], file: TextIO) -> int:
    count = 0
    for event in events:
        # ASCII alone: nothing in it steers a terminal or breaks a line.
        file.write(json.dumps(event, separators=(", ", ": ")) + "\n")
        count += 1
    return count


def _events(first: int, subject: str) -> Iterator[Any]:
    """Yield the events from number `first` on that have happened by now, a page at a time.

    Each page is asked for anew, so that a server may start or stop meanwhile.
    """
    newest = api.call("read_log", limit=1)
    until = newest[-1]["number"] if newest else 0
    after = first - 1
    while after < until:
        page = api.call("read_log", after=after, subject=subject, limit=PAGE)
        for event in page:
            if event["number"] > until:
                return
            yield event
        if len(page) < PAGE:
            return
        after = page[-1]["number"]


def _since(text: str, now: datetime) -> tuple[int, Callable[[Any], bool]]:
    """Return the first number to read, and whether an event is meant."""
    if not text:
        return 1, lambda _: True
    if text.isdecimal() and len(text) < 10:
        return int(text), lambda _: True
    since: datetime | None = None
    if found := _AGO.fullmatch(text):
        with suppress(OverflowError):
            since = now - timedelta(**{_UNITS[found[2]]: int(found[1])})
    else:
        with suppress(ValueError):
            since = datetime.fromisoformat(text)
    if since is None:
        raise InvalidInput(
            f"{text!r} is no event number, time or age.",
            remedy="Give 180, 2026-11-25, 2026-11-25T18:00, or 8h (s, m, h, d, w).",
        )
    moment = (since if since.tzinfo else since.replace(tzinfo=UTC)).astimezone(UTC)
    # Stored in one zone and to the microsecond: as text they compare as they do as times.
    least = moment.isoformat(timespec="microseconds")
    return 1, lambda event: _at(event) >= least


def _at(event: Any) -> str:
    at = datetime.fromisoformat(event["at"]).astimezone(UTC)
    return at.isoformat(timespec="microseconds")


def new_file(path: Path) -> TextIO:
    """Open a file for writing that is not there yet.

    Raises:
        InvalidInput: it is.
    """
    try:
        return path.open("x", encoding="utf-8")
    except FileExistsError as error:
        raise InvalidInput(
            f"{path} is there already; nothing is overwritten.",
            remedy="Name another file, or remove it first.",
        ) from error
