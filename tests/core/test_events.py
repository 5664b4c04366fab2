"""Every kind of event is in the registry, and nothing else is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import sf_mcp.service
from sf_mcp.core.events import EVENTS

SERVICE = Path(sf_mcp.service.__file__).parent


def _strings(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def _kinds_written() -> Iterator[tuple[str, str]]:
    """Yield each kind that stands as a word in the first argument of `event`, and where."""
    for path in sorted(SERVICE.glob("**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                first = node.args[:1] if node.func.attr in ("event", "_note_once") else []
                for argument in first:
                    branches = [argument]
                    if isinstance(argument, ast.IfExp):
                        branches = [argument.body, argument.orelse]
                    for one in branches:
                        if isinstance(one, ast.Constant):
                            yield str(one.value), f"{path.name}:{node.lineno}"


def test_every_event_that_is_written_is_registered() -> None:
    unknown = {where: kind for kind, where in _kinds_written() if kind not in EVENTS}

    assert not unknown, "describe it in sf_mcp/core/events.py"


def test_every_registered_event_is_written_somewhere() -> None:
    folder = SERVICE.parent
    modules = [one for one in folder.glob("**/*.py") if one.name != "events.py"]
    modules += [folder / "store" / "events.py"]
    words = {word for path in modules for word in _strings(ast.parse(path.read_text()))}
    prefixes = {word for word in words if word.endswith("_")}

    unwritten = [
        kind
        for kind in EVENTS
        if kind not in words and not any(kind.startswith(one) for one in prefixes)
    ]

    assert not unwritten


def test_each_is_told_in_one_sentence() -> None:
    for kind, sentence in EVENTS.items():
        assert sentence[0].isupper(), kind
        assert sentence.endswith("."), kind
