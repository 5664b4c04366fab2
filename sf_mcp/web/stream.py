"""Server-Sent Events: the overview and the events, to whoever keeps a page or a terminal open.

Rule 1: what is sent is computed once per change, in a thread, for all who listen; with nobody there
nothing is computed.
Rule 2: there is no queue per listener. Who is slow is sent the newest state when it has taken the
last; who takes nothing for `SEND_SECONDS` is cut off.
Rule 3: events come in order, each once, from the one after Last-Event-ID on; overviews may be
skipped.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sf_mcp.core.encoding import to_json
from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import Event
from sf_mcp.core.overview import Overview
from sf_mcp.service import Services
from sf_mcp.store import events
from sf_mcp.web.connections import bound_unread, cut_off

logger = logging.getLogger(__name__)

LEAST_SECONDS = 0.25
"""Between two overviews."""
ALIVE_SECONDS = 15.0
"""At least so often something is sent; so often, too, what only the clock changes is looked at."""
CHECK_SECONDS = 5.0
"""After which it is looked at again whether the listener may listen still."""
SEND_SECONDS = 20.0
"""For a listener to take what it was sent."""
END_SECONDS = 0.5
"""For the last words of a stream."""
RETRY_MILLISECONDS = 1000
"""After which a browser connects again."""
MOST_UNREAD_BYTES = 128 * 1024
"""That the system keeps for a listener; the server itself keeps the one message it is sending."""
MOST_LISTENERS = 256
PAGE = 200
"""Events in one message at most."""
KEPT = 1000
"""Newest events in memory; who has missed more reads them from the database."""
LONGEST_ID = 18
"""Digits of a number that SQLite can hold."""


Check = Callable[[], Awaitable[None]]
"""Raises a refusal once the listener may not listen any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    overview: Overview
    message: bytes
    """Empty when nothing has changed but the time."""
    newest: int
    is_anew: bool
    """What was kept before does not count."""
    lines: list[tuple[int, str]]
    """The events since then, each with its number."""


class Feed:
    """What listeners are sent, as bytes, computed while there are any."""

    def __init__(self, services: Services) -> None:
        """Tell of this project."""
        self._services = services
        self._overview: Overview | None = None
        self._kept: deque[tuple[int, str]] = deque(maxlen=KEPT)
        self._floor = 0
        """Of the events after this number all are kept."""
        self._pages: dict[int, tuple[int, bytes]] = {}
        self.version = 0
        """Of the overview; 0 until there is one."""
        self.overview = b""
        self.newest = 0
        """Number of the newest event."""
        self.changed = anyio.Event()
        """Set at the next change."""
        self.listeners = 0
        self._present = anyio.Event()

    def join(self) -> None:
        """Count one listener more."""
        self.listeners += 1
        self._present.set()

    def leave(self) -> None:
        """Count one listener less."""
        self.listeners -= 1

    async def run(self) -> None:
        """Look at each commit, no more often than is sent, while somebody listens."""
        while True:
            await self._present.wait()
            while self.listeners:
                upcoming = self._services.notices.upcoming
                try:
                    self._publish(await anyio.to_thread.run_sync(self._look))
                except StoneforgeError as error:
                    logger.warning("no overview for who listens: %s", error)
                except Exception:  # a loop's root: the next change may be seen again
                    logger.exception("no overview for who listens")
                await anyio.sleep(LEAST_SECONDS)
                with anyio.move_on_after(ALIVE_SECONDS):
                    await upcoming.wait()
            self._present = anyio.Event()
            # Who comes next must not be shown what holds no more.
            self._overview, self.version, self.overview = None, 0, b""

    def _look(self) -> "_Seen":
        """Read the present state, in one transaction."""
        with self._services.workspace.read() as tx:
            overview = self._services.fleet.fleet_status(PERSON)
            newest = overview.newest_event
            # The second: another database was put in the place of the one that was told of.
            is_anew = self._overview is None or newest < self.newest
            if is_anew:
                found = []
            elif newest - self.newest <= KEPT:
                found = events.after(tx.db, self.newest, limit=KEPT)
            else:
                found = events.latest(tx.db, limit=KEPT)
        before = self._overview
        is_changed = before is None or replace(overview, at=before.at) != before
        return _Seen(
            overview=overview,
            message=_message("overview", _plain(to_json(overview))) if is_changed else b"",
            newest=newest,
            is_anew=is_anew,
            lines=[_line(event) for event in found],
        )

    def _publish(self, seen: "_Seen") -> None:
        if seen.is_anew:
            self._kept.clear()
            self._floor = seen.newest
        self._kept.extend(seen.lines)
        if len(self._kept) == KEPT:
            self._floor = self._kept[0][0] - 1
        self.newest = seen.newest
        self._pages.clear()
        if seen.message:
            self._overview, self.overview = seen.overview, seen.message
            self.version += 1
        changed, self.changed = self.changed, anyio.Event()
        changed.set()

    async def events_after(self, number: int) -> tuple[int, bytes]:
        """Return the message with the events after a number, and the number of its last."""
        if number < self._floor:
            return await anyio.to_thread.run_sync(self._read_after, number, self.newest)
        if (page := self._pages.get(number)) is None:
            kept = list(self._kept)
            start = bisect_right(kept, number, key=lambda line: line[0])
            page = _page(kept[start : start + PAGE], self.newest)
            self._pages[number] = page
        return page

    def _read_after(self, number: int, last: int) -> tuple[int, bytes]:
        found = self._services.fleet.read_log(PERSON, after=number, limit=PAGE)
        # What has come since is told with the overview that has seen it too.
        return _page([_line(event) for event in found if event.number <= last], last)


