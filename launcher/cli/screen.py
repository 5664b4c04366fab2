"""What people see of a running fleet: lines, JSON lines, or a live table on a terminal."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from launcher.core.observation import one_line
from sf_mcp.clock import utc_now
from sf_mcp.core.telling import event_words

Overview = Mapping[str, Any]


class Screen(Protocol):
    """Shows what happens."""

    def say(self, kind: str, text: str) -> None:
        """Tell something that this launcher did or met."""

    def tell_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Tell what the server recorded."""

    def show(self, overview: Overview) -> None:
        """Show how everything is now."""


class Lines:
    """One plain line for each thing that happens."""

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        """Write to stdout, unless told otherwise."""
        self._write = write or print_now

    def say(self, kind: str, text: str) -> None:
        """Print the sentence."""
        self._write(f"{utc_now():%H:%M:%S} {kind.replace('_', ' ')}: {one_line(text, 500)}")

    def tell_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Print one line each."""
        for event in events:
            self._write(event_line(event))

    def show(self, overview: Overview) -> None:
        """Nothing: the lines say it all."""


class JsonLines:
    """One JSON object for each thing that happens."""

    def say(self, kind: str, text: str) -> None:
        """Print it as an object of the kind."""
        print_now(json.dumps({"at": utc_now().isoformat(), "kind": kind, "text": text}))

    def tell_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Print the events as the server gave them."""
        for event in events:
            print_now(json.dumps(event, ensure_ascii=False))

    def show(self, overview: Overview) -> None:
        """Nothing: the events say it all."""


def print_now(line: str) -> None:
    """Print a line and let it out at once; a reader that is gone must not end the fleet."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Python would complain once more at exit.
        sys.stdout = None


def event_line(event: Mapping[str, Any]) -> str:
    """Return an event of the server in one line."""
    return f"{str(event['at'])[11:19]} {event_words(event)}"
