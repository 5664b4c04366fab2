"""What deserves a second look in a merge request. A risk blocks nothing: it is shown.

Few false alarms matter more than many hits: who has seen three looks at none. So a moved test is no
removed one, an upgraded dependency is no new one, and a picture is no suspicious binary.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

from sf_mcp.core.changes import FileChange, Line
from sf_mcp.core.dependencies import added_dependencies
from sf_mcp.core.secrets import secret_in

LARGE_BYTES, LARGE_BINARY_BYTES = 2_000_000, 500_000
MOST_NAMED = 8


class RiskKind(StrEnum):
    """Why something is shown."""

    SECRET = "secret"
    TESTS = "tests"
    BROUGHT_BACK = "brought back"
    CI = "ci"
    DEPENDENCY = "dependency"
    LARGE = "large"
    HOT = "hot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """One thing that deserves a look."""

    kind: RiskKind
    path: str
    line: int | None
    """From 1, in the file as it would be; None when it is about the whole file."""
    text: str
    """A sentence's worth of what was seen; a secret is never in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A file that names dependencies, before and after."""

    path: str
    old: str
    new: str


def risks_of(
    files: Sequence[FileChange],
    lines: Iterable[Line],
    *,
    manifests: Sequence[Manifest] = (),
    deleted_since: Collection[str] = (),
    touched_by: Mapping[str, Sequence[str]] | None = None,
) -> list[Risk]:
    """Return what deserves a look, worst first.

    `lines` are those that the change adds and removes; `deleted_since` the paths that the target
    has deleted since the work began; `touched_by` the tasks that are at work on a path.
    """
    changed = list(lines)
    by_path: dict[str, list[Line]] = {}
    for line in changed:
        by_path.setdefault(line.path, []).append(line)
    found = [
        *_secrets(files, by_path),
        *_tests(files, changed),
        *_brought_back(files, deleted_since),
        *_ci(files),
        *_dependencies(manifests),
        *_large(files),
        *_hot(touched_by or {}),
    ]
    order = list(RiskKind)
    return sorted(found, key=lambda risk: (order.index(risk.kind), risk.path, risk.line or 0))


# -- secrets ---------------------------------------------------------------------------------------

_LOCK_FILES = re.compile(
    r"(?:^|/)(?:package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|bun\.lockb?|"
    r"poetry\.lock|uv\.lock|pdm\.lock|Pipfile\.lock|Cargo\.lock|Gemfile\.lock|composer\.lock|"
    r"go\.sum|flake\.lock|[^/]+\.min\.(?:js|css)|[^/]+\.map|[^/]+\.svg)$"
)
_SECRET_FILES = re.compile(
    r"(?:^|/)(?:\.env(?:\.(?!example$|sample$|template$|dist$|defaults?$|test$|ci$)[\w-]+)?|"
    r"id_(?:rsa|dsa|ecdsa|ed25519)|[^/]+\.(?:p12|pfx|jks|keystore)|\.netrc|\.pypirc|"
    r"\.git-credentials)$"
)


def _secrets(files: Sequence[FileChange], by_path: Mapping[str, list[Line]]) -> Iterable[Risk]:
    for file in files:
        if file.how == "added" and _SECRET_FILES.search(file.path) and file.size:
            yield _risk(RiskKind.SECRET, file.path, "a file that usually holds secrets is added")
        if _LOCK_FILES.search(file.path):
            continue
        is_test = is_test_file(file.path)
        added = [line for line in by_path.get(file.path, ()) if line.is_added]
        removed = {
            line.text for line in by_path.get(file.was or file.path, ()) if not line.is_added
        }
        for line, after in zip_longest(added, added[1:]):
            if line.text in removed:
                continue  # only moved within its file
            following = after.text if after and after.number == line.number + 1 else ""
            if what := secret_in(line.text, following, is_test=is_test):
                yield _risk(RiskKind.SECRET, file.path, f"looks like {what}", line.number)


# -- tests -----------------------------------------------------------------------------------------

_TEST_FILE = re.compile(
    r"(?:^|/)(?:test_[^/]+\.py|[^/]+_test\.(?:py|go|rb|exs?|cc|cpp)|[^/]+_spec\.rb|"
    r"[^/]+\.(?:test|spec)\.[cm]?[jt]sx?|(?:Test[A-Z][^/]*|[^/]+Tests?|[^/]+IT)\.(?:java|kt|cs))$"
)
_TEST_FOLDER = re.compile(r"(?:^|/)(?:tests?|__tests__|specs?|testing)/")
_CODE = re.compile(r"\.(?:py|[cm]?[jt]sx?|go|rs|rb|java|kt)$")
_NO_TEST = re.compile(r"(?:^|/)(?:fixtures?|testdata|snapshots?|__snapshots__|data)/")

