"""What must hold at the end of a story, found out from outside: git, the log, the checkout.

It reads the database as an outsider would (read-only, by SQL) and trusts no summary of ours.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from launcher.rehearsal.scripted_api import ScriptedApi
from launcher.rehearsal.state import open_state
from launcher.rehearsal.story import Story
from launcher.rehearsal.world import World
from sf_mcp.core.models import Role

SUITE_TIMEOUT_SECONDS = 300
TARGET = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One expectation, and whether it held."""

    what: str
    held: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The facts at the end of a story."""

    tasks: dict[str, str]
    """State of each task by the story's key."""
    landed: list[str]
    """Keys in the order in which they landed."""
    sent_back: set[str]
    handed_off: set[str]
    asked: set[str]
    sessions: int
    landings: int


def look(world: World, keys_by_id: dict[str, str]) -> Ending:
    """Read the end of the story from the database."""
    with closing(open_state(world)) as db:

        def keys(query: str) -> list[str]:
            return [keys_by_id[row[0]] for row in db.execute(query) if row[0] in keys_by_id]

        states = dict(db.execute("SELECT id, state FROM tasks"))
        return Ending(
            tasks={key: states[task_id] for task_id, key in keys_by_id.items()},
            landed=keys("SELECT subject FROM events WHERE kind = 'merged' ORDER BY number"),
            sent_back=set(keys("SELECT task_id FROM repair_notes")),
            handed_off=set(keys("SELECT task_id FROM handoffs")),
            asked=set(keys("SELECT task_id FROM questions WHERE session_id IS NOT NULL")),
            sessions=db.execute("SELECT count(*) FROM sessions").fetchone()[0],
            landings=db.execute(
                "SELECT count(*) FROM landings WHERE kind = 'merge' AND state = 'done'"
            ).fetchone()[0],
        )


def verify(world: World, story: Story, ending: Ending, api: ScriptedApi) -> Iterator[Finding]:
    """Yield each expectation of the story with whether it held."""
    yield from verify_course(story, ending, api)
    yield from verify_project(world, story)
    yield Finding(
        what="the model was asked only what the story foresaw",
        held=not api.misses,
        detail="; ".join(api.misses[:3]),
    )


def verify_project(world: World, story: Story) -> Iterator[Finding]:
    """Yield what must hold of the person's checkout and of every value of the target branch."""
    yield from _checkout(world, story.expect.files)
    if story.expect.suite:
        yield from _suite_on_every_value(world, story.expect.suite)


def verify_course(story: Story, ending: Ending, api: ScriptedApi) -> Iterator[Finding]:
    """Yield what must have happened on the way."""
    expect = story.expect
    for key in expect.merged:
        yield Finding(
            what=f"{key} has landed", held=ending.tasks[key] == "merged", detail=ending.tasks[key]
        )
    for first, second in expect.order:
        both = first in ending.landed and second in ending.landed
        held = both and ending.landed.index(first) < ending.landed.index(second)
        yield Finding(what=f"{first} landed before {second}", held=held)
    for words, wanted, found in (
        ("was sent back and repaired", expect.sent_back, ending.sent_back),
        ("was handed off", expect.handed_off, ending.handed_off),
        ("asked a question", expect.asked, ending.asked),
    ):
        for key in wanted:
            yield Finding(what=f"{key} {words}", held=key in found)
    if expect.workers_at_once:
        most = api.max_concurrent(Role.WORKER)
        yield Finding(
            what=f"{expect.workers_at_once} workers ran at the same time",
            held=most >= expect.workers_at_once,
            detail=f"at most {most}",
        )


def _checkout(world: World, files: Mapping[str, str]) -> Iterator[Finding]:
    for name, text in files.items():
        path = world.root / name
        found = path.read_text() if path.is_file() else ""
        yield Finding(what=f"your checkout has {name}", held=text in found)
    dirty = world.run(["git", "status", "--porcelain", "--untracked-files=no"])
    yield Finding(what="your checkout is clean", held=not dirty, detail=dirty.strip())
    here = world.run(["git", "rev-parse", "HEAD"]).strip()
    there = target_values(world)[-1]
    yield Finding(what="your checkout is at the newest landing", held=here == there)


def target_values(world: World) -> list[str]:
    """Return every commit that the target branch ever had, oldest first, as git recorded them."""
    log = world.root / ".stoneforge" / "forge.git" / "logs" / "refs" / "heads" / TARGET
    values = [line.split(" ")[1] for line in log.read_text("utf-8", "replace").splitlines()]
    first = log.read_text("utf-8", "replace").split(" ", 1)[0]
    return [first, *values] if set(first) != {"0"} else values


def _suite_on_every_value(world: World, suite: str) -> Iterator[Finding]:
    forge = world.root / ".stoneforge" / "forge.git"
    values = list(dict.fromkeys(target_values(world)))
    with tempfile.TemporaryDirectory(prefix="rehearsal-suite-") as folder:
        clone = Path(folder) / "clone"
        world.run(["git", "clone", "--quiet", "--no-checkout", str(forge), str(clone)])
        red: list[str] = []
        for commit in values:
            world.run(["git", "checkout", "--quiet", "--detach", commit], cwd=clone)
            # The story's own command, as its author wrote it.
            done = subprocess.run(
                ["/bin/sh", "-c", suite],
                cwd=clone,
                env=world.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SUITE_TIMEOUT_SECONDS,
                check=False,
            )
            if done.returncode != 0:
                red.append(commit[:12])
    yield Finding(
        what=f"each of the {len(values)} values of {TARGET} passes the suite",
        held=not red,
        detail=f"red: {', '.join(red)}" if red else "",
    )
