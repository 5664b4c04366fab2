"""From the file's text to `Settings`, or to an error that names line, key and remedy."""

from collections.abc import Iterator, Sequence
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sf_mcp.core.errors import ConfigInvalid
from sf_mcp.settings.document import Document, KeyPath, dotted, read_document
from sf_mcp.settings.model import Settings
from sf_mcp.settings.reference import expected
from sf_mcp.settings.source import decode, fault, read_source

_SHOWN_FAULTS = 5


def load(path: Path) -> Settings:
    """Return the configuration in the file at `path`.

    Raises:
        ConfigInvalid: the file is missing or cannot be used; it names line, key and remedy.
    """
    return parse(decode(read_source(path).data, str(path)), str(path))


def parse(text: str, source: str) -> Settings:
    """Return the configuration that `text` holds; an empty text is all defaults.

    A section that is empty, because everything below it is commented out, counts as left out.

    Raises:
        ConfigInvalid: `text` cannot be used; the message begins with `source` and the line.
    """
    document = read_document(text, source)
    values = _with_all_sections(document.values, Settings)
    if values.get("checks") is None:
        values["checks"] = ()
    try:
        return Settings.model_validate(values, by_alias=True, by_name=False)
    except ValidationError as error:
        raise _translated(error, document, source) from error


def _with_all_sections(values: dict[str, object], model: type[BaseModel]) -> dict[str, object]:
    """`values` with each section of `model` that is empty or left out as an empty mapping."""
    complete = dict(values)
    for key, section in _sections(model).items():
        inner = values.get(key)
        if inner is None or isinstance(inner, dict):
            below = cast(dict[str, object], inner or {})
            complete[key] = _with_all_sections(below, section)
    return complete


def _sections(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    return {
        field.alias or name: field.annotation
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _translated(error: ValidationError, document: Document, source: str) -> ConfigInvalid:
    """All faults in the order of their lines; the first one is the error's own."""
    found = sorted(
        (_fault(details, document) for details in error.errors(include_url=False)),
        key=lambda found: found[0],
    )
    line, path, what, remedy = found[0]
    if others := found[1:]:
        told = [f"line {line}: {what}" for line, _, what, _ in others[: _SHOWN_FAULTS - 1]]
        if len(others) > len(told):
            told.append(f"and {len(others) - len(told)} more")
        remedy += f" More faults: {'; '.join(told)}."
    return fault(source, line, what, remedy, dotted(path))


def _fault(details: ErrorDetails, document: Document) -> tuple[int, KeyPath, str, str]:
    """The line, path, words and remedy of one of pydantic's findings."""
    path: KeyPath = details["loc"]
    context = details.get("ctx", {})
    if details["type"] == "refused":
        path = (*path, *cast(KeyPath, context["at"]))
        what, remedy = cast(str, context["what"]), cast(str, context["remedy"])
    elif details["type"] == "extra_forbidden":
        what, remedy = "is not a key of the configuration", _nearest(path)
    elif details["type"] == "missing":
        what, remedy = "is missing", f"Add `{path[-1]}: …`."
    else:
        wanted = expected(path)
        what = f"must be: {wanted}; it is {document.shown(path)}"
        remedy = "Correct the value, or remove the key to have its default."
        if details["type"] == "string_type" and isinstance(details["input"], int | float | date):
            remedy = "Put it in quotes if it is meant as text."
    return document.line_of(path), path, f"`{dotted(path)}` {what}", remedy


def _nearest(path: KeyPath) -> str:
    """What the person may have meant by the unknown key at `path`."""
    key, parent = str(path[-1]), path[:-1]
    siblings = _keys_of(parent)
    by_case = {name.casefold(): name for name in siblings}
    plain = key.casefold().replace("_", "").replace("-", "")
    if near := by_case.get(plain) or _closest(key, siblings):
        return f"Did you mean `{dotted((*parent, near))}`?"
    everywhere = {str(known[-1]): known for known in _all_keys(Settings, ())}
    if near := _closest(key, list(everywhere)):
        return f"Did you mean `{dotted(everywhere[near])}`?"
    return f"The keys here are {', '.join(siblings)}." if siblings else "Remove it."


def _closest(key: str, names: Sequence[str]) -> str | None:
    return next(iter(get_close_matches(key, names, n=1, cutoff=0.7)), None)


def _keys_of(path: KeyPath) -> list[str]:
    parent = tuple(step for step in path if isinstance(step, str))
    return [str(key[-1]) for key in _all_keys(Settings, ()) if key[:-1] == parent]


def _all_keys(model: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        key = (*prefix, field.alias or name)
        yield key
        below = _model_in(field.annotation)
        if below is not None:
            yield from _all_keys(below, key)


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model of a section, or of each entry of a list of sections."""
    candidates = (annotation, *cast(tuple[object, ...], getattr(annotation, "__args__", ())))
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
