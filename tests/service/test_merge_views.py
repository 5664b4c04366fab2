"""What a person, a director and a steward are shown of a merge request."""

from pathlib import Path

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import MergeRequest, TaskId
from sf_mcp.core.risks import RiskKind
from sf_mcp.core.states import MergeState
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.service.merge_views import FILES_SHOWN, MergeView
from tests.builders import (
    Project,
    a_commit,
    a_merge_request,
    a_project,
    a_task,
    a_worker,
    dispatched,
    git,
    some_tasks,
    write,
)
from tests.service.builders_landing import (
    config,
    counted,
    landed,
    landings_done,
    merged_tree,
    one_request,
    tree_at,
)

# Put together here, so that nobody's scanner takes this file for a leak.
BODY = "R4nd0mQz7TyWp2LkVb9XsMc3HgJf6NdEa8Uo"
GITHUB = "ghp" + "_" + BODY


def view_of(project: Project, request: MergeRequest, files_after: str = "") -> MergeView:
    return project.services.merge_views.show_merge_request(
        PERSON, request.id, files_after=files_after
    )


def risks(view: MergeView) -> list[tuple[str, str]]:
    return [(risk.kind.value, risk.path) for risk in view.risks]


def a_task_with_criteria(project: Project, *criteria: str) -> TaskId:
    (task,) = some_tasks(project, TaskDraft(title="Add a parser", acceptance=criteria))
    return task


def test_criteria_are_shown_with_the_session_that_says_they_are_met(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task = a_task_with_criteria(project, "it parses", "it is fast")
    first = a_worker(project, task)
    project.services.claims.record_handoff(
        first.caller,
        progress="half",
        remaining="the other half",
        decisions="",
        pitfalls="",
        next_step="go on",
        commit=None,
        snapshot=None,
        met=[1],
    )
    first.end()
    view = view_of(project, a_merge_request(project, task))
    assert [(one.number, one.text, one.met_by) for one in view.criteria] == [
        (1, "it parses", first.session.name),
        (2, "it is fast", ""),
    ]


def test_changes_are_shown_by_file_with_renames_binaries_and_modes(tmp_path: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(20))
    project = a_project(tmp_path, files={"old name.py": text, "gone.py": "a\nb\n", "run.sh": "x\n"})
    worker = a_worker(project, a_task(project), with_worktree=True)
    git(worker.cwd, "mv", "old name.py", "new\tname.py")
    (worker.cwd / "new\tname.py").write_text(f"{text}more\n")
    (worker.cwd / "picture.png").write_bytes(bytes(range(256)) * 4)
    (worker.cwd / "run.sh").chmod(0o755)
    worker.commit({"gone.py": None, "fresh.py": "1\n2\n3\n"})
    view = view_of(project, worker.request_merge())
    shown = [(one.how, one.path, one.was, one.added, one.removed, one.size) for one in view.files]
    assert shown == [
        ("added", "fresh.py", "", 3, 0, 6),
        ("deleted", "gone.py", "", 0, 2, 0),
        ("renamed", "new\tname.py", "old name.py", 1, 0, len(text) + 5),
        ("added", "picture.png", "", None, None, 1024),
        ("changed", "run.sh", "", 0, 0, 2),
    ]
    assert (view.total_files, view.added, view.removed) == (5, 4, 2)


def test_many_files_are_shown_by_page_and_none_is_left_out(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    names = {f"src/file-{number:04}.py": "x\n" for number in range(FILES_SHOWN + 7)}
    request = one_request(project, names)
    first = view_of(project, request)
    second = view_of(project, request, first.next_after)
    assert [one.path for one in (*first.files, *second.files)] == sorted(names)
    assert (len(first.files), second.next_after, second.total_files) == (200, "", 207)


def test_checks_are_shown_with_their_time_and_what_is_flaky_or_was_failing_before(
    tmp_path: Path,
) -> None:
    once = tmp_path / "once"
    flaky = f"test -e {once} || {{ touch {once}; exit 1; }}"
    project = a_project(tmp_path, config=config({"old": "false", "flaky": flaky, "ok": "true"}))
    project.run_train()
    once.unlink()
    request = one_request(project)
    project.run_train()
    checks = {check.name: check for check in view_of(project, request).checks}
    seen = {name: (one.passed, one.is_flaky, one.is_old) for name, one in checks.items()}
    assert seen == {
        "old": (False, False, True),
        "flaky": (True, True, False),
        "ok": (True, False, False),
    }
    assert all(one.seconds > 0 for one in checks.values())


def test_what_a_trial_said_is_shown_although_it_has_not_passed(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"ok": "true", "bad": "test ! -e bad.txt"}))
    request = one_request(project, {"bad.txt": "x\n"})
    project.run_train()
    view = view_of(project, request)
    assert {check.name: check.passed for check in view.checks} == {"ok": True, "bad": False}
    assert view.checked.startswith("merged with main, in trial ")


