"""The client of `sf` and the launcher: which server, with whose token, and what is wrong."""

import contextlib
import socket
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from sf_mcp.client import Client, Refused, connect
from sf_mcp.core.errors import ServerUnreachable, Unauthorized
from sf_mcp.core.identity import PERSON
from sf_mcp.core.layout import Layout
from tests.builders import a_task, a_worker
from tests.web.builders_server import SECONDS, Served, say_where, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        one.project.services.sessions.ensure_person_token(PERSON)
        say_where(one.project.layout, one.port)
        yield one


def _connected(server: Served) -> Client:
    client = connect(server.project.root)
    assert client is not None
    return client


@contextlib.contextmanager
def _something_that_says(words: bytes) -> Generator[int]:
    """Listen on a port; answer each connection with these bytes, nothing if there are none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    kept.append(connection)
                    # The first look only connects, and is gone by now.
                    with contextlib.suppress(OSError):
                        if words and connection.recv(65_536):
                            connection.sendall(words)
                            connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=run, daemon=True).start()
        yield listener.getsockname()[1]
        # Wakes the thread, which a mere close does not.
        listener.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


def _http(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def test_an_operation_is_called_by_name_and_answers_with_plain_values(server: Served) -> None:
    client = _connected(server)
    made = client.call("create_plan", title="Sprint 14", tasks=[{"title": "Ünïcode ✓"}])
    (task,) = made["tasks"]
    assert client.call("get_task", task=task["id"])["task"]["title"] == "Ünïcode ✓"
    assert client.call("resume_fleet") is None


def test_a_refusal_comes_with_the_servers_own_words(server: Served) -> None:
    with pytest.raises(Refused) as refused:
        _connected(server).call("get_task", task="T999")
    error = refused.value
    assert (error.code, error.message) == ("not_found", "There is no task T999.")
    assert error.remedy == "List them with `sf task list`."


def test_no_server_has_been_started(tmp_path: Path) -> None:
    assert connect(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"host": "127.0.0.1", "port": "x", "pid": 1}', "null"]
)
def test_an_address_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    layout = Layout(tmp_path)
    layout.folder.mkdir()
    layout.server.write_text(text)
    assert connect(tmp_path) is None


@pytest.mark.parametrize("port", [0, -1, 65_536, 10**30])
def test_an_address_that_is_none_is_no_server(tmp_path: Path, port: int) -> None:
    say_where(Layout(tmp_path), port)
    assert connect(tmp_path) is None


def test_the_address_of_a_server_that_was_killed_is_no_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    say_where(Layout(tmp_path), port)
    assert connect(tmp_path) is None


@pytest.mark.parametrize(
    ("words", "is_somebody_else"),
    [
        (_http("404 Not Found", "<html>Nothing here</html>"), True),
        (_http("200 OK", "<html>Hello</html>"), True),
        (_http("404 Not Found", '{"detail": "Not Found"}'), True),
        (_http("500 Oops", "[]"), True),
        (_http("401 Unauthorized", ""), True),
        (b"SSH-2.0-OpenSSH_9.9\r\n", True),
        (b"\x15\x03\x01\x00\x02\x02\x50", True),
        # As a server that is killed in the middle of its answer leaves it.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", False),
    ],
)
def test_something_else_that_listens_there_is_told_apart(
    tmp_path: Path, words: bytes, is_somebody_else: bool
) -> None:
    layout = Layout(tmp_path)
    with _something_that_says(words) as port:
        say_where(layout, port)
        layout.person_token.write_text("a-token")
        client = connect(tmp_path)
        assert client is not None
        with pytest.raises(ServerUnreachable) as unreachable:
            client.call("list_plans", timeout_seconds=SECONDS)
    error = unreachable.value
    assert f"127.0.0.1:{port}" in error.message
    if is_somebody_else:
        assert error.message.endswith("is not a Stoneforge server.")
        assert error.remedy == "Stop it, or set orchestrator.port to another one."
    else:
        assert "does not answer" in error.message
        assert error.remedy == "Start it with `sf serve`."


def test_something_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with (
        _something_that_says(b"") as port,
        pytest.raises(ServerUnreachable, match="does not answer"),
    ):
        Client("127.0.0.1", port, "a-token").call("list_plans", timeout_seconds=0.1)


def test_a_call_can_be_broken_off_from_another_thread(tmp_path: Path) -> None:
    with _something_that_says(b"") as port:
        client = Client("127.0.0.1", port, "a-token")
        said: list[str] = []

        def call() -> None:
            try:
                client.call("poll", timeout_seconds=SECONDS)
            except ServerUnreachable as error:
                said.append(error.message)

        thread = threading.Thread(target=call)
        thread.start()
        while thread.is_alive():  # it may not have begun
            client.break_off()
            thread.join(0.01)
    assert len(said) == 1


def test_a_session_speaks_as_itself_and_never_as_the_person(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = a_worker(server.project, a_task(server.project))
    monkeypatch.setenv("SF_TOKEN", worker.token)
    client = _connected(server)
    assert client.call("list_plans") is not None
    with pytest.raises(Refused) as refused:
        client.call("pause_fleet")
    assert refused.value.code == "not_allowed"
    worker.end()
    with pytest.raises(Refused) as refused:
        client.call("list_plans")
    assert refused.value.code == "unauthorized"


@pytest.mark.parametrize("token", ["two\nlines", "naïve", "a\0b"])
def test_what_is_no_token_is_refused_before_it_is_sent(
    server: Served, tmp_path: Path, token: str
) -> None:
    layout = Layout(tmp_path)
    say_where(layout, server.port)
    layout.person_token.write_text(token)
    with pytest.raises(Unauthorized, match="is not one"):
        connect(tmp_path)


def test_a_token_file_that_is_gone_says_how_to_get_a_new_one(
    server: Served, tmp_path: Path
) -> None:
    say_where(Layout(tmp_path), server.port)
    with pytest.raises(Unauthorized) as refused:
        connect(tmp_path)
    assert "sf token --renew" in refused.value.remedy
    Layout(tmp_path).person_token.write_bytes(b"\xff\xfe")
    with pytest.raises(Unauthorized):
        connect(tmp_path)


def test_a_token_of_another_project_is_refused(server: Served, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    say_where(layout, server.port)
    for text in ("another", ""):
        layout.person_token.write_text(text)
        client = connect(tmp_path)
        assert client is not None
        with pytest.raises(Refused) as refused:
            client.call("list_plans")
        assert refused.value.code == "unauthorized"
