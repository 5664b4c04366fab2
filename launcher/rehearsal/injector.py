"""Carries out a plan: waits for the moment, kills, and looks from outside what it has hit."""

import logging
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from time import monotonic

from launcher.core.command_line import MCP_SERVER_NAME
from launcher.rehearsal.injections import (
    AIMED_VICTIMS,
    Injection,
    Phase,
    Victim,
    injection,
)
from launcher.rehearsal.observer import Observer, Seen, send
from launcher.rehearsal.serving import Serving
from launcher.rehearsal.world import World

logger = logging.getLogger(__name__)

AIM_SECONDS = 20.0
"""How long an aimed kill waits for its phase; then it comes all the same."""
VICTIM_SECONDS = 15.0
"""How long a kill waits until there is what it is to hit."""
TIGHT_SECONDS = 0.0005
LOOSE_SECONDS = 0.01
MOST_EXTRA = 6
"""Kills added for a phase that none of the planned ones has hit."""
EXPIRY_SECONDS = 60.0
COMEBACK_SECONDS = 6.0
"""For a session that was given up to make a call, before its launcher can stop it."""
WRITING_CALL = re.compile(rf"\bmcp__{MCP_SERVER_NAME}__(?!claim_task)")
"""A call that the fence is in the way of. A claim asks for a lease; the others need one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An injection that was carried out, or could not be."""

    injection: Injection
    seconds: float
    """Since the drill began."""
    victim: str
    """Who it was; empty when there was nobody to be hit."""
    hits: frozenset[Phase] = frozenset()
    """What was under way in that moment, as seen from outside."""
    is_extra: bool = False


@dataclass(slots=True)
class Record:
    """What has been done so far; written by the injector's thread, read by others."""

    done: list[Done] = field(default_factory=list[Done])
    failure: str = ""
    """Why it could not go on; empty when it could."""

    @property
    def hits(self) -> Counter[Phase]:
        """How many injections have hit each phase."""
        return Counter(phase for one in list(self.done) for phase in one.hits)


