"""A child process's pipes: every line whole, and its end seen whoever holds them."""

import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from launcher.core.stream import Garbled, Init, parse_line
from launcher.fleet import child as module
from launcher.fleet.child import Child
from sf_mcp import process

PATIENCE_SECONDS = 20.0
LONG = 10_000_000


@asynccontextmanager
async def running(folder: Path, script: str) -> AsyncGenerator[Child]:
    """Run a shell script as a child; nothing of it is left afterwards."""
    child = await Child.start(
        ["/bin/sh", "-c", script], cwd=folder, env=dict(os.environ), log=folder / "log.jsonl"
    )
    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            yield child
    finally:
        await child.end_group(grace_seconds=0.1)
        child.close()


async def lines_of(child: Child) -> list[bytes]:
    return [line async for line in child.lines()]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the process is looked at")
async def test_the_end_is_told_by_the_system_while_a_grandchild_holds_the_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claude Code's shell commands outlive it and keep its output open."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 3600.0)
    async with running(tmp_path, "sleep 300 & echo $!; exec sleep 300") as child:
        lines = child.lines()
        grandchild = int(await anext(lines))
        os.kill(child.pid, signal.SIGKILL)

        assert [line async for line in lines] == []

        assert process.start_time(grandchild)
        assert await child.wait(PATIENCE_SECONDS) == -signal.SIGKILL


async def test_the_end_is_looked_for_where_the_system_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_: int) -> None:
        return None

    monkeypatch.setattr(module, "_end_of", nothing)
    async with running(tmp_path, "sleep 300 & echo $!; exec sleep 300") as child:
        lines = child.lines()
        await anext(lines)
        os.kill(child.pid, signal.SIGKILL)

        assert [line async for line in lines] == []


async def test_a_line_that_was_cut_does_not_spoil_the_first_one_of_the_next_process(
    tmp_path: Path,
) -> None:
    begun = '{"type":"assistant","message":{"id":"m'
    async with running(tmp_path, f"printf '%s' '{begun}'; kill -9 $$") as child:
        (line,) = await lines_of(child)
        assert isinstance(parse_line(line), Garbled)
    init = '{"type":"system","subtype":"init","session_id":"s"}'
    async with running(tmp_path, f"echo '{init}'") as child:
        await lines_of(child)

    logged = (tmp_path / "log.jsonl").read_text().splitlines()
    assert logged[0] == begun
    assert isinstance(parse_line(logged[1]), Init)


async def test_a_line_of_ten_megabytes_comes_whole_and_so_does_the_next(tmp_path: Path) -> None:
    script = f"head -c {LONG} /dev/zero | tr '\\0' x; echo; echo end"
    async with running(tmp_path, script) as child:
        long, end = await lines_of(child)

    assert (len(long), end) == (LONG, b"end")


async def test_a_process_that_ignores_term_is_killed_with_all_that_it_has_started(
    tmp_path: Path,
) -> None:
    script = "trap '' TERM INT HUP; sleep 300 & echo $!; while :; do sleep 1; done"
    async with running(tmp_path, script) as child:
        grandchild = int(await anext(child.lines()))

        await child.end_group(grace_seconds=0.1)

        assert child.exit_code == -signal.SIGKILL
        assert not process.group_is_alive(child.pid)
        assert not process.is_alive(grandchild, process.start_time(grandchild))


async def test_two_may_wait_for_the_same_end(tmp_path: Path) -> None:
    async with running(tmp_path, "echo begun; exec sleep 300") as child:
        seen: list[int | None] = []
        lines = child.lines()
        await anext(lines)

        async def listen() -> None:
            async for _ in lines:
                pass

        async def wait() -> None:
            seen.append(await child.wait(PATIENCE_SECONDS))

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            os.kill(child.pid, signal.SIGKILL)

    assert seen == [-signal.SIGKILL]
