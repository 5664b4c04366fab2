"""`sf open`: a link to the page of the running server; and that page across the server's end."""

import contextlib
import http.client
import json
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.cli.builders_project import Person, Running, someone_set_up, someone_with_a_plan
from tests.web.listening import SECONDS, Listener, listening


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Person]:
    person = someone_set_up(tmp_path_factory.mktemp("served"))
    with person.serving():
        yield person


def _port(person: Person) -> int:
    return int(json.loads((person.folder / "server.json").read_text())["port"])


def _follow(url: str) -> tuple[int, dict[str, str]]:
    """Open a link as a browser does; return the status and what is sent from then on."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=SECONDS)
    connection.request("GET", f"/{path}")
    answer = connection.getresponse()
    connection.close()
    if answer.status != 303:
        return answer.status, {}
    cookie = answer.headers["set-cookie"].partition(";")[0]
    key = answer.headers["location"].removeprefix("/#key=")
    return answer.status, {"Cookie": cookie, "X-Stoneforge-Key": key}


def _listen(person: Person, secrets: dict[str, str], last: str | None = None):
    headers = {"Cookie": secrets["Cookie"]}
    return listening(_port(person), headers, f"?key={secrets['X-Stoneforge-Key']}", last=last)


def _newest_event(person: Person) -> int:
    return int(json.loads(person.ok("logs", "--json", "-n", "1").out.splitlines()[-1])["number"])


def test_the_link_that_is_printed_signs_a_browser_in_once(served: Person) -> None:
    printed = served.ok("open", "--print").out.strip()
    assert printed.startswith(f"http://127.0.0.1:{_port(served)}/open?code=")
    as_json = served.ok("open", "--json").json
    assert set(as_json) == {"url", "expires_at"}
    assert _follow(printed)[0] == 303
    assert _follow(as_json["url"])[0] == 303
    assert _follow(printed)[0] == 401
    assert served.ok("open", "--sign-out", "--json").json == {"signed_out": 1}
    assert "Signed out: 0 browsers." in served.ok("open", "--sign-out").out


def test_the_link_is_opened_in_the_persons_browser_without_a_shell(
    served: Person, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s\\n" "$#" "$1" > {seen}\n')
    browser.chmod(0o755)
    done = served.sf("open", env={"BROWSER": f"{browser} %s"})
    assert (done.code, done.out) == (0, "Opened in your browser.\n"), done
    count, url = seen.read_text().splitlines()
    assert count == "1"
    assert _follow(url)[0] == 303


def test_where_no_browser_can_be_started_the_link_is_printed(served: Person) -> None:
    done = served.sf("open", env={"BROWSER": "/no/such/browser %s", "PATH": "/nowhere"})
    assert done.code == 0
    assert _follow(done.out.strip())[0] == 303
    assert "No browser" in done.err


def test_a_session_may_not_open_the_page(served: Person) -> None:
    done = served.sf("open", "--print", "--json", env={"SF_TOKEN": "x" * 43})
    assert (done.code, done.json["code"]) == (1, "not_allowed")


def test_without_a_server_it_says_what_to_do(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    done = person.sf("open", "--json")
    assert (done.code, done.json["code"]) == (3, "server_unreachable")
    assert "sf serve" in done.json["remedy"]


def test_a_page_goes_on_after_the_server_was_killed_and_started_again(tmp_path: Path) -> None:
    """The same port, the same cookie and key; each event once."""
    person = someone_with_a_plan(tmp_path, "One")
    server = person.start("serve", "--no-fleet")
    other: Running | None = None
    try:
        server.wait_for("Serving ")
        port = _port(person)
        _, secrets = _follow(person.ok("open", "--print").out.strip())
        with _listen(person, secrets) as before:
            _hear_of(person, before, "Two")
            server.kill()
            with contextlib.suppress(http.client.IncompleteRead, ConnectionResetError):
                before.to_the_end()
        person.ok("task", "create", "--title", "Meanwhile")
        other = person.start("serve", "--no-fleet")
        other.wait_for("Serving ")
        assert _port(person) == port
        with _listen(person, secrets, last=before.last_id) as after:
            _hear_of(person, after, "Three")
        told = before.numbers + after.numbers
        assert told == list(range(told[0], _newest_event(person) + 1))
    finally:
        server.end()
        if other is not None:
            other.end()


def _hear_of(person: Person, listener: Listener, title: str) -> None:
    assert listener.message() is not None
    person.ok("task", "create", "--title", title)
    listener.until_event(_newest_event(person))


def test_ctrl_c_with_a_page_open_ends_the_server_as_it_should(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    with person.serving() as server:
        _, secrets = _follow(person.ok("open", "--print").out.strip())
        with _listen(person, secrets) as listener:
            assert listener.message() is not None
            assert server.interrupt() == 0
            listener.to_the_end()
    assert "timeout" not in (person.folder / "logs" / "server.log").read_text()


def test_no_secret_of_a_browser_is_written_to_a_log(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    with person.serving() as server:
        link = person.ok("open", "--print").out.strip()
        _, secrets = _follow(link)
        _follow(link + "x")  # one that is refused
        with _listen(person, secrets) as listener:
            assert listener.message() is not None
            server.interrupt()
            listener.to_the_end()
    code, cookie, key = link.partition("code=")[2], secrets["Cookie"], secrets["X-Stoneforge-Key"]
    assert all((code, cookie, key))
    log = (person.folder / "logs" / "server.log").read_text()
    assert "stopped" in log
    for secret in (code, cookie.partition("=")[2], key):
        assert secret not in log
        assert secret not in server.said
