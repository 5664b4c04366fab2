"""The texts of Claude Code's files with our wiring in them, and without it again.

Pure: text in, text out. Whatever else stands in a file stays in it, in its order and indentation.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

from sf_mcp.core import wiring
from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.wiring import SERVER_NAME, Json

MCP_FILE = ".mcp.json"
SETTINGS_FILE = ".claude/settings.local.json"

_INDENT = re.compile(r"\n([ \t]+)\S")


class Unusable(StoneforgeError):
    """A file of Claude Code's cannot be added to; it is left as it is."""

    code = "file_unusable"


def with_server(text: str, url: str, sf: Sequence[str]) -> str:
    """Return `.mcp.json` with our server, which replaces an older entry of ours.

    Raises:
        Unusable: it is no JSON object, or has another server of our name.
    """
    document = _parsed(text, MCP_FILE)
    servers = _part(document, "mcpServers", dict, MCP_FILE)
    there = servers.get(SERVER_NAME)
    if there is not None and not wiring.is_our_server(there):
        raise Unusable(
            f"{MCP_FILE} has a server called {SERVER_NAME} already, which is not Stoneforge's.",
            remedy="Give that one another name, or use `sf-launch director`, which needs no file.",
        )
    servers[SERVER_NAME] = wiring.server_entry(url, sf)
    return _written(document, text)


def without_server(text: str) -> str:
    """Return `.mcp.json` without our server; unchanged where there is none.

    Raises:
        Unusable: it is no JSON object.
    """
    document = _parsed(text, MCP_FILE)
    servers = document.get("mcpServers")
    if not isinstance(servers, dict) or not wiring.is_our_server(
        cast(Json, servers).get(SERVER_NAME)
    ):
        return text
    del servers[SERVER_NAME]
    if not servers:
        del document["mcpServers"]
    return _written(document, text)


def url_in(text: str) -> str:
    """Return where `.mcp.json` says that our server is; empty where it says nothing of it."""
    try:
        servers = _parsed(text, MCP_FILE).get("mcpServers")
    except Unusable:
        return ""
    entry: Any = cast(Json, servers).get(SERVER_NAME) if isinstance(servers, dict) else None
    return str(entry.get("url", "")) if wiring.is_our_server(entry) else ""


def with_settings(text: str, sf: Sequence[str], *, has_status_line: bool = False) -> str:
    """Return the local settings with our hooks, rules and status line.

    A status line of the person's own stays theirs; so it does with `has_status_line`, which says
    that they have one in another file.

    Raises:
        Unusable: a part of it is not what Claude Code expects, or the person has refused us.
    """
    document = _parsed(without_settings(text), SETTINGS_FILE)
    if SERVER_NAME in cast(list[Any], document.get("disabledMcpjsonServers") or []):
        raise Unusable(
            f"{SETTINGS_FILE} refuses the server {SERVER_NAME} (disabledMcpjsonServers).",
            remedy="Take it out of that list, then run `sf attach` again.",
        )
    hooks = _part(document, "hooks", dict, SETTINGS_FILE)
    for event, groups in wiring.hook_settings(sf).items():
        _part(hooks, event, list, SETTINGS_FILE).extend(groups)
    permissions = _part(document, "permissions", dict, SETTINGS_FILE)
    for kind, rules in wiring.permission_rules().items():
        _part(permissions, kind, list, SETTINGS_FILE).extend(rules)
    _part(document, "enabledMcpjsonServers", list, SETTINGS_FILE).append(SERVER_NAME)
    if "statusLine" not in document and not has_status_line:
        document["statusLine"] = wiring.status_line(sf)
    return _written(document, text)


def without_settings(text: str) -> str:
    """Return the local settings without what `with_settings` adds; unchanged where nothing is.

    Raises:
        Unusable: a part of it is not what Claude Code expects.
    """
    document = _parsed(text, SETTINGS_FILE)
    before = json.dumps(document)
    if isinstance(hooks := document.get("hooks"), dict) and hooks:
        _without_hooks(cast(Json, hooks))
        if not hooks:
            del document["hooks"]
    if isinstance(permissions := document.get("permissions"), dict) and permissions:
        for kind, rules in wiring.permission_rules().items():
            _remove(cast(Json, permissions), kind, rules)
        if not permissions:
            del document["permissions"]
    _remove(document, "enabledMcpjsonServers", [SERVER_NAME])
    if wiring.is_our_status_line(document.get("statusLine")):
        del document["statusLine"]
    return text if json.dumps(document) == before else _written(document, text)


def has_own_status_line(text: str) -> bool:
    """Return whether settings of another place have a status line; unreadable ones have none."""
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return False
    line = cast(Json, document).get("statusLine") if isinstance(document, dict) else None
    return line is not None and not wiring.is_our_status_line(line)


def is_nothing(text: str) -> bool:
    """Return whether the text says nothing, so that its file need not be there."""
    return not text.strip() or text.split() == ["{}"]


def _parsed(text: str, name: str) -> Json:
    if not text.strip():
        return {}
    try:
        document: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise Unusable(
            f"{name} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}.",
            remedy="Correct it, then try again; nothing was changed.",
        ) from error
    except RecursionError as error:
        raise Unusable(
            f"{name} is nested too deeply to be read.", remedy="Correct it, then try again."
        ) from error
    if not isinstance(document, dict):
        raise _of_the_wrong_kind(name, "it", "an object")
    return cast(Json, document)


def _part(holder: Json, key: str, kind: Callable[[], Any], name: str) -> Any:
    """Return a part of the document, made empty where it is missing."""
    found = holder.setdefault(key, kind())
    if not isinstance(found, cast(type, kind)):
        raise _of_the_wrong_kind(name, key, "an object" if kind is dict else "a list")
    return found


def _of_the_wrong_kind(name: str, what: str, kind: str) -> Unusable:
    return Unusable(
        f"{name} cannot be added to: {what} must be {kind}.",
        remedy="Correct it, then try again; nothing was changed.",
    )


def _without_hooks(hooks: Json) -> None:
    for event, groups in list(hooks.items()):
        if isinstance(groups, list):
            kept = [one for group in cast(list[Any], groups) if (one := _without_ours(group))]
            hooks[event] = kept
            if groups and not kept:
                del hooks[event]


def _without_ours(group: Any) -> Any:
    """Return a group of handlers without ours; None when there is nothing else in it."""
    if not isinstance(group, dict):
        return group
    fields = cast(Json, group)
    if not isinstance(fields.get("hooks"), list):
        return fields
    handlers = cast(list[Any], fields["hooks"])
    others = [one for one in handlers if not wiring.is_our_hook(one)]
    if len(others) == len(handlers):
        return fields
    return {**fields, "hooks": others} if others else None


def _remove(holder: Json, key: str, ours: Sequence[str]) -> None:
    """Take ours out of a list, and the list away that was ours alone."""
    there = holder.get(key)
    if isinstance(there, list) and any(one in ours for one in cast(list[Any], there)):
        holder[key] = [one for one in cast(list[Any], there) if one not in ours]
        if not holder[key]:
            del holder[key]


def _written(document: Json, like: str) -> str:
    """Return the document as text, indented as `like` is."""
    found = _INDENT.search(like)
    indent: str | int = found[1] if found else 2
    return json.dumps(document, indent=indent, ensure_ascii=False) + (
        "\n" if not like or like.endswith("\n") else ""
    )
