"""Each thing that `sf doctor` can find in a project's state, really broken, and what mends it."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sf_mcp import process
from sf_mcp.core.findings import Finding, Severity
from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import SessionId
from sf_mcp.core.states import TaskState
from sf_mcp.git.snapshots import list_snapshots
from sf_mcp.service.doctor import machine
from sf_mcp.service.doctor.examination import Answer, examine
from sf_mcp.service.doctor.look import ClientFacts, Look
from sf_mcp.store import facts
from sf_mcp.store.inspection import RULES
from tests.builders import (
    Project,
    a_project,
    a_steward,
    a_task,
    a_worker,
    git,
    write,
)
from tests.service.builders_landing import config, one_request

LONG_AGO = (1_000_000_000, 1_000_000_000)


def nobody(_: str | None) -> ClientFacts:
    raise AssertionError("Claude Code is not asked here")


def answers(project: Project, *families: str) -> list[Answer]:
    look = Look(project.layout, environ={}, now=project.clock, ask_client=nobody)
    return examine(look, families, on_progress=lambda _: None)


def found(project: Project, *families: str) -> dict[str, Finding]:
    """Return what is not well, by the check's name."""
    every = [answer.finding for answer in answers(project, *families)]
    assert all(one.remedy and one.why for one in every if one.severity is not Severity.OK)
    return {one.check: one for one in every if one.severity is not Severity.OK}


def mended(project: Project, *families: str) -> list[str]:
    """Mend as `--fix` does; return what was done."""
    mends = [answer.mend for answer in answers(project, *families)]
    return [one.carry_out(lambda: project.services) for one in mends if one is not None]


def by_hand(project: Project, *statements: str) -> None:
    """Write to the database as nobody should."""
    with closing(sqlite3.connect(project.layout.database)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = a_project(tmp_path, config=config({"tests": "true"}))
    made.services.sessions.ensure_person_token(PERSON)
    return made


STATE = ("forge", "database", "agreement", "machine", "processes")


def test_a_project_at_work_has_no_finding(tmp_path: Path) -> None:
    project = a_project(tmp_path, config=config(steward={"review": True}))
    project.services.sessions.ensure_person_token(PERSON)
    a_task(project, "Done", state=TaskState.CANCELLED)
    waiting = a_task(project, "Waiting", state=TaskState.WAITING)
    request = one_request(project)
    project.run_train()
    a_steward(project, request)
    a_worker(project, a_task(project, "At work"), with_worktree=True).commit({"b.py": "b\n"})
    assert project.task(waiting).state is TaskState.WAITING
    assert found(project, *STATE) == {}


# -- the forge -------------------------------------------------------------------------------------


def test_settings_of_the_forge_are_put_back(project: Project) -> None:
    for words in (("gc.auto", "6700"), ("core.bare", "true"), ("remote.origin.url", "/elsewhere")):
        git(project.forge.git_dir, "config", "--file", "config", *words)
    git(project.forge.git_dir, "symbolic-ref", "HEAD", "refs/heads/main")
    told = found(project, "forge")
    assert set(told) == {"made"}
    for words in ("gc.auto is 6700", "core.bare", "remote origin", "HEAD is ref: refs/heads/main"):
        assert words in told["made"].found
    assert mended(project, "forge") == ["The forge's settings are as they were made."]
    assert found(project, "forge") == {}
    assert project.services.target.head() == project.target


def test_a_guard_that_is_missing_or_changed_is_written_anew(project: Project) -> None:
    first, second, third = (
        a_worker(project, a_task(project, name), with_worktree=True) for name in "abc"
    )
    hooks = project.forge.git_dir / "stoneforge" / "hooks"
    (hooks / first.task_id / "pre-push").unlink()
    (hooks / second.task_id / "reference-transaction").write_text("#!/bin/sh\nexit 0\n")
    git(third.cwd, "config", "--worktree", "core.hooksPath", "/dev/null")
    (hooks / "forge" / "pre-push").chmod(0o644)
    told = found(project, "forge")["guard"]
    assert told.severity is Severity.PROBLEM
    assert told.found.endswith("forge, T1, T2, T3.")
    mended(project, "forge")
    assert found(project, "forge") == {}
    second.commit({"b.py": "b\n"})
    with pytest.raises(AssertionError, match="moved only by the server"):
        second.git("update-ref", "refs/heads/main", "HEAD")


def test_a_lock_that_nobody_can_own_is_removed_and_a_fresh_one_is_not(project: Project) -> None:
    old, fresh = (project.forge.git_dir / name for name in ("HEAD.lock", "packed-refs.lock"))
    old.touch()
    os.utime(old, LONG_AGO)
    fresh.touch()
    told = found(project, "forge")["locks"]
    assert ("HEAD.lock" in told.found, "packed-refs.lock" in told.found) == (True, False)
    assert mended(project, "forge") == [f"Removed {old}."]
    assert (old.exists(), fresh.exists()) == (False, True)
    assert found(project, "forge") == {}


def test_a_worktree_that_is_half_added_is_forgotten(project: Project) -> None:
    admin = project.forge.git_dir / "worktrees" / "T7"
    write(admin, {"HEAD": "0" * 40 + "\n", "commondir": "../..\n", "gitdir": "/nowhere/.git\n"})
    assert "T7" in found(project, "forge")["half added"].found
    mended(project, "forge")
    assert not admin.exists()
    assert found(project, "forge") == {}


def test_a_forge_that_is_gone_is_a_problem(project: Project) -> None:
    project.forge.git_dir.rename(project.layout.folder / "away")
    assert "There is no forge" in found(project, "forge")["made"].found
    assert mended(project, "forge") == []


def test_a_stale_worktree_is_removed_and_what_was_not_committed_is_kept(project: Project) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"a.py": "committed\n"})
    write(worker.cwd, {"draft.txt": "never committed\n", "a.py": "changed\n"})
    project.services.plans.cancel_task(PERSON, worker.task_id)
    worker.end()
    told = found(project, "forge")["worktrees"]
    assert (told.severity, worker.task_id in told.found) == (Severity.WARNING, True)
    (done,) = mended(project, "forge")
    assert worker.task_id in done
    assert not worker.cwd.exists()
    newest = list_snapshots(project.forge, worker.task_id)[-1]
    shown = [
        git(project.forge.git_dir, "show", f"{newest.commit}:{name}")
        for name in ("draft.txt", "a.py")
    ]
    assert shown == ["never committed", "changed"]
    assert git(project.forge.git_dir, "show", f"{project.task(worker.task_id).branch}:a.py")
    assert found(project, *STATE) == {}


