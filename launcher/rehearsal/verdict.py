"""What must hold at the end of a story, found out from outside: git, the log, the checkout.

It reads the database as an outsider would (read-only, by SQL) and trusts no summary of ours.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
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
    resolved: set[str]
    """Whose conflict a steward resolved."""
    flaky: set[str]
    """Checks that failed and passed on one tree."""
    reasons: list[str]
    """Why anything was sent back."""
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
            resolved=set(
                keys(
                    "SELECT task_id FROM merge_requests WHERE id IN"
                    " (SELECT merge_request_id FROM conflicts WHERE state = 'resolved')"
                )
            ),
            flaky={
                str(row[0])
                for row in db.execute(
                    "SELECT json_extract(data, '$.check') FROM events WHERE kind = 'flaky_check'"
                )
            },
            reasons=[str(row[0]) for row in db.execute("SELECT reason FROM repair_notes")],
            sessions=db.execute("SELECT count(*) FROM sessions").fetchone()[0],
            landings=db.execute(
                "SELECT count(*) FROM landing_requests JOIN landings ON number = landing"
                " WHERE state = 'done'"
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
    if story.expect.keeps:
        yield from _nothing_broke(world, story.expect.keeps)
    messages = world.run(["git", "log", "--format=%B"]) if story.expect.history else ""
    for text in story.expect.history:
        yield Finding(what=f"the history says {text!r}", held=text in messages)


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
        ("was in a conflict that a steward resolved", expect.resolved, ending.resolved),
        ("is a check that was recorded as flaky", expect.flaky, ending.flaky),
    ):
        for key in wanted:
            yield Finding(what=f"{key} {words}", held=key in found)
    for name in expect.spared:
        blamed = [reason for reason in ending.reasons if name in reason]
        yield Finding(
            what=f"nothing was sent back for {name}", held=not blamed, detail="; ".join(blamed)
        )
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
    values, passed = _run_on_every_value(world, [suite])
    red = [commit[:12] for commit, of_it in zip(values, passed, strict=True) if suite not in of_it]
    yield Finding(
        what=f"each of the {len(values)} values of {TARGET} passes the suite",
        held=not red,
        detail=f"red: {', '.join(red)}" if red else "",
    )


def _nothing_broke(world: World, commands: Sequence[str]) -> Iterator[Finding]:
    values, passed = _run_on_every_value(world, commands)
    broken = [
        f"{commit[:12]} no longer passes {', '.join(sorted(before - after))}"
        for commit, (before, after) in zip(values[1:], pairwise(passed), strict=True)
        if before - after
    ]
    yield Finding(
        what=f"each of the {len(values)} values of {TARGET} passes what the one before it passed",
        held=not broken,
        detail="; ".join(broken),
    )


def _run_on_every_value(
    world: World, commands: Sequence[str]
) -> tuple[list[str], list[frozenset[str]]]:
    """Return the values of the target, oldest first, and which of the commands pass on each."""
    forge = world.root / ".stoneforge" / "forge.git"
    values = list(dict.fromkeys(target_values(world)))
    passed: list[frozenset[str]] = []
    with tempfile.TemporaryDirectory(prefix="rehearsal-suite-") as folder:
        clone = Path(folder) / "clone"
        world.run(["git", "clone", "--quiet", "--no-checkout", str(forge), str(clone)])
        for commit in values:
            world.run(["git", "checkout", "--quiet", "--detach", commit], cwd=clone)
            passed.append(frozenset(one for one in commands if _passes(world, clone, one)))
    return values, passed


def _passes(world: World, clone: Path, command: str) -> bool:
    # The story's own command, as its author wrote it.
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=clone,
        env=world.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SUITE_TIMEOUT_SECONDS,
        check=False,
    )
    return done.returncode == 0
