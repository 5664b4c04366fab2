"""The API: every operation by name, and the launcher's long poll."""

import functools
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError, validate_call
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sf_mcp.core.encoding import to_json
from sf_mcp.core.errors import (
    InvalidInput,
    NotAllowed,
    NotFound,
    StoneforgeError,
    Unauthorized,
)
from sf_mcp.core.identity import LAUNCHER, Caller
from sf_mcp.core.models import Role
from sf_mcp.service import Services, operations
from sf_mcp.service.fencing import require_not_given_up
from sf_mcp.web.entry import Entry, is_of_browser
from sf_mcp.web.stream import Streams

logger = logging.getLogger(__name__)

MOST_WAIT_SECONDS = 30.0
NOTHING: dict[str, Any] = {"order": None, "stop": [], "hand_over": []}
"""The answer to a poll when there is nothing to do."""


class Poll(BaseModel):
    """What the launcher says when it asks for something to do."""

    model_config = ConfigDict(extra="forbid")

    running: list[str] = Field(default_factory=list)
    """The sessions whose processes it runs."""
    seconds: float = Field(default=MOST_WAIT_SECONDS, ge=0, allow_inf_nan=False)
    may_start: bool = True
    handing_over: dict[str, str] = Field(default_factory=dict)
    """What it was told of sessions that a person waits for."""
    account: str = Field(default="", pattern="^[0-9a-f]{0,64}$")
    """What tells the account of its sessions from others; empty when it does not say."""


class ServerFailed(StoneforgeError):
    """The server failed at a request, which is a mistake of its own."""

    code = "internal"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"The server failed at {path}; its log says how.",
            remedy="Look at the present state (`sf status`) before you try again.",
        )


STATUS = {
    Unauthorized: 401,
    NotAllowed: 403,
    NotFound: 404,
    InvalidInput: 422,
    ServerFailed: 500,
}
"""Everything else that is refused is a 409: the request was right, the state is not."""


Handler = Callable[[Caller, dict[str, Any], Request], Awaitable[Any]]


class Api:
    """Routes below `/api`."""

    def __init__(self, services: Services, entry: Entry, streams: Streams) -> None:
        """Serve these services to whom `entry` knows."""
        self._services = services
        self._entry = entry
        self._streams = streams
        self._threads = anyio.CapacityLimiter(8)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/api/poll", self._guarded(self._poll), methods=["POST"]),
            Route("/api/events", self._guarded(self._events), methods=["GET"]),
            Route("/api/{name}", self._guarded(self._operation), methods=["POST"]),
            Route("/hooks", self._guarded(self._hook), methods=["POST"]),
        ]

    def _guarded(self, handle: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Wrap a handler: authenticate, read the body, translate refusals."""

        async def endpoint(request: Request) -> Response:
            try:
                caller = await self._entry.caller(request)
                body = await request.body()
                result = await handle(caller, _arguments(body), request)
                if isinstance(result, Response):
                    return result
                answer = JSONResponse(to_json(result))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                return _refusal(
                    InvalidInput(
                        f"{where}: {first['msg']}.", remedy="Correct it and send the request again."
                    )
                )
            except StoneforgeError as error:
                return _refusal(error)
            except Exception:  # a request's root: the caller is told, the server goes on
                logger.exception("%s failed", request.url.path)
                return _refusal(ServerFailed(request.url.path))
            return answer

        return endpoint

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._threads)

    async def _operation(self, caller: Caller, arguments: dict[str, Any], request: Request) -> Any:
        name = request.path_params["name"]
        operations.require(caller, name)
        if is_of_browser(request):
            operations.require_for_page(name)
        require_not_given_up(self._services.workspace, caller)
        caller = operations.acting(caller, name)
        function = _validated(operations.method(self._services, name))
        return await self._in_thread(functools.partial(function, caller, **arguments))

    async def _poll(self, caller: Caller, arguments: dict[str, Any], request: Request) -> Any:
        """Wait for something that the launcher has to do: start a session, or stop one."""
        _require_token(request)
        caller.require(Role.PERSON, to="run the fleet")
        caller = LAUNCHER
        poll = Poll.model_validate(arguments)
        is_gone = False

        async def watch_caller() -> None:
            nonlocal is_gone
            while (await request.receive())["type"] != "http.disconnect":
                pass
            is_gone = True
            self._services.notices.wake()

        async def look() -> Any | None:
            # An order that nobody is there to take would hold its task until the lease expires.
            if is_gone:
                return NOTHING
            seen = await self._in_thread(
                self._services.launcher.directives,
                caller,
                poll.running,
                poll.may_start,
                poll.handing_over,
            )
            return seen if seen.has_news else None

        if poll.account:
            await self._in_thread(self._services.workspace.use_account, caller, poll.account)

        async def due() -> float | None:
            return await self._in_thread(self._services.dispatch.seconds_until_retry)

        seconds = min(poll.seconds, MOST_WAIT_SECONDS)
        found: Any = None
        refusal: StoneforgeError | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(watch_caller)
            try:
                found = await self._services.notices.wait_for(look, seconds=seconds, due=due)
            except StoneforgeError as error:  # out of the group as it is, not in an ExceptionGroup
                refusal = error
            group.cancel_scope.cancel()
        if refusal is not None:
            raise refusal
        return found or NOTHING

    async def _events(self, caller: Caller, _: dict[str, Any], request: Request) -> Response:
        """Open a stream of the overview and the events."""

        async def may_still() -> None:
            self._require_looking(self._entry.still(request))
            await self._entry.stay(request)

        self._require_looking(caller)
        return self._streams.answer(request, may_still)

    def _require_looking(self, caller: Caller) -> None:
        """Refuse who may not ask for what the stream brings."""
        for name in ("fleet_status", "read_log"):
            operations.require(caller, name)
        require_not_given_up(self._services.workspace, caller)

    async def _hook(self, caller: Caller, arguments: dict[str, Any], request: Request) -> Any:
        """Answer a hook of Claude Code for the session that the token names."""
        _require_token(request)
        return await self._in_thread(self._services.hooks.answer, caller, arguments)


def _require_token(request: Request) -> None:
    """Refuse a browser: this is for programs.

    Raises:
        NotAllowed: it is one.
    """
    if is_of_browser(request):
        raise NotAllowed(
            f"A page may not use {request.url.path}.", remedy="Programs send a token: sf token."
        )


def _arguments(body: bytes) -> dict[str, Any]:
    try:
        arguments: Any = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"The body is not JSON: {error}.", remedy="Send a JSON object, as UTF-8."
        ) from error
    if not isinstance(arguments, dict):
        raise InvalidInput(
            "The body must be a JSON object.", remedy="Send the operation's arguments by name."
        )
    return cast(dict[str, Any], arguments)


@functools.cache
def _adapter(function: Callable[..., Any]) -> Callable[..., Any]:
    return validate_call(config={"arbitrary_types_allowed": True})(function)


def _validated(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return the bound method with its arguments checked against its annotations."""
    owner: Any = getattr(method, "__self__", None)
    function: Any = getattr(method, "__func__", method)
    return functools.partial(_adapter(function), owner)


def _refusal(error: StoneforgeError) -> JSONResponse:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 409)
    words = {"code": error.code, "message": error.message, "remedy": error.remedy}
    # What was sent is quoted in it, and need not be valid Unicode.
    printable = {name: text.encode("utf-8", "replace").decode() for name, text in words.items()}
    return JSONResponse(printable, status_code=status)
