"""The book of what the scripted model has made: commits and files, by the names git gave them.

The model's own shell steps print an entry for each; it comes back to the scripted API as a tool's
result. So an entry is there only if what it names has been made, and nothing of ours has been asked
for it.
"""

import json
import re
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

_LINE = re.compile(r"^ledger (commit|file) ([0-9a-f]{40})(?: (\S.*))?$", re.MULTILINE)


class EntryKind(StrEnum):
    COMMIT = "commit"
    FILE = "file"
    """The content of a file, committed or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    kind: EntryKind
    oid: str
    session: str
    """Claude Code's id of the session that was the first to tell of it."""
    path: str = ""


def entries_in(texts: Iterable[str], session: str) -> tuple[Entry, ...]:
    """Return the entries that stand in the texts of a conversation."""
    return tuple(
        Entry(kind=EntryKind(kind), oid=oid, session=session, path=path.strip())
        for text in texts
        for kind, oid, path in _LINE.findall(text)
    )


class Ledger:
    """All entries so far; each is written to a file as it comes."""

    def __init__(self, path: Path) -> None:
        """Begin a new file."""
        self._lock = threading.Lock()
        self._entries: dict[tuple[EntryKind, str], Entry] = {}
        self._file: IO[str] = path.open("w", encoding="utf-8")

    def add(self, entries: Iterable[Entry]) -> None:
        """Take in what is new among `entries`."""
        with self._lock:
            for entry in entries:
                key = (entry.kind, entry.oid)
                if key in self._entries or self._file.closed:
                    continue
                self._entries[key] = entry
                self._file.write(json.dumps(asdict(entry)) + "\n")
                self._file.flush()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What there is, oldest first."""
        with self._lock:
            return tuple(self._entries.values())

    def close(self) -> None:
        """Close the file; nothing is taken in any more."""
        with self._lock:
            self._file.close()
