"""Which dependencies a manifest names: what is new in it is worth a second look.

A manifest is read as what it is; one that cannot be read names nothing.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast
from xml.etree import ElementTree

MOST_BYTES = 1_000_000

_NAME = re.compile(r"^\s*([A-Za-z0-9][\w.-]*)")
_GO = re.compile(r"^\s*(?:require\s+)?([\w.-]+\.[\w.-]+/[^\s]+|[\w-]+\.[\w.-]+)\s+v\d[^\s]*", re.M)
_GEM = re.compile(r"^\s*gem\s*\(?\s*[\"']([^\"']+)[\"']", re.M)


def reader_of(path: str) -> Callable[[str], set[str]] | None:
    """Return what reads the manifest at the path; None when it is none."""
    name = path.rsplit("/", 1)[-1]
    if re.fullmatch(r"(?:.*[-_.])?(?:requirements|constraints)(?:[-_.].*)?\.(?:txt|in)", name):
        return _of_requirements
    if re.search(r"(?:^|/)requirements/[^/]+\.(?:txt|in)$", path):
        return _of_requirements
    return {
        "pyproject.toml": _of_pyproject,
        "package.json": _of_package_json,
        "go.mod": _of_go_mod,
        "Cargo.toml": _of_cargo,
        "Gemfile": _of_gemfile,
        "pom.xml": _of_pom,
    }.get(name)


def added_dependencies(path: str, old: str, new: str) -> list[str]:
    """Return the names that the manifest has and had not, sorted."""
    read = reader_of(path)
    if read is None or len(new) > MOST_BYTES or len(old) > MOST_BYTES:
        return []
    try:
        present = read(new)
    except (ValueError, RecursionError, ElementTree.ParseError):
        return []
    try:
        before = read(old)
    except (ValueError, RecursionError, ElementTree.ParseError):
        before = set[str]()
    return sorted(present - before)


def _of_requirements(text: str) -> set[str]:
    lines = (line.split("#", 1)[0] for line in text.splitlines())
    return _python_names(line for line in lines if not line.lstrip().startswith("-"))


def _of_pyproject(text: str) -> set[str]:
    data = _mapping(tomllib.loads(text))
    project = _mapping(data.get("project"))
    required = [*_list(project.get("dependencies"))]
    for extra in _mapping(project.get("optional-dependencies")).values():
        required += _list(extra)
    for group in _mapping(data.get("dependency-groups")).values():
        required += _list(group)
    required += _list(_mapping(data.get("build-system")).get("requires"))
    names = _python_names(one for one in required if isinstance(one, str))
    poetry = _mapping(_mapping(data.get("tool")).get("poetry"))
    tables: list[Any] = [poetry.get("dependencies"), poetry.get("dev-dependencies")]
    tables += [
        _mapping(group).get("dependencies") for group in _mapping(poetry.get("group")).values()
    ]
    for table in tables:
        names |= {name.lower() for name in _mapping(table) if name.lower() != "python"}
    return names


def _of_package_json(text: str) -> set[str]:
    data = _mapping(json.loads(text.strip() or "{}"))
    kinds = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
    return {name for kind in kinds for name in _mapping(data.get(kind))}


def _of_go_mod(text: str) -> set[str]:
    # `replace a => b v1` also brings b in.
    lines = (line.split("//", 1)[0].rsplit("=>", 1)[-1] for line in text.splitlines())
    return set(_GO.findall("\n".join(lines)))


def _of_cargo(text: str) -> set[str]:
    names: set[str] = set()

    def look(table: Mapping[str, Any]) -> None:
        for key in table:
            inner = _mapping(table[key])
            if key in ("dependencies", "dev-dependencies", "build-dependencies"):
                names.update(inner)
            else:
                look(inner)

    look(tomllib.loads(text))
    return names


def _of_gemfile(text: str) -> set[str]:
    return set(_GEM.findall(text))


def _of_pom(text: str) -> set[str]:
    # An entity could make a small file a huge one; no manifest needs them.
    if not text.strip() or "<!DOCTYPE" in text or "<!ENTITY" in text:
        return set()
    names: set[str] = set()
    for found in ElementTree.fromstring(text).iter():
        if found.tag.rpartition("}")[2] == "dependency":
            parts = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in found}
            if "artifactId" in parts:
                names.add(f"{parts.get('groupId', '')}:{parts['artifactId']}".lstrip(":"))
    return names


def _python_names(required: Iterable[str]) -> set[str]:
    """Return the names of requirements, as packages are compared: case and `-_.` do not count."""
    found = (_NAME.match(one) for one in required)
    return {re.sub(r"[-_.]+", "-", name[1]).lower() for name in found if name}


def _mapping(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []
