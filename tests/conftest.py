"""What a run says at its end, beside what failed."""

import pytest


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
