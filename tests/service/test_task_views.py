"""A task with all that was done about it, and what it has changed."""

from pathlib import Path

import pytest

from sf_mcp.core.errors import InvalidInput, NotFound
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, TaskId
from sf_mcp.core.states import TaskState
from sf_mcp.service.diffs import FILES_SHOWN, Diff
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.service.task_views import TaskHistory
from tests.builders import (
    Project,
    Worker,
    a_merge_request,
    a_project,
    a_task,
    a_worker,
    dispatched,
    some_tasks,
)
from tests.web.builders_server import answer


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def shown(project: Project, task: str) -> TaskHistory:
    return project.services.task_views.show_task(PERSON, task)


def diff(project: Project, task: str, **which: int | str) -> Diff:
    return project.services.diffs.show_diff(PERSON, task, **which)  # pyright: ignore[reportArgumentType]


def patch(project: Project, task: str, path: str, **more: str) -> str:
    return project.services.diffs.show_file_diff(PERSON, task, path=path, **more).patch  # pyright: ignore[reportArgumentType]


def test_an_untouched_task_says_why_it_does_not_run(project: Project) -> None:
    first = a_task(project, "First")
    task = a_task(project, "Second", depends_on=[first])
    third = a_task(project, "Third", depends_on=[task])

    seen = shown(project, task)

    assert (seen.task.title, seen.standing) == ("Second", "blocked")
    assert [(one.id, one.title, one.standing) for one in seen.depends_on] == [
        (first, "First", "ready")
    ]
    assert [(one.id, one.standing) for one in seen.blocks] == [(third, "blocked")]
    assert first in seen.why.sentence
    assert (seen.attempts, seen.sessions, seen.merge_requests, seen.cost_usd) == ([], [], [], 0)
    assert seen.remaining_minutes == 60


def test_criteria_name_who_says_that_they_are_met(project: Project) -> None:
    (task,) = some_tasks(project, TaskDraft(title="T", acceptance=["it parses", "it is fast"]))
    worker = a_worker(project, task, with_worktree=True)
    project.services.claims.record_handoff(
        worker.caller,
        progress="half",
        remaining="half",
        decisions="",
        pitfalls="",
        next_step="go on",
        commit=None,
        snapshot=None,
        met=[2],
    )

    seen = shown(project, task)

    assert [(one.number, one.text, one.met_by) for one in seen.criteria] == [
        (1, "it parses", ""),
        (2, "it is fast", worker.session.name),
    ]
    assert [one.session_id for one in seen.handoffs] == [worker.session.id]


def test_attempts_and_sessions_tell_who_worked_when_and_what_it_cost(project: Project) -> None:
    task = a_task(project)
    first = a_worker(project, task)
    first.hear(cost_usd=0.25, tokens=1000)
    project.clock.advance(minutes=5)
    first.end(EndKind.NO_OUTCOME, "it said nothing")
    project.clock.advance(minutes=5)
    second = a_worker(project, task)
    second.hear(cost_usd=0.5)

    seen = shown(project, task)

    ended, live = seen.attempts
    assert (ended.session, ended.end, ended.end_detail) == (
        first.session.name,
        EndKind.NO_OUTCOME,
        "it said nothing",
    )
    assert ended.ended_at is not None
    assert (ended.ended_at - ended.started_at).total_seconds() == 300
    assert (live.session_id, live.ended_at, live.end) == (second.session.id, None, None)
    assert [one.id for one in seen.sessions] == [first.session.id, second.session.id]
    assert [one.cost_usd for one in seen.sessions] == [0.25, 0.5]
    assert seen.cost_usd == 0.75
    assert not seen.sessions[0].has_log


def test_questions_notes_and_merge_requests_are_there(project: Project) -> None:
    task = a_task(project)
    worker = a_worker(project, task)
    worker.ask("Per team?")
    worker.end(EndKind.PARKED)
    answer(project, "Q1", "Per person")
    back = dispatched(project)
    back.commit({"a.txt": "a\n"})
    first = back.request_merge("first try")
    back.end()
    project.services.requests.send_back(
        PERSON, first.id, commit=first.commit, reason="not like this"
    )
    second = a_merge_request(project, task)

    seen = shown(project, task)

    assert [(one.text, one.answer, one.answered_by) for one in seen.questions] == [
        ("Per team?", "Per person", "person")
    ]
    assert [note.detail for note in seen.repair_notes] == ["not like this"]
    assert [(one.request.id, one.status) for one in seen.merge_requests] == [
        (first.id, "sent back"),
        (second.id, "waiting for its checks"),
    ]
    assert second.id in seen.why.sentence


