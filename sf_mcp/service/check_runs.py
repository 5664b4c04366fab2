"""A worker's own `run_checks`: started once per commit and target, waited for call by call."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from sf_mcp.core.errors import InvalidInput, StoneforgeError, StorageFailed
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Oid, TaskId, Verdict
from sf_mcp.core.verdicts import did_not_start
from sf_mcp.git.checks import tail
from sf_mcp.git.identity import SERVER as SERVER_IDENTITY
from sf_mcp.git.repository import Repository
from sf_mcp.git.resolving import Unresolved
from sf_mcp.git.status import status
from sf_mcp.service.checking import Checking
from sf_mcp.service.claims import require_lease
from sf_mcp.service.resolving import Resolving
from sf_mcp.service.target import TargetService
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import tasks

TAIL_LINES = 60
MOST_NAMES = 30
WAITING_THREADS = 64
"""As many as there can be workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRunLine:
    name: str
    outcome: str
    seconds: float
    tail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRun:
    """What a worker is told of its checks."""

    status: str
    lines: list[CheckRunLine] = field(default_factory=list[CheckRunLine])
    next_step: str = ""


@dataclass(slots=True)
class _Running:
    tree: Oid
    known: dict[str, Verdict]
    """What has been said of the tree; complete once it is done."""
    done: threading.Event
    error: StoneforgeError | None = None


class CheckRuns:
    """Runs of checks that workers asked for; each task has one at a time."""

    def __init__(
        self,
        workspace: Workspace,
        forge: Repository,
        target: TargetService,
        checking: Checking,
        resolving: Resolving,
    ) -> None:
        """Run in this project."""
        self._workspace = workspace
        self._forge = forge
        self._target = target
        self._checking = checking
        self._resolving = resolving
        self._running: dict[TaskId, _Running] = {}
        self._lock = threading.Lock()
        # Waiting for checks takes threads of its own, so that nobody else waits for one.
        self._threads = anyio.CapacityLimiter(WAITING_THREADS)
        self.cancel = threading.Event()

    async def wait(self, caller: Caller, *, seconds: float) -> CheckRun:
        """Start the checks unless they run or are known, and wait for them for some time.

        Raises:
            StaleLease: the caller holds no task.
            InvalidInput: files are not committed, or the worktree is on another branch.
        """
        run = await anyio.to_thread.run_sync(self._start, caller, limiter=self._threads)
        if isinstance(run, CheckRun):
            return run
        with anyio.move_on_after(seconds):
            while not run.done.is_set():
                await anyio.to_thread.run_sync(
                    run.done.wait, 0.5, limiter=self._threads, abandon_on_cancel=True
                )
        if not run.done.is_set():
            return CheckRun(status="running", next_step="Call run_checks again to go on waiting.")
        if run.error is not None:
            raise run.error
        if self.cancel.is_set():
            # What ran was ended with the server, and what is known may not be all.
            return _stopping()
        return _report(run.known)

    def _start(self, caller: Caller) -> "CheckRun | _Running":
        with self._workspace.write(caller) as tx:
            task = tasks.get(tx.db, require_lease(tx, caller).subject)
        if not self._checking.checks():
            return CheckRun(
                status="nothing to run",
                next_step="The project has no checks configured; test your work yourself.",
            )
        commit = self._forge.require_commit(f"refs/heads/{task.branch}")
        seen = status(self._workspace.layout.worktrees / task.id)
        if seen.branch != task.branch:
            raise InvalidInput(
                f"The worktree is not on its branch {task.branch}, which is what is checked.",
                remedy=f"Run `git switch {task.branch}` (bring commits along), and call again.",
            )
        if not seen.is_clean:
            raise InvalidInput(
                "Files are not committed; checks run on commits.",
                remedy="Commit, then call run_checks again.",
            )
        target = self._target.head()
        # By the person's rules too, as the train merges it.
        merged = self._resolving.merge(ours=target, theirs=commit, cancel=self.cancel)
        if merged is None:
            return _stopping()
        if isinstance(merged, Unresolved):
            return CheckRun(
                status="conflict",
                next_step=f"Your work conflicts with {self._target.branch} in "
                f"{', '.join(merged.paths[:10])}. Run `git fetch origin && git merge "
                f"origin/{self._target.branch}`, resolve, commit, call run_checks again.",
            )
        known = self._checking.known(merged.tree)
        missing = [check.name for check in self._checking.checks() if check.name not in known]
        if not missing:
            return _report(known)
        return self._run(task.id, target, commit, _Running(merged.tree, known, threading.Event()))

    def _run(self, task_id: TaskId, target: Oid, commit: Oid, run: _Running) -> _Running:
        tree, known = run.tree, run.known
        missing = [check.name for check in self._checking.checks() if check.name not in known]
        with self._lock:
            present = self._running.get(task_id)
            if present is not None and present.tree == tree and not present.done.is_set():
                return present
            self._running[task_id] = run
        candidate = self._forge.commit_tree(
            tree, [target, commit], f"Checks of {task_id}", SERVER_IDENTITY, self._workspace.now()
        )

        def work() -> None:
            try:
                known.update(self._checking.run(candidate, tree, missing, cancel=self.cancel))
            except StoneforgeError as error:
                run.error = error
            except OSError as error:
                run.error = StorageFailed(
                    f"The checks could not be run: {error}.",
                    remedy="That is not your work's fault. Go on; they run again before it lands.",
                )
            finally:
                run.done.set()

        threading.Thread(target=work, name=f"checks of {task_id}", daemon=True).start()
        return run


def _shown(verdict: Verdict) -> str:
    """Return the tests that failed, by name, and the end of the log."""
    if verdict.passed:
        return ""
    tests = "".join(f"failing: {name}\n" for name in verdict.failing[:MOST_NAMES])
    return tests + tail(Path(verdict.log_path), TAIL_LINES)


def _stopping() -> CheckRun:
    return CheckRun(
        status="running", next_step="The server is stopping. Call run_checks again later."
    )


def _report(verdicts: dict[str, Verdict]) -> CheckRun:
    lines = [
        CheckRunLine(
            name=verdict.check,
            outcome=verdict.outcome,
            seconds=round(verdict.seconds, 1),
            tail=_shown(verdict),
        )
        for verdict in verdicts.values()
    ]
    if not verdicts or any(did_not_start(verdict) for verdict in verdicts.values()):
        return CheckRun(
            status="failed",
            lines=lines,
            next_step="A check could not start; that is not your work's fault. Go on.",
        )
    if all(verdict.passed for verdict in verdicts.values()):
        return CheckRun(status="passed", lines=lines, next_step="Call request_merge when done.")
    return CheckRun(
        status="failed", lines=lines, next_step="Mend it, commit, and call run_checks again."
    )