_TESTS = {
    "py": re.compile(r"^\s*(?:async\s+)?def\s+(test\w*)\s*\("),
    "js": re.compile(r"^\s*(?:it|test)(?:\.\w+)*\s*\(\s*([\"'`])(?P<name>.+?)\1\s*,"),
    "go": re.compile(r"^func\s+((?:Test|Fuzz|Example)[A-Z_]\w*)\s*\("),
    "rb": re.compile(
        r"^\s*(?:(?:it|specify|test)\s+([\"'])(?P<name>.+?)\1|def\s+(?P<def>test_\w+))"
    ),
    "java": re.compile(r"^\s*(?:public\s+)?(?:final\s+)?void\s+(\w+)\s*\(\s*\)"),
    "rs": re.compile(r"^\s*(?:async\s+)?fn\s+(\w+)\s*\(\s*\)"),
}
_SKIPS = {
    "py": re.compile(
        r"^\s*(?:@(?:pytest\.mark\.)(?:skip|skipif|xfail)\b|@(?:unittest\.)?skip(?:If|Unless)?\b|"
        r"@(?:unittest\.)?expectedFailure\b|pytest\.(?:skip|xfail|importorskip)\(|"
        r"self\.skipTest\(|raise\s+(?:unittest\.)?SkipTest\b|"
        r"pytestmark\s*=.*\bmark\.(?:skip|skipif|xfail)\b)"
    ),
    "js": re.compile(
        r"^\s*(?:(?:it|test|describe|context|suite)\.(?:skip|only|todo|fixme|fails)\b|"
        r"(?:xit|xtest|xdescribe|fit|fdescribe)\s*\(|this\.skip\(\))"
    ),
    "go": re.compile(r"^\s*\w+\.(?:Skip|Skipf|SkipNow)\("),
    "rb": re.compile(
        r"^\s*(?:skip|pending)(?:\s+[\"']|\s*$|\s*\()|^\s*(?:xit|xdescribe|xcontext|fit|fdescribe)\s"
    ),
    "java": re.compile(r"^\s*@(?:Disabled|Ignore|EnabledIf|DisabledIf|DisabledOnOs)\b"),
    "rs": re.compile(r"^\s*#\[ignore\b"),
}
_LANGUAGES = {
    **dict.fromkeys(("js", "jsx", "ts", "tsx", "mjs", "cjs", "mts", "cts"), "js"),
    **dict.fromkeys(("java", "kt"), "java"),
    **{name: name for name in ("py", "go", "rb", "rs")},
}


def is_test_file(path: str) -> bool:
    """Return whether a file of this path holds tests, by the customs of its language."""
    if not _CODE.search(path) or _NO_TEST.search(path):
        return False
    return bool(_TEST_FILE.search(path) or _TEST_FOLDER.search(path))


def _tests(files: Sequence[FileChange], lines: Sequence[Line]) -> Iterable[Risk]:
    removed, added = _names(lines, is_added=False), _names(lines, is_added=True)
    # One that is there again under its name, wherever, was moved.
    gone = {
        path: sorted(name for name in names if name not in set().union(*added.values()))
        for path, names in removed.items()
    }
    deleted = {file.path for file in files if file.how == "deleted" and is_test_file(file.path)}
    for path in sorted(deleted):
        names = gone.pop(path, [])
        if names or not removed.get(path):
            has = f" with {_named(names)}" if names else ""
            if names or _TEST_FILE.search(path):
                yield _risk(RiskKind.TESTS, path, f"the test file is deleted{has}")
    for path, names in gone.items():
        # As many new ones in the same file as old ones are gone: they were given other names.
        spare = len(names) - len(added.get(path, set()) - removed.get(path, set()))
        if names and spare > 0:
            many = "1 test is" if spare == 1 else f"{spare} tests are"
            yield _risk(RiskKind.TESTS, path, f"{many} removed: {_named(names)}")
    yield from _skipped(lines)


