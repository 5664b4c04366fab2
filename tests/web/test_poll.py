"""The launcher's long poll: work as soon as there is some, each piece once, else nothing."""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from socket import create_connection
from typing import Any

import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, TaskId
from sf_mcp.core.states import SessionState, TaskState
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.service.launcher import Directives
from tests.builders import TINY, a_task, a_worker, some_tasks
from tests.web.builders_server import SECONDS, Answer, Served, served

NOTHING: dict[str, Any] = {"order": None, "stop": [], "hand_over": []}
LONG = 30.0
"""Longer than a test waits for an answer."""


@pytest.fixture
def server(tmp_path: Path) -> Generator[Served]:
    with served(tmp_path) as one:
        yield one


def _work(server: Served) -> TaskId:
    """Create a task that a poll may take at once."""
    (task,) = some_tasks(server.project, TaskDraft(title="Add a thing"))
    return task


class Looks:
    """Notes each look for work that a poll has taken, and does nothing else."""

    def __init__(self, server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        launcher = server.project.services.launcher
        self._look: Callable[..., Directives] = launcher.directives
        self._looked = threading.Semaphore(0)
        monkeypatch.setattr(launcher, "directives", self._noting)

    def _noting(self, *arguments: Any) -> Directives:
        seen = self._look(*arguments)
        self._looked.release()
        return seen

    def wait(self) -> None:
        assert self._looked.acquire(timeout=SECONDS)


@pytest.fixture
def in_background(server: Served) -> Generator[Callable[..., Future[Answer]]]:
    """Polls that wait in threads of their own."""
    with ThreadPoolExecutor(12) as pool:

        def poll(**arguments: Any) -> Future[Answer]:
            return pool.submit(server.poll, **arguments)

        yield poll


def test_a_poll_without_work_is_empty_after_its_seconds(server: Served) -> None:
    assert server.poll(seconds=0.05).json == NOTHING
    assert server.poll(seconds=0).json == NOTHING
    assert server.post("/api/poll", {"seconds": 0.05, "running": []}).json == NOTHING


def test_a_work_order_has_all_that_a_session_needs(server: Served) -> None:
    task = a_task(server.project, "Add a parser")
    order = server.poll(seconds=LONG).json["order"]
    session = order["session"]
    assert (session["subject"], session["role"], session["name"]) == (task, "worker", "worker-1")
    assert session["state"] == "starting"
    assert order["is_resume"] is False
    assert Path(order["cwd"], "readme.md").exists()
    assert order["message"].startswith(f"Your task is {task}: Add a parser")
    assert order["environment"]["GIT_AUTHOR_NAME"] == "Ada Lovelace"
    assert server.ask("get_task", token=order["token"], task=task).status == 200
    lease = server.project.live_lease(task)
    assert lease is not None
    assert lease.session_id == session["id"]


@pytest.mark.parametrize("change", ["a task", "the end of a pause", "a lease that is over"])
def test_a_poll_ends_as_soon_as_there_is_work(
    server: Served,
    change: str,
    monkeypatch: pytest.MonkeyPatch,
    in_background: Callable[..., Future[Answer]],
) -> None:
    project = server.project
    match change:
        case "a task":
            work = lambda: _work(server)  # noqa: E731
        case "the end of a pause":
            a_task(project)
            project.services.fleet.pause_fleet(PERSON, reason="lunch")
            work = lambda: project.services.fleet.resume_fleet(PERSON)  # noqa: E731
        case _:
            worker = a_worker(project, a_task(project))
            work = lambda: worker.end(EndKind.RELEASED)  # noqa: E731
    looks = Looks(server, monkeypatch)
    waiting = in_background(seconds=LONG)
    looks.wait()
    assert not waiting.done()
    work()
    assert waiting.result(SECONDS).json["order"] is not None


def test_changes_that_are_no_work_do_not_end_a_poll(
    server: Served,
    monkeypatch: pytest.MonkeyPatch,
    in_background: Callable[..., Future[Answer]],
) -> None:
    worker = a_worker(server.project, a_task(server.project))
    looks = Looks(server, monkeypatch)
    waiting = in_background(seconds=LONG)
    for number in range(3):
        looks.wait()
        server.project.services.claims.report_progress(worker.caller, message=str(number))
    looks.wait()
    assert not waiting.done()
    _work(server)
    assert waiting.result(SECONDS).json["order"] is not None


def test_many_polls_at_once_start_each_task_once(
    server: Served, in_background: Callable[..., Future[Answer]]
) -> None:
    tasks = [a_task(server.project, f"Task {number}") for number in range(5)]
    polls = [in_background(seconds=0.3) for _ in range(9)]
    orders = [poll.result(SECONDS).json["order"] for poll in polls]
    subjects = [order["session"]["subject"] for order in orders if order]
    assert sorted(subjects) == sorted(tasks)
    names = [order["session"]["name"] for order in orders if order]
    assert sorted(names) == [f"worker-{number}" for number in range(1, 6)]


def test_many_polls_that_wait_are_woken_by_one_task_and_one_gets_it(
    server: Served, monkeypatch: pytest.MonkeyPatch, in_background: Callable[..., Future[Answer]]
) -> None:
    looks = Looks(server, monkeypatch)
    polls = [in_background(seconds=1.0) for _ in range(9)]
    for _ in polls:
        looks.wait()
    task = _work(server)
    orders = [poll.result(SECONDS).json["order"] for poll in polls]
    assert [order["session"]["subject"] for order in orders if order] == [task]


def test_no_more_workers_are_started_than_there_are_slots(tmp_path: Path) -> None:
    with served(tmp_path, config=f"{TINY}orchestrator: {{maxConcurrent: 2}}\n") as server:
        tasks = [a_task(server.project, f"Task {number}") for number in range(3)]
        orders = [server.poll().json["order"] for _ in range(3)]
        assert [order and order["session"]["subject"] for order in orders] == [*tasks[:2], None]


def test_a_launcher_that_may_start_nothing_gets_no_order(server: Served) -> None:
    task = a_task(server.project)
    assert server.poll(may_start=False).json == NOTHING
    assert server.project.task(task).state is TaskState.OPEN


def test_a_session_that_should_end_is_named_with_the_reason(
    server: Served, monkeypatch: pytest.MonkeyPatch, in_background: Callable[..., Future[Answer]]
) -> None:
    worker = a_worker(server.project, a_task(server.project))
    looks = Looks(server, monkeypatch)
    waiting = in_background(seconds=LONG, running=[worker.session.id])
    looks.wait()
    server.ask("stop_session", session=worker.session.name, reason="enough")
    (stop,) = waiting.result(SECONDS).json["stop"]
    assert stop["session_id"] == worker.session.id
    assert "enough" in stop["reason"]

    server.ask("session_ended", session_id=worker.session.id, kind="stopped")
    assert server.project.session(worker.session.id).state is SessionState.EXITED
    ended = server.poll(seconds=LONG, running=[worker.session.id, "unknown"]).json["stop"]
    assert [stop["reason"] for stop in ended] == ["it has ended", "it has ended"]


def test_a_poll_whose_caller_is_gone_takes_no_work(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(server, monkeypatch)
    body = b'{"seconds": 30}'
    with create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            f"POST /api/poll HTTP/1.1\r\nHost: {server.host}\r\nAuthorization: Bearer "
            f"{server.person}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        looks.wait()
        noticed = server.portal.start_task_soon(server.project.services.notices.wait, SECONDS)
        # Nothing in the state changes: what wakes the waiters is that this caller has gone.
    assert noticed.result(SECONDS)
    task = a_task(server.project)
    assert server.poll(seconds=LONG).json["order"]["session"]["subject"] == task


# -- the account -----------------------------------------------------------------------------------


def test_the_account_of_the_launchers_sessions_becomes_the_fleets(server: Served) -> None:
    assert server.poll(seconds=0, account="feedfeedfeedfeed").status == 200
    gate = server.project.services.workspace.gate
    assert gate.path.name == "feedfeedfeedfeed.json"
    # One that does not say it, such as another release's, changes nothing.
    assert server.poll(seconds=0).status == 200
    assert server.project.services.workspace.gate is gate


@pytest.mark.parametrize("account", ["../../etc/passwd", "FEED", "feed.json", "f" * 65, "fe\0ed"])
def test_what_names_no_account_is_refused(server: Served, account: str) -> None:
    assert server.poll(seconds=0, account=account).status == 422
