"""A project in good health, and what `sf doctor` says of one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.cli.builders_project import Done, Person, a_person
from tests.cli.forked import run_forked

CHECK = "checks:\n  - {name: tests, run: 'true'}\n"


def someone_healthy(folder: Path) -> Person:
    """A person logged in with a key of the test's own, whose project lacks nothing."""
    person = a_person(folder)
    person = replace(person, extra={"ANTHROPIC_API_KEY": "sk-dummy"})
    person.commit({"readme.md": "hello\n", "tests/test_a.py": "def test_a(): pass\n"}, "first")
    person.ok("init")
    return person


def doctor(person: Person, *words: str, env: Mapping[str, str] | None = None) -> Done:
    """Run `sf doctor` in a forked process."""
    code, out, err = run_forked(
        ["doctor", *words],
        cwd=person.root,
        env={**person.environment, **(env or {})},
        stdin=b"",
    )
    assert "Traceback" not in err, err
    return Done(code=code, out=out, err=err)


def findings(person: Person, *families: str, env: Mapping[str, str] | None = None) -> Any:
    """Return what is not well, by the check's name."""
    told = doctor(person, *families, "--json", env=env).json["findings"]
    return {one["check"]: one for one in told if one["severity"] != "ok"}


def fixed(person: Person, *families: str) -> list[str]:
    """Mend; return what was done."""
    return doctor(person, *families, "--fix", "--json").json["done"]
