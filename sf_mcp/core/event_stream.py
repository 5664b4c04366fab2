"""Server-Sent Events taken apart: bytes as they come in, messages out.

Rule 1: any bytes are accepted; what is no message is passed over.
Rule 2: memory is bounded: a message that is too long is passed over whole.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import Iterator
from dataclasses import dataclass

MOST_BYTES = 32 * 1024 * 1024
"""Of one message; two hundred events at their longest have less."""
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the stream."""

    kind: str
    data: str
    id: str
    """The newest id that the stream has given so far; to be sent when connecting again."""


class Parser:
    """Takes one stream apart. Each connection needs a new one."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Keep at most so many bytes of a message."""
        self._most = most_bytes
        self._rest = bytearray()
        self._searched = 0
        self._is_first = True
        self._is_line_too_long = False
        self._kind = ""
        self._data: list[str] = []
        self._size = 0
        self._is_too_long = False
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Yield the messages that end in this chunk, wherever it was cut."""
        self._rest += chunk
        for line in self._lines():
            if line:
                self._take(line)
            elif (message := self._end()) is not None:
                yield message

    def _lines(self) -> Iterator[bytes]:
        while (end := self._end_of_line()) is not None:
            line = bytes(self._rest[:end])
            width = 2 if self._rest.startswith(b"\r\n", end) else 1
            del self._rest[: end + width]
            self._searched = 0
            if self._is_first:
                line, self._is_first = line.removeprefix(_BOM), False
            # The line goes on what was thrown away of it: it is neither a field nor the end.
            if self._is_line_too_long:
                self._is_line_too_long = False
            else:
                yield line
        if len(self._rest) > self._most:
            self._is_line_too_long = self._is_too_long = True
            # The last byte may be the half of a line's end.
            del self._rest[:-1]
            self._searched = 0

    def _end_of_line(self) -> int | None:
        """Return where the first line ends; None while that is not known."""
        start = self._searched
        found = [at for at in (self._rest.find(b"\n", start), self._rest.find(b"\r", start)) if ~at]
        if not found:
            self._searched = len(self._rest)
            return None
        end = min(found)
        self._searched = end
        # Whether a newline follows is known only with the next byte.
        is_open = self._rest.startswith(b"\r", end) and end + 1 == len(self._rest)
        return None if is_open else end

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode(errors="replace")
        match name:
            case b"event":
                self._kind = text
            case b"data":
                self._size += len(value) + 1
                self._is_too_long |= self._size > self._most
                if self._is_too_long:
                    self._data.clear()
                self._data.append(text)
            case b"id" if "\0" not in text:
                self._id = text
            case _:  # a comment, how soon to connect again, or nothing that is known
                return

    def _end(self) -> Message | None:
        message = Message(self._kind or "message", "\n".join(self._data), self._id)
        is_one = bool(self._data) and not self._is_too_long
        self._kind, self._data, self._size, self._is_too_long = "", [], 0, False
        return message if is_one else None
