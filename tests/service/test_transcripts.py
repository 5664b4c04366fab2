"""A session's transcript, read from its log a page at a time."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from sf_mcp.core.errors import InvalidInput, NotAllowed, NotFound
from sf_mcp.core.identity import PERSON
from sf_mcp.core.transcript import MOST_LINE_BYTES, TEXT_CHARACTERS, EntryKind
from sf_mcp.service import transcripts
from sf_mcp.service.transcripts import TranscriptPage
from tests.builders import Project, Worker, a_project, a_task, a_worker


def said(text: str, **more: Any) -> bytes:
    """Return a line in which the session says something."""
    block = {"type": "text", "text": text}
    return json.dumps({"type": "assistant", "message": {"content": [block]}, **more}).encode()


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    project = a_project(tmp_path)
    return a_worker(project, a_task(project))


def log_of(worker: Worker, lines: Iterable[bytes], *, path: Path | None = None) -> Path:
    """Let the session have a log of these lines."""
    path = path or worker.project.layout.logs / "sessions" / "worker-1.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    report(worker, path)
    return path


def report(worker: Worker, path: Path) -> None:
    worker.project.services.sessions.started(
        PERSON, worker.session.id, pid=0, process_started="", log_path=str(path)
    )


def read(worker: Worker, **where: Any) -> TranscriptPage:
    return worker.project.services.transcripts.read_transcript(PERSON, worker.session.id, **where)


def texts(page: TranscriptPage) -> list[str]:
    return [entry.text for entry in page.entries]


def test_the_last_page_is_what_was_said_last(worker: Worker) -> None:
    log_of(worker, (said(str(number)) for number in range(10)))

    page = read(worker, limit=3)

    assert texts(page) == ["7", "8", "9"]
    assert (page.is_first, page.is_last, page.end) == (False, True, page.size)
    assert (page.name, page.is_live) == ("worker-1", True)


def test_going_back_page_by_page_shows_every_entry_once(worker: Worker) -> None:
    log_of(worker, (said(str(number)) for number in range(10)))

    pages = [read(worker, limit=4)]
    while not pages[0].is_first:
        pages.insert(0, read(worker, before=pages[0].start, limit=4))

    assert [text for page in pages for text in texts(page)] == [str(n) for n in range(10)]


def test_going_on_page_by_page_shows_every_entry_once(worker: Worker) -> None:
    log_of(worker, (said(str(number)) for number in range(10)))

    pages = [read(worker, after=0, limit=4)]
    while not pages[-1].is_last:
        pages.append(read(worker, after=pages[-1].end, limit=4))

    assert [text for page in pages for text in texts(page)] == [str(n) for n in range(10)]


def test_a_log_is_followed_as_it_grows(worker: Worker) -> None:
    path = log_of(worker, [said("one")])
    page = read(worker)
    assert texts(read(worker, after=page.end)) == []

    with path.open("ab") as file:
        file.write(said("two") + b"\n")

    assert texts(read(worker, after=page.end)) == ["two"]


def test_a_torn_last_line_is_shown_when_it_is_whole(worker: Worker) -> None:
    path = log_of(worker, [said("one")])
    whole = said("two") + b"\n"
    with path.open("ab") as file:
        file.write(whole[:20])
    page = read(worker)
    assert (texts(page), page.is_last) == (["one"], True)
    assert read(worker, after=page.end).end == page.end

    with path.open("ab") as file:
        file.write(whole[20:])

    assert texts(read(worker, after=page.end)) == ["two"]


def test_what_is_no_event_is_passed_over(worker: Worker) -> None:
    junk = [
        b"\x00\xff\xfe\x80 binary",
        b"[1, 2]",
        b"{}",
        b'{"type": "assistant"}',
        b"",
        b"[" * 5000,
    ]
    log_of(worker, [*junk, said("one"), *junk, said("two"), *junk])

    assert texts(read(worker)) == ["one", "two"]
    assert texts(read(worker, after=0)) == ["one", "two"]


def test_tools_results_and_ends_are_told_apart(worker: Worker) -> None:
    log_of(
        worker,
        [
            json.dumps(event).encode()
            for event in (
                {"type": "system", "subtype": "init"},
                {
                    "type": "assistant",
                    "timestamp": "2026-03-01T12:00:00Z",
                    "message": {
                        "content": [
                            {"type": "thinking", "thinking": "hm"},
                            {"type": "tool_use", "name": "Bash", "input": {"command": "ls"}},
                        ]
                    },
                },
                {
                    "type": "user",
                    "message": {
                        "content": [
                            {"type": "tool_result", "content": [{"text": "a"}, {"text": "b"}]},
                            {"type": "tool_result", "is_error": True, "content": "no such file"},
                        ]
                    },
                },
                {"type": "user", "message": {"content": "Go on."}},
                {"type": "result", "subtype": "success", "total_cost_usd": 0.5},
            )
        ],
    )

    entries = read(worker).entries

    assert [(e.role, e.kind, e.name, e.text, e.is_error) for e in entries] == [
        ("assistant", "tool", "Bash", '{"command": "ls"}', False),
        ("user", "result", "", "a\nb", False),
        ("user", "result", "", "no such file", True),
        ("user", "text", "", "Go on.", False),
        ("client", "end", "success", "", False),
    ]
    assert entries[0].at is not None
    assert entries[-1].cost_usd == 0.5
    assert entries[1].offset == entries[2].offset > entries[0].offset


def test_a_subagents_words_are_told_from_the_sessions_own(worker: Worker) -> None:
    log_of(worker, [said("mine"), said("its", parent_tool_use_id="toolu_1")])

    assert [entry.role for entry in read(worker).entries] == ["assistant", "subagent"]


def test_a_long_text_is_cut_and_says_so(worker: Worker) -> None:
    log_of(worker, [said("x" * 2_000_000), said("short")])

    long, short = read(worker).entries

    assert (len(long.text), long.is_cut) == (TEXT_CHARACTERS, True)
    assert (short.text, short.is_cut) == ("short", False)


def test_text_that_is_no_unicode_can_be_sent(worker: Worker) -> None:
    log_of(worker, [b'{"type": "assistant", "message": {"content": "a\\ud800b"}}'])

    (entry,) = read(worker).entries
    assert entry.text.encode() == b"a?b"


def test_a_line_longer_than_any_is_left_out_and_said(worker: Worker) -> None:
    log_of(worker, [said("one"), said("x" * (MOST_LINE_BYTES + 5_000_000)), said("two")])

    back = [read(worker)]
    while not back[0].is_first:
        back.insert(0, read(worker, before=back[0].start))
    on = [read(worker, after=0)]
    while not on[-1].is_last:
        on.append(read(worker, after=on[-1].end))

    for pages in (back, on):
        entries = [entry for page in pages for entry in page.entries]
        assert [entry.text for entry in entries if entry.kind is EntryKind.TEXT] == ["one", "two"]
        assert any(entry.kind is EntryKind.LEFT_OUT for entry in entries)


def test_the_longest_line_of_all_is_read(worker: Worker) -> None:
    frame = len(said("")) + 1
    log_of(worker, [said("a"), said("x" * (MOST_LINE_BYTES - frame)), said("b")])

    back = read(worker, limit=2)
    assert [entry.text[:1] for entry in back.entries] == ["x", "b"]
    assert [entry.text[:1] for entry in read(worker, after=0).entries] == ["a", "x", "b"]


def test_a_log_of_200_mb_is_read_a_little_at_a_time(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = log_of(worker, [said("the first")])
    block = b"".join(said(f"{number} " + "y" * 900) + b"\n" for number in range(1000))
    with path.open("ab") as file:
        while file.tell() < 200_000_000:
            file.write(block)
        file.write(said("the last") + b"\n")
    got: list[int] = []
    pread = os.pread

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        got.append(length)
        return pread(descriptor, length, offset)

    monkeypatch.setattr(transcripts.os, "pread", counted)

    pages = [read(worker, limit=50, **where) for where in ({}, {"after": 10**8}, {"before": 10**8})]

    assert [len(page.entries) for page in pages] == [50, 50, 50]
    assert pages[0].entries[-1].text == "the last"
    assert sum(got) < 1_000_000
    path.unlink()


def test_only_the_person_reads_transcripts(worker: Worker) -> None:
    log_of(worker, [said("one")])

    with pytest.raises(NotAllowed):
        worker.project.services.transcripts.read_transcript(worker.caller, worker.session.id)


def test_a_log_that_is_not_there_is_said(worker: Worker) -> None:
    with pytest.raises(NotFound, match="has no log"):
        read(worker)
    log_of(worker, [said("one")]).unlink()
    with pytest.raises(NotFound, match="is gone"):
        read(worker)


def elsewhere(project: Project) -> Path:
    path = project.root / "secret.jsonl"
    path.write_bytes(said("secret") + b"\n")
    return path


def test_nothing_outside_the_logs_is_read(worker: Worker) -> None:
    secret = elsewhere(worker.project)
    logs = worker.project.layout.logs
    (logs / "sessions").mkdir(parents=True)
    link = logs / "sessions" / "link.jsonl"
    link.symlink_to(secret)
    folder = logs / "away"
    folder.symlink_to(secret.parent, target_is_directory=True)
    os.mkfifo(logs / "pipe.jsonl")

    for path in (
        secret,
        link,
        folder / "secret.jsonl",
        logs / "sessions" / ".." / ".." / ".." / "secret.jsonl",
        logs / "sessions",
        logs / "pipe.jsonl",
    ):
        report(worker, path)
        with pytest.raises(NotFound):
            read(worker)


def test_a_place_that_is_not_in_the_log_is_refused(worker: Worker) -> None:
    log_of(worker, [said("one")])

    for wrong in ({"before": 10_000}, {"after": -1}, {"before": 1, "after": 1}):
        with pytest.raises(InvalidInput):
            read(worker, **wrong)
