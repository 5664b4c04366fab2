"""What can be seen of a running world from outside: its database, its files, its processes.

The database is read by SQL on a read-only connection, as an outsider would.
"""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.fleet.family import SESSION_VARIABLE, environments
from launcher.rehearsal.injections import Phase
from launcher.rehearsal.state import State, Unreadable, open_state
from launcher.rehearsal.verdict import TARGET
from launcher.rehearsal.world import World
from sf_mcp import process
from sf_mcp.core.layout import Layout

SNAPSHOT_FOLDER = "sf-snapshot-*"
"""Where a snapshot is staged; it is there only while that is under way."""

QUERIES = {
    Phase.LANDING: "SELECT number FROM landings WHERE state = 'intended'",
    Phase.CLAIM: "SELECT l.number FROM leases l JOIN sessions s ON s.id = l.session_id"
    " WHERE l.ended_at IS NULL AND s.state = 'starting' AND s.pid IS NULL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A process of the world."""

    pid: int
    command: str
    session: str
    """The session that it carries the id of; empty for the server and the launcher."""

    @property
    def is_launcher(self) -> bool:
        """Whether it runs the fleet."""
        return not self.session and " --attached" in self.command


class Observer:
    """Looks at one world. For one thread."""

    def __init__(self, world: World) -> None:
        """Nothing is opened yet: there may be no database."""
        self._world = world
        self._layout = Layout(world.root)
        self._connection: State | None = None

    # -- the database ------------------------------------------------------------------------------

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return the rows of a query; none while there is no database to be read."""
        try:
            if self._connection is None:
                self._connection = open_state(self._world)
            return self._connection.execute(query, values).fetchall()
        except Unreadable:
            self.close()
            return []

    def close(self) -> None:
        """Close the database; the next query opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- phases ------------------------------------------------------------------------------------

    def under_way(self, phase: Phase) -> frozenset[str]:
        """Return what is in this phase at the moment, each by a name that nothing else ever has."""
        match phase:
            case Phase.SNAPSHOT:
                found = (str(path) for path in self._world.temporary.glob(SNAPSHOT_FOLDER))
            case Phase.CHECK:
                found = (f"{pid} {started}" for pid, started in self.checks())
            case _:
                query = QUERIES.get(phase)
                found = (str(row[0]) for row in self.rows(query)) if query else ()
        return frozenset(found)

    def checks(self) -> Iterator[tuple[int, str]]:
        """Return the checks that run now: the leader of each one's group, and when it began."""
        for record in self._layout.logs.glob("checks/**/*.running"):
            with contextlib.suppress(OSError, ValueError):
                pid, _, started = record.read_text("utf-8").strip().partition(" ")
                if process.is_alive(int(pid), started):
                    yield int(pid), started

    def landed_too_early(self) -> str:
        """Return what the database says has landed and the target branch does not have, if any.

        To be asked at any instant: a done row comes after the move of the branch.
        """
        done = self.rows(
            "SELECT new, number FROM landings WHERE state = 'done' ORDER BY number DESC LIMIT 1"
        )
        if not done:
            return ""
        new, number = str(done[0][0]), done[0][1]
        at = self.target()
        if new == at or self._is_ancestor(new, at):
            return ""
        return f"landing {number} was recorded as done with {TARGET} at {at[:12]}"

    def target(self) -> str:
        """Return where the target branch is; empty when it is nowhere."""
        try:
            return (self._layout.forge / "refs" / "heads" / TARGET).read_text().strip()
        except OSError:
            return self._git("rev-parse", "--verify", "--quiet", f"refs/heads/{TARGET}")

    def _is_ancestor(self, commit: str, of: str) -> bool:
        if not of:
            return False
        return self._git("merge-base", commit, of) == commit

    def _git(self, *arguments: str) -> str:
        return self._world.git(*arguments, accept=(0, 1)).strip()

    # -- processes ---------------------------------------------------------------------------------

    def processes(self) -> list[Seen]:
        """Return the living processes of the world, known by its home or by its folder."""
        mark = f"HOME={self._world.home}"
        marked = {pid: words for pid, words in environments().items() if mark in words}
        for pid in _working_below(self._world.folder):
            marked.setdefault(pid, [])
        return [
            Seen(pid=pid, command=command, session=_session(words))
            for pid, words in sorted(marked.items())
            if pid != os.getpid() and (command := _command(pid, words))
        ]

    def kill_everything(self) -> int:
        """Kill every process of the world, those that are started meanwhile too; return how many.

        Raises:
            RuntimeError: some can not be killed.
        """
        killed: set[int] = set()
        for _ in range(50):
            found = self.processes()
            if not found:
                return len(killed)
            for one in found:
                send(one.pid, signal.SIGKILL)
                killed.add(one.pid)
        raise RuntimeError(f"{len(self.processes())} processes outlive SIGKILL")


def send(pid: int, number: signal.Signals, *, to_group: bool = False) -> bool:
    """Send a signal to a process of the world; False when it is gone."""
    try:
        (os.killpg if to_group else os.kill)(pid, number)
    except ProcessLookupError:
        return False
    return True


def _session(words: list[str]) -> str:
    mark = f"{SESSION_VARIABLE}="
    return next((word.removeprefix(mark) for word in words if word.startswith(mark)), "")


def _command(pid: int, words: list[str]) -> str:
    """Return the command line of a process; empty when it lives no more."""
    if not process.is_alive(pid, process.start_time(pid)):
        return ""
    if sys.platform != "linux":
        return " ".join(word for word in words if not re.match(r"\w+=", word))
    with contextlib.suppress(OSError):
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        return line.decode("utf-8", "replace").strip()
    return ""


def _working_below(folder: Path) -> Iterator[int]:
    """Return the processes whose working directory is in the folder, where that can be seen."""
    if sys.platform != "linux":
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink().is_relative_to(folder):
                    yield int(entry.name)
