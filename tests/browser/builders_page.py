"""The page in a real browser, in front of the real server of a real project."""

import asyncio
import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    expect,
    sync_playwright,
)

from tests.builders import TINY, Project
from tests.web.builders_server import Served, served

SECONDS = 20.0
"""How long a test waits for the page before it has failed."""

PHONE = (360, 740)
DESK = (1280, 800)

SCRIPT = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>{{pwned}}${pwned}'
"""What would set `window.pwned` wherever text is taken for markup."""

expect.set_options(timeout=SECONDS * 1000)


@dataclass
class Chromium:
    """Debian's Chromium, driven from this thread.

    Playwright keeps its event loop running in the thread, where no other could start then: it is
    shown as running only while a test uses it.
    """

    browser: Browser
    _loop: asyncio.AbstractEventLoop | None

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> "Generator[Chromium]":
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=os.environ.get("SF_CHROMIUM", "/usr/bin/chromium"),
                args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            )
            loop = asyncio._get_running_loop()  # pyright: ignore[reportPrivateUsage]
            asyncio._set_running_loop(None)  # pyright: ignore[reportPrivateUsage]
            yield cls(browser, loop)
            asyncio._set_running_loop(loop)  # pyright: ignore[reportPrivateUsage]
            browser.close()

    @contextlib.contextmanager
    def in_use(self) -> Generator[None]:
        asyncio._set_running_loop(self._loop)  # pyright: ignore[reportPrivateUsage]
        try:
            yield
        finally:
            asyncio._set_running_loop(None)  # pyright: ignore[reportPrivateUsage]

    def new_context(
        self,
        size: tuple[int, int] = DESK,
        *,
        is_dark: bool = False,
        bypass_csp: bool = False,
        scale: float = 1,
    ) -> BrowserContext:
        """Return a browser that has seen nothing yet."""
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if is_dark else "light",
            reduced_motion="reduce",
            bypass_csp=bypass_csp,
            device_scale_factor=scale,
            timezone_id="Europe/Zurich",
            locale="en-GB",
        )
        context.set_default_timeout(SECONDS * 1000)
        return context


@dataclass
class Seat:
    """A person in front of the page."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list[str])
    """What the browser's console says is wrong: errors, and what the policy forbade."""

    def listen(self) -> None:
        def on_message(message: ConsoleMessage) -> None:
            # That the server does not answer while it is restarted is no fault of the page.
            if message.type == "error" and "net::ERR" not in message.text:
                self.complaints.append(message.text)

        def on_error(error: Error) -> None:
            self.complaints.append(str(error))

        self.page.on("console", on_message)
        self.page.on("pageerror", on_error)

    def sign_in(self, link: str) -> None:
        """Follow the link of `sf open`, and wait until the page is live."""
        self.page.goto(f"{self.origin}{link}")
        self.is_live()

    def is_live(self) -> None:
        expect(self.page.locator(".link")).to_have_text("live")

    def go(self, route: str) -> None:
        """Go to a view, such as `train/M1`, and wait for it."""
        self.page.evaluate("hash => { location.hash = hash }", f"#/{route}")
        expect(self.page.locator("main[data-route]")).to_have_attribute("data-route", route)

    def button(self, name: str, within: Locator | None = None) -> Locator:
        return (within or self.page).get_by_role("button", name=name, exact=True)

    def item(self, id_: str) -> Locator:
        """What waits for the person under this id, in Now."""
        return self.page.locator(f"[data-item='{id_}']")

    def says(self, text: str) -> None:
        """Wait for a message about an action."""
        expect(self.page.locator(".toast", has_text=text)).to_be_visible()

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(
            self.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
        )

    def pwned(self) -> Any:
        return self.page.evaluate("window.pwned")


@dataclass
class ServedSeat(Seat):
    """The same in front of a server in the test's own process."""

    server: Served = field(kw_only=True)
    chromium: Chromium = field(kw_only=True)

    @property
    def project(self) -> Project:
        return self.server.project

    @contextlib.contextmanager
    def another(self, **how: Any) -> "Generator[ServedSeat]":
        """Open the page in a second browser, signed in on its own."""
        with a_page(self.server, self.chromium, **how) as other:
            yield other


@contextlib.contextmanager
def a_page(server: Served, chromium: Chromium, **how: Any) -> Generator[ServedSeat]:
    """Sign in to this server's page with a browser of its own, as `Chromium.new_context` says."""
    with contextlib.closing(chromium.new_context(**how)) as context:
        seat = ServedSeat(
            context.new_page(), f"http://{server.host}", server=server, chromium=chromium
        )
        seat.listen()
        seat.sign_in(server.link())
        yield seat


@contextlib.contextmanager
def a_seat(
    folder: Path, chromium: Chromium, *, config: str = TINY, **how: Any
) -> Generator[ServedSeat]:
    """Make a project, serve it, and open its page."""
    with served(folder, config=config) as server, a_page(server, chromium, **how) as seat:
        yield seat
