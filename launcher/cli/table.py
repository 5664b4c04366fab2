"""The live table: sessions, tasks and merges of the fleet, on a terminal."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launcher.cli.screen import Lines, Overview, event_line
from sf_mcp.clock import utc_now

REFRESHES_PER_SECOND = 2
KEPT_LINES = 6
SHOWN = 12
"""Merges and questions; the rest is counted."""


class LiveTable:
    """A screen that is drawn anew twice a second while it is open."""

    def __init__(self, console: Console, address: Callable[[], str]) -> None:
        """Draw on `console`; `address` gives the server's, as it is at the moment."""
        self._address = address
        self._overview: Overview | None = None
        self._said: deque[str] = deque(maxlen=KEPT_LINES)
        self._lines = Lines(self._said.append)
        self._live = Live(
            get_renderable=self._draw,
            console=console,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, kind: str, text: str) -> None:
        """Show it among the newest lines."""
        self._lines.say(kind, text)

    def tell_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Show the newest of them."""
        for event in events:
            self._said.append(event_line(event))

    def show(self, overview: Overview) -> None:
        """Show this from the next refresh on."""
        self._overview = overview

    def _draw(self) -> RenderableType:
        return draw(self._overview, list(self._said), self._address(), utc_now())


def draw(
    overview: Overview | None, said: Sequence[str], address: str, now: datetime
) -> RenderableType:
    """Return everything that the screen shows at `now`."""
    if overview is None:
        return Text(f"Connecting to {address or 'the server'} …")
    parts: list[RenderableType] = [_headline(overview, address)]
    parts += [Text(str(note), style="yellow") for note in overview["notes"]]
    if overview["paused"]:
        parts.append(Text(f"Paused: {overview['paused']}", style="bold yellow"))
    if overview["parked_until"]:
        until = f"{overview['parked_until'][:16].replace('T', ' ')} UTC"
        parts.append(
            Text(
                f"At rest until {until}: {overview['parked_reason']}. It goes on by itself then; "
                "at once: sf resume",
                style="yellow",
            )
        )
    parts.append(_sessions(overview, now))
    if overview["merges"]:
        parts.append(_merges(overview))
    parts += [
        Text(f"{question['id']} {'waits for you' if question['escalated'] else 'is open'}: ")
        + Text(str(question["text"]))
        for question in overview["questions"][:SHOWN]
    ]
    parts += [Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in said]
    return Group(*parts)


def _headline(overview: Overview, address: str) -> Text:
    counts = overview["counts"]
    numbers = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    target = overview["target"]
    commit = str(target["commit"] or "")[:12]
    behind = target["checkout"]
    line = Text(f"{overview['project']} ", style="bold")
    line.append(f"{address}  ", style="cyan")
    line.append(f"{target['branch']} {commit}  ")
    line.append(
        f"{numbers or 'no tasks'}; {overview['ready']} ready, {overview['blocked']} blocked"
    )
    line.append(f"  ${overview['cost_usd']:.2f}")
    if behind != "up to date":
        line.append(f"\nYour checkout: {behind}. {target['remedy']}", style="yellow")
    return line


def _sessions(overview: Overview, now: datetime) -> RenderableType:
    sessions = overview["sessions"]
    if not sessions:
        idle = not overview["ready"] and not overview["paused"]
        return Text(
            "No session runs: there is nothing to do." if idle else "No session runs.", style="dim"
        )
    table = Table(expand=True, box=None, pad_edge=False)
    for name in ("session", "on", "state", "heard", "context"):
        table.add_column(name, no_wrap=True)
    table.add_column("last", ratio=1, no_wrap=True, overflow="ellipsis")
    for one in sessions:
        state = str(one["state"])
        if state == "running":
            state = "in a turn" if one["is_turn_active"] else "at rest"
        window = one["context_window"]
        fill = f"{one['context_tokens']:,}" + (
            f" ({100 * one['context_tokens'] // window} %)" if window else ""
        )
        table.add_row(
            Text(str(one["name"])),
            Text(f"{one['subject']} {one['title']}"[:40]),
            Text(state),
            Text(_ago(now - datetime.fromisoformat(one["heard_at"]))),
            Text(fill),
            Text(str(one["note"] or one["last_line"])),
        )
    return table


def _merges(overview: Overview) -> RenderableType:
    merges = overview["merges"]
    table = Table(expand=True, box=None, pad_edge=False)
    table.add_column("merge", no_wrap=True)
    table.add_column("of", no_wrap=True)
    table.add_column("status", ratio=1, no_wrap=True, overflow="ellipsis")
    for merge in merges[:SHOWN]:
        table.add_row(
            Text(str(merge["id"])),
            Text(f"{merge['task_id']} {merge['title']}"[:40]),
            Text(str(merge["status"])),
        )
    if len(merges) > SHOWN:
        table.add_row(Text(""), Text(f"and {len(merges) - SHOWN} more"), Text(""))
    return table


def _ago(age: timedelta) -> str:
    seconds = max(0, int(age.total_seconds()))
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"
