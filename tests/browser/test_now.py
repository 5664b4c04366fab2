"""The view Now: what waits for the person, what they do about it, and who is at work."""

import os

from playwright.sync_api import Route, expect

from sf_mcp import process
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind
from sf_mcp.core.states import QuestionState, SessionState, TaskState
from tests.browser.builders_page import SCRIPT, ServedSeat
from tests.builders import Worker, a_plan, a_proposal, a_task, a_worker
from tests.web.builders_server import answer


def asked(seat: ServedSeat, text: str = "Per team or per person?", *options: str) -> Worker:
    """Have a worker ask, and wait until the page shows it."""
    worker = a_worker(seat.project, a_task(seat.project))
    seat.project.services.questions.ask_director(
        worker.caller, question=text, options=options, none_applies=True
    )
    expect(seat.item("Q1")).to_be_visible()
    return worker


def test_an_empty_project_says_how_to_begin(seat: ServedSeat) -> None:
    main = seat.page.locator("main")

    expect(main).to_contain_text("Nothing is planned yet")
    expect(main).to_contain_text("sf plan create")
    expect(main).to_contain_text("sf-launch director")


def test_that_nothing_waits_is_said(seat: ServedSeat) -> None:
    a_task(seat.project)

    expect(seat.page.locator("main")).to_contain_text("Nothing waits for you.")


def test_a_question_is_answered_with_one_of_its_options(seat: ServedSeat) -> None:
    asked(seat, "Which limit?", "per team", "per person")

    seat.button("per team", seat.item("Q1")).click()

    expect(seat.item("Q1")).to_have_count(0)
    seat.says("Q1 is answered.")
    answered = seat.project.question("Q1")
    assert (answered.state, answered.answer) == (QuestionState.ANSWERED, "per team")
    assert answered.answered_by == PERSON.name


def test_a_question_is_answered_in_words_of_ones_own(seat: ServedSeat) -> None:
    asked(seat)
    field = seat.page.get_by_label("Answer to Q1")

    expect(seat.button("Answer", seat.item("Q1"))).to_be_disabled()
    field.fill("Per team, and tell the admins.")
    seat.button("Answer", seat.item("Q1")).click()

    expect(seat.item("Q1")).to_have_count(0)
    assert seat.project.question("Q1").answer == "Per team, and tell the admins."


def test_a_double_click_answers_once(seat: ServedSeat) -> None:
    asked(seat, "Which limit?", "per team", "per person")

    seat.button("per team", seat.item("Q1")).dblclick()

    expect(seat.item("Q1")).to_have_count(0)
    seat.says("Q1 is answered.")
    assert seat.project.event_kinds("Q1").count("question_answered") == 1
    expect(seat.page.locator(".toast.bad")).to_have_count(0)


def test_a_second_browser_sees_the_answer_of_the_first(seat: ServedSeat) -> None:
    asked(seat, "Which limit?", "per team", "per person")
    with seat.another() as other:
        expect(other.item("Q1")).to_be_visible()

        seat.button("per team", seat.item("Q1")).click()

        expect(other.item("Q1")).to_have_count(0)


def test_what_was_written_is_kept_and_the_others_answer_shown(seat: ServedSeat) -> None:
    asked(seat)
    with seat.another() as other:
        other.page.get_by_label("Answer to Q1").fill("Per person, I think")

        seat.page.get_by_label("Answer to Q1").fill("Per team")
        seat.button("Answer", seat.item("Q1")).click()

        kept = other.page.locator("[data-settled='Q1']")
        expect(kept).to_contain_text("Q1 was answered meanwhile by person: “Per team”.")
        expect(kept).to_contain_text("Per person, I think")
        seat.button("Dismiss", kept).click()
        expect(kept).to_have_count(0)


def test_an_answer_from_a_stale_page_is_refused_with_what_to_do(seat: ServedSeat) -> None:
    asked(seat, "Which limit?", "per team", "per person")

    def answered_meanwhile(route: Route) -> None:
        answer(seat.project, "Q1", "per person")
        route.continue_()

    seat.page.route("**/api/answer_question", answered_meanwhile)

    seat.button("per team", seat.item("Q1")).click()

    seat.says("Q1")
    toast = seat.page.locator(".toast.bad")
    expect(toast).to_have_attribute("role", "alert")
    expect(toast.locator(".quiet")).not_to_be_empty()
    assert seat.project.question("Q1").answer == "per person"


def test_a_stuck_task_is_retried(seat: ServedSeat) -> None:
    task = a_task(seat.project, state=TaskState.STUCK)

    seat.button("Retry", seat.item(task)).click()

    expect(seat.item(task)).to_have_count(0)
    assert seat.project.task(task).state is TaskState.OPEN


def test_a_stuck_task_is_cancelled_only_after_a_question(seat: ServedSeat) -> None:
    task = a_task(seat.project, state=TaskState.STUCK)
    cancel = seat.button("Cancel the task…")

    cancel.click()
    seat.button("Back").click()
    assert seat.project.task(task).state is TaskState.STUCK
    cancel.click()
    seat.button("Cancel the task").click()

    seat.says(f"{task} is cancelled.")
    assert seat.project.task(task).state is TaskState.CANCELLED


def test_a_proposal_is_accepted_or_refused(seat: ServedSeat) -> None:
    first, second = a_proposal(seat.project), a_proposal(seat.project)

    seat.button("Accept", seat.item(first)).click()
    expect(seat.item(first)).to_have_count(0)
    seat.button("Refuse", seat.item(second)).click()
    expect(seat.item(second)).to_have_count(0)

    assert seat.project.task(first).state is TaskState.OPEN
    assert seat.project.task(second).state is TaskState.CANCELLED


