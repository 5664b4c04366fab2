"""An attacker's test: no route reads or changes anything for whom it is not meant.

The routes are those that the application itself names, and the operations and files those that
there are: a new one is attacked without being listed here. That the same requests are answered for
the person shows that it is the attack which is refused.
"""

import contextlib
import http.client
import json
import sqlite3
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import sf_mcp.web
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import Role
from sf_mcp.service.browsers import TERM
from sf_mcp.service.operations import OPERATIONS
from tests.builders import a_plan, a_task
from tests.web.builders_server import MCP_PATHS, SECONDS, Browser, Served, served

STATIC = Path(sf_mcp.web.__file__).parent / "static"
SECRET = "the-name-of-an-unannounced-product"
"""What stands in the project and nobody else may read."""
METHODS = ("GET", "POST")
ODD_METHODS = ("HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
REFUSED = frozenset({401, 403, 421})
NOT_THERE = frozenset({404, 405})

VALUES: Mapping[str, tuple[str, ...]] = {
    "name": (*OPERATIONS, "no_such_operation"),
    "path:path": (
        *(str(path.relative_to(STATIC)) for path in STATIC.rglob("*") if path.is_file()),
        "",
        "vendor",
        "../api.py",
        "..%2fapi.py",
        "%2e%2e/api.py",
        "/etc/passwd",
        "vendor/../../gate.py",
        "%00.js",
        "x" * 5000 + ".js",
    ),
}
"""Parameter of a route -> what is asked for. A route with another one fails every test here."""


def _paths(server: Served) -> list[str]:
    """Return every path of the application, with every value of its parameter."""
    assert server.app is not None
    found: list[str] = []
    for pattern, _ in server.app.paths:
        before, _, rest = pattern.partition("{")
        if rest:
            parameter, _, after = rest.partition("}")
            assert "{" not in after
            found += [f"{before}{value}{after}" for value in VALUES[parameter]]
        else:
            found.append(pattern)
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass
class Attacker:
    """Sends requests to one server, all with the same headers, over one connection."""

    server: Served
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    query: str = ""

    def send(
        self, paths: list[str], methods: tuple[str, ...] = METHODS
    ) -> Iterator[tuple[str, Seen]]:
        """Yield what came of each request, by method and path."""
        for path in paths:
            for method in methods:
                yield f"{method} {path}", self.ask(method, path)

    def ask(self, method: str, path: str) -> Seen:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=SECONDS)
        sent = {
            "Host": self.server.host,
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **self.headers,
        }
        body = None
        if method not in ("GET", "HEAD", "TRACE"):
            listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            at_once = {"seconds": 0} if path == "/api/poll" else {}
            body = json.dumps(listing if path in MCP_PATHS else at_once).encode()
        with contextlib.closing(connection):
            connection.request(method, path + self.query, body=body, headers=sent)
            response = connection.getresponse()
            given = {name.lower(): value for name, value in response.getheaders()}
            is_stream = given.get("content-type", "").startswith("text/event-stream")
            return Seen(response.status, response.read1() if is_stream else response.read(), given)


def _page_files(server: Served) -> list[str]:
    return [path for path in _paths(server) if path == "/" or path.startswith("/static/")]


def _rest(server: Served) -> list[str]:
    """Return the paths of everything but the page's own files and the way in."""
    files = _page_files(server)
    return [path for path in _paths(server) if path not in files and path != "/open"]


def _everything_in(server: Served) -> list[str]:
    """Return the whole database, as text."""
    with contextlib.closing(sqlite3.connect(server.project.layout.database)) as db:
        return list(db.iterdump())


@contextlib.contextmanager
def _nothing_changes(server: Served) -> Generator[None]:
    before = _everything_in(server)
    yield
    assert _everything_in(server) == before


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("attacked")) as one:
        a_plan(one.project, SECRET)
        a_task(one.project)
        yield one


@pytest.fixture(scope="module")
def browser(server: Served) -> Browser:
    return server.let_in()


def _in_page(server: Served, browser: Browser) -> dict[str, str]:
    """Return what a browser sends for the page, key included."""
    return {
        "Cookie": browser.cookie,
        "X-Stoneforge-Key": browser.key,
        "Origin": f"http://{server.host}",
        "Sec-Fetch-Site": "same-origin",
        "Sec-Fetch-Mode": "cors",
        "Sec-Fetch-Dest": "empty",
    }


