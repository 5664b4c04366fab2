"""Looks all the time, from outside, at what must hold at every moment of a drill."""

import logging
import threading
from time import monotonic

from launcher.rehearsal.observer import Observer
from launcher.rehearsal.world import World

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.001
"""A landing takes some 10 ms."""
PROCESSES_SECONDS = 0.5
"""Between two looks at the process table, which take longer."""


class Watcher:
    """What was seen to be wrong, by a thread of its own."""

    def __init__(self, world: World) -> None:
        """Nothing is looked at yet."""
        self.too_early: set[str] = set()
        """Landings that were recorded before the branch had them."""
        self.overlaps: set[str] = set()
        """Tasks that had the processes of two sessions at a time."""
        self._observer = Observer(world)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher")

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        looked = 0.0
        try:
            while not self._ending.wait(LOOK_SECONDS):
                if too_early := self._observer.landed_too_early():
                    self.too_early.add(too_early)
                if monotonic() - looked >= PROCESSES_SECONDS:
                    looked = monotonic()
                    self._look_for_overlaps()
        except Exception:  # the thread's root
            logger.exception("the watcher failed")
            self.too_early.add("nobody looked any more: the watcher failed")
        finally:
            self._observer.close()

    def _look_for_overlaps(self) -> None:
        """One look is no proof, since it takes its time: what both of two have seen is one."""
        first = self._sessions_by_subject()
        if any(len(sessions) > 1 for sessions in first.values()):
            second = self._sessions_by_subject()
            for subject, sessions in first.items():
                if len(both := sessions & second.get(subject, set())) > 1:
                    self.overlaps.add(f"{subject}: {', '.join(sorted(both))}")

    def _sessions_by_subject(self) -> dict[str, set[str]]:
        rows = self._observer.rows("SELECT id, subject FROM sessions")
        subjects = {str(session): str(subject) for session, subject in rows}
        found: dict[str, set[str]] = {}
        for one in self._observer.processes():
            if one.session in subjects:
                found.setdefault(subjects[one.session], set()).add(one.session)
        return found
