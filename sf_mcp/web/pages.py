"""The page: its shell, and the files below `static`, as they lie there."""

from http import HTTPStatus
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from sf_mcp.web.entry import Entry, closed, is_followed

FOLDER = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
"""What is served at all, and as what: the machine's own table of types may say anything."""
NOT_LET_IN = "You are not signed in here."
REVALIDATED = {"Cache-Control": "no-cache"}
"""Kept, but asked about each time: the files are those of the release that answers."""


class Pages:
    """Routes of the page, for browsers that are let in."""

    def __init__(self, entry: Entry) -> None:
        """Serve those whom `entry` lets in."""
        self._entry = entry
        self._files = StaticFiles(directory=FOLDER)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self._shell),
            Route("/open", self._entry.open),
            Route("/static/{path:path}", self._static),
        ]

    async def _shell(self, request: Request) -> Response:
        if not self._entry.is_let_in(request):
            return closed(NOT_LET_IN, is_followed=is_followed(request))
        return await self._file("index.html", request)

    async def _static(self, request: Request) -> Response:
        if not self._entry.is_let_in(request):
            return closed(NOT_LET_IN)
        return await self._file(request.path_params["path"], request)

    async def _file(self, path: str, request: Request) -> Response:
        if (kind := TYPES.get(Path(path).suffix)) is None:
            return _missing()
        try:
            answer = await self._files.get_response(path, request.scope)
        except HTTPException as error:
            return _missing(error.status_code)
        answer.headers.update(REVALIDATED)
        if isinstance(answer, FileResponse):
            answer.headers["content-type"] = kind
        return answer


def _missing(status: int = HTTPStatus.NOT_FOUND) -> Response:
    return PlainTextResponse("There is no such file.", status)