def test_what_the_rules_merge_counts_as_merged_with_the_target_of_now(tmp_path: Path) -> None:
    rules = [{"rule": "union", "paths": ["CHANGELOG.md"]}]
    words = config({"ok": "true"}, steward=BY_THE_PERSON, merge={"autoResolve": rules})
    project = a_project(tmp_path, files={"CHANGELOG.md": "# Changes\n"}, config=words)
    request = one_request(project, {"CHANGELOG.md": "# Changes\n- mine\n"})
    a_commit(project.root, {"CHANGELOG.md": "# Changes\n- theirs\n"}, "another entry")
    project.run_train()
    assert view_of(project, request).checked == "merged with main as it is now"


def test_risks_are_those_of_the_diff_and_the_secret_itself_is_nowhere_but_in_it(
    tmp_path: Path,
) -> None:
    files = {"tests/test_a.py": "def test_a():\n    pass\n", "requirements.txt": "a==1\n"}
    project = a_project(tmp_path, files=files)
    request = one_request(
        project,
        {
            "tests/test_a.py": "\n",
            "requirements.txt": "a==2\nleftpad==1\n",
            "app.py": f"x = 1\nTOKEN = '{GITHUB}'\n",
            ".github/workflows/ci.yml": "on: push\n",
        },
    )
    view = view_of(project, request)
    assert risks(view) == [
        ("secret", "app.py"),
        ("tests", "tests/test_a.py"),
        ("ci", ".github/workflows/ci.yml"),
        ("dependency", "requirements.txt"),
    ]
    assert view.risks[0].line == 2
    assert view.risks[0].text == "looks like a GitHub token (ghp_…, 40 characters)"
    assert BODY[:6] not in repr(view)
    project.run_train()
    events = project.services.fleet.read_log(PERSON, after=0, limit=1000)
    assert BODY[:6] not in repr(events)


def test_ordinary_work_has_no_risks(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    request = one_request(
        project,
        {
            "src/app.py": "one\nTWO\nthree\n",
            "tests/test_app.py": "def test_it_counts():\n    assert 1 + 1 == 2\n",
            "readme.md": "Set your API_KEY and password first.\n",
        },
    )
    assert view_of(project, request).risks == []


def test_what_a_bad_merge_of_the_target_brings_back_is_told(tmp_path: Path) -> None:
    project = a_project(tmp_path, files={"old.py": "x\n", "kept.py": "y\n"})
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"mine.py": "m\n"})
    a_commit(project.root, {"old.py": None}, "remove the old one")
    project.run_train()
    # The worker merges the target, and then has all of its old files again.
    worker.git("merge", "--quiet", "-s", "ours", "-m", "merge main", "main")
    view = view_of(project, worker.request_merge())
    assert ("brought back", "old.py") in risks(view)
    # Somebody's new file of another name is nobody's return.
    assert [path for kind, path in risks(view) if kind == "brought back"] == ["old.py"]


