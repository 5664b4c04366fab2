"""Why: one sentence for each reason, made to really happen, and gone when it is over."""

from pathlib import Path

import pytest

from sf_mcp.core.errors import NotFound
from sf_mcp.core.identity import PERSON
from sf_mcp.core.merge_queue import Outcome
from sf_mcp.core.models import EndKind, TaskId
from sf_mcp.core.states import TASK_ENDS, TaskState
from sf_mcp.core.why import Why
from sf_mcp.service.drafts import TaskDraft
from sf_mcp.service.why import REASONS
from sf_mcp.store import trials
from tests.builders import (
    TINY,
    Project,
    a_merge_request,
    a_plan,
    a_project,
    a_proposal,
    a_steward,
    a_task,
    a_worker,
    bring,
    dispatched,
    some_tasks,
)
from tests.service.builders_landing import config

ONE_SLOT = TINY + "orchestrator: {maxConcurrent: 1}\n"
REVIEWED = "checks: []\nagents:\n  steward: {review: true}\n"


def why(project: Project, subject: str) -> Why:
    return project.services.queries.why(PERSON, subject)


def has_fact(answer: Why, *words: str) -> bool:
    return any(all(word in fact for word in words) for fact in answer.facts)


# -- a task that waits for others ------------------------------------------------------------------


