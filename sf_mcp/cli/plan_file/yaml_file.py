"""A plan written in YAML: `plan: {title, description, tasks: [{title, …}]}`."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import cast

from sf_mcp.cli.plan_file.fields import items_of, minutes_of
from sf_mcp.cli.plan_file.parsed import ParsedPlan, ParsedTask, PlanFileInvalid, Reference
from sf_mcp.core.errors import ConfigInvalid
from sf_mcp.core.models import DEFAULT_PRIORITY
from sf_mcp.settings.document import Document, KeyPath, dotted, read_document

PLAN_KEYS = ("title", "description", "tasks")
TASK_KEYS = (
    "title",
    "key",
    "description",
    "acceptance",
    "priority",
    "estimate_minutes",
    "depends_on",
    "paths",
    "done",
)


def read_yaml(text: str, source: str) -> ParsedPlan:
    """Return the plan that the text holds.

    Raises:
        PlanFileInvalid: it is not YAML, or not a plan.
    """
    try:
        document = read_document(text, source)
    except ConfigInvalid as error:
        told = error.message.removeprefix(f"{source}, line {error.line}: ")
        raise PlanFileInvalid(source, error.line or 1, told, remedy=error.remedy) from error
    return _Reader(document, source).plan()


class _Reader:
    def __init__(self, document: Document, source: str) -> None:
        self._document = document
        self._source = source

    def plan(self) -> ParsedPlan:
        self._known(self._document.values, (), ("plan",))
        plan = self._mapping(self._document.values.get("plan"), ("plan",))
        self._known(plan, ("plan",), PLAN_KEYS)
        listed = plan.get("tasks") or ()
        if not isinstance(listed, tuple):
            raise self._wrong(("plan", "tasks"), "a list of tasks")
        return ParsedPlan(
            title=self._text(plan, ("plan",), "title"),
            description=self._text(plan, ("plan",), "description"),
            tasks=[
                self._task(one, ("plan", "tasks", place))
                for place, one in enumerate(cast("tuple[object, ...]", listed))
            ],
        )

    def _task(self, value: object, path: KeyPath) -> ParsedTask:
        line = self._document.line_of(path)
        if isinstance(value, str):
            return ParsedTask(line=line, title=value)
        task = self._mapping(value, path)
        self._known(task, path, TASK_KEYS)
        return ParsedTask(
            line=line,
            title=self._text(task, path, "title"),
            key=self._text(task, path, "key"),
            description=self._text(task, path, "description"),
            acceptance=tuple(self._texts(task, path, "acceptance", split=False)),
            priority=self._priority(task, path),
            estimate_minutes=self._minutes(task, path),
            paths=tuple(self._texts(task, path, "paths")),
            depends_on=tuple(
                Reference(text, self._document.line_of((*path, "depends_on")))
                for text in self._texts(task, path, "depends_on")
            ),
            is_done=self._is_done(task, path),
        )

    def _priority(self, task: Mapping[str, object], path: KeyPath) -> int:
        value = task.get("priority", DEFAULT_PRIORITY)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong((*path, "priority"), "a whole number from 1 to 5")
        return value

    def _minutes(self, task: Mapping[str, object], path: KeyPath) -> float | None:
        value = task.get("estimate_minutes")
        if value is None:
            return None
        minutes = None if isinstance(value, bool) else minutes_of(str(value))
        if minutes is None:
            raise self._wrong((*path, "estimate_minutes"), "minutes, such as 45")
        return minutes

    def _is_done(self, task: Mapping[str, object], path: KeyPath) -> bool:
        value = task.get("done", False)
        if not isinstance(value, bool):
            raise self._wrong((*path, "done"), "true or false")
        return value

    def _text(self, values: Mapping[str, object], path: KeyPath, key: str) -> str:
        value = values.get(key)
        if value is None:
            return ""
        if isinstance(value, (dict, tuple)):
            raise self._wrong((*path, key), "text")
        # A title such as `2026` or `yes` is meant as it is written.
        return value if isinstance(value, str) else self._document.shown((*path, key)).strip("`")

    def _texts(
        self, values: Mapping[str, object], path: KeyPath, key: str, *, split: bool = True
    ) -> list[str]:
        value = values.get(key)
        if value is None:
            return []
        if isinstance(value, tuple):
            items = cast("tuple[object, ...]", value)
            if any(item is None or isinstance(item, (dict, tuple)) for item in items):
                raise self._wrong((*path, key), "a list of texts")
            return [str(item) for item in items]
        text = self._text(values, path, key)
        return items_of(text) if split else [text]

    def _mapping(self, value: object, path: KeyPath) -> Mapping[str, object]:
        if not isinstance(value, dict):
            raise self._wrong(path, "keys with values")
        return cast("dict[str, object]", value)

    def _known(self, values: Mapping[str, object], path: KeyPath, keys: tuple[str, ...]) -> None:
        for key in values:
            if key not in keys:
                near = get_close_matches(key, keys, n=1)
                raise PlanFileInvalid(
                    self._source,
                    self._document.line_of((*path, key)),
                    f"`{dotted((*path, key))}` is not a key of a plan file.",
                    remedy=f"Did you mean `{near[0]}`?"
                    if near
                    else f"The keys here are {', '.join(keys)}.",
                )

    def _wrong(self, path: KeyPath, wanted: str) -> PlanFileInvalid:
        return PlanFileInvalid(
            self._source,
            self._document.line_of(path),
            f"`{dotted(path)}` must be {wanted}; it is {self._document.shown(path)}.",
            remedy="Correct it.",
        )
