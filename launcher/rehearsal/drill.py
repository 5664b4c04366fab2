"""A drill: a story, played with kills and faults, and then looked at from outside.

The server, the launcher and the clients are real and know nothing of it. What was killed is started
again as the person would: `sf serve`, and nothing else.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import yaml

from launcher.fleet.family import SESSION_VARIABLE
from launcher.rehearsal.audit import audit
from launcher.rehearsal.faults import Faults, of_workers
from launcher.rehearsal.injections import REQUIRED, Phase, plan
from launcher.rehearsal.injector import Done, Injector
from launcher.rehearsal.ledger import Ledger, entries_in
from launcher.rehearsal.messages import ModelRequest
from launcher.rehearsal.observer import Observer
from launcher.rehearsal.runner import open_folder, told
from launcher.rehearsal.script import Step
from launcher.rehearsal.scripted_api import ScriptedApi
from launcher.rehearsal.serving import LOOK_SECONDS, START_SECONDS, Serving
from launcher.rehearsal.story import Story
from launcher.rehearsal.verdict import Finding, verify_project
from launcher.rehearsal.watcher import Watcher
from launcher.rehearsal.world import World, make_world
from launcher.settings import require_claude
from sf_mcp.client import Refused
from sf_mcp.core.errors import ServerUnreachable, StoneforgeError
from sf_mcp.settings import parse

WINDOW_TOKENS = 200_000
"""Of the models that stories name."""
FEW = 4
"""One in so many tasks of the plan is unfinished when it begins anew, while kills are left."""
SETTLE_SECONDS = 20.0
"""For the person's checkout to follow the last landing, and for processes to end."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a drill is to do."""

    seed: int
    kills: int
    aims: tuple[Phase, ...] = ()
    timeout_seconds: float = 0.0
    """0: by the number of kills."""

    @property
    def seconds(self) -> float:
        """How long the story may take."""
        return self.timeout_seconds or 240.0 + 20.0 * self.kills

    @property
    def required(self) -> tuple[Phase, ...]:
        """The phases of which one without a hit makes the drill inconclusive."""
        return tuple(dict.fromkeys(self.aims or REQUIRED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """How a drill went."""

    story: str
    order: Order
    done: list[Done]
    faults: dict[str, int]
    findings: list[Finding]
    ledger_entries: int
    tasks: int
    landings: int
    sessions: int
    server_starts: int
    model_requests: int
    seconds: float
    folder: str

    @property
    def held(self) -> bool:
        """Whether everything was as it must be."""
        return all(finding.held for finding in self.findings)

    @property
    def hits(self) -> dict[Phase, int]:
        """How many injections have hit each phase."""
        return {phase: sum(phase in one.hits for one in self.done) for phase in Phase}

    @property
    def not_hit(self) -> list[Phase]:
        """The phases of which nothing was shown."""
        return [phase for phase in self.order.required if not self.hits[phase]]


def run_drill(story: Story, order: Order, say: Say, *, keep: Path | None = None) -> Drill:
    """Play the story while its fleet is killed again and again, and look what came of it.

    Raises:
        StoneforgeError: the drill could not be run at all.
    """
    began = monotonic()
    with ExitStack() as stack:
        folder = open_folder(stack, keep)
        ledger = Ledger(folder / "ledger.jsonl")
        stack.callback(ledger.close)
        settings = parse(yaml.safe_dump(story.config), story.name)
        thresholds = settings.agents.worker.handoff_thresholds(WINDOW_TOKENS)
        faults = Faults(
            order.seed,
            of_workers(thresholds.ask, thresholds.restrict, thresholds.take_over),
        )

        def see(request: ModelRequest) -> None:
            ledger.add(entries_in(request.texts, request.session))

        def disturb(request: ModelRequest) -> Step | None:
            return faults.next(request.role)

        api = stack.enter_context(
            ScriptedApi(story.model, log=folder / "model.jsonl", on_request=see, disturb=disturb)
        )
        world = make_world(folder, story, api.url)
        require_claude(settings.orchestrator.claude_path, world.environment)
        course = _Course(world, story, order, api, faults, say)
        try:
            course.play()
            findings = [*course.findings(), *audit(world, ledger.entries)]
            findings += verify_project(world, story)
        finally:
            course.end_everything()
        numbers = course.numbers()
        return Drill(
            story=story.name,
            order=order,
            done=course.done,
            faults=faults.counts,
            findings=findings,
            ledger_entries=len(ledger.entries),
            tasks=numbers["tasks"],
            landings=numbers["landings"],
            sessions=numbers["sessions"],
            server_starts=course.server_starts,
            model_requests=api.count(),
            seconds=monotonic() - began,
            folder=str(folder) if keep is not None else "",
        )


class _Course:
    """One drill from the first start of the server to the last process."""

    def __init__(
        self,
        world: World,
        story: Story,
        order: Order,
        api: ScriptedApi,
        faults: Faults,
        say: Say,
    ) -> None:
        self._world = world
        self._story = story
        self._order = order
        self._faults = faults
        self._say = say
        self._began = monotonic()
        self._serving = Serving(world)
        self._observer = Observer(world)
        self._watcher = Watcher(world)
        self._injector = Injector(
            world,
            self._serving,
            plan(order.seed, order.kills, order.aims),
            required=order.required,
            seed=order.seed,
            answers_to=lambda session: [
                one.answered for one in api.requests if one.session == session and one.script
            ],
            say=say,
        )
        self._rounds = 0
        self._newest_event = 0
        self._failure = ""
        self._orphans: list[str] = []
        self._left: list[str] = []

    @property
    def done(self) -> list[Done]:
        return self._injector.record.done

    @property
    def server_starts(self) -> int:
        return self._serving.starts

    def play(self) -> None:
        """Play until every task has ended, then end the server as the person would."""
        try:
            self._watcher.start()
            self._begin_round()
            self._injector.start()
            self._watch()
        except StoneforgeError as error:
            self._failure = str(error)
        self._injector.stop()
        if not self._failure:
            self._say("the story is over; looking at what came of it")
            self._settle()
        self._serving.stop()
        self._watcher.stop()
        self._left = self._remaining(lambda _: True)

    def end_everything(self) -> None:
        """End every process of the world, whatever has happened."""
        self._injector.stop()
        self._watcher.stop()
        self._serving.stop()
        self._observer.kill_everything()
        self._observer.close()

    def findings(self) -> Iterator[Finding]:
        """Yield what was seen on the way."""
        failure = self._failure or self._injector.record.failure
        yield Finding(what="the story came to its end", held=not failure, detail=failure)
        exits = self._serving.bad_exits
        yield _finding("the server never ended of itself, and always started again", exits)
        early, overlaps = sorted(self._watcher.too_early), sorted(self._watcher.overlaps)
        yield _finding("nothing was recorded as landed before the branch had it", early)
        yield _finding("a task never had the processes of two sessions", overlaps)
        yield _finding("no process outlived its session", self._orphans)
        yield _finding("no process is left after the end", self._left)

    def numbers(self) -> dict[str, int]:
        """Return how much there was of everything."""
        queries = {
            "tasks": "SELECT count(*) FROM tasks",
            "landings": "SELECT count(*) FROM landing_requests JOIN landings ON number = landing"
            " WHERE state = 'done'",
            "sessions": "SELECT count(*) FROM sessions",
        }
        return {name: self._count(query) for name, query in queries.items()}

    # -- playing -----------------------------------------------------------------------------------

    def _watch(self) -> None:
        while True:
            self._serving.tend()
            self._tell_news()
            unfinished = self._unfinished()
            if self._injector.is_done:
                self._faults.stop()
                if not unfinished and self._is_quiet():
                    return
            elif unfinished * FEW <= len(self._story.plan.tasks):
                self._begin_round()
            if monotonic() - self._began > self._order.seconds:
                raise StoneforgeError(
                    f"It did not end within {self._order.seconds:.0f} s: {self._what_is_open()}"
                )
            threading.Event().wait(LOOK_SECONDS)

    def _begin_round(self) -> None:
        """Have the person make the plan, with nobody killed meanwhile."""
        tasks = [task.model_dump(mode="json") for task in self._story.plan.tasks]
        self._rounds += 1
        title = f"{self._story.plan.title}, round {self._rounds}"
        ends = monotonic() + START_SECONDS
        while monotonic() < ends:
            self._serving.tend()
            with self._serving.calm:
                client = self._serving.client
                if client is not None:
                    client.call("create_plan", title=title, tasks=tasks)
                    return
            threading.Event().wait(LOOK_SECONDS)
        raise StoneforgeError(f"The server did not answer within {START_SECONDS:.0f} s.")

    def _unfinished(self) -> int:
        return self._count(
            "SELECT count(*) FROM tasks WHERE state NOT IN ('merged', 'closed', 'cancelled')"
        )

    def _is_quiet(self) -> bool:
        """Return whether nothing is under way, with a server that could say so."""
        alive = "SELECT count(*) FROM sessions WHERE state IN ('starting', 'running', 'stopping')"
        return self._serving.pid is not None and not self._count(alive)

    def _what_is_open(self) -> str:
        rows = self._observer.rows(
            "SELECT id, state FROM tasks WHERE state NOT IN ('merged', 'closed', 'cancelled')"
        )
        told: list[str] = []
        for task, state in rows:
            why: Any = None
            client = self._serving.client
            if client is not None:
                try:
                    why = client.call("why", task=str(task))["sentence"]
                except (Refused, ServerUnreachable) as error:
                    why = error
            told.append(f"{task} is {state} ({why})" if why else f"{task} is {state}")
        return "; ".join(told)

    def _tell_news(self) -> None:
        rows = self._observer.rows(
            "SELECT number, kind, actor, subject, data FROM events WHERE number > ?",
            self._newest_event,
        )
        for number, kind, actor, subject, data in rows:
            self._newest_event = int(str(number))
            event = {
                "kind": kind,
                "actor": actor,
                "subject": subject,
                "data": json.loads(str(data)),
            }
            if line := told(event):
                self._say(f"{monotonic() - self._began:6.1f} s       {line}")

    # -- processes ---------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Let the checkout follow and processes end; note those that outlive their sessions."""
        branch = self._story.config.get("merge", {}).get("targetBranch", "main")
        ends = monotonic() + SETTLE_SECONDS
        while monotonic() < ends:
            self._serving.tend()
            theirs = self._world.run(["git", "rev-parse", f"refs/heads/{branch}"]).strip()
            if theirs == self._observer.target():
                break
            threading.Event().wait(LOOK_SECONDS)
        self._orphans = self._remaining(lambda session: bool(session))

    def _remaining(self, is_one: Callable[[str], bool]) -> list[str]:
        """Return the processes that do not go away, told by the session that they carry."""
        ends = monotonic() + SETTLE_SECONDS
        while True:
            left = [one for one in self._observer.processes() if is_one(one.session)]
            if not left or monotonic() >= ends:
                return [
                    f"{one.pid} {one.command[:80]}"
                    + (f" ({SESSION_VARIABLE}={one.session[:8]})" if one.session else "")
                    for one in left
                ]
            threading.Event().wait(LOOK_SECONDS)

    def _count(self, query: str) -> int:
        rows = self._observer.rows(query)
        return int(str(rows[0][0])) if rows else 0


def _finding(what: str, wrong: Sequence[str]) -> Finding:
    return Finding(what=what, held=not wrong, detail="; ".join(wrong[:5]))
