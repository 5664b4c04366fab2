"""A picture of `sf watch` for the README, taken of the program as it runs.

python -m tests.cli.watch_picture  writes examples/pictures/watch.svg anew
"""

import asyncio
import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sf_mcp.cli.lines import plain
from sf_mcp.cli.watch.app import WatchApp
from sf_mcp.core.identity import PERSON
from tests.cli.builders_standing import WAITS_FOR_THE_PERSON, make_busy
from tests.web.builders_server import SECONDS, say_where, served

PICTURE = Path(__file__).resolve().parents[2] / "examples" / "pictures" / "watch.svg"
SIZE = (110, 30)


def draw(root: Path, to: Path, *, wanted: str = "", size: tuple[int, int] = SIZE) -> None:
    """Write a picture of the view of the project at `root`, whose server runs.

    The first thing with the letters `wanted` is selected.
    """

    async def take() -> str:
        app = WatchApp(root)
        async with app.run_test(size=size) as pilot:
            deadline = time.monotonic() + SECONDS
            while not app.listed or not app.seen.title:
                assert time.monotonic() < deadline, "the server never told anything"
                await pilot.pause(0.05)
            rows = [one for one in app.listed if one.row is not None]
            wished = next(n for n, one in enumerate(rows) if wanted in plain(one.line))
            await pilot.press(*["j"] * wished)
            while app.seen.key != rows[wished].key:
                assert time.monotonic() < deadline, f"no details of {wanted}"
                await pilot.pause(0.05)
            await pilot.pause(0.2)
            return app.export_screenshot(title="sf watch")

    # In a thread: whoever drives a browser has an event loop in this one.
    with ThreadPoolExecutor(1) as pool:
        picture = pool.submit(lambda: asyncio.run(take())).result()
    to.parent.mkdir(parents=True, exist_ok=True)
    # Fonts come from whoever looks at it: the program's own picture names a foreign host.
    to.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL))


def main() -> None:
    """Take the picture of a project in which something of everything goes on."""
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder), config=WAITS_FOR_THE_PERSON) as server,
    ):
        server.project.services.sessions.ensure_person_token(PERSON)
        say_where(server.project.layout, server.port)
        make_busy(server.project, ["Write the manual", "Sign releases"])
        draw(server.project.root, PICTURE, wanted="M1")


if __name__ == "__main__":
    main()
