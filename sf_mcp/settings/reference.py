"""Every key as a row of words: for the README's table and for the error messages.

Taken from the model's JSON schema, so that words, bounds and defaults cannot drift from what is
validated.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from sf_mcp.settings.model import Settings

_Schema = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    key: str
    """Such as `merge.targetBranch`; `checks[].name` for a key of each entry of a list."""
    type: str
    default: str
    """As it is written in YAML; `required` where there is none."""
    description: str


def rows() -> tuple[Row, ...]:
    """Return a row for each key, in the order of the file."""
    schema = Settings.model_json_schema()
    return tuple(_rows(schema, cast(_Schema, schema["$defs"]), ""))


def expected(path: Sequence[str | int]) -> str:
    """Return what must stand at `path`, in words such as `a whole number from 1 to 64`."""
    schema = cast(_Schema, Settings.model_json_schema())
    definitions = cast(_Schema, schema["$defs"])
    for step in path:
        found = (
            schema.get("items")
            if isinstance(step, int)
            else cast(_Schema, schema.get("properties", {})).get(step)
        )
        if found is None:
            return "something else"
        schema = _resolved(cast(_Schema, found), definitions)
    return _words(schema)


def _rows(schema: _Schema, definitions: _Schema, prefix: str) -> Iterator[Row]:
    required = cast(Sequence[str], schema.get("required", ()))
    for key, value in cast(Mapping[str, _Schema], schema["properties"]).items():
        field = _resolved(value, definitions)
        if "properties" in field:
            yield from _rows(field, definitions, f"{prefix}{key}.")
            continue
        yield Row(
            key=f"{prefix}{key}",
            type=_words(field),
            default="required" if key in required else _yaml(field.get("default")),
            description=cast(str, field["description"]),
        )
        item = _resolved(cast(_Schema, field.get("items", {})), definitions)
        if "properties" in item:
            yield from _rows(item, definitions, f"{prefix}{key}[].")


def _resolved(field: _Schema, definitions: _Schema) -> _Schema:
    reference = field.get("$ref")
    if not isinstance(reference, str):
        return field
    return cast(_Schema, definitions[reference.rpartition("/")[2]])


def _words(field: _Schema) -> str:
    if "words" in field:
        return cast(str, field["words"])
    if "const" in field:
        return _listed([field["const"]])
    if "enum" in field:
        return _listed(cast(Sequence[object], field["enum"]))
    if "anyOf" in field:
        return " or ".join(_words(part) for part in cast(Sequence[_Schema], field["anyOf"]))
    if "properties" in field or "$ref" in field:
        return "mapping"
    match field.get("type"):
        case "boolean":
            return "true or false"
        case "integer":
            return f"whole number{_bounds(field)}"
        case "number":
            return f"number{_bounds(field)}"
        case "array":
            return f"list of {_words(cast(_Schema, field['items']))}s"
        case "null":
            return "null"
        case _:
            return "text"


def _bounds(field: _Schema) -> str:
    if "exclusiveMinimum" in field:
        return f" above {field['exclusiveMinimum']:g}"
    return f" from {field['minimum']} to {field['maximum']}"


def _listed(values: Sequence[object]) -> str:
    shown = [f"`{_yaml(value)}`" for value in values]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def _yaml(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            return "{}"
        case list():
            return f"[{', '.join(_yaml(item) for item in cast(list[object], value))}]"
        case _:
            return str(value)
