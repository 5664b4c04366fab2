"""A server for as long as this launcher runs, when none is up: `sf serve --no-fleet`."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from os import environ
from subprocess import Popen

from sf_mcp import process
from sf_mcp.client import connect
from sf_mcp.core.errors import ServerUnreachable, StorageFailed
from sf_mcp.core.layout import Layout

START_SECONDS = 30.0
LOOK_SECONDS = 0.05
STOP_SECONDS = 15.0
LOG_TAIL = 2000
OUTPUT_LOG = "server-output.log"
"""What it prints; its own log, `server.log`, is another file."""
SERVE = (sys.executable, "-m", "sf_mcp.cli", "serve", "--no-fleet")


@contextmanager
def running_server(layout: Layout) -> Generator[None]:
    """Have a server run for the time of the block, an own one unless one runs already.

    Raises:
        ServerUnreachable: it did not start.
        StorageFailed: its log cannot be written.
    """
    if connect(layout.root) is not None:
        yield
        return
    log_path = layout.logs / OUTPUT_LOG
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        log = log_path.open("wb")
    except OSError as error:
        raise StorageFailed(
            f"{log_path} cannot be written: {error.strerror}.",
            remedy="Free some disk space or correct the permissions, then try again.",
        ) from error
    with log:
        # In a group of its own: the terminal's Ctrl-C is for us, who end it last.
        child = process.spawn(SERVE, cwd=layout.root, env=environ, stdout=log, stderr=log)
    try:
        _wait(child, layout)
        yield
    finally:
        process.end_child(child, grace_seconds=STOP_SECONDS)


def _wait(child: "Popen[bytes]", layout: Layout) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        if connect(layout.root) is not None:
            return
        time.sleep(LOOK_SECONDS)
    said = (layout.logs / OUTPUT_LOG).read_text("utf-8", "replace").strip()[-LOG_TAIL:]
    raise ServerUnreachable(
        f"The server did not start: {said or 'it said nothing'}",
        remedy="Run `sf serve --no-fleet` to see why.",
    )
