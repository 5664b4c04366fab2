"""Plans, tasks and dependencies: what is refused, what follows from what."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sf_mcp.core.errors import (
    CyclicDependencies,
    IllegalTransition,
    InvalidInput,
    NotAllowed,
    NotFound,
)
from sf_mcp.core.identity import PERSON, Caller
from sf_mcp.core.models import Role, SessionId
from sf_mcp.core.states import PlanState, QuestionState, SessionState, TaskState
from sf_mcp.service.drafts import TaskDraft
from tests.builders import (
    Project,
    a_merge_request,
    a_plan,
    a_project,
    a_proposal,
    a_task,
    a_worker,
    bring,
    git,
    plan_state,
    some_tasks,
)

WORKER = Caller(role=Role.WORKER, name="worker-1", session_id=SessionId("s1"))


def ready(project: Project) -> list[str]:
    listing = project.services.queries.list_tasks(PERSON, state="ready")
    return [task.id for task, _ in listing.tasks]


def nothing_was_created(project: Project) -> bool:
    return (
        project.services.plans.list_plans(PERSON) == []
        and project.services.queries.list_tasks(PERSON).total == 0
        and "plan_created" not in project.event_kinds()
    )


# -- creating ----------------------------------------------------------------------------------


def test_a_whole_graph_is_created_in_one_call_by_keys(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    view = project.services.plans.create_plan(
        PERSON,
        title="Sprint 14",
        tasks=[
            TaskDraft(title="last", depends_on=["left", "right"]),
            TaskDraft(title="left", key="left", depends_on=["first"]),
            TaskDraft(title="right", key="right", depends_on=["first"]),
            TaskDraft(title="first", key="first"),
        ],
    )
    assert [task.id for task in view.tasks] == ["T1", "T2", "T3", "T4"]
    assert list(view.critical_path) in (["T4", "T2", "T1"], ["T4", "T3", "T1"])
    assert ready(project) == ["T4"]
    assert project.services.queries.get_task(PERSON, "T1").depends_on == ["T2", "T3"]


def test_a_cycle_is_refused_by_name_and_nothing_is_created(tmp_path: Path) -> None:
    """Row 11 of the known defects: cycles were accepted, and their tasks waited for ever."""
    project = a_project(tmp_path)
    with pytest.raises(CyclicDependencies) as refused:
        project.services.plans.create_plan(
            PERSON,
            title="Round and round",
            tasks=[
                TaskDraft(title="a", key="a", depends_on=["c"]),
                TaskDraft(title="b", key="b", depends_on=["a"]),
                TaskDraft(title="c", key="c", depends_on=["b"]),
            ],
        )
    assert set(refused.value.cycle) == {"T1", "T2", "T3"}
    assert refused.value.cycle[0] == refused.value.cycle[-1]
    assert nothing_was_created(project)


def test_a_dependency_that_would_close_a_cycle_is_refused_and_changes_nothing(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    first = a_task(project)
    second = a_task(project, depends_on=[first])
    third = a_task(project, depends_on=[second])
    other = a_task(project)
    with pytest.raises(CyclicDependencies, match="T1 → T3 → T2 → T1"):
        project.services.plans.set_dependencies(PERSON, first, add=[other, third])
    assert project.services.queries.get_task(PERSON, first).depends_on == []
    project.reopen()
    assert ready(project) == [first, other]


@pytest.mark.parametrize("unknown", ["T99", "no-such-key", "", "T1; DROP TABLE tasks"])
def test_an_unknown_dependency_is_refused_and_nothing_is_created(
    tmp_path: Path, unknown: str
) -> None:
    project = a_project(tmp_path)
    with pytest.raises(NotFound):
        project.services.plans.create_plan(
            PERSON, title="Sprint", tasks=[TaskDraft(title="a", depends_on=[unknown])]
        )
    assert nothing_was_created(project)


def test_a_key_stands_for_one_task_of_the_call(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    twice = [TaskDraft(title="a", key="k"), TaskDraft(title="b", key="k")]
    with pytest.raises(InvalidInput, match="the key 'k'"):
        project.services.plans.create_plan(PERSON, title="Sprint", tasks=twice)
    assert nothing_was_created(project)


def test_a_dependency_named_twice_is_one(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    first = a_task(project)
    second = a_task(project, depends_on=[first, first])
    assert project.services.queries.get_task(PERSON, second).depends_on == [first]


def test_nothing_can_be_made_to_wait_for_a_cancelled_task(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    gone = a_task(project, state=TaskState.CANCELLED)
    other = a_task(project)
    with pytest.raises(InvalidInput, match="could never start"):
        a_task(project, depends_on=[gone])
    with pytest.raises(InvalidInput, match="could never start"):
        project.services.plans.set_dependencies(PERSON, other, add=[gone])


def test_a_thousand_tasks_in_one_call_are_accepted_and_one_more_is_not(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    many = [TaskDraft(title="t")] * 1000
    with pytest.raises(InvalidInput, match="at most 1000"):
        project.services.plans.create_plan(PERSON, title="P", tasks=[*many, TaskDraft(title="t")])
    assert len(project.services.plans.create_plan(PERSON, title="P", tasks=many).tasks) == 1000


ODD_TITLES = [
    "Use `touch /tmp/owned` here",
    "Pay $(rm -rf ~) and $HOME",
    """Say "hello" and 'good bye'""",
    "--force",
    "/etc/passwd",
    "../../up",
    "🚀 launch 🛰️",
    "naïve café — über",
    ";&|<>*?[]{}!#%^",
    "%s %(name)s {0}",
]


@pytest.mark.parametrize("title", ODD_TITLES)
def test_an_odd_title_is_kept_to_the_letter(tmp_path: Path, title: str) -> None:
    project = a_project(tmp_path)
    assert project.task(a_task(project, title)).title == title


def test_no_part_of_a_title_reaches_a_shell_on_the_way_to_the_landing(tmp_path: Path) -> None:
    """Row 3 of the known defects: a title reached a shell and its backticks ran."""
    project = a_project(tmp_path)
    owned = tmp_path / "owned"
    title = f"-m \"x\" `touch {owned}` $(touch {owned}) $HOME 'q' 🚀; touch {owned} | & > {owned}"
    task_id = a_task(project, title)
    assert project.task(task_id).title == title
    bring(project, task_id, TaskState.MERGED)
    assert git(project.root, "log", "-1", "--format=%s", "main") == title
    assert not owned.exists()


@pytest.mark.parametrize(
    ("title", "stored"),
    [("one\ntwo\r\nthree", "one two three"), ("  a\tb  ", "a b"), ("x" * 500, "x" * 500)],
)
def test_a_title_is_one_line(tmp_path: Path, title: str, stored: str) -> None:
    project = a_project(tmp_path)
    assert project.task(a_task(project, title)).title == stored


@pytest.mark.parametrize(
    ("draft", "words"),
    [
        (TaskDraft(title="x" * 10_000), "10,000 characters"),
        (TaskDraft(title=" \n "), "The title is empty"),
        (TaskDraft(title="a\ud800b"), "not valid Unicode"),
        (TaskDraft(title="t", description="x" * 100_001), "description has 100,001"),
        (TaskDraft(title="t", description="a\0b"), "NUL"),
        (TaskDraft(title="t", priority=0), "Priority 0 is outside 1 to 5"),
        (TaskDraft(title="t", priority=6), "Priority 6"),
        (TaskDraft(title="t", estimate_minutes=0), "0 minutes"),
        (TaskDraft(title="t", estimate_minutes=-5), "-5 minutes"),
        (TaskDraft(title="t", estimate_minutes=float("nan")), "nan minutes"),
        (TaskDraft(title="t", estimate_minutes=float("inf")), "inf minutes"),
        (TaskDraft(title="t", paths=["/etc"]), "leads out of the repository"),
        (TaskDraft(title="t", paths=["a/../../b"]), "leads out of the repository"),
        (TaskDraft(title="t", paths=["p"] * 51), "51 paths"),
        (TaskDraft(title="t", acceptance=["c"] * 51), "51 acceptance criteria"),
        (TaskDraft(title="t", acceptance=["x" * 600]), "The acceptance criterion has 600"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_draft_that_cannot_be_accepted_is_refused_in_words(
    tmp_path: Path, draft: TaskDraft, words: str
) -> None:
    project = a_project(tmp_path)
    with pytest.raises(InvalidInput) as refused:
        project.services.plans.create_plan(PERSON, title="Sprint", tasks=[draft])
    assert words in refused.value.message
    assert refused.value.remedy
    assert nothing_was_created(project)


def test_only_planners_plan(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    plans = project.services.plans
    for attempt in (
        lambda: plans.create_plan(WORKER, title="mine"),
        lambda: plans.add_tasks(WORKER, plan="P1", tasks=[TaskDraft(title="t")]),
        lambda: plans.update_task(WORKER, task_id, priority=1),
        lambda: plans.cancel_task(WORKER, task_id),
        lambda: plans.set_dependencies(WORKER, task_id, remove=["T1"]),
        lambda: plans.retry_task(WORKER, task_id),
        lambda: plans.cancel_plan(WORKER, "P1"),
        lambda: plans.complete_plan(WORKER, "P1"),
        lambda: plans.activate_plan(WORKER, "P1"),
    ):
        with pytest.raises(NotAllowed, match="only a person or a director may"):
            attempt()


# -- plans -------------------------------------------------------------------------------------


def test_a_new_plan_is_active_so_that_its_tasks_start(tmp_path: Path) -> None:
    """Row 16 of the known defects: the quick start dispatched nothing, its plan was a draft."""
    project = a_project(tmp_path)
    plan = a_plan(project)
    task_id = a_task(project, plan=plan)
    assert plan_state(project, plan) is PlanState.ACTIVE
    assert ready(project) == [task_id]


def test_a_draft_holds_its_tasks_until_it_is_activated(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project, draft=True)
    task_id = a_task(project, plan=plan)
    assert ready(project) == []
    assert project.services.dispatch.next_order(PERSON) is None
    assert "P1 is draft" in project.services.queries.why(PERSON, task_id).sentence
    project.services.plans.activate_plan(PERSON, plan)
    assert ready(project) == [task_id]
    with pytest.raises(IllegalTransition):
        project.services.plans.activate_plan(PERSON, plan)


def test_a_plan_completes_when_its_last_task_ends(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    done = a_task(project, plan=plan)
    other = a_task(project, plan=plan)
    bring(project, done, TaskState.MERGED)
    assert plan_state(project, plan) is PlanState.ACTIVE
    project.services.plans.cancel_task(PERSON, other)
    assert plan_state(project, plan) is PlanState.COMPLETED
    assert project.event_kinds(plan)[-1] == "plan_completed"


def test_a_plan_of_which_nothing_was_done_stays_open_for_other_tasks(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    a_task(project, plan=plan, state=TaskState.CANCELLED)
    assert plan_state(project, plan) is PlanState.ACTIVE


def test_a_refused_proposal_can_be_what_completes_a_plan(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    proposal = a_proposal(project)
    plan = project.task(proposal).plan_id
    (task_id,) = [
        task.id
        for task in project.services.plans.get_plan(PERSON, plan).tasks
        if task.id != proposal
    ]
    project.services.plans.cancel_task(PERSON, task_id)
    done = a_task(project, plan=plan, state=TaskState.MERGED)
    assert project.task(done).state is TaskState.MERGED
    assert plan_state(project, plan) is PlanState.ACTIVE
    project.services.plans.update_task(PERSON, proposal, accept=False)
    assert project.task(proposal).state is TaskState.CANCELLED
    assert plan_state(project, plan) is PlanState.COMPLETED


def test_a_new_task_opens_a_completed_plan_again(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    a_task(project, plan=plan, state=TaskState.MERGED)
    assert plan_state(project, plan) is PlanState.COMPLETED
    task_id = a_task(project, plan=plan)
    assert plan_state(project, plan) is PlanState.ACTIVE
    assert ready(project) == [task_id]


def test_completing_by_hand_needs_every_task_to_have_ended(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    task_id = a_task(project, plan=plan)
    with pytest.raises(IllegalTransition, match="unfinished tasks: T1"):
        project.services.plans.complete_plan(PERSON, plan)
    project.services.plans.cancel_task(PERSON, task_id)
    project.services.plans.complete_plan(PERSON, plan)
    assert plan_state(project, plan) is PlanState.COMPLETED


def test_cancelling_a_plan_cancels_all_of_it_that_has_not_ended(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    merged = a_task(project, plan=plan, state=TaskState.MERGED)
    opened = a_task(project, plan=plan)
    waiting = a_task(project, plan=plan, state=TaskState.WAITING)
    claimed = a_task(project, plan=plan)
    worker = a_worker(project, claimed)
    in_review = a_task(project, plan=plan, state=TaskState.IN_REVIEW)

    project.services.plans.cancel_plan(PERSON, plan)

    assert plan_state(project, plan) is PlanState.CANCELLED
    assert project.task(merged).state is TaskState.MERGED
    for task_id in (opened, waiting, claimed, in_review):
        assert project.task(task_id).state is TaskState.CANCELLED
    assert project.live_lease(claimed) is None
    assert "was cancelled" in project.session(worker.session.id).stop_requested
    assert project.services.requests.list_merge_requests(PERSON) == []
    assert project.services.questions.list_questions(PERSON) == []
    assert [
        one
        for one in project.services.sessions.list_sessions(PERSON)
        if one.state is SessionState.PARKED
    ] == []
    with pytest.raises(IllegalTransition, match="takes no new tasks"):
        a_task(project, plan=plan)
    project.services.plans.cancel_plan(PERSON, plan)  # again: nothing more happens
    assert project.event_kinds().count("plan_cancelled") == 1


def test_a_completed_plan_is_not_cancelled(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    a_task(project, plan=plan, state=TaskState.MERGED)
    with pytest.raises(IllegalTransition):
        project.services.plans.cancel_plan(PERSON, plan)
    assert plan_state(project, plan) is PlanState.COMPLETED


def test_a_plan_is_found_by_title_while_only_one_living_plan_has_it(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    old = a_plan(project, "Sprint")
    project.services.plans.cancel_plan(PERSON, old)
    new = a_plan(project, "Sprint")
    assert project.services.plans.get_plan(PERSON, "Sprint").plan.id == new
    a_plan(project, "Sprint")
    with pytest.raises(NotFound, match="P2, P3"):
        project.services.plans.get_plan(PERSON, "Sprint")
    with pytest.raises(NotFound, match="no plan 'Nothing'"):
        project.services.plans.get_plan(PERSON, "Nothing")


# -- tasks -------------------------------------------------------------------------------------


def test_twelve_updates_of_one_task_at_once_all_survive(tmp_path: Path) -> None:
    """Row 12 of the known defects: all twelve succeeded and six survived."""
    project = a_project(tmp_path)
    task_id = a_task(project)
    others = [a_task(project) for _ in range(12)]
    barrier = threading.Barrier(12)
    failed: list[BaseException] = []

    def update(number: int) -> None:
        try:
            barrier.wait(30)
            project.services.plans.set_dependencies(PERSON, task_id, add=[others[number]])
            project.services.plans.update_task(PERSON, task_id, priority=number % 5 + 1)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=update, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert project.services.queries.get_task(PERSON, task_id).depends_on == others
    assert project.event_kinds(task_id).count("task_updated") == 12
    assert project.event_kinds(task_id).count("dependencies_changed") == 12


UPDATE = """
import sys
from pathlib import Path
from sf_mcp.clock import utc_now
from sf_mcp.core.identity import PERSON
from sf_mcp.service import open_services

