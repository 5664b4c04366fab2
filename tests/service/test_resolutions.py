"""What a steward is given to resolve a conflict, and what it may hand back."""

from pathlib import Path

import pytest

from sf_mcp.core.accounting import Decided, Dropped
from sf_mcp.core.errors import InvalidInput, StaleLease, StoneforgeError
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, MergeRequest
from sf_mcp.core.states import ConflictState
from sf_mcp.git.conflicts import Take
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.service.resolutions import Unresolved
from tests.builders import (
    Project,
    Worker,
    a_merge_request,
    a_project,
    a_steward,
    a_task,
    a_worker,
    git,
    some_tasks,
    write,
)
from tests.service.builders_conflicts import (
    BOTH,
    CONFIG,
    Files,
    a_conflict,
    found,
    move_target,
    resolved,
    states,
)
from tests.service.builders_landing import content, files_on_target, landed, one_request

ROOM = 9_000


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path, config=CONFIG)


def dropped(path: str, *lines: str, reason: str = "the other side has it") -> Dropped:
    return Dropped(path=path, lines=lines, reason=reason)


def decided(path: str, take: Take, reason: str = "it is what both want") -> tuple[Decided, Take]:
    return Decided(path=path, reason=reason), take


def message(project: Project, request: MergeRequest) -> str:
    commit = project.request(request.id).commit
    return git(project.forge.git_dir, "show", "-s", "--format=%B", commit)


def refused(steward: Worker, files: Files) -> str:
    with pytest.raises(Unresolved) as error:
        resolved(steward, files)
    return str(error.value)


# -- what it is given ------------------------------------------------------------------------------


def test_a_steward_is_given_both_intents_the_places_and_both_diffs(project: Project) -> None:
    one, other = some_tasks(
        project,
        TaskDraft(title="Say mine", description="Because of me.", acceptance=("mine is said",)),
        TaskDraft(title="Say theirs", description="Because of them."),
    )
    request = a_merge_request(project, one, {"src/app.py": "one\nmine\nthree\n"})
    first = a_merge_request(project, other, {"src/app.py": "one\ntheirs\nthree\n"})
    unrelated = one_request(project, {"elsewhere.txt": "x\n"}, "Something else")
    # The later request lands first here, so the earlier one conflicts.
    project.services.requests.send_back(PERSON, request.id, reason="wait")
    project.run_train()
    assert set(landed(project)) == {first.id, unrelated.id}
    again = a_merge_request(project, one, {"src/app.py": "one\nmine\nthree\n", "n.txt": "n\n"})
    assert found(project, again)

    steward = a_steward(project, again)
    view = project.services.resolutions.claimed_conflict(steward.caller, room=ROOM)

    assert (view.request.id, view.task.title) == (again.id, "Say mine")
    assert (view.task.description, view.task.acceptance) == ("Because of me.", ("mine is said",))
    assert [side.task.title if side.task else "" for side in view.others] == ["Say theirs"]
    assert view.others[0].summary == "done"
    assert view.conflict.paths == ("src/app.py",)
    assert Path(view.worktree) == steward.cwd
    assert view.next_start is None
    for words in (
        "# The places in conflict",
        "src/app.py:2\n<<<<<<<",
        f"# What {one} did to these files",
        "-two\n+mine",
        f"# What main did to them since {one} began",
        "-two\n+theirs",
    ):
        assert words in view.text
    assert "n.txt" not in view.text


