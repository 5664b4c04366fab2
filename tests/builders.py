"""A whole project for a test: real git, real SQLite, a clock that only moves when it is told to.

Everything below makes its things the way the program does: a task is claimed by a dispatched
session, a merge request is asked for by its worker, and so on.
"""

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sf_mcp.core.identity import PERSON, SERVER, Caller
from sf_mcp.core.interrupted import OpenCall, Trace
from sf_mcp.core.layout import Layout
from sf_mcp.core.models import (
    EndKind,
    Lease,
    MergeRequest,
    Oid,
    Plan,
    PlanId,
    Question,
    Role,
    Session,
    SessionId,
    Task,
    TaskId,
)
from sf_mcp.core.states import MergeState, PlanState, SessionState, TaskState
from sf_mcp.git.checkout import open_checkout
from sf_mcp.git.forge import make_forge
from sf_mcp.git.repository import Repository
from sf_mcp.service import Services
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.service.sessions import NO_TRACE
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import leases, merge_requests, plans, questions, sessions, tasks

SESSION_VARIABLE = "SF_SESSION"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FILES = {"readme.md": "hello\n", "src/app.py": "one\ntwo\nthree\n"}
TINY = "checks: []\nagents:\n  steward: {review: false}\n"
"""The configuration of most tests: nothing is checked, nobody reviews."""


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run git with an empty home: no configuration of the machine has a say.

    A folder of tests switches it on by importing it in its conftest.
    """
    for name in [name for name in os.environ if name.startswith(("GIT_", "SF_"))]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / ".local/state"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("EMAIL", raising=False)


class Clock:
    """Time as a test wants it."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, *, seconds: float = 0, minutes: float = 0) -> None:
        self.now += timedelta(seconds=seconds, minutes=minutes)


@dataclass
class Project:
    root: Path
    clock: Clock
    services: Services

    @property
    def layout(self) -> Layout:
        return self.services.workspace.layout

    @property
    def forge(self) -> Repository:
        return self.services.worktrees.forge

    @property
    def target(self) -> Oid:
        """Where the target branch of the forge is, by git."""
        found = self.forge.head_of("refs/heads/main")
        assert found is not None
        return found

    def configure(self, text: str) -> None:
        """Write the configuration, so that it is seen as changed."""
        before = self.layout.config.stat().st_mtime_ns
        self.layout.config.write_text(text)
        os.utime(self.layout.config, ns=(before + 1_000_000, before + 1_000_000))

    def reopen(self) -> None:
        """Do what a restart of the server does."""
        self.services.close()
        self.services = Services(Workspace(self.root, self.clock))
        self.services.target.recover()

    # What the rows say.

    def task(self, task_id: str) -> Task:
        with self.services.workspace.read() as tx:
            return tasks.get(tx.db, task_id)

    def plan(self, plan_id: str) -> Plan:
        with self.services.workspace.read() as tx:
            return plans.get(tx.db, plan_id)

    def session(self, session_id: str) -> Session:
        with self.services.workspace.read() as tx:
            return sessions.get(tx.db, session_id)

    def question(self, question_id: str) -> Question:
        with self.services.workspace.read() as tx:
            return questions.get(tx.db, question_id)

    def request(self, request_id: str) -> MergeRequest:
        with self.services.workspace.read() as tx:
            return merge_requests.get(tx.db, request_id)

    def live_lease(self, subject: str) -> Lease | None:
        with self.services.workspace.read() as tx:
            return leases.live_on(tx.db, subject)

    def event_kinds(self, subject: str = "") -> list[str]:
        events = self.services.fleet.read_log(PERSON, after=0, subject=subject, limit=1000)
        return [event.kind for event in events]

    # What the server's loop does.

    def run_train(self, most: int = 50) -> None:
        """Step the train until nothing is left to do, and tidy up after each step."""
        for _ in range(most):
            did_something = self.services.train.step()
            self.services.work.tidy_ended()
            if not did_something and not self.services.train.wait(60):
                return
        raise AssertionError(f"the train still has something to do after {most} steps")


