"""`sf doctor`: what it says of a project in good health, and of programs, settings and checkout."""

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sf_mcp.core.findings import Severity
from sf_mcp.service.doctor import programs
from sf_mcp.service.doctor.configuration import judge_settings
from tests.cli.builders_doctor import doctor, findings, fixed, someone_healthy
from tests.cli.builders_project import Person, a_person, someone_set_up, someone_with_a_commit


def everything_in(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Return every file with its mode and content."""
    return {
        path: (path.stat().st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def a_program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# -- as a whole ------------------------------------------------------------------------------------


def test_a_fresh_project_in_good_health_has_no_finding_and_is_not_touched(tmp_path: Path) -> None:
    person = someone_healthy(tmp_path)
    before = everything_in(person.root)
    done = person.sf("doctor")
    assert done.code == 0, done.out
    assert "warning" not in done.out
    assert "All is well" in done.out
    assert "logged in (api_key" in done.out
    assert everything_in(person.root) == before
    told = person.sf("doctor", "--json").json
    assert (told["worst"], told["root"]) == ("ok", str(person.root))
    assert {one["severity"] for one in told["findings"]} == {"ok"}
    assert everything_in(person.root) == before


def test_beside_a_running_server_it_says_the_same(tmp_path: Path) -> None:
    person = someone_healthy(tmp_path)
    with person.serving():
        assert findings(person) == {}
        refused = doctor(person, "--fix", "--json")
        assert (refused.code, refused.json["code"]) == (1, "already_running")
        assert "sf doctor --fix" in refused.json["remedy"]


def test_where_nothing_is_set_up_it_says_so(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    before = everything_in(person.root)
    found = findings(person, "config", "repository")
    assert set(found) == {"usable"}
    assert (found["usable"]["severity"], found["usable"]["remedy"]) == ("problem", "Run: sf init")
    assert doctor(person, "repository").code == 1
    doctor(person, "--fix", "repository")
    assert everything_in(person.root) == before


def test_outside_of_any_repository_it_says_so(tmp_path: Path) -> None:
    person = Person(root=tmp_path / "plain", home=tmp_path / "home")
    for folder in (person.root, person.home):
        folder.mkdir()
    assert "not in a git repository" in findings(person, "repository")["usable"]["found"]


def test_in_a_worktree_of_the_fleet_it_looks_and_does_not_mend(tmp_path: Path) -> None:
    person = someone_healthy(tmp_path)
    inside = person.folder / "worktrees" / "T1"
    inside.mkdir(parents=True)
    there = replace(person, root=inside)
    told = doctor(there, "repository", "--json").json
    assert (told["root"], told["worst"]) == (str(person.root), "ok")
    assert doctor(there, "--fix").code == 1
    session = doctor(person, "--fix", env={"SF_TOKEN": "a session's"})
    assert (session.code, "may not mend" in session.err) == (1, True)


def test_what_is_not_there_to_look_at_is_refused(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    assert "Name any of: programs, config" in doctor(person, "nonsense").err
    assert doctor(person, "--dry-run").code == 1


# -- programs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (programs.judge_python((3, 10, 2), "/usr/bin/python"), "Python 3.10.2"),
        (programs.judge_git((2, 37), "/usr/bin/git"), "git 2.37 at /usr/bin/git"),
        (programs.judge_sqlite((3, 31, 1)), "SQLite 3.31.1"),
        (programs.judge_sdk("1.9.0"), "MCP SDK is 1.9.0"),
        (programs.judge_sdk("3.0.0"), "MCP SDK is 3.0.0"),
        (programs.judge_sdk(""), "MCP SDK is not installed"),
    ],
)
def test_what_is_too_old_is_a_problem_with_the_way_out(found: programs.Found, words: str) -> None:
    assert found.severity is Severity.PROBLEM
    assert words in found.found
    assert found.remedy


def test_a_git_that_is_too_old_is_found_where_it_is(tmp_path: Path) -> None:
    person = someone_healthy(tmp_path)
    old = a_program(tmp_path / "bin", "git", "echo git version 2.30.1")
    env = {"PATH": f"{old.parent}:{person.environment['PATH']}"}
    assert str(old) in findings(person, "programs", env=env)["git"]["found"]


def configured(person: Person, claude: Path) -> None:
    config = person.folder / "config.yaml"
    config.write_text(f"orchestrator: {{claudePath: {claude}}}\n")


def test_claude_code_that_is_missing_or_too_old_is_a_problem(tmp_path: Path) -> None:
    person = someone_healthy(tmp_path)
    configured(person, tmp_path / "nowhere")
    found = findings(person, "programs")
    assert "no program is there" in found["claude"]["found"]
    assert "claudePath" in found["claude"]["found"]
    assert "login" not in found
    configured(person, a_program(tmp_path / "bin", "claude", "echo 2.0.14"))
    found = findings(person, "programs")
    assert "is 2.0.14; at least 2.1.197" in found["claude"]["found"]
    assert "claude update" in found["claude"]["remedy"]


def test_a_login_that_is_missing_is_what_claude_code_itself_says(tmp_path: Path) -> None:
    person = replace(someone_healthy(tmp_path), extra={})
    found = findings(person, "programs")
    assert set(found) == {"login"}
    assert found["login"]["severity"] == "problem"
    assert found["login"]["remedy"].endswith("claude auth login")


def test_a_client_that_says_nothing_of_its_login_is_no_problem(tmp_path: Path) -> None:
    person = someone_healthy(tmp_path)
    configured(person, a_program(tmp_path / "bin", "claude", "echo 2.1.400"))
    found = findings(person, "programs")
    assert found["login"]["severity"] == "warning"
    assert "does not say" in found["login"]["found"]


# -- configuration ---------------------------------------------------------------------------------


def test_a_configuration_that_cannot_be_used_is_told_with_its_line(tmp_path: Path) -> None:
    person = someone_healthy(tmp_path)
    (person.folder / "config.yaml").write_text("merge:\n  targetBranhc: main\n")
    found = findings(person, "config", "repository")
    assert set(found) == {"syntax"}
    assert "line 2" in found["syntax"]["found"]
    assert "merge.targetBranch" in found["syntax"]["remedy"]
    assert "sf config check" in found["syntax"]["remedy"]


def test_that_nothing_is_checked_is_a_warning(tmp_path: Path) -> None:
    found = findings(someone_set_up(tmp_path), "config")
    assert set(found) == {"checks"}
    assert (found["checks"]["severity"], "checks:" in found["checks"]["remedy"]) == (
        "warning",
        True,
    )


def test_a_target_branch_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    person = someone_healthy(tmp_path)
    config = person.folder / "config.yaml"
    config.write_text(config.read_text().replace("targetBranch: main", "targetBranch: trunk"))
    found = findings(person, "config")
    assert found["target"]["severity"] == "problem"
    assert "git branch -- trunk" in found["target"]["remedy"]


def test_settings_of_claude_code_that_stop_hooks_or_tools_are_problems(tmp_path: Path) -> None:
    person = a_person(tmp_path)
    person.commit({".claude/settings.json": '{"disableAllHooks": true}', "a": "a"})
    person.ok("init")
    found = findings(person, "config")["claude settings"]
    assert found["severity"] == "problem"
    assert ".claude/settings.json on main sets disableAllHooks" in found["found"]


@pytest.mark.parametrize(
    ("text", "severity", "words"),
    [
        ('{"permissions": {"deny": ["Bash", "Read(./.env)"]}}', Severity.PROBLEM, "denies Bash."),
        ('{"permissions": {"deny": ["mcp__sf__claim_task"]}}', Severity.PROBLEM, "mcp__sf__claim"),
        ('{"hooks": {"Stop": []}}', Severity.WARNING, "hooks of its own: Stop"),
        ('{"env": {"ANTHROPIC_BASE_URL": "x", "CI": "1"}}', Severity.WARNING, "ANTHROPIC_BASE_URL"),
        ("{", Severity.WARNING, "is not JSON"),
    ],
)
def test_each_setting_that_stands_in_the_way_is_named(
    text: str, severity: Severity, words: str
) -> None:
    (found,) = judge_settings("settings.json", text.encode())
    assert found.severity is severity
    assert words in found.found


def test_settings_that_harm_nobody_are_not_spoken_of() -> None:
    for text in ("{}", "[]", '{"permissions": {"deny": ["Bash(rm *)", "WebFetch"]}, "env": {}}'):
        assert list(judge_settings("settings.json", text.encode())) == []


# -- the person's repository -----------------------------------------------------------------------


def test_another_branch_changes_and_an_operation_are_warnings(tmp_path: Path) -> None:
    person = someone_healthy(tmp_path)
    (person.root / "readme.md").write_text("changed\n")
    found = findings(person, "repository")["files"]
    assert "uncommitted changes: readme.md" in found["found"]
    assert found["remedy"].endswith(f"git -C {person.root} stash")
    person.git("checkout", "--quiet", "--", "readme.md")
    (person.root / ".git" / "MERGE_HEAD").write_text(person.git("rev-parse", "HEAD") + "\n")
    found = findings(person, "repository")["files"]
    assert found["found"].startswith("A merge is under way")
    assert found["remedy"].endswith(f"git -C {person.root} merge --abort")
    (person.root / ".git" / "MERGE_HEAD").unlink()
    person.git("switch", "--quiet", "-c", "side")
    found = findings(person, "repository")["files"]
    assert "You are on side, not on main" in found["found"]
    assert found["severity"] == "warning"


def test_nobody_to_commit_as_is_a_problem(tmp_path: Path) -> None:
    person = someone_healthy(tmp_path)
    (person.home / ".gitconfig").unlink()
    found = findings(person, "repository")["author"]
    assert found["severity"] == "problem"
    assert "git config --global user.name" in found["remedy"]


def test_an_old_lock_in_the_persons_repository_is_told_and_left_to_them(tmp_path: Path) -> None:
    person = someone_healthy(tmp_path)
    lock = person.root / ".git" / "index.lock"
    lock.touch()
    assert findings(person, "repository") == {}
    os.utime(lock, (1_000_000_000, 1_000_000_000))
    found = findings(person, "repository")["locks"]
    assert (found["remedy"], found["fix"]) == (f"rm {lock}", "")
    assert fixed(person, "repository") == []
    assert lock.exists()


def test_a_missing_gitignore_is_written_again(tmp_path: Path) -> None:
    person = someone_healthy(tmp_path)
    path = person.folder / ".gitignore"
    text = path.read_text()
    path.unlink()
    assert "your token" in findings(person, "repository")["ignored"]["why"]
    dry = doctor(person, "repository", "--fix", "--dry-run")
    assert f"would do: Write {path}" in dry.out
    assert not path.exists()
    assert fixed(person, "repository") == [f"Wrote {path}."]
    assert path.read_text() == text
    assert findings(person, "repository") == {}


def test_the_installed_command_works_with_the_interpreter_it_was_installed_for() -> None:
    found = programs.judge_python(sys.version_info[:3], sys.executable)
    assert found.severity is Severity.OK
    assert stat.S_ISREG(Path(sys.executable).stat().st_mode)
