"""What has happened to one thing, or to all of them: events and, of a session, its transcript.

Everything is plain JSON values: an event as the server gives it; an entry of a transcript with the
session's name beside it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sf_mcp.cli.api import Call
from sf_mcp.cli.transcript import Transcript
from sf_mcp.core.errors import NotFound, StoneforgeError

PAGE = 1000
"""Events in one look; the most that the server gives."""
_NOUN = re.compile(r"[PTMQ][0-9]+")
_STARTS = frozenset({"session_started", "session_resumed"})

Item = Mapping[str, Any]


class History:
    """Everything about one subject; about all of them when it is empty."""

    def __init__(self, ask: Call, subject: str) -> None:
        """Find out what the subject is: `T12`, `worker-2`, and so on.

        Raises:
            NotFound: a session is named that there is not.
        """
        known = subject.upper() if _NOUN.fullmatch(subject.upper()) else subject
        self._subject = known
        self._session: Mapping[str, Any] | None = None
        self._transcript: Transcript | None = None
        self._heard: list[str] | None = None
        if known and not _NOUN.fullmatch(known):
            self._session = self._found(ask, known)
        if self._session is not None:
            self._subject = self._session["id"]
            self._transcript = Transcript(self._subject)
        newest = ask("read_log", limit=1)
        self.newest = newest[-1]["number"] if newest else 0
        """Number of the newest event that `past` and `fresh` have taken in, of any subject."""

    def past(
        self, ask: Call, *, since: datetime | None, after: int | None, most: int | None
    ) -> list[Item]:
        """Return what has happened so far, oldest first, at most the newest so many.

        Raises:
            StoneforgeError: it cannot be read.
        """
        found = self._events(ask, since, after, most)
        if self._transcript is not None and after is None:
            entries = self._entries(self._transcript.last(ask, most))
            found = merged(found, [one for one in entries if not _is_before(one["at"], since)])
        return found if most is None else found[max(0, len(found) - most) :]

    def fresh(self, events: Sequence[Item]) -> list[Item]:
        """Return those of the server's next events that are about the subject."""
        fresh = [event for event in events if event["number"] > self.newest]
        self.newest = max([self.newest, *(event["number"] for event in fresh)])
        return [event for event in fresh if self._subject in ("", event["subject"])]

    def said(self, ask: Call, overview: Item | None = None) -> list[Item]:
        """Return what the session has said since the last look.

        With an overview: if that shows that it was heard since.

        Raises:
            StoneforgeError: it cannot be read.
        """
        if self._transcript is None:
            return []
        lines: list[Item] = overview["sessions"] if overview is not None else []
        heard = [one["heard_at"] for one in lines if one["id"] == self._subject]
        if overview is not None and heard == self._heard:
            return []
        entries = self._entries(self._transcript.more(ask))
        self._heard = heard
        return entries

    @property
    def is_of_session(self) -> bool:
        """Whether it is about a session, which says things and comes to an end."""
        return self._session is not None

    def is_over(self, ask: Call) -> bool:
        """Return whether nothing more can come: the session that it is about has ended.

        Raises:
            StoneforgeError: the server does not say.
        """
        if self._session is None:
            return False
        return ask("get_session", session=self._subject)["ended_at"] is not None

    def _found(self, ask: Call, name: str) -> Mapping[str, Any] | None:
        try:
            return ask("get_session", session=name)
        except StoneforgeError as error:
            # There are events about other things too: a branch, a review.
            if error.code == NotFound.code and ask("search_log", subject=name, limit=1):
                return None
            raise

    def _events(
        self, ask: Call, since: datetime | None, after: int | None, most: int | None
    ) -> list[Item]:
        newest_first: list[Item] = []
        before = self.newest + 1
        while most is None or len(newest_first) < most:
            page = ask("search_log", subject=self._subject, before=before, limit=PAGE)
            kept = [
                event
                for event in page
                if not _is_before(event["at"], since) and event["number"] > (after or 0)
            ]
            newest_first += kept
            if len(page) < PAGE or len(kept) < len(page):
                break
            before = page[-1]["number"]
        return (newest_first if most is None else newest_first[:most])[::-1]

    def _entries(self, entries: Sequence[Item]) -> list[Item]:
        assert self._session is not None
        name = self._session["name"]
        return [{"session": name, **entry} for entry in entries]


def merged(events: Sequence[Item], entries: Sequence[Item]) -> list[Item]:
    """Return events and entries in the order in which they happened.

    An entry whose log does not say when stays behind the one before it; before the first that does,
    entries stand behind the newest start of the session's process.
    """
    starts = [event["at"] for event in events if event["kind"] in _STARTS]
    at = starts[-1] if starts else ""

    def dated() -> Iterator[tuple[str, int, Item]]:
        nonlocal at
        for event in events:
            yield event["at"], 0, event
        for entry in entries:
            at = max(at, entry["at"] or at)
            yield at, 1, entry

    return [one for *_, one in sorted(dated(), key=lambda each: each[:2])]


def _is_before(at: str | None, since: datetime | None) -> bool:
    return at is not None and since is not None and datetime.fromisoformat(at) < since
