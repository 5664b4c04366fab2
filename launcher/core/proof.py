"""Whether login, model and API are known to work. Until then sessions start one at a time.

What is wrong for one session is wrong for all: a fleet that starts six at once with a refused login
spends six sessions to learn it. So the first goes ahead, and the others follow as soon as the model
has answered it; or after a while, one by one, if it neither answers nor ends.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

START_SECONDS = 30.0
"""From the spawn to the client's first word; a client that takes longer is ended."""
PROOF_SECONDS = 10.0
"""From there to the first answer or refusal; usually a second or two."""


@dataclass(slots=True, kw_only=True)
class Proof:
    """What the fleet's sessions have shown. `answers` by session grow with each of the model's."""

    is_given: bool = False
    _before: Mapping[str, float] = field(default_factory=dict[str, float])
    """The answers of sessions that ran when the proof was lost: they prove nothing."""
    _newest: str = ""
    _waits_until: float = 0.0
    _is_connected: bool = False

    def started(self, session: str, now: float) -> None:
        """Note a start; `now` in seconds of any clock that only goes on."""
        self._newest, self._waits_until = session, now + START_SECONDS
        self._is_connected = False

    def connected(self, session: str, now: float) -> bool:
        """Note that a session's client has said its first word; return whether that is news."""
        if session != self._newest or self._is_connected:
            return False
        self._waits_until, self._is_connected = now + PROOF_SECONDS, True
        return True

    def look(self, answers: Mapping[str, float]) -> None:
        """Take what the sessions have shown by now."""
        self.is_given = self.is_given or any(
            number > self._before.get(session, 0) for session, number in answers.items()
        )

    def lose(self, answers: Mapping[str, float]) -> None:
        """A session ended for a reason that every session would end for."""
        self.is_given, self._before = False, dict(answers)

    def seconds_to_wait(self, answers: Mapping[str, float], now: float) -> float:
        """Return how long no other session is started, at most; 0 when one may be now."""
        if self.is_given or self._newest not in answers:
            return 0.0
        return max(0.0, self._waits_until - now)
