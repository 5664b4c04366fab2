"""Handoffs: what is carried from session to session, and what the server writes in their place."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from sf_mcp.core.errors import InvalidInput, StaleLease
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, Handoff, TaskId
from sf_mcp.core.states import TaskState
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.store import handoffs
from tests.builders import (
    Project,
    Worker,
    a_project,
    a_task,
    a_worker,
    git,
    some_tasks,
    write,
)

CRITERIA = ("It reads", "It writes", "It is fast")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


@pytest.fixture
def task(project: Project) -> TaskId:
    (task,) = some_tasks(project, TaskDraft(title="A parser", acceptance=CRITERIA))
    return task


def hand_off(worker: Worker, *met: int, progress: str = "half") -> None:
    facts = worker.project.services.work.handoff_facts(worker.caller)
    worker.project.services.claims.record_handoff(
        worker.caller,
        progress=progress,
        remaining="the rest",
        decisions="",
        pitfalls="",
        next_step="go on",
        commit=facts.commit,
        snapshot=facts.snapshot,
        met=met,
    )
    worker.end()


def take_over(worker: Worker) -> EndKind:
    return worker.project.services.work.take_over_context(PERSON, worker.session.id)


def handoffs_of(project: Project, task: TaskId) -> list[Handoff]:
    with project.services.workspace.read() as tx:
        return handoffs.of_task(tx.db, task)


def met_in_brief(project: Project, task: TaskId) -> list[tuple[int, str, bool]]:
    worker = a_worker(project, task)
    brief = project.services.claims.claim_task(worker.caller)
    worker.end(EndKind.STOPPED)
    return [(one.number, one.by, one.is_repeated) for one in brief.met]


# -- criteria ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [(0,), (4,), (-1,), (1, 99)])
def test_a_criterion_that_there_is_not_is_refused_and_nothing_is_handed_off(
    project: Project, task: TaskId, wrong: tuple[int, ...]
) -> None:
    worker = a_worker(project, task)

    with pytest.raises(InvalidInput, match=f"names {wrong[-1]}, but T1 has criteria 1 to 3"):
        hand_off(worker, *wrong)

    assert project.task(task).state is TaskState.CLAIMED
    assert handoffs_of(project, task) == []


def test_a_task_without_criteria_takes_none(project: Project) -> None:
    worker = a_worker(project, a_task(project))

    with pytest.raises(InvalidInput, match="has no acceptance criteria"):
        hand_off(worker, 1)


def test_what_sessions_say_is_met_reaches_the_next_one_with_who_says_so(
    project: Project, task: TaskId
) -> None:
    assert met_in_brief(project, task) == []
    other = a_worker(project, a_task(project))  # so that the names differ
    first = a_worker(project, task)
    other.end(EndKind.STOPPED)
    hand_off(first, 2, 2)
    assert met_in_brief(project, task) == [(2, "worker-2", True)]
    second = a_worker(project, task)
    hand_off(second, 1, 2)
    hand_off(a_worker(project, task))  # says nothing of it
    assert met_in_brief(project, task) == [(1, "worker-1", True), (2, "worker-1", True)]
    hand_off(a_worker(project, task), 1)
    assert met_in_brief(project, task) == [(1, "worker-1", True), (2, "worker-1", False)]


def test_a_criterion_that_moves_keeps_what_was_said_of_it_and_a_changed_one_does_not(
    project: Project, task: TaskId
) -> None:
    hand_off(a_worker(project, task), 1, 3)

    project.services.plans.update_task(
        PERSON, task, acceptance=["It is fast", "It reads everything"]
    )

    assert met_in_brief(project, task) == [(1, "worker-1", True)]


# -- what is not committed ---------------------------------------------------------------------


def test_a_handoff_while_files_are_not_committed_keeps_them_and_leaves_the_worktree_as_it_is(
    project: Project, task: TaskId
) -> None:
    worker = a_worker(project, task, with_worktree=True)
    write(worker.cwd, {"half.txt": "half\n", "src/app.py": "changed\n"})
    worker.git("add", "src/app.py")
    before = worker.git("status", "--porcelain")

    hand_off(worker)

    (kept,) = handoffs_of(project, task)
    assert git(worker.cwd, "show", f"{kept.snapshot}:half.txt") == "half"
    assert worker.git("status", "--porcelain") == before


def test_a_handoff_names_the_snapshot_of_files_that_a_turns_end_had_kept_already(
    project: Project, task: TaskId
) -> None:
    worker = a_worker(project, task, with_worktree=True)
    write(worker.cwd, {"half.txt": "half\n"})
    project.services.work.turn_ended(PERSON, worker.session.id)

    hand_off(worker)

    (kept,) = handoffs_of(project, task)
    assert git(worker.cwd, "show", f"{kept.snapshot}:half.txt") == "half"


# -- taken over --------------------------------------------------------------------------------


def a_log(project: Project, worker: Worker, *blocks: Mapping[str, object]) -> None:
    """Have the session say something, as its log shows it."""
    log = project.layout.logs / "sessions" / "one.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    line = {"type": "assistant", "message": {"content": blocks}, "parent_tool_use_id": None}
    log.write_text('{"type":"system"}\n' + json.dumps(line) + "\n")
    project.services.sessions.started(
        PERSON, worker.session.id, pid=0, process_started="", log_path=str(log)
    )


def test_a_full_session_is_handed_over_from_its_commits_its_files_and_its_last_words(
    project: Project, task: TaskId
) -> None:
    hand_off(a_worker(project, task, with_worktree=True), 2)
    worker = a_worker(project, task, with_worktree=True)
    worker.commit({"src/parser.py": "one\n"}, "Read numbers")
    write(worker.cwd, {"draft.txt": "half\n"})
    todos = [
        {"content": "Read numbers", "status": "completed"},
        {"content": "Write numbers", "status": "in_progress"},
    ]
    a_log(
        project,
        worker,
        {"type": "text", "text": "The tokenizer chokes on CRLF."},
        {"type": "tool_use", "name": "TodoWrite", "input": {"todos": todos}},
        {"type": "tool_use", "name": "Bash", "input": {"command": "pytest -k crlf"}},
    )

    assert take_over(worker) is EndKind.CONTEXT_FULL

    *_, kept = handoffs_of(project, task)
    assert kept.by_server
    assert "Read numbers" in kept.progress
    assert "draft.txt" in kept.progress
    assert "1. It reads" in kept.remaining
    assert "2. It writes" not in kept.remaining
    assert "[x] Read numbers\n[~] Write numbers" in kept.remaining
    assert "The tokenizer chokes on CRLF." in kept.pitfalls
    assert "Bash: pytest -k crlf" in kept.pitfalls
    assert kept.next_step.startswith("It was at: Write numbers.")
    assert git(worker.cwd, "show", f"{kept.snapshot}:draft.txt") == "half"
    assert project.task(task).state is TaskState.OPEN
    assert worker.end(EndKind.CONTEXT_FULL).end is EndKind.CONTEXT_FULL
    assert met_in_brief(project, task) == [(2, "worker-1", True)]


def test_a_session_that_said_and_did_nothing_is_handed_over_too(
    project: Project, task: TaskId
) -> None:
    worker = a_worker(project, task, with_worktree=True)

    assert take_over(worker) is EndKind.CONTEXT_FULL

    (kept,) = handoffs_of(project, task)
    assert kept.progress == "Nothing was committed."
    assert kept.snapshot is None


def test_a_worktree_that_cannot_be_read_is_no_reason_to_lose_the_handoff(
    project: Project, task: TaskId
) -> None:
    worker = a_worker(project, task, with_worktree=True)
    (worker.cwd / ".git").unlink()
    (project.layout.forge / "worktrees" / task / "HEAD").write_text("nonsense\n")

    assert take_over(worker) is EndKind.CONTEXT_FULL

    (kept,) = handoffs_of(project, task)
    assert kept.by_server
    assert worker.cwd.exists()


def test_the_longest_last_words_and_subjects_make_no_handoff_that_is_refused(
    project: Project, task: TaskId
) -> None:
    worker = a_worker(project, task, with_worktree=True)
    for number in range(40):
        worker.git("commit", "--quiet", "--allow-empty", "-m", f"{number} " + "x" * 2_000)
    write(worker.cwd, {f"{'f' * 200}{number}": "" for number in range(100)})
    todos = [{"content": "t" * 5_000, "status": "pending"} for _ in range(500)]
    a_log(
        project,
        worker,
        *({"type": "text", "text": "w" * 90_000} for _ in range(5)),
        {"type": "tool_use", "name": "TodoWrite", "input": {"todos": todos}},
    )

    assert take_over(worker) is EndKind.CONTEXT_FULL


@pytest.mark.parametrize("how", ["handed off", "merge requested", "expired", "cancelled"])
def test_what_ended_before_it_is_taken_over_stays_as_it_ended(
    project: Project, task: TaskId, how: str
) -> None:
    worker = a_worker(project, task, with_worktree=True)
    match how:
        case "handed off":
            hand_off(worker)
            ended = EndKind.HANDED_OFF
        case "merge requested":
            worker.commit({"a.txt": "a\n"})
            worker.request_merge()
            ended = EndKind.MERGE_REQUESTED
        case "expired":
            project.clock.advance(minutes=30)
            project.services.lease_watch.expire(PERSON)
            ended = EndKind.LEASE_EXPIRED
        case _:
            project.services.plans.cancel_task(PERSON, task)
            ended = EndKind.CANCELLED
    before = (project.task(task), handoffs_of(project, task))

    assert take_over(worker) is ended

    assert (project.task(task), handoffs_of(project, task)) == before


def test_a_handoff_and_a_take_over_at_once_make_one_handoff(project: Project) -> None:
    """Whoever comes second is told what the first has done."""
    for _ in range(5):
        worker = a_worker(project, a_task(project), with_worktree=True)
        begin = threading.Barrier(2)
        told: list[StaleLease] = []

        thread = threading.Thread(target=_hands_off, args=(worker, begin, told))
        thread.start()
        begin.wait(10)
        end = take_over(worker)
        thread.join(30)

        (kept,) = handoffs_of(project, worker.task_id)
        assert (end is EndKind.CONTEXT_FULL) == kept.by_server == bool(told)
        assert end in (EndKind.CONTEXT_FULL, EndKind.HANDED_OFF)


def _hands_off(worker: Worker, begin: threading.Barrier, told: list[StaleLease]) -> None:
    begin.wait(10)
    try:
        hand_off(worker)
    except StaleLease as error:
        told.append(error)


def test_five_sessions_one_after_the_other_leave_all_of_their_words(
    project: Project, task: TaskId
) -> None:
    for number in range(1, 6):
        worker = a_worker(project, task, with_worktree=True)
        worker.commit({f"part{number}.txt": "x\n"}, f"Part {number}")
        hand_off(worker, progress=f"Part {number} is done.")

    last = a_worker(project, task, with_worktree=True)
    brief = project.services.claims.claim_task(last.caller)
    state = project.services.work.branch_state(brief.task)

    assert brief.attempt == 6
    assert [one.progress for one in brief.handoffs] == [
        f"Part {number} is done." for number in (5, 4, 3, 2, 1)
    ]
    assert state is not None
    assert [entry.subject for entry in state.commits] == [f"Part {n}" for n in (5, 4, 3, 2, 1)]
    assert (state.uncommitted, state.snapshot, state.note) == ((), None, "")


def test_a_merge_that_was_begun_is_told_to_the_next_session(project: Project, task: TaskId) -> None:
    worker = a_worker(project, task, with_worktree=True)
    worker.commit({"src/app.py": "mine\n"})
    worker.git("checkout", "--quiet", "--detach", "HEAD~1")

    state = project.services.work.branch_state(project.task(task))

    assert state is not None
    assert "detached HEAD" in state.note
