"""What every test stands under, and what a run says at its end beside what failed."""

import sqlite3
from typing import Any

import pytest

from sf_mcp.core.events import EVENTS
from sf_mcp.store import events


@pytest.fixture(autouse=True)
def _events_are_registered(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    """Refuse an event of a kind that `sf_mcp.core.events` does not list."""
    append = events.append

    def checked(db: sqlite3.Connection, at: Any, kind: str, *rest: Any) -> None:
        assert kind in EVENTS, f"describe {kind} in sf_mcp/core/events.py"
        append(db, at, kind, *rest)

    monkeypatch.setattr(events, "append", checked)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how many effects of the server were enumerated, and at how many instants it died."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    lines = {
        str(value): None
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "effects"
    }
    if lines:
        terminalreporter.section("effects")
        for line in lines:
            terminalreporter.write_line(line)
