"""Every test here runs git with an empty home of its own, and its coroutines on asyncio."""

import pytest

from tests.builders import own_home as own_home


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"
