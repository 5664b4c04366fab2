"""A person directs a fleet from the page alone: real server, launcher and Claude Code."""

from pathlib import Path

from playwright.sync_api import Locator, expect

from tests.browser.builders_page import Chromium, Seat
from tests.browser.builders_rehearsal import Fleet, playing, seated


def test_every_action_reaches_the_fleet(tmp_path: Path, chromium: Chromium) -> None:
    with playing(tmp_path) as fleet, seated(fleet, chromium) as seat:
        request, proposal = everything_waits(fleet, seat)
        pause(fleet, seat)
        create_a_task(fleet, seat)
        answer(fleet, seat)
        approve(fleet, seat, request)
        refuse(fleet, seat, proposal)
        resume_and_see_it_land(fleet, seat, request)
        retry(fleet, seat)
        send_back(fleet, seat)
        stop(fleet, seat)
        assert seat.complaints == []


def session_of(fleet: Fleet, seat: Seat, key: str) -> Locator:
    return seat.page.locator("[data-session]", has_text=fleet.task(key)["title"])


def everything_waits(fleet: Fleet, seat: Seat) -> tuple[str, str]:
    """Wait until the story is where the person comes in; return what is to be decided."""
    seen = fleet.until(
        lambda one: (
            {"question", "review", "stuck", "proposal"} <= {line["kind"] for line in one["waiting"]}
        ),
        "there is one of everything",
    )
    by_kind = {line["kind"]: line for line in seen["waiting"]}
    for kind in ("question", "review", "stuck", "proposal"):
        expect(seat.item(by_kind[kind]["id"])).to_be_visible()
    # What most of the sprint waits for comes first.
    assert [line["behind"] for line in seen["waiting"]] == sorted(
        (line["behind"] for line in seen["waiting"]), reverse=True
    )
    expect(session_of(fleet, seat, "search")).to_contain_text("in a turn")
    return by_kind["review"]["id"], by_kind["proposal"]["id"]


def pause(fleet: Fleet, seat: Seat) -> None:
    seat.button("Pause the fleet").click()
    seat.page.get_by_label("Reason (optional)").fill("a look at everything")
    seat.button("Pause").click()

    expect(seat.page.locator("[data-headline]")).to_contain_text("paused: a look at everything")
    assert fleet.ask("fleet_status")["paused"] == "a look at everything"


def create_a_task(fleet: Fleet, seat: Seat) -> None:
    seat.button("New task").click()
    dialog = seat.page.get_by_role("dialog")
    dialog.get_by_label("Title").fill("Write to the parcel service")
    dialog.get_by_label("Depends on").fill(fleet.tasks["release"])
    seat.button("Create", dialog).click()

    seat.says("is in P1.")
    newest = fleet.ask("list_tasks", plan="P1")["tasks"][-1]
    assert newest[0]["title"] == "Write to the parcel service"
    assert newest[1] == [fleet.tasks["release"]]


def answer(fleet: Fleet, seat: Seat) -> None:
    (question,) = (
        one for one in fleet.ask("list_questions") if one["options"] != ["retry", "cancel"]
    )

    seat.button("per order", seat.item(question["id"])).click()

    expect(seat.item(question["id"])).to_have_count(0)
    assert fleet.ask("get_question", question=question["id"])["answer"] == "per order"


def approve(fleet: Fleet, seat: Seat, request: str) -> None:
    seat.item(request).get_by_role("link", name=f"Look at {request}").click()
    expect(seat.page.locator(".patch-line.added", has_text="ROUND_HALF_UP").first).to_be_visible()
    commit = fleet.ask("get_merge_request", merge_request=request)["request"]["commit"]

    seat.button(f"Approve {commit[:8]}").click()

    expect(seat.page.get_by_text("approved by person")).to_be_visible()
    reviews = fleet.ask("get_merge_request", merge_request=request)["reviews"]
    assert [(one["role"], one["approved"], one["commit"]) for one in reviews] == [
        ("person", True, commit)
    ]


def refuse(fleet: Fleet, seat: Seat, proposal: str) -> None:
    seat.go("now")
    seat.button("Refuse", seat.item(proposal)).click()

    expect(seat.item(proposal)).to_have_count(0)
    assert fleet.ask("get_task", task=proposal)["task"]["state"] == "cancelled"


def resume_and_see_it_land(fleet: Fleet, seat: Seat, request: str) -> None:
    assert fleet.task("rounding")["state"] == "in_review"
    seat.button("Resume the fleet").click()

    expect(seat.button("Pause the fleet")).to_be_visible()
    fleet.until(lambda _: fleet.task("rounding")["state"] == "merged", "it has landed")
    seat.go("train")
    expect(seat.page.locator("[data-landed]", has_text=request)).to_contain_text("green")
    assert "ROUND_HALF_UP" in fleet.world.git("show", "main:shop/orders.py")


def retry(fleet: Fleet, seat: Seat) -> None:
    seat.go("now")
    seat.button("Retry", seat.item(fleet.tasks["import"])).click()

    expect(seat.item(fleet.tasks["import"])).to_have_count(0)
    expect(session_of(fleet, seat, "import")).to_contain_text("in a turn")
    assert fleet.task("import")["state"] == "claimed"


def send_back(fleet: Fleet, seat: Seat) -> None:
    (line,) = fleet.until(lambda one: one["merges"], "the limits are to be merged")["merges"]
    seat.go(f"train/{line['id']}")
    seat.button("Send back…").click()
    seat.page.get_by_label("What must change").fill("Twelve is too few.")
    seat.button("Send back", seat.page.get_by_role("dialog")).click()

    expect(seat.page.locator("main .headline")).to_contain_text("sent back")
    view = fleet.ask("get_task", task=fleet.tasks["limits"])
    assert "Twelve is too few." in str(view["repair_notes"])


def stop(fleet: Fleet, seat: Seat) -> None:
    seat.go("now")
    row = session_of(fleet, seat, "search")
    name = str(row.get_attribute("data-session"))

    seat.button("Stop…", row).click()
    seat.button("Stop the session").click()

    seat.says(f"{name} is asked to stop.")
    fleet.until(
        lambda _: "stopped" in str(fleet.ask("get_task", task=fleet.tasks["search"])["attempts"]),
        "the session has ended",
    )
