"""Who a request is from: a program with a token, or a browser that a link has let in.

Rule 1: a cookie alone opens the page's own files, in which nothing of the project is.
Rule 2: everything else takes both of a browser's secrets, from a page of this very origin.
"""

import html
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sf_mcp.core.errors import NotAllowed, StoneforgeError, Unauthorized
from sf_mcp.core.identity import Caller
from sf_mcp.service import Services

KEY_HEADER = "x-stoneforge-key"
KEY_PARAMETER = "key"
"""For the event stream: a browser's EventSource takes no headers."""

_AGAIN = '<p>If this browser is signed in already: <a href="/">open the page</a>.</p>\n'
_CLOSED = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Stoneforge</title>
<h1>Stoneforge</h1>
<p>{sentence}</p>
<p>Run <code>sf open</code> in the project's folder: it opens this page, signed in.</p>
{again}</html>
"""


class Entry:
    """The way in for browsers, and who everybody else is."""

    def __init__(self, services: Services, port: int) -> None:
        """Let in to the server on this port; the cookie's name holds it, as cookies do not."""
        self._services = services
        self.cookie = f"stoneforge-{port}"

    async def open(self, request: Request) -> Response:
        """Take a one-time link: set the cookie, and hand the page its key in the fragment.

        A fragment is sent to no server and stands in no log.
        """
        if request.method != "GET" or "prefetch" in request.headers.get("sec-purpose", ""):
            # A look ahead, which must not use the link up.
            return closed("This link waits to be opened.", HTTPStatus.SERVICE_UNAVAILABLE)
        code = request.query_params.get("code", "")
        try:
            entry = await run_in_threadpool(
                self._services.browsers.let_in, code, secret=self.secret(request)
            )
        except Unauthorized as refusal:
            if self.is_let_in(request):
                return RedirectResponse("/", HTTPStatus.SEE_OTHER)
            return closed(refusal.message)
        except StoneforgeError as refusal:
            return closed(refusal.message, HTTPStatus.SERVICE_UNAVAILABLE)
        answer = RedirectResponse(f"/#key={entry.key}", HTTPStatus.SEE_OTHER)
        answer.set_cookie(self.cookie, entry.secret, httponly=True, samesite="strict", path="/")
        return answer

    def secret(self, request: Request) -> str:
        """Return the secret in the browser's cookie; empty when it has none."""
        return request.cookies.get(self.cookie, "")

    def is_let_in(self, request: Request) -> bool:
        """Tell whether the request may have the page's files."""
        return self._services.browsers.is_let_in(self.secret(request))

    async def caller(self, request: Request) -> Caller:
        """Return who asks.

        Raises:
            Unauthorized: nobody that is known.
            NotAllowed: it comes from another page than this server's.
        """
        if token := _token(request):
            return self._of_program(token)
        if secret := self.secret(request):
            return await self._of_browser(request, secret)
        raise Unauthorized(
            "The request carries no token.", remedy="Use `sf`, which sends the person's own."
        )

    def still(self, request: Request) -> Caller:
        """Return who has a stream open, as long as they may.

        Raises:
            Unauthorized: the token or the browser has ended.
        """
        if token := _token(request):
            return self._of_program(token)
        return self._services.browsers.authenticate(self.secret(request), _key(request))

    def _of_program(self, token: str) -> Caller:
        return self._services.sessions.authenticate(token)

    async def _of_browser(self, request: Request, secret: str) -> Caller:
        _require_own_page(request)
        browsers = self._services.browsers
        caller = browsers.authenticate(secret, _key(request))
        await self.stay(request)
        return caller

    async def stay(self, request: Request) -> None:
        """Let a browser that was heard of stay in for longer."""
        secret = self.secret(request)
        if secret and self._services.browsers.is_due(secret):
            await run_in_threadpool(self._services.browsers.stay, secret)


def is_of_browser(request: Request) -> bool:
    """Tell whether the request speaks for a browser and not with a token."""
    return not _token(request)


def closed(
    sentence: str, status: int = HTTPStatus.UNAUTHORIZED, *, is_followed: bool = False
) -> Response:
    """Return the one page that anybody may see.

    With a link of another page that is followed no cookie of ours goes along, so that nothing is
    known of the browser; with one of this page it does.
    """
    again = _AGAIN if is_followed else ""
    return HTMLResponse(_CLOSED.format(again=again, sentence=html.escape(sentence)), status)


def is_followed(request: Request) -> bool:
    """Tell whether the request came of a link of another page."""
    return request.headers.get("sec-fetch-site") in ("cross-site", "same-site")


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _key(request: Request) -> str:
    if request.method == "GET":
        return request.query_params.get(KEY_PARAMETER, "")
    return request.headers.get(KEY_HEADER, "")


def _require_own_page(request: Request) -> None:
    """Refuse what another page had the browser send; the gate has seen to Sec-Fetch-Site.

    Raises:
        NotAllowed: it is not from this origin, or is not what the page sends.
    """
    own = f"http://{request.headers.get('host', '')}".lower()
    origin = request.headers.get("origin")
    is_foreign = origin is not None and origin.lower() != own
    if request.method != "GET":
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        # A browser names the origin of every POST; who does not is none.
        is_foreign = is_foreign or origin is None or kind != "application/json"
    if is_foreign:
        raise NotAllowed(
            "Only this server's own page may ask with a browser's cookie.",
            remedy="Programs send a token: sf token.",
        )
