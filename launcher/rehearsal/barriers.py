"""Places in a script where sessions wait for a signal or for one another."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

LOOK_AROUND_SECONDS = 0.1
"""How often a wait looks whether its client is still there."""


@dataclass(slots=True)
class _Barrier:
    is_open: bool = False
    waiting: set[str] = field(default_factory=set[str])


class Barriers:
    """Barriers by name. One that has opened stays open, so that a later attempt does not wait."""

    def __init__(self, changed: threading.Condition) -> None:
        """Guard them by `changed`, and notify it when a session arrives or one opens."""
        self._changed = changed
        self._barriers: dict[str, _Barrier] = {}

    def open(self, name: str) -> None:
        """Let all who wait for `name`, now or later, go on."""
        with self._changed:
            self._barrier(name).is_open = True
            self._changed.notify_all()

    def waiting_at(self, name: str) -> frozenset[str]:
        """Return the sessions that wait for `name` now."""
        with self._changed:
            return frozenset(self._barrier(name).waiting)

    def wait(
        self,
        name: str,
        session: str,
        *,
        opens_at: int | None,
        seconds: float,
        look_around: Callable[[], None],
    ) -> bool:
        """Wait for `name`; False when it stayed shut for `seconds`.

        It also opens when `opens_at` sessions wait. `look_around` may raise to end the wait.
        """
        ends = monotonic() + seconds
        with self._changed:
            barrier = self._barrier(name)
            barrier.waiting.add(session)
            try:
                if opens_at is not None and len(barrier.waiting) >= opens_at:
                    barrier.is_open = True
                self._changed.notify_all()
                while not barrier.is_open:
                    look_around()
                    if monotonic() >= ends:
                        return False
                    self._changed.wait(LOOK_AROUND_SECONDS)
                return True
            finally:
                barrier.waiting.discard(session)
                self._changed.notify_all()

    def _barrier(self, name: str) -> _Barrier:
        return self._barriers.setdefault(name, _Barrier())
