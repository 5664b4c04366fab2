"""Connections of the server, each with its transport in the request's state.

ASGI has no word for cutting somebody off who takes nothing: an answer that is ended is sent to the
last byte first, for as long as that takes.
"""

import asyncio
import contextlib
import socket
import struct
from typing import cast

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

TRANSPORT = "transport"


class Connection(H11Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let requests reach the transport."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}


def cut_off(scope: Scope) -> None:
    """End the request's connection at once; what it was not sent yet is dropped here and below."""
    transport = _transport(scope)
    if transport is not None:
        # Without it the system would go on sending for as long as the other side is there.
        _set(transport, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def bound_unread(scope: Scope, most_bytes: int) -> None:
    """Have the system keep no more for this connection than `most_bytes`, about."""
    transport = _transport(scope)
    if transport is not None:
        _set(transport, socket.SO_SNDBUF, most_bytes)


def _transport(scope: Scope) -> asyncio.Transport | None:
    """Return the connection's transport; None where another server than ours runs the program."""
    return cast("asyncio.Transport | None", scope.get("state", {}).get(TRANSPORT))


def _set(transport: asyncio.Transport, option: int, value: int | bytes) -> None:
    connection = cast("socket.socket | None", transport.get_extra_info("socket"))
    if connection is not None:
        with contextlib.suppress(OSError):  # it has gone already
            connection.setsockopt(socket.SOL_SOCKET, option, value)