def test_the_same_requests_are_answered_for_the_person(tmp_path: Path) -> None:
    """Else all that follows would hold of a server that refuses everything."""
    with served(tmp_path) as server:
        a_plan(server.project, SECRET)
        browser = server.let_in()
        page = Attacker(server, _in_page(server, browser), f"?key={browser.key}")
        program = Attacker(server, {"Authorization": f"Bearer {server.person}"})
        operations = [path for path in _rest(server) if path.startswith("/api/")]
        operations.remove("/api/sign_out_browsers")
        answered = {path: page.ask("POST", path).status for path in operations}
        assert {path for path, status in answered.items() if status in REFUSED} == {
            "/api/poll",
            "/api/open_page",
            "/api/take_over_context",
            *(path for path in operations if path.startswith("/api/session_")),
        }
        assert SECRET.encode() in page.ask("POST", "/api/list_plans").body
        for path in operations:
            assert program.ask("POST", path).status not in REFUSED
        for attacker in (page, program):
            assert attacker.ask("GET", "/api/events").status == 200
        files = {path: page.ask("GET", path).status for path in _page_files(server)}
        assert {"/", "/static/main.js", "/static/style.css"} <= {
            path for path, status in files.items() if status == 200
        }


@pytest.mark.parametrize("form", ["nothing", "nonsense", "another scheme"])
def test_without_a_secret_nothing_is_read_or_changed(server: Served, form: str) -> None:
    headers = {
        "nothing": {},
        "nonsense": {"Authorization": "Bearer " + "x" * 43, "Cookie": "stoneforge=1; a"},
        "another scheme": {"Authorization": f"Basic {server.person}"},
    }[form]
    with _nothing_changes(server):
        for what, seen in Attacker(server, headers).send(_paths(server)):
            assert seen.status in REFUSED | NOT_THERE, what
            assert SECRET.encode() not in seen.body, what
        for what, seen in Attacker(server, headers).send(_rest(server), ("POST",)):
            assert seen.status == 401, what


@pytest.mark.parametrize("who", ["the person's token", "a signed-in page"])
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"]
)
def test_from_another_origin_nothing_is_read_or_changed(
    server: Served, browser: Browser, who: str, origin: str
) -> None:
    headers = _in_page(server, browser)
    if who == "the person's token":
        headers = {"Authorization": f"Bearer {server.person}"}
    headers["Origin"] = origin.format(port=server.port)
    attacker = Attacker(server, headers, f"?key={browser.key}")
    with _nothing_changes(server):
        for what, seen in attacker.send(_paths(server)):
            assert seen.status == 403, what
            assert SECRET.encode() not in seen.body, what
            assert "access-control-allow-origin" not in seen.headers, what


@pytest.mark.parametrize(
    ("site", "mode", "dest"),
    [
        ("cross-site", "no-cors", "script"),
        ("cross-site", "no-cors", "image"),
        ("cross-site", "navigate", "iframe"),
        ("cross-site", "navigate", "embed"),
        ("cross-site", "cors", "empty"),
        # Another port of this host, such as a session's development server.
        ("same-site", "no-cors", "script"),
        ("same-site", "navigate", "iframe"),
        ("same-site", "cors", "empty"),
    ],
)
def test_what_another_page_has_the_browser_fetch_is_refused(
    server: Served, browser: Browser, site: str, mode: str, dest: str
) -> None:
    """No Origin is sent for pictures, scripts and frames; whose page asks is (Fetch Metadata)."""
    headers = _in_page(server, browser)
    del headers["Origin"]
    headers |= {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    attacker = Attacker(server, headers, f"?key={browser.key}")
    with _nothing_changes(server):
        for what, seen in attacker.send(_paths(server)):
            assert seen.status == 403, what


def test_a_form_of_another_page_changes_nothing(server: Served, browser: Browser) -> None:
    """It is a navigation, which a person may follow from elsewhere; but it is no GET."""
    headers = {
        "Cookie": browser.cookie,
        "X-Stoneforge-Key": browser.key,
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
        "Content-Type": "text/plain",
    }
    with _nothing_changes(server):
        for what, seen in Attacker(server, headers).send(_paths(server), ("POST",)):
            assert seen.status == 403, what
        # What an old browser sends, which does not know of Fetch Metadata.
        for name in ("Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"):
            del headers[name]
        for what, seen in Attacker(server, headers).send(_rest(server), ("POST",)):
            assert seen.status in REFUSED, what


@pytest.mark.parametrize(
    "host", ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}"]
)
def test_under_another_name_of_the_host_nothing_is_read_or_changed(
    server: Served, browser: Browser, host: str
) -> None:
    """DNS rebinding: the browser takes the attacker's name for this host."""
    name = host.format(port=server.port)
    headers = _in_page(server, browser) | {"Host": name, "Origin": f"http://{name}"}
    headers["Authorization"] = f"Bearer {server.person}"
    attacker = Attacker(server, headers, f"?key={browser.key}")
    with _nothing_changes(server):
        for what, seen in attacker.send(_paths(server)):
            assert seen.status == 421, what
            assert SECRET.encode() not in seen.body, what


