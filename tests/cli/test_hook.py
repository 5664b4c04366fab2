"""`sf hook` and `sf statusline`: run by Claude Code at every turn, and never in its way."""

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.cli.builders_project import Done, Person, someone_set_up, someone_with_a_plan
from tests.cli.test_imports import TOO_DEAR, imported_by

PROMPT = {"hook_event_name": "UserPromptSubmit", "session_id": "s-1"}
FILL = {"total_input_tokens": 60_000, "total_output_tokens": 500, "context_window_size": 200_000}


def _run(person: Person, command: str, event: object, **more: Any) -> Done:
    text = event if isinstance(event, str) else json.dumps(event)
    done = person.sf(command, stdin=text, **more)
    assert (done.code, done.err) == (0, "")
    return done


def _told(person: Person, event: object, **more: Any) -> str:
    out = _run(person, "hook", event, **more).out
    return json.loads(out)["hookSpecificOutput"]["additionalContext"] if out else ""


def test_an_attached_session_is_told_by_its_hooks_and_shown_the_fleet(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One", "Two")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with person.serving():
        opening = _told(person, {**PROMPT, "hook_event_name": "SessionStart"})
        assert "2 tasks are ready" in opening
        assert _told(person, PROMPT) == ""
        shown = _run(person, "statusline", {"session_id": "s-1", "context_window": FILL}).out
        assert shown == (
            "Stoneforge: 0 running · nothing waits for you · 0 in the train · $0.00 · context 30%\n"
        )
        (director,) = person.ok("status", "--json").json["directors"]
        assert (director["id"], director["context_tokens"]) == ("s-1", 60_500)
        person.ok("pause", "--reason", "lunch")
        in_a_folder = {"CLAUDE_PROJECT_DIR": str(person.root)}
        told = _told(person, PROMPT, cwd=elsewhere, env=in_a_folder)
        assert '"reason: lunch"' in told
        assert _run(person, "statusline", {}).out.startswith("Stoneforge: paused · 0 running")
        person.ok("token", "--renew")
        person.ok("task", "create", "--title", "Three")
        assert _told(person, PROMPT) == ""
        assert _run(person, "statusline", {}).out.startswith("Stoneforge: paused")
    assert _run(person, "hook", PROMPT).out == ""
    assert _run(person, "statusline", {"context_window": FILL}).out == (
        "Stoneforge: no server (sf serve) · context 30%\n"
    )


def test_a_server_that_has_moved_is_told_of_at_the_start(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    person.ok("attach")
    start = {**PROMPT, "hook_event_name": "SessionStart"}
    with person.serving():
        assert "sf attach" not in _told(person, start)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    config = person.folder / "config.yaml"
    text = config.read_text().replace("orchestrator:\n", f"orchestrator:\n  port: {port}\n")
    config.write_text(text)
    with person.serving():
        assert "until the person runs `sf attach`" in _told(person, start)
        assert person.ok("attach").out == ".mcp.json: changed\n"
        assert "sf attach" not in _told(person, start)


def test_the_person_is_asked_before_a_decision_also_when_no_server_answers(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    event = {**PROMPT, "hook_event_name": "PreToolUse", "tool_name": "mcp__a_b__cancel_plan"}

    answer = json.loads(_run(person, "hook", event).out)["hookSpecificOutput"]

    assert answer["permissionDecision"] == "ask"
    assert _run(person, "hook", {**event, "tool_name": "mcp__a_b__get_task"}).out == ""


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "{",
        "[]",
        "null",
        '"x"',
        "\x00\xff",
        "[" * 10_000,
        '{"session_id": {}, "hook_event_name": 7, "context_window": []}',
        '{"context_window": {"total_input_tokens": "many", "context_window_size": -1}}',
        '{"context_window": {"total_input_tokens": 1e400, "context_window_size": 1e400}}',
    ],
)
def test_garbage_is_answered_with_nothing(tmp_path: Path, garbage: str) -> None:
    person = someone_set_up(tmp_path)
    assert _run(person, "hook", garbage).out == ""
    assert _run(person, "statusline", garbage).out == "Stoneforge: no server (sf serve)\n"


def test_outside_a_project_and_in_a_session_of_the_fleet_they_say_nothing(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    for more in ({"cwd": person.home}, {"env": {"SF_TOKEN": "x"}}):
        assert _run(person, "hook", PROMPT, **more).out == ""
        assert _run(person, "statusline", {}, **more).out == "\n"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n[]", b"hello\r\n\r\n"])
def test_what_answers_in_the_servers_place_is_not_waited_for(tmp_path: Path, answer: bytes) -> None:
    """An empty answer: it accepts the connection and never says a word."""
    person = someone_set_up(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def say() -> None:
            with listener.accept()[0] as one:
                one.sendall(answer)

        if answer:
            threading.Thread(target=say, daemon=True).start()
        address = {"host": "127.0.0.1", "port": listener.getsockname()[1], "pid": 1}
        (person.folder / "server.json").write_text(json.dumps(address))
        assert _run(person, "hook", PROMPT).out == ""


def test_they_import_no_more_than_they_need(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    with person.serving():
        for command in ("hook", "statusline"):
            found = imported_by(person, command)
            assert "http.client" in found
            assert not {name.split(".")[0] for name in found} & {*TOO_DEAR, "sqlite3", "yaml"}
