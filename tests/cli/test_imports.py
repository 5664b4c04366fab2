"""The commands that are asked for all day import nothing that costs more than they do."""

import subprocess
import sys
from pathlib import Path

from tests.cli.builders_project import Person, someone_with_a_plan

TOO_DEAR = {"pydantic", "typer", "rich", "mcp", "pygit2", "sqlite_utils", "anyio"}
GIT = "sf_mcp.git"


TELL = """
import os, sys
from sf_mcp.cli import main

def tell(*_):
    print(*sys.modules, file=sys.stderr, flush=True)
    os.kill(os.getpid(), 9)

os._exit = sys.exit = tell  # `main` ends the process in one of these ways
main()
"""


def imported_by(person: Person, *words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", TELL, *words],
        cwd=person.root,
        env=person.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return set(done.stderr.split())


def test_frequent_commands_import_neither_pydantic_nor_the_parser(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    person.ok("status")
    for words in (("task", "ready"), ("status",), ("status", "--json")):
        imported = imported_by(person, *words)
        assert "sf_mcp.service.workspace" in imported
        assert not {name.split(".")[0] for name in imported} & TOO_DEAR
        assert not {name for name in imported if name.startswith(GIT)}
    with person.serving():
        for words in (("task", "ready"), ("status",)):
            imported = imported_by(person, *words)
            assert "http.client" in imported
            assert not {name.split(".")[0] for name in imported} & {*TOO_DEAR, "sqlite3", "yaml"}


def test_a_command_imports_its_own_module_alone(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path)
    imported = imported_by(person, "plan", "list")
    modules = {"task", "plan", "dep", "mr", "question", "session", "config", "serve", "init"}
    assert {name for name in modules if f"sf_mcp.cli.{name}" in imported} == {"plan"}
    assert "rich" not in imported
