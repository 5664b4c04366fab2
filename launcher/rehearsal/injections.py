"""The plan of a drill: whom each injection hits, what it is aimed at, and when. Pure.

Everything in a plan comes from its seed. What the machine does meanwhile does not: the same plan
meets other instants in another run, and so a plan is replayed and never a run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from random import Random


class Victim(StrEnum):
    """What gets SIGKILL, or for `FROZEN` SIGSTOP and later SIGCONT."""

    SERVER = "server"
    LAUNCHER = "launcher"
    SESSION = "session"
    """One Claude Code process."""
    SESSION_GROUP = "session with its group"
    CHECK = "check"
    EVERYTHING = "everything at once"
    """All processes, as when the machine goes down."""
    FROZEN = "session and launcher frozen past the lease"
    """A session that is given up and comes back."""


class Phase(StrEnum):
    """What is under way at the moment of a kill."""

    LANDING = "landing"
    """Between the intent and the done row."""
    SNAPSHOT = "snapshot"
    CLAIM = "claim"
    """A lease is granted and no process is recorded for it yet."""
    CHECK = "check"
    FENCE = "fence"
    """A session that had lost its lease was at work again."""


REQUIRED = (Phase.LANDING, Phase.SNAPSHOT, Phase.CLAIM, Phase.CHECK)
"""A drill that has hit none of one of these has shown nothing about it."""

RANDOM_VICTIMS = {
    Victim.SERVER: 3,
    Victim.LAUNCHER: 3,
    Victim.SESSION: 4,
    Victim.SESSION_GROUP: 3,
    Victim.CHECK: 3,
    Victim.EVERYTHING: 2,
}
"""With their weights, for the kills that are aimed at nothing."""

AIMED_VICTIMS = {Victim.SERVER: 3, Victim.EVERYTHING: 1}
LONGEST_DELAY_SECONDS = 4.0
LONGEST_REST_SECONDS = 1.0
LONGEST_LATENESS_SECONDS = 0.004
"""How far into a phase an aimed kill waits: a landing takes some 10 ms."""

KILLS_PER_FREEZE = 40
LEAST_KILLS_FOR_A_FREEZE = 8
"""A freeze lasts longer than a lease; a very short drill does without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """One thing that is done to the fleet."""

    number: int
    victim: Victim
    aim: Phase | None
    """None: at any moment."""
    delay_seconds: float
    """After the one before."""
    choice: float
    """Which of several that could be the victim, in [0, 1)."""
    lateness_seconds: float
    """After its aim was seen."""
    rest_seconds: float
    """Until a person starts again what was killed."""


def plan(seed: int, kills: int, aims: Sequence[Phase] = ()) -> tuple[Injection, ...]:
    """Return the injections of a drill.

    Half of the kills are aimed at each of `REQUIRED` in turn, the others come at random moments;
    freezes come besides, one in `KILLS_PER_FREEZE` and at least one. With `aims` all of them are
    aimed, and at these alone.
    """
    chance = Random(seed)
    chosen: list[Phase | None] = list(
        islice(cycle(aims or REQUIRED), kills if aims else kills // 2)
    )
    chosen += [None] * (kills - len(chosen))
    kinds = [(_victim(aim, chance), aim) for aim in chosen]
    if not aims:
        freezes = max(kills // KILLS_PER_FREEZE, int(kills >= LEAST_KILLS_FOR_A_FREEZE))
        kinds += [(Victim.FROZEN, Phase.FENCE)] * freezes
    chance.shuffle(kinds)
    return tuple(
        injection(number, victim, aim, chance) for number, (victim, aim) in enumerate(kinds, 1)
    )


def injection(number: int, victim: Victim, aim: Phase | None, chance: Random) -> Injection:
    """Return one injection with everything else about it left to chance."""
    return Injection(
        number=number,
        victim=victim,
        aim=aim,
        delay_seconds=round(chance.uniform(0.2, LONGEST_DELAY_SECONDS), 2),
        choice=chance.random(),
        lateness_seconds=round(chance.uniform(0, LONGEST_LATENESS_SECONDS), 4),
        rest_seconds=round(chance.uniform(0, LONGEST_REST_SECONDS), 2),
    )


def _victim(aim: Phase | None, chance: Random) -> Victim:
    if aim is Phase.FENCE:
        return Victim.FROZEN
    weights = RANDOM_VICTIMS if aim is None else AIMED_VICTIMS
    return chance.choices(list(weights), list(weights.values()))[0]
