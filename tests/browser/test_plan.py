"""The view Plan: the dependency graph drawn, and the list of its tasks."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from sf_mcp.core.models import EndKind
from sf_mcp.core.states import PlanState, TaskState
from sf_mcp.service.drafts import TaskDraft
from tests.browser.builders_page import PHONE, SCRIPT, Chromium, ServedSeat, a_seat
from tests.browser.builders_plans import a_large_plan
from tests.builders import a_plan, a_task, a_worker, bring, some_tasks

TASKS = 500
LEAST_PIXELS = 11

BOXES = """() => [...document.querySelectorAll('.node')].map(node => {
  const {x, y, width, height} = node.querySelector('rect').getBoundingClientRect();
  return [x, y, width, height];
})"""
TEXTS = """() => {
  // What a length of text measures on the screen, zoomed or not.
  const scale = element => element.getScreenCTM().a;
  return [...document.querySelectorAll('.graph text')].filter(text => text.textContent).map(
    text => parseFloat(getComputedStyle(text).fontSize) * scale(text));
}"""


def drawn(seat: ServedSeat, number: int) -> None:
    """Wait until so many tasks are drawn."""
    expect(seat.page.locator(".node")).to_have_count(number, timeout=60_000)


def node(seat: ServedSeat, task: str | None) -> Locator:
    return seat.page.locator(f"[data-node='{task}']")


def overlapping(boxes: list[list[float]]) -> list[tuple[int, int]]:
    """Return the pairs of boxes that share more than an edge."""
    order = sorted(range(len(boxes)), key=lambda index: boxes[index][0])
    found: list[tuple[int, int]] = []
    for place, first in enumerate(order):
        x, y, width, height = boxes[first]
        for second in order[place + 1 :]:
            other_x, other_y, _, other_height = boxes[second]
            if other_x >= x + width - 0.5:
                break
            if other_y < y + height - 0.5 and y < other_y + other_height - 0.5:
                found.append((first, second))
    return found


def test_of_500_tasks_no_two_overlap_and_all_text_can_be_read(seat: ServedSeat) -> None:
    a_large_plan(seat.project, TASKS)
    seat.go("plan/P1")
    drawn(seat, TASKS)

    boxes = seat.page.evaluate(BOXES)
    assert len(boxes) == TASKS
    assert overlapping(boxes) == []
    sizes = seat.page.evaluate(TEXTS)
    assert len(sizes) >= 2 * TASKS
    assert min(sizes) >= LEAST_PIXELS

    # However small the picture is made, what text is left is as large.
    seat.button("Fit").click()
    expect(seat.page.locator(".graph.full")).to_have_count(0)
    assert overlapping(seat.page.evaluate(BOXES)) == []
    assert all(size >= LEAST_PIXELS for size in seat.page.evaluate(TEXTS))
    seat.button("Zoom to 100 %").click()
    seat.button("Zoom out").click()
    expect(seat.page.locator(".graph.ids")).to_be_visible()
    sizes = seat.page.evaluate(TEXTS)
    assert len(sizes) == TASKS
    assert min(sizes) >= LEAST_PIXELS
    assert seat.complaints == []


def test_the_graph_shows_states_lines_and_the_critical_path(seat: ServedSeat) -> None:
    project = seat.project
    plan = a_plan(project)
    first = a_task(project, "First", plan=plan)
    second = a_task(project, "Second", plan=plan, depends_on=[first])
    alone = a_task(project, "Alone", plan=plan)
    worker = a_worker(project, first)
    seat.go(f"plan/{plan}")
    drawn(seat, 3)

    expect(node(seat, first)).to_have_attribute(
        "aria-label", f"{first} First: claimed, on the critical path, {worker.session.name}"
    )
    expect(node(seat, first)).to_contain_text(worker.session.name)
    expect(seat.page.locator(".edge")).to_have_count(1)
    expect(seat.page.locator(".edge.critical")).to_have_count(1)
    expect(seat.page.locator(".node.critical")).to_have_count(2)
    expect(seat.page.locator("[data-path]")).to_contain_text(f"{first} → {second}")
    expect(node(seat, alone)).to_have_attribute("aria-label", f"{alone} Alone: ready")
    left, right = (node(seat, id_).locator("rect").bounding_box() for id_ in (first, second))
    assert left is not None
    assert right is not None
    assert left["x"] + left["width"] < right["x"]


def test_states_change_in_place_and_new_tasks_are_arranged(seat: ServedSeat) -> None:
    project = seat.project
    plan = a_plan(project)
    first = a_task(project, "First", plan=plan)
    second = a_task(project, "Second", plan=plan, depends_on=[first])
    seat.go(f"plan/{plan}")
    drawn(seat, 2)
    seat.page.evaluate("window.kept = document.querySelector('[data-node]')")
    layout = seat.page.locator(".graph").get_attribute("data-arranged")

    bring(project, first, TaskState.MERGED)

    expect(node(seat, first)).to_have_attribute("aria-label", f"{first} First: merged")
    expect(seat.page.locator(".edge.met")).to_have_count(1)
    assert seat.page.locator(".graph").get_attribute("data-arranged") == layout
    assert seat.page.evaluate("window.kept.isConnected")

    third = a_task(project, "Third", plan=plan, depends_on=[second])
    drawn(seat, 3)
    assert seat.page.locator(".graph").get_attribute("data-arranged") != layout
    expect(node(seat, third)).to_be_visible()


def test_arrow_keys_follow_the_lines_and_enter_opens_the_task(seat: ServedSeat) -> None:
    project = seat.project
    plan = a_plan(project)
    first = a_task(project, "First", plan=plan)
    upper = a_task(project, "Upper", plan=plan, depends_on=[first])
    lower = a_task(project, "Lower", plan=plan, depends_on=[first])
    seat.go(f"plan/{plan}")
    drawn(seat, 3)
    keys = seat.page.keyboard

    node(seat, first).focus()
    keys.press("ArrowRight")
    focused = seat.page.locator(":focus")
    came_to = focused.get_attribute("data-node")
    assert came_to in (upper, lower)
    other = lower if came_to == upper else upper
    here, there = node(seat, came_to).bounding_box(), node(seat, other).bounding_box()
    assert here is not None
    assert there is not None
    keys.press("ArrowDown" if here["y"] < there["y"] else "ArrowUp")
    expect(focused).to_have_attribute("data-node", other)
    keys.press("ArrowLeft")
    expect(focused).to_have_attribute("data-node", first)
    keys.press("ArrowLeft")
    expect(focused).to_have_attribute("data-node", first)
    keys.press("Enter")

    expect(seat.page.locator("main")).to_have_attribute("data-route", f"task/{first}")


def test_only_one_task_of_the_graph_is_in_the_order_of_tabs(seat: ServedSeat) -> None:
    a_large_plan(seat.project, 20)
    seat.go("plan/P1")
    drawn(seat, 20)

    expect(seat.page.locator(".node[tabindex='0']")).to_have_count(1)


def test_the_picture_is_zoomed_by_keys_buttons_and_wheel(seat: ServedSeat) -> None:
    a_large_plan(seat.project, 60)
    seat.go("plan/P1")
    drawn(seat, 60)
    graph = seat.page.locator(".graph")

    seat.page.keyboard.press("+")
    expect(graph).to_have_attribute("data-zoom", "1.250")
    seat.page.keyboard.press("0")
    expect(graph).to_have_attribute("data-zoom", "1.000")
    seat.button("Zoom out").click()
    expect(graph).to_have_attribute("data-zoom", "0.800")
    seat.button("Fit").click()
    is_whole = "() => { const g = document.querySelector('.graph');"
    is_whole += (
        " return g.scrollWidth <= g.clientWidth + 1 && g.scrollHeight <= g.clientHeight + 1 }"
    )
    assert seat.page.evaluate(is_whole)
    before = float(graph.get_attribute("data-zoom") or 0)
    graph.hover()
    seat.page.keyboard.down("Control")
    seat.page.mouse.wheel(0, -200)
    seat.page.keyboard.up("Control")
    zoomed = f"() => parseFloat(document.querySelector('.graph').dataset.zoom) > {before}"
    seat.page.wait_for_function(zoomed)


def test_two_fingers_zoom(seat: ServedSeat) -> None:
    a_large_plan(seat.project, 60)
    seat.go("plan/P1")
    drawn(seat, 60)
    box = seat.page.locator(".graph").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fingers: Any = seat.page.context.new_cdp_session(seat.page)

    for kind, apart in (("touchStart", 50), ("touchMove", 60), ("touchMove", 90)):
        points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    is_larger = "() => parseFloat(document.querySelector('.graph').dataset.zoom) > 1.4"
    seat.page.wait_for_function(is_larger)


def test_more_tasks_than_can_be_drawn_are_listed(seat: ServedSeat) -> None:
    plan = a_plan(seat.project)
    for _ in range(2):
        drafts = [TaskDraft(title=f"Task {number}") for number in range(800)]
        some_tasks(seat.project, *drafts, plan=plan)
    seat.go(f"plan/{plan}")

    expect(seat.page.locator("main")).to_contain_text("1,600 tasks are too many to draw")
    seat.button("List").click()
    expect(seat.page.locator("[data-task]")).to_have_count(200)
    seat.button("200 more tasks of 1400").click()
    expect(seat.page.locator("[data-task]")).to_have_count(400)


def test_the_picture_is_dragged(seat: ServedSeat) -> None:
    a_large_plan(seat.project, 200)
    seat.go("plan/P1")
    drawn(seat, 200)
    graph = seat.page.locator(".graph")
    graph.evaluate("box => box.scrollTo(0, 0)")
    box = graph.bounding_box()
    assert box is not None
    right, bottom = box["x"] + box["width"], box["y"] + box["height"]

    # From where nothing is drawn: between the edge of the box and the first column.
    seat.page.mouse.move(box["x"] + 6, bottom - 40)
    seat.page.mouse.down()
    seat.page.mouse.move(box["x"] + 6, bottom - 240, steps=4)
    seat.page.mouse.up()

    assert graph.evaluate("box => box.scrollTop") == pytest.approx(200, abs=2)
    assert right > box["x"]


def test_a_search_shows_where_a_task_is(seat: ServedSeat) -> None:
    a_large_plan(seat.project, 200)
    last = a_task(seat.project, "The needle", plan="P1")
    seat.go("plan/P1")
    drawn(seat, 201)

    seat.page.keyboard.press("/")
    seat.page.keyboard.type("needle")
    expect(seat.page.locator(".node:not(.dim)")).to_have_count(1)
    seat.page.keyboard.press("Enter")

    expect(node(seat, last)).to_be_focused()
    expect(node(seat, last)).to_be_in_viewport()


def test_the_legend_is_a_filter(seat: ServedSeat) -> None:
    project = seat.project
    plan = a_plan(project)
    first = a_task(project, "First", plan=plan)
    a_task(project, "Second", plan=plan, depends_on=[first])
    seat.go(f"plan/{plan}")
    drawn(seat, 2)

    states = seat.page.get_by_role("group", name="States")
    expect(states).to_contain_text("ready 1")
    states.get_by_role("button", name="blocked 1").click()
    expect(seat.page.locator(".node.dim")).to_have_count(1)
    seat.button("List").click()
    expect(seat.page.locator("[data-task]")).to_have_count(1)
    states.get_by_role("button", name="blocked 1").click()
    expect(seat.page.locator("[data-task]")).to_have_count(2)


def test_the_list_is_sorted_filtered_and_remembered(seat: ServedSeat) -> None:
    project = seat.project
    plan = a_plan(project)
    a_task(project, "Beta", plan=plan, priority=5)
    second = a_task(project, "Alpha", plan=plan, priority=1)
    seat.go(f"plan/{plan}")
    rows = seat.page.locator("[data-task] .of-title")

    seat.button("List").click()
    expect(rows).to_have_text(["Beta", "Alpha"])
    seat.button("Title").click()
    expect(rows).to_have_text(["Alpha", "Beta"])
    seat.page.get_by_role("button", name="Title ↑").click()
    expect(rows).to_have_text(["Beta", "Alpha"])
    expect(seat.page.get_by_role("columnheader", name="Title")).to_have_attribute(
        "aria-sort", "descending"
    )
    seat.page.get_by_label("Search tasks").fill("alp")
    expect(rows).to_have_text(["Alpha"])
    seat.page.reload()
    expect(rows).to_have_count(2)
    seat.page.keyboard.press("j")
    seat.page.keyboard.press("j")
    seat.page.keyboard.press("Enter")
    expect(seat.page.locator("main")).to_have_attribute("data-route", f"task/{second}")


def test_a_task_gets_another_priority_from_the_list(seat: ServedSeat) -> None:
    task = a_task(seat.project)
    seat.go("plan/P1")
    seat.button("List").click()

    seat.page.get_by_title(f"Priority of {task}").click()
    seat.page.get_by_role("dialog").get_by_label("Priority").select_option("1")
    seat.button("Set").click()

    seat.says(f"{task} has priority 1.")
    expect(seat.page.locator(f"[data-task='{task}'] .of-priority")).to_have_text("1")
    assert seat.project.task(task).priority == 1


def test_all_unfinished_plans_are_shown_together_or_one_by_one(seat: ServedSeat) -> None:
    project = seat.project
    a_task(project, "One", plan=a_plan(project, "Sprint 14"))
    draft = a_plan(project, "Sprint 15", draft=True)
    a_task(project, "Two", plan=draft)
    seat.go("plan")
    drawn(seat, 2)

    seat.page.get_by_label("Plan", exact=True).select_option(draft)
    drawn(seat, 1)
    expect(seat.page.locator("h1")).to_have_text(f"{draft} Sprint 15")
    seat.button("Activate").click()

    seat.says(f"{draft} is active.")
    assert project.plan(draft).state is PlanState.ACTIVE


def test_what_has_ended_can_be_hidden(seat: ServedSeat) -> None:
    plan = a_plan(seat.project)
    a_task(seat.project, "Left", plan=plan)
    bring(seat.project, a_task(seat.project, "Over", plan=plan), TaskState.CANCELLED)
    seat.go(f"plan/{plan}")
    drawn(seat, 2)

    seat.page.get_by_label("Hide what has ended").check()

    drawn(seat, 1)


def test_a_plan_without_tasks_says_what_to_do(seat: ServedSeat) -> None:
    seat.go("plan")
    expect(seat.page.locator("main")).to_contain_text("sf plan create")
    plan = a_plan(seat.project)
    seat.go(f"plan/{plan}")
    expect(seat.page.locator("main")).to_contain_text("sf plan import")
    seat.go("plan/P9")
    expect(seat.page.get_by_role("alert")).to_contain_text("P9")


def test_on_a_phone_the_list_comes_first(tmp_path: Path, chromium: Chromium) -> None:
    with a_seat(tmp_path, chromium, size=PHONE) as seat:
        a_large_plan(seat.project, 30)
        seat.go("plan/P1")
        expect(seat.page.locator("[data-task]")).to_have_count(30)
        assert seat.overflow() <= 0

        seat.button("Graph").click()
        drawn(seat, 30)
        assert seat.overflow() <= 0


def test_script_in_titles_is_text(seat: ServedSeat) -> None:
    plan = a_plan(seat.project, SCRIPT)
    task = a_task(seat.project, SCRIPT, plan=plan)
    seat.go(f"plan/{plan}")
    drawn(seat, 1)

    expect(node(seat, task).locator("title")).to_contain_text(SCRIPT)
    seat.button("List").click()
    expect(seat.page.locator("[data-task] .of-title")).to_contain_text(SCRIPT)
    expect(seat.page.locator("h1")).to_contain_text(SCRIPT)
    assert seat.pwned() is None
    assert seat.complaints == []


TOUCHED = """() => {
  window.touched = new Set();
  new MutationObserver(changes => changes.forEach(({target}) => {
    const element = target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement;
    window.touched.add(element?.closest('[data-node]')?.dataset.node ?? element?.nodeName);
  })).observe(document.querySelector('.graph svg'),
    {attributes: true, characterData: true, childList: true, subtree: true});
}"""


def test_while_50_sessions_are_heard_of_only_what_has_changed_is_drawn(seat: ServedSeat) -> None:
    """How long the page's thread is busy meanwhile is measured: tests/benchmarks/page.py."""
    project = seat.project
    a_large_plan(project, 100)
    ready = some_tasks(project, *(TaskDraft(title=f"Alone {n}") for n in range(50)), plan="P1")
    workers = [a_worker(project, task) for task in ready]
    seat.go("plan/P1")
    drawn(seat, 150)
    for worker in workers:
        expect(node(seat, worker.task_id)).to_contain_text(worker.session.name)

    seat.page.evaluate(TOUCHED)
    for round_ in range(4):
        for worker in workers:
            worker.hear(is_turn_active=bool(round_ % 2), tokens=round_ * 1000, cost_usd=round_)
    workers[7].end(EndKind.NO_OUTCOME)

    changed = workers[7].task_id
    label = f"{changed} {project.task(changed).title}: ready"
    expect(node(seat, changed)).to_have_attribute("aria-label", label)
    assert seat.page.evaluate("() => [...window.touched]") == [changed]
    assert seat.complaints == []