def test_a_worktree_of_no_known_task_is_told_and_never_touched(project: Project) -> None:
    left = project.layout.worktrees / "T99"
    write(left, {"work.txt": "somebody's\n"})
    assert "T99" in found(project, "forge")["worktrees"].found
    assert mended(project, "forge") == []
    assert (left / "work.txt").read_text() == "somebody's\n"


# -- the database ----------------------------------------------------------------------------------


def test_a_database_that_is_gone_damaged_or_none_is_a_problem_with_the_way_back(
    project: Project,
) -> None:
    for number in range(300):
        a_task(project, f"Task {number} {'x' * 200}", plan="P1" if number else "")
    project.services.workspace.database.keep_copy()
    project.services.close()
    path = project.layout.database
    whole = path.read_bytes()

    path.write_bytes(whole[:40_960] + b"\xff" * 8192 + whole[49_152:])
    told = found(project, "database")["integrity"]
    assert "is damaged" in told.found
    assert f"cp {path}.backup {path}" in told.remedy
    path.write_bytes(b"not a database at all" + whole[21:])
    assert "file is not a database" in found(project, "database")["integrity"].found
    path.unlink()
    assert "has been removed" in found(project, "database")["integrity"].found
    path.write_bytes(whole)
    assert found(project, "database") == {}


def test_looking_writes_nothing_and_leaves_nothing_beside_the_file(project: Project) -> None:
    a_task(project)
    project.services.close()
    folder = project.layout.folder
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    found(project, *STATE)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("version", "severity", "words"),
    [(99, Severity.PROBLEM, "newer release"), (3, Severity.WARNING, "has schema 3")],
)
def test_another_schema_is_told_and_nothing_else_is_looked_at(
    project: Project, version: int, severity: Severity, words: str
) -> None:
    by_hand(project, f"PRAGMA user_version = {version}")
    told = found(project, "database")
    assert set(told) == {"schema"}
    assert (told["schema"].severity, words in told["schema"].found) == (severity, True)