def test_files_that_another_live_task_touches_are_told(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    other = a_worker(project, a_task(project, "Other work"), with_worktree=True)
    other.commit({"src/app.py": "one\ntwo\nTHREE\n"})
    request = one_request(project, {"src/app.py": "ONE\ntwo\nthree\n", "alone.py": "x\n"})
    project.services.radar.look()
    (risk,) = view_of(project, request).risks
    assert (risk.kind, risk.path) == (RiskKind.HOT, "src/app.py")
    assert risk.text == f"{other.task_id} is at work on this file too"


def test_what_has_landed_is_still_shown_with_its_changes(tmp_path: Path) -> None:
    for strategy in ("squash", "merge"):
        project = a_project(tmp_path / strategy, config=config(merge={"strategy": strategy}))
        request = one_request(project, {"a.py": "a\n"})
        project.run_train()
        view = view_of(project, request)
        assert (view.status, [one.path for one in view.files]) == ("landed", ["a.py"])


def test_whose_word_is_missing_is_told(tmp_path: Path) -> None:
    reviewed = config(steward={"review": True, "autoMerge": False})
    project = a_project(tmp_path, config=reviewed)
    request = one_request(project)
    project.run_train()
    view = view_of(project, request)
    assert (view.steward, view.person) == (
        "has not decided yet",
        f"has not decided yet: sf mr approve {request.id}, or sf mr reject {request.id}",
    )
    project.services.requests.approve_merge(PERSON, request.id, reason="Read it.")
    assert view_of(project, request).person == "person approved"
    project.configure(config())
    other = view_of(project, one_request(project))
    assert (other.steward, other.person) == ("was not asked", "is not asked (autoMerge is on)")


def test_a_reviewer_is_shown_the_tasks_own_work_and_not_the_target(tmp_path: Path) -> None:
    """Known defect 27: the reviewer stood on the default branch and saw none of the work."""
    project = a_project(tmp_path, config=config(steward={"review": True}))
    request = one_request(project, {"mine.py": "m\n"})
    a_commit(project.root, {"theirs.py": "t\n"}, "meanwhile on the target")
    project.run_train()
    steward = dispatched(project)
    assert git(steward.cwd, "rev-parse", "HEAD") == request.commit
    assert (steward.cwd / "mine.py").read_text() == "m\n"
    changes = project.services.branches.changes_of(project.request(request.id))
    assert (changes.files, changes.worktree) == (("mine.py",), str(steward.cwd))
    assert "+m" in changes.diff
    assert [one.path for one in view_of(project, request).files] == ["mine.py"]


def test_a_patch_of_millions_of_lines_is_looked_at_as_far_as_it_is_bounded(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project), with_worktree=True)
    write(worker.cwd, {"z.txt": "a line of text\n" * 600_000})
    worker.commit({"a.py": f"TOKEN = '{GITHUB}'\n"})
    view = view_of(project, worker.request_merge())
    assert risks(view) == [("secret", "a.py"), ("large", "z.txt")]
    assert view.note == "The patch is too long: only its first 8 MB were searched."


# -- waiting for the person (`autoMerge: false`) ---------------------------------------------------

BY_THE_PERSON = {"autoMerge": False}


def test_an_approval_lands_what_is_verified_already_without_a_further_check(
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    project = a_project(tmp_path, config=config({"t": counted(runs)}, steward=BY_THE_PERSON))
    request = one_request(project)
    project.run_train()
    tree = merged_tree(project, request)
    view = view_of(project, request)
    assert view.status == f"waiting for your approval: sf mr approve {request.id}"
    assert view.checked == "merged with main as it is now"
    before = runs.read_text()
    project.services.requests.approve_merge(PERSON, request.id)
    assert project.services.train.step()
    assert landed(project) == [request.id]
    assert (runs.read_text(), tree_at(project, project.target)) == (before, tree)


def test_what_waits_for_the_person_never_lands_on_a_target_that_moved_without_being_checked_there(
    tmp_path: Path,
) -> None:
    both = "test ! -e one -o ! -e two"
    project = a_project(tmp_path, config=config({"t": both}, steward=BY_THE_PERSON))
    one, two = one_request(project, {"one": "1\n"}), one_request(project, {"two": "2\n"})
    other = one_request(project, {"other": "o\n"})
    project.run_train()
    for request in (one, two, other):
        project.services.requests.approve_merge(PERSON, request.id)
    project.run_train()
    assert sorted(landed(project)) == [one.id, other.id]
    assert project.request(two.id).state is MergeState.SENT_BACK
    assert all(move.is_green for move in landings_done(project))


def test_what_waits_for_the_person_is_verified_anew_each_time_the_target_moves(
    tmp_path: Path,
) -> None:
    both = "test ! -e one -o ! -e two"
    project = a_project(tmp_path, config=config({"t": both}, steward=BY_THE_PERSON))
    waits, breaks = one_request(project, {"a": "a\n"}), one_request(project, {"two": "2\n"})
    other = one_request(project, {"one": "1\n"})
    project.run_train()
    project.services.requests.approve_merge(PERSON, other.id)
    project.run_train()
    assert landed(project) == [other.id]
    assert project.request(waits.id).checked_tree == merged_tree(project, waits)
    view = view_of(project, waits)
    assert view.checked == "merged with main as it is now"
    assert view.status == f"waiting for your approval: sf mr approve {waits.id}"
    # It was fine where it was checked first, and is not on the target of now: nobody need look.
    assert project.request(breaks.id).state is MergeState.SENT_BACK
