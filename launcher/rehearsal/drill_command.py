"""`sf-launch drill`: a drill from its options, told while it runs, summed up at its end."""

import json
import signal
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import SystemRandom
from types import FrameType
from typing import Any

from launcher.rehearsal.drill import Drill, Order, run_drill
from launcher.rehearsal.injections import Phase
from launcher.rehearsal.story import Story, load_story, shipped_story
from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.exits import ExitCode
from sf_mcp.settings import load

DEFAULT_STORY = "drill"
HIGHEST_SEED = 10_000

WHAT_REPLAY_MEANS = (
    "The seed decides whom each injection hits, what it is aimed at, after which delay, and which "
    "request gets which fault; the machine decides the rest, so that another run of it meets other "
    "instants."
)

OF_THE_STORY: tuple[tuple[str, ...], ...] = (
    ("checks",),
    ("budget",),
    ("merge", "targetBranch"),
    ("merge", "push"),
    ("orchestrator", "port"),
)
"""What a person's configuration does not change: it is about another repository, or about money."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asked for."""

    story: Path | None = None
    seed: int | None = None
    kills: int = 40
    aim: str = ""
    config: Path | None = None
    keep: Path | None = None
    timeout_seconds: float = 0.0
    as_json: bool = False


def drill_story(options: Options) -> int:
    """Run a drill and print what came of it; return the exit code.

    Raises:
        StoneforgeError: the story or the configuration cannot be used.
    """
    story = load_story(options.story or shipped_story(DEFAULT_STORY))
    if options.config is not None:
        story = with_settings(story, options.config)
    seed = options.seed if options.seed is not None else SystemRandom().randrange(HIGHEST_SEED)
    order = Order(
        seed=seed,
        kills=options.kills,
        aims=_aims(options.aim),
        timeout_seconds=options.timeout_seconds,
    )

    def say(line: str) -> None:
        if not options.as_json:
            print(line, flush=True)  # noqa: T201

    say(f"drill of story {story.name}, seed {seed}, {options.kills} kills")
    try:
        with _ended_like_ctrl_c():
            drill = run_drill(story, order, say, keep=options.keep)
    except KeyboardInterrupt:
        say("Interrupted; everything that was started has been ended.")
        return ExitCode.INTERRUPTED
    again = _again(options, seed)
    print(_json(drill, again) if options.as_json else summary(drill, again), flush=True)  # noqa: T201
    return exit_code(drill)


def exit_code(drill: Drill) -> ExitCode:
    """Return what the command ends with after a drill that came to its end."""
    if not drill.held:
        return ExitCode.REFUSED
    return ExitCode.INCONCLUSIVE if drill.not_hit else ExitCode.DONE


def with_settings(story: Story, path: Path) -> Story:
    """Return the story with a person's configuration laid over its own.

    Raises:
        ConfigInvalid: the configuration cannot be used.
    """
    theirs = load(path).model_dump(mode="json", by_alias=True, exclude_unset=True)
    for *sections, key in OF_THE_STORY:
        place: dict[str, Any] = theirs
        for section in sections:
            place = place.get(section, {})
        place.pop(key, None)
    return story.model_copy(update={"config": _laid_over(story.config, theirs)})


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            both[key] = _laid_over(below[key], above[key])
    return both


def _aims(text: str) -> tuple[Phase, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in list(Phase)]:
        raise InvalidInput(
            f"There is nothing called {', '.join(unknown)} to aim at.",
            remedy=f"Name some of {', '.join(Phase)}.",
        )
    return tuple(Phase(name) for name in names)


@contextmanager
def _ended_like_ctrl_c() -> Generator[None]:
    """Have a TERM or a closed terminal end the drill as Ctrl-C does: nothing is left running."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _again(options: Options, seed: int) -> str:
    words = ["sf-launch drill"]
    words += [str(options.story)] if options.story else []
    words += [f"--seed {seed} --kills {options.kills}"]
    words += [f"--aim {options.aim}"] if options.aim else []
    words += [f"--config {options.config}"] if options.config else []
    return " ".join(words)


def _verdict(drill: Drill) -> str:
    if not drill.held:
        return "FAILED"
    if drill.not_hit:
        return f"inconclusive: nothing was lost, and no kill hit a {', '.join(drill.not_hit)}"
    return "everything held"


def _injected(drill: Drill) -> dict[str, int]:
    """Return how often each victim was hit, and each fault happened."""
    victims = Counter(str(one.injection.victim) for one in drill.done if one.victim)
    return {**dict(sorted(victims.items())), **dict(sorted(drill.faults.items()))}


def _json(drill: Drill, again: str) -> str:
    return json.dumps(
        {
            "story": drill.story,
            "seed": drill.order.seed,
            "verdict": _verdict(drill),
            "held": drill.held,
            "not_hit": drill.not_hit,
            "hits": drill.hits,
            "injected": _injected(drill),
            "injections": [
                {
                    "number": one.injection.number,
                    "victim": one.injection.victim,
                    "aim": one.injection.aim,
                    "seconds": round(one.seconds, 2),
                    "who": one.victim,
                    "hits": sorted(one.hits),
                    "is_extra": one.is_extra,
                }
                for one in drill.done
            ],
            "findings": [asdict(finding) for finding in drill.findings],
            "ledger_entries": drill.ledger_entries,
            "tasks": drill.tasks,
            "landings": drill.landings,
            "sessions": drill.sessions,
            "server_starts": drill.server_starts,
            "model_requests": drill.model_requests,
            "seconds": round(drill.seconds, 1),
            "again": again,
            "folder": drill.folder,
        },
        indent=2,
    )


def summary(drill: Drill, again: str) -> str:
    """Return what a person is told at the end; `again` is the command that replays it."""
    lines = ["", f"{drill.story}, seed {drill.order.seed}: {_verdict(drill)}", "", "injected"]
    lines += [f"  {times:4}  {name}" for name, times in _injected(drill).items()]
    if nobody := sum(not one.victim for one in drill.done):
        lines.append(f"  {nobody:4}  found nobody to hit")
    lines += ["", "what was under way in the moment of a kill, as seen from outside"]
    lines += [
        f"  {times:4}  {phase}"
        for phase, times in drill.hits.items()
        if times or phase in drill.order.required
    ]
    lines += ["", "found"]
    for finding in drill.findings:
        detail = f" ({finding.detail})" if finding.detail and not finding.held else ""
        lines.append(f"  {'ok  ' if finding.held else 'FAIL'}  {finding.what}{detail}")
    lines += [
        "",
        f"{drill.tasks} tasks, {drill.landings} landings, {drill.sessions} sessions, "
        f"{drill.server_starts} starts of the server, {drill.ledger_entries} ledger entries, "
        f"{drill.model_requests} model requests, {drill.seconds:.0f} s, 0 tokens",
        f"Again: {again}",
        WHAT_REPLAY_MEANS,
    ]
    if drill.folder:
        lines.append(f"Everything is kept in {drill.folder}.")
    return "\n".join(lines)
