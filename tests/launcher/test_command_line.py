"""Arguments and environment of a session; that Claude Code takes them is test_client_contract."""

import json
import re
from typing import Any

from launcher.core.command_line import (
    HeadlessSession,
    InteractiveDirector,
    attached_command,
    clean_environment,
    headless_command,
    interactive_command,
    memory_excludes,
    offered_tools,
    parse_version,
    session_environment,
)
from sf_mcp.core.models import Role, SessionId

SESSION = SessionId("7d0b1f6e-6f0e-4f0b-9d3a-2f7a6f1f6a11")


def a_session(**changes: Any) -> HeadlessSession:
    values: dict[str, Any] = {
        "claude": "/opt/claude",
        "role": Role.WORKER,
        "session_id": SESSION,
        "is_resumed": False,
        "model": "sonnet",
        "mcp_url": "http://127.0.0.1:7420/worker/mcp",
        "hook_url": "http://127.0.0.1:7420/hook",
        "worktree": "/home/a/repo/.stoneforge/worktrees/T12",
        "prompt_file": "/home/a/repo/.stoneforge/run/worker.md",
    }
    return HeadlessSession(**(values | changes))


def value_of(command: tuple[str, ...], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_a_worker_is_started_as_the_design_says() -> None:
    command = headless_command(a_session())

    assert command[:10] == (
        "/opt/claude",
        "-p",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
        "--verbose",
        "--session-id",
        SESSION,
        "--model",
    )
    assert "--strict-mcp-config" in command
    assert value_of(command, "--setting-sources") == "project"
    assert value_of(command, "--permission-mode") == "dontAsk"
    assert json.loads(value_of(command, "--mcp-config")) == {
        "mcpServers": {
            "sf": {
                "type": "http",
                "url": "http://127.0.0.1:7420/worker/mcp",
                "headers": {"Authorization": "Bearer ${SF_TOKEN}"},
                "alwaysLoad": True,
                "timeout": 1_800_000,
            }
        }
    }


def test_a_person_goes_on_with_the_same_conversation_and_is_asked_instead_of_denied() -> None:
    command = attached_command(a_session(is_resumed=True))

    assert command[:5] == ("/opt/claude", "--resume", SESSION, "--model", "sonnet")
    assert value_of(command, "--permission-mode") == "default"
    assert "-p" not in command
    assert "--tools" not in command
    assert "--strict-mcp-config" in command
    headless = headless_command(a_session(is_resumed=True))
    for flag in ("--mcp-config", "--append-system-prompt-file"):
        assert value_of(command, flag) == value_of(headless, flag)
    assert (
        command[command.index("--allowedTools") :] == (headless[headless.index("--allowedTools") :])
    )
    settings = json.loads(value_of(command, "--settings"))
    assert set(settings["hooks"]) >= {"Stop", "PreToolUse", "PostToolUse", "UserPromptSubmit"}
    # A shell runs it: no text of anybody's is in it, only names of variables.
    assert settings["statusLine"]["command"] == (
        'cat > "$SF_STATUS_FILE.new" && mv -f "$SF_STATUS_FILE.new" "$SF_STATUS_FILE"; '
        'printf %s "$SF_STATUS_TITLE"'
    )


def test_hooks_carry_the_token_by_name_and_end_within_seconds() -> None:
    settings = json.loads(value_of(headless_command(a_session()), "--settings"))

    assert set(settings["hooks"]) == {"Stop", "PreToolUse", "PostToolUse", "SessionEnd"}
    assert settings["hooks"]["Stop"] == [
        {
            "hooks": [
                {
                    "type": "http",
                    "url": "http://127.0.0.1:7420/hook",
                    "headers": {"Authorization": "Bearer $SF_TOKEN"},
                    "allowedEnvVars": ["SF_TOKEN"],
                    "timeout": 5,
                }
            ]
        }
    ]
    assert settings["autoCompactEnabled"] is False


def test_a_resumed_session_is_named_by_resume() -> None:
    command = headless_command(a_session(is_resumed=True))

    assert value_of(command, "--resume") == SESSION
    assert "--session-id" not in command


def test_the_list_flags_swallow_nothing() -> None:
    command = headless_command(a_session())

    assert command[command.index("--mcp-config") + 2] == "--strict-mcp-config"
    assert command[command.index("--allowedTools") + 1 :] == (
        "Bash",
        "Read",
        "Edit(./**)",
        "Write(./**)",
        "NotebookEdit(./**)",
        "Grep",
        "Glob",
        "mcp__sf",
    )


def test_a_reviewing_steward_and_a_headless_director_can_only_read() -> None:
    for role in (Role.STEWARD, Role.DIRECTOR):
        assert value_of(headless_command(a_session(role=role)), "--tools") == "Read,Grep,Glob"


def test_tools_that_are_not_allowed_are_not_offered() -> None:
    allowed = ("Bash(git *)", "Bash(npm run *)", "Edit(./**)", "mcp__other__tool", "")

    assert offered_tools(allowed) == ("Bash", "Edit")


def test_instruction_files_above_the_worktree_are_excluded_and_its_own_are_not() -> None:
    patterns = memory_excludes("/home/a/re[p]o/.stoneforge/worktrees/T12")

    assert "/home/a/re[p]o/CLAUDE.md" in patterns
    assert "/home/a/re?p?o/.claude/rules/**" in patterns
    assert "/home/CLAUDE.md" in patterns
    assert "/CLAUDE.md" in patterns
    assert not any("T12" in pattern for pattern in patterns)


def test_the_token_is_in_the_environment_and_never_in_the_arguments() -> None:
    environment = session_environment(
        {}, token="s3cret", author_name="A Person", author_email="a@example.test"
    )

    assert environment["SF_TOKEN"] == "s3cret"
    assert "s3cret" not in " ".join(headless_command(a_session()))


def test_a_session_inside_a_session_loses_its_parents_marks_and_keeps_the_login() -> None:
    inherited = {
        "CLAUDECODE": "1",
        "CLAUDE_CODE_ENTRYPOINT": "cli",
        "CLAUDE_CODE_SSE_PORT": "1234",
        "CLAUDE_CODE_SESSION_ID": "x",
        "CLAUDE_CODE_MESSAGING_SOCKET": "/tmp/x",
        "SF_TOKEN": "another session's",
    }
    kept = {
        "CLAUDE_CODE_OAUTH_TOKEN": "login",
        "CLAUDE_CONFIG_DIR": "/home/a/.claude-work",
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "ANTHROPIC_BASE_URL": "https://gateway.example.test",
        "PATH": "/usr/bin",
    }

    assert clean_environment(inherited | kept) == kept


def test_git_of_a_session_is_not_pointed_at_another_repository() -> None:
    inherited = {
        "GIT_DIR": "/home/a/repo/.git",
        "GIT_INDEX_FILE": "/home/a/repo/.git/index",
        "GIT_WORK_TREE": "/home/a/repo",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": "/dev/null",
        "GIT_AUTHOR_DATE": "2001-01-01",
    }

    assert clean_environment(inherited | {"GIT_SSH_COMMAND": "ssh -4"}) == {
        "GIT_SSH_COMMAND": "ssh -4"
    }


def test_commits_carry_the_persons_identity_and_the_extra_variables_win() -> None:
    environment = session_environment(
        {"GIT_AUTHOR_NAME": "someone else", "HOME": "/home/a"},
        token="t",
        author_name="A Person",
        author_email="a@example.test",
        extra={"HOME": "/tmp/rehearsal"},
    )

    assert environment == {
        "HOME": "/tmp/rehearsal",
        "DISABLE_AUTOUPDATER": "1",
        "GIT_AUTHOR_NAME": "A Person",
        "GIT_AUTHOR_EMAIL": "a@example.test",
        "GIT_COMMITTER_NAME": "A Person",
        "GIT_COMMITTER_EMAIL": "a@example.test",
        "GIT_TERMINAL_PROMPT": "0",
        "SF_TOKEN": "t",
    }


def test_a_persons_director_keeps_their_settings_and_is_asked_before_approving() -> None:
    command = interactive_command(
        InteractiveDirector(
            claude="claude",
            mcp_url="http://127.0.0.1:7420/director/mcp",
            sf=("/opt/a b/sf",),
            prompt_file="/tmp/director.md",
        )
    )
    settings = json.loads(value_of(command, "--settings"))

    assert not {"-p", "--setting-sources", "--strict-mcp-config", "--model"} & set(command)
    assert value_of(command, "--permission-mode") == "default"
    assert settings["permissions"] == {"allow": ["mcp__sf"]}
    (asking,) = settings["hooks"]["PreToolUse"]
    assert re.search(asking["matcher"], "mcp__plugin_fleet_sf__approve_merge")
    assert not re.search(asking["matcher"], "mcp__sf__get_task")
    (server,) = json.loads(value_of(command, "--mcp-config"))["mcpServers"].values()
    assert server["headersHelper"] == "'/opt/a b/sf' token --headers"
    assert settings["statusLine"]["command"] == "'/opt/a b/sf' statusline"
    assert "headers" not in server
    assert "claudeMdExcludes" not in settings


def test_the_version_is_read_from_what_claude_prints() -> None:
    assert parse_version("2.1.330 (Claude Code)\n") == (2, 1, 330)
    assert parse_version("claude version v2.10.3-beta") == (2, 10, 3)
    assert parse_version("command not found") is None
