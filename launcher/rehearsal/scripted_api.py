"""A Messages API on loopback that answers from scripts, for real Claude Code processes.

It sees nothing but requests and touches nothing but its sockets: it calls no tool and no service.
Every wait in it ends when the client goes away, when its own bound is over, or when it is closed.
"""

import itertools
import json
import logging
import re
import select
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from launcher.rehearsal.barriers import LOOK_AROUND_SECONDS, Barriers
from launcher.rehearsal.messages import (
    CHARACTERS_PER_TOKEN,
    Answer,
    Json,
    ModelRequest,
    RequestKind,
    error_body,
    read_request,
    stream_events,
    token_usage,
    whole_message,
)
from launcher.rehearsal.recording import Recorder, RequestRecord
from launcher.rehearsal.script import (
    END_OF_SCRIPT,
    NO_SCRIPT,
    Prompter,
    Script,
    Step,
    answer_blocks,
)
from sf_mcp.core.models import Role

logger = logging.getLogger(__name__)

SUMMARY = "<analysis>Done.</analysis>\n<summary>The work so far went as the script says.</summary>"


class _ClientGone(Exception):
    """Nobody is there to be answered."""


class ScriptedApi:
    """The API as a context manager: `with ScriptedApi(scripts) as api: … api.url …`."""

    def __init__(
        self,
        scripts: Sequence[Script],
        *,
        log: Path | None = None,
        keep_bodies: bool = False,
        on_request: Callable[[ModelRequest], None] | None = None,
        disturb: Callable[[ModelRequest], Step | None] | None = None,
    ) -> None:
        """Answer from `scripts`, the first that fits a session; write each record to `log`.

        `on_request` sees each step of a session before it is answered. `disturb` may name a step
        whose fault happens first (the client then tries again), or whose `fill` the answer has.
        """
        self._on_request = on_request
        self._disturb = disturb
        self._prompter = Prompter(scripts)
        self._changed = threading.Condition()
        self._recorder = Recorder(self._changed, log=log, keep_bodies=keep_bodies)
        self._barriers = Barriers(self._changed)
        self._remembered: dict[str, int] = {}
        self._ids = itertools.count(1)
        self._is_closing = False
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self._server = _Server(self)
        threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="scripted-api", daemon=True
        ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._recorder.close()

    @property
    def url(self) -> str:
        """The value for `ANTHROPIC_BASE_URL`."""
        if self._server is None:
            raise RuntimeError("the scripted API is not started")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """The newest requests, oldest first."""
        return self._recorder.records

    @property
    def misses(self) -> tuple[str, ...]:
        """Whatever a script had expected otherwise, with the place in the script."""
        return tuple(
            f"{record.script or 'no script'}, attempt {record.attempt}, step {record.step}: {miss}"
            for record in self.requests
            for miss in record.misses
        )

    def count(self, kind: RequestKind = RequestKind.MAIN) -> int:
        """Return how many requests of `kind` there were since the start."""
        return self._recorder.count(kind)

    def max_concurrent(self, role: Role | None) -> int:
        """Return how many sessions of `role` were waiting for an answer at one moment, at most."""
        return self._recorder.max_concurrent(role)

    def open_barrier(self, name: str) -> None:
        """Let the steps that wait for `name` go on, and all later ones too."""
        self._barriers.open(name)

    def waiting_at(self, name: str) -> frozenset[str]:
        """Return the sessions that wait for the barrier `name` now."""
        return self._barriers.waiting_at(name)

    def wait_until(self, is_so: Callable[[Self], bool], timeout_seconds: float) -> bool:
        """Wait until `is_so(api)` holds; False when it did not within the time."""
        ends = monotonic() + timeout_seconds
        with self._changed:
            while not is_so(self):
                left = ends - monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, 1.0))
            return True

    # What follows is called by the handler threads.

    def answer(self, connection: "_Handler", body: bytes) -> None:
        """Answer one request on `connection` as its script says."""
        request = read_request(connection.path, connection.sent_headers(), body)
        if request.kind is not RequestKind.MAIN:
            self._answer_by_rule(connection, request, body)
            return
        with self._recorder.in_flight(request):
            self._answer_main(connection, request, body)

    def _answer_by_rule(self, connection: "_Handler", request: ModelRequest, body: bytes) -> None:
        if request.kind is RequestKind.COUNT_TOKENS:
            self._recorder.add(request, body, answered="a count")
            connection.send_json(200, {"input_tokens": request.estimated_tokens})
            return
        if request.kind is RequestKind.COMPACTION:
            with self._changed:
                self._prompter.compacted(request.session)
        text = SUMMARY if request.kind is RequestKind.COMPACTION else "ok"
        self._recorder.add(request, body, answered=text)
        connection.send_answer(request, self._message(request, ({"type": "text", "text": text},)))

    def _answer_main(self, connection: "_Handler", request: ModelRequest, body: bytes) -> None:
        if self._on_request is not None:
            self._on_request(request)
        disturbance = self._disturb(request) if self._disturb is not None else None
        if disturbance is not None and disturbance.has_fault:
            self._recorder.add(request, body, answered=f"disturbed: {_fault_name(disturbance)}")
            answer = self._message(request, ({"type": "text", "text": END_OF_SCRIPT},))
            self._do_fault(connection, request, disturbance, answer)
            return
        with self._changed:
            turn = self._prompter.next(request)
        misses: list[str] = [turn.given_up] if turn is not None and turn.given_up else []
        if turn is None or turn.step is None:
            if turn is None:
                misses.append(f"no script for a session that was told: {request.opening[:200]!r}")
            text = NO_SCRIPT if turn is None else END_OF_SCRIPT
            self._recorder.add(request, body, turn=turn, misses=misses, answered=text)
            blocks: tuple[Json, ...] = ({"type": "text", "text": text},)
            connection.send_answer(request, self._message(request, blocks))
            return
        step = turn.step
        _expect(step, request, misses)
        self._wait_for_others(connection, request, step, misses)
        self.pause(connection, step.delay + turn.pause)
        if turn.is_fault:
            fault = _fault_name(step)
            # The whole answer is built even when it is cut, so that its templates are checked.
            answer = self._scripted_answer(request, step, misses) if step.cut else None
            self._recorder.add(request, body, turn=turn, misses=misses, answered=fault)
            connection.check_client()
            with self._changed:
                self._prompter.faulted(request.session)
            self._do_fault(connection, request, step, answer)
            return
        if disturbance is not None and step.fill is None:
            step = step.model_copy(update={"fill": disturbance.fill})
        answer = self._scripted_answer(request, step, misses)
        connection.check_client()
        with self._changed:
            calls = [str(block["id"]) for block in answer.blocks if block["type"] == "tool_use"]
            self._prompter.said(request.session, frozenset(calls))
        self._recorder.add(request, body, turn=turn, misses=misses, answered=_shown(answer.blocks))
        try:
            connection.send_answer(request, answer)
        except OSError:
            with self._changed:
                self._prompter.unsaid(request.session)
            raise

    def _scripted_answer(self, request: ModelRequest, step: Step, misses: list[str]) -> Answer:
        blocks = answer_blocks(
            step,
            request,
            new_id=lambda: f"toolu_{next(self._ids):08d}{request.session[:8]}",
            on_miss=misses.append,
        )
        return self._message(request, blocks, step)

    def _message(
        self, request: ModelRequest, blocks: tuple[Json, ...], step: Step | None = None
    ) -> Answer:
        total = request.estimated_tokens
        if step is not None and step.fill is not None:
            total = step.fill
        with self._changed:
            remembered = self._remembered.get(request.session, 0)
            if request.kind is RequestKind.MAIN:
                self._remembered[request.session] = total
        output = max(1, len(json.dumps(blocks)) // CHARACTERS_PER_TOKEN)
        has_calls = any(block["type"] == "tool_use" for block in blocks)
        scripted_reason = step.stop_reason if step is not None else None
        return Answer(
            message_id=f"msg_{next(self._ids):08d}",
            model=request.model,
            blocks=blocks,
            stop_reason=scripted_reason or ("tool_use" if has_calls else "end_turn"),
            usage={
                **token_usage(total, remembered, output),
                **(step.usage if step is not None else {}),
            },
        )

    def _do_fault(
        self, connection: "_Handler", request: ModelRequest, step: Step, answer: Answer | None
    ) -> None:
        if step.error is not None:
            message = step.message or f"scripted error {step.error}"
            connection.send_json(step.error, error_body(step.error, message), step.headers)
        elif step.hang is not None:
            self.pause(connection, step.hang)
            connection.drop()
        elif answer is None or step.cut == "headers" or not request.is_streamed:
            connection.drop()
        else:
            connection.send_cut(answer, step.cut or "start")

    def _wait_for_others(
        self, connection: "_Handler", request: ModelRequest, step: Step, misses: list[str]
    ) -> None:
        if step.wait_for is None and step.together is None:
            return
        name = step.wait_for or f"{step.together} of role {request.role or 'none'}"
        if not self._barriers.wait(
            name,
            request.session,
            opens_at=step.together,
            seconds=step.wait_seconds,
            look_around=connection.check_client,
        ):
            misses.append(f"the barrier '{name}' stayed shut for {step.wait_seconds:g} s")

    def pause(self, connection: "_Handler", seconds: float) -> None:
        """Wait `seconds`, unless the client goes away or the API is closed before."""
        ends = monotonic() + seconds
        with self._changed:
            while (left := ends - monotonic()) > 0:
                connection.check_client()
                self._changed.wait(min(left, LOOK_AROUND_SECONDS))

    @property
    def is_closing(self) -> bool:
        return self._is_closing


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, api: ScriptedApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _api(self) -> ScriptedApi:
        assert isinstance(self.server, _Server)
        return self.server.api

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.split("?")[0]
        try:
            if path.endswith(("/v1/messages", "/v1/messages/count_tokens")):
                self._api.answer(self, body)
            else:
                self.send_json(404, error_body(404, f"there is no {path} here"))
        except ValueError:
            self.send_json(400, error_body(400, "the body is not JSON"))
        except (_ClientGone, OSError):
            self.drop()

    def do_GET(self) -> None:
        self.send_json(404, error_body(404, f"there is no {self.path} here"))

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self._end_headers()

    def log_message(self, format: str, *args: object) -> None:
        logger.debug(format, *args)

    def sent_headers(self) -> Mapping[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def check_client(self) -> None:
        """Raise when nobody waits for the answer any more."""
        if self._api.is_closing:
            raise _ClientGone
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        readable = poll.poll(0)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise _ClientGone

    def send_json(self, status: int, value: Json, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("content-length", str(len(data)))
        self._end_headers()
        self.wfile.write(data)

    def send_answer(self, request: ModelRequest, answer: Answer) -> None:
        if request.is_streamed:
            self._start_stream()
            self.wfile.write(b"".join(stream_events(answer)))
        else:
            self.send_json(200, whole_message(answer))

    def send_cut(self, answer: Answer, where: str) -> None:
        events = list(stream_events(answer))
        kept = {"start": 1, "mid": max(2, len(events) // 2), "before_stop": len(events) - 2}
        self._start_stream()
        self.wfile.write(b"".join(events[: kept[where]]))
        self.drop()

    def drop(self) -> None:
        self.close_connection = True
        # The client may be gone already; then there is nothing to shut down.
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            logger.debug("the client had closed the connection")

    def _start_stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self._end_headers()

    def _end_headers(self) -> None:
        # One request a connection: no thread is left behind that waits for a next one.
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True


def _expect(step: Step, request: ModelRequest, misses: list[str]) -> None:
    if step.expect and not re.search(step.expect, request.newest, re.DOTALL):
        misses.append(f"expected {step.expect!r} in {request.newest[-300:]!r}")


def _fault_name(step: Step) -> str:
    if step.error is not None:
        return f"error {step.error}"
    return f"hang {step.hang:g} s" if step.hang is not None else f"cut {step.cut}"


def _shown(blocks: Sequence[Json]) -> str:
    return " · ".join(
        str(block["text"]) if block["type"] == "text" else f"{block['name']} {block['input']}"
        for block in blocks
        if block["type"] != "thinking"
    )
