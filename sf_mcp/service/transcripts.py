"""What a session said and did, read from its log a page at a time, from either end.

Rule 1: a log may be of any size; a page reads no more than `MOST_READ` bytes of it, wherever it is.
Rule 2: only a file of the project's own logs is opened, and never by way of a link.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sf_mcp.core.errors import InvalidInput, NotFound
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Role, SessionId
from sf_mcp.core.states import LIVE_SESSIONS
from sf_mcp.core.transcript import MOST_LINE_BYTES, Entry, EntryKind, Speaker, entries_of
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import sessions

PAGE = 100
MOST_ENTRIES = 500
FIRST_READ = 128 * 1024
MOST_READ = MOST_LINE_BYTES + FIRST_READ
"""A line of the longest length is whole in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptPage:
    """A stretch of a session's log as people read it, oldest entry first."""

    session_id: SessionId
    name: str
    is_live: bool
    """Its process may be running, so more may come."""
    entries: list[Entry]
    start: int
    """Where the stretch begins in the log, in bytes: pass as `before` for the page before it."""
    end: int
    """Where it ends: pass as `after` for what comes next, also when that is yet to be written."""
    is_first: bool
    """Nothing is before it."""
    is_last: bool
    """Nothing is after it yet but, at most, the beginning of a line."""
    size: int
    """Bytes of the whole log."""


class TranscriptService:
    """Use cases of reading what a session said."""

    def __init__(self, workspace: Workspace) -> None:
        """Read the logs of this project."""
        self._workspace = workspace

    def read_transcript(
        self,
        caller: Caller,
        session: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = PAGE,
    ) -> TranscriptPage:
        """Return a page of a session's transcript: its end, or what is before or after an offset.

        Offsets are `start` and `end` of an earlier page. To follow a session, ask for the last
        page, then again and again with `after` the `end` of the page before. A page holds about
        `limit` entries (all of its last line), fewer where lines are long, and may be empty
        without being the last one. Only the person reads transcripts: what a session has read of
        the machine is in them.

        Raises:
            InvalidInput: both `before` and `after` are given, or one is no place in the log.
            NotFound: there is no such session, it has no log, or the log is gone.
        """
        caller.require(Role.PERSON, to="read transcripts")
        if before is not None and after is not None:
            raise InvalidInput(
                "Both before and after were given.", remedy="Give one of them, or none."
            )
        with self._workspace.read() as tx:
            found = sessions.get(tx.db, session)
        limit = max(1, min(limit, MOST_ENTRIES))
        with _opened(found.name, found.log_path, self._workspace.layout.logs) as file:
            size = file.seek(0, os.SEEK_END)
            place = before if before is not None else after
            if place is not None and not 0 <= place <= size:
                raise InvalidInput(
                    f"The log of {found.name} has {size:,} bytes; {place:,} is no place in it.",
                    remedy="Ask for its last page, without before and after.",
                )
            if after is None:
                seen = _page_before(file, size if before is None else before, size, limit)
            else:
                seen = _page_after(file, after, size, limit)
        return TranscriptPage(
            session_id=found.id,
            name=found.name,
            is_live=found.state in LIVE_SESSIONS,
            entries=seen.entries,
            start=seen.start,
            end=seen.end,
            is_first=seen.start == 0,
            is_last=seen.is_last,
            size=size,
        )


@dataclass(frozen=True, slots=True)
class _Stretch:
    start: int
    end: int
    entries: list[Entry]
    is_last: bool


def _opened(name: str, log_path: str, logs: Path) -> BinaryIO:
    """Open a session's log for reading.

    Raises:
        NotFound: it has none, it is gone, or it is not a file of the folder `logs`.
    """
    if not log_path:
        raise NotFound(
            f"{name} has no log: its process has not been started.",
            remedy=f"Look at `sf logs {name}`.",
        )
    path = Path(log_path)
    try:
        folder = path.parent.resolve(strict=True)
        if not folder.is_relative_to(logs.resolve(strict=True)):
            raise NotFound(
                f"The log of {name} is not among this project's logs.",
                remedy=f"Look at it yourself: {path}",
            )
        # Not by way of a link, and without waiting for the other end of a pipe.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.fdopen(os.open(folder / path.name, flags), "rb", buffering=0)
    except FileNotFoundError as error:
        raise NotFound(
            f"The log of {name} is gone.", remedy="What it did is in `sf logs` and in git."
        ) from error
    except OSError as error:
        raise NotFound(
            f"The log of {name} cannot be read: {error.strerror}.",
            remedy=f"Look at it yourself: {path}",
        ) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotFound(f"The log of {name} is no file.", remedy=f"Look at it yourself: {path}")
    return file


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    return os.pread(file.fileno(), end - start, start)


def _page_before(file: BinaryIO, before: int, size: int, limit: int) -> _Stretch:
    """Return the stretch of whole lines that ends at `before`, or before a torn line there."""
    room = FIRST_READ
    while True:
        # One byte more, which tells whether a line begins at the start of the rest.
        start = max(0, before - room)
        data = _read(file, max(0, start - 1), before)
        begin = data.find(b"\n") + 1 if start else 0
        stop = data.rfind(b"\n") + 1
        origin = max(0, start - 1)
        entries: list[Entry] = []
        here = stop
        while here > begin and len(entries) < limit:
            first = data.rfind(b"\n", begin, here - 1) + 1 or begin
            entries[:0] = entries_of(data[first:here], origin + first)
            here = first
        if len(entries) >= limit or start == 0 or room >= MOST_READ:
            break
        room = min(room * 8, MOST_READ)
    if begin >= stop and start > 0:
        # No line is whole in it: it is passed over, so that what is before it can be read.
        return _Stretch(start, before, [_left_out(start)], before == size)
    return _Stretch(origin + here, origin + stop, entries, before == size)


def _page_after(file: BinaryIO, after: int, size: int, limit: int) -> _Stretch:
    """Return the stretch of whole lines that begins at `after`."""
    room = FIRST_READ
    while True:
        end = min(size, after + room)
        data = _read(file, after, end)
        stop = data.rfind(b"\n") + 1
        entries: list[Entry] = []
        here = 0
        while here < stop and len(entries) < limit:
            following = data.find(b"\n", here) + 1
            entries += entries_of(data[here:following], after + here)
            here = following
        if len(entries) >= limit or end == size or room >= MOST_READ:
            break
        room = min(room * 8, MOST_READ)
    if stop == 0 and end < size:
        return _Stretch(after, end, [_left_out(after)], False)
    return _Stretch(after, after + here, entries, end == size and here == stop)


def _left_out(offset: int) -> Entry:
    text = f"A line of more than {MOST_LINE_BYTES // 1024 // 1024} MB is left out here."
    return Entry(offset=offset, role=Speaker.CLIENT, kind=EntryKind.LEFT_OUT, text=text)
