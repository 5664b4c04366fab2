"""What a session's log tells of a process that an earlier launcher ran, when that is gone.

The log is read from its beginning, to see whether the conversation has begun, and at its end, for
the calls that were under way; never whole: it may be of any size.
"""

from collections.abc import Iterator
from pathlib import Path

from launcher.core.calls import calls_in
from launcher.core.stream import Event, parse_line
from sf_mcp.core.interrupted import Trace

BEGIN_BYTES = 1 << 20
END_BYTES = 4 << 20
"""More than what one turn's last calls take; a tool use stands before its result."""


def trace_in(log: str) -> Trace:
    """Return what the log of a session says of its last process; nothing when it is not there."""
    path = Path(log)
    try:
        with path.open("rb") as file:
            beginning = file.read(BEGIN_BYTES)
            size = path.stat().st_size
            file.seek(max(0, size - END_BYTES))
            if size > END_BYTES:
                file.readline()  # the rest of a line that began before
            ending = file.read()
    except OSError:
        return Trace()
    has_begun = calls_in(_events(beginning)).has_begun
    return calls_in(_events(ending)).trace(is_resumable=has_begun)


def _events(lines: bytes) -> Iterator[Event]:
    return map(parse_line, lines.splitlines())