def test_a_steward_of_its_merge_request_is_among_its_sessions(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\n")
    task = a_task(project)
    request = a_merge_request(project, task)
    project.run_train()
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None

    subjects = [(one.role, one.subject) for one in shown(project, task).sessions]

    assert subjects == [("worker", task), ("steward", request.id)]


def test_a_task_that_is_not_there_is_refused(project: Project) -> None:
    with pytest.raises(NotFound):
        shown(project, "T9")
    with pytest.raises(NotFound):
        diff(project, "T9")


# -- diffs ----------------------------------------------------------------------------------------


def at_work(project: Project) -> tuple[TaskId, Worker]:
    task = a_task(project)
    return task, a_worker(project, task, with_worktree=True)


def test_before_a_commit_there_is_no_diff(project: Project) -> None:
    task = a_task(project)

    seen = diff(project, task)

    assert (seen.what, seen.commit, seen.files) == ("nothing has been committed yet", None, [])
    with pytest.raises(NotFound, match="Nothing of T1 has been committed"):
        patch(project, task, "a.txt")


def test_the_branch_of_a_task_in_work_is_shown_file_by_file(project: Project) -> None:
    task, worker = at_work(project)
    assert diff(project, task).total_files == 0
    head = worker.commit({"a.txt": "one\n", "src/app.py": "one\n2\nthree\n", "readme.md": None})

    seen = diff(project, task)

    assert seen.commit == head
    assert seen.what.startswith("the branch sf/")
    assert [(file.path, file.how) for file in seen.files] == [
        ("a.txt", "added"),
        ("readme.md", "deleted"),
        ("src/app.py", "changed"),
    ]
    assert (seen.added, seen.removed) == (2, 2)
    assert "+2\n" in patch(project, task, "src/app.py")
    assert "a.txt" not in patch(project, task, "src/app.py")


def test_a_renamed_file_is_shown_with_what_it_was(project: Project) -> None:
    task, worker = at_work(project)
    worker.git("mv", "src/app.py", "src/main.py")
    worker.git("commit", "--quiet", "-m", "rename")

    (file,) = diff(project, task).files

    assert (file.path, file.was, file.how) == ("src/main.py", "src/app.py", "renamed")
    assert "rename from src/app.py" in patch(project, task, file.path, was=file.was)


def test_what_was_handed_in_is_shown_while_it_is_under_way_and_after(project: Project) -> None:
    task = a_task(project)
    request = a_merge_request(project, task, {"a.txt": "a\n"})
    seen = diff(project, task)
    assert (seen.what, seen.commit, seen.total_files) == (request.id, request.commit, 1)

    project.run_train()

    assert project.task(task).state is TaskState.MERGED
    after = diff(project, task)
    assert (after.what, [file.path for file in after.files]) == (request.id, ["a.txt"])
    assert "+a\n" in patch(project, task, "a.txt")


def test_work_that_came_back_is_shown_as_it_goes_on(project: Project) -> None:
    task = a_task(project)
    request = a_merge_request(project, task, {"a.txt": "a\n"})
    project.services.requests.send_back(
        PERSON, request.id, commit=request.commit, reason="not like this"
    )
    assert diff(project, task).what == request.id

    worker = dispatched(project)
    worker.commit({"b.txt": "b\n"})

    seen = diff(project, task)
    assert seen.what.startswith("the branch")
    assert [file.path for file in seen.files] == ["a.txt", "b.txt"]


def test_a_snapshot_is_shown_against_what_was_checked_out(project: Project) -> None:
    task, worker = at_work(project)
    worker.commit({"a.txt": "a\n"})
    (worker.cwd / "b.txt").write_text("b\n")
    project.services.snapshots.take(task, "turn's end", worker.session.id)

    seen = diff(project, task, snapshot=1)

    assert (seen.what, [file.path for file in seen.files]) == ("snapshot 1", ["b.txt"])
    with pytest.raises(NotFound):
        diff(project, task, snapshot=7)


def test_many_files_come_by_pages(project: Project) -> None:
    task, worker = at_work(project)
    worker.commit({f"many/{number:04}.txt": "x\n" for number in range(FILES_SHOWN + 5)})

    first = diff(project, task)
    rest = diff(project, task, files_after=first.next_after)

    assert (len(first.files), len(rest.files), first.total_files) == (FILES_SHOWN, 5, 205)
    assert rest.next_after == ""


def test_a_path_is_a_name_and_nothing_more(project: Project) -> None:
    task, worker = at_work(project)
    worker.commit({"a.txt": "a\n", "[x]*.txt": "b\n"})

    assert patch(project, task, "*.txt") == ""
    assert patch(project, task, "--output=/tmp/x") == ""
    assert "+b\n" in patch(project, task, "[x]*.txt")
    with pytest.raises(InvalidInput):
        patch(project, task, "a\0b")


def test_a_long_patch_comes_by_pages(project: Project) -> None:
    task, worker = at_work(project)
    worker.commit({"long.txt": "".join(f"line {number}\n" for number in range(60_000))})

    page = project.services.diffs.show_file_diff(PERSON, task, path="long.txt")
    assert page.next_start is not None
    rest = project.services.diffs.show_file_diff(
        PERSON, task, path="long.txt", start=page.next_start
    )

    last = page.patch.splitlines()[-1]
    assert rest.patch.splitlines()[0] == f"+line {int(last.split()[1]) + 1}"