def test_the_cookie_alone_opens_the_pages_own_files_and_nothing_else(
    server: Served, browser: Browser
) -> None:
    """Every port of the host is sent it, so a session's development server may have it."""
    headers = {"Cookie": browser.cookie, "Origin": f"http://{server.host}"}
    attacker = Attacker(server, headers)
    with _nothing_changes(server):
        for what, seen in attacker.send(_rest(server), ("POST",)):
            assert seen.status in REFUSED, what
        for what, seen in attacker.send(_rest(server), ("GET",)):
            assert seen.status in REFUSED | NOT_THERE, what
        for what, seen in attacker.send(_page_files(server), ("GET",)):
            if seen.status == 200:
                file = STATIC / what.removeprefix("GET /").removeprefix("static/")
                assert seen.body == (file if file != STATIC else file / "index.html").read_bytes()
            assert seen.status in (200, 404), what


def test_no_file_beside_the_pages_own_is_served(
    server: Served, browser: Browser, tmp_path: Path
) -> None:
    beside = tmp_path / "beside.js"
    beside.write_text(SECRET)
    up = "../" * 30
    attacker = Attacker(server, {"Cookie": browser.cookie})
    for path in (
        f"{beside}",
        f"{up}{beside}",
        f"{up}{beside}".replace("../", "%2e%2e/"),
        f"{up}{beside}".replace("/", "%2f"),
        f"vendor/{up}{beside}",
        f"..\\..{beside}",
        "vendor",
        "vendor/",
    ):
        assert attacker.ask("GET", f"/static/{path}").status == 404, path


def test_the_pages_key_alone_opens_nothing(server: Served, browser: Browser) -> None:
    headers = _in_page(server, browser)
    del headers["Cookie"]
    attacker = Attacker(server, headers, f"?key={browser.key}")
    with _nothing_changes(server):
        for what, seen in attacker.send(_paths(server)):
            assert seen.status in REFUSED | NOT_THERE, what
        for what, seen in attacker.send(_page_files(server), ("GET",)):
            assert seen.status == 401, what


def test_the_key_of_one_browser_is_of_no_use_with_the_cookie_of_another(
    server: Served, browser: Browser
) -> None:
    other = server.let_in()
    mixed = Browser(other.cookie, browser.key)
    attacker = Attacker(server, _in_page(server, mixed), f"?key={mixed.key}")
    with _nothing_changes(server):
        for what, seen in attacker.send(_rest(server)):
            assert seen.status in REFUSED | NOT_THERE, what
        assert attacker.ask("GET", "/api/events").status == 401


def test_a_cookie_of_another_server_on_this_host_opens_nothing(
    server: Served, tmp_path: Path
) -> None:
    with served(tmp_path) as other:
        foreign = other.let_in()
        renamed = Browser(
            f"stoneforge-{server.port}={foreign.cookie.partition('=')[2]}", foreign.key
        )
        own = server.let_in()
        both = Browser(f"{foreign.cookie}; {own.cookie}", own.key)
        with _nothing_changes(server):
            for browser in (foreign, renamed):
                attacker = Attacker(server, _in_page(server, browser), f"?key={browser.key}")
                for what, seen in attacker.send(_paths(server)):
                    assert seen.status in REFUSED | NOT_THERE, what
                    assert SECRET.encode() not in seen.body, what
        assert server.ask_as(both, "list_plans").status == 200


