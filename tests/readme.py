"""Keeps the README's tables and diagrams equal to the program.

    python tests/readme.py          says which parts differ
    python tests/readme.py --write  writes them anew

A generated part stands between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

import asyncio
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

README = Path(__file__).resolve().parent.parent / "README.md"


def states() -> str:
    """Return every state machine as a Mermaid diagram."""
    from sf_mcp.core.states import MACHINES

    return "\n\n".join(
        f"A {machine.noun}:\n\n```mermaid\n{machine.diagram()}\n```" for machine in MACHINES
    )


def settings() -> str:
    """Return every configuration key as a table."""
    from sf_mcp.settings import rows

    lines = ["| key | type | default | what it does |", "|---|---|---|---|"]
    lines += [
        f"| `{row.key}` | {_cell(row.type)} | `{_cell(str(row.default))}` | "
        f"{_cell(row.description)} |"
        for row in rows()
    ]
    return "\n".join(lines)


def tools() -> str:
    """Return every tool with the roles that have it as a table."""
    from sf_mcp.core.models import Role
    from sf_mcp.service import Services
    from sf_mcp.tools.boundary import Boundary
    from sf_mcp.tools.servers import make_server

    # Listing tools runs none of them, so no project is needed.
    services = Services(cast(Any, None))
    texts: dict[tuple[str, str], list[str]] = {}
    for role in Role:
        server = make_server(role, Boundary(services))
        for tool in asyncio.run(server.list_tools()):
            texts.setdefault((tool.name, tool.description or ""), []).append(role.value)
    lines = ["| tool | who has it | what it does |", "|---|---|---|"]
    for (name, text), roles in texts.items():
        who = "all" if len(roles) == len(Role) else ", ".join(roles)
        lines.append(f"| `{name}` | {who} | {_cell(' '.join(text.split()))} |")
    return "\n".join(lines)


def events() -> str:
    """Return every kind of event as a table."""
    from sf_mcp.core.events import EVENTS

    lines = ["| event | what it says |", "|---|---|"]
    return "\n".join(lines + [f"| `{kind}` | {_cell(text)} |" for kind, text in EVENTS.items()])


def keys() -> str:
    """Return the keys of `sf watch` and of the page as a table."""
    from sf_mcp.cli.watch.keys import KEYS

    module = README.parent / "sf_mcp" / "web" / "static" / "keys.js"
    listed = module.read_text().partition("KEYS = [")[2].partition("];")[0]
    lines = ["| key | in `sf watch` |", "|---|---|"]
    lines += [f"| `{key.shown}` | {_cell(key.about)} |" for key in KEYS]
    lines += ["", "| key | on the page |", "|---|---|"]
    lines += [
        f"| `{key}` | {_cell(text[0].upper() + text[1:])}. |"
        for key, text in re.findall(r'\["([^"]+)", "([^"]+)"\]', listed)
    ]
    return "\n".join(lines)


def commands() -> str:
    """Return every command of `sf` and `sf-launch` as a table."""
    import typer.main

    from launcher.cli.commands import app as launcher_app
    from sf_mcp.cli.root import make_app

    lines = ["| command | what it does |", "|---|---|"]
    for name, app in (("sf", make_app()), ("sf-launch", launcher_app)):
        lines += _commands(name, cast(Any, typer.main.get_command(app)))
    return "\n".join(lines)


def _commands(prefix: str, command: Any) -> list[str]:
    inner: dict[str, Any] = getattr(command, "commands", {})
    own = [f"| `{prefix}` | {_cell(_first_paragraph(command.help))} |"]
    if not inner:
        return own
    return (own if command.invoke_without_command else []) + [
        line
        for name, one in inner.items()
        if not one.hidden
        for line in _commands(f"{prefix} {name}", one)
    ]


PARTS: Mapping[str, Callable[[], str]] = {
    "states": states,
    "settings": settings,
    "tools": tools,
    "commands": commands,
    "keys": keys,
    "events": events,
}


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").strip().split("\n\n")[0].split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def renewed(text: str) -> str:
    """Return the README's text with its generated parts made anew."""
    for name, make in PARTS.items():
        part = f"<!-- {name} -->\n\n{make()}\n\n<!-- /{name} -->"
        pattern = rf"<!-- {name} -->.*?<!-- /{name} -->"
        text, count = re.subn(pattern, lambda _, part=part: part, text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"README.md must have the part {name} once; it has it {count} times.")
    return text


def main() -> int:
    """Compare or write; return 1 when something differs."""
    present = README.read_text()
    wanted = renewed(present)
    if "--write" in sys.argv[1:]:
        README.write_text(wanted)
        return 0
    if present != wanted:
        print("README.md is not up to date: run `python tests/readme.py --write`.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