def test_the_root_of_what_it_waits_for_is_named_with_what_happens_there(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    root = a_task(project, plan=plan)
    middle = a_task(project, plan=plan, depends_on=[root])
    top = a_task(project, plan=plan, depends_on=[middle])
    a_worker(project, root)
    answer = why(project, top)
    assert answer.sentence.startswith(
        f"{top} waits for {middle} (open), and behind that for {root}; {root} is being worked on by"
        " worker-1 since 12:00 UTC"
    )
    assert has_fact(answer, f"{top} → {middle} → {root}")


def test_of_several_roots_it_is_the_one_that_somebody_must_decide(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    going, stuck = a_task(project, plan=plan), a_task(project, plan=plan)
    top = a_task(project, plan=plan, depends_on=[going, stuck])
    bring(project, stuck, TaskState.STUCK)
    a_worker(project, going)
    answer = why(project, top)
    assert answer.sentence == (
        f"{top} waits for {going} (claimed), {stuck} (stuck); {stuck} is stuck after 5 failed "
        "attempts."
    )
    assert answer.next_step == f"sf task retry {stuck}"
    assert answer.expected == f"unknown: {stuck} is stuck"


def test_one_that_waits_for_a_cancelled_task_is_told_how_to_go_on_without(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    gone = a_task(project, plan=plan)
    left = a_task(project, plan=plan, depends_on=[gone])
    project.services.plans.cancel_task(PERSON, gone)
    answer = why(project, left)
    assert f"Let it start without: sf dep remove {left} {gone}" in answer.changes
    project.services.plans.set_dependencies(PERSON, left, remove=[gone])
    assert gone not in why(project, left).sentence


def test_a_long_chain_is_answered_at_its_root(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    drafts = [
        TaskDraft(title="t", key=str(n), depends_on=[str(n - 1)] if n else ()) for n in range(300)
    ]
    ids = some_tasks(project, *drafts)
    assert f"and behind that for {ids[0]}" in why(project, ids[-1]).sentence


# -- an open task ----------------------------------------------------------------------------------


def test_a_draft_holds_its_tasks_until_it_is_activated(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project, draft=True)
    task_id = a_task(project, plan=plan)
    answer = why(project, task_id)
    assert answer.sentence == f"{task_id} does not start: plan {plan} is draft."
    assert (answer.next_step, answer.expected) == (
        f"sf plan activate {plan}",
        f"unknown: plan {plan} is draft",
    )
    project.services.plans.activate_plan(PERSON, plan)
    assert "draft" not in why(project, task_id).sentence


def test_a_pause_is_told_with_who_and_since_when(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    project.services.fleet.pause_fleet(PERSON, reason="lunch")
    answer = why(project, task_id)
    assert answer.sentence == f"{task_id} is ready, but the fleet is paused: lunch."
    assert has_fact(answer, "paused by person at 12:00 UTC")
    assert (answer.next_step, answer.expected) == ("sf resume", "unknown: the fleet is paused")


def test_without_a_free_slot_it_says_who_has_them(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=ONE_SLOT)
    busy, next_one = a_task(project), a_task(project)
    a_worker(project, busy)
    answer = why(project, next_one)
    assert answer.sentence == f"{next_one} is ready and number 1 in line; all 1 slots are taken."
    assert has_fact(answer, f"worker-1 on {busy}")
    assert f"Let it go first: sf task update {next_one} --priority 1" in answer.changes


def test_a_task_that_came_back_says_who_sent_it_and_why(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    request = a_merge_request(project, task_id)
    project.services.requests.send_back(PERSON, request.id, reason="no test")
    answer = why(project, task_id)
    assert answer.sentence.endswith("It was sent back: person asks for changes.")
    assert has_fact(answer, f"sent back at 12:00 UTC ({request.id})", "no test")
    assert "was sent back at 12:00 UTC, since person asks for changes: no test" in (
        why(project, request.id).sentence
    )
    a_worker(project, task_id)
    assert "sent back" not in why(project, task_id).sentence


def test_a_task_that_was_answered_is_kept_for_the_session_that_asked(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    asked = worker.ask()
    worker.end(EndKind.PARKED)
    project.services.questions.answer_question(PERSON, asked.id, answer="the first")
    answer = why(project, worker.task_id)
    assert "is reserved for the session that asked about it" in answer.sentence
    assert has_fact(answer, "kept for worker-1", "until 12:15 UTC")


# -- at work, waiting, stuck -----------------------------------------------------------------------


def test_of_one_at_work_it_says_who_since_when_and_the_last_sign(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    worker.hear(tokens=90_000)
    project.clock.advance(seconds=12)
    answer = why(project, worker.task_id)
    assert answer.sentence == (
        f"{worker.task_id} is being worked on by worker-1 since 12:00 UTC, last sign 12 s ago, "
        "context 45 % full."
    )
    assert "Stop it; its work is kept: sf session stop worker-1" in answer.changes
    project.services.sessions.stop_session(PERSON, "worker-1")
    assert "it is being stopped" in why(project, worker.task_id).sentence


def test_a_question_says_whose_word_it_waits_for(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    asked = a_worker(project, a_task(project)).ask()
    assert has_fact(why(project, "T1"), "a headless director takes Q1 up in 60 s")
    project.clock.advance(minutes=2)
    assert has_fact(why(project, "T1"), "Q1 waits for a headless director to be started")
    director = dispatched(project)
    assert has_fact(why(project, "T1"), "director-1 works on Q1")
    assert why(project, asked.id).sentence == "director-1 works on Q1; it holds up 1 task."
    project.services.questions.escalate(director.caller, asked.id, note="unclear")
    assert has_fact(why(project, "T1"), "Q1 was left to the person")
    project.services.questions.answer_question(PERSON, asked.id, answer="the first")
    assert "Q1" not in why(project, "T1").sentence
    assert why(project, asked.id).sentence == "Q1 was answered by person: the first"


def test_a_stuck_task_tells_its_attempts_and_since_when(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, state=TaskState.STUCK)
    answer = why(project, task_id)
    assert has_fact(answer, "stuck since 12:00 UTC")
    assert sum("ended as no_outcome" in fact for fact in answer.facts) == 5
    assert f"Give it up: sf task cancel {task_id}" in answer.changes


# -- in review -------------------------------------------------------------------------------------


def test_checks_that_nobody_runs_are_told_of(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}))
    request = a_merge_request(project, a_task(project))
    answer = why(project, request.task_id)
    assert answer.sentence == (
        f"T1 is not merged: {request.id} is waiting for its checks; nothing is checked and nothing "
        "lands, since no server is running (sf serve)."
    )
    assert has_fact(answer, f"{request.id} asked for by worker-1 at 12:00 UTC")


def test_a_trial_under_way_is_named_with_what_is_still_to_come(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "true", "lint": "true"}))
    one, other = (a_merge_request(project, a_task(project)) for _ in range(2))
    said: list[str] = []

    def look(work: object, _name: str) -> None:
        said.append(why(project, one.task_id).sentence)
        assert callable(work)
        work()

    project.services.train.trials.spawn = look
    project.run_train()
    assert said[0] == (
        f"T1 is not merged: {one.id} is waiting for its checks; trial 1 with {other.id} runs since "
        "12:00 UTC, tests, lint still to come."
    )


def test_in_line_for_a_slot_it_says_how_many_are_ahead(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}))
    project.run_train()  # a server that lands things is there
    a_merge_request(project, a_task(project))
    second = a_merge_request(project, a_task(project))
    assert "number 2 in line, 0 of 1 check slots taken" in why(project, second.task_id).sentence


def test_work_that_waits_for_the_person_says_both_ways_on(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}, steward={"autoMerge": False}))
    request = a_merge_request(project, a_task(project))
    project.run_train()
    answer = why(project, request.task_id)
    assert "waiting for your approval" in answer.sentence
    assert answer.next_step == f"sf mr approve {request.id}"
    assert f'Send it back: sf mr reject {request.id} --reason "…"' in answer.changes
    assert answer.expected == f"unknown: {request.id} waits for the person's word"
    project.services.requests.approve_merge(PERSON, request.id)
    assert "next to land" in why(project, request.task_id).sentence
    project.run_train()
    assert f"is merged: {request.id} landed as" in why(project, request.task_id).sentence


def test_a_review_names_the_steward_who_does_it(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=REVIEWED)
    request = a_merge_request(project, a_task(project))
    project.run_train()
    assert why(project, request.task_id).sentence.endswith("is waiting for review.")
    a_steward(project, request)
    assert "waiting for review; steward-1 reviews it since 12:00 UTC, last sign 0 s ago" in (
        why(project, request.task_id).sentence
    )


def test_a_check_that_flaked_is_told_with_its_count(tmp_path: Path) -> None:
    flaky = 'test -e "$HOME/once" || { touch "$HOME/once"; exit 1; }'
    project = a_project(tmp_path, config=config({"tests": flaky}, steward={"autoMerge": False}))
    request = a_merge_request(project, a_task(project))
    project.run_train()
    words = "check tests is flaky: it passed and failed on the same tree, on 1 tree with this work"
    assert has_fact(why(project, request.task_id), words)
    with project.services.workspace.read() as tx:
        outcomes = [one.outcome for one in trials.of_request(tx.db, request.id)]
    assert outcomes[-1] is Outcome.PASSED


def test_a_check_that_failed_sends_it_back_with_its_name(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "test ! -e bad.txt"}))
    request = a_merge_request(project, a_task(project), {"bad.txt": "x\n"})
    project.run_train()
    answer = why(project, request.task_id)
    assert "It was sent back: tests failed on your work merged with main." in answer.sentence
    assert f"{request.id} was sent back" in why(project, request.id).sentence


