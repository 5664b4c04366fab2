"""What every use case stands on: the project's paths, state, graph, settings and clock.

Rule 1: a use case changes state inside one `write` and nowhere else; git and checks run outside.
Rule 2: the graph in memory follows the tasks' rows. A transaction changes both; when it fails the
graph is dropped and read again.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sf_mcp.core.graph import TaskGraph
from sf_mcp.core.identity import Caller
from sf_mcp.core.layout import Layout
from sf_mcp.service.transaction import Transaction
from sf_mcp.settings import Settings, SettingsFile
from sf_mcp.store import calls, tasks
from sf_mcp.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tool, so that it has its effect once however often it arrives."""

    key: str
    """The session and the client's id of the tool use."""
    tool: str
    request_hash: str


class Workspace:
    """One project, opened by the one process that may write to it."""

    def __init__(self, root: Path, now: Callable[[], datetime]) -> None:
        """Open the project's state; `now` is the clock."""
        self.layout = Layout(root)
        self.now = now
        self.settings_file = SettingsFile(self.layout.config)
        self.database = Database(self.layout.database)
        self.on_commit: list[Callable[[], None]] = []
        """Called after each committed change, from whichever thread made it."""
        self._graph: TaskGraph | None = None
        self._here = threading.local()

    @property
    def settings(self) -> Settings:
        """The last good configuration."""
        return self.settings_file.current()

    @contextmanager
    def write(self, caller: Caller) -> Generator[Transaction]:
        """Run one use case: all of its changes, their events and the graph's, or none.

        Inside another `write` of this thread it is part of that one.
        """
        if (outer := getattr(self._here, "transaction", None)) is not None:
            yield outer
            return
        try:
            with self.database.write() as db:
                transaction = Transaction(
                    db=db, now=self.now(), actor=caller.name, load_graph=self._loaded_graph
                )
                self._here.transaction = transaction
                yield transaction
        except BaseException:
            self._graph = None
            raise
        finally:
            self._here.transaction = None
        for listener in self.on_commit:
            listener()

    def recorded(self, call: Call) -> Any | None:
        """Return the result of the same call, when it was carried out before.

        Raises:
            IdempotencyConflict: the key was used for another request.
        """
        with self.read() as tx:
            return calls.find(tx.db, call.key, call.tool, call.request_hash)

    def once(self, caller: Caller, call: Call, action: Callable[[], Any]) -> Any:
        """Carry out `action`, with its JSON result stored in the same transaction; once per call.

        Raises:
            IdempotencyConflict: the key was used for another request.
        """
        with self.write(caller) as tx:
            known = calls.find(tx.db, call.key, call.tool, call.request_hash)
            if known is None:
                known = action()
                calls.store(tx.db, call.key, call.tool, call.request_hash, known, tx.now)
            return known

    @contextmanager
    def read(self) -> Generator[Transaction]:
        """Look at one consistent state."""
        if (outer := getattr(self._here, "transaction", None)) is not None:
            yield outer
            return
        with self.database.read() as db:
            yield Transaction(db=db, now=self.now(), actor="", load_graph=self._loaded_graph)

    def _loaded_graph(self, transaction: Transaction) -> TaskGraph:
        if self._graph is None:
            graph = TaskGraph()
            graph.load(tasks.graph_rows(transaction.db), tasks.dependency_rows(transaction.db))
            self._graph = graph
        return self._graph

    def close(self) -> None:
        """Close the database."""
        self.database.close()
