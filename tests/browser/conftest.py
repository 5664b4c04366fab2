"""One Chromium per process of the tests; a context, and with it nothing remembered, per test."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.browser.builders_page import Chromium, ServedSeat, a_seat
from tests.builders import own_home as own_home


@pytest.fixture(scope="session")
def _chromium() -> Generator[Chromium]:  # pyright: ignore[reportUnusedFunction]
    with Chromium.started() as chromium:
        yield chromium


@pytest.fixture
def chromium(_chromium: Chromium) -> Generator[Chromium]:
    """The browser; its event loop is this thread's for the time of the test."""
    with _chromium.in_use():
        yield _chromium


@pytest.fixture
def seat(tmp_path: Path, chromium: Chromium) -> Generator[ServedSeat]:
    """A project of the tests, its server, and the page open in a browser of its own."""
    with a_seat(tmp_path, chromium) as seat:
        yield seat
