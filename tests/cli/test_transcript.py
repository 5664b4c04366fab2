"""How entries of a transcript look on a terminal."""

import json

from sf_mcp.cli.transcript import shown
from sf_mcp.core.encoding import to_json
from sf_mcp.core.transcript import entries_in
from tests.cli.builders_work import SAID


def test_text_tools_errors_and_ends_are_shown_and_nothing_else() -> None:
    entries = [to_json(entry) for event in SAID for entry in entries_in(event)]
    assert [text for text in map(shown, entries) if text] == [
        "I look[2J at\nit.",
        '  > Bash {"command": "ls\\n\\u001b[31m"}',
        "  ! no such file",
        "-- turn ended: success, $0.12",
    ]


def test_what_is_long_is_cut() -> None:
    long = {"content": [{"type": "tool_use", "name": "Write", "input": {"text": "x" * 5_000}}]}
    (entry,) = entries_in({"type": "assistant", "message": long})
    text = shown(json.loads(json.dumps(to_json(entry))))
    assert text.startswith('  > Write {"text": "xxx')
    assert (len(text), text[-1]) == (len("  > Write ") + 120 + 1, "…")
