"""From what a file says to tasks that can be created: each reference found, each value checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from re import fullmatch
from typing import Any

from sf_mcp.cli.plan_file.parsed import ParsedPlan, ParsedTask, PlanFileInvalid, Reference
from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.text import checked_text, checked_title, one_line
from sf_mcp.service.drafts import (
    checked_acceptance,
    checked_estimate,
    checked_paths,
    checked_priority,
)
from sf_mcp.service.plans import MOST_TASKS_AT_ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanToImport:
    title: str
    description: str
    drafts: list[dict[str, Any]]
    """Tasks as `import_plan` takes them; each has a key, by which it is known again."""
    done: list[str]
    """Titles that are ticked off."""


def resolve(plan: ParsedPlan, source: str, *, title: str = "") -> PlanToImport:
    """Return what is to be imported; `title` wins over the file's own.

    Raises:
        PlanFileInvalid: a value cannot be accepted, two tasks have one name, a task depends on one
            that is not there, or they wait for one another in a circle.
    """
    if not plan.tasks:
        raise PlanFileInvalid(
            source, 1, "there is no task in it.", remedy="Write tasks as check boxes: `- [ ] …`."
        )
    if len(plan.tasks) > MOST_TASKS_AT_ONCE:
        raise PlanFileInvalid(
            source,
            plan.tasks[MOST_TASKS_AT_ONCE].line,
            f"the file has {len(plan.tasks)} tasks; at most {MOST_TASKS_AT_ONCE} are accepted.",
            remedy="Split it into several plans.",
        )
    names = _Names(plan.tasks, source)
    waits: dict[str, list[str]] = {}
    drafts: list[dict[str, Any]] = []
    for task in plan.tasks:
        if task.is_done:
            continue
        key = names.key_of(task)
        waits[key] = [on for one in task.depends_on if (on := names.find(one)) is not None]
        drafts.append(_draft(task, key, waits[key], source))
    _refuse_cycles(plan.tasks, names, waits, source)
    try:
        return PlanToImport(
            title=title or (checked_title(plan.title) if plan.title else ""),
            description=checked_text(plan.description, "description"),
            drafts=drafts,
            done=[task.title for task in plan.tasks if task.is_done],
        )
    except InvalidInput as error:
        raise PlanFileInvalid(source, 1, error.message, remedy=error.remedy) from error


class _Names:
    """By what tasks of a file are called."""

    def __init__(self, tasks: Sequence[ParsedTask], source: str) -> None:
        self._tasks = tasks
        self._source = source
        self._by_name: dict[str, ParsedTask] = {}
        for task in tasks:
            name = self.key_of(task)
            if (other := self._by_name.get(name)) is not None:
                raise PlanFileInvalid(
                    source,
                    task.line,
                    f"a task called “{one_line(task.key or task.title)}” stands in line "
                    f"{other.line} already.",
                    remedy="Give one of them another title, or each a `key:` of its own.",
                )
            self._by_name[name] = task
        # A title names a task that has a key too, unless another's key is the same.
        for task in tasks:
            self._by_name.setdefault(_plain(task.title), task)

    def key_of(self, task: ParsedTask) -> str:
        return task.key or _plain(task.title)

    def find(self, reference: Reference) -> str | None:
        """Return the key, or the id, of what is meant; None when it is done already."""
        text = reference.text
        if number := fullmatch(r"#(\d+)", text):
            place = int(number[1][:9])
            if not 1 <= place <= len(self._tasks):
                raise self._unknown(reference, f"The file has {len(self._tasks)} tasks.")
            return self._key_unless_done(self._tasks[place - 1])
        found = self._by_name.get(text) or self._by_name.get(_plain(text))
        if found is not None:
            return self._key_unless_done(found)
        if fullmatch(r"T\d+", text):
            return text
        near = get_close_matches(_plain(text), list(self._by_name), n=1)
        hint = f"Did you mean “{one_line(self._by_name[near[0]].title)}”?" if near else ""
        raise self._unknown(
            reference, hint or "Name it by its title, by `#2` for the second task, or by an id."
        )

    def _key_unless_done(self, task: ParsedTask) -> str | None:
        return None if task.is_done else self.key_of(task)

    def _unknown(self, reference: Reference, remedy: str) -> PlanFileInvalid:
        return PlanFileInvalid(
            self._source,
            reference.line,
            f"it depends on “{one_line(reference.text)}”, which is no task of the file.",
            remedy=remedy,
        )


def _draft(task: ParsedTask, key: str, depends_on: Sequence[str], source: str) -> dict[str, Any]:
    try:
        return {
            "title": checked_title(task.title),
            "key": checked_title(key, "key"),
            "description": checked_text(task.description, "description"),
            "acceptance": list(checked_acceptance(task.acceptance)),
            "priority": checked_priority(task.priority),
            "estimate_minutes": checked_estimate(task.estimate_minutes),
            "paths": list(checked_paths(task.paths)),
            "depends_on": list(dict.fromkeys(depends_on)),
        }
    except InvalidInput as error:
        raise PlanFileInvalid(source, task.line, error.message, remedy=error.remedy) from error


def _refuse_cycles(
    tasks: Sequence[ParsedTask], names: _Names, waits: Mapping[str, Sequence[str]], source: str
) -> None:
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        by_key = {names.key_of(task): task for task in tasks}
        circle = [by_key[key] for key in error.args[1][::-1]]
        told = " → ".join(f"“{one_line(task.title, 60)}” (line {task.line})" for task in circle)
        raise PlanFileInvalid(
            source,
            circle[0].line,
            f"these tasks wait for one another, so that none could ever start: {told} "
            "(each depends on the next).",
            remedy="Remove one of these dependencies.",
        ) from error


def _plain(title: str) -> str:
    return " ".join(title.split()).casefold()
