"""A session's transcript on a terminal: how an entry looks, and reading on where one was."""

from collections.abc import Callable, Mapping
from typing import Any

from sf_mcp.cli.output import line, printable
from sf_mcp.core.errors import InvalidInput, NotAllowed, NotFound, StoneforgeError
from sf_mcp.core.transcript import EntryKind, Speaker

SHOWN_CHARACTERS = 120
"""Of a tool's input or complaint: enough to see which file or command it was."""
MOST_ENTRIES = 500
"""In one look; the most that the server gives."""

Entry = Mapping[str, Any]
"""An entry as plain JSON values."""


def shown(entry: Entry) -> str:
    """Return an entry as a terminal shows it; empty when it is not shown there."""
    match entry["kind"]:
        case EntryKind.TEXT if entry["role"] != Speaker.USER:
            return printable(entry["text"]) + ("…" if entry["is_cut"] else "")
        case EntryKind.TOOL:
            return f"  > {line(entry['name'])} {_cut(line(entry['text']))}"
        case EntryKind.RESULT if entry["is_error"]:
            return f"  ! {_cut(line(entry['text']))}"
        case EntryKind.END:
            cost = entry["cost_usd"]
            spent = "" if cost is None else f", ${cost:.2f}"
            return f"-- turn ended: {line(entry['name'])}{spent}"
        case _:
            return ""


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


class Transcript:
    """One session's, read from its end and then on and on."""

    def __init__(self, session: str) -> None:
        """Read what the session with this id or name says."""
        self._session = session
        self._end: int | None = None

    def last(self, ask: Callable[..., Any], most: int | None) -> list[Entry]:
        """Return the newest entries that are shown, oldest first; all of them at None.

        Raises:
            StoneforgeError: the transcript cannot be read.
        """
        entries: list[Entry] = []
        before: int | None = None
        while most is None or len(entries) < most:
            page = self._page(ask, before=before)
            if page is None:
                break
            if before is None:
                self._end = page["end"]
            entries[:0] = [entry for entry in page["entries"] if shown(entry)]
            before = page["start"]
            if page["is_first"]:
                break
        return entries if most is None else entries[max(0, len(entries) - most) :]

    def more(self, ask: Callable[..., Any]) -> list[Entry]:
        """Return the entries that came since the last look.

        Raises:
            StoneforgeError: the transcript cannot be read.
        """
        if self._end is None:
            return self.last(ask, None)
        entries: list[Entry] = []
        end = self._end
        while True:
            try:
                page = self._page(ask, after=end)
            except StoneforgeError as error:
                if error.code != InvalidInput.code:
                    raise
                # The log is shorter than it was: it is another one.
                return entries + self.last(ask, None)
            if page is None:
                return entries
            entries += [entry for entry in page["entries"] if shown(entry)]
            end = page["end"]
            if page["is_last"]:
                self._end = end
                return entries

    def _page(self, ask: Callable[..., Any], **place: int | None) -> Any:
        """Return a page; None when the session has no log, or none for whoever asks."""
        try:
            return ask("read_transcript", session=self._session, limit=MOST_ENTRIES, **place)
        except StoneforgeError as error:
            if error.code not in (NotFound.code, NotAllowed.code):
                raise
            return None