def _names(lines: Sequence[Line], *, is_added: bool) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    is_rust_test = False
    for line in lines:
        if line.is_added is not is_added:
            continue
        language = _language(line.path)
        if language == "rs":
            if re.match(r"\s*#\[(?:\w+::)?test\b", line.text):
                is_rust_test = True
                continue
            if not is_rust_test:
                continue
        elif not is_test_file(line.path):
            continue
        if language and (found := _TESTS[language].match(line.text)):
            groups = found.groupdict()
            name = groups.get("name") or groups.get("def") or found[1]
            names.setdefault(line.path, set()).add(name)
            is_rust_test = False
    return names


def _skipped(lines: Sequence[Line]) -> Iterable[Risk]:
    marks = Counter[tuple[str, str]]()
    for line in lines:
        if not line.is_added and _skip_of(line):
            marks[_language(line.path), line.text.strip()] += 1
    for line in lines:
        mark = _skip_of(line) if line.is_added else ""
        if not mark:
            continue
        if marks[_language(line.path), line.text.strip()] > 0:
            marks[_language(line.path), line.text.strip()] -= 1  # moved
            continue
        how = "the others are left out" if re.search(r"\.only\b|^f(?:it|desc)", mark) else "skipped"
        yield _risk(RiskKind.TESTS, line.path, f"a test is marked ({how}): {mark}", line.number)


def _skip_of(line: Line) -> str:
    language = _language(line.path)
    if not language or (language != "rs" and not is_test_file(line.path)):
        return ""
    return line.text.strip()[:80] if _SKIPS[language].match(line.text) else ""


def _language(path: str) -> str:
    return _LANGUAGES.get(path.rpartition(".")[2], "")


# -- the rest --------------------------------------------------------------------------------------

_CI = re.compile(
    r"^(?:\.github/(?:workflows|actions)/.+|\.gitlab-ci\.ya?ml|\.gitlab/ci/.+|\.circleci/.+|"
    r"\.buildkite/.+|\.drone\.ya?ml|\.travis\.ya?ml|\.appveyor\.ya?ml|appveyor\.ya?ml|"
    r"azure-pipelines\.ya?ml|bitbucket-pipelines\.ya?ml|(?:.+/)?Jenkinsfile|\.woodpecker.*)$"
)
_EXECUTABLE = re.compile(r"\.(?:exe|dll|so|dylib|jar|class|pyc|pyd|wasm|node|msi|deb|rpm)$", re.I)


def _brought_back(files: Sequence[FileChange], deleted_since: Collection[str]) -> Iterable[Risk]:
    gone = set(deleted_since)
    for file in files:
        if file.how in ("added", "renamed") and file.path in gone:
            yield _risk(
                RiskKind.BROUGHT_BACK,
                file.path,
                "the target has deleted this file since the work began, and this brings it back",
            )


def _ci(files: Sequence[FileChange]) -> Iterable[Risk]:
    for file in files:
        if _CI.search(file.path) or (file.was and _CI.search(file.was)):
            yield _risk(RiskKind.CI, file.path, f"configuration of the CI is {file.how}")


def _dependencies(manifests: Sequence[Manifest]) -> Iterable[Risk]:
    for manifest in manifests:
        if names := added_dependencies(manifest.path, manifest.old, manifest.new):
            what = "a dependency is" if len(names) == 1 else f"{len(names)} dependencies are"
            yield _risk(RiskKind.DEPENDENCY, manifest.path, f"{what} added: {_named(names)}")


def _large(files: Sequence[FileChange]) -> Iterable[Risk]:
    for file in files:
        if file.how == "deleted":
            continue
        size = f"{file.size / 1_000_000:.1f} MB" if file.size >= 100_000 else f"{file.size} bytes"
        if file.is_binary and _EXECUTABLE.search(file.path):
            yield _risk(RiskKind.LARGE, file.path, f"a compiled file is {file.how} ({size})")
        elif file.size >= (LARGE_BINARY_BYTES if file.is_binary else LARGE_BYTES):
            kind = "binary file" if file.is_binary else "file"
            yield _risk(RiskKind.LARGE, file.path, f"a large {kind} is {file.how} ({size})")


def _hot(touched_by: Mapping[str, Sequence[str]]) -> Iterable[Risk]:
    for path, tasks in touched_by.items():
        if tasks:
            verb = "is" if len(tasks) == 1 else "are"
            yield _risk(RiskKind.HOT, path, f"{_named(tasks)} {verb} at work on this file too")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(name[:80] for name in names[:MOST_NAMED]) + more


def _risk(kind: RiskKind, path: str, text: str, line: int | None = None) -> Risk:
    return Risk(kind=kind, path=path, line=line, text=text)
