"""From a file's bytes to what is to be imported."""

import os
import sys
from pathlib import Path

from sf_mcp.cli.plan_file.parsed import ParsedPlan, PlanFileInvalid
from sf_mcp.cli.plan_file.resolving import PlanToImport, resolve
from sf_mcp.core.errors import InvalidInput

MOST_BYTES = 1_000_000
STDIN = "-"
SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".md": "markdown", ".markdown": "markdown"}


def read_plan(file: str, *, title: str = "") -> PlanToImport:
    """Return the plan in the file, or on stdin for `-`.

    Raises:
        PlanFileInvalid: it cannot be used, with the line.
        InvalidInput: it cannot be read.
    """
    source = "stdin" if file == STDIN else file
    text = _text(_bytes(file), source)
    if not text.strip():
        raise PlanFileInvalid(
            source, 1, "the file is empty.", remedy="Write tasks as check boxes: `- [ ] …`."
        )
    return resolve(_parsed(text, source, Path(file).suffix.lower()), source, title=title)


def _parsed(text: str, source: str, suffix: str) -> ParsedPlan:
    # Each brings a library of its own.
    if SUFFIXES.get(suffix, _kind_of(text)) == "yaml":
        from sf_mcp.cli.plan_file.yaml_file import read_yaml

        return read_yaml(text, source)
    from sf_mcp.cli.plan_file.markdown import read_markdown

    return read_markdown(text, source)


def _kind_of(text: str) -> str:
    """Tell which kind of file it is by its first line that says anything."""
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    return "yaml" if first.startswith(("plan:", "---", "{")) else "markdown"


def _bytes(file: str) -> bytes:
    if file == STDIN:
        data = sys.stdin.buffer.read(MOST_BYTES + 1)
    else:
        try:
            # A pipe that nobody writes to must not hold the command up.
            descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as opened:
                data = opened.read(MOST_BYTES + 1)
        except OSError as error:
            raise InvalidInput(
                f"{file} cannot be read: {error.strerror}.",
                remedy="Name a file in Markdown or YAML, or `-` for stdin.",
            ) from error
    if len(data) > MOST_BYTES:
        raise InvalidInput(
            f"{file} is larger than {MOST_BYTES:,} bytes: is it a plan?",
            remedy="Split it into several plans. Nothing was created.",
        )
    return data


def _text(data: bytes, source: str) -> str:
    as_utf8 = "Save the file as plain text in UTF-8."
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise PlanFileInvalid(source, 1, "this is UTF-16 text, not UTF-8.", remedy=as_utf8)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x}"
        raise PlanFileInvalid(
            source, line, f"this is not UTF-8 text ({byte}).", remedy=as_utf8
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise PlanFileInvalid(source, line, "this is not text: it holds a NUL.", remedy=as_utf8)
    return text
