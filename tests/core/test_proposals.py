import json

import pytest

from sf_mcp.core.proposals import files_to_read, propose_checks, propose_target_branch

NPM_PLACEHOLDER = 'echo "Error: no test specified" && exit 1'


def commands(files: dict[str, str]) -> list[tuple[str, str]]:
    """The proposed checks for a checkout of `files`, reading no more than was asked for."""
    readable = {name: files[name] for name in files_to_read(files)}
    return [(check.name, check.run) for check in propose_checks(files, readable)]


def package_json(test: object) -> str:
    return json.dumps({"scripts": {"test": test}})


@pytest.mark.parametrize(
    "files",
    [
        {"pytest.ini": ""},
        {"pyproject.toml": "[tool.pytest.ini_options]\n"},
        {"pyproject.toml": '[dependency-groups]\ndev = ["pytest>=8"]\n'},
        {"tox.ini": "[testenv]\ncommands = pytest {posargs}\n"},
        {"setup.cfg": "[tool:pytest]\n"},
        {"requirements-dev.txt": "ruff\npytest==8\n"},
        {"tests/conftest.py": "", "tests/test_a.py": "import unittest"},
        {"pyproject.toml": "[project]\n", "tests/test_a.py": "def test_a(): assert 1\n"},
    ],
)
def test_a_project_that_speaks_of_pytest_is_checked_by_pytest(files: dict[str, str]) -> None:
    assert commands(files) == [("tests", "pytest -q")]


@pytest.mark.parametrize(
    ("files", "run"),
    [
        ({"test_a.py": "import unittest"}, "python3 -m unittest"),
        (
            {"tests/__init__.py": "", "tests/test_a.py": "import unittest"},
            "python3 -m unittest",
        ),
        ({"tests/test_a.py": "import unittest"}, "python3 -m unittest discover -s tests"),
        ({"my tests/test_a.py": "import unittest"}, "python3 -m unittest"),
    ],
)
def test_unittest_files_are_run_by_unittest_from_where_it_finds_them(
    files: dict[str, str], run: str
) -> None:
    assert commands(files) == [("tests", run)]


def test_python_without_tests_proposes_nothing() -> None:
    assert commands({"pyproject.toml": "[project]\n", "src/latest.py": ""}) == []


@pytest.mark.parametrize(
    ("lock", "run"),
    [
        ("package-lock.json", "npm test"),
        ("pnpm-lock.yaml", "pnpm test"),
        ("yarn.lock", "yarn test"),
        ("bun.lock", "bun run test"),
    ],
)
def test_the_lock_file_decides_who_runs_the_test_script(lock: str, run: str) -> None:
    assert commands({"package.json": package_json("vitest run"), lock: ""}) == [("tests", run)]


@pytest.mark.parametrize(
    "text",
    [
        package_json(NPM_PLACEHOLDER),
        package_json(""),
        package_json(["x"]),
        "{}",
        "[]",
        "not json",
        '{"scripts": []}',
        "[" * 100_000,
    ],
)
def test_a_package_json_without_a_real_test_script_proposes_nothing(text: str) -> None:
    assert commands({"package.json": text}) == []


def test_cargo_and_go_are_known_by_their_manifests() -> None:
    assert commands({"Cargo.toml": ""}) == [("tests", "cargo test")]
    assert commands({"go.mod": ""}) == [("tests", "go test ./...")]


@pytest.mark.parametrize(
    ("makefile", "run"),
    [
        ("all:\n\ttrue\ntest: all\n\t./run\n", "make test"),
        ("check :\n\t./run\n", "make check"),
        ("build test check:\n\t./run\n", "make test"),
        ("test::\n\t./run\n", "make test"),
    ],
)
def test_a_makefile_with_a_test_target_is_run_by_make(makefile: str, run: str) -> None:
    assert commands({"Makefile": makefile}) == [("tests", run)]


@pytest.mark.parametrize(
    "makefile",
    [
        "test := 1\ncheck = 2\n",
        ".PHONY: test\n",
        "all:\n\ttest: nothing\n",
        "# test: later\n",
        "tests:\n\ttrue\n",
    ],
)
def test_what_only_looks_like_a_make_target_proposes_nothing(makefile: str) -> None:
    assert commands({"Makefile": makefile}) == []


def test_a_languages_own_command_is_preferred_to_make() -> None:
    files = {"Makefile": "test:\n\tpytest\n", "pytest.ini": ""}
    assert commands(files) == [("tests", "pytest -q")]


def test_two_languages_give_two_checks_with_names_of_their_own() -> None:
    files = {"pytest.ini": "", "package.json": package_json("vitest run"), "yarn.lock": ""}
    assert commands(files) == [("pytest", "pytest -q"), ("yarn", "yarn test")]


def test_an_empty_checkout_proposes_nothing() -> None:
    assert commands({}) == []


def test_a_manifest_that_could_not_be_read_is_passed_over() -> None:
    assert propose_checks({"package.json", "Makefile", "pyproject.toml"}, {}) == ()


def test_only_small_files_near_the_root_are_asked_for() -> None:
    files = {"pyproject.toml", "src/app.py", *(f"tests/test_{i}.py" for i in range(9))}
    assert files_to_read(files) == (
        "pyproject.toml",
        *(f"tests/test_{i}.py" for i in range(5)),
    )


@pytest.mark.parametrize(
    ("current", "branches", "remote_head", "expected"),
    [
        ("feature/x", {"feature/x", "main", "develop"}, "develop", "develop"),
        ("feature/x", {"feature/x", "main"}, None, "main"),
        ("feature/x", {"feature/x", "master"}, "gone", "master"),
        ("feature/x", {"feature/x", "other"}, None, "feature/x"),
        ("trunk2", set[str](), None, "trunk2"),
        (None, {"stable"}, None, "stable"),
        (None, {"a", "b"}, None, "main"),
        (None, set[str](), None, "main"),
        ("sf/T3-a-task", {"sf/T3-a-task"}, None, "main"),
    ],
)
def test_the_target_branch_is_the_remotes_default_then_main_then_what_is_checked_out(
    current: str | None, branches: set[str], remote_head: str | None, expected: str
) -> None:
    proposal = propose_target_branch(current=current, branches=branches, remote_head=remote_head)
    assert proposal.name == expected
    assert proposal.reason
