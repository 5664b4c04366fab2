"""What `sf init` proposes for a checkout: the target branch and the checks that it can see.

Guesses only, each with its reason; the person edits them in the configuration. The caller lists
files and reads those that `files_to_read` names; nothing here touches the disk.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from sf_mcp.core.text import branch_name_problem

_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
_PYTEST_MARKS = {
    "pytest.ini": re.compile(""),
    "pyproject.toml": re.compile(r"\bpytest\b"),
    "tox.ini": re.compile(r"\bpytest\b"),
    "setup.cfg": re.compile(r"\bpytest\b"),
    "setup.py": re.compile(r"\bpytest\b"),
    "requirements.txt": re.compile(r"^pytest\b", re.MULTILINE),
    "requirements-dev.txt": re.compile(r"^pytest\b", re.MULTILINE),
    "dev-requirements.txt": re.compile(r"^pytest\b", re.MULTILINE),
}
_MANIFESTS = (*_PYTEST_MARKS, "package.json", *_MAKEFILES)
_TEST_FILE = re.compile(r"(?:.*/)?(?:test_[^/]*|test|tests|[^/]*_test)\.py")
_MAKE_TARGET = re.compile(r"^(?!\.)([^#\s:=][^:=#\n]*?)[ \t]*::?(?!=)", re.MULTILINE)
_JS_RUNNERS = (
    ("pnpm-lock.yaml", "pnpm test"),
    ("yarn.lock", "yarn test"),
    ("bun.lock", "bun run test"),
    ("bun.lockb", "bun run test"),
)
_SAMPLE_OF_TESTS = 5
"""How many Python test files are read to tell pytest from unittest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedCheck:
    """A check as it will stand in the configuration, and what in the checkout led to it."""

    name: str
    run: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedBranch:
    name: str
    reason: str


def propose_target_branch(
    *, current: str | None, branches: Collection[str], remote_head: str | None
) -> ProposedBranch:
    """Return the branch that finished work should land on.

    Args:
        current: the branch that is checked out (perhaps without a commit yet); None if detached.
        branches: the local branches that have a commit.
        remote_head: what `origin/HEAD` points to, without `origin/`; None if unknown.
    """
    usable = {name for name in branches if branch_name_problem(name) is None}
    if remote_head in usable:
        return ProposedBranch(name=remote_head, reason="the default branch of origin")
    for name in ("main", "master", "trunk"):
        if name in usable:
            return ProposedBranch(name=name, reason=f"there is a branch called {name}")
    if current is not None and branch_name_problem(current) is None:
        reason = "the branch that is checked out"
        return ProposedBranch(name=current, reason=reason)
    if len(usable) == 1:
        return ProposedBranch(name=next(iter(usable)), reason="the only branch")
    return ProposedBranch(name="main", reason="the usual name; no branch here suggests another")


def files_to_read(files: Collection[str]) -> tuple[str, ...]:
    """Return which of `files` (paths from the root, `/` between) `propose_checks` wants to see."""
    manifests = [name for name in _MANIFESTS if name in files]
    return (*manifests, *_python_tests(files)[:_SAMPLE_OF_TESTS])


def propose_checks(
    files: Collection[str], contents: Mapping[str, str]
) -> tuple[ProposedCheck, ...]:
    """Return the checks that `files` suggest; none if nothing is recognised.

    A Makefile's target counts only where no language's own test command is seen, since it mostly
    calls just that. `contents` may lack any file that could not be read.
    """
    seen = [
        check
        for check in (
            _python(files, contents),
            _javascript(files, contents),
            _cargo(files),
            _go(files),
        )
        if check is not None
    ]
    if not seen and (make := _make(files, contents)) is not None:
        seen = [make]
    if len(seen) == 1:
        only = seen[0]
        return (ProposedCheck(name="tests", run=only.run, reason=only.reason),)
    return tuple(seen)


def _python(files: Collection[str], contents: Mapping[str, str]) -> ProposedCheck | None:
    for name, mark in _PYTEST_MARKS.items():
        if name in files and mark.search(contents.get(name, "")):
            return ProposedCheck(name="pytest", run="pytest -q", reason=f"{name} speaks of pytest")
    if conftest := _conftest(files):
        return ProposedCheck(name="pytest", run="pytest -q", reason=f"there is {conftest}")
    tests = _python_tests(files)
    if not tests:
        return None
    samples = [contents[name] for name in tests[:_SAMPLE_OF_TESTS] if name in contents]
    if samples and not any("unittest" in text for text in samples):
        return ProposedCheck(
            name="pytest", run="pytest -q", reason=f"{tests[0]} is written for pytest"
        )
    return ProposedCheck(
        name="unittest",
        run=_unittest_command(files, tests),
        reason=f"{tests[0]} is there and nothing speaks of pytest",
    )


def _unittest_command(files: Collection[str], tests: Sequence[str]) -> str:
    # Discovery from the root enters only packages (no __init__.py, no tests found). `python3`,
    # because Debian and macOS have no `python` outside a virtual environment.
    folder = tests[0].rpartition("/")[0]
    if not folder or f"{folder}/__init__.py" in files or re.search(r"[^\w./-]", folder):
        return "python3 -m unittest"
    return f"python3 -m unittest discover -s {folder}"


def _python_tests(files: Collection[str]) -> list[str]:
    """The Python test files, those nearest to the root first."""
    found = [name for name in files if _TEST_FILE.fullmatch(name)]
    return sorted(found, key=lambda name: (name.count("/"), name))


def _conftest(files: Collection[str]) -> str | None:
    found = [name for name in files if name == "conftest.py" or name.endswith("/conftest.py")]
    return min(found, key=lambda name: (name.count("/"), name), default=None)


def _javascript(files: Collection[str], contents: Mapping[str, str]) -> ProposedCheck | None:
    try:
        manifest = cast(object, json.loads(contents.get("package.json", "null")))
    except (ValueError, RecursionError):
        return None
    scripts = _member(manifest, "scripts")
    test = _member(scripts, "test")
    # What `npm init` writes is a script that always fails.
    if not isinstance(test, str) or not test.strip() or "no test specified" in test:
        return None
    run = next((command for lock, command in _JS_RUNNERS if lock in files), "npm test")
    return ProposedCheck(name=run.split()[0], run=run, reason="package.json has a test script")


def _member(value: object, key: str) -> object:
    return cast(dict[str, object], value).get(key) if isinstance(value, dict) else None


def _cargo(files: Collection[str]) -> ProposedCheck | None:
    if "Cargo.toml" not in files:
        return None
    return ProposedCheck(name="cargo", run="cargo test", reason="there is Cargo.toml")


def _go(files: Collection[str]) -> ProposedCheck | None:
    if "go.mod" not in files:
        return None
    return ProposedCheck(name="go", run="go test ./...", reason="there is go.mod")


def _make(files: Collection[str], contents: Mapping[str, str]) -> ProposedCheck | None:
    # The order in which GNU make itself looks for its file.
    name = next((name for name in _MAKEFILES if name in files), None)
    if name is None:
        return None
    targets = {
        target for line in _MAKE_TARGET.findall(contents.get(name, "")) for target in line.split()
    }
    for target in ("test", "check"):
        if target in targets:
            return ProposedCheck(
                name="make", run=f"make {target}", reason=f"{name} has a target {target}"
            )
    return None
