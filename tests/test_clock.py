from datetime import UTC

from sf_mcp.clock import utc_now


def test_the_clock_is_aware_in_utc_and_does_not_run_backwards() -> None:
    first = utc_now()
    assert first.tzinfo is UTC
    assert first <= utc_now()