services = open_services(Path(sys.argv[1]), utc_now)
for number in range(6):
    services.plans.set_dependencies(PERSON, "T1", add=[f"T{2 + 6 * int(sys.argv[2]) + number}"])
"""


def test_updates_of_two_processes_all_survive(tmp_path: Path) -> None:
    """Not how it is meant to be used (a lock keeps it from happening), and yet nothing is lost."""
    project = a_project(tmp_path)
    some_tasks(project, *[TaskDraft(title=str(number)) for number in range(13)])
    processes = [
        subprocess.Popen([sys.executable, "-c", UPDATE, str(project.root), str(number)])
        for number in range(2)
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    project.reopen()
    depends_on = project.services.queries.get_task(PERSON, "T1").depends_on
    assert depends_on == [f"T{number}" for number in range(2, 14)]


def test_an_update_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, "before", priority=2)
    project.services.plans.update_task(PERSON, task_id, description="more", acceptance=["it works"])
    task = project.task(task_id)
    assert (task.title, task.priority) == ("before", 2)
    assert (task.description, task.acceptance) == ("more", ("it works",))
    with pytest.raises(InvalidInput, match="Nothing was given"):
        project.services.plans.update_task(PERSON, task_id)


def test_a_task_that_has_ended_is_not_changed(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, state=TaskState.CANCELLED)
    with pytest.raises(IllegalTransition, match="can no longer be changed"):
        project.services.plans.update_task(PERSON, task_id, title="new")
    with pytest.raises(IllegalTransition, match="dependencies are settled"):
        project.services.plans.set_dependencies(PERSON, task_id, add=[a_task(project)])


def test_a_proposal_waits_for_a_planner(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    proposal = a_proposal(project)
    assert project.task(proposal).proposed_by is not None
    assert proposal not in ready(project)
    assert "nobody has accepted" in project.services.queries.why(PERSON, proposal).sentence
    project.services.plans.update_task(PERSON, proposal, accept=True, priority=1)
    assert project.task(proposal).state is TaskState.OPEN
    assert ready(project) == [proposal]
    with pytest.raises(IllegalTransition):
        project.services.plans.update_task(PERSON, proposal, accept=True)
    with pytest.raises(IllegalTransition, match="only a proposed task can be refused"):
        project.services.plans.update_task(PERSON, proposal, accept=False)


def test_a_proposal_belongs_to_a_task(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    with pytest.raises(NotAllowed):
        project.services.plans.propose_task(PERSON, title="mine")
    with pytest.raises(InvalidInput, match="you hold none"):
        project.services.plans.propose_task(WORKER, title="mine")


# -- cancelling --------------------------------------------------------------------------------


def test_cancelling_ends_the_lease_and_stops_the_session(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project)
    worker = a_worker(project, task_id)
    project.services.plans.cancel_task(PERSON, task_id)
    assert project.live_lease(task_id) is None
    assert project.session(worker.session.id).stop_requested == "T1 was cancelled"
    with pytest.raises(IllegalTransition, match="it has ended"):
        project.services.plans.cancel_task(PERSON, task_id)


def test_cancelling_a_waiting_task_leaves_no_parked_session_and_no_question(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, state=TaskState.WAITING)
    (parked,) = project.services.sessions.list_sessions(PERSON)
    project.services.plans.cancel_task(PERSON, task_id)
    assert project.session(parked.id).state is SessionState.EXITED
    assert project.services.questions.list_questions(PERSON) == []


def test_cancelling_in_review_withdraws_the_request_and_stops_its_steward(tmp_path: Path) -> None:
    project = a_project(tmp_path, config="checks: []\n")
    request = a_merge_request(project, a_task(project))
    project.run_train()
    order = project.services.dispatch.next_order(PERSON)
    assert order is not None
    assert order.session.subject == request.id
    project.services.plans.cancel_task(PERSON, request.task_id)
    assert project.live_lease(request.id) is None
    assert "was cancelled" in project.session(order.session.id).stop_requested
    assert project.services.requests.list_merge_requests(PERSON) == []


def test_a_cancelled_task_leaves_its_dependents_blocked_and_asks_once(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    first = a_task(project, "Base", plan=plan)
    second = a_task(project, plan=plan, depends_on=[first])
    a_task(project, plan=plan, depends_on=[second])
    project.services.plans.cancel_task(PERSON, first)
    assert ready(project) == []
    assert "T1 (cancelled)" in project.services.queries.why(PERSON, second).sentence
    (question,) = project.services.questions.list_questions(PERSON)
    assert "T1 (Base) was cancelled, and T2 can never start" in question.text
    project.services.plans.set_dependencies(PERSON, second, remove=[first])
    assert ready(project) == [second]
    assert project.question(question.id).state is QuestionState.WITHDRAWN


def test_a_cancelled_task_that_nothing_waits_for_asks_nobody(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    first = a_task(project)
    second = a_task(project, depends_on=[first])
    project.services.plans.cancel_task(PERSON, second)
    project.services.plans.cancel_task(PERSON, first)
    assert project.services.questions.list_questions(PERSON) == []


def test_a_plan_cancelled_as_a_whole_asks_only_about_tasks_of_other_plans(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    doomed = a_plan(project, "Doomed")
    first = a_task(project, plan=doomed)
    a_task(project, plan=doomed, depends_on=[first])
    outside = a_task(project, depends_on=[first])
    project.services.plans.cancel_plan(PERSON, doomed)
    (question,) = project.services.questions.list_questions(PERSON)
    assert outside in question.text


# -- retrying ----------------------------------------------------------------------------------


def test_a_retry_opens_the_task_and_settles_the_question_about_it(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    task_id = a_task(project, state=TaskState.STUCK)
    (question,) = project.services.questions.list_questions(PERSON)
    project.clock.advance(minutes=10)
    project.services.plans.retry_task(PERSON, task_id)
    assert project.task(task_id).state is TaskState.OPEN
    assert project.question(question.id).state is QuestionState.WITHDRAWN
    assert project.services.questions.list_questions(PERSON) == []
    with pytest.raises(IllegalTransition):
        project.services.plans.retry_task(PERSON, task_id)


def test_five_thousand_tasks_are_listed_and_cancelled_as_one(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    plan = a_plan(project)
    for _ in range(5):
        some_tasks(project, *[TaskDraft(title="t")] * 1000, plan=plan)
    assert project.services.queries.list_tasks(PERSON, state="ready").total == 5000
    project.services.plans.cancel_plan(PERSON, plan)
    assert project.services.queries.list_tasks(PERSON, state="cancelled").total == 5000
