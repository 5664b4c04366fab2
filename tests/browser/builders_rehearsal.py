"""A fleet at work for the page: the real server, launcher and client, and a model that is scripted.

Nothing here does what the person of the test does: that is done in the browser.
"""

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.rehearsal.scripted_api import ScriptedApi
from launcher.rehearsal.story import load_story
from launcher.rehearsal.world import SF, World, make_world
from sf_mcp import process
from sf_mcp.client import Client, connect
from tests.browser.builders_page import Chromium, Seat

STORY = Path(__file__).with_name("story.yaml")
BOUND_SECONDS = 120.0


@dataclass
class Fleet:
    """A story that is being played."""

    world: World
    client: Client
    tasks: dict[str, str] = field(default_factory=dict[str, str])
    """Ids by the story's keys."""

    def ask(self, name: str, **arguments: Any) -> Any:
        """Ask the server, to see what holds there."""
        return self.client.call(name, **arguments)

    def task(self, key: str) -> dict[str, Any]:
        return self.ask("get_task", task=self.tasks[key])["task"]

    def until(self, holds: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        """Wait until it holds of the overview; return that."""
        deadline = time.monotonic() + BOUND_SECONDS
        while not holds(seen := self.ask("fleet_status")):
            assert time.monotonic() < deadline, f"never came true: {what}; {seen}"
            threading.Event().wait(0.1)
        return seen


@contextlib.contextmanager
def playing(folder: Path, story_at: Path = STORY) -> Generator[Fleet]:
    """Play a story's fleet in this folder for the time of the block."""
    story = load_story(story_at)
    with ScriptedApi(story.model, log=folder / "model.jsonl") as api:
        world = make_world(folder, story, api.url)
        log = folder / "serve.log"
        with log.open("wb") as output:
            server = process.spawn(
                [*SF, "serve"], cwd=world.root, env=world.environment, stdout=output, stderr=output
            )
        try:
            client = _connected(world, server, log)
            drafts = [task.model_dump(mode="json") for task in story.plan.tasks]
            view = client.call("create_plan", title=story.plan.title, tasks=drafts)
            keys = [task.key for task in story.plan.tasks]
            yield Fleet(
                world,
                client,
                {key: task["id"] for key, task in zip(keys, view["tasks"], strict=True)},
            )
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(40)
            process.end_child(server)


def _connected(world: World, server: "subprocess.Popen[bytes]", log: Path) -> Client:
    deadline = time.monotonic() + BOUND_SECONDS
    while (client := connect(world.root)) is None:
        assert time.monotonic() < deadline, log.read_text()
        assert server.poll() is None, log.read_text()
        threading.Event().wait(0.05)
    return client


@contextlib.contextmanager
def seated(fleet: Fleet, chromium: Chromium, **how: Any) -> Generator[Seat]:
    """Open the page of this fleet with the link that `sf open` prints."""
    link = fleet.world.run([*SF, "open", "--print"]).strip().splitlines()[-1]
    origin, slash, path = link.partition("/open")
    with contextlib.closing(chromium.new_context(**how)) as context:
        seat = Seat(context.new_page(), origin)
        seat.listen()
        seat.sign_in(slash + path)
        yield seat
