"""Real processes: output to files, whole groups ended, no reused pid signalled."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sf_mcp import process
from sf_mcp.core.errors import StorageFailed

ENV = {"PATH": os.environ["PATH"]}
BOUND_SECONDS = 20.0


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + BOUND_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"never came true: {what}"
        threading.Event().wait(0.01)


def run(
    tmp_path: Path,
    script: str,
    *,
    timeout_seconds: float | None = BOUND_SECONDS,
    cancel: threading.Event | None = None,
    grace_seconds: float = 5.0,
) -> tuple[process.Outcome, Path]:
    log = tmp_path / "logs" / "out.log"
    done = process.run(
        ["/bin/sh", "-c", script],
        cwd=tmp_path,
        env=ENV,
        timeout_seconds=timeout_seconds,
        output_path=log,
        cancel=cancel,
        grace_seconds=grace_seconds,
    )
    return done, log


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended, be it that nobody has collected its exit code yet."""
    return not process.is_alive(pid, process.start_time(pid))


def pid_in(path: Path) -> int:
    until(lambda: path.exists() and path.read_text().strip() != "", f"a pid in {path}")
    return int(path.read_text())


def test_output_and_exit_code_are_reported(tmp_path: Path) -> None:
    done, log = run(tmp_path, "echo out; echo err >&2; exit 3")
    assert (done.exit_code, done.timed_out, done.cancelled, done.could_not_start) == (
        3,
        False,
        False,
        "",
    )
    assert log.read_text() == "out\nerr\n"


def test_output_of_many_megabytes_is_whole_and_no_failure(tmp_path: Path) -> None:
    """Known defect 25: more than 1 MiB of output counted as a failed check."""
    done, log = run(tmp_path, "head -c 20000000 /dev/zero")
    assert done.exit_code == 0
    assert log.stat().st_size == 20_000_000


def test_stdin_is_empty(tmp_path: Path) -> None:
    done, _ = run(tmp_path, "read -r line")
    assert done.exit_code == 1


def test_a_time_out_ends_the_whole_group(tmp_path: Path) -> None:
    """Known defect 29: the shell was killed, its children went on."""
    done, _ = run(
        tmp_path, "sleep 300 & echo $! > child; sleep 300", timeout_seconds=0.5, grace_seconds=5
    )
    assert done.timed_out
    assert done.exit_code is None
    assert is_gone(pid_in(tmp_path / "child"))


def test_a_group_that_ignores_term_is_killed(tmp_path: Path) -> None:
    done, _ = run(
        tmp_path,
        "trap '' TERM; echo $$ > leader; while :; do sleep 1; done",
        timeout_seconds=0.5,
        grace_seconds=0.3,
    )
    assert done.timed_out
    assert not process.group_is_alive(pid_in(tmp_path / "leader"))


def test_what_the_leader_leaves_behind_is_ended(tmp_path: Path) -> None:
    done, _ = run(tmp_path, "sleep 300 & echo $! > child; exit 0")
    assert done.exit_code == 0
    assert is_gone(pid_in(tmp_path / "child"))


def test_cancelling_ends_the_group_at_once(tmp_path: Path) -> None:
    cancel = threading.Event()
    child = tmp_path / "child"

    def cancel_when_running() -> None:
        pid_in(child)
        cancel.set()

    watcher = threading.Thread(target=cancel_when_running)
    watcher.start()
    done, _ = run(tmp_path, "sleep 300 & echo $! > child; wait", cancel=cancel)
    watcher.join(BOUND_SECONDS)
    assert done.cancelled
    assert not done.timed_out
    assert is_gone(pid_in(child))


def test_a_missing_program_or_directory_is_told_apart_from_a_failure(tmp_path: Path) -> None:
    missing = process.run(
        ["no-such-program-anywhere"],
        cwd=tmp_path,
        env=ENV,
        timeout_seconds=5,
        output_path=tmp_path / "log",
    )
    assert missing.could_not_start == "no-such-program-anywhere: No such file or directory"
    nowhere = process.run(
        ["/bin/true"],
        cwd=tmp_path / "gone",
        env=ENV,
        timeout_seconds=5,
        output_path=tmp_path / "log",
    )
    assert nowhere.could_not_start == f"the directory {tmp_path / 'gone'} does not exist"


def test_a_log_that_cannot_be_written_is_a_clear_refusal(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot be written"):
        process.run(
            ["/bin/true"],
            cwd=tmp_path,
            env=ENV,
            timeout_seconds=5,
            output_path=tmp_path / "file" / "log",
        )


@pytest.fixture
def sleeper() -> "subprocess.Popen[bytes]":
    return process.spawn(["sleep", "300"], cwd=Path("/"), env=ENV)


def test_a_recorded_group_is_ended(sleeper: "subprocess.Popen[bytes]") -> None:
    started = process.start_time(sleeper.pid)
    assert process.is_alive(sleeper.pid, started)
    assert process.end_group(sleeper.pid, started)
    assert sleeper.wait(BOUND_SECONDS) < 0
    assert not process.is_alive(sleeper.pid, started)
    assert not process.end_group(sleeper.pid, started)


def test_a_pid_that_somebody_else_has_now_is_left_alone(sleeper: "subprocess.Popen[bytes]") -> None:
    started = process.start_time(sleeper.pid)
    ticks, _, boot = started.partition("@")
    before = f"{int(ticks) - 1}@{boot}" if boot else f"not {started}"
    try:
        assert not process.end_group(sleeper.pid, before)
        assert not process.is_alive(sleeper.pid, before)
        assert sleeper.poll() is None
    finally:
        process.end_child(sleeper)


def test_members_are_ended_after_their_leader_is_gone(tmp_path: Path) -> None:
    leader = process.spawn(["/bin/sh", "-c", "sleep 300 & echo $! > child"], cwd=tmp_path, env=ENV)
    started = process.start_time(leader.pid)
    leader.wait(BOUND_SECONDS)
    child = pid_in(tmp_path / "child")
    assert process.group_is_alive(leader.pid)
    assert process.end_group(leader.pid, started)
    assert is_gone(child)
    assert not process.group_is_alive(leader.pid)


def test_a_zombie_does_not_count_as_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    started = process.start_time(child.pid)
    until(lambda: not process.group_is_alive(child.pid), "the child ended")
    assert process.start_time(child.pid) == started  # still in the table
    assert not process.is_alive(child.pid, started)
    child.wait(BOUND_SECONDS)


def test_the_caller_learns_pid_and_start_time_before_the_end(tmp_path: Path) -> None:
    heard: list[tuple[int, str]] = []
    process.run(
        ["/bin/sh", "-c", "echo $$"],
        cwd=tmp_path,
        env=ENV,
        timeout_seconds=BOUND_SECONDS,
        output_path=tmp_path / "log",
        on_start=lambda pid, started: heard.append((pid, started)),
    )
    assert [pid for pid, _ in heard] == [int((tmp_path / "log").read_text())]
    assert heard[0][1] != ""


def test_what_is_printed_is_kept_in_a_process_that_has_very_many_files_open(tmp_path: Path) -> None:
    """`select()` takes no descriptor beyond 1,023 (POSIX: FD_SETSIZE)."""
    program = """
import os, resource, sys
from pathlib import Path
from sf_mcp.process import run

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
for _ in range(1100):
    os.dup(0)
folder = Path(sys.argv[1])
run(["echo", "said"], cwd=folder, env={"PATH": os.environ["PATH"]}, timeout_seconds=60,
    output_path=folder / "log")
print((folder / "log").read_text())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "said", done.stderr