@pytest.mark.parametrize("end", ["its time is over", "it was signed out"])
def test_a_browser_that_is_let_in_no_longer_opens_nothing(tmp_path: Path, end: str) -> None:
    with served(tmp_path) as server:
        a_plan(server.project, SECRET)
        browser = server.let_in()
        if end == "it was signed out":
            server.project.services.browsers.sign_out_browsers(PERSON)
        else:
            server.project.clock.advance(seconds=TERM.total_seconds())
        attacker = Attacker(server, _in_page(server, browser), f"?key={browser.key}")
        with _nothing_changes(server):
            for what, seen in attacker.send(_paths(server)):
                assert seen.status in REFUSED | NOT_THERE, what
                assert SECRET.encode() not in seen.body, what


@pytest.mark.parametrize("role", [Role.WORKER, Role.STEWARD])
@pytest.mark.parametrize("also", ["alone", "with a signed-in browser's cookie and key"])
def test_a_sessions_token_opens_what_its_role_may_and_nothing_of_the_persons(
    server: Served, browser: Browser, role: Role, also: str
) -> None:
    headers = {} if also == "alone" else _in_page(server, browser)
    headers["Authorization"] = f"Bearer {server.token_of(role)}"
    attacker = Attacker(server, headers)
    may = {f"/api/{name}" for name, (_, roles) in OPERATIONS.items() if role in roles}
    own = {"/hooks", f"/{role.value}/mcp", "/api/no_such_operation"}
    with _nothing_changes(server):
        for path in _rest(server):
            seen = attacker.ask("POST", path)
            is_refused = seen.status in REFUSED or (path == "/api/events" and seen.status == 404)
            assert is_refused is (path not in may | own), (path, seen)
            assert server.person.encode() not in seen.body
        assert attacker.ask("GET", "/api/events").status == 200
        if also == "alone":
            for what, seen in attacker.send(_page_files(server), ("GET",)):
                assert seen.status == 401, what


def test_other_methods_do_nothing_even_for_the_person(server: Served, browser: Browser) -> None:
    headers = _in_page(server, browser) | {"Authorization": f"Bearer {server.person}"}
    attacker = Attacker(server, headers, f"?key={browser.key}")
    with _nothing_changes(server):
        for what, seen in attacker.send(_paths(server), ODD_METHODS):
            method, path = what.split(" ", 1)
            is_look = method == "HEAD" and path in ("/api/events", *_page_files(server))
            is_refused = seen.status in REFUSED | NOT_THERE or what == "HEAD /open"
            assert is_refused or (is_look and seen.status == 200), what
            assert SECRET.encode() not in seen.body, what
        # Nothing is changed by a GET, however it is authorized.
        for _, seen in attacker.send(_rest(server), ("GET",)):
            assert seen.status in (200, 403, 405), seen


def test_every_answer_tells_the_browser_to_run_and_embed_nothing(
    server: Served, browser: Browser
) -> None:
    for headers in ({}, _in_page(server, browser), {"Host": "evil.example"}):
        for what, seen in Attacker(server, headers).send(_paths(server), ("GET",)):
            policy = seen.headers["content-security-policy"].split("; ")
            assert {
                "default-src 'none'",
                "script-src 'self'",
                "frame-ancestors 'none'",
                "require-trusted-types-for 'script'",
            } <= set(policy), what
            assert not any("unsafe" in part for part in policy), what
            assert seen.headers["x-content-type-options"] == "nosniff", what
            assert seen.headers["referrer-policy"] == "no-referrer", what
            assert seen.headers["cross-origin-resource-policy"] == "same-origin", what
            assert seen.headers["cache-control"] in ("no-store", "no-cache"), what
            kind = seen.headers.get("content-type", "text/plain")
            assert ("html" in kind) is (seen.body.startswith(b"<!doctype html>")), what
