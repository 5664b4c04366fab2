"""The role prompts: the project's own from .stoneforge/prompts, else those that are shipped."""

import os
from importlib.resources import files
from pathlib import Path

from sf_mcp.core.errors import ConfigInvalid, StorageFailed
from sf_mcp.core.layout import Layout
from sf_mcp.core.models import Role

PROMPT_ROLES = (Role.WORKER, Role.STEWARD, Role.DIRECTOR)
"""The roles with a prompt; a person's own session is a director's."""

LARGEST_PROMPT_BYTES = 100_000
"""More is a mistake: it would be paid for in every session."""


def prompt_text(layout: Layout, role: Role) -> str:
    """Return the prompt of a role: the project's, if it has one, else the shipped one.

    Raises:
        ConfigInvalid: the project's own prompt is empty, too long or not UTF-8.
    """
    own = layout.prompts / f"{role.value}.md"
    try:
        data = own.read_bytes()
    except FileNotFoundError:
        return shipped_prompt(role)
    except OSError as error:
        raise ConfigInvalid(
            f"{own} cannot be read: {error.strerror}.", remedy="Correct it, or remove it."
        ) from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{own} is not UTF-8 text: {error}.", remedy="Save it as UTF-8.") from (
            error
        )
    if not text.strip():
        raise ConfigInvalid(f"{own} is empty.", remedy="Write the prompt, or remove the file.")
    if len(data) > LARGEST_PROMPT_BYTES:
        raise ConfigInvalid(
            f"{own} has {len(data):,} bytes; at most {LARGEST_PROMPT_BYTES:,} are taken.",
            remedy="Shorten it: every session of the role pays for it.",
        )
    return text


def shipped_prompt(role: Role) -> str:
    """Return the prompt that comes with the program."""
    name = f"{role.value}.md"
    packaged = files("launcher") / "data" / "prompts" / name
    if packaged.is_file():
        return packaged.read_text("utf-8")
    # An editable checkout: the folder lies beside the package.
    return (Path(__file__).parent.parent / "prompts" / name).read_text("utf-8")


def write_prompt(layout: Layout, role: Role) -> Path:
    """Put the prompt of a role into a file for Claude Code to read, and return its path.

    Raises:
        ConfigInvalid: the project's own prompt cannot be used.
        StorageFailed: the file cannot be written.
    """
    text = prompt_text(layout, role)
    path = layout.logs / "prompts" / f"{role.value}.md"
    try:
        if path.is_file() and path.read_text("utf-8") == text:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{os.getpid()}.new")
        beside.write_text(text, "utf-8")
        beside.replace(path)
    except OSError as error:
        raise StorageFailed(
            f"{path} cannot be written: {error.strerror}.",
            remedy="Free some disk space or correct the permissions, then try again.",
        ) from error
    return path