def test_what_has_landed_says_where_and_with_whom(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config({"tests": "true"}))
    one, other = (a_merge_request(project, a_task(project)) for _ in range(2))
    project.run_train()
    commit = project.request(one.id).landed_commit
    assert commit is not None
    assert why(project, one.task_id).sentence == (
        f"T1 is merged: {one.id} landed as {commit[:12]} at 2026-03-01 12:00 UTC, together with "
        f"{other.id}; nothing is missing."
    )


def test_what_the_checkout_could_not_take_says_so_and_how_to_catch_up(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    (project.root / "readme.md").write_text("in the middle of something\n")
    request = a_merge_request(project, a_task(project), {"readme.md": "landed\n"})
    project.run_train()
    answer = why(project, request.task_id)
    assert "your checkout does not have it yet: 1 commit behind" in answer.sentence
    assert answer.next_step == project.services.fleet.fleet_status(PERSON).target.remedy


# -- what is no task -------------------------------------------------------------------------------


def test_of_a_plan_it_says_what_holds_up_most_of_it(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project, "Sprint 14")
    base, lonely = a_task(project, plan=plan), a_task(project, plan=plan)
    a_task(project, plan=plan, depends_on=[base])
    a_worker(project, base)
    answer = why(project, plan)
    assert answer.subject == plan
    assert answer.sentence.startswith(
        f"{plan} (Sprint 14) is active, 0 of 3 tasks done; {base} holds up most of the rest "
        f"(2 tasks): {base} is being worked on by worker-1"
    )
    assert has_fact(answer, f"ready or at work: {base}, {lonely}")


def test_of_a_session_it_says_how_it_stands_and_what_its_task_waits_for(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    worker = a_worker(project, a_task(project))
    assert why(project, "worker-1").sentence.startswith(
        "worker-1 is running, last sign 0 s ago. T1 is being worked on by worker-1"
    )
    worker.end(EndKind.NO_OUTCOME, "two empty turns")
    assert why(project, "worker-1").sentence.startswith(
        "worker-1 ended at 12:00 UTC (no outcome: two empty turns). T1 waits until"
    )


def test_something_unknown_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_worker(project, a_task(project, plan=a_plan(project, "Sprint 14")))
    nearest = {
        "T99": "The newest is T1.",
        "1": "Did you mean T1?",
        "worker-11": "Did you mean worker-1?",
        "Sprint 41": "Did you mean Sprint 14?",
        "M1": "Name a task",
        "'; DROP TABLE tasks": "Name a task",
    }
    for unknown, words in nearest.items():
        with pytest.raises(NotFound) as refused:
            why(project, unknown)
        assert words in refused.value.remedy
    assert why(project, " t1 ").subject == "T1"


# -- all of them -----------------------------------------------------------------------------------


def test_every_state_has_reasons_and_an_answer(tmp_path: Path) -> None:
    assert set(REASONS) == set(TaskState)
    project = a_project(tmp_path)
    reached = {TaskState.PROPOSED: a_proposal(project)}
    for state in sorted(TaskState, key=lambda one: one is TaskState.IN_REVIEW):
        if state is not TaskState.PROPOSED:
            reached[state] = a_task(project, state=state)
    for state, task_id in reached.items():
        answer = why(project, task_id)
        assert answer.sentence.startswith(task_id), state
        has_ended = state in TASK_ENDS
        assert (answer.expected == "") == has_ended, state


def test_no_answer_outlives_what_it_was_true_of(tmp_path: Path) -> None:
    """Each step of a task's life changes the answer."""
    project = a_project(tmp_path)
    task_id = a_task(project)
    said = [why(project, task_id).sentence]

    def after(task: TaskId = task_id) -> None:
        said.append(why(project, task).sentence)

    project.services.fleet.pause_fleet(PERSON)
    after()
    project.services.fleet.resume_fleet(PERSON)
    worker = a_worker(project, task_id, with_worktree=True)
    after()
    asked = worker.ask()
    after()
    project.services.questions.answer_question(PERSON, asked.id, answer="the first")
    worker.commit({"a.txt": "a\n"})
    worker.request_merge()
    worker.end()
    after()
    project.run_train()
    after()
    assert len(set(said)) == len(said)


# -- when ------------------------------------------------------------------------------------------


def test_an_estimate_gives_a_time_and_says_that_nothing_was_measured(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=ONE_SLOT)
    first, second = some_tasks(
        project,
        TaskDraft(title="one", estimate_minutes=60),
        TaskDraft(title="two", estimate_minutes=30),
    )
    assert why(project, first).expected.startswith("about 13:00 UTC")
    answer = why(project, second)
    assert answer.expected.startswith("about 13:30 UTC, between 12:45 and 15:00")
    assert "too little has been measured yet" in answer.expected
    assert answer.expected_at is not None


def test_without_estimates_and_measurements_it_is_unknown(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    answer = why(project, a_task(project))
    assert (answer.expected_at, answer.expected) == (
        None,
        "unknown: nothing has been measured yet, and T1 has no estimate",
    )


def test_what_others_took_tells_when_the_next_has_landed(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    for minutes in (10, 20, 30):
        worker = a_worker(project, a_task(project), with_worktree=True)
        worker.commit({f"{worker.task_id}.txt": "x\n"})
        project.clock.advance(minutes=minutes)
        worker.request_merge()
        worker.end()
        project.run_train()
    answer = why(project, a_task(project))
    # It is 13:00, and the median is 20 minutes.
    assert answer.expected.startswith("about 13:20 UTC")
    assert "by what 3 tasks took" in answer.expected
