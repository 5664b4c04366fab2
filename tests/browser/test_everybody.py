"""For whoever looks: colours, sizes, and what reads the page out."""

from collections.abc import Generator
from typing import Any, cast

import pytest
from axe_playwright_python.sync_playwright import Axe  # pyright: ignore[reportMissingTypeStubs]
from playwright.sync_api import expect

from sf_mcp.core.identity import PERSON
from sf_mcp.core.states import TaskState
from tests.browser.builders_page import DESK, PHONE, Chromium, ServedSeat, a_page
from tests.builders import a_plan, a_proposal, a_task, a_worker
from tests.service.builders_landing import config, one_request
from tests.web.builders_server import Served, served

VIEWS = ("now", "plan/P1", "train", "train/M1", "task/T1", "log")
LONG = "a-name-without-any-place-to-break-it-that-goes-on-" * 3


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    """A project in which there is something of everything, with names that are too long."""
    folder = tmp_path_factory.mktemp("busy")
    with served(folder, config=config({"tests": "true"}, steward={"autoMerge": False})) as server:
        project = server.project
        plan = a_plan(project, f"Sprint 14 {LONG}")
        worker = a_worker(project, a_task(project, f"Add {LONG}", plan=plan))
        worker.hear(cost_usd=12.5, tokens=150_000)
        project.services.questions.ask_director(
            worker.caller,
            question=f"Which of {LONG}?",
            options=("this one", f"that one {LONG}"),
            context=LONG,
            none_applies=True,
        )
        one_request(project, {f"src/{LONG}.py": f"{LONG}\n"}, title=f"Count {LONG}")
        project.run_train()
        a_task(project, f"Stuck {LONG}", state=TaskState.STUCK, plan=plan)
        a_task(project, "After it", plan=plan, depends_on=["T1"])
        a_proposal(project)
        project.services.fleet.pause_fleet(PERSON, reason=LONG)
        yield server


def settle(seat: ServedSeat, view: str) -> None:
    seat.go(view)
    expect(seat.page.locator("main")).not_to_contain_text("Loading…")
    expect(seat.page.locator("main [role=status]")).to_have_count(0)


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_wider_than_a_phone(busy: Served, chromium: Chromium, view: str) -> None:
    with a_page(busy, chromium, size=PHONE) as seat:
        settle(seat, view)

        assert seat.overflow() == 0
        navigation = seat.page.locator("nav").bounding_box()
        assert navigation is not None
        assert navigation["y"] + navigation["height"] <= PHONE[1]


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious(
    busy: Served, chromium: Chromium, is_dark: bool, size: tuple[int, int]
) -> None:
    # The policy would keep axe's own script out; what the page does is the same.
    with a_page(busy, chromium, is_dark=is_dark, size=size, bypass_csp=True) as seat:
        found: dict[str, Any] = {}
        for view in VIEWS:
            settle(seat, view)
            found |= {f"{view}: {rule}": nodes for rule, nodes in serious(seat).items()}
        seat.page.keyboard.press("c")
        expect(seat.page.get_by_role("dialog")).to_be_visible()
        found |= serious(seat)

        assert found == {}


def serious(seat: ServedSeat) -> dict[str, list[str]]:
    answer = cast("dict[str, Any]", Axe().run(seat.page).response)  # pyright: ignore[reportUnknownMemberType]
    return {
        str(one["id"]): [f"{node['html']} {node['failureSummary']}" for node in one["nodes"]]
        for one in answer["violations"]
        if one["impact"] in ("serious", "critical")
    }
