"""`sf serve`: one at a time, ended in good order by Ctrl-C, and at any moment by kill -9."""

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from sf_mcp import process
from tests.cli.builders_project import Person, someone_set_up, someone_with_a_plan
from tests.service.builders_landing import until


def _address(person: Person) -> tuple[int, int]:
    stored = json.loads((person.folder / "server.json").read_text())
    return stored["port"], stored["pid"]


def test_ctrl_c_ends_the_server_with_0_and_leaves_nothing(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    server = person.start("serve", "--no-fleet")
    server.wait_for("Log:")
    port, pid = _address(person)
    assert pid == server.child.pid
    assert server.interrupt() == 0
    assert server.said.splitlines() == [
        f"Serving {person.root} at http://127.0.0.1:{port}",
        "Nothing is checked before the target branch moves: the list `checks` is empty.",
        f"Log: {person.folder}/logs/server.log",
        "Stopping.",
        "Stopped.",
    ]
    assert not process.group_is_alive(server.child.pid)
    assert not (person.folder / "server.json").exists()


def test_sigterm_is_a_good_end_too(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    server = person.start("serve", "--no-fleet")
    server.wait_for("Serving ")
    server.child.send_signal(signal.SIGTERM)
    assert server.child.wait(30) == 0


def test_a_second_server_is_refused_with_the_address_of_the_first(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    with person.serving():
        port, pid = _address(person)
        done = person.sf("serve", "--no-fleet")
        assert done.code == 1
        assert f"already runs at http://127.0.0.1:{port} (process {pid})" in done.err
        assert f"kill {pid}" in done.err
        person.ok("status")


def test_a_server_that_is_still_starting_has_the_address_of_nobody_else(tmp_path: Path) -> None:
    """A second server is told which process to end; that of a crashed one may be anybody's now."""
    person = someone_set_up(tmp_path)
    stale = {"host": "127.0.0.1", "port": 1, "pid": 1}
    (person.folder / "server.json").write_text(json.dumps(stale))
    # A check that a crashed server left running is ended before the start is over.
    stubborn = process.spawn(
        ["/bin/sh", "-c", "trap '' TERM; echo; while :; do sleep 60; done"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
    )
    with stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()  # it has set its trap
        record = person.folder / "logs" / "checks" / "left.running"
        record.parent.mkdir(parents=True)
        record.write_text(f"{stubborn.pid} {process.start_time(stubborn.pid)}\n")
        server = person.start("serve", "--no-fleet")
        until(lambda: _address(person)[1] == server.child.pid, "its own address")
        assert process.group_is_alive(stubborn.pid)
        process.end_child(stubborn, grace_seconds=0)
    server.wait_for("Serving ")
    assert server.interrupt() == 0


def test_a_port_in_use_is_refused_by_its_number(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = person.sf("serve", "--no-fleet", "--port", str(port))
        assert (done.code, f"Port {port}" in done.err) == (1, True)
        config = person.folder / "config.yaml"
        text = config.read_text()
        config.write_text(text.replace("orchestrator:", f"orchestrator:\n  port: {port}"))
        done = person.sf("serve", "--no-fleet")
        assert (done.code, "orchestrator.port" in done.err) == (1, True)


def test_after_kill_9_the_state_is_there_and_the_server_starts_on_the_same_port(
    tmp_path: Path,
) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    server = person.start("serve", "--no-fleet")
    server.wait_for("Serving ")
    port, _ = _address(person)
    person.ok("task", "create", "--title", "Two")
    server.kill()
    assert (person.folder / "server.json").exists()
    assert "Two" in person.ok("task", "ready").out
    with person.serving():
        assert _address(person)[0] == port
        assert "Two" in person.ok("task", "ready").out


def test_another_programs_port_in_a_stale_address_is_not_taken_for_the_server(
    tmp_path: Path,
) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    with socket.create_server(("127.0.0.1", 0)) as other:
        stale = {"host": "127.0.0.1", "port": other.getsockname()[1], "pid": 1}
        (person.folder / "server.json").write_text(json.dumps(stale))
        assert "One" in person.ok("task", "ready").out


def test_commands_given_while_the_server_starts_wait_for_it(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    server = person.start("serve", "--no-fleet")
    try:
        for _ in range(5):
            person.ok("status")
    finally:
        server.end()


def test_what_the_libraries_have_to_say_does_not_reach_the_terminal(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    with person.serving() as server:
        port, _ = _address(person)
        token = person.ok("token").out.strip()
        head = f"POST /person/mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        for headers, status in (
            (f"Authorization: Bearer {token}\r\nAccept: text/html\r\nContent-Length: 0\r\n", 4),
            ("Authorization: Bearer nonsense\r\nContent-Length: 0\r\n", 4),
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(f"{head}{headers}\r\n".encode())
                answer = connection.makefile("rb").readline()
                assert answer.split()[1].startswith(str(status).encode()), answer
        said = server.said
    assert [line.partition(" ")[0] for line in said.splitlines()] == ["Serving", "Nothing", "Log:"]


def test_inside_a_claude_code_session_the_server_says_what_it_removes(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    server = person.start("serve", "--no-fleet", env={"CLAUDECODE": "1"})
    try:
        server.wait_for("Serving ")
        assert server.said.startswith("Started from inside a Claude Code session")
    finally:
        server.end()


def test_a_fleet_that_cannot_run_is_told_once_and_the_server_goes_on(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    _use_claude(person, person.home / "no-such-claude")
    server = person.start("serve")
    try:
        server.wait_for("The fleet has stopped (exit code 78); the server goes on.")
        assert "no-such-claude" in server.said
        person.ok("status")
    finally:
        server.end()
    assert server.child.returncode == 0


def test_ctrl_c_ends_the_fleet_and_then_the_server(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    claude = person.home / "claude"
    claude.write_text('#!/bin/sh\necho "99.0.0 (Claude Code)"\n')
    claude.chmod(0o755)
    _use_claude(person, claude)
    server = person.start("serve")
    try:
        server.wait_for("fleet started")
        launcher = int((person.folder / "launcher.lock").read_text())
        assert process.group_is_alive(launcher)
        assert server.interrupt() == 0
    finally:
        server.end()
    assert server.said.index("fleet stopped") < server.said.index("Stopped.")
    assert not process.group_is_alive(launcher)


def _use_claude(person: Person, path: Path) -> None:
    config = person.folder / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("orchestrator:", f"orchestrator:\n  claudePath: {path}"))


def test_a_database_removed_under_a_running_server_is_said_and_put_back_it_goes_on(
    tmp_path: Path,
) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    database = person.folder / "state.db"
    with person.serving():
        for path in person.folder.glob("state.db*"):
            path.unlink()
        refused = person.sf("status")
        assert refused.code == 1
        assert "state.db has been removed" in refused.err
        assert "cp state.db.rescued state.db" in refused.err
        assert not database.exists()
        log = (person.folder / "logs" / "server.log").read_text()
        assert "was removed; it is kept in" in log
        shutil.copy(person.folder / "state.db.rescued", database)
        assert "One" in person.ok("task", "list").out
    database.unlink()
    for command in (("serve", "--no-fleet"), ("status",)):
        refused = person.sf(*command)
        assert (refused.code, "has been removed" in refused.err) == (1, True)
        assert "cp state.db.rescued state.db" in refused.err
    shutil.copy(person.folder / "state.db.rescued", database)
    assert "One" in person.ok("task", "list").out


def test_a_damaged_database_is_refused_at_the_start_with_the_way_back(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    with person.serving():
        pass
    database = person.folder / "state.db"
    database.write_bytes(b"no database" * 1000)
    refused = person.sf("serve", "--no-fleet")
    assert (refused.code, "is damaged" in refused.err) == (1, True)
    assert "cp state.db.backup state.db" in refused.err
    database.unlink()
    shutil.copy(person.folder / "state.db.backup", database)
    with person.serving():
        assert "One" in person.ok("task", "list").out