@dataclass
class Worker:
    """A session that was dispatched; `caller` is what its token stands for."""

    project: Project
    session: Session
    token: str
    caller: Caller
    cwd: Path
    environment: Mapping[str, str]

    @property
    def task_id(self) -> TaskId:
        return TaskId(self.session.subject)

    def git(self, *arguments: str) -> str:
        return git(self.cwd, *arguments, env=self.environment)

    def commit(self, files: Mapping[str, str | None], message: str = "work") -> Oid:
        """Write files and commit everything, as the session does."""
        write(self.cwd, files)
        self.git("add", "--all", "--", ".")
        self.git("commit", "--quiet", "-m", message)
        return Oid(self.git("rev-parse", "HEAD"))

    def commit_by_hand(self, files: Mapping[str, str | None]) -> Oid:
        """Commit in the worktree as the person does: with no session's name in the environment."""
        own = {name: text for name, text in self.environment.items() if name != SESSION_VARIABLE}
        return replace(self, environment=own).commit(files)

    def request_merge(self, summary: str = "done", no_changes_reason: str = "") -> MergeRequest:
        facts = self.project.services.branches.merge_facts(self.caller, no_changes_reason)
        return self.project.services.requests.open_request(
            self.caller,
            commit=facts.commit,
            base=facts.base,
            branch=facts.branch,
            summary=summary,
            no_changes_reason=no_changes_reason if facts.is_empty else "",
        )

    def hand_off(self) -> None:
        facts = self.project.services.work.handoff_facts(self.caller)
        self.project.services.claims.record_handoff(
            self.caller,
            progress="half",
            remaining="the other half",
            decisions="",
            pitfalls="",
            next_step="go on",
            commit=facts.commit,
            snapshot=facts.snapshot,
        )

    def ask(self, question: str = "Which one?") -> Question:
        asked = self.project.services.questions.ask_director(
            self.caller, question=question, none_applies=True
        )
        assert asked.question is not None
        return asked.question

    def end(
        self,
        kind: EndKind = EndKind.DONE,
        detail: str = "",
        resets_at: str = "",
        trace: Trace = NO_TRACE,
    ) -> Session:
        """Report the end of the process, as the launcher does."""
        return self.project.services.work.session_ended(
            PERSON, self.session.id, kind=kind, detail=detail, resets_at=resets_at, trace=trace
        )

    def crash(self, kind: EndKind = EndKind.KILLED, *open_calls: OpenCall) -> Session:
        """Report the end of a process whose conversation can be resumed."""
        return self.end(kind, "signal SIGKILL", trace=Trace(is_resumable=True, open=open_calls))

    def hear(self, *, is_turn_active: bool = True, cost_usd: float = 0, tokens: int = 0) -> Session:
        """Report a line of the stream, as the launcher does."""
        return self.project.services.sessions.heard(
            PERSON,
            self.session.id,
            is_turn_active=is_turn_active,
            last_line="working",
            context_tokens=tokens,
            context_window=200_000,
            cost_usd=cost_usd,
        )


