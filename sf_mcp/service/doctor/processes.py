"""Server, launcher and what they have started: who runs, and who should not any more."""

import errno
import socket
from collections.abc import Iterator

from sf_mcp import process
from sf_mcp.client import is_answering
from sf_mcp.service.doctor.found import Found, Mend, OpenServices, fine, named, problem, warning
from sf_mcp.service.doctor.look import Look
from sf_mcp.store import facts, sessions
from sf_mcp.store.inspection import State

HOST = "127.0.0.1"


def server(look: Look) -> Iterator[Found]:
    """See whether what is said of a server is so."""
    if not look.is_set_up:
        return
    layout, address = look.layout, look.address
    if address is None and not layout.server.exists():
        if look.has_server:
            yield warning(
                "Another process holds the state, and no server says where it listens.",
                why="A server that starts or stops, or another `sf`: this should be over in "
                "seconds.",
                remedy=f"If it stays so, see who it is: lsof {layout.server_lock}",
            )
        else:
            yield fine("No server runs")
        return
    if address is not None and look.has_server:
        if is_answering(address):
            yield fine(f"A server runs at {address.url} (process {address.pid})")
        else:
            yield problem(
                f"The server (process {address.pid}) does not answer at {address.url}.",
                why="The fleet cannot go on without it.",
                remedy=f"End it and start it again, nothing is lost by that: kill {address.pid}; "
                "sf serve",
            )
        return

    def remove(_: OpenServices) -> str:
        layout.server.unlink(missing_ok=True)
        return f"Removed {layout.server}."

    yield warning(
        f"{layout.server} speaks of a server that does not run.",
        why="It was killed. The file is in nobody's way, and the next server replaces it.",
        remedy=f"Run: rm {layout.server}",
        mend=Mend(what=f"Remove {layout.server}", carry_out=remove),
    )


def port(look: Look) -> Iterator[Found]:
    """See whether the server can have its port."""
    configured = look.settings.orchestrator.port if look.settings else 0
    stored = int(look.read(lambda state: facts.get(state, "port")) or 0)
    wanted = configured or stored
    if not look.is_set_up or look.has_server:
        return
    if configured and stored and configured != stored:
        yield warning(
            f"orchestrator.port is {configured}, and the last server had {stored}.",
            why="Addresses that you have kept (`sf open`, `sf attach`) hold the old one.",
            remedy="Attach and open again after the next `sf serve`.",
        )
    if not wanted or (fault := _fault_of(wanted)) is None:
        yield fine(f"Port {wanted} is free" if wanted else "The first server chooses a port")
    elif configured:
        yield problem(
            f"Port {wanted}, which the configuration says, cannot be used: {fault}.",
            why="The server cannot start.",
            remedy="End what listens there (lsof -i "
            f"tcp:{wanted}), or set orchestrator.port to another one or to 0.",
        )
    else:
        yield warning(
            f"Port {wanted}, which the last server had, cannot be used: {fault}.",
            why="The next server takes another one, so that pages and attached sessions must be "
            "opened anew.",
            remedy=f"End what listens there (see who: lsof -i tcp:{wanted}), or let it be.",
        )


def leftovers(look: Look) -> Iterator[Found]:
    """See whether sessions' processes run without a launcher."""
    if not look.is_set_up or look.has_launcher:
        return
    alive = look.read(_recorded) or []
    left = [
        (name, pid)
        for name, pid, started in alive
        if pid and started and process.is_alive(pid, started)
    ]
    if not left:
        yield fine("No process of a session is left over")
        return
    listed = named([f"{name} (process {pid})" for name, pid in left])
    yield warning(
        f"Sessions run without a launcher: {listed}.",
        why="They finish their turn and end by themselves; the next launcher ends them first. "
        "Nothing they have made is lost.",
        remedy="Run: sf serve",
    )


def _recorded(state: State) -> list[tuple[str, int, str]]:
    return [(one.name, one.pid or 0, one.process_started) for one in sessions.alive(state)]


def _fault_of(wanted: int) -> str | None:
    """Return why the port cannot be listened at; None when it can."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, wanted))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            return "somebody else listens there" if taken else str(error.strerror)
    return None
