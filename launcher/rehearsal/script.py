"""What the model of a rehearsal says: scripts as data, and the place each session has reached.

Rule 1: a script is chosen by who asks (role, and what the session was started for), never by a mark
that we put into a prompt; so every prompt and command line is the real one.
Rule 2: a step counts as said when its answer was handed over. A call without a result in the next
request was cut off by a kill; its step is said again, as by a model that cannot know the outcome.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from launcher.rehearsal.messages import Json, ModelRequest
from sf_mcp.core.models import Role

END_OF_SCRIPT = "There is nothing left in my script."
NO_SCRIPT = "No script is written for this session."

MOST_REPEATS = 60
"""How often a step is said again at most, whatever its `until`."""
REPEAT_SECONDS = 0.5
"""Before a step is said again: what refused it may be a server that is just being started."""

_TEMPLATE = re.compile(r"\{\{(session|last|last:.+?|any:.+?|opening:.+?)\}\}(?!\})")


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return pattern


def _templates_compile(text: str) -> str:
    for found in _TEMPLATE.finditer(text):
        _compiles(found.group(1).partition(":")[2])
    return text


def _map_texts(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return {name: _map_texts(part, change) for name, part in fields.items()}
    if isinstance(value, list):
        return [_map_texts(part, change) for part in cast("list[object]", value)]
    return value


def _inputs_compile(fields: dict[str, Any]) -> dict[str, Any]:
    _map_texts(fields, _templates_compile)
    return fields


Pattern = Annotated[str, AfterValidator(_compiles)]
Text = Annotated[str, AfterValidator(_templates_compile)]
Input = Annotated[dict[str, Any], AfterValidator(_inputs_compile)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ToolCall(_Model):
    """A call that the model makes."""

    name: str = Field(min_length=1)
    """Short: `claim_task` is found in the request as `mcp__sf__claim_task`."""
    input: Input = Field(default_factory=dict)


class Step(_Model):
    """One answer of the model; every string in it may hold templates.

    `{{last}}` is the text of the newest tool results, `{{last:REGEX}}` a match in them (its first
    group, if it has one), `{{any:REGEX}}` the newest match in the whole conversation,
    `{{opening:REGEX}}` the first one in what the session was told at its start, `{{session}}` the
    session's id.
    """

    text: Text = ""
    thinking: Text = ""
    tools: tuple[ToolCall, ...] = ()
    expect: Pattern = ""
    """Must be found in what came since the last answer; else the step counts as a miss."""
    until: Pattern = ""
    """The step is said again until this is found in what comes of it, as by a model that tries
    again; in vain too often, it is a miss."""
    unless: Pattern = ""
    """Found in what came since the last answer, it has the step left out: it is done already."""
    fill: int | None = Field(default=None, ge=1)
    """The tokens of the whole prompt, as usage reports them."""
    usage: dict[str, Any] = Field(default_factory=dict)
    """Single numbers of the usage, as they are."""
    stop_reason: str | None = None
    delay: float = Field(default=0, ge=0, le=600)
    """Seconds before the first byte."""
    wait_for: str | None = None
    """The answer waits for this barrier."""
    together: int | None = Field(default=None, ge=2)
    """The barrier opens when so many sessions wait at it; unnamed, it is the role's own."""
    wait_seconds: float = Field(default=60, gt=0, le=600)
    """A barrier that stays shut longer is a miss, and the answer goes out."""
    error: int | None = Field(default=None, ge=400, le=599)
    message: str = ""
    headers: dict[str, str] = Field(default_factory=dict)
    hang: float | None = Field(default=None, ge=0, le=600)
    """Seconds of silence, after which the connection is dropped."""
    cut: Literal["headers", "start", "mid", "before_stop"] | None = None
    """Where in the answer the connection is dropped."""
    times: int = Field(default=1, ge=1)
    """How often `error`, `hang` or `cut` happens; then the step's own answer follows, if any."""

    def is_done(self, newest: str) -> bool:
        return bool(self.unless) and re.search(self.unless, newest, re.DOTALL) is not None

    @property
    def has_fault(self) -> bool:
        return self.error is not None or self.hang is not None or self.cut is not None

    @property
    def has_answer(self) -> bool:
        return bool(self.text or self.thinking or self.tools)

    @model_validator(mode="after")
    def _says_something(self) -> "Step":
        if not self.has_fault and not self.has_answer:
            raise ValueError("a step needs one of text, thinking, tools, error, hang or cut")
        return self


class Script(_Model):
    """What the model says in one kind of session."""

    role: Role | None = None
    """None: a session of any role, or of none."""
    match: Pattern = ""
    """Found in what the session was first told: a title, an id. Empty matches every session."""
    attempts: tuple[tuple[Step, ...], ...] = Field(min_length=1)
    """The first session plays the first list, the next one the second; the last list repeats.
    Sessions for which `match` found different texts are counted apart."""

    @property
    def name(self) -> str:
        """Return how records call it: `worker /Add the parser/`."""
        return f"{self.role or 'anyone'} /{self.match}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What is to be done for one request: the step, or None past the end of the script."""

    script: str
    attempt: int
    number: int
    step: Step | None
    is_fault: bool
    """The fault of the step is due, not its answer."""
    pause: float = 0.0
    """Seconds to wait first."""
    given_up: str = ""
    """What was in vain said too often, as a miss."""


@dataclass(slots=True)
class _Place:
    """Where one session is in its script."""

    script: Script
    attempt: int
    number: int = 0
    faults: int = 0
    said: frozenset[str] = frozenset()
    """The calls of the newest answer, to see whether they came to a result."""
    repeats: int = 0
    """How often the present step was said in vain."""
    is_to_be_judged: bool = False
    """The step before was said, and what came of it has not been looked at."""

    @property
    def steps(self) -> tuple[Step, ...]:
        lists = self.script.attempts
        return lists[min(self.attempt, len(lists)) - 1]

    @property
    def step(self) -> Step | None:
        """The present step; None past the end."""
        return self.steps[self.number] if self.number < len(self.steps) else None