class Streams:
    """The route of the stream, and everybody who is listening."""

    def __init__(self, services: Services) -> None:
        """Tell of this project."""
        self.feed = Feed(services)
        self._is_over = False
        self._scopes: set[anyio.CancelScope] = set()

    def end(self) -> None:
        """End every stream, since the server stops."""
        self._is_over = True
        for scope in tuple(self._scopes):
            scope.cancel()

    def answer(self, request: Request, may_still: Check) -> Response:
        """Return the stream as an answer; `may_still` raises once the caller may not listen.

        Raises:
            StoneforgeError: the server stops, or too many listen already.
        """
        if self._is_over:
            raise StoneforgeError("The server is stopping.", remedy="Connect again in a moment.")
        if self.feed.listeners >= MOST_LISTENERS:
            raise StoneforgeError(
                f"{MOST_LISTENERS} programs and pages listen already.", remedy="Close some."
            )
        return _Stream(self, _last_number(request), may_still)

    async def send(self, send: Send, last: int | None, may_still: Check) -> bool:
        """Send to one listener for as long as it may listen; return whether it took it all."""
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            self.feed.join()
            try:
                await self._send_all(send, last, may_still)
            except TimeoutError:
                return False
            except StoneforgeError as refusal:
                logger.info("a stream was ended: %s", refusal)
            finally:
                self.feed.leave()
                self._scopes.discard(scope)
        with anyio.move_on_after(END_SECONDS, shield=True) as ending:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        return not ending.cancelled_caught

    async def _send_all(self, send: Send, last: int | None, may_still: Check) -> None:
        feed = self.feed
        await _send(send, b"retry: %d\n\n" % RETRY_MILLISECONDS)
        said = checked = anyio.current_time()
        version, number = 0, last
        while True:
            changed = feed.changed
            now = anyio.current_time()
            if now - checked >= CHECK_SECONDS:
                await may_still()
                checked = now
            parts: list[bytes] = []
            if feed.version:
                if number is None or number > feed.newest:
                    number = feed.newest
                if version != feed.version:
                    version = feed.version
                    parts += [b"id: %d\n" % number, feed.overview]
                if number < feed.newest:
                    number, message = await feed.events_after(number)
                    parts += [b"id: %d\n" % number, message] if message else []
            if not parts and now - said >= ALIVE_SECONDS:
                # The event is for pages, which are not told of comments.
                parts = [b": alive\n", _message("alive", "{}")]
            if parts:
                await _send(send, b"".join(parts))
                said = anyio.current_time()
            if number is None or number >= feed.newest:
                with anyio.move_on_after(CHECK_SECONDS):
                    await changed.wait()


class _Stream(Response):
    media_type = "text/event-stream"

    def __init__(self, streams: Streams, last: int | None, may_still: Check) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._streams = streams
        self._last = last
        self._may_still = may_still

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer until either side has had enough."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        bound_unread(scope, MOST_UNREAD_BYTES)
        has_gone = anyio.Event()

        async def until_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            has_gone.set()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(until_gone)
            if not await self._streams.send(send, self._last, self._may_still):
                cut_off(scope)
                with anyio.move_on_after(END_SECONDS):
                    await has_gone.wait()
            group.cancel_scope.cancel()


async def _send(send: Send, body: bytes) -> None:
    with anyio.fail_after(SEND_SECONDS):
        await send({"type": "http.response.body", "body": body, "more_body": True})


def _last_number(request: Request) -> int | None:
    """Return the number of the last event that the listener has; None when it says none."""
    given = request.headers.get("last-event-id") or request.query_params.get("after", "")
    is_number = given.isascii() and given.isdigit() and len(given) <= LONGEST_ID
    return int(given) if is_number else None


def _line(event: Event) -> tuple[int, str]:
    return event.number, _plain(to_json(event))


def _plain(value: object) -> str:
    # ASCII alone, on one line: a message ends at an empty one.
    return json.dumps(value, separators=(",", ":"))


def _message(kind: str, data: str) -> bytes:
    return f"event: {kind}\ndata: {data}\n\n".encode()


def _page(lines: list[tuple[int, str]], newest: int) -> tuple[int, bytes]:
    if not lines:
        return newest, b""
    return lines[-1][0], _message("events", f"[{','.join(text for _, text in lines)}]")
