"""The event stream: the newest overview, each event once, for many, at the price of one."""

import contextlib
import http.client
import socket
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from sf_mcp.core.identity import PERSON, SERVER, Caller
from sf_mcp.core.models import Role
from sf_mcp.core.overview import Overview
from sf_mcp.web import stream
from tests.builders import a_plan, a_task, a_worker
from tests.web.builders_server import SECONDS, Browser, Served, served
from tests.web.listening import Listener, Message, listening


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


def _listen(
    server: Served, *, last: str | None = None, token: str = ""
) -> AbstractContextManager[Listener]:
    headers = {"Authorization": f"Bearer {token or server.person}"}
    return listening(server.port, headers, last=last)


def _as_page(
    server: Served, browser: Browser, *, after: str = ""
) -> AbstractContextManager[Listener]:
    query = f"?key={browser.key}" + (f"&after={after}" if after else "")
    return listening(server.port, {"Cookie": browser.cookie}, query)


def _happen(server: Served, count: int, *, text: str = "") -> int:
    """Have events happen in one transaction; return the number of the newest."""
    with server.project.services.workspace.write(SERVER) as tx:
        for number in range(count):
            tx.event("progress", "T1", number=number, text=text)
    return server.project.services.fleet.newest_event()


def _listeners(server: Served) -> int:
    assert server.app is not None
    return server.app.listeners


def _wait_until_nobody_listens(server: Served) -> None:
    deadline = time.monotonic() + SECONDS
    while _listeners(server):
        assert time.monotonic() < deadline, "somebody still listens"
        time.sleep(0.01)


@contextmanager
def _counted_overviews(server: Served, monkeypatch: pytest.MonkeyPatch) -> Generator[list[Caller]]:
    """Count how often the overview is worked out, which is done as ever."""
    fleet = server.project.services.fleet
    asked: list[Caller] = []
    work_out = fleet.fleet_status

    def counted(caller: Caller) -> Overview:
        asked.append(caller)
        return work_out(caller)

    with monkeypatch.context() as patch:
        patch.setattr(fleet, "fleet_status", counted)
        yield asked


@contextmanager
def _who_never_reads(server: Served, last: int) -> Generator[socket.socket]:
    """Open a stream that has much to tell, and read nothing of it."""
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(SECONDS)
        deaf.connect(("127.0.0.1", server.port))
        head = f"GET /api/events HTTP/1.1\r\nHost: {server.host}\r\nLast-Event-ID: {last}\r\n"
        deaf.sendall(f"{head}Authorization: Bearer {server.person}\r\n\r\n".encode())
        deaf.recv(1, socket.MSG_PEEK)
        yield deaf


def _require_reset(connection: socket.socket) -> None:
    """Read what has arrived; then the connection must have been cut off, not ended."""
    most = 2_000_000
    with contextlib.suppress(ConnectionResetError):
        while most > 0 and (got := connection.recv(65_536)):
            most -= len(got)
        raise AssertionError("it was sent everything" if most <= 0 else "it was ended as it should")


def _is_overview(message: Message) -> bool:
    return message.kind == "overview"


def test_the_overview_comes_at_once_and_whenever_it_has_changed(server: Served) -> None:
    with _listen(server) as listener:
        first = listener.message()
        assert first is not None
        now = server.ask("fleet_status").json
        assert {**first.data, "at": ""} == {**now, "at": ""}

        a_plan(server.project, "New")
        changed = listener.until(lambda one: _is_overview(one) and bool(one.data["plans"]))
        assert [plan["title"] for plan in changed.data["plans"]] == ["New"]


def test_events_come_in_order_each_once_with_the_number_of_the_last_as_id(server: Served) -> None:
    before = _happen(server, 3)
    with _listen(server) as listener:
        first = listener.until(_is_overview)
        assert (first.kind, first.id) == ("overview", str(before))
        newest = _happen(server, 5)
        told = listener.until(lambda one: one.kind == "events")
        assert told.id == str(told.data[-1]["number"])
        listener.until_event(newest)
    assert listener.numbers == list(range(before + 1, newest + 1))
    assert told.data[0] == server.ask("read_log", after=before, limit=1).json[0]


