"""`sf logs`: what has happened, told on a terminal, as lines of JSON, and live."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sf_mcp.cli.history import merged
from sf_mcp.cli.logs import moment
from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind
from tests.cli.builders_project import SECONDS, SF, Done, Person, someone_with_a_plan
from tests.cli.builders_work import (
    SAID,
    a_line,
    services_of,
    someone_starts_a_session,
    stream_lines,
)

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def objects(done: Done) -> list[Any]:
    """Return what was printed as one JSON object a line."""
    return [json.loads(text) for text in done.out.splitlines()]


def test_what_happened_is_told_with_when_and_by_whom(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One\u202e \x1b[2J[red]two")
    told = person.sf("logs", "t1").out
    assert told.count("\n") == 1
    at, words = told[:19], told[21:]
    assert datetime.fromisoformat(at)
    assert words.startswith("person       task created T1 (")
    assert "[2J[red]two" in words
    assert "\x1b" not in told
    assert "\u202e" not in told


def test_the_log_can_be_read_on_from_an_event_a_moment_and_its_end(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One", "Two")
    events = objects(person.ok("logs", "--json"))
    assert [event["number"] for event in events] == sorted(event["number"] for event in events)
    assert objects(person.ok("logs", "--after", str(events[-3]["number"]), "--json")) == events[-2:]
    assert objects(person.ok("logs", "-n", "1", "--json")) == events[-1:]
    assert objects(person.ok("logs", "--since", events[-1]["at"], "--json")) == events[-1:]
    assert objects(person.ok("logs", "--since", "2h", "--json")) == events
    assert [one["subject"] for one in objects(person.ok("logs", "T1", "--json"))] == ["T1"]
    assert person.ok("logs", "T9").out == "Nothing about T9 yet.\n"
    assert objects(person.ok("log", "--json")) == events  # the name that it had before


def test_more_than_the_server_gives_at_once_is_read_to_its_beginning(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    with services_of(person) as services, services.workspace.write(PERSON) as tx:
        for number in range(1_500):
            tx.event("progress", "T1", message=f"step {number}")
    events = objects(person.ok("logs", "T1", "--since", "1h", "--json"))
    assert len(events) == 1_501
    assert [one["data"]["message"] for one in events[1:]] == [f"step {n}" for n in range(1_500)]


def test_a_session_is_named_by_its_name_and_its_words_are_told(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    log = someone_starts_a_session(person, *SAID)
    told = person.sf("logs", "worker-1").out.splitlines()
    assert "session started" in told[0]
    assert told[1:] == [
        "I look[2J at",
        "it.",
        '  > Bash {"command": "ls\\n\\u001b[31m"}',
        "  ! no such file",
        "-- turn ended: success, $0.12",
    ]
    alone = objects(person.ok("logs", "worker-1", "-n", "2", "--json"))
    assert [(one["session"], one["kind"]) for one in alone] == [
        ("worker-1", "result"),
        ("worker-1", "end"),
    ]
    with person.serving():
        assert objects(person.ok("logs", "worker-1", "-n", "2", "--json")) == alone
    log.unlink()
    assert "session started" in person.ok("logs", "worker-1").out


def test_a_session_that_there_is_not_is_refused(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    refused = person.sf("logs", "worker-9", "--json")
    assert (refused.code, refused.json["code"]) == (1, "not_found")
    assert "sf session list" in refused.json["remedy"]


def test_what_is_no_moment_is_refused(tmp_path: Path) -> None:
    refused = someone_with_a_plan(tmp_path).sf("logs", "--since", "yesterday")
    assert (refused.code, "30m" in refused.err) == (1, True)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("90s", NOON - timedelta(seconds=90)),
        ("30m", NOON - timedelta(minutes=30)),
        ("30min", NOON - timedelta(minutes=30)),
        ("2h", NOON - timedelta(hours=2)),
        ("3d", NOON - timedelta(days=3)),
        ("1w", NOON - timedelta(days=7)),
        ("2026-02-28T18:00", datetime(2026, 2, 28, 18, 0, tzinfo=UTC)),
        ("2026-02-28T18:00+01:00", datetime(2026, 2, 28, 17, 0, tzinfo=UTC)),
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
    ],
)
def test_a_moment_is_so_long_ago_or_a_date(text: str, wanted: datetime) -> None:
    assert moment(text, NOON) == wanted


@pytest.mark.parametrize("text", ["", "soon", "1", "h", "-1h", "999999w", "2026-13-01", "1y"])
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(InvalidInput):
        moment(text, NOON)


def test_words_without_a_time_stand_behind_the_start_of_their_process() -> None:
    def event(at: int, kind: str) -> dict[str, Any]:
        return {"at": f"2026-03-01T12:00:{at:02}+00:00", "kind": kind}

    def entry(text: str, at: int | None = None) -> dict[str, Any]:
        return {"text": text, "at": at and f"2026-03-01T12:00:{at:02}+00:00"}

    started, progress, ended = (
        event(1, "session_started"), event(5, "progress"), event(9, "session_ended")
    )  # fmt: skip
    first, second, third, last = entry("a"), entry("b", 6), entry("c"), entry("d", 8)
    assert merged([started, progress, ended], [first, second, third, last]) == [
        started, first, progress, second, third, last, ended,
    ]  # fmt: skip
    assert merged([], [first, third]) == [first, third]


def test_head_ends_it_quietly(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, *map(str, range(60)))
    reader = subprocess.Popen(
        [SF, "logs", "--since", "1h"],
        cwd=person.root,
        env=person.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert reader.stdout is not None
    assert reader.stderr is not None
    reader.stdout.close()
    assert (reader.wait(SECONDS), reader.stderr.read()) == (0, b"")
    reader.stderr.close()


def test_following_tells_what_happens_over_a_restart_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    logs = person.start("logs", "-f", "-n", "1", "--json")
    try:
        logs.wait_for("No server is running. Waiting for one: sf serve")
        with person.serving():
            logs.wait_for("The server answers again.")
            person.ok("pause", "--reason", "first")
            logs.wait_for('"first"')
        logs.wait_for("Waiting for one", times=2)
        person.ok("pause", "--reason", "second")
        with person.serving():
            logs.wait_for('"second"')
            person.ok("pause", "--reason", "third")
            logs.wait_for('"third"')
            assert logs.interrupt() == 130
    finally:
        logs.end()
    events = [json.loads(text) for text in logs.said.splitlines() if text.startswith("{")]
    reasons = [one["data"]["reason"] for one in events if one["kind"] == "fleet_paused"]
    assert reasons == ["first", "second", "third"]
    assert "Traceback" not in logs.said


def test_following_a_session_tells_its_words_and_ends_with_it(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One", "Two")
    log = someone_starts_a_session(person, a_line("before"))
    with person.serving():
        logs = person.start("logs", "-f", "worker-1")
        try:
            logs.wait_for("before")
            _says(person, log, "meanwhile")
            logs.wait_for("meanwhile")
            person.ok("task", "update", "T2", "--title", "Other")
            _says(person, log, "last words")
            person.ok("session", "stop", "worker-1")
            logs.wait_for("stop requested")
            _ask(person, "session_ended", kind=EndKind.STOPPED.value)
            assert logs.child.wait(SECONDS) == 0
        finally:
            logs.end()
    told = logs.said
    assert told.index("before") < told.index("meanwhile") < told.index("last words")
    assert told.index("last words") < told.index("session ended")
    assert "Other" not in told
    assert "has ended" in person.sf("logs", "-f", "worker-1").err


def _says(person: Person, log: Path, text: str) -> None:
    """Have the session say something, and the launcher report that it was heard."""
    with log.open("a") as file:
        file.write(stream_lines(a_line(text)))
    _ask(
        person,
        "session_heard",
        is_turn_active=True,
        last_line=text,
        context_tokens=0,
        context_window=0,
        cost_usd=0,
    )


def _ask(person: Person, name: str, **arguments: Any) -> None:
    from sf_mcp.client import connect

    client = connect(person.root)
    assert client is not None
    (session,) = [one for one in client.call("list_sessions") if one["name"] == "worker-1"]
    client.call(name, session_id=session["id"], **arguments)
