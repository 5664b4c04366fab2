"""The page and its server: live, away for a while, back, signed out."""

import re

from playwright.sync_api import expect

from sf_mcp.core.identity import PERSON
from tests.browser.builders_page import ServedSeat
from tests.builders import a_task, a_worker


def test_a_page_goes_on_by_itself_after_a_restart_of_the_server(seat: ServedSeat) -> None:
    a_task(seat.project)
    link = seat.page.locator(".link")
    expect(seat.page.locator("[data-headline]")).to_contain_text("1 ready")

    seat.server.stop()
    expect(link).to_have_text(
        re.compile(r"reconnecting since \d\d:\d\d:\d\d, what you see is of .*\d\d:\d\d:\d\d")
    )
    # What was seen last stays readable.
    expect(seat.page.locator("[data-headline]")).to_contain_text("1 ready")
    seat.project.reopen()
    a_task(seat.project)
    seat.server.start()

    seat.is_live()
    expect(seat.page.locator("[data-headline]")).to_contain_text("2 ready")


def test_the_log_misses_nothing_of_what_happened_meanwhile(seat: ServedSeat) -> None:
    a_task(seat.project, "Before")
    seat.go("log")
    expect(seat.page.locator("[data-event]").first).to_contain_text("Before")

    seat.server.stop()
    seat.project.reopen()
    for number in range(3):
        a_task(seat.project, f"Meanwhile {number}")
    seat.server.start()

    seat.is_live()
    for number in range(3):
        created = seat.page.locator("[data-event]", has_text=f"Meanwhile {number}")
        expect(created).to_have_count(1)


def test_an_action_without_a_server_is_said_to_have_failed_and_the_text_is_kept(
    seat: ServedSeat,
) -> None:
    worker = a_worker(seat.project, a_task(seat.project))
    worker.ask("Which one?")
    field = seat.page.get_by_label("Answer to Q1")
    field.fill("The first")

    seat.server.stop()
    seat.button("Answer", seat.item("Q1")).click()
    seat.says("The server does not answer.")
    expect(field).to_have_value("The first")
    seat.project.reopen()
    seat.server.start()
    seat.is_live()
    seat.button("Answer", seat.item("Q1")).click()

    expect(seat.item("Q1")).to_have_count(0)
    assert seat.project.question("Q1").answer == "The first"


def test_a_browser_that_is_signed_out_says_what_to_do(seat: ServedSeat) -> None:
    seat.project.services.browsers.sign_out_browsers(PERSON)

    expect(seat.page.locator(".link")).to_contain_text("Signed out: run sf open")


def test_a_page_that_is_loaded_again_is_still_signed_in(seat: ServedSeat) -> None:
    seat.go("log")

    seat.page.reload()

    seat.is_live()
    expect(seat.page.get_by_role("heading", level=1)).to_have_text("Log")
    assert "key" not in seat.page.url


def test_two_tabs_of_one_browser_show_the_same(seat: ServedSeat) -> None:
    tab = seat.page.context.new_page()
    tab.goto(f"{seat.origin}/")

    a_task(seat.project)

    for page in (seat.page, tab):
        expect(page.locator("[data-headline]")).to_contain_text("1 ready")