def test_a_listener_goes_on_where_it_was(server: Served) -> None:
    """However much it has missed: in messages of a bounded size."""
    start = _happen(server, 1)
    newest = _happen(server, 2 * stream.KEPT + 7)
    with _listen(server, last=str(start)) as listener:
        sizes: list[int] = []
        while newest not in listener.numbers:
            message = listener.until(lambda _: True)
            sizes += [len(message.data)] if message.kind == "events" else []
        newest = _happen(server, stream.KEPT + 3)
        listener.until_event(newest)
    assert listener.numbers == list(range(start + 1, newest + 1))
    assert max(sizes) == stream.PAGE


def test_a_burst_is_told_whole_to_who_was_there_and_who_comes_in_the_midst(server: Served) -> None:
    start = _happen(server, 1)
    with ExitStack() as stack:
        listeners = [stack.enter_context(_listen(server, last=str(start))) for _ in range(3)]
        newest = start
        for _ in range(20):
            newest = _happen(server, 37)
            listeners.append(stack.enter_context(_listen(server, last=str(newest - 11))))
        for listener in listeners:
            listener.until_event(newest)
            told = listener.numbers
            assert told == list(range(told[0], newest + 1))
        assert [one.numbers[0] for one in listeners[:3]] == [start + 1] * 3


def test_an_id_that_is_none_of_ours_means_from_now_on(server: Served) -> None:
    _happen(server, 3)
    huge = "9" * 400
    for last in ("", "nonsense", "-1", "1.5", "\xb2", "9" * 18, huge, "1 OR 1=1", "0x10"):
        with _listen(server, last=last) as listener:
            assert listener.message() is not None
            newest = _happen(server, 1)
            listener.until_event(newest)
        assert listener.numbers == [newest], last


def test_a_page_may_say_where_it_was_in_the_address(server: Served) -> None:
    start = _happen(server, 1)
    browser = server.let_in()
    newest = _happen(server, 2)
    with _as_page(server, browser, after=str(start)) as listener:
        listener.until_event(newest)
    assert listener.numbers == list(range(start + 1, newest + 1))


