"""The radar over a real repository's history: what it says of merges that people made.

    python -m tests.benchmarks.replay PATH [--merges 200]

`PATH` is a repository, bare or not; it is only read. Not among the benchmarks of `run.py`, since it
needs such a repository.

Merges of all kinds, the newest first, are made again by plain `git merge` in a work tree, and the
radar is asked of the same two commits. Then it looks at the branches that were alive at one moment,
the one with the most of them: all their pairs are merged, also those that the radar does not merge.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.git.radar import Radar, bases
from sf_mcp.git.repository import Repository
from sf_mcp.git.trial_merges import trial_merges
from tests.benchmarks.figures import Figure, line

MOST_SPANS, MOST_ALIVE = 2_000, 100
MISSED, FALSE = "conflicts that the radar misses", "conflicts that are none"

NOBODY = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org")


def merges_of(repository: Repository, most: int, *more: str) -> list[tuple[Oid, Oid]]:
    """Return the parents of the newest merges of two, newest first."""
    arguments = ["--min-parents=2", "--max-parents=2", "--parents", f"--max-count={most}", *more]
    listed = repository.run("rev-list", *arguments, "HEAD")
    found = [line.split()[1:] for line in listed.text.splitlines()]
    return [(Oid(one), Oid(other)) for one, other in found]


def is_conflicting(place: Path, ours: Oid, theirs: Oid) -> bool:
    """Return whether plain `git merge` stops.

    Raises:
        CalledProcessError: git cannot even begin, such as for want of an object.
    """

    def git(*arguments: str) -> int:
        command = ["git", *NOBODY, *arguments]
        return subprocess.run(command, cwd=place, capture_output=True, check=False).returncode

    git("reset", "--quiet", "--hard")
    if code := git("checkout", "--quiet", "--force", "--detach", ours) or git("clean", "-ffdxq"):
        raise subprocess.CalledProcessError(code, ["git", "checkout", ours])
    code = git("merge", "--quiet", "--no-commit", "--no-ff", theirs)
    if code not in (0, 1):
        raise subprocess.CalledProcessError(code, ["git", "merge", theirs])
    return code == 1


def replay(repository: Repository, place: Path, merges: list[tuple[Oid, Oid]]) -> list[Figure]:
    """Compare the radar with `git merge` over merges that were made."""
    conflicts = missed = false_alarms = unusable = 0
    for ours, theirs in merges:
        try:
            conflicting = is_conflicting(place, ours, theirs)
        except subprocess.CalledProcessError:
            unusable += 1
            continue
        found = "T1" in Radar(repository).survey({"T1": theirs}, ours).with_target
        conflicts += conflicting
        missed += conflicting and not found
        false_alarms += found and not conflicting
    return [
        Figure(name="merges made again", value=len(merges) - unusable, unit=""),
        Figure(name="merges that the copy lacks objects for", value=unusable, unit=""),
        Figure(name="of them, conflicts by git merge", value=conflicts, unit=""),
        Figure(name=MISSED, value=missed, unit="", most=0),
        Figure(name=FALSE, value=false_alarms, unit="", most=0),
    ]


def most_alive(repository: Repository) -> tuple[Oid, list[Oid]]:
    """Return the target, and the branches that had left it and were merged later, at their most."""
    chain = repository.run("rev-list", "--first-parent", "--reverse", "HEAD").text.splitlines()
    place = {Oid(commit): number for number, commit in enumerate(chain)}
    spans: list[tuple[int, int, Oid]] = []
    for target, branch in merges_of(repository, MOST_SPANS, "--first-parent"):
        left = bases(repository, target, branch)
        if len(left) == 1 and left[0] in place:
            spans.append((place[left[0]], place[target], branch))
    moments = {end for _, end, _ in spans}
    alive = {at: [one for start, end, one in spans if start <= at <= end] for at in moments}
    best = max(alive, key=lambda at: (len(alive[at]), at))
    return Oid(chain[best]), alive[best][:MOST_ALIVE]


def live_at_once(repository: Repository) -> list[Figure]:
    """Hold the radar's filter to exact merges of all pairs of branches that were alive at once."""
    target, branches = most_alive(repository)
    live = {f"T{number}": branch for number, branch in enumerate(branches, start=1)}
    start = time.perf_counter()
    survey = Radar(repository).survey(live, target)
    full = time.perf_counter() - start
    pairs = list(combinations(live, 2))
    met = [
        (one, other)
        for one, other in pairs
        if survey.spots[one].footprint.meets(survey.spots[other].footprint)
    ]
    every = trial_merges(repository, [(live[one], live[other]) for one, other in pairs])
    missed = sum(
        clash is not None
        and pair not in survey.between
        # What landed before one of them left comes along with it: that is the target's to tell.
        and (
            survey.spots[pair[0]].left == survey.spots[pair[1]].left
            or not survey.with_target.keys() & set(pair)
        )
        for pair, clash in zip(pairs, every, strict=True)
    )
    return [
        Figure(name=f"{len(live)} branches at once: full matrix", value=full * 1000, unit="ms"),
        Figure(name="pairs", value=len(pairs), unit=""),
        Figure(name="pairs that are merged, since they meet", value=len(met), unit=""),
        Figure(name="pairs in conflict", value=len(survey.between), unit=""),
        Figure(name="branches in conflict with the target", value=len(survey.with_target), unit=""),
        Figure(name=MISSED, value=missed, unit="", most=0),
    ]


def main() -> int:
    """Return 1 when a conflict was missed."""
    parser = argparse.ArgumentParser(description="The radar over a real repository's history.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--merges", type=int, default=200)
    arguments = parser.parse_args()
    repository = Repository(
        arguments.path if (arguments.path / "objects").is_dir() else arguments.path / ".git"
    )
    merges = merges_of(repository, arguments.merges)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "place"
        subprocess.run(
            ["git", "clone", "--quiet", "--shared", "--no-checkout", repository.git_dir, place],
            check=True,
        )
        figures = replay(repository, place, merges)
    figures += live_at_once(repository)
    for one in figures:
        print(line(one))
    return 1 if any(one.is_over for one in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
