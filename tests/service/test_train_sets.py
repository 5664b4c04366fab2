"""Several merge requests at once: checked together, landed together, and never on each other's
account."""

from pathlib import Path

import pytest

from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.merge_queue import Outcome
from sf_mcp.core.models import LandingKind, TrialRecord
from sf_mcp.core.states import MergeState
from sf_mcp.store import landings, trials
from tests.builders import Project, a_project, git
from tests.service.builders_landing import (
    BOUND_SECONDS,
    config,
    content,
    counted,
    landed,
    landings_done,
    one_request,
    runs_on,
    tree_at,
    until,
)

AT_ONCE = {"parallelChecks": 2}


def trials_of(project: Project) -> list[TrialRecord]:
    with project.services.workspace.read() as tx:
        return trials.newest(tx.db, 1000)


def test_what_passed_together_lands_in_one_move_each_as_a_commit_of_its_own(
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    project = a_project(tmp_path, config=config({"c": counted(runs)}, merge=AT_ONCE))
    # One after the other: which of two that run beside each other ends first is anybody's guess.
    project.services.train.trials.spawn = lambda work, _: work()
    requests = [one_request(project, {name: name}, f"Add {name}") for name in "abcd"]
    project.run_train()
    assert sorted(landed(project)) == [one.id for one in requests]
    moves = landings_done(project, LandingKind.MERGE)
    assert len(moves) < len(requests)
    for move in moves:
        # Every value that the target had was checked as it is.
        assert runs_on(runs, move.tree) == 1
    subjects = git(project.root, "log", "--format=%s", "-4", "main").split("\n")
    assert sorted(subjects) == ["Add a", "Add b", "Add c", "Add d"]
    for request in requests:
        done = project.request(request.id).landed_commit
        assert done is not None
        assert f"Merge-Request: {request.id}" in git(project.root, "log", "-1", "--format=%B", done)


def test_work_that_fails_does_not_hold_up_what_is_behind_it(tmp_path: Path) -> None:
    command = "test ! -e bad"
    project = a_project(tmp_path, config=config({"tests": command}, merge=AT_ONCE))
    bad = one_request(project, {"bad": "b"})
    good = [one_request(project, {name: name}) for name in "xyz"]
    project.run_train()
    assert sorted(landed(project)) == [one.id for one in good]
    assert project.request(bad.id).state is MergeState.SENT_BACK
    failed = [one for one in trials_of(project) if one.outcome is Outcome.FAILED]
    assert [one.requests for one in failed[-2:]] == [(bad.id,), (bad.id,)]


def test_a_trial_that_can_no_longer_matter_is_ended(tmp_path: Path) -> None:
    started = tmp_path / "started"
    command = f"test ! -e slow || {{ touch {started}; sleep 1000; }}"
    project = a_project(tmp_path, config=config({"tests": command}, timeout_seconds=900))
    request = one_request(project, {"slow": "s"})
    project.services.train.step()
    until(started.exists, "the check runs")
    project.services.plans.cancel_task(PERSON, request.task_id)
    project.services.train.step()
    assert project.services.train.wait(BOUND_SECONDS)
    project.run_train()
    assert [one.outcome for one in trials_of(project)] == [Outcome.CANCELLED]
    assert landed(project) == []


def test_a_trial_that_a_killed_server_left_running_is_begun_anew(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}))
    request = one_request(project, {"a": "a"})
    with project.services.workspace.write(SERVER) as tx:
        newest = landings.newest_done(tx.db)
        assert newest is not None
        trials.begin(
            tx.db,
            base=newest.number,
            requests=[request.id],
            commits=[request.commit],
            commit=request.commit,
            tree=tree_at(project, request.commit),
            is_full=True,
            at=tx.now,
        )
    project.reopen()
    project.run_train()
    assert landed(project) == [request.id]
    assert [one.outcome for one in trials_of(project)] == [Outcome.CANCELLED, Outcome.PASSED]


def test_a_check_that_is_added_later_must_pass_too(tmp_path: Path) -> None:
    """What has passed counts for the checks of then; what lands has passed those of now."""
    steward = {"autoMerge": False}
    project = a_project(tmp_path, config=config({"one": "true"}, steward=steward))
    request = one_request(project, {"a": "a"})
    project.run_train()
    assert project.request(request.id).checked_tree is not None
    project.layout.config.write_text(config({"one": "true", "two": "test ! -e a"}))
    project.reopen()
    project.run_train()
    assert landed(project) == []
    assert project.request(request.id).state is MergeState.SENT_BACK


@pytest.mark.parametrize("strategy", ["squash", "merge"])
def test_two_that_land_together_are_both_there(tmp_path: Path, strategy: str) -> None:
    merge = {**AT_ONCE, "strategy": strategy}
    project = a_project(tmp_path, config=config(merge=merge))
    one_request(project, {"a": "a"})
    one_request(project, {"b": "b"})
    project.run_train()
    assert (content(project, "a"), content(project, "b")) == ("a", "b")
    assert git(project.root, "rev-parse", "main") == project.target


def test_a_set_that_passed_before_the_rules_changed_is_checked_as_it_would_land_now(
    tmp_path: Path,
) -> None:
    """A rule that is added makes another tree of what had waited for the person's word."""
    runs = tmp_path / "runs"
    steward = {"autoMerge": False}
    checks = {"c": counted(runs)}
    project = a_project(tmp_path, config=config(checks, steward=steward))
    request = one_request(project, {"a": "a"})
    project.run_train()
    passed = project.request(request.id).checked_tree
    with project.services.workspace.write(SERVER) as tx:
        # As if it had been merged by other rules then.
        other = tree_at(project, project.target)
        tx.db.execute("UPDATE trials SET tree = ?", (other,))
        tx.db.execute("UPDATE verdicts SET tree = ?", (other,))
    project.reopen()
    project.services.requests.approve_merge(PERSON, request.id)
    project.run_train()
    assert landed(project) == [request.id]
    assert runs_on(runs, passed) == 2


def test_a_trial_that_meets_something_unforeseen_rests_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a defect of ours would: it must neither begin anew at once nor be waited for for ever."""
    project = a_project(tmp_path, config=config({"tests": "true"}))

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("something unforeseen")

    with monkeypatch.context() as patched:
        patched.setattr(project.services.checking, "run", fails)
        request = one_request(project, {"a": "a"})
        project.run_train()
        assert project.request(request.id).held == "something unforeseen"
        assert [one.outcome for one in trials_of(project)] == [Outcome.NOT_STARTED]
    project.clock.advance(minutes=2)
    project.run_train()
    assert landed(project) == [request.id]
