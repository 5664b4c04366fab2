"""What the sections of the configuration share: their strictness, their types, their refusals."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from sf_mcp.core.identity import SESSION_VARIABLE
from sf_mcp.core.path_patterns import pattern_problem

ModelName = Annotated[
    str,
    Field(
        max_length=200,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]*$",
        json_schema_extra={"words": "model name or alias"},
    ),
]
CheckName = Annotated[
    str,
    Field(
        pattern=r"^\w([\w .+-]{0,58}[\w+])?$",
        json_schema_extra={
            "words": "up to 60 letters, digits, spaces and . _ + - (it becomes a file name)"
        },
    ),
]
CommandLine = Annotated[
    str,
    Field(
        pattern=r"^[^\x00]*[^\s\x00][^\x00]*$",
        json_schema_extra={"words": "command line"},
    ),
]
ToolRule = Annotated[
    str,
    # Not a leading dash: each becomes an argument of its own on Claude Code's command line.
    Field(pattern=r"^[^\s\x00-\x1f-][^\x00-\x1f]*$", json_schema_extra={"words": "tool rule"}),
]
PathPattern = Annotated[
    str,
    Field(
        pattern=r"^[^\x00]+$",
        max_length=500,
        json_schema_extra={"words": "path pattern"},
    ),
]
Dollars = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    # Strict: `"6"` is not 6 and `yes` is not text. Deferred: only `Settings` is validated itself,
    # and it builds the schema of every section anyway.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_by_name=True,
        alias_generator=to_camel,
        defer_build=True,
    )


def refusal(what: str, remedy: str, at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """A refusal in words of its own; `at` leads from the validated value to the fault."""
    # As context and not as the template: braces in `what` would be taken for fields.
    return PydanticCustomError("refused", "{what}", {"what": what, "remedy": remedy, "at": at})


def checked_patterns(value: tuple[str, ...]) -> tuple[str, ...]:
    for index, pattern in enumerate(value):
        if (problem := pattern_problem(pattern)) is not None:
            raise refusal(
                f"can never be a path: {problem}",
                "Write it as `git ls-files` does, such as `docs/changes/*.md`.",
                at=(index,),
            )
    return value


def checked_environment(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            what = "cannot be the name of a variable"
        elif SESSION_VARIABLE.match(name):
            what = "is a variable of git's or of a session's own, which no check is given"
        elif "\0" in text:
            what = "holds a NUL, which no variable can"
        else:
            continue
        raise refusal(what, "Give it another name and value, or remove it.", at=(name,))
    return value
