"""Checks: exit codes decide, logs hold everything, nothing is left running."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from sf_mcp import process
from sf_mcp.git.checks import (
    Check,
    CheckOutcome,
    check_environment,
    end_interrupted_checks,
    run_checks,
    tail,
)
from sf_mcp.git.fair_slots import FairSlots

BOUND_SECONDS = 20.0


def checks(*commands: str, timeout_seconds: float = BOUND_SECONDS) -> list[Check]:
    return [
        Check(name=f"check {n}", command=command, timeout_seconds=timeout_seconds)
        for n, command in enumerate(commands)
    ]


def run(
    tmp_path: Path,
    wanted: Sequence[Check],
    *,
    parallel: int = 2,
    cancel: threading.Event | None = None,
) -> tuple[CheckOutcome, ...]:
    return run_checks(
        wanted,
        tmp_path,
        tmp_path / "logs",
        slots=FairSlots(lambda: parallel),
        env=check_environment(),
        cancel=cancel,
    )


def test_each_outcome_is_told_apart(tmp_path: Path) -> None:
    wanted = checks("true", "exit 3", "no-such-command --x", "kill -9 $$")
    done = run(tmp_path, wanted)
    assert [each.outcome for each in done] == [
        "passed",
        "failed (exit 3)",
        "could not start: /bin/sh: 1: no-such-command: not found (exit 127)"
        if "dash" in os.path.realpath("/bin/sh")
        else done[2].outcome,
        "failed (signal 9)",
    ]
    assert [each.passed for each in done] == [True, False, False, False]
    assert [each.could_not_start for each in done] == [False, False, True, False]
    assert [each.check for each in done] == wanted


def test_the_command_is_the_person_s_own_shell_line(tmp_path: Path) -> None:
    (done,) = run(tmp_path, checks('cd . && echo "$((1 + 1))" | tee out'))
    assert done.passed
    assert (tmp_path / "out").read_text() == "2\n"


def test_output_of_many_megabytes_does_not_fail_a_check(tmp_path: Path) -> None:
    """Known defect 25."""
    (done,) = run(tmp_path, checks("head -c 5000000 /dev/zero; echo; echo the end"))
    assert done.passed
    assert done.log_path.stat().st_size > 5_000_000
    assert tail(done.log_path, lines=1) == "the end"


def test_a_time_out_leaves_no_orphan(tmp_path: Path) -> None:
    """Known defect 29."""
    (done,) = run(tmp_path, checks("sleep 300 & echo $! > child; sleep 300", timeout_seconds=0.5))
    assert done.outcome == "timed out after 0.5 s"
    child = int((tmp_path / "child").read_text())
    assert not process.is_alive(child, process.start_time(child))


def test_checks_run_side_by_side(tmp_path: Path) -> None:
    """Each waits for the other: one at a time they would never end."""
    meet = "touch {0}; until [ -e {1} ]; do :; done"
    done = run(tmp_path, checks(meet.format("a", "b"), meet.format("b", "a")), parallel=2)
    assert [each.outcome for each in done] == ["passed", "passed"]


def test_one_at_a_time_is_one_at_a_time(tmp_path: Path) -> None:
    alone = "mkdir busy && rmdir busy"
    done = run(tmp_path, checks(*[alone] * 8), parallel=1)
    assert all(each.passed for each in done)


def test_a_cancelled_check_says_nothing_about_the_tree(tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    done = run(tmp_path, checks("sleep 300", "sleep 300"), parallel=1, cancel=cancel)
    assert [(each.outcome, each.cancelled, each.passed) for each in done] == [
        ("cancelled", True, False)
    ] * 2


def test_names_that_look_like_paths_stay_in_the_log_folder(tmp_path: Path) -> None:
    wanted = [
        Check(name=name, command="true", timeout_seconds=BOUND_SECONDS)
        for name in ("../../x", "", "a/b", "a b", "x" * 500, "..")
    ]
    done = run(tmp_path, wanted)
    assert {each.log_path.parent for each in done} == {tmp_path / "logs"}
    assert len({each.log_path for each in done}) == len(wanted)
    assert all(each.passed for each in done)


def test_variables_of_git_and_of_sessions_do_not_reach_a_check() -> None:
    base = {
        "PATH": "/bin",
        "HOME": "/home/x",
        "GITHUB_TOKEN": "t",
        "SFTP": "s",
        "GIT_DIR": "/x",
        "GIT_CONFIG_COUNT": "9",
        "CLAUDECODE": "1",
        "CLAUDE_CODE_ENTRYPOINT": "cli",
        "SF_TOKEN": "s",
        "ANTHROPIC_API_KEY": "k",
    }
    assert set(check_environment(base)) == {"PATH", "HOME", "GITHUB_TOKEN", "SFTP"}


def test_checks_of_a_killed_server_are_ended_by_the_next(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from sf_mcp.git.checks import Check, run_checks\n"
        "from sf_mcp.git.fair_slots import FairSlots\n"
        "here = Path(sys.argv[1])\n"
        "check = Check(name='x', command='echo $$; exec sleep 300', timeout_seconds=60)\n"
        "slots = FairSlots(lambda: 1)\n"
        "run_checks([check], here, here / 'logs', slots=slots, env=dict(os.environ))\n"
    )
    logs = tmp_path / "logs"
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) as server:
        waited = threading.Event()
        while not (tail(logs / "01-x.log") and list(logs.glob("*.running"))):
            assert server.poll() is None
            waited.wait(0.01)
        server.send_signal(signal.SIGKILL)
    orphan = int(tail(logs / "01-x.log"))
    assert process.is_alive(orphan, process.start_time(orphan))
    assert end_interrupted_checks(logs) == 1
    assert not process.is_alive(orphan, process.start_time(orphan))
    assert end_interrupted_checks(logs) == 0


def test_a_tail_is_bounded_and_readable_whatever_is_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\xff\xfe bad\n" + b"line\n" * 10_000 + "ü end\n".encode())
    assert tail(log, lines=2) == "line\nü end"
    assert len(tail(log, lines=10_000, max_bytes=1000)) <= 1000
    log.write_bytes("ü".encode() * 1_000_000)
    assert tail(log, max_bytes=101) == "ü" * 50
    log.write_bytes(b"\xff\xfe\n")
    assert tail(log) == "\\xff\\xfe"
    assert tail(tmp_path / "none") == ""


def test_what_a_check_prints_without_end_fills_no_disk(tmp_path: Path) -> None:
    """Its beginning and its end are kept, and that something is missing between is said."""
    script = "import sys\nprint('the beginning')\n"
    script += "for n in range(300_000): print(n)\nprint('the end')"
    log = tmp_path / "log"
    done = process.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=check_environment(),
        timeout_seconds=BOUND_SECONDS,
        output_path=log,
        most_output_bytes=10_000,
    )
    text = log.read_text()
    assert (done.exit_code, len(text) < 10_200) == (0, True)
    assert text.startswith("the beginning\n0\n1\n")
    assert "bytes are left out here" in text
    numbers = text.rpartition("…]\n")[2].split("\n")[1:-2]
    assert numbers == [str(n) for n in range(300_000 - len(numbers), 300_000)]
    assert text.endswith("\n299999\nthe end\n")


def test_a_check_gets_no_input_and_no_terminal(tmp_path: Path) -> None:
    asks = "test ! -t 0 && ! read answer && ! (: < /dev/tty)"
    (done,) = run(tmp_path, checks(asks))
    assert done.outcome == "passed"


def test_a_check_that_hangs_is_ended_in_its_time(tmp_path: Path) -> None:
    stubborn = "trap '' TERM; while :; do sleep 0.1; done"
    (done,) = run(tmp_path, checks(stubborn, timeout_seconds=0.3))
    assert done.outcome == "timed out after 0.3 s"


def test_a_daemon_that_a_check_leaves_behind_is_ended_with_it(tmp_path: Path) -> None:
    (done,) = run(tmp_path, checks("sleep 300 & echo $! > child; exit 0"))
    child = int((tmp_path / "child").read_text())
    assert done.passed
    assert not process.is_alive(child, process.start_time(child))


def test_a_daemon_with_a_session_of_its_own_does_not_hold_the_check_up(tmp_path: Path) -> None:
    """It has the log open, of which it would be the end."""
    escape = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    open('child', 'w').write(str(os.getpid()))\n"
        "    time.sleep(300)\n"
        "while not os.path.exists('child') or not open('child').read(): time.sleep(0.01)\n"
        "print('left')\n"
    )
    (tmp_path / "escape.py").write_text(escape)
    (done,) = run(tmp_path, checks(f"'{sys.executable}' escape.py"))
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    assert (done.outcome, tail(done.log_path)) == ("passed", "left")


def test_a_check_has_its_own_variables_on_top(tmp_path: Path) -> None:
    check = Check(name="x", command='test "$MODE" = "a b"', timeout_seconds=20, env={"MODE": "a b"})
    (done,) = run(tmp_path, [check])
    assert done.passed
