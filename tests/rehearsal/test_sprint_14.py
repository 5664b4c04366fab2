"""The main job, whole: the shipped story with real Claude Code processes, watched from outside."""

from pathlib import Path

import pytest

from tests.rehearsal.rehearsed import Rehearsed, rehearse

SUITE = "python3 -m unittest -q"


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Rehearsed:
    return rehearse(tmp_path_factory.mktemp("sprint") / "world")


def test_everything_the_story_expects_has_held(rehearsed: Rehearsed) -> None:
    failed = [finding for finding in rehearsed.outcome["findings"] if not finding["held"]]
    assert failed == []
    assert set(rehearsed.outcome["tasks"].values()) == {"merged"}


def test_git_wrote_down_every_value_that_the_test_saw(rehearsed: Rehearsed) -> None:
    written = iter(rehearsed.targets)
    assert len(rehearsed.seen) > 2
    assert all(value in written for value in rehearsed.seen)


def test_every_value_the_target_branch_ever_had_passes_the_suite(
    rehearsed: Rehearsed, tmp_path: Path
) -> None:
    passed = rehearsed.passed(tmp_path / "clone", SUITE)
    red = [commit for commit, of_it in zip(rehearsed.targets, passed, strict=True) if not of_it]
    assert red == []
    # The state before the story, and one landing for each of its seven tasks.
    assert len(rehearsed.targets) == 8


def test_tasks_landed_after_what_they_depend_on(rehearsed: Rehearsed) -> None:
    order = [
        next(
            line.removeprefix("Task: ")
            for line in rehearsed.git("show", "-s", "--format=%B", commit).splitlines()
            if line.startswith("Task: ")
        )
        for commit in rehearsed.targets[1:]
    ]
    # In the story's order: store, limits, guide, invite, notify, welcome, release.
    depends_on = {"T4": ["T1"], "T5": ["T1"], "T6": ["T4", "T5"], "T7": ["T6", "T2", "T3"]}
    too_early = [
        (task, on)
        for task, others in depends_on.items()
        for on in others
        if order.index(on) > order.index(task)
    ]
    assert too_early == []


def test_the_persons_checkout_ends_on_the_last_value_and_is_clean(rehearsed: Rehearsed) -> None:
    assert rehearsed.git("rev-parse", "HEAD").strip() == rehearsed.targets[-1]
    assert rehearsed.git("symbolic-ref", "--short", "HEAD").strip() == "main"
    assert rehearsed.git("status", "--porcelain", "--untracked-files=no") == ""


def test_no_process_is_left_behind(rehearsed: Rehearsed) -> None:
    assert rehearsed.left_running == []
