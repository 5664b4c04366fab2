"""A limit on how many of something run at once, first come, first served.

The limit is asked for anew at each look, so that a changed configuration is followed while others
wait; what runs already goes on when it falls.
"""

import threading
from collections.abc import Callable
from types import TracebackType

LOOK_SECONDS = 0.1
"""How often one who waits looks whether it was cancelled, or the limit has changed."""


class FairSlots:
    """Slots of which at most `limit()` are taken at once. Safe to share between threads."""

    def __init__(self, limit: Callable[[], int]) -> None:
        """Ask `limit` how many there are."""
        self._limit = limit
        self._changed = threading.Condition()
        self._line: list[Turn] = []
        self._taken = 0

    def line_up(self) -> "Turn":
        """Return a place in the line, behind all who wait. It must be left: use it in a `with`."""
        turn = Turn(self)
        with self._changed:
            self._line.append(turn)
        return turn

    def wait(self, turn: "Turn", cancel: threading.Event | None) -> bool:
        """Wait until it is the turn's; False when it was cancelled first."""
        with self._changed:
            while True:
                if cancel is not None and cancel.is_set():
                    return False
                if self._line[0] is turn and self._taken < self._limit():
                    self._line.pop(0)
                    self._taken += 1
                    turn.has_slot = True
                    self._changed.notify_all()
                    return True
                self._changed.wait(LOOK_SECONDS)

    def leave(self, turn: "Turn") -> None:
        """Give the slot back, or the place in the line."""
        with self._changed:
            if turn in self._line:
                self._line.remove(turn)
            self._taken -= turn.has_slot
            turn.has_slot = False
            self._changed.notify_all()


class Turn:
    """One place in the line, and then a slot."""

    def __init__(self, slots: FairSlots) -> None:
        """Stand in the line for one of `slots`."""
        self._slots = slots
        self.has_slot = False

    def wait(self, cancel: threading.Event | None = None) -> bool:
        """Wait for the slot; False when it was cancelled first."""
        return self._slots.wait(self, cancel)

    def __enter__(self) -> "Turn":
        """Stand in the line."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it."""
        self._slots.leave(self)
