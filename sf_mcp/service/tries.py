"""When something outside may be asked again: a failure is followed by a rest that doubles."""

from collections.abc import Callable
from datetime import datetime, timedelta

FIRST_REST, LONGEST_REST = timedelta(seconds=30), timedelta(minutes=10)


class Tries:
    """The tries at one thing."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """Begin without a failure."""
        self._now = now
        self._failures = 0
        self.next_try: datetime | None = None

    def may_try(self) -> bool:
        """Tell whether the rest is over."""
        return self.next_try is None or self._now() >= self.next_try

    def failed(self) -> None:
        """Rest, twice as long as the last time."""
        self.next_try = self._now() + min(FIRST_REST * 2 ** min(self._failures, 10), LONGEST_REST)
        self._failures += 1

    def succeeded(self, rest: timedelta | None = None) -> None:
        """Begin anew, after a rest if one is given."""
        self._failures = 0
        self.next_try = None if rest is None else self._now() + rest
