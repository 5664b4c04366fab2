"""The gate in front of every route: right Host, no foreign Origin, no other page's request.

A web page in the person's browser can send requests to loopback, and with DNS rebinding read the
answers too. So the Host must be this server's own, and an Origin, where there is one, as well
(https://owasp.org/www-community/attacks/csrf). A browser names no Origin for pictures, scripts and
frames, but says by Sec-Fetch-Site whose page asks (https://www.w3.org/TR/fetch-metadata/); from
another page it may only be followed as a link. Tokens are checked behind it, route by route.
"""

from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY_BYTES = 4 * 1024 * 1024

OWN_PAGE = frozenset({b"same-origin", b"none"})
"""A page of this server, or an address that the person gave. `same-site` is any port here."""


class Gate:
    """ASGI middleware that lets only this machine's own programs through."""

    def __init__(self, app: ASGIApp, *, port: int) -> None:
        """Guard `app`, which listens on `port` of loopback."""
        self._app = app
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif refusal := self._refusal(scope):
            await refusal(scope, receive, send)
        elif _says_its_length(scope):
            await self._app(scope, receive, send)
        elif (body := await _body_of(receive)) is None:
            await _too_long()(scope, receive, send)
        else:
            await self._app(scope, _replayed(body, receive), send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if host not in self._hosts:
            return _refused(421, f"This server does not answer for the host {host!r}.")
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower() not in self._origins:
            return _refused(403, "Requests from other web pages are not accepted.")
        if headers.get(b"sec-fetch-site", b"none") not in OWN_PAGE and not _is_followed(
            scope["method"], headers
        ):
            return _refused(403, "Requests from other web pages are not accepted.")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MOST_BODY_BYTES:
            return _too_long()
        return None


def _is_followed(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a person follows a link, which shows them the page and its owner nothing."""
    wanted = (headers.get(b"sec-fetch-mode"), headers.get(b"sec-fetch-dest"))
    return method == "GET" and wanted == (b"navigate", b"document")


def _refused(status: int, message: str) -> JSONResponse:
    return JSONResponse({"code": "refused", "message": message, "remedy": ""}, status_code=status)


def _too_long() -> JSONResponse:
    return _refused(413, f"A request may have at most {MOST_BODY_BYTES:,} bytes.")


def _says_its_length(scope: Scope) -> bool:
    """Return whether the body is as long as Content-Length says; of a chunked one it says nothing.

    https://www.rfc-editor.org/rfc/rfc9112#section-6.3
    """
    names = {name.lower() for name, _ in scope["headers"]}
    return b"content-length" in names and b"transfer-encoding" not in names


async def _body_of(receive: Receive) -> bytes | None:
    """Return a body that did not say how long it is; None when it is longer than is accepted."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body that was read already, then what comes after it."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give