@dataclass(slots=True)
class Prompter:
    """Keeps the place of every session. Not for two threads at once; the caller holds a lock."""

    scripts: Sequence[Script]
    _places: dict[str, _Place] = field(default_factory=dict[str, _Place])
    _sessions_of: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])

    def next(self, request: ModelRequest) -> Turn | None:
        """Return what is due for `request`; None when no script is written for its session."""
        place = self._place(request)
        if place is None:
            return None
        given_up = ""
        if not place.said <= request.settled_calls:
            self._step_back(place)
        elif place.is_to_be_judged:
            given_up = self._judge(place, request)
        place.is_to_be_judged = False
        while (step := place.step) is not None and step.is_done(request.newest):
            place.number, place.faults, place.repeats = place.number + 1, 0, 0
        return Turn(
            script=place.script.name,
            attempt=place.attempt,
            number=place.number + 1,
            step=step,
            is_fault=step is not None and step.has_fault and place.faults < step.times,
            pause=REPEAT_SECONDS if place.repeats else 0.0,
            given_up=given_up,
        )

    def _judge(self, place: _Place, request: ModelRequest) -> str:
        """Say the step before once more if it was in vain; return the miss when it is given up."""
        until = place.steps[place.number - 1].until
        if not until or re.search(until, request.newest):
            place.repeats = 0
            return ""
        if place.repeats >= MOST_REPEATS:
            place.repeats = 0
            return f"said {MOST_REPEATS} times and {until!r} never came of it"
        place.repeats += 1
        self._step_back(place)
        return ""

    def _step_back(self, place: _Place) -> None:
        place.number, place.faults, place.said = place.number - 1, 0, frozenset()

    def faulted(self, session: str) -> None:
        """Count one fault of the present step; a step that was only a fault is then over."""
        place = self._places[session]
        place.faults += 1
        step = place.steps[place.number]
        if place.faults >= step.times and not step.has_answer:
            place.number, place.faults, place.said = place.number + 1, 0, frozenset()

    def said(self, session: str, tool_use_ids: frozenset[str]) -> None:
        """Go on to the next step: the answer of the present one was handed over."""
        place = self._places[session]
        place.number, place.faults, place.said = place.number + 1, 0, tool_use_ids
        place.is_to_be_judged = True

    def unsaid(self, session: str) -> None:
        """Take back `said`: the client was gone before it had the answer."""
        place = self._places[session]
        place.number, place.said, place.is_to_be_judged = place.number - 1, frozenset(), False

    def compacted(self, session: str) -> None:
        """Expect no result any more: the conversation was replaced by a summary."""
        if session in self._places:
            self._places[session].said = frozenset()

    def _place(self, request: ModelRequest) -> _Place | None:
        if request.session in self._places:
            return self._places[request.session]
        for index, script in enumerate(self.scripts):
            if script.role not in (None, request.role):
                continue
            if found := re.search(script.match, request.opening):
                kind = (index, found.group())
                attempt = self._sessions_of[kind] = self._sessions_of.get(kind, 0) + 1
                place = self._places[request.session] = _Place(script, attempt)
                return place
        return None


def fill_in(value: object, request: ModelRequest, on_miss: Callable[[str], None]) -> object:
    """Return `value` with its templates filled in; one that finds nothing becomes empty."""
    return _map_texts(
        value,
        lambda text: _TEMPLATE.sub(lambda found: _look_up(found[1], request, on_miss), text),
    )


def resolve_tool(name: str, offered: Sequence[str]) -> str | None:
    """Return the tool among `offered` that `name` means, or None."""
    if name in offered:
        return name
    return next((full for full in offered if full.endswith(f"__{name}")), None)


def answer_blocks(
    step: Step,
    request: ModelRequest,
    *,
    new_id: Callable[[], str],
    on_miss: Callable[[str], None],
) -> tuple[Json, ...]:
    """Return the content of the answer that `step` gives to `request`.

    `on_miss` hears of every template that finds nothing and every tool that is not offered.
    """
    blocks: list[Json] = []
    if step.thinking:
        thought = fill_in(step.thinking, request, on_miss)
        blocks.append({"type": "thinking", "thinking": thought, "signature": "c2ln"})
    if step.text:
        blocks.append({"type": "text", "text": fill_in(step.text, request, on_miss)})
    for call in step.tools:
        name = resolve_tool(call.name, request.tools)
        if name is None:
            on_miss(f"the tool {call.name} is not offered")
        blocks.append(
            {
                "type": "tool_use",
                "id": new_id(),
                "name": name or call.name,
                "input": fill_in(call.input, request, on_miss),
            }
        )
    return tuple(blocks)


def _look_up(template: str, request: ModelRequest, on_miss: Callable[[str], None]) -> str:
    if template == "session":
        return request.session
    if template == "last":
        return request.last_result
    source, _, pattern = template.partition(":")
    if source == "opening":
        if found := re.search(pattern, request.opening):
            return found.group(1 if found.re.groups else 0) or ""
        on_miss(f"nothing matches {{{{{template}}}}}")
        return ""
    texts = (request.last_result,) if source == "last" else reversed(request.texts)
    for text in texts:
        matches = list(re.finditer(pattern, text))
        if matches:
            newest = matches[-1]
            return newest.group(1 if newest.re.groups else 0) or ""
    on_miss(f"nothing matches {{{{{template}}}}}")
    return ""
