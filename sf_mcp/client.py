"""The typed way to a running server, on http.client: for `sf`, launcher and terminal view."""

import contextlib
import http.client
import json
import os
import socket
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from sf_mcp.core.errors import ServerUnreachable, StoneforgeError, Unauthorized
from sf_mcp.core.layout import Layout

CALL_TIMEOUT_SECONDS = 60.0
CONNECT_TIMEOUT_SECONDS = 5.0
SILENCE_SECONDS = 40.0
"""After which a stream is given up; the server says something each 15."""
CHUNK_BYTES = 65_536
EVENT_STREAM = "text/event-stream"
TOKEN_VARIABLE = "SF_TOKEN"
ADDRESS_VARIABLE = "SF_URL"


class Refused(StoneforgeError):
    """What the server refused, with the code that it gave."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        """Keep the server's own words."""
        super().__init__(message, remedy=remedy)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the server's stream brought."""

    kind: str
    """`overview`, `events`, or `alive` when nothing has happened for a while."""
    value: Any
    """The overview, or the list of events, as plain JSON values."""
    number: int | None
    """Of the newest event that is told of with this; the one to go on after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a project's server says it listens."""

    host: str
    port: int
    pid: int

    @property
    def url(self) -> str:
        """The server's address for people and for Claude Code."""
        return f"http://{self.host}:{self.port}"


def address_of(layout: Layout) -> Address | None:
    """Return the stored address of the project's server; None when none was started or it ended."""
    try:
        stored = json.loads(layout.server.read_text())
        return Address(host=stored["host"], port=int(stored["port"]), pid=int(stored["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def person_token(layout: Layout) -> str:
    """Return the person's token.

    Raises:
        Unauthorized: the file is missing or not readable.
    """
    try:
        return _checked(layout.person_token.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        raise Unauthorized(
            f"The person's token cannot be read: {error}.",
            remedy="Run `sf token --renew` in the project's folder.",
        ) from error


def _checked(token: str) -> str:
    """Refuse what cannot stand in a header, and so is no token of ours."""
    if not token.isascii() or not token.isprintable():
        raise Unauthorized(
            "What should be a token is not one: it holds characters that no token has.",
            remedy="Unset SF_TOKEN, or run `sf token --renew` in the project's folder.",
        )
    return token


class Client:
    """Calls operations of one server. One call at a time; a new connection each."""

    def __init__(self, host: str, port: int, token: str) -> None:
        """Call the server at this address with this token."""
        self._host = host
        self._port = port
        self._token = token
        self._connection: http.client.HTTPConnection | None = None

    @property
    def url(self) -> str:
        """The server's address for people."""
        return f"http://{self._host}:{self._port}"

    def call(
        self, name: str, *, timeout_seconds: float = CALL_TIMEOUT_SECONDS, **arguments: Any
    ) -> Any:
        """Carry out the operation and return its result as plain JSON values.

        Raises:
            ServerUnreachable: nothing answers, or the answer is not the server's.
            Refused: the server refused; the message says what to do next.
        """
        return self.post(f"/api/{name}", arguments, timeout_seconds=timeout_seconds)

    def post(self, path: str, body: Mapping[str, Any], *, timeout_seconds: float) -> Any:
        """Send a JSON object to a path of the server; otherwise like `call`."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_seconds)
        self._connection = connection
        try:
            connection.request(
                "POST",
                path,
                body=json.dumps(body),
                headers={
                    "Authorization": f"Bearer {self._token}",
                    "Content-Type": "application/json",
                },
            )
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.IncompleteRead) as error:
            raise self._silent(error) from error
        except http.client.HTTPException as error:
            raise self._somebody_else() from error
        finally:
            connection.close()
        return self._taken(response.status, content)

    def events(
        self, *, after: int | None = None, timeout_seconds: float = SILENCE_SECONDS
    ) -> Generator[Told]:
        """Yield what the server tells, the overview first, for as long as the connection lasts.

        `after` is the number of the last event that is known; None: only what happens from now on.
        To be used by one thread; another one ends it with `break_off`.

        Raises:
            ServerUnreachable: nothing answers, the connection was lost or has fallen silent.
            Refused: the server refused.
        """
        from sf_mcp.core.event_stream import Parser

        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_seconds)
        self._connection = connection
        headers = {"Authorization": f"Bearer {self._token}", "Accept": EVENT_STREAM}
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        try:
            connection.request("GET", "/api/events", headers=headers)
            response = connection.getresponse()
            if response.getheader("Content-Type", "").partition(";")[0] != EVENT_STREAM:
                self._taken(response.status, response.read())
                raise self._somebody_else()
            parser = Parser()
            while chunk := response.read1(CHUNK_BYTES):
                for message in parser.feed(chunk):
                    if (told := _told(message.kind, message.data, message.id)) is not None:
                        yield told
        except (OSError, http.client.IncompleteRead) as error:
            raise self._silent(error) from error
        except http.client.HTTPException as error:
            raise self._somebody_else() from error
        finally:
            connection.close()

    def _taken(self, status: int, content: bytes) -> Any:
        """Return the answer's value, or raise what the server refused."""
        try:
            answer = json.loads(content or b"null")
        except ValueError as error:
            raise self._somebody_else() from error
        if status == HTTPStatus.OK:
            return answer
        words = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
        if "message" not in words:
            raise self._somebody_else()
        raise Refused(
            str(words.get("code", "refused")), str(words["message"]), str(words.get("remedy", ""))
        )

    def _silent(self, error: Exception) -> ServerUnreachable:
        return ServerUnreachable(
            f"The server at {self._host}:{self._port} does not answer ({error}).",
            remedy="Start it with `sf serve`.",
        )

    def _somebody_else(self) -> ServerUnreachable:
        return ServerUnreachable(
            f"What answers at {self._host}:{self._port} is not a Stoneforge server.",
            remedy="Stop it, or set orchestrator.port to another one.",
        )

    def break_off(self) -> None:
        """Break off the call that another thread has under way; there it is `ServerUnreachable`."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            # The other thread may just have ended it itself.
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)


def _told(kind: str, data: str, number: str) -> Told | None:
    """Return a message of the stream as values; None for what is none of the server's."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    is_number = number.isascii() and number.isdigit()
    return Told(kind=kind, value=value, number=int(number) if is_number else None)


def is_answering(address: Address) -> bool:
    """Tell whether anything listens at the address."""
    connection = http.client.HTTPConnection(
        address.host, address.port, timeout=CONNECT_TIMEOUT_SECONDS
    )
    try:
        connection.connect()
    except (OSError, OverflowError):  # the latter for a port that is none
        return False
    finally:
        connection.close()
    return True


def connect(root: Path) -> Client | None:
    """Return a client of the project's running server; None when none answers.

    A process that carries a session's token speaks as that session, never as the person.

    Raises:
        Unauthorized: the person's token cannot be read.
    """
    layout = Layout(root)
    address = address_of(layout)
    if address is None or not is_answering(address):
        return None
    token = os.environ.get(TOKEN_VARIABLE)
    token = _checked(token) if token else person_token(layout)
    return Client(address.host, address.port, token)
