"""A configuration that may be edited while the program runs: the last good one counts.

Costs one `stat` while nothing changes. Loads the model, and with it pydantic, only when asked.
"""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sf_mcp.core.errors import ConfigInvalid
from sf_mcp.settings.source import decode, read_source, signature_of

if TYPE_CHECKING:
    from sf_mcp.settings.model import Settings


class SettingsFile:
    """The settings in one file, read again when the file has changed. Safe for many threads."""

    def __init__(self, path: Path) -> None:
        """Watch the file at `path`; nothing is read yet."""
        self._path = path
        self._lock = threading.Lock()
        self._good: Settings | None = None
        self._seen: tuple[int, int, int] | None = None
        self._problem: ConfigInvalid | None = None

    @property
    def problem(self) -> ConfigInvalid | None:
        """Why the file's present content is not in force; None while it is."""
        return self._problem

    def current(self) -> "Settings":
        """Return the settings in force: the file's, or the last good ones if it is now faulty.

        Raises:
            ConfigInvalid: the file is faulty and there has been no good one yet.
        """
        with self._lock:
            good = self._good
            signature = self._signature()
            if good is not None and signature is not None and signature == self._seen:
                return good
            try:
                self._good = good = self._read(good)
                self._problem = None
            except ConfigInvalid as error:
                self._problem = error
                if good is None:
                    raise
            return good

    def _read(self, last: "Settings | None") -> "Settings":
        from sf_mcp.settings.reading import parse

        # Before the content, so that a write in between is seen as one more change.
        self._seen = None
        source = read_source(self._path)
        self._seen = source.signature
        if last is not None and not source.data.strip():
            # Most editors empty a file before they write it: read in that instant, it would mean
            # "all defaults", and work would land unchecked.
            raise ConfigInvalid(
                f"{self._path} has become empty; the settings before that stay in force.",
                remedy="Restore it, or start again to run with the defaults.",
                line=1,
            )
        return parse(decode(source.data, str(self._path)), str(self._path))

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            return signature_of(self._path.stat())
        except OSError:
            return None
