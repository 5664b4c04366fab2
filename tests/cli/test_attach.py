"""`sf attach` and `sf detach`: the files of Claude Code, and the way back."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.builders_project import Person, someone_set_up, someone_with_a_commit

MCP, SETTINGS, EXCLUDE = ".mcp.json", ".claude/settings.local.json", ".git/info/exclude"


def _files(person: Person) -> dict[str, bytes]:
    """Return every file of the checkout and git's exclude list, but the state's own."""
    found = {
        str(path.relative_to(person.root)): path.read_bytes()
        for path in person.root.rglob("*")
        if path.is_file() and ".stoneforge" not in path.parts and ".git" not in path.parts
    }
    exclude = person.root / EXCLUDE
    return {**found, EXCLUDE: exclude.read_bytes() if exclude.exists() else b"-"}


def _json(person: Person, name: str) -> Any:
    return json.loads((person.root / name).read_text())


def _write(person: Person, name: str, text: str) -> Path:
    path = person.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_attaching_writes_two_files_without_a_secret_that_git_does_not_show(
    tmp_path: Path,
) -> None:
    person = someone_set_up(tmp_path)
    before = person.git("status", "--porcelain")

    said = person.ok("attach").out

    assert said.splitlines() == [f"{MCP}: created", f"{SETTINGS}: created", f"{EXCLUDE}: changed"]
    server = _json(person, MCP)["mcpServers"]["sf"]
    assert server["url"].endswith("/person/mcp")
    assert server["headersHelper"].endswith("/sf token --headers")
    token = person.ok("token").out.strip()
    assert not any(token.encode() in content for content in _files(person).values())
    assert person.git("status", "--porcelain") == before


def test_the_servers_address_is_the_one_that_it_will_have(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    person.ok("attach")
    url = _json(person, MCP)["mcpServers"]["sf"]["url"]

    with person.serving() as server:
        assert url.removesuffix("/person/mcp") in server.said
        assert person.ok("attach").out == "Nothing to do.\n"


def test_detaching_leaves_everything_as_it_was_byte_for_byte(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    _write(person, MCP, '{"mcpServers":   {}, "other": 1e3}')
    _write(person, SETTINGS, '{ "model": "opus" }\r\n')
    (person.root / EXCLUDE).write_bytes(b"*.tmp")
    before = _files(person)

    for _ in range(2):
        person.ok("attach")
    assert _files(person).keys() == before.keys()
    assert _files(person)[EXCLUDE] == before[EXCLUDE]  # both were shown by git before
    for _ in range(2):
        person.ok("detach")

    assert _files(person) == before
    assert not (person.folder / "attached.json").exists()


def test_detaching_removes_what_attaching_made(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    exclude = person.root / EXCLUDE
    exclude.unlink()
    exclude.parent.rmdir()

    person.ok("attach")
    assert person.ok("detach").out.splitlines() == [
        f"{MCP}: removed",
        f"{SETTINGS}: removed",
        f"{EXCLUDE}: removed",
    ]

    assert not (person.root / ".claude").exists()
    assert not exclude.parent.exists()
    assert person.ok("detach").out == "Nothing to do.\n"


def test_what_the_client_wrote_meanwhile_stays(tmp_path: Path) -> None:
    """Claude Code adds what the person allows to the same file."""
    person = someone_set_up(tmp_path)
    person.ok("attach")
    settings = _json(person, SETTINGS)
    settings["permissions"]["allow"].append("Bash(make test)")
    _write(person, SETTINGS, json.dumps(settings))
    servers = _json(person, MCP)
    servers["mcpServers"]["docs"] = {"command": "docs"}
    _write(person, MCP, json.dumps(servers))

    person.ok("detach")

    assert _json(person, SETTINGS) == {"permissions": {"allow": ["Bash(make test)"]}}
    assert _json(person, MCP) == {"mcpServers": {"docs": {"command": "docs"}}}


def test_a_lost_record_costs_the_bytes_and_not_the_content(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    _write(person, SETTINGS, '{"model":"opus"}')
    person.ok("attach")
    (person.folder / "attached.json").write_text("[")

    person.ok("detach")

    assert _json(person, SETTINGS) == {"model": "opus"}
    assert not (person.root / MCP).exists()


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    before = _files(person)

    told = person.ok("attach", "--dry-run", "--json").json

    assert told == {
        "files": {MCP: "created", SETTINGS: "created", EXCLUDE: "changed"},
        "notes": [],
        "dry_run": True,
    }
    assert _files(person) == before
    person.ok("attach")
    attached = _files(person)
    assert f"{MCP}: would be removed" in person.ok("detach", "--dry-run").out
    assert _files(person) == attached


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (MCP, '{"mcpServers": {\n"a": }}', "line 2, column 6"),
        (MCP, "[]", "must be an object"),
        (MCP, '{"mcpServers": {"sf": {"command": "sf2"}}}', "not Stoneforge's"),
        (SETTINGS, "{", "line 1"),
        (SETTINGS, '{"hooks": {"PostToolUse": "beep"}}', "PostToolUse must be a list"),
    ],
)
def test_a_file_that_cannot_be_added_to_is_refused_and_nothing_changes(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    person = someone_set_up(tmp_path)
    _write(person, name, text)
    before = _files(person)

    refused = person.sf("attach")

    assert refused.code == 1
    assert name in refused.err
    assert words in refused.err
    assert _files(person) == before


def test_a_file_that_breaks_later_is_not_touched_by_detaching(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    person.ok("attach")
    _write(person, MCP, '{"mcpServers":')
    before = _files(person)

    assert "line 1" in person.sf("detach").err

    assert _files(person) == before


def test_a_file_that_git_tracks_is_refused_since_it_would_hold_up_the_checkout(
    tmp_path: Path,
) -> None:
    person = someone_with_a_commit(tmp_path)
    person.commit({MCP: '{"mcpServers": {}}'})
    person.ok("init")

    refused = person.sf("attach", "--json")

    assert refused.json["code"] == "file_unusable"
    assert "sf-launch director" in refused.json["remedy"]
    assert person.git("status", "--porcelain", "--", MCP) == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_without_the_right_to_write_everything_stays(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    _write(person, SETTINGS, "{}").chmod(0o400)
    before = _files(person)

    assert person.sf("attach").code == 1

    assert _files(person) == before


def test_a_folder_in_the_way_of_a_file_is_refused_and_what_was_written_is_put_back(
    tmp_path: Path,
) -> None:
    person = someone_set_up(tmp_path)
    (person.root / ".claude").write_text("a file, not a folder")
    before = _files(person)

    refused = person.sf("attach")

    assert refused.code == 1
    assert "nothing was changed" in refused.err
    assert _files(person) == before
    assert not (person.folder / "attached.json").exists()


def test_a_status_line_of_ones_own_stays_and_is_told_of(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    (person.home / ".claude").mkdir()
    own = json.dumps({"statusLine": {"type": "command", "command": "mine"}})
    (person.home / ".claude" / "settings.json").write_text(own)

    assert "Your own status line stays" in person.ok("attach").out

    assert "statusLine" not in _json(person, SETTINGS)


def test_a_session_of_the_fleet_attaches_nothing(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    for command in ("attach", "detach"):
        refused = person.sf(command, env={"SF_TOKEN": "x"})
        assert refused.code == 1
        assert "session of the fleet" in refused.err
    assert person.sf("attach", cwd=person.home).code == 3