def git(cwd: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run git as a person or a session would; fail the test if git fails."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def write(folder: Path, files: Mapping[str, str | None]) -> None:
    """Write files; None removes one."""
    for name, text in files.items():
        path = folder / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def a_commit(folder: Path, files: Mapping[str, str | None], message: str = "a change") -> Oid:
    """Commit files in the person's own checkout."""
    write(folder, files)
    git(folder, "add", "--all", "--", ".")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", message)
    return Oid(git(folder, "rev-parse", "HEAD"))


def a_repository(path: Path, files: Mapping[str, str] | None = None) -> Path:
    """Make a repository of a person who has told git their name, on `main`, with one commit."""
    path.mkdir(parents=True, exist_ok=True)
    git(path, "init", "--quiet", "-b", "main")
    git(path, "config", "user.name", "Ada Lovelace")
    git(path, "config", "user.email", "ada@example.org")
    # What `sf init` writes as .stoneforge/.gitignore.
    write(path, {".git/info/exclude": ".stoneforge/\n"})
    a_commit(path, files or FILES, "first")
    return path


def a_project(path: Path, *, files: Mapping[str, str] | None = None, config: str = TINY) -> Project:
    """Make a project as `sf init` and the start of the server leave it; below `path`/project."""
    root = path / "project"
    if files is None:
        shutil.copytree(_template() / "project", root, symlinks=True)
    else:
        a_repository(root, files)
    layout = Layout(root)
    # Builds the forge, or ties the copied one to its new place.
    make_forge(open_checkout(root), layout.folder, "main")
    layout.config.write_text(config)
    clock = Clock()
    project = Project(root=root, clock=clock, services=Services(Workspace(root, clock)))
    project.services.target.recover()
    return project


@functools.cache
def _template() -> Path:
    """Make the usual project once: most of a test's time would go into making it."""
    folder = Path(tempfile.mkdtemp(prefix="sf-test-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root = a_repository(folder / "project")
    make_forge(open_checkout(root), root / ".stoneforge", "main")
    return folder


def a_person_token(project: Project) -> str:
    """Return a token of the person's."""
    with project.services.workspace.write(SERVER) as tx:
        return project.services.sessions.mint(tx, Role.PERSON, None)


def a_plan(project: Project, title: str = "Sprint 14", *, draft: bool = False) -> PlanId:
    """Create a plan without tasks."""
    return project.services.plans.create_plan(PERSON, title=title, draft=draft).plan.id


def some_tasks(project: Project, *drafts: TaskDraft, plan: str = "") -> list[TaskId]:
    """Create tasks in a plan, a new one if none is named."""
    made = project.services.plans.add_tasks(
        PERSON, plan=plan or a_plan(project, f"Plan {len(project.event_kinds())}"), tasks=drafts
    )
    return [task.id for task in made]


def a_task(
    project: Project,
    title: str = "Add a thing",
    *,
    plan: str = "",
    state: TaskState = TaskState.OPEN,
    depends_on: Sequence[str] = (),
    priority: int = 3,
) -> TaskId:
    """Create a task and bring it into the state, the way it would get there."""
    draft = TaskDraft(title=title, depends_on=depends_on, priority=priority)
    (task_id,) = some_tasks(project, draft, plan=plan)
    bring(project, task_id, state)
    return task_id


def bring(project: Project, task_id: TaskId, state: TaskState) -> None:
    """Bring an open task of the ready set into another state, by the steps of real work."""
    match state:
        case TaskState.OPEN:
            pass
        case TaskState.CLAIMED:
            a_worker(project, task_id)
        case TaskState.WAITING:
            worker = a_worker(project, task_id)
            worker.ask()
            worker.end(EndKind.PARKED)
        case TaskState.IN_REVIEW:
            a_merge_request(project, task_id)
        case TaskState.MERGED:
            request = a_merge_request(project, task_id)
            project.run_train()
            assert project.request(request.id).state is MergeState.LANDED
        case TaskState.CLOSED:
            worker = a_worker(project, task_id, with_worktree=True)
            worker.request_merge(no_changes_reason="it is there already")
            worker.end()
            project.run_train()
        case TaskState.STUCK:
            limit = project.services.workspace.settings.orchestrator.max_failures
            for _ in range(limit):
                a_worker(project, task_id).end(EndKind.NO_OUTCOME)
        case TaskState.CANCELLED:
            project.services.plans.cancel_task(PERSON, task_id)
        case TaskState.PROPOSED:
            raise AssertionError("a proposal is made by a worker: see `a_proposal`")
    assert project.task(task_id).state is state


def a_proposal(project: Project) -> TaskId:
    """Have a worker propose a follow-up task."""
    worker = a_worker(project, a_task(project, "Something else"))
    return project.services.plans.propose_task(worker.caller, title="A follow-up").id


def a_session(project: Project, role: Role, subject: str) -> Session:
    """Add a session that is about to start; it holds nothing yet."""
    with project.services.workspace.write(SERVER) as tx:
        return project.services.dispatch.new_session(tx, role, subject)


def a_worker(project: Project, task_id: TaskId, *, with_worktree: bool = False) -> Worker:
    """Give the task to a new session, as dispatch does; the worktree only where it is needed."""
    services = project.services
    with services.workspace.write(SERVER) as tx:
        session = services.dispatch.new_session(tx, Role.WORKER, task_id)
        services.claims.grant(tx, tasks.get(tx.db, task_id), session.id)
        token = services.sessions.mint(tx, Role.WORKER, session.id)
    return _started(project, session, token, with_worktree=with_worktree)


def a_steward(project: Project, request: MergeRequest) -> Worker:
    """Give the merge request to a new steward, as dispatch does."""
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    assert order.session.subject == request.id
    return _reported(
        project, order.session, order.token, cwd=Path(order.cwd), environment=order.environment
    )


def next_worker(project: Project) -> Worker | None:
    """Take the next work order, if there is one, and report its session as running."""
    order = project.services.dispatch.next_order(PERSON)
    if order is None:
        return None
    return _reported(
        project, order.session, order.token, cwd=Path(order.cwd), environment=order.environment
    )


def dispatched(project: Project) -> Worker:
    """Take the next work order and report its session as running."""
    worker = next_worker(project)
    assert worker is not None
    return worker


def _started(project: Project, session: Session, token: str, *, with_worktree: bool) -> Worker:
    cwd, environment = project.root, dict[str, str]()
    if with_worktree:
        place = project.services.work.make_place(session)
        cwd, environment = Path(place.cwd), place.environment
    return _reported(project, session, token, cwd=cwd, environment=environment)


def _reported(
    project: Project, session: Session, token: str, *, cwd: Path, environment: Mapping[str, str]
) -> Worker:
    services = project.services
    services.sessions.started(PERSON, session.id, pid=0, process_started="", log_path="")
    session = services.sessions.connected(PERSON, session.id, model="sonnet")
    assert session.state is SessionState.RUNNING
    caller = Caller(role=session.role, name=session.name, session_id=SessionId(session.id))
    # The launcher adds the session's id, which everything that it starts inherits.
    environment = {**environment, SESSION_VARIABLE: session.id}
    return Worker(project, session, token, caller, cwd, environment)


def a_merge_request(
    project: Project, task_id: TaskId, files: Mapping[str, str | None] | None = None
) -> MergeRequest:
    """Have a worker commit something for the task and ask for its merge; its session ends."""
    worker = a_worker(project, task_id, with_worktree=True)
    worker.commit(files or {f"src/{task_id.lower()}.py": f"{task_id}\n"})
    request = worker.request_merge()
    worker.end()
    return request


def plan_state(project: Project, plan_id: str) -> PlanState:
    return project.plan(plan_id).state
