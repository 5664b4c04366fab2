"""50 pages that listen while 1,000 reports of sessions come in: the delay, and what it costs.

The installed `sf serve` without a launcher; in its place stands this program, which starts 10
sessions and reports for them as fast as it is answered. A page is told of a report by an overview
that shows it or a later one of the session: overviews in between are skipped. The delay is from the
answer to the report to the arrival of that overview. The same reports without a page are the
yardstick of the processor time.
"""

import re
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sf_mcp.client import Client, address_of, person_token
from tests.benchmarks.figures import Figure, report
from tests.benchmarks.project import Project
from tests.benchmarks.rest import cpu_seconds

PAGES, SESSIONS, REPORTS = 50, 10, 1_000
MOST_P95_MS = 600.0
"""Twice the time between two overviews, and room for one to be worked out and sent."""
MOST_CPU_SECONDS = 2.0
"""Less than the reports themselves take."""
LAST_SECONDS = 10.0

CONFIG = f"""\
orchestrator: {{maxConcurrent: {SESSIONS}}}
agents:
  steward: {{review: false}}
checks: []
"""
SHOWN = re.compile(rb'"last_line":"report (\d+) of (\d+)"')


@dataclass
class Page:
    """One open stream: when it was told of which report of which session."""

    connection: socket.socket
    rest: bytes = b""
    overviews: int = 0
    shown: list[tuple[float, dict[int, int]]] = field(
        default_factory=list[tuple[float, dict[int, int]]]
    )

    def read(self) -> None:
        """Take what has come, as far as whole messages go."""
        self.rest += self.connection.recv(1 << 20)
        *messages, self.rest = self.rest.split(b"\n\n")
        now = time.perf_counter()
        for message in messages:
            if found := SHOWN.findall(message):
                self.overviews += 1
                self.shown.append((now, {int(one): int(number) for number, one in found}))

    def delay(self, session: int, number: int, told: float) -> float:
        """Return the seconds until a page showed this report of the session or a later one."""
        return next(at - told for at, seen in self.shown if seen.get(session, -1) >= number)


def started_sessions(client: Client) -> list[str]:
    """Have as many sessions as there may be started, as the launcher does."""
    tasks = [{"title": f"Task {number}"} for number in range(SESSIONS)]
    client.call("create_plan", title="Busy", tasks=tasks)
    ids: list[str] = []
    while len(ids) < SESSIONS:
        order = client.call("poll", running=ids, seconds=5)["order"]
        ids.append(order["session"]["id"])
        client.call("session_connected", session_id=ids[-1], model="sonnet")
    return ids


@contextmanager
def open_pages(port: int, token: str, number: int) -> Generator[list[Page]]:
    """Have so many streams read by a thread."""
    pages: list[Page] = []
    with selectors.DefaultSelector() as selector:
        for _ in range(number):
            connection = socket.create_connection(("127.0.0.1", port))
            head = f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            connection.sendall(f"{head}Authorization: Bearer {token}\r\n\r\n".encode())
            pages.append(Page(connection))
            selector.register(connection, selectors.EVENT_READ, pages[-1])
        is_over = threading.Event()

        def read() -> None:
            while not is_over.is_set():
                for key, _ in selector.select(0.1):
                    key.data.read()

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield pages
        finally:
            is_over.set()
            thread.join()
            for page in pages:
                page.connection.close()


def burst(client: Client, ids: list[str], first: int) -> list[tuple[int, int, float]]:
    """Report as fast as it is answered; return which report of which session, and when it was."""
    told: list[tuple[int, int, float]] = []
    for number in range(first, first + REPORTS):
        session = number % SESSIONS
        client.call(
            "session_heard",
            session_id=ids[session],
            is_turn_active=True,
            last_line=f"report {number} of {session}",
            context_tokens=number,
            context_window=200_000,
            cost_usd=number / 1000,
        )
        told.append((session, number, time.perf_counter()))
    return told


def wait_for_last(pages: list[Page], told: list[tuple[int, int, float]]) -> None:
    """Wait until every page shows the last report of every session."""
    newest = {session: number for session, number, _ in told}
    deadline = time.monotonic() + LAST_SECONDS
    while not all(page.shown and page.shown[-1][1] == newest for page in pages):
        if time.monotonic() > deadline:
            raise TimeoutError("a page does not show the last reports")
        time.sleep(0.05)


def measure() -> list[Figure]:
    """Report to nobody, then to all pages."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), config=CONFIG)
        with project.served(with_fleet=False) as (client, pid):
            address = address_of(project.layout)
            assert address is not None
            server = psutil.Process(pid)
            ids = started_sessions(client)
            burst(client, ids, 0)
            start = cpu_seconds(server)
            burst(client, ids, REPORTS)
            alone = cpu_seconds(server) - start
            with open_pages(address.port, person_token(project.layout), PAGES) as pages:
                start = cpu_seconds(server)
                began = time.perf_counter()
                told = burst(client, ids, 2 * REPORTS)
                took = time.perf_counter() - began
                wait_for_last(pages, told)
                watched = cpu_seconds(server) - start
    delays = [page.delay(*one) for page in pages for one in told]
    p95 = statistics.quantiles(delays, n=20)[-1]
    each = statistics.mean(page.overviews for page in pages)
    return [
        Figure(name="from a report to a page: p95", value=p95 * 1e3, unit="ms", most=MOST_P95_MS),
        Figure(
            name="from a report to a page: median", value=statistics.median(delays) * 1e3, unit="ms"
        ),
        Figure(
            name=f"server: CPU that {PAGES} pages add to {REPORTS:,} reports",
            value=watched - alone,
            unit="s",
            most=MOST_CPU_SECONDS,
        ),
        Figure(name="server: CPU of the reports alone", value=alone, unit="s"),
        Figure(name="the burst", value=took, unit="s"),
        Figure(name="overviews that a page was sent meanwhile", value=each, unit=""),
    ]


if __name__ == "__main__":
    sys.exit(report(measure))
