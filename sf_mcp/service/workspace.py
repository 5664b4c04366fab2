"""What every use case stands on: the project's paths, state, graph, settings and clock.

Rule 1: a use case changes state inside one `write` and nowhere else; git and checks run outside.
Rule 2: while a transaction changes who holds a task, git lets no session move that task's branch;
after it, the one that holds it (`sf_mcp.git.holders`).
Rule 3: the graph in memory follows the tasks' rows. A transaction changes both; when it fails the
graph is dropped and read again.
"""

import logging
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sf_mcp.core.account import account_key, gates_folder
from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.graph import TaskGraph
from sf_mcp.core.identity import Caller
from sf_mcp.core.layout import Layout
from sf_mcp.core.models import TaskId
from sf_mcp.service.transaction import Transaction
from sf_mcp.settings import SettingsFile
from sf_mcp.store import calls, facts, leases, tasks
from sf_mcp.store.account_gate import AccountGate
from sf_mcp.store.database import Connection, Database

if TYPE_CHECKING:
    from sf_mcp.git.holders import Holders

    # Its module brings in pydantic, which costs as much as all the rest of a short command.
    from sf_mcp.settings import Settings

logger = logging.getLogger(__name__)


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
        self.database.on_replaced = self._drop_graph
        self._gate: AccountGate | None = None
        self._here = threading.local()
        self._naming = threading.Lock()
        self._changing: set[TaskId] = set()
        """The tasks that the open transaction gives another holder, or none."""

    @property
    def settings(self) -> "Settings":
        """The last good configuration."""
        return self.settings_file.current()

    @property
    def gate(self) -> AccountGate:
        """The gate of the account that the fleet's sessions are paid from."""
        if self._gate is None:
            with self.read() as tx:
                account = facts.get(tx.db, "account") or account_key(os.environ)
            try:
                home = Path.home()
            except RuntimeError:  # a user without a home: then the gate is this project's
                home = self.layout.folder
            path = gates_folder(os.environ, home) / f"{account}.json"
            self._gate = AccountGate(path, by=str(self.layout.root))
        return self._gate

    def use_account(self, caller: Caller, account: str) -> None:
        """Take the account that the launcher's sessions use for the fleet's."""
        with self.read() as tx:
            if facts.get(tx.db, "account") == account:
                return
        with self.write(caller) as tx:
            facts.put(tx.db, "account", account)
        self._gate = None

    @property
    def is_in_use(self) -> bool:
        """Whether a transaction is open at this moment, so that another would have to wait."""
        return self.database.is_in_use

    @contextmanager
    def write(self, caller: Caller) -> Generator[Transaction]:
        """Run one use case: all of its changes, their events and the graph's, or none.

        Inside another `write` of this thread it is part of that one, so an error in it must leave
        the outer one too. Inside a `read` it is a mistake of ours.
        """
        if (outer := self._open_transaction()) is not None:
            if not outer.may_write:
                raise RuntimeError("a use case writes inside a read")
            yield outer
            return
        moved: set[TaskId] = set()
        try:
            with (
                self.database.write(on_failed_commit=self._drop_graph) as db,
                self._graph_in_step(db),
            ):
                before = db.total_changes
                transaction = self._transaction(db, caller.name, moved)
                with self._entered(transaction):
                    yield transaction
                is_changed = db.total_changes != before
        finally:
            self._changing -= moved
            for task_id in moved:
                self._try_to_name_holder(task_id)
        # One that changed nothing must wake nobody, or looking for work would never rest.
        if is_changed:
            for listener in self.on_commit:
                listener()

    def _open_transaction(self) -> Transaction | None:
        return getattr(self._here, "transaction", None)

    @contextmanager
    def _entered(self, transaction: Transaction) -> Generator[Transaction]:
        self._here.transaction = transaction
        try:
            yield transaction
        finally:
            self._here.transaction = None

    def _transaction(
        self, db: Connection, actor: str = "", moved: set[TaskId] | None = None
    ) -> Transaction:
        """Return a transaction; one that may write puts into `moved` what gets another holder."""

        def on_new_holder(subject: str) -> None:
            if moved is not None and subject.startswith("T"):
                with self._naming:
                    moved.add(TaskId(subject))
                    self._changing.add(TaskId(subject))
                    self._holders.name_nobody(TaskId(subject))

        return Transaction(
            db=db,
            now=self.now(),
            actor=actor,
            may_write=moved is not None,
            load_graph=self._loaded_graph,
            lease_term=lambda: timedelta(seconds=self.settings.orchestrator.lease_seconds),
            on_new_holder=on_new_holder,
        )

    @cached_property
    def _holders(self) -> "Holders":
        from sf_mcp.git.holders import Holders

        return Holders(self.layout.forge)

    def name_holder(self, task_id: TaskId, *, is_guarded: bool = False) -> None:
        """Let git know which session holds the task now, if its worktree is guarded or will be.

        Raises:
            OSError: the disk does not take it; then git lets no session move the task's branch.
        """
        # One at a time, and read anew by each: the last to write has seen the newest lease.
        with self._naming:
            if task_id in self._changing:
                return  # it is told when that transaction is over
            with self.peek() as tx:
                lease = leases.live_on(tx.db, task_id)
            if lease is None:
                self._holders.name_nobody(task_id)
            elif is_guarded or self._holders.is_asked(task_id):
                self._holders.name(task_id, lease.session_id)

    def name_holders(self) -> None:
        """Let git know who holds what: after a crash, and after a disk that was full."""
        with self.peek() as tx:
            held = [TaskId(one.subject) for one in leases.live(tx.db) if one.subject[:1] == "T"]
        for task_id in {*held, *self._holders.named()}:
            self._try_to_name_holder(task_id)

    def _try_to_name_holder(self, task_id: TaskId) -> None:
        try:
            self.name_holder(task_id)
        except (StoneforgeError, OSError) as error:
            # Safe, and put right at the next look at the leases: git lets no session move it.
            logger.warning("git does not know who holds %s: %s", task_id, error)

    def _drop_graph(self) -> None:
        self._graph = None

    @contextmanager
    def _graph_in_step(self, db: Connection) -> Generator[None]:
        """Drop the graph when a transaction fails that had changed anything by then.

        A plain refusal changes no row, and the graph's own refusals change nothing in it.
        """
        before = db.total_changes
        try:
            yield
        except BaseException as error:
            if db.total_changes != before or not isinstance(error, StoneforgeError):
                self._drop_graph()
            raise

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
        """Look at one consistent state: the open transaction's, inside one of this thread."""
        if (outer := self._open_transaction()) is not None:
            yield outer
            return
        with (
            self.database.read() as db,
            self._entered(self._transaction(db)) as transaction,
        ):
            yield transaction

    @contextmanager
    def peek(self) -> Generator[Transaction]:
        """Look without waiting for a writer, for the event loop's own short look-ups."""
        with self.database.peek() as db:
            yield self._transaction(db)

    def _loaded_graph(self, transaction: Transaction) -> TaskGraph:
        if self._graph is None:
            graph = TaskGraph()
            graph.load(tasks.graph_rows(transaction.db), tasks.dependency_rows(transaction.db))
            self._graph = graph
        return self._graph

    def close(self) -> None:
        """Close the database."""
        self.database.close()
