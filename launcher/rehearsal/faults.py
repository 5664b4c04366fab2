"""What goes wrong with the model's answers in a drill, decided by a seed and a request's number.

Each kind comes once in every `BLOCK` requests, at a place that the seed chooses, so that a short
drill has all of them too.
"""

import threading
from collections import Counter
from dataclasses import dataclass
from random import Random

from launcher.rehearsal.script import Step
from sf_mcp.core.models import Role

BLOCK = 60


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    step: Step


# Such as pass: the client tries again by itself, after a second at most. What parks a fleet has
# rehearsals of its own; here it would only make the drill long.
OF_EVERYBODY: tuple[Fault, ...] = (
    Fault("stream cut after its start", Step(cut="start")),
    Fault("stream cut in the middle", Step(cut="mid")),
    Fault("stream cut before its end", Step(cut="before_stop")),
    Fault("connection dropped", Step(cut="headers")),
    Fault("answer 429", Step(error=429, headers={"retry-after": "1"})),
    Fault("answer 500", Step(error=500)),
    Fault("answer 529", Step(error=529)),
)


def of_workers(asked: int, restricted: int, taken_over: int) -> tuple[Fault, ...]:
    """Return the faults that are a full context, at the tokens of the three thresholds."""
    return (
        Fault("context full: asked to hand off", Step(text="-", fill=asked + 1)),
        Fault("context full: restricted", Step(text="-", fill=restricted + 1)),
        Fault("context full: taken over", Step(text="-", fill=taken_over + 1)),
    )


def fault_of(number: int, faults: tuple[Fault, ...], *, seed: str) -> Fault | None:
    """Return what happens to the request of this number (from 0); None for most."""
    block, place = divmod(number, BLOCK)
    places = Random(f"{seed}/{block}").sample(range(BLOCK), len(faults))
    return faults[places.index(place)] if place in places else None


class Faults:
    """Counts requests and hands out what is due for each."""

    def __init__(self, seed: int, filled: tuple[Fault, ...]) -> None:
        """`filled` are those that only workers meet; see `of_workers`."""
        self._seed = seed
        self._filled = filled
        self._lock = threading.Lock()
        self._requests = 0
        self._of_workers = 0
        self._is_over = False
        self._counts: Counter[str] = Counter()

    def next(self, role: Role | None) -> Step | None:
        """Return what happens to the next request, which is of a session of this role."""
        with self._lock:
            if self._is_over:
                return None
            fault = fault_of(self._requests, OF_EVERYBODY, seed=f"faults/{self._seed}")
            self._requests += 1
            if fault is None and role is Role.WORKER:
                seed = f"fills/{self._seed}"
                fault = fault_of(self._of_workers, self._filled, seed=seed)
                self._of_workers += 1
            if fault is None:
                return None
            self._counts[fault.name] += 1
            return fault.step

    def stop(self) -> None:
        """Let everything go well from now on."""
        with self._lock:
            self._is_over = True

    @property
    def counts(self) -> dict[str, int]:
        """How often each fault has happened, by name."""
        with self._lock:
            return dict(self._counts)
