"""What comes after a crash: the server starts anew, everybody goes on, and nothing is missing.

`Ledger` says what there was to lose; `go_on` is everything that a launcher, the server's loops and
willing workers do; `all_is_well` looks at git, the rows and the person's files.
"""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.models import EndKind, Role
from sf_mcp.core.states import TASK_ENDS, MergeState, TaskState
from sf_mcp.git.interrupted import ANNOUNCEMENT
from sf_mcp.store import landings, merge_requests, sessions, tasks
from tests.builders import Project, Worker, git, next_worker
from tests.service.builders_conflicts import BOTH, resolved
from tests.service.rules import check_rows

ROUNDS = 30
STEP_SECONDS = 50.0
"""Less than half of the term of a lease: more looks like a laptop's sleep."""
PERSONS_FILE = "notes of the person.txt"


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that somebody made in a project, by the names that git gives to contents."""

    commits: frozenset[str]
    files: dict[str, str]
    """Uncommitted contents in the worktrees of tasks, and where they lie."""

    @classmethod
    def of(cls, root: Path) -> Self:
        forge, worktrees = root / ".stoneforge/forge.git", root / ".stoneforge/worktrees"
        commits = {*_revisions(forge), *_revisions(root)}
        files: dict[str, str] = {}
        for worktree in worktrees.glob("T*"):
            commits |= set(git(worktree, "rev-list", "HEAD").split())
            shown = git(worktree, "status", "--porcelain", "-z", "--untracked-files=all")
            for entry in filter(None, shown.split("\0")):
                path = worktree / entry[3:]
                if path.is_file():
                    files[_blob(path)] = f"{worktree.name}/{entry[3:]}"
        return cls(frozenset(commits), files)

    def check(self, root: Path) -> None:
        """Check that all of it is still in a worktree or reachable from a ref of the forge."""
        forge, worktrees = root / ".stoneforge/forge.git", root / ".stoneforge/worktrees"
        kept = {*_objects(forge), *_revisions(root)}
        missing = self.commits - kept
        assert not missing, f"commits are gone: {missing}"
        wanted = {name: where for name, where in self.files.items() if name not in kept}
        if wanted:
            lying: set[str] = set()
            for path in _files(worktrees):
                with contextlib.suppress(FileNotFoundError):
                    lying.add(_blob(path))
            gone = [where for name, where in wanted.items() if name not in lying]
            assert not gone, f"files are gone: {gone}"


def commit_as_the_person(project: Project) -> None:
    """Commit by hand in the person's own checkout, unless an update of it is under way.

    The git that does the update may live on after its server, and one that was killed leaves a
    lock: a person would see either, and wait.
    """
    root = project.root
    is_quiet = not (root / ".git" / ANNOUNCEMENT).exists()
    if is_quiet and git(root, "status", "--porcelain", "-z") == f"?? {PERSONS_FILE}\0":
        (root / "by hand.txt").write_text("of the person, after the crash\n")
        git(root, "add", "by hand.txt")
        git(root, "commit", "--quiet", "--message", "by hand")


def a_moment_later(project: Project) -> None:
    """Let locks be as old as they are when somebody has started the server again."""
    a_minute_ago = time.time() - 60
    for folder in (project.root / ".git", project.root / ".stoneforge/forge.git"):
        for lock in _locks(folder):
            # Gone meanwhile: its git lives and has come to its end.
            with contextlib.suppress(FileNotFoundError):
                os.utime(lock, (a_minute_ago, a_minute_ago))


def go_on(project: Project) -> None:
    """Let all go well from here until every task has ended.

    Sessions that the launcher was told of are ended, as a launcher that starts anew ends them;
    those that it never heard of must be missed by the server itself.
    """
    services = project.services
    for session in _alive(project):
        if project.session(session).pid is not None:
            services.work.session_ended(PERSON, session, kind=EndKind.STOPPED)
    for _ in range(ROUNDS):
        while (worker := next_worker(project)) is not None:
            _work(project, worker)
        if _in_state(project, MergeState.OPEN):
            project.run_train()
        if not _unfinished(project):
            project.run_train()
            return
        project.clock.advance(seconds=STEP_SECONDS)
        services.takeovers.look()
        expired = services.lease_watch.look(SERVER)
        services.work.snapshot_expired(expired)
        services.lease_watch.release_reservations(SERVER)
        services.work.end_lost_sessions(SERVER)
    reasons = [services.queries.why(PERSON, task).sentence for task in _unfinished(project)]
    raise AssertionError(f"nothing goes on: {reasons}")


def _work(project: Project, worker: Worker) -> None:
    """Do what a worker does that has no trouble: commit what lies there, and have it merged.

    And what a steward does, in a conflict of one file.
    """
    services = project.services
    if worker.session.role is Role.STEWARD:
        resolved(worker, BOTH)
        worker.end()
        return
    assert worker.session.role is Role.WORKER
    brief, place = services.work.claim(worker.caller)
    if place is None:
        brief, place = services.work.prepare(brief)
    assert place == worker.cwd
    worker.commit({f"{brief.task.id}.txt": f"attempt {brief.attempt}\n"})
    worker.request_merge()
    worker.end()


def target_is_as_recorded(project: Project) -> None:
    """Check that the target is where the newest finished landing says, and none is under way."""
    with project.services.workspace.read() as tx:
        check_rows(tx)
        newest = landings.newest_done(tx.db)
        assert landings.intended(tx.db) is None
    assert newest is not None
    assert project.target == newest.new


def all_is_well(project: Project) -> None:
    """Check that every task has landed once, and that each repository is as it should be."""
    root, forge = project.root, project.forge.git_dir
    target_is_as_recorded(project)
    with project.services.workspace.read() as tx:
        states = [task.state for task in tasks.TASKS.select(tx.db)]
        requests = merge_requests.in_state(tx.db, *MergeState)
    assert set(states) == {TaskState.MERGED}
    told = git(forge, "log", "--format=%(trailers:key=Merge-Request,valueonly)", "main").split()
    landed = [one.id for one in requests if one.state is MergeState.LANDED]
    assert sorted(told) == sorted(landed)
    # The person has all of it, and their own file as it was.
    assert git(root, "rev-parse", "HEAD") == project.target
    assert git(root, "status", "--porcelain", "-z") == f"?? {PERSONS_FILE}\0"
    assert (root / PERSONS_FILE).read_text() == "mine\n"
    # Nothing lies about that stands in anybody's way.
    for folder in (forge, root / ".git"):
        assert [*_locks(folder)] == []
        git(folder, "fsck", "--connectivity-only", "--no-dangling")
    assert not (root / ".git" / ANNOUNCEMENT).exists()
    left = {path.name for path in project.layout.worktrees.iterdir()}
    assert {name for name in left if not re.fullmatch(r"spare|check-\d", name)} == set()


def _alive(project: Project) -> list[str]:
    with project.services.workspace.read() as tx:
        return [session.id for session in sessions.alive(tx.db)]


def _in_state(project: Project, state: MergeState) -> bool:
    with project.services.workspace.read() as tx:
        return bool(merge_requests.in_state(tx.db, state))


def _unfinished(project: Project) -> list[str]:
    with project.services.workspace.read() as tx:
        return [one.id for one in tasks.TASKS.select(tx.db) if one.state not in TASK_ENDS]


def _revisions(repository: Path) -> list[str]:
    return git(repository, "rev-list", *_refs(repository)).split()


def _objects(repository: Path) -> Iterator[str]:
    for line in git(repository, "rev-list", "--objects", *_refs(repository)).splitlines():
        yield line.split(" ", 1)[0]


def _refs(repository: Path) -> list[str]:
    # Not `--all`: that wants the HEAD of each worktree too, and one may be half made.
    return git(repository, "for-each-ref", "--format=%(objectname)").split()


def _blob(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _locks(folder: Path) -> Iterator[Path]:
    return (path for path in _files(folder) if path.suffix == ".lock")


def _files(folder: Path) -> Iterator[Path]:
    # Not `rglob`: a git that lives on may take away a folder that is being looked at.
    for above, _, names in os.walk(folder):
        yield from (Path(above, name) for name in names)
