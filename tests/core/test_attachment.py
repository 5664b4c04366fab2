"""The texts of Claude Code's files with our wiring in them, and without it again."""

import json
from typing import Any

import pytest

from sf_mcp.core import wiring
from sf_mcp.core.attachment import (
    Unusable,
    has_own_status_line,
    is_nothing,
    with_server,
    with_settings,
    without_server,
    without_settings,
)

SF = ("/opt/it's here/sf",)
URL = "http://127.0.0.1:7420/person/mcp"

OTHERS: dict[str, Any] = {
    "permissions": {"allow": ["Bash(ls)"], "deny": ["WebFetch"]},
    "hooks": {
        "Stop": [{"hooks": [{"type": "command", "command": "/opt/beep", "args": ["hook"]}]}],
        "PostToolUse": [{"matcher": "Edit", "hooks": [{"type": "command", "command": "fmt"}]}],
    },
    "enabledMcpjsonServers": ["docs"],
    "model": "opus",
}


def test_a_server_is_added_beside_others_and_taken_out_again() -> None:
    before = (
        '{\n    "mcpServers": {\n        "docs": {"type": "stdio", "command": "docs"}\n    }\n}'
    )

    wired = with_server(before, URL, SF)

    servers = json.loads(wired)["mcpServers"]
    assert list(servers) == ["docs", "sf"]
    assert servers["sf"]["url"] == URL
    assert servers["sf"]["headersHelper"] == """'/opt/it'"'"'s here/sf' token --headers"""
    assert "headers" not in servers["sf"]
    assert '\n        "sf"' in wired  # indented as the rest of the file is
    assert json.loads(without_server(wired)) == json.loads(before)


def test_another_installation_or_port_of_ours_is_replaced() -> None:
    old = with_server("", "http://127.0.0.1:1/person/mcp", ("python3", "-m", "sf_mcp.cli"))

    new = with_server(old, URL, SF)

    assert json.loads(new)["mcpServers"] == {"sf": wiring.server_entry(URL, SF)}
    assert is_nothing(without_server(new))


def test_settings_keep_what_is_the_persons() -> None:
    before = json.dumps(OTHERS, indent=2)

    wired = with_settings(before, SF)

    found = json.loads(wired)
    assert found["model"] == "opus"
    assert found["permissions"]["allow"] == ["Bash(ls)", "mcp__sf"]
    assert found["permissions"]["deny"] == ["WebFetch"]
    assert len(found["hooks"]["PostToolUse"]) == 2
    assert found["hooks"]["UserPromptSubmit"][0]["hooks"][0]["args"] == ["hook"]
    assert found["enabledMcpjsonServers"] == ["docs", "sf"]
    assert with_settings(wired, SF) == wired
    assert without_settings(wired) == before


def test_a_status_line_of_the_persons_own_stays() -> None:
    own = {"type": "command", "command": "mine"}
    before = json.dumps({"statusLine": own}, indent=2)

    assert json.loads(with_settings(before, SF))["statusLine"] == own
    assert has_own_status_line(before)
    assert "statusLine" not in json.loads(with_settings("", SF, has_status_line=True))
    assert not has_own_status_line(with_settings("", SF))
    assert not has_own_status_line("no JSON")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"hooks": {}, "permissions": {"allow": []}, "enabledMcpjsonServers": []}',
        '{"hooks": {"Stop": []}, "permissions": [], "enabledMcpjsonServers": 1}',
        '{"hooks": {"Stop": ["odd", {"hooks": "odd"}, {"hooks": [1]}]}, "statusLine": "odd"}',
        json.dumps(OTHERS),
    ],
)
def test_what_holds_nothing_of_ours_is_left_as_it_is(text: str) -> None:
    assert without_settings(text) == text
    assert without_server(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{\n  "mcpServers": {,}\n}', "line 2, column 18"),
        ("[]", "it must be an object"),
        ('{"mcpServers": []}', "mcpServers must be an object"),
        ('{"mcpServers": {"sf": {"command": "soundfont"}}}', "not Stoneforge's"),
        ('{"mcpServers": {"sf": "odd"}}', "not Stoneforge's"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_of_servers_that_cannot_be_added_to_is_refused(text: str, words: str) -> None:
    with pytest.raises(Unusable, match=words) as refusal:
        with_server(text, URL, SF)
    assert refusal.value.remedy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1"),
        ('"settings"', "it must be an object"),
        ('{"hooks": []}', "hooks must be an object"),
        ('{"hooks": {"PostToolUse": {}}}', "PostToolUse must be a list"),
        ('{"permissions": {"allow": "all"}}', "allow must be a list"),
        ('{"disabledMcpjsonServers": ["sf"]}', "refuses the server sf"),
    ],
)
def test_settings_that_cannot_be_added_to_are_refused(text: str, words: str) -> None:
    with pytest.raises(Unusable, match=words):
        with_settings(text, SF)


@pytest.mark.parametrize(
    ("entry", "is_ours"),
    [
        ({"headersHelper": "sf token --headers"}, True),
        ({"headersHelper": "/usr/bin/python3 -m sf_mcp.cli token --headers"}, True),
        ({"headersHelper": "echo sf token --headers"}, False),
        ({"headersHelper": "sf 'token --headers"}, False),
        ({"headersHelper": ["sf"]}, False),
        (None, False),
    ],
)
def test_our_server_is_known_by_how_it_gets_its_headers(entry: object, is_ours: bool) -> None:
    assert wiring.is_our_server(entry) is is_ours