def test_the_fleet_is_paused_and_resumed(seat: ServedSeat) -> None:
    a_task(seat.project)
    fleet = seat.project.services.fleet

    seat.button("Pause the fleet").click()
    seat.page.get_by_label("Reason (optional)").fill("lunch")
    seat.button("Pause").click()
    expect(seat.page.locator("[data-headline]")).to_contain_text("paused: lunch")
    assert fleet.fleet_status(PERSON).paused == "lunch"
    seat.button("Resume the fleet").click()

    expect(seat.button("Pause the fleet")).to_be_visible()
    assert fleet.fleet_status(PERSON).paused == ""


def test_a_session_shows_what_it_does_and_how_full_it_is(seat: ServedSeat) -> None:
    worker = a_worker(seat.project, a_task(seat.project, "Add a store"))
    worker.hear(cost_usd=0.42, tokens=50_000)
    row = seat.page.locator(f"[data-session='{worker.session.name}']")

    expect(row).to_contain_text("Add a store")
    expect(row).to_contain_text("in a turn")
    expect(row).to_contain_text("$0.42")
    expect(row).to_contain_text("working")
    expect(row.get_by_role("img")).to_have_attribute("aria-label", "context: 50 k of 200 k tokens")
    worker.hear(is_turn_active=False)
    expect(row).to_contain_text("at rest")


def test_a_session_is_stopped_after_a_question(seat: ServedSeat) -> None:
    worker = a_worker(seat.project, a_task(seat.project))

    seat.button("Stop…").click()
    seat.page.get_by_label("Reason (optional)").fill("wrong way")
    seat.button("Stop the session").click()

    seat.says(f"{worker.session.name} is asked to stop.")
    assert seat.project.session(worker.session.id).stop_requested == "wrong way"


def test_a_parked_session_is_given_up(seat: ServedSeat) -> None:
    task = a_task(seat.project, state=TaskState.WAITING)

    seat.button("Stop…").click()
    seat.button("Stop the session").click()

    expect(seat.page.locator("[data-session]")).to_have_count(0)
    with seat.project.services.workspace.read() as tx:
        states = tx.db.execute("SELECT state FROM sessions WHERE subject = ?", (task,)).fetchall()
    assert [SessionState(row[0]) for row in states] == [SessionState.EXITED]


def test_a_task_is_created_with_everything_that_was_filled_in(seat: ServedSeat) -> None:
    plan = a_plan(seat.project, "Sprint 15")
    first = a_task(seat.project, "The first", plan=plan)
    expect(seat.page.locator("main")).to_contain_text("1 ready")

    seat.button("New task").click()
    dialog = seat.page.get_by_role("dialog")
    dialog.get_by_label("Title").fill("The second")
    dialog.get_by_label("Description").fill("After the first.\nWith care.")
    dialog.get_by_label("Acceptance criteria").fill("It works\n\nIt is tested")
    dialog.get_by_label("Priority").select_option("1")
    dialog.get_by_label("Depends on").fill(first)
    seat.button("Create", dialog).click()

    seat.says(f"T2 is in {plan}.")
    view = seat.project.services.queries.get_task(PERSON, "T2")
    assert (view.task.title, view.task.priority, view.depends_on) == ("The second", 1, [first])
    assert view.task.description == "After the first.\nWith care."
    assert view.task.acceptance == ("It works", "It is tested")


def test_a_refused_task_says_why_and_changes_nothing(seat: ServedSeat) -> None:
    a_task(seat.project)
    expect(seat.page.locator("main")).to_contain_text("1 ready")

    seat.page.keyboard.press("c")
    seat.page.get_by_label("Title").fill("Lost")
    seat.page.get_by_label("Depends on").fill("T99")
    seat.button("Create").click()

    seat.says("T99")
    assert seat.project.services.queries.list_tasks(PERSON).total == 1


def test_script_in_what_people_and_models_wrote_is_text(seat: ServedSeat) -> None:
    worker = a_worker(seat.project, a_task(seat.project, SCRIPT, plan=a_plan(seat.project, SCRIPT)))
    seat.project.services.sessions.heard(
        PERSON,
        worker.session.id,
        is_turn_active=True,
        last_line=SCRIPT,
        context_tokens=1,
        context_window=200_000,
        cost_usd=0,
    )
    seat.project.services.questions.ask_director(
        worker.caller, question=SCRIPT, options=(SCRIPT, "no"), none_applies=True
    )
    seat.project.services.fleet.pause_fleet(PERSON, reason=SCRIPT)

    expect(seat.item("Q1").locator(".item-text")).to_have_text(SCRIPT)
    expect(seat.button(SCRIPT, seat.item("Q1"))).to_be_visible()
    row = seat.page.locator(f"[data-session='{worker.session.name}']")
    expect(row).to_contain_text(SCRIPT)
    expect(seat.page.locator("[data-headline]")).to_contain_text(SCRIPT)

    seat.button(SCRIPT, seat.item("Q1")).click()
    expect(seat.item("Q1")).to_have_count(0)

    assert seat.pwned() is None
    assert seat.complaints == []


def test_a_session_that_a_person_has_taken_over_is_shown_as_such(seat: ServedSeat) -> None:
    worker = a_worker(seat.project, a_task(seat.project), with_worktree=True)
    worker.ask()
    worker.end(EndKind.PARKED)
    row = seat.page.locator(f"[data-session='{worker.session.name}']")
    expect(row).to_contain_text("waits")

    seat.project.services.takeovers.take_over_session(
        PERSON,
        worker.session.id,
        pid=os.getpid(),
        process_started=process.start_time(os.getpid()),
        by="eva",
    )

    expect(row.locator(".state")).to_have_text("taken over")
