"""A story: what is in the repository, the plan, what the model says, what must hold at the end.

Stories are data (YAML). Nothing in one calls a tool or a service: the model's steps are what a
model answers, and everything they set off is done by the real client and the real server.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from launcher.rehearsal.script import Script
from sf_mcp.core.errors import InvalidInput, NotFound

DEFAULT_STORY = "sprint-14"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlannedTask(_Model):
    """A task of the story's plan; `depends_on` names other tasks by key."""

    key: str
    title: str
    description: str = ""
    acceptance: tuple[str, ...] = ()
    priority: int = 3
    estimate_minutes: float | None = None
    paths: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()


class StoryPlan(_Model):
    """The plan that the person of the story creates."""

    title: str
    tasks: tuple[PlannedTask, ...] = Field(min_length=1)


class Expectations(_Model):
    """What must hold when the story is over, found out from outside."""

    merged: tuple[str, ...] = ()
    """Keys of tasks that must have landed."""
    order: tuple[tuple[str, str], ...] = ()
    """Pairs of keys of which the first must have landed before the second."""
    files: Mapping[str, str] = Field(default_factory=dict)
    """Paths in the person's checkout and a text that each must contain."""
    suite: str = ""
    """A command that must pass on every commit the target branch ever had."""
    keeps: tuple[str, ...] = ()
    """Commands: each commit the target branch ever had passes those that the one before it
    passed."""
    history: tuple[str, ...] = ()
    """Texts that a commit message of the target branch must contain."""
    workers_at_once: int = 0
    """At least so many workers must have been asking the model at the same moment."""
    sent_back: tuple[str, ...] = ()
    handed_off: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    resolved: tuple[str, ...] = ()
    """Keys of tasks that must have been sent back, handed off, asked about, or been in a conflict
    that a steward resolved."""
    flaky: tuple[str, ...] = ()
    """Names of checks that must have been recorded as flaky."""
    spared: tuple[str, ...] = ()
    """Names of checks for which nothing may have been sent back."""


class Story(_Model):
    """One rehearsal."""

    name: str
    description: str = ""
    repository: Mapping[str, str]
    """Files of the person's repository before the story begins."""
    config: dict[str, Any] = Field(default_factory=dict)
    """What `.stoneforge/config.yaml` says."""
    plan: StoryPlan
    model: tuple[Script, ...] = Field(min_length=1)
    expect: Expectations = Field(default_factory=Expectations)
    timeout_seconds: float = Field(default=300, gt=0, le=3600)

    @model_validator(mode="after")
    def _keys_are_known(self) -> "Story":
        keys = [task.key for task in self.plan.tasks]
        if len(set(keys)) != len(keys):
            raise ValueError("two tasks of the plan have the same key")
        expect = self.expect
        named = {on for task in self.plan.tasks for on in task.depends_on}
        named |= {*expect.merged, *expect.sent_back, *expect.handed_off, *expect.asked}
        named |= set(expect.resolved)
        named |= {key for pair in expect.order for key in pair}
        if unknown := sorted(named - set(keys)):
            raise ValueError(f"there is no task with the key {', '.join(unknown)}")
        return self


def load_story(path: Path) -> Story:
    """Read a story.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is not a story; the message says where.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(
            f"The story {path} cannot be read: {error}.", remedy="Name a story's YAML file."
        ) from error
    try:
        return Story.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is not YAML: {error}.", remedy="Mend the file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the story"
        raise InvalidInput(
            f"{path}: {where}: {first['msg']}.",
            remedy="Compare it with a story of examples/rehearsals.",
        ) from error


def shipped_story(name: str = DEFAULT_STORY) -> Path:
    """Return the file of a story that is shipped, from a wheel and from a checkout alike.

    Raises:
        NotFound: no story of this name is shipped.
    """
    packaged = Path(str(resources.files("launcher"))) / "data" / "examples"
    checkout = Path(str(resources.files("launcher"))).parent / "examples"
    for folder in (packaged, checkout):
        path = folder / "rehearsals" / f"{name}.yaml"
        if path.is_file():
            return path
    raise NotFound(f"No story {name!r} is shipped.", remedy="Name a story's YAML file.")
