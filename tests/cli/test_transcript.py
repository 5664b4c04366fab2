"""A session's stream, in the forms that Claude Code writes (stream-json)."""

import json
import uuid
from pathlib import Path

import pytest

from sf_mcp.cli.transcript import print_transcript, readable
from sf_mcp.core.identity import PERSON
from tests.cli.builders_project import someone_with_a_plan
from tests.cli.builders_work import an_order, services_of

EVENTS = [
    {"type": "system", "subtype": "init", "session_id": "x", "model": "sonnet"},
    {
        "type": "assistant",
        "message": {
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": "I look\x1b[2J at\nit."},
                {"type": "tool_use", "name": "Bash", "input": {"command": "ls\n\x1b[31m"}},
            ]
        },
    },
    {
        "type": "user",
        "message": {
            "content": [
                {"type": "tool_result", "content": "fine"},
                {"type": "tool_result", "is_error": True, "content": [{"text": "no such\nfile"}]},
            ]
        },
    },
    {"type": "result", "subtype": "success", "total_cost_usd": 0.125},
]


def test_text_tools_errors_and_ends_are_shown_and_nothing_else() -> None:
    lines = [line for event in EVENTS for line in readable(event)]
    assert lines == [
        "I look[2J at\nit.",
        '  > Bash {"command": "ls\\n\\u001b[31m"}',
        "  ! no such file",
        "-- turn ended: success, $0.12",
    ]


@pytest.mark.parametrize("strange", [{}, {"type": "assistant"}, {"type": "user", "message": "x"}])
def test_events_of_another_shape_are_passed_over(strange: dict[str, object]) -> None:
    assert list(readable(strange)) == []


def test_lines_that_are_no_json_are_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    good = json.dumps(EVENTS[-1]).encode()
    log.write_bytes(b"not json\n[1]\n" + good + b'\n{"type": "resu')
    print_transcript(log)
    assert capsys.readouterr().out == "-- turn ended: success, $0.12\n"


def test_the_log_of_a_session_is_found_by_its_name(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    log = tmp_path / f"{uuid.uuid4()}.jsonl"
    log.write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    with services_of(person) as services:
        session = an_order(services).session
        services.sessions.started(PERSON, session.id, pid=1, process_started="", log_path=str(log))
    assert "> Bash" in person.ok("session", "log", "worker-1").out
    raw = person.ok("session", "log", "worker-1", "--json").out
    assert [json.loads(line) for line in raw.splitlines()] == EVENTS
    assert "worker-1" in person.ok("session", "list").out
    assert "is being stopped" in person.ok("session", "stop", "worker-1").out
    log.unlink()
    gone = person.sf("session", "log", "worker-1")
    assert (gone.code, "is gone" in gone.err) == (1, True)
