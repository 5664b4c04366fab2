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

_TEMPLATE = re.compile(r"\{\{(session|last|last:.+?|any:.+?)\}\}(?!\})")


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
    `{{session}}` the session's id.
    """

    text: Text = ""
    thinking: Text = ""
    tools: tuple[ToolCall, ...] = ()
    expect: Pattern = ""
    """Must be found in what came since the last answer; else the step counts as a miss."""
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
    """The first session plays the first list, the next one the second; the last list repeats."""

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


@dataclass(slots=True)
class _Place:
    """Where one session is in its script."""

    script: Script
    attempt: int
    number: int = 0
    faults: int = 0
    said: frozenset[str] = frozenset()
    """The calls of the newest answer, to see whether they came to a result."""

    @property
    def steps(self) -> tuple[Step, ...]:
        lists = self.script.attempts
        return lists[min(self.attempt, len(lists)) - 1]


@dataclass(slots=True)
class Prompter:
    """Keeps the place of every session. Not for two threads at once; the caller holds a lock."""

    scripts: Sequence[Script]
    _places: dict[str, _Place] = field(default_factory=dict[str, _Place])
    _sessions_of: dict[int, int] = field(default_factory=dict[int, int])

    def next(self, request: ModelRequest) -> Turn | None:
        """Return what is due for `request`; None when no script is written for its session."""
        place = self._place(request)
        if place is None:
            return None
        if not place.said <= request.settled_calls:
            place.number, place.faults, place.said = place.number - 1, 0, frozenset()
        while (done := place.steps[place.number :][:1]) and done[0].is_done(request.newest):
            place.number, place.faults = place.number + 1, 0
        number = place.number
        step = place.steps[number] if number < len(place.steps) else None
        return Turn(
            script=place.script.name,
            attempt=place.attempt,
            number=number + 1,
            step=step,
            is_fault=step is not None and step.has_fault and place.faults < step.times,
        )

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

    def unsaid(self, session: str) -> None:
        """Take back `said`: the client was gone before it had the answer."""
        place = self._places[session]
        place.number, place.said = place.number - 1, frozenset()

    def compacted(self, session: str) -> None:
        """Expect no result any more: the conversation was replaced by a summary."""
        if session in self._places:
            self._places[session].said = frozenset()

    def _place(self, request: ModelRequest) -> _Place | None:
        if request.session in self._places:
            return self._places[request.session]
        for index, script in enumerate(self.scripts):
            if script.role in (None, request.role) and re.search(script.match, request.opening):
                attempt = self._sessions_of[index] = self._sessions_of.get(index, 0) + 1
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
    texts = (request.last_result,) if source == "last" else reversed(request.texts)
    for text in texts:
        matches = list(re.finditer(pattern, text))
        if matches:
            newest = matches[-1]
            return newest.group(1 if newest.re.groups else 0) or ""
    on_miss(f"nothing matches {{{{{template}}}}}")
    return ""
