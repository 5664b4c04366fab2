"""The radar, its filter included, against plain `git merge` over many histories made at random."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sf_mcp.git.radar import Radar
from sf_mcp.git.repository import Repository
from tests.git.builders_worlds import World, conflicting, make_worlds

WORLDS, PARTS = 500, 4


@pytest.mark.parametrize("seed", range(PARTS))
def test_no_conflict_is_missed_and_no_false_alarm_given(
    seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    root = tmp_path / "worlds"
    worlds = make_worlds(root, seed=seed, count=WORLDS // PARTS)
    truth = conflicting(root, [(world.ours, world.theirs) for world in worlds])
    moved = [world for world in worlds if world.target != world.root]
    of_target = dict.fromkeys((world.number for world in worlds), False) | dict(
        zip(
            (world.number for world in moved),
            conflicting(root, [(world.ours, world.target) for world in moved]),
            strict=True,
        )
    )
    repository = Repository(root / ".git")
    missed: list[World] = []
    false_alarms: list[World] = []
    for_nothing = beyond_paths = 0
    for world, conflicts in zip(worlds, truth, strict=True):
        with_target = of_target[world.number]
        if conflicts is None or with_target is None:
            continue
        survey = Radar(repository).survey({"T1": world.ours, "T2": world.theirs}, world.target)
        found = ("T1", "T2") in survey.between
        ours, theirs = (survey.spots[one].footprint for one in ("T1", "T2"))
        for_nothing += ours.meets(theirs) and not conflicts
        beyond_paths += found and ours.paths.isdisjoint(theirs.paths)
        # What landed before the other left comes along with it: that is the target's to tell.
        is_alike = survey.spots["T1"].left == survey.spots["T2"].left
        is_told = found or (survey.with_target and not is_alike)
        if (conflicts and not is_told) or (with_target and "T1" not in survey.with_target):
            missed.append(world)
        if (found and not conflicts) or ("T1" in survey.with_target and not with_target):
            false_alarms.append(world)
    assert missed == []
    assert false_alarms == []
    record_property("conflicts", truth.count(True))
    record_property("merges for nothing", for_nothing)
    # Else the worlds would be too tame to show anything.
    assert 30 < truth.count(True) < len(worlds) - 30
    assert truth.count(None) < 5
    assert list(of_target.values()).count(True) > 0
    assert beyond_paths > 0
