"""The page without a mouse."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.builders_page import ServedSeat
from tests.builders import a_task, a_worker


@pytest.mark.parametrize(
    ("key", "view"), [("n", "now"), ("p", "plan"), ("t", "train"), ("l", "log")]
)
def test_two_keys_lead_to_a_view(seat: ServedSeat, key: str, view: str) -> None:
    if view == "now":
        seat.go("log")
    seat.page.keyboard.press("g")
    seat.page.keyboard.press(key)

    expect(seat.page.locator("main")).to_have_attribute("data-route", re.compile(f"^{view}"))
    expect(seat.page.get_by_role("heading", level=1)).to_be_focused()
    here = seat.page.locator("nav a[aria-current=page]")
    expect(here).to_have_text(re.compile(view.title()))


def test_a_question_is_answered_by_keys_alone(seat: ServedSeat) -> None:
    first, second = (a_worker(seat.project, a_task(seat.project)) for _ in range(2))
    first.ask("The first?")
    second.ask("The second?")
    press = seat.page.keyboard.press
    expect(seat.item("Q2")).to_be_visible()

    press("j")
    expect(seat.item("Q1")).to_be_focused()
    press("j")
    expect(seat.item("Q2")).to_be_focused()
    press("k")
    expect(seat.item("Q1")).to_be_focused()
    field = seat.page.get_by_label("Answer to Q1")
    for _ in range(6):
        press("Tab")
        if field.evaluate("field => field === document.activeElement"):
            break
    seat.page.keyboard.type("g j ? are letters here")
    press("Control+Enter")

    expect(seat.item("Q1")).to_have_count(0)
    assert seat.project.question("Q1").answer == "g j ? are letters here"


def test_enter_opens_the_row(seat: ServedSeat) -> None:
    task = a_task(seat.project)
    seat.go(f"log/{task}")
    expect(seat.page.locator("[data-event]")).to_have_count(1)

    seat.page.keyboard.press("j")
    seat.page.keyboard.press("Enter")

    expect(seat.page).to_have_url(re.compile(f"#/task/{task}$"))


def test_a_slash_goes_to_the_filter_and_escape_leaves_it(seat: ServedSeat) -> None:
    seat.go("log")
    field = seat.page.get_by_label("Text")

    seat.page.keyboard.press("/")
    expect(field).to_be_focused()
    seat.page.keyboard.press("Escape")

    expect(field).not_to_be_focused()


def test_a_slash_asks_where_to_go_where_there_is_no_filter(seat: ServedSeat) -> None:
    seat.page.keyboard.press("/")
    expect(seat.page.get_by_role("dialog").get_by_role("textbox")).to_be_focused()
    seat.page.keyboard.type("m7")
    seat.page.keyboard.press("Enter")

    expect(seat.page).to_have_url(re.compile("#/train/M7$"))


def test_the_keys_are_listed_and_escape_closes_the_list(seat: ServedSeat) -> None:
    dialog = seat.page.get_by_role("dialog")

    seat.page.keyboard.press("?")
    expect(dialog).to_contain_text("go to Train")
    expect(dialog).to_contain_text("search or filter")
    seat.page.keyboard.press("Escape")

    expect(dialog).to_have_count(0)


def test_a_dialog_gives_the_focus_back(seat: ServedSeat) -> None:
    button = seat.button("New task")
    a_task(seat.project)
    expect(seat.page.locator("[data-headline]")).to_contain_text("1 ready")

    button.focus()
    seat.page.keyboard.press("Enter")
    expect(seat.page.get_by_label("Plan")).to_be_focused()
    seat.page.keyboard.press("Escape")

    expect(button).to_be_focused()


def test_the_colours_are_chosen_and_remembered(seat: ServedSeat) -> None:
    root = seat.page.locator("html")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    assert seat.page.evaluate(ground) == "rgb(255, 255, 255)"

    seat.page.get_by_title("Colours: System").click()
    seat.page.get_by_title("Colours: Light").click()
    expect(root).to_have_attribute("data-theme", "dark")
    seat.page.reload()

    expect(root).to_have_attribute("data-theme", "dark")
    assert seat.page.evaluate(ground) == "rgb(16, 17, 20)"
