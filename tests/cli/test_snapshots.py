"""`sf snapshot list` and `sf restore`."""

from pathlib import Path

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import EndKind
from tests.cli.builders_project import Person, someone_with_a_plan
from tests.cli.builders_work import an_order, services_of


def someone_with_a_snapshot(folder: Path) -> Person:
    """A person whose task T1 was worked on by a session that left two drafts."""
    person = someone_with_a_plan(folder, "One")
    with services_of(person) as services:
        order = an_order(services)
        for text in ("first\n", "second\n"):
            Path(order.cwd, "draft.txt").write_text(text)
            services.work.turn_ended(PERSON, order.session.id)
        services.work.session_ended(PERSON, order.session.id, kind=EndKind.STOPPED)
    return person


def test_snapshots_are_listed_and_restored(tmp_path: Path) -> None:
    person = someone_with_a_snapshot(tmp_path)
    lines = person.ok("snapshot", "list", "T1").out.splitlines()
    assert lines[0].split() == ["NUMBER", "WHEN", "SESSION", "FILES", "COMMIT", "TEXT"]
    assert [line.split()[0] for line in lines[1:]] == ["2", "1"]
    assert "worker-1" in lines[1]
    assert "turn's end" in lines[1]
    (newest, older) = person.ok("snapshot", "list", "T1", "--json").json
    assert (newest["number"], newest["files"], older["session"]) == (2, 1, "worker-1")

    done = person.ok("restore", "T1", "--to", "out")
    assert "of snapshot 2 of T1" in done.out
    assert (person.root / "out/draft.txt").read_text() == "second\n"
    person.ok("restore", "T1", "--at", "1", "--to", str(tmp_path / "first"))
    assert (tmp_path / "first/draft.txt").read_text() == "first\n"

    again = person.sf("restore", "T1", "--to", "out")
    assert (again.code, "is not empty" in again.err) == (1, True)
    inside = person.sf("restore", "T1", "--to", ".stoneforge/worktrees/T1")
    assert (inside.code, "Stoneforge's own" in inside.err) == (1, True)


def test_a_dry_run_says_what_would_be_written_and_writes_nothing(tmp_path: Path) -> None:
    person = someone_with_a_snapshot(tmp_path)
    done = person.ok("restore", "T1", "--to", "out", "--dry-run")
    assert "draft.txt" in done.out.splitlines()
    assert "Would write" in done.out
    told = person.ok("restore", "T1", "--to", "out", "--dry-run", "--json").json
    assert told["is_dry_run"]
    assert "draft.txt" in told["files"]
    assert told["to"] == str(person.root / "out")
    assert not (person.root / "out").exists()


def test_with_a_server_too_and_unknown_things_are_refused(tmp_path: Path) -> None:
    person = someone_with_a_snapshot(tmp_path)
    with person.serving("--no-fleet"):
        person.ok("restore", "T1", "--to", "out")
        assert (person.root / "out/draft.txt").read_text() == "second\n"
        for words, said in (
            (("restore", "T1", "--at", "9", "--to", "new"), "no snapshot 9; there are 1, 2"),
            (("restore", "T7", "--to", "new"), "T7"),
            (("snapshot", "list", "T7"), "T7"),
        ):
            refused = person.sf(*words)
            assert (refused.code, said in refused.err) == (1, True), refused.err
        assert not (person.root / "new").exists()
    assert person.sf("restore", "T1").code == 2
    assert person.sf("restore", "T1", "--at", "-1", "--to", "new").code == 2
