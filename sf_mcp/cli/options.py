"""What the commands have in common: options, and how their help looks."""

from typing import Annotated, TypedDict

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="How many to print at most.")]


class _Plain(TypedDict):
    rich_markup_mode: None
    pretty_exceptions_enable: bool


PLAIN = _Plain(rich_markup_mode=None, pretty_exceptions_enable=False)
"""Plain help and error messages: rich takes longer to import than a short command takes to run."""


def example(*lines: str) -> str:
    """Return the end of a command's help: what it looks like in use."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)
