"""The one way to call an operation: through the running server, else on the state itself.

Both give the same plain JSON values, so that what is done with them is written once.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Protocol

from sf_mcp.cli.lock import server_lock
from sf_mcp.cli.project import Project, project
from sf_mcp.core.errors import ServerUnreachable, StoneforgeError, Unauthorized
from sf_mcp.core.layout import Layout

WAIT_SECONDS = 10.0
"""For a server that is starting or stopping, or another short command that holds the state."""
RETRY_SECONDS = 0.02


class Call(Protocol):
    """Carries out one operation by name; returns plain JSON values."""

    def __call__(self, name: str, /, **arguments: Any) -> Any: ...


def call(name: str, /, **arguments: Any) -> Any:
    """Carry out one operation of the project; return its result as plain JSON values.

    Raises:
        StoneforgeError: it was refused, or there is no project, or its server does not answer.
    """
    with opened() as ask:
        return ask(name, **arguments)


@contextmanager
def opened(where: Project | None = None) -> Generator[Call]:
    """Reach the project once for several calls.

    Raises:
        StoneforgeError: there is no project, or its server does not answer.
    """
    where = where or project()
    if where.is_session:
        if (served := _connected(where.layout)) is None:
            raise ServerUnreachable(
                f"The server of {where.layout.root} does not answer; a session needs it.",
                remedy="Commit your work and try again; the person starts it with `sf serve`.",
            )
        yield served
        return
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with server_lock(where.layout) as is_ours:
            if is_ours:
                with _local(where.layout) as ask:
                    yield ask
                return
        # Held: by a server, or for a moment by another command.
        if (served := _connected(where.layout)) is not None:
            yield _as_person(served)
            return
        if time.monotonic() >= deadline:
            raise ServerUnreachable(
                f"Another process holds {where.layout.folder}, and no server answers there.",
                remedy="If it is a server that hangs, end it and run `sf serve` again: nothing is "
                "lost by that.",
            )
        time.sleep(RETRY_SECONDS)


def address() -> str:
    """Return where the project's server answers; empty when none does.

    Raises:
        StoneforgeError: there is no project.
    """
    layout = project().layout
    if not layout.server.exists():
        return ""
    from sf_mcp.client import address_of, is_answering

    found = address_of(layout)
    return found.url if found is not None and is_answering(found) else ""


def _as_person(served: Call) -> Call:
    """Return the call with a remedy of a person's own when the server does not know the token."""

    def ask(name: str, /, **arguments: Any) -> Any:
        try:
            return served(name, **arguments)
        except StoneforgeError as error:
            if error.code != Unauthorized.code:
                raise
            raise Unauthorized(
                "The server does not know the person's token.",
                remedy="Make a new one: sf token --renew",
            ) from error

    return ask


def _connected(layout: Layout) -> Call | None:
    if not layout.server.exists():
        return None
    from sf_mcp.client import connect

    client = connect(layout.root)
    return None if client is None else client.call


@contextmanager
def _local(layout: Layout) -> Generator[Call]:
    from sf_mcp.clock import utc_now
    from sf_mcp.core.encoding import to_json
    from sf_mcp.core.identity import PERSON
    from sf_mcp.service import open_services
    from sf_mcp.service.operations import method

    services = open_services(layout.root, utc_now)

    def ask(name: str, /, **arguments: Any) -> Any:
        function: Callable[..., Any] = method(services, name)
        return to_json(function(PERSON, **_typed(arguments)))

    try:
        yield ask
    finally:
        services.close()


def _typed(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as the services take them; the server's edge does so with pydantic."""
    if "tasks" not in arguments:
        return arguments
    from sf_mcp.service.plans import TaskDraft

    return {**arguments, "tasks": [TaskDraft(**draft) for draft in arguments["tasks"]]}
