"""The view Train, and the decision about one merge request."""

import re
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Route, expect

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import Role
from sf_mcp.core.states import MergeState
from tests.browser.builders_page import SCRIPT, Chromium, ServedSeat, a_seat
from tests.builders import a_merge_request, a_task
from tests.service.builders_landing import config, joined, one_request, step_in_thread

BY_HAND = config({"tests": "true"}, steward={"autoMerge": False})


@pytest.fixture
def seat(tmp_path: Path, chromium: Chromium) -> Generator[ServedSeat]:
    """A project in which a person approves what lands."""
    with a_seat(tmp_path, chromium, config=BY_HAND) as seat:
        yield seat


def queued(seat: ServedSeat, request: str) -> Locator:
    return seat.page.locator(f"[data-queued='{request}']")


def test_an_empty_train_says_what_comes_here(seat: ServedSeat) -> None:
    seat.go("train")

    expect(seat.page.locator("main")).to_contain_text("The train is empty")
    expect(seat.page.get_by_role("img", name="0 of 1 slot in use")).to_be_visible()


def test_the_queue_shows_in_order_what_each_waits_for(seat: ServedSeat) -> None:
    first, second = one_request(seat.project), one_request(seat.project, {"src/b.py": "b\n"})
    seat.go("train")
    expect(queued(seat, first.id)).to_contain_text("waiting for its checks")

    seat.project.run_train()

    expect(queued(seat, first.id)).to_contain_text("waiting for your approval")
    expect(queued(seat, second.id)).to_contain_text("waiting for your approval")
    positions = seat.page.locator("[data-queued] .position").all_text_contents()
    assert positions == ["1", "2"]


def test_what_is_being_checked_is_seen_in_its_slot(seat: ServedSeat, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    waits = f"until test -e {go_on}; do sleep 0.05; done"
    seat.project.configure(config({"slow": waits}, steward={"autoMerge": False}))
    request = one_request(seat.project)
    seat.go("train")
    thread, _ = step_in_thread(seat.project)
    try:
        trial = seat.page.locator("[data-trial]", has_text=request.id)
        expect(trial).to_contain_text("running")
        expect(seat.page.get_by_role("img", name="1 of 1 slot in use")).to_be_visible()
    finally:
        go_on.touch()
        joined([thread])
    seat.project.run_train()
    expect(trial).to_contain_text("passed")
    expect(trial).to_contain_text("slow")


def test_what_has_landed_is_listed(seat: ServedSeat) -> None:
    request = one_request(seat.project, title="Add a bell")
    seat.project.services.requests.approve_merge(PERSON, request.id)
    seat.project.run_train()

    seat.go("train")

    landed = seat.page.locator("[data-landed]", has_text=request.id)
    expect(landed).to_contain_text("Add a bell")
    expect(landed).to_contain_text("green")
    expect(seat.page.locator("[data-landed]").last).to_contain_text("where the fleet began")


def test_a_merge_request_shows_all_that_there_is_to_decide_on(seat: ServedSeat) -> None:
    request = one_request(seat.project, {"src/app.py": "one\n2\nthree\n"}, title="Count better")
    seat.project.run_train()

    seat.go(f"train/{request.id}")

    main = seat.page.locator("main")
    expect(main.get_by_role("heading", level=1)).to_have_text(f"{request.id} Count better")
    expect(main).to_contain_text("waiting for your approval")
    expect(main).to_contain_text("src/app.py")
    expect(main).to_contain_text("+1 \N{MINUS SIGN}1")
    expect(main.locator(".patch-line.added")).to_have_text("+2")
    expect(main.locator(".patch-line.removed")).to_have_text("-two")
    expect(main).to_contain_text("passed")


def test_an_approval_is_of_the_commit_that_was_looked_at(seat: ServedSeat) -> None:
    request = one_request(seat.project)
    seat.project.run_train()
    seat.go("train")
    queued(seat, request.id).locator("[data-open]").click()

    seat.button(f"Approve {request.commit[:8]}").click()

    seat.says(f"{request.id} is approved at {request.commit[:8]}.")
    expect(seat.page.get_by_text("approved by person")).to_be_visible()
    (review,) = seat.project.services.requests.get_merge_request(PERSON, request.id).reviews
    assert (review.role, review.approved, review.commit) == (Role.PERSON, True, request.commit)
    seat.project.run_train()
    expect(seat.page.locator("main")).to_contain_text("landed")
    assert seat.project.request(request.id).state is MergeState.LANDED


def test_work_is_sent_back_with_what_must_change(seat: ServedSeat) -> None:
    request = one_request(seat.project)
    seat.project.run_train()
    seat.go(f"train/{request.id}")

    seat.button("Send back…").click()
    dialog = seat.page.get_by_role("dialog")
    seat.button("Send back", dialog).click()
    # Without a reason the browser does not let it go.
    expect(dialog).to_be_visible()
    dialog.get_by_label("What must change").fill("Say two, not 2.")
    seat.button("Send back", dialog).click()

    seat.says(f"{request.id} goes back.")
    assert seat.project.request(request.id).state is MergeState.SENT_BACK
    notes = seat.project.services.queries.get_task(PERSON, request.task_id).repair_notes
    assert "Say two, not 2." in notes[0].reason + notes[0].detail


def test_a_review_is_decided_from_now_as_well(seat: ServedSeat) -> None:
    request = one_request(seat.project)
    seat.project.run_train()

    expect(seat.item(request.id)).to_contain_text("1 check passed")
    seat.button("Approve", seat.item(request.id)).click()

    expect(seat.item(request.id)).to_have_count(0)
    seat.project.run_train()
    assert seat.project.request(request.id).state is MergeState.LANDED


def test_what_somebody_else_has_decided_is_refused_and_said(seat: ServedSeat) -> None:
    request = one_request(seat.project)
    seat.project.run_train()
    seat.go(f"train/{request.id}")

    def decided_meanwhile(route: Route) -> None:
        seat.project.services.requests.send_back(PERSON, request.id, reason="Not like this.")
        route.continue_()

    seat.page.route("**/api/approve_merge", decided_meanwhile)
    seat.button(f"Approve {request.commit[:8]}").click()

    seat.says(f"{request.id} is sent_back and takes no review.")
    expect(seat.page.locator("main")).to_contain_text("sent back")
    assert seat.project.request(request.id).state is MergeState.SENT_BACK


def test_script_in_a_patch_and_in_its_names_is_text(seat: ServedSeat) -> None:
    task = a_task(seat.project, SCRIPT)
    name = "src/<img src=x onerror=window.pwned=1>.html"
    request = a_merge_request(seat.project, task, {name: f"{SCRIPT}\n"})
    seat.project.run_train()

    seat.go(f"train/{request.id}")

    expect(seat.page.locator(".patch-line.added")).to_have_text(f"+{SCRIPT}")
    expect(seat.page.get_by_role("heading", level=1)).to_contain_text(SCRIPT)
    expect(seat.page.locator("main")).to_contain_text(name)
    seat.go("train")
    expect(queued(seat, request.id)).to_contain_text(SCRIPT)
    assert seat.pwned() is None
    assert seat.complaints == []


def test_a_merge_request_that_is_not_there_is_said_so(seat: ServedSeat) -> None:
    seat.go("train/M99")

    expect(seat.page.get_by_role("alert")).to_contain_text(re.compile("M99"))
