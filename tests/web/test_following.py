"""What reads the server's stream: one connection of it, and the following through restarts."""

import contextlib
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from sf_mcp.client import Client, Refused, Told, connect
from sf_mcp.core.errors import ServerUnreachable
from sf_mcp.core.identity import PERSON
from sf_mcp.following import Following, Live, Lost
from tests.web.builders_server import SECONDS, Served, say_where, served


@pytest.fixture
def server(tmp_path: Path) -> Generator[Served]:
    with served(tmp_path) as one:
        one.project.services.sessions.ensure_person_token(PERSON)
        say_where(one.project.layout, one.port)
        yield one


def _client(server: Served) -> Client:
    client = connect(server.project.root)
    assert client is not None
    return client


def _pause(server: Served, reason: str) -> None:
    server.project.services.fleet.pause_fleet(PERSON, reason=reason)


def _until(told: Iterator[Told], holds: Callable[[Told], bool]) -> Told:
    return next(one for one in told if holds(one))


def _is_paused(told: Told) -> bool:
    return told.kind == "events" and told.value[-1]["kind"] == "fleet_paused"


def test_the_overview_comes_at_once_and_then_what_happens(server: Served) -> None:
    with contextlib.closing(_client(server).events(timeout_seconds=SECONDS)) as told:
        first = next(told)
        assert (first.kind, first.value["project"]) == ("overview", "project")
        assert first.number == first.value["newest_event"]
        _pause(server, "release day")
        paused = _until(told, _is_paused)
        assert [event["data"]["reason"] for event in paused.value] == ["release day"]
        assert paused.number == paused.value[-1]["number"]


def test_events_after_a_number_are_told_of_later_too(server: Served) -> None:
    _pause(server, "one")
    _pause(server, "two")
    newest = server.project.services.fleet.newest_event()
    with contextlib.closing(_client(server).events(after=newest - 1)) as told:
        assert _until(told, _is_paused).value[0]["data"]["reason"] == "two"


def test_a_token_that_the_server_does_not_know_is_refused(server: Served) -> None:
    stranger = Client("127.0.0.1", server.port, "another")
    with pytest.raises(Refused) as refused:
        next(stranger.events())
    assert refused.value.code == "unauthorized"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "not a Stoneforge server"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "not a Stoneforge server"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "not a Stoneforge server"),
        (b"", "does not answer"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nfff\r\ndata: cut",
            "does not answer",
        ),
    ],
)
def test_what_is_no_stream_of_ours_or_breaks_off_is_told_apart(answer: bytes, words: str) -> None:
    with _answering(answer) as port, pytest.raises(ServerUnreachable, match=words):
        list(Client("127.0.0.1", port, "token").events(timeout_seconds=SECONDS))


def test_a_stream_that_falls_silent_is_given_up() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\n"
    with _answering(head, is_kept_open=True) as port:
        told = Client("127.0.0.1", port, "token").events(timeout_seconds=0.2)
        assert next(told).value == {}
        with pytest.raises(ServerUnreachable, match="timed out"):
            next(told)


def test_messages_that_are_no_json_are_passed_over() -> None:
    stream = b"data: \xff{\n\ndata: " + b"[" * 100_000 + b"\n\nid: x\nevent: events\ndata: []\n\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
    with _answering(head + stream) as port:
        told = list(Client("127.0.0.1", port, "token").events(timeout_seconds=SECONDS))
    assert told == [Told(kind="events", value=[], number=None)]


@contextlib.contextmanager
def _answering(words: bytes, *, is_kept_open: bool = False) -> Generator[int]:
    """Answer one connection with these bytes."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(words)
                if is_kept_open:
                    ended.wait(SECONDS)

        thread = threading.Thread(target=run)
        thread.start()
        yield listener.getsockname()[1]
        ended.set()
        thread.join(SECONDS)


def test_following_goes_on_over_a_restart_and_tells_each_event_once(server: Served) -> None:
    following = Following(server.project.root)
    seen = following.follow()
    url = f"http://127.0.0.1:{server.port}"
    assert next(seen) == Live(url=url)
    first = next(seen)
    assert isinstance(first, Told)
    _pause(server, "before")
    server.stop()
    heard: list[str] = []
    lost = _collect(seen, heard, Lost)
    assert isinstance(lost, Lost)
    assert "sf serve" in lost.remedy
    server.project.reopen()
    _pause(server, "meanwhile")
    server.start()
    say_where(server.project.layout, server.port)
    assert _collect(seen, heard, Live) == Live(url=url)
    _pause(server, "after")
    while "after" not in heard:
        _collect(seen, heard, Told)
    assert heard == ["before", "meanwhile", "after"]
    following.stop()
    assert next(seen, None) is None


def _collect(
    seen: Generator[Live | Lost | Told], heard: list[str], kind: type[Live | Lost | Told]
) -> Live | Lost | Told:
    """Take what comes, the reasons of pauses into `heard`, up to the first of a kind."""
    for one in seen:
        if isinstance(one, Told) and one.kind == "events":
            heard += [event["data"]["reason"] for event in one.value if event["data"]]
        if isinstance(one, kind):
            return one
    raise AssertionError("it has ended")


def test_without_a_server_it_says_so_once_and_waits_for_one(server: Served) -> None:
    address = server.project.layout.server
    told_of, text = threading.Event(), address.read_text()
    address.unlink()
    following = Following(server.project.root)
    seen: list[Live | Lost | Told] = []

    def run() -> None:
        for one in following.follow():
            seen.append(one)
            told_of.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert told_of.wait(SECONDS)
    assert seen == [
        Lost(message="No server is running.", remedy="Start it with `sf serve`."),
    ]
    told_of.clear()
    address.write_text(text)
    assert told_of.wait(SECONDS)
    assert isinstance(seen[1], Live)
    while thread.is_alive():  # it may be between two connections
        following.stop()
        thread.join(0.05)


def test_a_token_that_was_renewed_meanwhile_is_read_anew(server: Served) -> None:
    token_file = server.project.layout.person_token
    good = token_file.read_text()
    token_file.write_text("another")
    following = Following(server.project.root)
    seen = following.follow()
    lost = next(seen)
    assert isinstance(lost, Lost)
    assert "token" in lost.message
    token_file.write_text(good)
    assert isinstance(next(seen), Live)
    following.stop()
    seen.close()