def test_a_change_that_came_from_elsewhere_is_shown_with_its_author(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    view = project.services.resolutions.claimed_conflict(steward.caller, room=ROOM)
    (side,) = view.others
    assert (side.subject, side.by, side.task) == ("theirs", "Ada Lovelace <ada@example.org>", None)


def test_the_pages_of_the_text_are_the_whole_text(project: Project) -> None:
    mine = "".join(f'mine "{number}" \\ naïve ✓\n' for number in range(300))
    request = a_conflict(project, {"src/app.py": f"one\n{mine}three\n"})
    steward = a_steward(project, request)
    whole = project.services.resolutions.claimed_conflict(steward.caller, room=10**6)
    assert whole.next_start is None
    start: int | None = 0
    pages: list[str] = []
    while start is not None:
        page = project.services.resolutions.claimed_conflict(steward.caller, start, room=2_000)
        pages.append(page.text)
        start = page.next_start
    assert len(pages) > 3
    assert "".join(pages) == whole.text


def test_one_who_reviews_has_no_conflict_and_one_who_resolves_no_review(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\n")
    services = project.services
    request = one_request(project)
    project.run_train()
    reviewer = a_steward(project, request)
    with pytest.raises(InvalidInput, match="not in conflict"):
        services.resolutions.claimed_conflict(reviewer.caller, room=ROOM)
    services.requests.approve_merge(reviewer.caller, reason="fine")
    reviewer.end()
    project.run_train()
    steward = a_steward(project, a_conflict(project))
    for act in (
        lambda: services.requests.claimed_review(steward.caller),
        lambda: services.requests.approve_merge(steward.caller, reason="mine is best"),
        lambda: services.requests.send_back(steward.caller, reason="no"),
    ):
        with pytest.raises(InvalidInput, match="to be resolved, not reviewed"):
            act()


# -- what it hands back ----------------------------------------------------------------------------


def test_a_result_that_keeps_one_side_is_refused_with_the_others_lines(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    words = refused(steward, {"src/app.py": "one\nmine\nthree\n"})
    assert words.startswith("1 lines or paths are not accounted for:\nsrc/app.py:2 added by main, ")
    assert "missing from the result: theirs" in words
    words = refused(steward, {"src/app.py": "one\ntheirs\nthree\n"})
    assert f"src/app.py:2 added by {request.task_id}, missing from the result: mine" in words
    assert states(project, request) == [ConflictState.OPEN]
    assert project.request(request.id).commit == request.commit


def test_what_is_listed_with_a_reason_is_accepted_and_told_in_the_commit(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    resolved(
        steward,
        {"src/app.py": "one\nmine and theirs\nthree\n"},
        dropped=[dropped("src/app.py", "mine", "theirs", reason="one line says both")],
    )
    assert states(project, request) == [ConflictState.RESOLVED]
    text = message(project, request)
    assert "Not taken over:\n- src/app.py, 2 lines: one line says both\n" in text
    assert "    mine\n    theirs" in text


@pytest.mark.parametrize("reason", ["", "   "])
def test_a_listed_line_without_a_reason_is_refused(project: Project, reason: str) -> None:
    steward = a_steward(project, a_conflict(project))
    with pytest.raises(Unresolved):
        resolved(
            steward,
            {"src/app.py": "one\nmine\nthree\n"},
            dropped=[dropped("src/app.py", "theirs", reason=reason)],
        )


def test_files_that_still_have_their_markers_are_refused(project: Project) -> None:
    steward = a_steward(project, a_conflict(project))
    words = refused(steward, {})
    assert "src/app.py:2 a conflict marker is left in the result: <<<<<<< HEAD" in words
    assert "a conflict marker is left in the result: =======" in words


def test_another_file_is_changed_only_with_a_reason(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    files: Files = {**BOTH, "readme.md": "hello\nboth\n", "new.txt": "new\n"}
    words = refused(steward, files)
    assert "readme.md: changed, although it was not in conflict" in words
    assert "new.txt: changed, although it was not in conflict" in words
    resolved(
        steward,
        files,
        decided=[
            decided("readme.md", Take.AS_IT_IS, "it names both"),
            decided("new.txt", Take.AS_IT_IS, "shared by both"),
        ],
    )
    assert "- readme.md, as it is: it names both" in message(project, request)
    project.run_train()
    assert content(project, "new.txt") == "new"


def test_another_file_does_not_lose_a_line_either(project: Project) -> None:
    steward = a_steward(project, a_conflict(project))
    write(steward.cwd, {**BOTH, "readme.md": "bye\n"})
    with pytest.raises(Unresolved, match=r"readme.md:1 kept by both sides, missing .*: hello"):
        resolved(steward, {}, decided=[decided("readme.md", Take.AS_IT_IS)])


def test_what_git_merged_by_itself_is_in_the_result(project: Project) -> None:
    request = a_conflict(
        project,
        {"src/app.py": "one\nmine\nthree\n", "mine.txt": "m\n"},
        {"src/app.py": "one\ntheirs\nthree\n", "theirs.txt": "t\n", "readme.md": "hi\n"},
    )
    resolved(a_steward(project, request), BOTH)
    project.run_train()
    assert files_on_target(project) == ["mine.txt", "readme.md", "src/app.py", "theirs.txt"]


def test_the_rules_of_the_fleet_are_not_changed_by_a_resolution(project: Project) -> None:
    steward = a_steward(project, a_conflict(project))
    write(steward.cwd, {**BOTH, ".stoneforge/config.yaml": "checks: []\n"})
    git(steward.cwd, "add", "--force", ".stoneforge/config.yaml")
    with pytest.raises(InvalidInput, match="those rules are the person's"):
        resolved(steward, {}, decided=[decided(".stoneforge/config.yaml", Take.AS_IT_IS)])


def test_a_repository_inside_is_no_result(project: Project) -> None:
    steward = a_steward(project, a_conflict(project))
    write(steward.cwd, {"inner/x.txt": "x\n"})
    git(steward.cwd / "inner", "init", "--quiet")
    git(steward.cwd / "inner", "add", ".")
    git(steward.cwd / "inner", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x")
    with pytest.raises(InvalidInput, match="inner holds a repository of its own"):
        resolved(steward, BOTH, decided=[decided("inner", Take.AS_IT_IS)])


def test_a_forged_git_file_leads_nowhere(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    before = git(project.root, "rev-parse", "HEAD")
    (steward.cwd / ".git").write_text(f"gitdir: {project.root / '.git'}\n")
    resolved(steward, BOTH)
    assert states(project, request) == [ConflictState.RESOLVED]
    assert git(project.root, "rev-parse", "HEAD") == before
    assert git(project.root, "status", "--porcelain") == ""


# -- paths without lines to merge ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("take", "is_there"), [(Take.DELETED, False), (Take.TARGET, False), (Take.MINE, True)]
)
def test_a_file_that_one_side_deleted_is_decided_with_a_reason(
    project: Project, take: Take, is_there: bool
) -> None:
    request = a_conflict(project, {"src/app.py": "one\nmine\nthree\n"}, {"src/app.py": None})
    steward = a_steward(project, request)
    words = refused(steward, {})
    assert "src/app.py: changed by one side, deleted by the other" in words
    resolved(steward, {}, decided=[decided("src/app.py", take, "it is needed no more")])
    assert f"- src/app.py, {take.value}: it is needed no more" in message(project, request)
    project.run_train()
    # Deleted, the request brings nothing that the target lacks, and is closed.
    assert ("src/app.py" in files_on_target(project)) == is_there


def test_a_binary_file_is_one_of_the_two(project: Project) -> None:
    (project.root / "logo.bin").write_bytes(b"\0base")
    git(project.root, "add", ".")
    move_target(project, {})
    request = a_conflict(project, {"logo.bin": "\0mine"}, {"logo.bin": "\0theirs"})
    steward = a_steward(project, request)
    assert "logo.bin: binary, a link or a submodule" in refused(steward, {})
    resolved(steward, {}, decided=[decided("logo.bin", Take.TARGET, "the newer logo")])
    commit = project.request(request.id).commit
    assert git(project.forge.git_dir, "show", f"{commit}:logo.bin") == "\0theirs"


def test_a_link_is_one_of_the_two(project: Project) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    (worker.cwd / "link").symlink_to("readme.md")
    worker.commit({})
    request = worker.request_merge()
    worker.end()
    (project.root / "link").symlink_to("src/app.py")
    move_target(project, {})
    assert found(project, request)
    steward = a_steward(project, request)
    assert "link: binary, a link or a submodule" in refused(steward, {})
    resolved(steward, {}, decided=[decided("link", Take.MINE, "the readme it is")])
    commit = project.request(request.id).commit
    assert git(project.forge.git_dir, "show", f"{commit}:link") == "readme.md"


def test_the_mode_of_a_file_is_merged_whatever_the_editor_did(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    (steward.cwd / "src/app.py").chmod(0o755)
    resolved(steward, BOTH)
    commit = project.request(request.id).commit
    listed = git(project.forge.git_dir, "ls-tree", commit, "src/app.py")
    assert listed.startswith("100644 ")


def test_a_side_of_a_path_that_is_not_in_conflict_cannot_be_taken(project: Project) -> None:
    steward = a_steward(project, a_conflict(project))
    with pytest.raises(InvalidInput, match=r"readme.md is not in conflict"):
        resolved(steward, BOTH, decided=[decided("readme.md", Take.TARGET)])


def test_windows_line_ends_are_part_of_a_line(project: Project) -> None:
    crlf = "one\r\n{}\r\nthree\r\n"
    (project.root / "dos.txt").write_bytes(crlf.format("two").encode())
    git(project.root, "add", ".")
    move_target(project, {})
    request = a_conflict(
        project, {"dos.txt": crlf.format("mine")}, {"dos.txt": crlf.format("theirs")}
    )
    steward = a_steward(project, request)
    assert "added by main, missing" in refused(steward, {"dos.txt": "one\nmine\ntheirs\nthree\n"})
    write(steward.cwd, {})
    (steward.cwd / "dos.txt").write_bytes(b"one\r\nmine\r\ntheirs\r\nthree\r\n")
    resolved(steward, {})


# -- who may hand back -----------------------------------------------------------------------------


def test_only_the_session_that_holds_the_conflict_submits(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    write(steward.cwd, BOTH)
    steward.end(EndKind.LEASE_EXPIRED)
    with pytest.raises(StaleLease):
        resolved(steward, {})
    second = a_steward(project, request)
    with pytest.raises(StaleLease):
        resolved(steward, {})
    resolved(second, {})
    assert states(project, request) == [ConflictState.RESOLVED]


def test_a_resolution_that_was_made_before_the_lease_ended_is_refused(project: Project) -> None:
    request = a_conflict(project)
    steward = a_steward(project, request)
    write(steward.cwd, BOTH)
    made = project.services.resolutions.checked(
        steward.caller, summary="both", dropped=(), decided=()
    )
    steward.end(EndKind.KILLED)
    with pytest.raises(StoneforgeError):
        project.services.resolutions.accept(steward.caller, made)
    assert states(project, request) == [ConflictState.OPEN]


def test_a_summary_is_asked_for(project: Project) -> None:
    steward = a_steward(project, a_conflict(project))
    with pytest.raises(InvalidInput, match="The summary is empty"):
        resolved(steward, BOTH, summary="  ")
