"""What the scripted model says that it has made."""

import json
from pathlib import Path

from launcher.rehearsal.ledger import Entry, EntryKind, Ledger, entries_in

COMMIT, BLOB = "a" * 40, "b" * 40


def test_entries_are_lines_of_their_own_in_what_tools_have_returned() -> None:
    texts = [
        f"[sf/T1 abc] Complete\nledger commit {COMMIT}\nledger file {BLOB} parts/a b.txt",
        f"the word ledger commit {COMMIT} in a sentence, ledger file 123, ledger tree {BLOB}",
    ]
    assert entries_in(texts, "s1") == (
        Entry(kind=EntryKind.COMMIT, oid=COMMIT, session="s1"),
        Entry(kind=EntryKind.FILE, oid=BLOB, session="s1", path="parts/a b.txt"),
    )


def test_an_entry_is_written_as_it_comes_and_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    first = entries_in([f"ledger commit {COMMIT}"], "s1")

    ledger.add(first)
    written = path.read_text()
    ledger.add(entries_in([f"ledger commit {COMMIT}"], "s2"))

    assert path.read_text() == written
    assert json.loads(written) == {"kind": "commit", "oid": COMMIT, "session": "s1", "path": ""}
    assert ledger.entries == first


def test_a_closed_ledger_takes_nothing_in(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.close()
    ledger.add(entries_in([f"ledger commit {COMMIT}"], "s1"))
    assert ledger.entries == ()
