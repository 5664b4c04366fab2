"""Merge requests mirrored on GitHub: a scripted `gh`, a real origin."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import MergeRequest
from sf_mcp.git.remotes import url_of
from sf_mcp.service.drafts import TaskDraft
from tests.builders import Project, a_merge_request, a_project, a_worker, git, some_tasks
from tests.service.builders_github import Gh, a_gh
from tests.service.builders_landing import a_clone, an_origin, config, landed, one_request, told

MIRRORED = config(merge={"requests": "github"}, steward={"autoMerge": False})


@pytest.fixture
def gh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gh:
    return a_gh(tmp_path / "bin", monkeypatch)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = a_project(tmp_path, config=MIRRORED)
    an_origin(project, tmp_path / "origin.git")
    return project


def mirror(project: Project) -> float | None:
    return project.services.pull_requests.mirror()


def problems(project: Project) -> list[str]:
    found = project.services.fleet.fleet_status(PERSON).notes
    return [note for note in found if note.startswith("Pull requests are not up to date")]


def at_origin(tmp_path: Path, branch: str) -> str:
    return git(tmp_path / "origin.git", "rev-parse", branch)


def approve(project: Project, request: MergeRequest) -> None:
    project.services.requests.approve_merge(PERSON, request.id)
    project.run_train()


# -- the way of one --------------------------------------------------------------------------------


def test_a_merge_request_is_opened_as_a_pull_request_with_its_words(
    project: Project, gh: Gh, tmp_path: Path
) -> None:
    words = {"description": "Ask @ada `why` $(first).", "acceptance": ("it parses", "it is fast")}
    (task,) = some_tasks(project, TaskDraft(title='Add "a" $HOME `parser`', **words))  # type: ignore[arg-type]
    request = a_merge_request(project, task)
    assert mirror(project) is None
    (pull,) = gh.pulls
    assert (pull["head"], pull["base"]) == (request.branch, "main")
    assert pull["title"] == f'{task}: Add "a" $HOME `parser`'
    assert "done" in pull["body"]
    assert "- it parses\n- it is fast" in pull["body"]
    assert f"{request.id} of {task}, at {request.commit}." in pull["body"]
    # Nobody is called by what a model wrote, and nothing of it was run.
    assert "@ada" not in pull["body"]
    assert "`why` $(first)" in pull["body"]
    assert at_origin(tmp_path, request.branch) == request.commit
    assert [event["url"] for event in told(project, "pull_request_opened")] == [pull["url"]]
    # Once: nothing has changed since.
    calls = len(gh.calls)
    assert (mirror(project), len(gh.calls)) == (None, calls)


def test_the_persons_repository_gets_neither_branch_nor_ref_of_it(project: Project, gh: Gh) -> None:
    before = git(project.root, "for-each-ref")
    one_request(project)
    mirror(project)
    assert len(gh.pulls) == 1
    assert git(project.root, "for-each-ref") == before
    git(project.root, "fsck", "--connectivity-only")


def test_a_landing_closes_it_with_the_commit_that_landed(project: Project, gh: Gh) -> None:
    request = one_request(project)
    mirror(project)
    approve(project, request)
    mirror(project)
    (pull,) = gh.pulls
    assert pull["state"] == "CLOSED"
    (comment,) = pull["comments"]
    landed_commit = project.request(request.id).landed_commit
    assert comment["body"].startswith(f"Landed on `main` as {landed_commit}.")
    mirror(project)
    assert len(gh.pulls[0]["comments"]) == 1


def test_work_that_is_sent_back_stays_open_and_follows_with_the_next_request(
    project: Project, gh: Gh, tmp_path: Path
) -> None:
    first = one_request(project)
    mirror(project)
    project.services.requests.send_back(PERSON, first.id, reason="Handle the empty list.")
    mirror(project)
    (pull,) = gh.pulls
    assert (pull["state"], len(pull["comments"])) == ("OPEN", 1)
    assert "Handle the empty list." in pull["comments"][0]["body"]
    worker = a_worker(project, first.task_id, with_worktree=True)
    # Redone from the start: the branch at origin cannot be fast-forwarded to it.
    worker.git("reset", "--quiet", "--hard", first.base)
    worker.commit({"other.py": "o\n"})
    second = worker.request_merge("The other way.")
    mirror(project)
    (pull,) = gh.pulls
    assert (pull["state"], at_origin(tmp_path, second.branch)) == ("OPEN", second.commit)
    assert "The other way." in pull["body"]
    # What was there before is kept.
    assert first.commit in project.forge.refs_below("refs/stoneforge/kept").values()


def test_a_cancelled_task_closes_it(project: Project, gh: Gh) -> None:
    open_one, sent_back = one_request(project), one_request(project)
    mirror(project)
    project.services.requests.send_back(PERSON, sent_back.id, reason="No.")
    mirror(project)
    for request in (open_one, sent_back):
        project.services.plans.cancel_task(PERSON, request.task_id)
    mirror(project)
    assert [pull["state"] for pull in gh.pulls] == ["CLOSED", "CLOSED"]
    assert all("Withdrawn" in pull["comments"][-1]["body"] for pull in gh.pulls)


def test_one_that_was_merged_there_by_hand_or_by_the_push_is_not_closed_again(
    project: Project, gh: Gh
) -> None:
    request = one_request(project)
    mirror(project)
    pulls = gh.pulls
    pulls[0]["state"] = "MERGED"
    (gh.folder / "state.json").write_text(json.dumps(pulls))
    approve(project, request)
    assert mirror(project) is None
    assert "close" not in gh.verbs()


def test_what_has_nothing_to_merge_or_had_ended_before_is_not_mirrored(
    tmp_path: Path, gh: Gh
) -> None:
    project = a_project(tmp_path, config=config())
    an_origin(project, tmp_path / "origin.git")
    ended = one_request(project)
    project.run_train()
    assert landed(project) == [ended.id]
    project.configure(MIRRORED)
    (task,) = some_tasks(project, TaskDraft(title="Look"))
    a_worker(project, task, with_worktree=True).request_merge(no_changes_reason="It is there.")
    assert (mirror(project), gh.calls) == (None, [])


def test_nothing_is_mirrored_unless_that_is_switched_on(tmp_path: Path, gh: Gh) -> None:
    project = a_project(tmp_path)
    an_origin(project, tmp_path / "origin.git")
    one_request(project)
    assert (mirror(project), gh.calls) == (None, [])


# -- crashes ---------------------------------------------------------------------------------------


def test_one_that_was_opened_just_before_a_crash_is_found_and_not_opened_twice(
    project: Project, gh: Gh
) -> None:
    gh.dies_after_creating()
    one_request(project)
    assert mirror(project) is not None
    project.reopen()
    project.clock.advance(minutes=11)
    assert mirror(project) is None
    assert len(gh.pulls) == 1
    assert problems(project) == []


def test_a_comment_that_was_made_just_before_a_crash_is_not_made_twice(
    project: Project, gh: Gh, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = one_request(project)
    mirror(project)
    approve(project, request)
    service = project.services.pull_requests

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(service, "_keep", die)
        with pytest.raises(KeyboardInterrupt):
            mirror(project)
    project.reopen()
    mirror(project)
    (pull,) = gh.pulls
    assert (pull["state"], len(pull["comments"])) == ("CLOSED", 1)


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words", "remedy"),
    [
        (4, "To get started with GitHub CLI, please run:  gh auth login", "gh auth login"),
        (1, "HTTP 401: Bad credentials\nTry authenticating with:  gh auth login", "gh auth login"),
        (1, "could not connect to api.github.com", "gh pr list"),
    ],
)
def test_a_failing_gh_is_told_once_with_the_remedy_and_blocks_nothing(
    project: Project, gh: Gh, code: int, words: str, remedy: str
) -> None:
    gh.fails(code, words)
    request = one_request(project)
    assert mirror(project) == 30.0
    (note,) = problems(project)
    assert (words.split("\n")[0].split("  ")[0] in note, remedy in note) == (True, True)
    approve(project, request)
    assert landed(project) == [request.id]
    # It rests, longer each time, and says the same thing once.
    calls = len(gh.calls)
    mirror(project)
    assert len(gh.calls) == calls
    for _ in range(3):
        one_request(project)
        project.clock.advance(minutes=11)
        mirror(project)
    assert len(told(project, "pull_requests_failed")) == 1
    gh.works()
    project.clock.advance(minutes=11)
    assert mirror(project) is None
    assert problems(project) == []
    assert [pull["state"] for pull in gh.pulls] == ["OPEN", "OPEN", "OPEN"]


def test_a_missing_gh_is_told_and_blocks_nothing(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    git_path = shutil.which("git")
    assert git_path is not None
    (tools / "git").symlink_to(git_path)
    request = one_request(project)
    monkeypatch.setenv("PATH", str(tools))
    assert mirror(project) == 30.0
    (note,) = problems(project)
    assert "gh could not be started: No such file or directory." in note
    assert "https://cli.github.com" in note
    monkeypatch.undo()
    approve(project, request)
    assert landed(project) == [request.id]


def test_without_an_origin_that_is_told_with_the_remedy(tmp_path: Path, gh: Gh) -> None:
    project = a_project(tmp_path, config=MIRRORED)
    one_request(project)
    assert mirror(project) == 30.0
    (note,) = problems(project)
    assert "There is no remote origin." in note
    assert gh.calls == []


def test_a_branch_that_somebody_else_pushed_to_is_left_alone_and_told(
    project: Project, gh: Gh, tmp_path: Path
) -> None:
    first = one_request(project)
    mirror(project)
    other = a_clone(tmp_path / "origin.git", tmp_path / "other")
    git(other, "switch", "--quiet", first.branch)
    git(other, "commit", "--quiet", "--allow-empty", "-m", "theirs")
    git(other, "push", "--quiet", "origin", first.branch)
    theirs = git(other, "rev-parse", "HEAD")
    project.services.requests.send_back(PERSON, first.id, reason="More.")
    worker = a_worker(project, first.task_id, with_worktree=True)
    worker.commit({"more.py": "m\n"})
    worker.request_merge()
    beside = one_request(project)
    assert mirror(project) == 30.0
    assert at_origin(tmp_path, first.branch) == theirs
    assert f"origin does not take {first.branch}" in problems(project)[0]
    # One that is refused holds nobody else up.
    assert beside.branch in [pull["head"] for pull in gh.pulls]


def test_the_servers_stop_ends_a_gh_that_hangs(project: Project, gh: Gh) -> None:
    gh.hangs()
    one_request(project)
    threading.Timer(0.3, project.services.pull_requests.cancel.set).start()
    assert mirror(project) is None
    assert problems(project) == []


# -- how gh is called ------------------------------------------------------------------------------


def test_gh_knows_the_repository_of_origin_and_nothing_of_a_session(
    project: Project, gh: Gh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SF_TOKEN", "x")
    monkeypatch.setenv("CLAUDECODE", "1")
    monkeypatch.setenv("GH_TOKEN", "theirs")
    # GitHub's name for it, and this machine's folder behind that name.
    url = "git@github.com:acme/app.git"
    git(project.root, "remote", "set-url", "origin", url)
    git(project.root, "config", "remote.origin.pushurl", str(tmp_path / "origin.git"))
    assert url_of(project.root, "origin") == url
    one_request(project)
    mirror(project)
    assert len(gh.pulls) == 1
    for call in gh.calls:
        at = call["argv"].index("--repo")
        assert call["argv"][at + 1] == "github.com/acme/app"
        assert not {"SF_TOKEN", "CLAUDECODE"} & set(call["env"])
        assert {"GH_TOKEN", "HOME", "GH_PROMPT_DISABLED"} <= set(call["env"])