def test_one_look_is_enough_for_all_who_listen(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack, _counted_overviews(server, monkeypatch) as looks:
        listeners = [stack.enter_context(_listen(server)) for _ in range(30)]
        for listener in listeners:
            assert listener.message() is not None
        at_first = len(looks)
        newest = _happen(server, 1)
        for listener in listeners:
            listener.until_event(newest)
        # One for the change; another only where the machine is so slow that a heartbeat is due.
        assert at_first < 10
        assert len(looks) - at_first < 10


def test_with_nobody_there_nothing_is_computed(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LEAST_SECONDS", 0)
    with _listen(server) as listener:
        assert listener.message() is not None
    _wait_until_nobody_listens(server)
    with _counted_overviews(server, monkeypatch) as looks:
        for _ in range(10):
            _happen(server, 1)
            assert server.ask("list_plans").status == 200
        # One may have been under way when the last listener went.
        assert len(looks) <= 1
        a_plan(server.project, "Meanwhile")
        with _listen(server) as listener:
            listener.until(lambda one: _is_overview(one) and bool(one.data["plans"]))


def test_a_sign_of_life_comes_when_nothing_else_does(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(stream, "CHECK_SECONDS", 0.05)
    with _listen(server) as listener:
        alive = listener.until(lambda one: one.kind == "alive")
        assert alive.comments == ("alive",)


@pytest.mark.parametrize("end", ["signed out", "token renewed by another process", "too old"])
def test_the_stream_of_a_browser_that_is_let_in_no_longer_ends(
    server: Served, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(stream, "CHECK_SECONDS", 0.05)
    browser = server.let_in()
    with _as_page(server, browser) as listener:
        assert listener.message() is not None
        match end:
            case "signed out":
                server.ask("sign_out_browsers")
            case "token renewed by another process":
                server.project.services.sessions.ensure_person_token(PERSON, renew=True)
            case _:
                server.project.clock.advance(minutes=60 * 24)
        listener.to_the_end()


def test_the_stream_of_a_session_that_has_ended_ends(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHECK_SECONDS", 0.05)
    worker = a_worker(server.project, a_task(server.project))
    with _listen(server, token=worker.token) as listener:
        assert listener.message() is not None
        server.ask("session_ended", session_id=worker.session.id, kind="no_outcome", detail="")
        listener.to_the_end()


def test_an_open_page_stays_signed_in(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(stream, "ALIVE_SECONDS", 0.05)
    browser = server.let_in()
    with _as_page(server, browser) as listener:
        for _ in range(4):
            server.project.clock.advance(minutes=60 * 8)
            for _ in range(3):
                listener.until(lambda one: one.kind == "alive")
    assert server.ask_as(browser, "list_plans").status == 200


def test_a_listener_that_never_reads_is_cut_off_and_the_others_are_not_held_up(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SEND_SECONDS", 0.3)
    start = _happen(server, 1)
    newest = _happen(server, 3000, text="x" * 1000)
    with _who_never_reads(server, start) as deaf:
        with _listen(server, last=str(start)) as listener:
            listener.until_event(newest)
        _wait_until_nobody_listens(server)
        _require_reset(deaf)


def test_a_stop_ends_every_stream_as_it_should(server: Served) -> None:
    """A page is told, and the stop does not wait for what would never end by itself."""
    with _listen(server) as one, _as_page(server, server.let_in()) as other:
        assert one.message() is not None
        assert other.message() is not None
        server.stop()
        one.to_the_end()
        other.to_the_end()


def test_a_listener_that_never_reads_does_not_hold_up_a_stop(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    start = _happen(server, 1)
    newest = _happen(server, 3000, text="x" * 1000)
    with _who_never_reads(server, start), _listen(server, last=str(start)) as listener:
        listener.until_event(newest)
        server.stop()
    # Else uvicorn would have waited in vain, and said so.
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


def test_who_hangs_up_is_forgotten(server: Served) -> None:
    for _ in range(3):
        with _listen(server) as listener:
            assert listener.message() is not None
            assert _listeners(server) == 1
        _wait_until_nobody_listens(server)


def test_too_many_listeners_are_refused(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_LISTENERS", 1)
    with _listen(server) as listener:
        assert listener.message() is not None
        refused = server.request("GET", "/api/events", token=server.person)
        assert (refused.status, refused.json["code"]) == (409, "refused")


def test_a_stream_goes_on_after_a_restart_without_loss_or_doubling(server: Served) -> None:
    browser = server.let_in()
    first = _happen(server, 1)
    with _as_page(server, browser, after=str(first)) as before:
        second = _happen(server, 300)
        before.until_event(second)
        server.stop()
        before.to_the_end()
    server.project.reopen()
    third = _happen(server, 300)
    server.start()
    with _as_page(server, browser, after=before.last_id) as after:
        after.until_event(third)
        fourth = _happen(server, 1)
        after.until_event(fourth)
    assert before.numbers + after.numbers == list(range(first + 1, fourth + 1))


def test_every_role_that_may_look_may_listen(server: Served) -> None:
    for role in Role:
        with _listen(server, token=server.token_of(role)) as listener:
            assert listener.message() is not None


def test_a_look_at_the_headers_opens_no_stream(server: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    for _ in range(2):
        connection.request(
            "HEAD", "/api/events", headers={"Authorization": f"Bearer {server.person}"}
        )
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    connection.close()
    assert _listeners(server) == 0
