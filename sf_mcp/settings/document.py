"""One YAML file as plain values, with the line that each of them came from.

Stricter than YAML where YAML surprises: a key is text and stands once, there are no merge keys, and
nesting is bounded (libyaml's composer recurses in C and ends the process on deep input).
Knows nothing of the configuration's keys.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import yaml

from sf_mcp.core.errors import ConfigInvalid
from sf_mcp.settings.source import SAVE_AS_UTF8, fault

MAX_DEPTH = 20

KeyPath = tuple[str | int, ...]


class _Loader(Protocol):
    """What is used of yaml's loaders, whose own methods carry no types."""

    def check_event(self) -> bool: ...
    def get_event(self) -> yaml.Event: ...
    def get_single_node(self) -> yaml.Node | None: ...
    def construct_object(self, node: yaml.Node) -> object: ...


# The one in C is not there when PyYAML was built without libyaml.
_LOADER = cast(Callable[[str], _Loader], getattr(yaml, "CSafeLoader", yaml.SafeLoader))
_UNPRINTABLE = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
"""What YAML 1.1 does not allow in a stream, and the byte order mark inside one."""
_UNPRINTABLE_IN_ASCII = "[^\t\n\r\x20-\x7e]"
"""The same for ASCII text: Python takes 5 ms to compile the whole one."""
_TAB_INDENT = re.compile(r" *\t")


@dataclass(frozen=True, slots=True)
class Document:
    """The values of a file, and the way back to their lines."""

    values: dict[str, object]
    """Mappings are dicts, sequences tuples, the rest as YAML 1.1 reads it."""
    _root: yaml.Node | None

    def line_of(self, path: Sequence[str | int]) -> int:
        """Return the line, from 1, of the key or item at `path`, or of what is nearest above it."""
        line, node = 1, self._root
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return line

    def shown(self, path: Sequence[str | int]) -> str:
        """Return the value at `path` as a person would speak of it."""
        node = self._root
        for step in path:
            found = _child(node, step)
            if found is None:
                return "nothing"
            _, node = found
        if isinstance(node, yaml.MappingNode):
            return "a mapping"
        if isinstance(node, yaml.SequenceNode):
            return "a list" if node.value else "an empty list"
        text = cast(str, node.value) if node is not None else ""
        if not text:
            return "empty"
        quoted = isinstance(node, yaml.ScalarNode) and node.style in {"'", '"'}
        text = text if len(text) <= 60 else text[:60] + "…"
        return f'the text "{text}"' if quoted else f"`{text}`"


def read_document(text: str, source: str) -> Document:
    """Return the mapping that `text` holds; an empty text is an empty mapping.

    Raises:
        ConfigInvalid: it is not YAML, not one mapping, or uses what this module refuses.
    """
    if bad := re.search(_UNPRINTABLE_IN_ASCII if text.isascii() else _UNPRINTABLE, text):
        line = text.count("\n", 0, bad.start()) + 1
        raise fault(source, line, f"the character {bad.group()!r} is not allowed", SAVE_AS_UTF8)
    try:
        _bound_depth(text, source)
        loader = _LOADER(text)
        root = loader.get_single_node()
        if root is None:
            return Document({}, None)
        values = _Reader(loader, source).plain(root, ())
    except yaml.YAMLError as error:
        raise _from_yaml(error, text, source) from error
    if values is None:
        return Document({}, None)
    if not isinstance(values, dict):
        raise fault(
            source,
            _line(root),
            f"the file must hold keys with values, but holds {_kind(root)}",
            "Write sections such as `merge:` with their keys indented below.",
        )
    return Document(cast(dict[str, object], values), root)


def dotted(path: Sequence[str | int]) -> str:
    """Return `path` as people write it: `checks[0].name`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


class _Reader:
    """Turns nodes into plain values. An aliased node is turned once and shared."""

    def __init__(self, loader: _Loader, source: str) -> None:
        self._loader = loader
        self._source = source
        self._done: dict[int, object] = {}
        self._open: set[int] = set()

    def plain(self, node: yaml.Node, path: KeyPath) -> object:
        if id(node) in self._done:
            return self._done[id(node)]
        if id(node) in self._open:
            raise self._refusal(node, path, "refers to itself", "Write the value out.")
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            value = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            items = cast(list[yaml.Node], node.value)
            value = tuple(self.plain(item, (*path, index)) for index, item in enumerate(items))
        elif isinstance(node, yaml.ScalarNode):
            value = self._scalar(node, path)
        else:
            raise self._refusal(node, path, f"has the tag {node.tag!r}", "Remove the tag.")
        self._open.remove(id(node))
        self._done[id(node)] = value
        return value

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in cast(list[tuple[yaml.Node, yaml.Node]], node.value):
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._refusal(
                    key_node, path, "has a key that is not text", "Write `key: value`."
                )
            key = cast(str, key_node.value)
            if key in values:
                raise self._refusal(
                    key_node,
                    (*path, key),
                    f"stands twice; first in line {lines[key]}",
                    "Keep one of the two.",
                )
            values[key] = self.plain(value_node, (*path, key))
            lines[key] = _line(key_node)
        return values

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        try:
            return self._loader.construct_object(node)
        except ValueError as error:
            # Dates that do not exist, integers of thousands of digits.
            raise self._refusal(
                node, path, f"cannot be read ({error})", "Put it in quotes if it is meant as text."
            ) from error

    def _refusal(self, node: yaml.Node, path: KeyPath, what: str, remedy: str) -> ConfigInvalid:
        where = f"`{dotted(path)}`" if path else "the file"
        return fault(self._source, _line(node), f"{where} {what}", remedy, dotted(path))


def _bound_depth(text: str, source: str) -> None:
    depth = 0
    loader = _LOADER(text)
    while loader.check_event():
        event = loader.get_event()
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise fault(
                    source,
                    event.start_mark.line + 1,
                    f"values are nested more than {MAX_DEPTH} deep",
                    "No key needs that: look for stray brackets.",
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _from_yaml(error: yaml.YAMLError, text: str, source: str) -> ConfigInvalid:
    if not isinstance(error, yaml.MarkedYAMLError):
        return fault(source, 1, f"this is not YAML: {error}", SAVE_AS_UTF8)
    lines = text.splitlines()

    def line_at(mark: yaml.Mark | None) -> int:
        # The end of the text counts as a line of its own to yaml, though not to an editor.
        return min(mark.line + 1, len(lines)) if mark is not None else 1

    line = line_at(error.problem_mark or error.context_mark)
    if _TAB_INDENT.match(lines[line - 1]):
        return fault(source, line, "the line is indented with a tab", "YAML wants spaces.")
    if error.context == "expected a single document in the stream":
        what, remedy = "a second YAML document begins", "Remove the line `---`."
        return fault(source, line, what, remedy)
    what = f"this is not YAML: {error.problem}"
    if error.context and error.context_mark is not None:
        what += f" ({error.context} that begins in line {line_at(error.context_mark)})"
    remedy = "Check the indentation, the colons, quotes and brackets of this line and those above."
    return fault(source, line, what, remedy)


def _child(node: yaml.Node | None, step: str | int) -> tuple[int, yaml.Node] | None:
    """Return the line and the value of one entry of `node`."""
    if isinstance(node, yaml.MappingNode):
        for key, value in cast(list[tuple[yaml.Node, yaml.Node]], node.value):
            if key.value == step:
                return _line(key), value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        items = cast(list[yaml.Node], node.value)
        if step < len(items):
            return _line(items[step]), items[step]
    return None


def _line(node: yaml.Node) -> int:
    return cast(yaml.Mark, node.start_mark).line + 1


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
