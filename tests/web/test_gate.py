"""What stands in front of every route: this machine's own programs, with a token, and no more."""

import json
from collections.abc import Generator

import pytest

from sf_mcp.core.models import Role
from sf_mcp.web.gate import MOST_BODY_BYTES
from tests.web.builders_server import MCP_PATHS, Served, served

API_PATHS = ("/api/list_plans", "/api/poll", "/hooks")
PATHS = (*API_PATHS, *MCP_PATHS)
ELSEWHERE = ("/nothing", "/worker", "/worker/mcp/", "/api", "/api/", "/mcp")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


def _token(server: Served, path: str) -> str:
    """Return a token that the path takes."""
    role = path.split("/")[1]
    return server.token_of(Role(role)) if path in MCP_PATHS else server.person


def _body(path: str) -> bytes:
    """Return a request that the path answers at once."""
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    return json.dumps(
        listing if path in MCP_PATHS else {"seconds": 0} if path == "/api/poll" else {}
    ).encode()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_servers_own_names_are_answered(server: Served, path: str, host: str) -> None:
    own = f"{host}:{server.port}"
    for headers in ({"Host": own}, {"Host": own, "Origin": f"http://{own}"}):
        answer = server.request(
            "POST", path, _body(path), token=_token(server, path), headers=headers
        )
        assert answer.status == 200, answer.body


@pytest.mark.parametrize("path", [*PATHS, *ELSEWHERE])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.evil.example:{port}",
        "[::1]:{port}",
        "0.0.0.0:{port}",
        "",
    ],
)
def test_a_foreign_host_is_refused(server: Served, path: str, host: str) -> None:
    """DNS rebinding: the browser of the person asks this server under another name."""
    answer = server.request(
        "POST",
        path,
        _body(path),
        token=server.person,
        headers={"Host": host.format(port=server.port)},
    )
    assert (answer.status, answer.json["code"]) == (421, "refused")


@pytest.mark.parametrize("path", [*PATHS, *ELSEWHERE])
@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
def test_a_foreign_origin_is_refused(server: Served, path: str, method: str) -> None:
    for origin in (
        "http://evil.example",
        "null",
        "",
        f"https://127.0.0.1:{server.port}",
        f"http://127.0.0.1:{server.port}.evil.example",
        "http://127.0.0.1:1",
    ):
        answer = server.request(
            method, path, _body(path), token=server.person, headers={"Origin": origin}
        )
        assert (answer.status, answer.json["code"]) == (403, "refused"), origin
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
def test_without_a_token_nothing_is_answered(server: Served, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer wrong"}):
        answer = server.request("POST", path, _body(path), headers=headers)
        assert (answer.status, answer.json["code"]) == (401, "unauthorized")
        assert answer.json["remedy"]


@pytest.mark.parametrize("path", [*API_PATHS, "/worker/mcp", "/nothing"])
def test_a_body_may_have_a_certain_length_and_no_more(server: Served, path: str) -> None:
    longest = _body(path).ljust(MOST_BODY_BYTES)
    answer = server.request("POST", path, longest, token=_token(server, path))
    assert answer.status == (404 if path == "/nothing" else 200)
    # Refused for what the head says, before any of it is sent.
    assert server.send(_head(server, path, f"Content-Length: {MOST_BODY_BYTES + 1}")) == 413


@pytest.mark.parametrize("path", [*API_PATHS, "/worker/mcp", "/nothing"])
@pytest.mark.parametrize("length", ["", "\r\nContent-Length: 2"])
def test_a_body_in_chunks_may_not_be_longer(server: Served, path: str, length: str) -> None:
    """Content-Length says nothing of a body in chunks (RFC 9112, 6.3)."""
    head = _head(server, path, f"Transfer-Encoding: chunked{length}")
    chunk = b" " * 65_536
    chunks = (b"10000\r\n" + chunk + b"\r\n") * (MOST_BODY_BYTES // len(chunk))
    assert server.send(head, chunks + b"1\r\n \r\n") == 413


def _head(server: Served, path: str, *fields: str) -> str:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {server.host}",
        f"Authorization: Bearer {_token(server, path)}",
        *fields,
    ]
    return "\r\n".join(lines)


@pytest.mark.parametrize("path", PATHS)
def test_a_short_body_in_chunks_is_answered(server: Served, path: str) -> None:
    body = _body(path)
    answer = server.request(
        "POST",
        path,
        iter((body[:1], body[1:])),
        token=_token(server, path),
        headers={"Transfer-Encoding": "chunked"},
    )
    assert answer.status == 200, answer.body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_another_method_than_post_is_refused(server: Served, path: str, method: str) -> None:
    """On an MCP path 405 tells the client that there is no stream to wait on (MCP, transports)."""
    answer = server.request(method, path, token=_token(server, path))
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ELSEWHERE)
def test_other_paths_are_not_there(server: Served, path: str) -> None:
    assert server.request("POST", path, b"{}", token=server.person).status == 404


@pytest.mark.parametrize(
    "head",
    [
        "POST /api/list_plans HTTP/1.1\r\nHost: {host}\r\nContent-Length: " + "9" * 5000,
        "POST /api/list_plans HTTP/1.1\r\nHost: {host}\r\nContent-Length: -1",
        "POST /api/list_plans HTTP/1.1\r\nContent-Length: 0",
        "POST /api/list_plans HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nContent-Length: 0",
        "GET /api/poll HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket",
    ],
)
def test_what_is_no_request_of_ours_is_refused_and_the_server_goes_on(
    server: Served, head: str
) -> None:
    sent = head.format(host=server.host) + f"\r\nAuthorization: Bearer {server.person}"
    assert 400 <= server.send(sent) < 500
    assert server.ask("list_plans").status == 200
