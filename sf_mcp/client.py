"""The typed way to a running server, on http.client: for `sf`, launcher and terminal view."""

import contextlib
import http.client
import json
import os
import socket
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from sf_mcp.core.errors import ServerUnreachable, StoneforgeError, Unauthorized
from sf_mcp.core.layout import Layout

CALL_TIMEOUT_SECONDS = 60.0
CONNECT_TIMEOUT_SECONDS = 5.0
TOKEN_VARIABLE = "SF_TOKEN"
ADDRESS_VARIABLE = "SF_URL"


class Refused(StoneforgeError):
    """What the server refused, with the code that it gave."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        """Keep the server's own words."""
        super().__init__(message, remedy=remedy)
        self.code = code


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

    def call(
        self, name: str, *, timeout_seconds: float = CALL_TIMEOUT_SECONDS, **arguments: Any
    ) -> Any:
        """Carry out the operation and return its result as plain JSON values.

        Raises:
            ServerUnreachable: nothing answers, or the answer is not the server's.
            Refused: the server refused; the message says what to do next.
        """
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_seconds)
        self._connection = connection
        try:
            connection.request(
                "POST",
                f"/api/{name}",
                body=json.dumps(arguments),
                headers={
                    "Authorization": f"Bearer {self._token}",
                    "Content-Type": "application/json",
                },
            )
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.IncompleteRead) as error:
            raise ServerUnreachable(
                f"The server at {self._host}:{self._port} does not answer ({error}).",
                remedy="Start it with `sf serve`.",
            ) from error
        except http.client.HTTPException as error:
            raise self._somebody_else() from error
        finally:
            connection.close()
        try:
            answer = json.loads(body or b"null")
        except ValueError as error:
            raise self._somebody_else() from error
        if response.status == HTTPStatus.OK:
            return answer
        words = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
        if "message" not in words:
            raise self._somebody_else()
        raise Refused(
            str(words.get("code", "refused")), str(words["message"]), str(words.get("remedy", ""))
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