def test_rows_that_speak_of_what_is_not_there_are_a_problem(project: Project) -> None:
    a_task(project)
    by_hand(project, "INSERT INTO dependencies VALUES ('T1', 'T88')")
    assert "dependencies → tasks" in found(project, "database")["references"].found


def landed_task(project: Project) -> None:
    a_task(project, "Landed", state=TaskState.MERGED)


def claimed_task(project: Project) -> None:
    a_task(project, "Claimed", state=TaskState.CLAIMED)


BROKEN: dict[str, tuple[Callable[[Project], None], list[str]]] = {
    "leases": (
        claimed_task,
        [
            "DROP INDEX one_live_lease_a_subject",
            "DROP INDEX one_live_lease_a_session",
            "INSERT INTO leases SELECT number + 1, subject, session_id, fence + 1, granted_at,"
            ' expires_at, ended_at, "end", end_detail FROM leases',
        ],
    ),
    "claims": (claimed_task, ["UPDATE tasks SET state = 'open'"]),
    "holders": (claimed_task, ["UPDATE sessions SET state = 'exited'"]),
    "reviews": (landed_task, ["UPDATE tasks SET state = 'in_review'"]),
    "waiting": (landed_task, ["UPDATE tasks SET state = 'waiting'"]),
    "merged": (landed_task, ["DELETE FROM landing_requests"]),
    "landed": (landed_task, ["UPDATE merge_requests SET state = 'withdrawn'"]),
    "landings": (landed_task, ["UPDATE landings SET old = 'x' WHERE kind = 'merge'"]),
    "plans": (claimed_task, ["UPDATE plans SET state = 'completed'"]),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_broken_rule_is_told_in_its_words(tmp_path: Path, rule: object) -> None:
    (told,) = [one for one in RULES if one is rule]
    arrange, statements = BROKEN[told.name]
    project = a_project(tmp_path)
    arrange(project)
    assert found(project, "database") == {}
    by_hand(project, *statements)
    words = [one.finding.found for one in answers(project, "database")]
    assert any(told.sentence in text for text in words), words


def test_tasks_that_wait_for_one_another_are_a_problem_with_the_way_out(project: Project) -> None:
    first = a_task(project)
    second = a_task(project, depends_on=[first])
    by_hand(project, f"INSERT INTO dependencies VALUES ('{first}', '{second}')")
    told = found(project, "database")["rules"]
    assert "circle" in told.found
    assert told.remedy in (f"Run: sf dep remove {first} {second}", "Run: sf dep remove T2 T1")


def test_a_clock_that_has_gone_backwards_is_a_warning(project: Project) -> None:
    a_task(project)
    project.clock.advance(minutes=-1)
    assert found(project, "database") == {}
    project.clock.advance(minutes=-300)
    told = found(project, "database")["clock"]
    assert (told.severity, "5 hours from now" in told.found) == (Severity.WARNING, True)


# -- the forge against the database ----------------------------------------------------------------


def test_a_target_that_somebody_else_moved_is_a_problem(project: Project) -> None:
    landed_task(project)
    git(
        project.forge.git_dir,
        "-c",
        "core.hooksPath=/dev/null",
        "update-ref",
        "refs/heads/main",
        f"{project.target}~1",
    )
    told = found(project, "agreement")
    assert set(told) == {"target", "landed"}
    assert "sf serve" in told["target"].remedy
    project.services.target.undo_foreign_moves()
    assert found(project, "agreement") == {}


def test_a_landing_that_was_interrupted_is_told_until_it_is_settled(project: Project) -> None:
    landed_task(project)
    by_hand(project, "UPDATE landings SET state = 'intended' WHERE kind = 'merge'")
    assert "was interrupted" in found(project, "agreement")["target"].found
    project.reopen()
    assert "target" not in found(project, "agreement")


def test_a_branch_that_is_gone_is_a_problem(project: Project) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    branch = project.task(worker.task_id).branch
    git(
        project.forge.git_dir,
        "-c",
        "core.hooksPath=/dev/null",
        "update-ref",
        "-d",
        f"refs/heads/{branch}",
    )
    assert f"{worker.task_id} ({branch})" in found(project, "agreement")["branches"].found


def test_a_snapshot_that_no_ref_keeps_is_a_problem(project: Project) -> None:
    worker = a_worker(project, a_task(project), with_worktree=True)
    write(worker.cwd, {"draft.txt": "a draft\n"})
    worker.hand_off()
    assert found(project, "agreement") == {}
    for snapshot in list_snapshots(project.forge, worker.task_id):
        git(
            project.forge.git_dir,
            "-c",
            "core.hooksPath=/dev/null",
            "update-ref",
            "-d",
            snapshot.ref,
        )
    told = found(project, "agreement")["snapshots"]
    assert worker.task_id in told.found
    assert "update-ref" in told.remedy


# -- the person's repository -----------------------------------------------------------------------


def test_a_remote_that_is_missing_is_made_again_and_a_branch_behind_is_told(
    project: Project,
) -> None:
    write(project.root, {"readme.md": "in the way\n"})
    landed_task(project)
    told = found(project, "repository")
    assert "1 commit behind" in told["behind"].found
    assert "git -C" in told["behind"].remedy
    git(project.root, "remote", "remove", "stoneforge")
    told = found(project, "repository")
    assert "does not have the forge as a remote" in told["remote"].found
    git(project.root, "checkout", "--quiet", "--", "readme.md")
    done = mended(project, "repository")
    assert "Your repository knows the newest landing as stoneforge/main." in done
    git(project.root, "merge", "--quiet", "--ff-only", "stoneforge/main")
    assert set(found(project, "repository")) <= {"ignored"}


# -- the machine and its processes -----------------------------------------------------------------


def test_what_others_may_read_or_write_is_closed_to_them(project: Project) -> None:
    token, database = project.layout.person_token, project.layout.database
    token.chmod(0o644)
    database.chmod(0o666)
    told = found(project, "machine")["permissions"]
    assert (str(token) in told.found, str(database) in told.found) == (True, True)
    assert told.remedy.startswith(f"Run: chmod go-rwx {token}")
    mended(project, "machine")
    assert (token.stat().st_mode & 0o777, database.stat().st_mode & 0o777) == (0o600, 0o644)
    assert found(project, "machine") == {}


def test_a_token_that_is_missing_is_a_problem(project: Project) -> None:
    project.layout.person_token.unlink()
    assert found(project, "machine")["permissions"].remedy == "Run: sf init"


@pytest.mark.parametrize(
    ("free", "severity"),
    [(10**8, Severity.PROBLEM), (10**9, Severity.WARNING), (10**11, Severity.OK)],
)
def test_a_disk_that_is_nearly_full_is_told(free: int, severity: Severity) -> None:
    assert machine.judge_room(free, "/here").severity is severity


def test_a_network_file_system_is_a_problem() -> None:
    mounts = "/dev/sda / ext4 rw 0 0\nhost:/x /home/a\\040b nfs4 rw 0 0\n"
    there = machine.judge_mounts(mounts, Path("/home/a b/project"))
    assert (there.severity, "nfs4 at /home/a b" in there.found) == (Severity.PROBLEM, True)
    assert machine.judge_mounts(mounts, Path("/home/ab")).severity is Severity.OK


def test_a_server_file_that_a_killed_server_left_is_removed(project: Project) -> None:
    path = project.layout.server
    path.write_text(json.dumps({"host": "127.0.0.1", "port": 1, "pid": 1}))
    assert found(project, "processes")["server"].severity is Severity.WARNING
    assert mended(project, "processes") == [f"Removed {path}."]
    assert found(project, "processes") == {}


def test_a_port_that_somebody_else_has_is_told(project: Project) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with project.services.workspace.write(PERSON) as tx:
            facts.put(tx.db, "port", str(port))
        told = found(project, "processes")["port"]
        assert (told.severity, "somebody else listens" in told.found) == (Severity.WARNING, True)
        project.configure(f"orchestrator: {{port: {port}}}\n")
        assert found(project, "processes")["port"].severity is Severity.PROBLEM
    project.configure("orchestrator: {port: 0}\n")
    assert found(project, "processes") == {}


def test_a_session_without_a_launcher_is_told(project: Project) -> None:
    worker = a_worker(project, a_task(project))
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        started = process.start_time(child.pid)
        by_hand(
            project,
            f"UPDATE sessions SET pid = {child.pid}, process_started = '{started}'",
        )
        told = found(project, "processes")["leftovers"]
        assert f"{worker.session.name} (process {child.pid})" in told.found
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert found(project, "processes") == {}
    assert project.session(SessionId(worker.session.id)).pid == child.pid
