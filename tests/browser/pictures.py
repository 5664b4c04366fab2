"""Makes the README's pictures of the page from the running program, a rehearsed fleet.

.venv/bin/python -m tests.browser.pictures [FOLDER]    the usual folder is examples/pictures
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.builders_page import DESK, PHONE, Chromium, Seat
from tests.browser.builders_rehearsal import Fleet, playing, seated
from tests.cli import watch_picture

FOLDER = Path(__file__).parents[2] / "examples" / "pictures"


def main(folder: Path) -> None:
    """Write every picture anew."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as world,
        Chromium.started() as chromium,
        chromium.in_use(),
        playing(Path(world)) as fleet,
    ):
        in_its_middle(fleet)
        watch_picture.draw(fleet.world.root, folder / "watch.svg")
        for name, is_dark in (("now-light", False), ("now-dark", True)):
            with seated(fleet, chromium, size=DESK, is_dark=is_dark) as seat:
                take(seat, "now", folder / f"{name}.png")
        with seated(fleet, chromium, size=PHONE, scale=2) as seat:
            take(seat, "now", folder / "phone.png")
        with seated(fleet, chromium, size=DESK) as seat:
            take(seat, "plan/P1", folder / "plan.png")
            take(seat, f"task/{fleet.tasks['rounding']}", folder / "task.png")
            go_on(fleet, seat)
            take(seat, "train", folder / "train.png")


def in_its_middle(fleet: Fleet) -> None:
    """Wait until all that the story begins with waits for the person, and approve nothing."""
    fleet.until(
        lambda one: (
            {"question", "review", "stuck", "proposal"} <= {line["kind"] for line in one["waiting"]}
        ),
        "there is one of everything",
    )
    fleet.until(
        lambda one: any(line["context_tokens"] > 100_000 for line in one["sessions"]),
        "a session has read a lot",
    )


def go_on(fleet: Fleet, seat: Seat) -> None:
    """Approve and answer, and wait until one has landed and another is in the train."""
    seat.go("now")
    seat.button("Approve").click()
    seat.button("per order").click()
    fleet.until(lambda one: one["counts"].get("merged") and one["merges"], "the train has moved")


def take(seat: Seat, view: str, path: Path) -> None:
    """Take a picture of a view once all of it is there."""
    seat.go(view)
    expect(seat.page.locator("main [role=status]")).to_have_count(0)
    expect(seat.page.locator("main [aria-busy=true]")).to_have_count(0)
    # What was said of actions is no part of a view.
    seat.page.keyboard.press("Escape")
    expect(seat.page.locator(".toast")).to_have_count(0)
    seat.page.screenshot(path=path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
