"""`sf-launch director`: this process becomes an interactive Claude Code, wired as director.

It needs a running server. One of its own it could neither end (after the exec nobody is left here)
nor leave behind (nothing of ours outlives its command).
"""

import os
from pathlib import Path

from launcher.core.command_line import (
    InteractiveDirector,
    clean_environment,
    interactive_command,
)
from launcher.prompts import write_prompt
from launcher.settings import require_claude
from sf_mcp import process
from sf_mcp.client import address_of, connect
from sf_mcp.core.errors import ServerUnreachable
from sf_mcp.core.layout import Layout
from sf_mcp.core.models import Role
from sf_mcp.settings import SettingsFile


def become_director(root: Path, *, model: str | None) -> None:
    """Replace this process by the director's session; does not return.

    Raises:
        ServerUnreachable: no server runs for the project.
        ClientUnusable: Claude Code is missing or too old.
    """
    layout = Layout(root)
    address = address_of(layout)
    if address is None or connect(root) is None:
        raise ServerUnreachable(
            "No server runs for this project, so there is nothing to direct.",
            remedy="Run `sf serve` in another terminal, then this again.",
        )
    settings = SettingsFile(layout.config).current()
    claude = require_claude(settings.orchestrator.claude_path, os.environ)
    command = interactive_command(
        InteractiveDirector(
            claude=claude.path,
            mcp_url=f"{address.url}/{Role.PERSON.value}/mcp",
            sf=process.own_program("sf", "sf_mcp.cli"),
            prompt_file=str(write_prompt(layout, Role.DIRECTOR)),
            model=model,
        )
    )
    os.chdir(root)
    os.execvpe(command[0], list(command), clean_environment(os.environ))
