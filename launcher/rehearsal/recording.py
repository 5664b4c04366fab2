"""What was asked of the scripted API and how it was answered, in bounded memory."""

import json
import threading
from collections import Counter, deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import IO

from launcher.rehearsal.messages import ModelRequest, RequestKind
from launcher.rehearsal.script import Turn
from sf_mcp.core.models import Role

KEPT_REQUESTS = 20_000
KEPT_BODIES = 500
KEPT_CHARACTERS = 2_000
"""Of a text; enough for a person to see what a step was answering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """What one request was and how it was answered."""

    number: int
    seconds: float
    """Since the API was started."""
    kind: RequestKind
    session: str
    role: Role | None
    model: str
    tools: tuple[str, ...]
    estimated_tokens: int
    newest: str
    script: str = ""
    attempt: int = 0
    step: int = 0
    answered: str = ""
    """The text and the tools of the answer, or what was done instead."""
    misses: tuple[str, ...] = ()
    """What the script had expected otherwise."""
    body: bytes | None = None


class Recorder:
    """The records of one scripted API; `changed` guards them and is notified of each."""

    def __init__(
        self, changed: threading.Condition, *, log: Path | None, keep_bodies: bool
    ) -> None:
        """Write every record to `log` as a JSON line, if there is one."""
        self._changed = changed
        self._log: IO[str] | None = log.open("a", encoding="utf-8") if log is not None else None
        self._keep_bodies = keep_bodies
        self._started = monotonic()
        self._records: deque[RequestRecord] = deque(maxlen=KEPT_REQUESTS)
        self._counts: Counter[RequestKind] = Counter()
        self._in_flight: dict[Role | None, Counter[str]] = {}
        self._most_in_flight: Counter[Role | None] = Counter()

    def close(self) -> None:
        """Close the log; records are still kept in memory."""
        with self._changed:
            if self._log is not None:
                self._log.close()
                self._log = None

    @property
    def records(self) -> tuple[RequestRecord, ...]:
        """The newest requests, oldest first."""
        with self._changed:
            return tuple(self._records)

    def count(self, kind: RequestKind) -> int:
        """Return how many requests of `kind` there were."""
        with self._changed:
            return self._counts[kind]

    def max_concurrent(self, role: Role | None) -> int:
        """Return how many sessions of `role` were waiting for an answer at one moment, at most."""
        with self._changed:
            return self._most_in_flight[role]

    @contextmanager
    def in_flight(self, request: ModelRequest) -> Generator[None]:
        """Count the session of `request` as waiting for an answer."""
        with self._changed:
            sessions = self._in_flight.setdefault(request.role, Counter())
            sessions[request.session] += 1
            most = max(self._most_in_flight[request.role], len(sessions))
            self._most_in_flight[request.role] = most
        try:
            yield
        finally:
            with self._changed:
                sessions[request.session] -= 1
                if sessions[request.session] == 0:
                    del sessions[request.session]

    def add(
        self,
        request: ModelRequest,
        body: bytes,
        *,
        answered: str,
        turn: Turn | None = None,
        misses: Sequence[str] = (),
    ) -> None:
        """Keep what was asked and how it is answered."""
        with self._changed:
            self._counts[request.kind] += 1
            record = RequestRecord(
                number=self._counts.total(),
                seconds=round(monotonic() - self._started, 3),
                kind=request.kind,
                session=request.session,
                role=request.role,
                model=request.model,
                tools=request.tools,
                estimated_tokens=request.estimated_tokens,
                newest=_shortened(request.newest),
                answered=_shortened(answered),
                misses=tuple(misses),
                script=turn.script if turn is not None else "",
                attempt=turn.attempt if turn is not None else 0,
                step=turn.number if turn is not None else 0,
                body=body if self._keep_bodies else None,
            )
            self._records.append(record)
            if self._keep_bodies and len(self._records) > KEPT_BODIES:
                oldest = -KEPT_BODIES - 1
                self._records[oldest] = replace(self._records[oldest], body=None)
            if self._log is not None:
                fields = {name: value for name, value in asdict(record).items() if name != "body"}
                self._log.write(json.dumps(fields, ensure_ascii=False) + "\n")
                self._log.flush()
            self._changed.notify_all()


def _shortened(text: str) -> str:
    if len(text) <= KEPT_CHARACTERS:
        return text
    half = KEPT_CHARACTERS // 2
    return f"{text[:half]} … {text[-half:]}"
