"""The view Log: events newest first, live, filtered, page by page, and never too many of them."""

import re

from playwright.sync_api import Locator, expect

from sf_mcp.core.identity import PERSON
from tests.browser.builders_page import SCRIPT, ServedSeat
from tests.builders import a_plan, a_task, a_worker


def rows(seat: ServedSeat) -> Locator:
    return seat.page.locator("[data-event]")


def numbers(seat: ServedSeat) -> list[int]:
    found = rows(seat).evaluate_all("rows => rows.map(row => row.dataset.event)")
    return [int(number) for number in found]


def many_events(seat: ServedSeat, count: int) -> None:
    for number in range(count):
        seat.project.services.fleet.pause_fleet(PERSON, reason=f"pause {number}")


def test_events_are_there_newest_first_and_arrive_as_they_happen(seat: ServedSeat) -> None:
    a_task(seat.project, "The first")
    seat.go("log")
    expect(rows(seat).first).to_contain_text("The first")

    a_task(seat.project, "The second")

    expect(rows(seat).first).to_contain_text("The second")
    assert numbers(seat) == sorted(numbers(seat), reverse=True)


def test_they_are_filtered_by_subject_kind_actor_and_text(seat: ServedSeat) -> None:
    plan = a_plan(seat.project)
    first, second = a_task(seat.project, "Bread", plan=plan), a_task(seat.project, plan=plan)
    worker = a_worker(seat.project, first)
    seat.go("log")

    seat.page.get_by_label("Subject").fill(second)
    expect(rows(seat)).to_have_count(1)
    seat.button("Clear").click()
    seat.page.get_by_label("Text").fill("bread")
    expect(rows(seat)).to_have_count(1)
    seat.button("Clear").click()
    seat.page.get_by_label("Kind").select_option("task_created")
    expect(rows(seat)).to_have_count(2)
    seat.page.get_by_label("Actor").fill("nobody")
    expect(seat.page.locator("main")).to_contain_text("No event")
    seat.button("Clear").click()
    seat.page.get_by_label("Subject").fill(worker.session.name)
    expect(rows(seat).first).to_contain_text("session started")


def test_a_filter_holds_for_what_happens_later(seat: ServedSeat) -> None:
    seat.go("log")
    seat.page.get_by_label("Text").fill("wanted")
    expect(seat.page.locator("main")).to_contain_text("No event")

    a_task(seat.project, "not looked for")
    a_task(seat.project, "Wanted")

    expect(rows(seat)).to_have_count(1)
    expect(rows(seat)).to_contain_text("Wanted")


def test_the_log_of_one_thing_has_an_address(seat: ServedSeat) -> None:
    task = a_task(seat.project)
    a_task(seat.project)

    seat.go(f"log/{task}")

    expect(rows(seat)).to_have_count(1)
    expect(rows(seat)).to_contain_text(task)


def test_older_events_come_page_by_page_and_the_page_stays_small(seat: ServedSeat) -> None:
    many_events(seat, 650)
    seat.go("log")
    expect(rows(seat)).to_have_count(100)
    newest = numbers(seat)[0]

    for count in (200, 300, 400, 400, 400):
        before = numbers(seat)[-1]
        seat.button("Older events").click()
        expect(seat.page.locator(f"[data-event='{before - 1}']")).to_be_attached()
        expect(rows(seat)).to_have_count(count)

    found = numbers(seat)
    assert found == list(range(found[0], found[0] - 400, -1))
    assert found[0] < newest
    seat.button("Back to the newest").click()
    expect(rows(seat).first).to_have_attribute("data-event", str(newest))


def test_times_are_local_and_utc_is_in_the_title(seat: ServedSeat) -> None:
    a_task(seat.project)
    seat.go("log")

    time = rows(seat).first.locator("time")

    # Noon in UTC, in winter, in Zurich.
    expect(time).to_have_text("13:00:00")
    expect(time).to_have_attribute("title", "2026-03-01 12:00:00 UTC")


def test_an_id_leads_to_what_it_names(seat: ServedSeat) -> None:
    task = a_task(seat.project)
    seat.go(f"log/{task}")

    rows(seat).get_by_role("link", name=task).click()

    expect(seat.page).to_have_url(re.compile(f"#/task/{task}$"))


def test_script_in_an_event_is_text(seat: ServedSeat) -> None:
    a_task(seat.project, SCRIPT)

    seat.go("log")

    expect(rows(seat).filter(has_text="task created")).to_contain_text(SCRIPT)
    seat.page.get_by_label("Text").fill(SCRIPT)
    expect(rows(seat)).to_have_count(1)
    assert seat.pwned() is None
    assert seat.complaints == []
