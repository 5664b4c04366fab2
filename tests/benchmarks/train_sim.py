"""The merge queue's planner in the simulated world, against the ways that others go.

Every queue meets the same drawn worlds, so that ratios are of pairs. These seeds were not used
while the planner was built. Nobody is told how many requests are bad.

    python -m tests.benchmarks.train_sim --quick     fewer worlds: figures for a look, no targets
"""

import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence

from tests.benchmarks.figures import Figure, report
from tests.benchmarks.merge_sim import (
    Bors,
    Planned,
    Queue,
    Result,
    Serial,
    Shape,
    World,
    Zuul,
    simulate,
)

FIRST_SEED = 1_000
WORLDS, WORLDS_OF_THE_GRID = 40, 6
QUICK_WORLDS, QUICK_WORLDS_OF_THE_GRID = 6, 1

TO_ZUUL, TO_BORS = 1.3, 2.3
"""The least ratio of what lands per check time, at the lower end of its interval."""

STUDENT = 2.02
"""Standard errors to either side of a mean that hold it with 95 %, for 40 pairs."""

Results = Mapping[str, Sequence[Result]]


def results(shape: Shape, worlds: int) -> Results:
    """Run every queue through the same worlds."""
    queues: dict[str, Callable[[], Queue]] = {
        "planner": lambda: Planned(shape.slots),
        "zuul": lambda: Zuul(shape.slots),
        "bors": Bors,
        "serial": Serial,
    }
    return {
        name: [simulate(World(shape, FIRST_SEED + seed), queue()) for seed in range(worlds)]
        for name, queue in queues.items()
    }


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and the ends of its 95 % interval."""
    mean = statistics.mean(values)
    reach = STUDENT * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - reach, mean + reach


def ratios(found: Results, other: str) -> list[float]:
    pairs = zip(found["planner"], found[other], strict=True)
    return [ours.throughput / theirs.throughput for ours, theirs in pairs]


def of_a_backlog(worlds: int, is_quick: bool) -> list[Figure]:
    """Measure what lands per check time from a backlog at 4 slots and 5 % bad."""
    found = results(Shape(slots=4, bad=0.05), worlds)
    figures = [
        Figure(
            name=f"backlog of 300, 4 slots, 5 % bad: {name}, landed per check time",
            value=statistics.mean(one.throughput for one in of),
            unit="",
        )
        for name, of in found.items()
    ]
    for other, least in (("zuul", TO_ZUUL), ("bors", TO_BORS), ("serial", None)):
        mean, low, high = interval(ratios(found, other))
        name = f"planner / {other}"
        figures += [
            Figure(name=f"{name}, mean of {worlds} pairs", value=mean, unit="x"),
            Figure(
                name=f"{name}, lower end of the 95 % interval",
                value=low,
                unit="x",
                least=None if is_quick else least,
            ),
            Figure(name=f"{name}, upper end of the 95 % interval", value=high, unit="x"),
        ]
    wrong = statistics.mean(one.wrongly_evicted for one in found["planner"])
    figures.append(Figure(name="good requests thrown out, of 300", value=wrong, unit=""))
    return figures


def of_waiting(worlds: int, is_quick: bool) -> list[Figure]:
    """Measure how long requests wait that come at 2 per check time."""
    found = results(Shape(slots=4, bad=0.05, load=2), worlds)
    figures: list[Figure] = []
    for share, name in ((0.5, "p50"), (0.95, "p95")):
        waits = {queue: [one.wait(share) for one in found[queue]] for queue in ("planner", "zuul")}
        theirs = statistics.mean(waits["zuul"])
        figures += [
            Figure(name=f"2 per check time, 4 slots: zuul, {name} wait", value=theirs, unit="T"),
            Figure(
                name=f"2 per check time, 4 slots: planner, {name} wait",
                value=statistics.mean(waits["planner"]),
                unit="T",
                most=None if is_quick or share < 0.9 else theirs,
            ),
        ]
    return figures


def limit(slots: int, bad: float) -> float:
    """Return the most that can land per check time when each check tells one bit at most."""
    entropy = -(bad * math.log2(bad) + (1 - bad) * math.log2(1 - bad))
    return slots * (1 - bad) / entropy


def of_the_limit(worlds: int) -> list[Figure]:
    """Measure how near the planner comes to the entropy bound.

    Once for the worlds as they are, with the share that clashes make bad counted in, and once in
    worlds without clashes and flakes, for which the bound is meant. The more slots and the fewer
    bad ones, the more does it weigh that 300 requests have a beginning and an end.
    """
    figures: list[Figure] = []
    for bad in (0.01, 0.05, 0.10, 0.25):
        for slots in (2, 4, 8, 16):
            for name, shape in (
                ("", Shape(slots=slots, bad=bad)),
                (" (no clashes, no flakes)", Shape(slots=slots, bad=bad, clash=0, flake=0)),
            ):
                drawn = [World(shape, FIRST_SEED + seed) for seed in range(worlds)]
                share = statistics.mean(world.bad_share() for world in drawn)
                landed = statistics.mean(
                    simulate(world, Planned(slots)).throughput for world in drawn
                )
                figures.append(
                    Figure(
                        name=f"{bad:.0%} bad, {slots} slots{name}: {landed:.2f} per check time,"
                        " of the limit",
                        value=100 * landed / limit(slots, share),
                        unit="%",
                    )
                )
    return figures


def measure() -> list[Figure]:
    is_quick = "--quick" in sys.argv[1:]
    worlds = QUICK_WORLDS if is_quick else WORLDS
    return [
        *of_a_backlog(worlds, is_quick),
        *of_waiting(worlds, is_quick),
        *of_the_limit(QUICK_WORLDS_OF_THE_GRID if is_quick else WORLDS_OF_THE_GRID),
    ]


if __name__ == "__main__":
    sys.exit(report(measure))
