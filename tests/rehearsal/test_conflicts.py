"""The merge train, whole: each thing that can stand in the way of a landing, with real sessions."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.rehearsal.rehearsed import Rehearsed, rehearse

STORY = Path(__file__).parents[2] / "examples" / "rehearsals" / "conflicts.yaml"
SUITE, TIDY = "python3 -m unittest -q", "! grep -rn TODO shop"


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Rehearsed:
    return rehearse(tmp_path_factory.mktemp("conflicts") / "world", str(STORY))


def test_everything_the_story_expects_has_held(rehearsed: Rehearsed) -> None:
    failed = [finding for finding in rehearsed.outcome["findings"] if not finding["held"]]
    assert failed == []
    assert set(rehearsed.outcome["tasks"].values()) == {"merged"}
    assert rehearsed.left_running == []


def test_every_value_of_the_target_passes_what_its_predecessor_passed(
    rehearsed: Rehearsed, tmp_path: Path
) -> None:
    # What the test saw is part of what git wrote down, which has every value.
    written = iter(rehearsed.targets)
    assert all(value in written for value in rehearsed.seen)
    passed = rehearsed.passed(tmp_path / "clone", SUITE, TIDY)
    assert len(passed) > 2
    assert all(before <= after for before, after in pairwise(passed))
    # The one that fails does so from the beginning, and has kept nothing from landing.
    assert passed == [{SUITE}] * len(passed)
