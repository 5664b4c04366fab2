"""The view Task: why, brief and evidence, what was done, what changed, the live transcript."""

import json
from pathlib import Path

from playwright.sync_api import Locator, expect

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind, TaskId
from sf_mcp.core.states import QuestionState, TaskState
from sf_mcp.service.drafts import TaskDraft
from tests.browser.builders_page import PHONE, SCRIPT, Chromium, ServedSeat, a_seat
from tests.browser.builders_plans import a_log, goes_on, said
from tests.builders import (
    Worker,
    a_merge_request,
    a_proposal,
    a_task,
    a_worker,
    some_tasks,
)


def at(seat: ServedSeat, task: str, tab: str = "Summary") -> Locator:
    """Go to a task's page and one of its parts."""
    if seat.page.locator("main").get_attribute("data-route") != f"task/{task}":
        seat.go(f"task/{task}")
    seat.page.get_by_role("tab", name=tab).click()
    expect(seat.page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
    return seat.page.locator("main")


def a_task_in_work(seat: ServedSeat) -> Worker:
    draft = TaskDraft(
        title="Invite users",
        description="By mail.\n\nKeep the old form.",
        acceptance=["it is tested", "it is fast"],
    )
    (task,) = some_tasks(seat.project, draft)
    return a_worker(seat.project, task, with_worktree=True)


def test_the_summary_says_what_is_asked_and_why_it_stands_where_it_does(seat: ServedSeat) -> None:
    first = a_task(seat.project, "The first")
    task = a_task(seat.project, "The second", depends_on=[first])
    main = at(seat, task)

    expect(seat.page.locator("[data-why]")).to_contain_text(f"{task} waits for {first}")
    seat.page.locator("[data-why]").get_by_role("link", name=first).first.click()
    expect(main).to_have_attribute("data-route", f"task/{first}")
    expect(main).to_contain_text("The second")
    expect(seat.page.locator(f"[data-neighbour='{task}']")).to_contain_text("blocked")
    expect(seat.page.locator("[data-task]")).to_contain_text("on the critical path")


def test_criteria_show_who_says_they_are_met_and_handoffs_what_was_left(seat: ServedSeat) -> None:
    worker = a_task_in_work(seat)
    seat.project.services.claims.record_handoff(
        worker.caller,
        progress="The form is there.",
        remaining="The mail is not.",
        decisions="",
        pitfalls="",
        next_step="Send the mail.",
        commit=None,
        snapshot=None,
        met=[2],
    )
    worker.end()
    main = at(seat, worker.task_id)

    expect(main).to_contain_text("Keep the old form.")
    expect(seat.page.locator("[data-criterion='1']")).to_contain_text("nobody has said so")
    expect(seat.page.locator("[data-criterion='2']")).to_contain_text("met, says worker-1")
    at(seat, worker.task_id, "History")
    expect(seat.page.locator("[data-handoff]")).to_contain_text("Send the mail.")
    expect(seat.page.locator("[data-attempt='1']")).to_contain_text("handed off")


def test_history_tells_attempts_answers_and_what_came_back(seat: ServedSeat) -> None:
    project = seat.project
    task = a_task(project)
    a_worker(project, task).end(EndKind.NO_OUTCOME, "it said nothing")
    request = a_merge_request(project, task)
    project.services.requests.send_back(
        PERSON, request.id, commit=request.commit, reason="Rename the table."
    )
    main = at(seat, task, "History")

    expect(seat.page.locator("[data-attempt='1']")).to_contain_text("it said nothing")
    expect(seat.page.locator("[data-attempt='2']")).to_contain_text("merge requested")
    expect(main).to_contain_text("Rename the table.")
    at(seat, task)
    expect(seat.page.locator(f"[data-request='{request.id}']")).to_contain_text("sent back")


def test_it_changes_as_the_work_goes_on(seat: ServedSeat) -> None:
    task = a_task(seat.project)
    at(seat, task)
    badge = seat.page.locator("[data-task]")
    expect(badge).to_contain_text("ready")

    worker = a_worker(seat.project, task)

    expect(badge).to_contain_text("claimed")
    worker.hear(tokens=50_000)
    expect(seat.page.locator("[data-session]")).to_contain_text("working")
    expect(seat.page.locator("[data-session]")).to_contain_text("in a turn")


# -- actions --------------------------------------------------------------------------------------


def test_its_question_is_answered_here(seat: ServedSeat) -> None:
    task = a_task(seat.project)
    worker = a_worker(seat.project, task)
    worker.ask("Per team or per person?")
    at(seat, task)

    expect(seat.page.locator("[data-item='Q1']")).to_contain_text("Per team or per person?")
    seat.page.get_by_label("Answer to Q1").fill("Per team")
    seat.button("Answer").click()

    seat.says("Q1 is answered.")
    expect(seat.page.locator("[data-item='Q1']")).to_have_count(0)
    answered = seat.project.question("Q1")
    assert (answered.state, answered.answer) == (QuestionState.ANSWERED, "Per team")
    at(seat, task, "History")
    expect(seat.page.locator("[data-question='Q1']")).to_contain_text("Per team (person)")


def test_a_stuck_task_is_retried_here(seat: ServedSeat) -> None:
    task = a_task(seat.project, state=TaskState.STUCK)
    at(seat, task)

    seat.button("Retry").click()

    seat.says(f"{task} is open again.")
    assert seat.project.task(task).state is TaskState.OPEN


def test_it_is_cancelled_after_a_question_and_has_no_actions_then(seat: ServedSeat) -> None:
    task = a_task(seat.project)
    at(seat, task)

    seat.button("Cancel…").click()
    seat.button("Cancel the task").click()

    seat.says(f"{task} is cancelled.")
    expect(seat.button("Cancel…")).to_have_count(0)
    assert seat.project.task(task).state is TaskState.CANCELLED


def test_its_priority_is_changed_and_its_session_stopped(seat: ServedSeat) -> None:
    worker = a_worker(seat.project, a_task(seat.project))
    at(seat, worker.task_id)

    seat.button("Priority…").click()
    seat.page.get_by_role("dialog").get_by_label("Priority").select_option("1")
    seat.button("Set").click()
    expect(seat.page.locator("[data-task]")).to_contain_text("priority 1")
    seat.button("Stop worker-1…").click()
    seat.button("Stop the session").click()

    seat.says("worker-1 is asked to stop.")
    assert seat.project.task(worker.task_id).priority == 1
    assert seat.project.session(worker.session.id).stop_requested


def test_a_proposal_is_accepted_here(seat: ServedSeat) -> None:
    task = a_proposal(seat.project)
    at(seat, task)

    seat.button("Accept").click()

    seat.says(f"{task} is accepted.")
    assert seat.project.task(task).state is TaskState.OPEN


# -- changes --------------------------------------------------------------------------------------


def file(seat: ServedSeat, path: str) -> Locator:
    return seat.page.locator(f"[data-file='{path}']")


def test_a_few_changed_files_are_shown_at_once(seat: ServedSeat) -> None:
    worker = a_task_in_work(seat)
    main = at(seat, worker.task_id, "Changes")
    expect(main).to_contain_text("Nothing differs")
    worker.commit({"src/app.py": "one\n2\nthree\n", "new.txt": "new\n"})
    at(seat, worker.task_id)
    seat.page.reload()
    at(seat, worker.task_id, "Changes")

    expect(main).to_contain_text("2 files +2")
    expect(file(seat, "src/app.py").locator(".patch-line.added")).to_have_text("+2")
    expect(file(seat, "src/app.py").locator(".patch-line.removed")).to_have_text("-two")


def test_of_many_changed_files_a_patch_is_loaded_when_it_is_opened(seat: ServedSeat) -> None:
    worker = a_task_in_work(seat)
    worker.commit({f"src/{number}.py": f"{number}\n" for number in range(20)})
    asked: list[str] = []
    seat.page.on("request", lambda one: asked.append(one.url))
    at(seat, worker.task_id, "Changes")

    expect(seat.page.locator("[data-file]")).to_have_count(20)
    assert not any(url.endswith("/show_file_diff") for url in asked)
    file(seat, "src/7.py").locator("summary").click()

    expect(file(seat, "src/7.py").locator(".patch-line.added")).to_have_text("+7")
    assert sum(url.endswith("/show_file_diff") for url in asked) == 1


def test_a_long_patch_comes_by_pages(seat: ServedSeat) -> None:
    worker = a_task_in_work(seat)
    worker.commit({"long.txt": "".join(f"line {number}\n" for number in range(12_000))})
    at(seat, worker.task_id, "Changes")

    expect(file(seat, "long.txt").locator(".patch")).to_have_count(1)
    seat.button("More of long.txt").click()
    expect(file(seat, "long.txt").locator(".patch")).to_have_count(2)


def test_the_changes_of_a_snapshot_are_shown(seat: ServedSeat) -> None:
    worker = a_task_in_work(seat)
    (worker.cwd / "left.txt").write_text("left\n")
    seat.project.services.snapshots.take(worker.task_id, "turn's end", worker.session.id)
    at(seat, worker.task_id, "History")
    kept = seat.page.locator("[data-snapshot='1']")

    expect(kept).to_contain_text("1 file")
    seat.button("Changes", kept).click()

    expect(kept).to_contain_text("left.txt")
    expect(kept.locator(".patch-line.added")).to_have_text("+left")


# -- transcript -----------------------------------------------------------------------------------

TOOL = {
    "type": "assistant",
    "message": {
        "content": [{"type": "tool_use", "name": "Bash", "input": {"command": "pytest -q"}}]
    },
}
RESULT = {"type": "user", "message": {"content": [{"type": "tool_result", "content": "3 passed"}]}}
END = {"type": "result", "subtype": "success", "total_cost_usd": 0.25}


def entries(seat: ServedSeat) -> Locator:
    return seat.page.locator(".transcript .said")


def at_end(seat: ServedSeat) -> None:
    """Wait until the transcript shows its end."""
    seat.page.wait_for_function(
        "() => { const box = document.querySelector('.transcript');"
        " return box && box.scrollHeight - box.scrollTop - box.clientHeight < 48 }"
    )


def test_a_transcript_shows_what_was_said_and_done(seat: ServedSeat) -> None:
    worker = a_task_in_work(seat)
    a_log(worker, [said("I run the tests."), TOOL, RESULT, END])
    at(seat, worker.task_id, "Transcript")
    log = seat.page.get_by_role("log")

    expect(entries(seat)).to_have_text(["I run the tests."])
    expect(log.locator("[data-tool='Bash'] summary")).to_contain_text("pytest -q")
    expect(log).to_contain_text("3 passed")
    expect(log).to_contain_text("turn ended: success, $0.25")
    expect(log).to_contain_text("the beginning")


def test_a_live_transcript_is_followed_at_its_end(seat: ServedSeat) -> None:
    worker = a_task_in_work(seat)
    path = a_log(worker, (said(f"Step {number}") for number in range(60)))
    at(seat, worker.task_id, "Transcript")
    expect(entries(seat).last).to_have_text("Step 59")
    at_end(seat)

    goes_on(path, [said("And one more.")])
    worker.hear()

    expect(entries(seat).last).to_have_text("And one more.")
    at_end(seat)


def test_who_reads_further_up_is_left_where_they_are(seat: ServedSeat) -> None:
    worker = a_task_in_work(seat)
    path = a_log(worker, (said(f"Step {number}") for number in range(400)))
    at(seat, worker.task_id, "Transcript")
    expect(entries(seat).last).to_have_text("Step 399")
    at_end(seat)
    box = seat.page.locator(".transcript")
    box.evaluate("box => box.scrollTo(0, 500)")
    expect(seat.button("To the end")).to_be_visible()

    goes_on(path, [said("And one more.")])
    worker.hear()
    expect(entries(seat).last).to_have_text("And one more.")
    assert box.evaluate("box => box.scrollTop") == 500

    seat.button("To the end").click()
    at_end(seat)


def test_what_was_before_comes_on_demand_and_the_page_stays_small(seat: ServedSeat) -> None:
    worker = a_task_in_work(seat)
    a_log(worker, (said(f"Step {number}") for number in range(1500)))
    at(seat, worker.task_id, "Transcript")
    expect(entries(seat).last).to_have_text("Step 1499")
    at_end(seat)

    for _ in range(25):
        if seat.page.get_by_text("the beginning").count():
            break
        first = entries(seat).first.text_content() or ""
        seat.page.locator(".transcript").evaluate("box => box.scrollTo(0, 0)")
        expect(entries(seat).first).not_to_have_text(first)

    expect(entries(seat).first).to_have_text("Step 0")
    assert entries(seat).count() <= 8 * 80
    seat.button("To the end").click()
    expect(entries(seat).last).to_have_text("Step 1499")


def test_a_transcript_of_200_mb_is_opened_at_once(seat: ServedSeat) -> None:
    worker = a_task_in_work(seat)
    path = a_log(worker, [said("The first words")])
    block = "".join(f"{json_line}\n" for json_line in _long_lines())
    with path.open("a") as log:
        while log.tell() < 200_000_000:
            log.write(block)
    goes_on(path, [said("The last words")])
    answers: list[int] = []
    seat.page.on(
        "response",
        lambda one: answers.append(len(one.body())) if one.url.endswith("transcript") else None,
    )

    at(seat, worker.task_id, "Transcript")

    expect(entries(seat).last).to_have_text("The last words")
    at_end(seat)
    assert entries(seat).count() <= 80
    path.unlink()


def _long_lines() -> list[str]:
    return [json.dumps(said(f"{number} " + "y" * 900)) for number in range(1000)]


def test_a_session_whose_log_is_gone_says_so(seat: ServedSeat) -> None:
    worker = a_task_in_work(seat)
    a_log(worker, [said("one")]).unlink()
    at(seat, worker.task_id, "Transcript")

    expect(seat.page.get_by_role("alert")).to_contain_text("is gone")


def test_each_sessions_transcript_can_be_chosen(seat: ServedSeat) -> None:
    project = seat.project
    task = a_task(project)
    first = a_worker(project, task)
    a_log(first, [said("I am the first.")])
    first.end(EndKind.NO_OUTCOME)
    second = a_worker(project, task)
    a_log(second, [said("I am the second.")])
    at(seat, task, "Transcript")

    expect(entries(seat)).to_have_text(["I am the second."])
    seat.page.get_by_label("Session").select_option(first.session.id)
    expect(entries(seat)).to_have_text(["I am the first."])


# -- whatever is written there --------------------------------------------------------------------


def test_script_in_whatever_people_models_and_files_say_is_text(seat: ServedSeat) -> None:
    draft = TaskDraft(title=SCRIPT, description=SCRIPT, acceptance=[SCRIPT])
    (task,) = some_tasks(seat.project, draft)
    worker = a_worker(seat.project, task, with_worktree=True)
    name = "<img src=x onerror=pwned=1>.txt"
    worker.commit({name: f"{SCRIPT}\n"})
    tool = {"type": "tool_use", "name": SCRIPT, "input": {"command": SCRIPT}}
    result = {"type": "tool_result", "is_error": True, "content": SCRIPT}
    a_log(
        worker,
        [
            said(SCRIPT),
            {"type": "assistant", "message": {"content": [tool]}},
            {"type": "user", "message": {"content": [result]}},
            {"type": "result", "subtype": SCRIPT, "is_error": True, "result": SCRIPT},
        ],
    )
    worker.ask(SCRIPT)
    main = at(seat, TaskId(task))
    expect(main.locator("h1")).to_contain_text(SCRIPT)
    expect(seat.page.locator("[data-criterion='1']")).to_contain_text(SCRIPT)
    expect(seat.page.locator("[data-item='Q1']")).to_contain_text(SCRIPT)

    at(seat, task, "Changes")
    expect(seat.page.locator(".patch-line.added")).to_have_text(f"+{SCRIPT}")
    expect(seat.page.locator("[data-file] summary")).to_contain_text(name)
    at(seat, task, "Transcript")
    expect(entries(seat)).to_have_text([SCRIPT])
    expect(seat.page.get_by_role("log")).to_contain_text(f"turn ended: {SCRIPT}")
    assert seat.pwned() is None
    assert seat.complaints == []


def test_a_task_that_is_not_there_says_so(seat: ServedSeat) -> None:
    seat.go("task/T9")
    expect(seat.page.get_by_role("alert")).to_contain_text("There is no task T9")


def test_the_parts_are_reached_by_keys(seat: ServedSeat) -> None:
    task = a_task(seat.project)
    at(seat, task)

    seat.page.get_by_role("tab", name="Summary").focus()
    seat.page.keyboard.press("ArrowRight")

    changes = seat.page.get_by_role("tab", name="Changes")
    expect(changes).to_be_focused()
    expect(changes).to_have_attribute("aria-selected", "true")


def test_it_fits_a_phone(tmp_path: Path, chromium: Chromium) -> None:
    with a_seat(tmp_path, chromium, size=PHONE) as seat:
        worker = a_task_in_work(seat)
        worker.commit({"src/a_rather_long_name_of_a_file_for_a_phone.py": "x = 1  # " * 30 + "\n"})
        a_log(worker, [said("word " * 80), TOOL, RESULT])
        for tab in ("Summary", "Changes", "Transcript", "History"):
            at(seat, worker.task_id, tab)
            expect(seat.page.get_by_role("tabpanel")).to_be_visible()
            assert seat.overflow() <= 0, tab
