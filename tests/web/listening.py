"""Listens to a server's event stream, as a page or a terminal does."""

import http.client
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

SECONDS = 30.0
"""How long a test waits for a message before it has failed."""


@dataclass(frozen=True, slots=True)
class Message:
    kind: str
    id: str
    data: Any
    comments: tuple[str, ...] = ()


@dataclass
class Listener:
    """One open stream."""

    response: http.client.HTTPResponse
    numbers: list[int] = field(default_factory=list[int])
    """Of the events that were told, in order."""
    last_id: str = ""

    def message(self) -> Message | None:
        """Return the next message; None once the stream has come to its proper end.

        Raises:
            http.client.IncompleteRead: it was broken off.
        """
        kind = id_ = data = ""
        comments: list[str] = []
        while True:
            line = self.response.readline()
            if not line:
                return None
            name, _, value = line.decode().rstrip("\n").partition(":")
            value = value.removeprefix(" ")
            match name:
                case "event":
                    kind = value
                case "id":
                    id_ = value
                case "data":
                    data += value
                case "" if value:
                    comments.append(value)
                case "" if kind:
                    break
                case _:
                    pass
        self.last_id = id_ or self.last_id
        found = Message(kind, id_, json.loads(data), tuple(comments))
        if kind == "events":
            self.numbers += [event["number"] for event in found.data]
        return found

    def until(self, has_come: Callable[[Message], bool]) -> Message:
        """Read on until a message for which this holds; return it."""
        while (found := self.message()) is not None:
            if has_come(found):
                return found
        raise AssertionError("the stream has ended")

    def until_event(self, number: int) -> None:
        """Read on until the event of this number was told."""
        while number not in self.numbers:
            assert self.message() is not None, "the stream has ended"

    def to_the_end(self) -> None:
        """Read until the stream ends as it should."""
        while self.message() is not None:
            pass


@contextmanager
def listening(
    port: int, headers: Mapping[str, str], query: str = "", *, last: str | None = None
) -> Generator[Listener]:
    """Open a stream, from the event after `last` on, and close it in the end."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    more = {} if last is None else {"Last-Event-ID": last}
    try:
        connection.request("GET", f"/api/events{query}", headers={**headers, **more})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Listener(response)
    finally:
        connection.close()