class Injector:
    """Does to a world what a plan says, one after the other, in a thread of its own."""

    def __init__(
        self,
        world: World,
        serving: Serving,
        injections: Sequence[Injection],
        *,
        required: Sequence[Phase],
        seed: int,
        answers_to: Callable[[str], Sequence[str]],
        say: Callable[[str], None],
    ) -> None:
        """`answers_to` tells what the model has answered to a session so far."""
        self.record = Record()
        self._serving = serving
        self._injections = injections
        self._required = required
        self._chance = Random(f"extra/{seed}")
        self._answers_to = answers_to
        self._say = say
        self._observer = Observer(world)
        self._known: dict[Phase, set[str]] = {phase: set() for phase in Phase}
        self._began = monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="injector")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Do nothing more; what is frozen goes on."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def is_done(self) -> bool:
        """Whether nothing more will be done."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            for one in self._injections:
                self._carry_out(one)
            self._add_what_is_missing()
        except Exception as error:  # the thread's root: the drill says so and does not hold
            logger.exception("the injector failed")
            self.record.failure = repr(error)
        finally:
            self._observer.close()

    def _add_what_is_missing(self) -> None:
        """Aim some more kills at phases that none has hit, unless none is to be seen at all."""
        unseen: set[Phase | None] = set()
        for extra in range(MOST_EXTRA):
            missing = [
                phase
                for phase in self._required
                if not self.record.hits[phase] and phase not in unseen
            ]
            if not missing or self._ending.is_set():
                return
            victim = Victim.FROZEN if missing[0] is Phase.FENCE else next(iter(AIMED_VICTIMS))
            number = len(self._injections) + extra + 1
            extra_one = injection(number, victim, missing[0], self._chance)
            if not self._carry_out(extra_one, is_extra=True):
                unseen.add(extra_one.aim)

    def _carry_out(self, one: Injection, *, is_extra: bool = False) -> bool:
        """Carry one out; return whether its aim was seen."""
        is_seen = True
        if self._ending.wait(one.delay_seconds):
            return False
        if one.aim is not None and one.aim is not Phase.FENCE:
            is_seen = self._wait_for(one.aim)
            self._ending.wait(one.lateness_seconds)
        if self._ending.is_set():
            return False
        match one.victim:
            case Victim.SERVER | Victim.EVERYTHING:
                victim, hits = self._kill_server(one)
            case Victim.FROZEN:
                victim, hits = self._freeze(one)
            case _:
                victim, hits = self._kill_one(one)
        done = Done(
            injection=one,
            seconds=monotonic() - self._began,
            victim=victim,
            hits=hits,
            is_extra=is_extra,
        )
        self.record.done.append(done)
        self._say(_told(done))
        return is_seen

    # -- moments -----------------------------------------------------------------------------------

    def _wait_for(self, phase: Phase) -> bool:
        """Wait until something new is in the phase, at most `AIM_SECONDS`; False when in vain."""
        step = TIGHT_SECONDS if phase is not Phase.CHECK else LOOSE_SECONDS
        return self._wait(lambda: bool(self._new(phase)), AIM_SECONDS, step)

    def _wait(self, is_so: Callable[[], bool], seconds: float, step: float = LOOSE_SECONDS) -> bool:
        ends = monotonic() + seconds
        while not is_so():
            if monotonic() >= ends or self._ending.wait(step):
                return False
        return True

    def _new(self, phase: Phase) -> frozenset[str]:
        """Return what is in the phase and has not been hit before: a wreck lies there for long."""
        return self._observer.under_way(phase) - self._known[phase]

    def _look(self, *phases: Phase) -> frozenset[Phase]:
        """Return the phases in which something is now; it counts once."""
        hit: set[Phase] = set()
        for phase in phases:
            if found := self._new(phase):
                self._known[phase] |= found
                hit.add(phase)
        return frozenset(hit)

    # -- kills -------------------------------------------------------------------------------------

    def _kill_server(self, one: Injection) -> tuple[str, frozenset[Phase]]:
        self._wait(lambda: self._serving.pid is not None, VICTIM_SECONDS)
        with self._serving.calm:
            pid = self._serving.pid
            if not self._serving.kill(rest_seconds=one.rest_seconds) and (
                one.victim is Victim.SERVER
            ):
                return "", frozenset()
            # The server is dead and nothing has been started: what it was doing can be seen.
            hits = self._look(Phase.LANDING, Phase.SNAPSHOT, Phase.CLAIM, Phase.CHECK)
            if one.victim is Victim.SERVER:
                return f"process {pid}", hits
            return f"{self._observer.kill_everything() + 1} processes", hits

    def _kill_one(self, one: Injection) -> tuple[str, frozenset[Phase]]:
        victims: list[tuple[int, str]] = []

        def find() -> bool:
            victims[:] = self._victims(one.victim)
            return bool(victims)

        if not self._wait(find, VICTIM_SECONDS, step=0.1):
            return "", frozenset()
        pid, name = victims[int(one.choice * len(victims))]
        phases = {Victim.LAUNCHER: [Phase.CLAIM], Victim.CHECK: [Phase.CHECK]}
        hits = self._look(*phases.get(one.victim, []))
        to_group = one.victim is Victim.SESSION_GROUP or (
            one.victim is Victim.CHECK and one.choice < 0.5
        )
        if not send(pid, signal.SIGKILL, to_group=to_group):
            return "", frozenset()
        return f"{name} (process {pid})", hits

    def _victims(self, victim: Victim) -> list[tuple[int, str]]:
        match victim:
            case Victim.LAUNCHER:
                return [(one.pid, "sf-launch") for one in self._launchers()]
            case Victim.CHECK:
                return [(pid, "a check") for pid, _ in self._observer.checks()]
            case _:
                return [(pid, name) for pid, name, _ in self._sessions("")]

    def _launchers(self) -> list[Seen]:
        return [one for one in self._observer.processes() if one.is_launcher]

    def _sessions(self, condition: str) -> list[tuple[int, str, str]]:
        """Return the process, the name and the id of each session that is alive."""
        alive = {one.pid for one in self._observer.processes() if one.session}
        rows = self._observer.rows(
            "SELECT pid, name, subject, id FROM sessions WHERE pid IS NOT NULL"
            f" AND state IN ('starting', 'running', 'stopping') {condition} ORDER BY created_at"
        )
        return [
            (pid, f"{name} on {subject}", str(session))
            for pid, name, subject, session in rows
            if isinstance(pid, int) and pid in alive
        ]

    # -- a session that comes back -----------------------------------------------------------------

    def _freeze(self, one: Injection) -> tuple[str, frozenset[Phase]]:
        """Stop a worker and its launcher until the lease has been given up, then let them go on.

        The worker first: what it does before its launcher can end it, it does without a lease.
        """
        found: list[tuple[int, str, str]] = []

        def find() -> bool:
            found[:] = [
                worker
                for worker in self._sessions("AND role = 'worker' AND is_turn_active = 1")
                if len(self._answers_to(worker[2])) > 1  # it has claimed, and is at work
            ]
            return bool(found) and bool(self._launchers())

        if not self._wait(find, VICTIM_SECONDS, step=0.1):
            return "", frozenset()
        pid, name, session = found[int(one.choice * len(found))]
        launchers = [launcher.pid for launcher in self._launchers()]
        try:
            for launcher in launchers:
                send(launcher, signal.SIGSTOP)
            send(pid, signal.SIGSTOP)
            lease = "SELECT 1 FROM leases WHERE session_id = ? AND ended_at IS NULL"

            def is_given_up() -> bool:
                return not self._observer.rows(lease, session)

            if not self._wait(is_given_up, EXPIRY_SECONDS, step=0.1):
                return f"{name} (process {pid})", frozenset()
            before = len(self._answers_to(session))
            send(pid, signal.SIGCONT)

            def is_back() -> bool:
                # With an answer after it: the call has come to its result.
                said = self._answers_to(session)[before:-1]
                return any(WRITING_CALL.search(answer) for answer in said)

            is_hit = self._wait(is_back, COMEBACK_SECONDS, step=0.1)
            return f"{name} (process {pid})", frozenset({Phase.FENCE} if is_hit else ())
        finally:
            for stopped in (pid, *launchers):
                send(stopped, signal.SIGCONT)


def _told(done: Done) -> str:
    one = done.injection
    aimed = f", aimed at: {one.aim}" if one.aim is not None else ""
    hit = f"; hit: {', '.join(sorted(done.hits))}" if done.hits else ""
    who = done.victim or "nobody was there"
    return f"{done.seconds:6.1f} s  {one.number:3}  {one.victim}{aimed}: {who}{hit}"
