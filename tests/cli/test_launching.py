"""The launcher beside the server, with small programs in its place."""

import os
import sys
from pathlib import Path

import anyio
import pytest

from sf_mcp import process
from sf_mcp.cli.launching import Fleet, launcher_command
from sf_mcp.core.exits import ExitCode

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _a_fleet(folder: Path, program: str) -> Fleet:
    """A launcher that runs `program` (Python), and notes each start by its process id."""
    note = f"import os, pathlib\nwith open({str(folder / 'starts')!r}, 'a') as f: "
    script = folder / "launcher.py"
    script.write_text(f"{note}print(os.getpid(), file=f)\n{program}")
    return Fleet([sys.executable, str(script)], cwd=folder, first_delay_seconds=0.01)


def _starts(folder: Path) -> list[int]:
    path = folder / "starts"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


async def _until_started(folder: Path, times: int) -> None:
    with anyio.fail_after(20):
        while len(_starts(folder)) < times:  # noqa: ASYNC110 - another process's doing
            await anyio.sleep(0.01)


def test_the_launcher_of_this_installation_is_started() -> None:
    command, *attached = launcher_command()
    assert Path(command).parent == Path(sys.executable).parent
    assert attached == ["--attached", f"--parent={os.getpid()}"]


async def test_a_launcher_that_dies_is_started_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fleet = _a_fleet(tmp_path, "import sys; sys.exit(1)")
    async with anyio.create_task_group() as group:
        group.start_soon(fleet.run)
        await _until_started(tmp_path, 3)
        group.cancel_scope.cancel()
    assert "The launcher has died (exit code 1); it is started again in" in capfd.readouterr().err


@pytest.mark.parametrize("code", [ExitCode.DONE, ExitCode.USAGE, ExitCode.UNUSABLE])
async def test_a_launcher_that_would_end_the_same_way_is_not_started_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], code: ExitCode
) -> None:
    fleet = _a_fleet(tmp_path, f"import sys; sys.exit({code.value})")
    with anyio.fail_after(20):
        await fleet.run()
    assert len(_starts(tmp_path)) == 1
    assert "The fleet has stopped" in capfd.readouterr().err


async def test_a_launcher_that_is_missing_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with anyio.fail_after(20):
        await Fleet(["/no/such/sf-launch"], cwd=tmp_path).run()
    assert "/no/such/sf-launch" in capfd.readouterr().err


async def test_a_stop_waits_for_the_launcher_to_end_its_sessions(tmp_path: Path) -> None:
    fleet = _a_fleet(
        tmp_path,
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    pathlib.Path('ended').touch()\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGINT, end)\n"
        "pathlib.Path('waits').touch()\n"
        "time.sleep(60)\n",
    )
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(fleet.run)
            while not (tmp_path / "waits").exists():  # noqa: ASYNC110 - another process's doing
                await anyio.sleep(0.01)
            await fleet.stop()
    assert (tmp_path / "ended").exists()
    assert len(_starts(tmp_path)) == 1


async def test_a_second_signal_ends_a_launcher_that_does_not_stop(tmp_path: Path) -> None:
    fleet = _a_fleet(
        tmp_path,
        "import signal, sys, time\n"
        "seen = []\n"
        "def count(*_):\n"
        "    seen.append(1)\n"
        "    pathlib.Path(f'asked-{len(seen)}').touch()\n"
        "    if len(seen) == 2: os._exit(7)\n"
        "signal.signal(signal.SIGINT, count)\n"
        "pathlib.Path('waits').touch()\n"
        "while True: time.sleep(60)\n",
    )
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(fleet.run)
            while not (tmp_path / "waits").exists():  # noqa: ASYNC110 - another process's doing
                await anyio.sleep(0.01)
            group.start_soon(fleet.stop)
            while not (tmp_path / "asked-1").exists():  # noqa: ASYNC110 - another process's doing
                await anyio.sleep(0.01)
            fleet.hurry()
    assert (tmp_path / "asked-2").exists()
    assert not fleet.is_running


async def test_a_server_that_fails_takes_the_launcher_with_it(tmp_path: Path) -> None:
    fleet = _a_fleet(tmp_path, "import time\ntime.sleep(60)\n")
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(fleet.run)
            await _until_started(tmp_path, 1)
            group.cancel_scope.cancel()
    assert not process.group_is_alive(_starts(tmp_path)[0])


async def test_a_ctrl_c_at_the_terminal_does_not_reach_the_launcher(tmp_path: Path) -> None:
    """It goes to the foreground process group; the launcher leads one of its own."""
    fleet = _a_fleet(tmp_path, "pathlib.Path('group').write_text(str(os.getpgid(0)))\n")
    with anyio.fail_after(20):
        await fleet.run()
    assert int((tmp_path / "group").read_text()) == _starts(tmp_path)[0]
