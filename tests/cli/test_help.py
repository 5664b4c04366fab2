"""Every command is listed, says what it does, and shows an example."""

import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from sf_mcp.cli.root import make_app
from sf_mcp.core.exits import ExitCode
from tests.cli.builders_project import Person

COMMANDS = {
    "init", "doctor", "serve", "status", "why", "watch", "logs", "cost", "pause", "resume", "token",
    "open",
    "report", "export",
    "plan create", "plan import", "plan list", "plan show",
    "plan activate", "plan complete", "plan cancel",
    "task create", "task list", "task show", "task ready", "task update", "task cancel",
    "task retry",
    "dep add", "dep remove", "dep tree",
    "mr list", "mr show", "mr approve", "mr reject",
    "question list", "question show", "question answer",
    "session list", "session attach", "session stop",
    "snapshot list", "restore",
    "config check",
    "attach", "detach", "hook", "statusline",
}  # fmt: skip
"""What people know the program by."""


def _commands() -> dict[str, typer.models.CommandInfo]:
    app = make_app()
    found = {
        (info.name or info.callback.__name__): info
        for info in app.registered_commands
        if info.callback and not info.hidden
    }
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for info in group.typer_instance.registered_commands:
            assert info.callback is not None
            found[f"{group.name} {info.name or info.callback.__name__}"] = info
    return found


def test_the_commands_are_those_of_the_issue() -> None:
    assert set(_commands()) == COMMANDS


def test_the_command_line_can_be_built_with_any_one_command_alone() -> None:
    for name in {command.split()[0] for command in COMMANDS}:
        get_command(make_app(name))


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_says_what_it_does_and_shows_an_example_of_itself(command: str) -> None:
    info = _commands()[command]
    assert info.callback is not None
    assert (info.callback.__doc__ or "").strip().endswith(".")
    assert re.search(rf"Example:\n(.*\n)*.*\bsf {command}\b", info.epilog or "")


def test_everything_that_prints_data_has_json() -> None:
    without = {
        name
        for name, info in _commands().items()
        if info.callback and "as_json" not in info.callback.__annotations__
    }
    assert without == {"serve", "watch", "session attach", "hook", "statusline"}


@pytest.mark.parametrize("words", [["--help"], ["task", "--help"], ["task", "create", "--help"]])
def test_help_is_plain_text(tmp_path: Path, words: list[str]) -> None:
    person = Person(root=tmp_path, home=tmp_path)
    done = person.ok(*words)
    assert done.out.startswith("Usage: sf")
    assert "\x1b" not in done.out
    assert "─" not in done.out


def test_the_exit_codes_are_documented(tmp_path: Path) -> None:
    person = Person(root=tmp_path, home=tmp_path)
    listed = re.findall(r"^  +(\d+)  ", person.ok("--help").out, flags=re.MULTILINE)
    of_the_launcher = {ExitCode.WAITING, ExitCode.INCONCLUSIVE, ExitCode.UNUSABLE}
    assert {int(code) for code in listed} == set(ExitCode) - of_the_launcher


def test_wrong_usage_is_code_2(tmp_path: Path) -> None:
    person = Person(root=tmp_path, home=tmp_path)
    for words in (["nonsense"], ["task", "nonsense"], ["task", "create"], ["status", "--nonsense"]):
        done = person.sf(*words)
        assert (done.code, done.out) == (2, "")
        assert "--help" in done.err


def test_the_version_is_the_distributions(tmp_path: Path) -> None:
    assert re.fullmatch(
        r"sf \d+\.\d+.*\n", Person(root=tmp_path, home=tmp_path).ok("--version").out
    )


def test_shell_completion_offers_commands_of_every_level(tmp_path: Path) -> None:
    person = Person(root=tmp_path, home=tmp_path)
    for line, expected in (("sf ", "plan"), ("sf task re", "ready"), ("sf mr show --d", "--diff")):
        words = line.split(" ")
        offered = person.sf(
            env={
                "_SF_COMPLETE": "complete_bash",
                "COMP_WORDS": line,
                "COMP_CWORD": str(len(words) - 1),
            }
        )
        assert expected in offered.out.split()


def test_the_completion_script_can_be_shown(tmp_path: Path) -> None:
    person = Person(root=tmp_path, home=tmp_path)
    shown = person.sf("--show-completion", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": ""})
    assert "_SF_COMPLETE" in shown.out or "shell" in shown.err.lower()
